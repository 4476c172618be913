package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"
)

// A fakeServer is a PCP and NAT-PMP server on an address of loopback. reply
// returns the datagrams to send for a request.
func fakeServer(t *testing.T, address string, reply func(request []byte) [][]byte) router {
	t.Helper()
	gateway := netip.MustParseAddr(address)
	conn, err := net.ListenUDP("udp4", udpAddr(gateway, pcpPort))
	if err != nil {
		t.Skip(err) // only Linux has all of 127.0.0.0/8
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buffer := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			for _, b := range reply(buffer[:n]) {
				if _, err := conn.WriteToUDPAddrPort(b, from); err != nil {
					return
				}
			}
		}
	}()
	return router{gateway: gateway, local: netip.MustParseAddr("127.0.0.1")}
}

// fast makes the tries of a request follow each other quickly.
func fast(t *testing.T) {
	saved := udpWaits
	udpWaits = []time.Duration{20 * time.Millisecond, 40 * time.Millisecond}
	t.Cleanup(func() { udpWaits = saved })
}

func TestPCPServer(t *testing.T) {
	fast(t)
	good := pcpReplyTo(nil)
	lost := true
	tests := []struct {
		name    string
		address string
		reply   func([]byte) [][]byte
		err     error
	}{
		{name: "good", address: "127.77.0.1", reply: func([]byte) [][]byte { return [][]byte{good} }},
		{name: "the first request is lost", address: "127.77.0.2", reply: func([]byte) [][]byte {
			if lost {
				lost = false
				return nil
			}
			return [][]byte{good}
		}, err: nil},
		{name: "silent", address: "127.77.0.3", reply: func([]byte) [][]byte { return nil }, err: errNoAnswer},
		{name: "nonsense before the reply", address: "127.77.0.4", reply: func([]byte) [][]byte { return [][]byte{{2}, []byte("hello there!"), good} }},
		{name: "only nonsense", address: "127.77.0.5", reply: func([]byte) [][]byte { return [][]byte{{2}} }, err: errPCPBad},
		{name: "the request comes back", address: "127.77.0.6", reply: func(b []byte) [][]byte { return [][]byte{b} }, err: errPCPForeign},
		{name: "too long", address: "127.77.0.7", reply: func([]byte) [][]byte { return [][]byte{make([]byte, 2000)} }, err: errUnsupported},
		{name: "refuses", address: "127.77.0.8", reply: func([]byte) [][]byte { return [][]byte{pcpReplyTo(func(b []byte) { b[3] = 10 })} },
			err: refusal("too many mappings for this host")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := &pcp{router: fakeServer(t, test.address, test.reply), port: 1337, lifetime: time.Hour, nonce: testNonce, now: time.Now}
			l, err := p.request(context.Background(), 1337)
			if !errors.Is(err, test.err) {
				t.Fatalf("got error %v, want %v", err, test.err)
			}
			if want := netip.MustParseAddrPort("203.0.113.7:40000"); err == nil && l.public != want {
				t.Errorf("got %v, want %v", l.public, want)
			}
		})
	}
}

// A reply from another address than the gateway's does not count.
func TestPCPFromElsewhere(t *testing.T) {
	fast(t)
	stranger, err := net.ListenUDP("udp4", udpAddr(netip.MustParseAddr("127.77.1.2"), 0))
	if err != nil {
		t.Skip(err)
	}
	defer stranger.Close()
	gateway := netip.MustParseAddr("127.77.1.1")
	conn, err := net.ListenUDP("udp4", udpAddr(gateway, pcpPort))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		buffer := make([]byte, 2048)
		for {
			_, from, err := conn.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			if _, err := stranger.WriteToUDPAddrPort(pcpReplyTo(nil), from); err != nil {
				return
			}
		}
	}()
	p := &pcp{router: router{gateway: gateway, local: netip.MustParseAddr("127.0.0.1")}, port: 1337, lifetime: time.Hour, nonce: testNonce, now: time.Now}
	if l, err := p.request(context.Background(), 1337); !errors.Is(err, errNoAnswer) {
		t.Errorf("got %v, %v; want %v", l, err, errNoAnswer)
	}
}

func TestPCPCancel(t *testing.T) {
	p := &pcp{router: fakeServer(t, "127.77.2.1", func([]byte) [][]byte { return nil }), port: 1337, lifetime: time.Hour, now: time.Now}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	start := time.Now()
	if _, err := p.request(ctx, 1337); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("a cancelled request took %v", took)
	}
}

func TestNATPMPServer(t *testing.T) {
	address := []byte{0, 128, 0, 0, 0, 0, 1, 0, 203, 0, 113, 7}
	mapped := func(change func([]byte)) []byte {
		b := []byte{0, 129, 0, 0, 0, 0, 1, 0, 0x05, 0x39, 0x9c, 0x40, 0, 0, 0x0e, 0x10}
		if change != nil {
			change(b)
		}
		return b
	}
	answer := func(address, mapped []byte) func([]byte) [][]byte {
		return func(request []byte) [][]byte {
			if len(request) == 2 {
				return [][]byte{address}
			}
			return [][]byte{mapped}
		}
	}
	anyError := errors.New("any")
	tests := []struct {
		name    string
		gateway string
		reply   func([]byte) [][]byte
		err     error
	}{
		{name: "good", gateway: "127.77.3.1", reply: answer(address, mapped(nil))},
		{name: "refuses", gateway: "127.77.3.2", reply: answer(address, mapped(func(b []byte) { b[3] = 2 })), err: refusal("not authorized")},
		{name: "offline", gateway: "127.77.3.3", reply: answer([]byte{0, 128, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0}, nil), err: refusal("network failure: the router has no public address now")},
		{name: "another port", gateway: "127.77.3.4", reply: answer(address, mapped(func(b []byte) { b[9]++ })), err: errNATPMPForeign},
		{name: "PCP only", gateway: "127.77.3.5", reply: answer([]byte{2, 128, 0, 1}, nil), err: errUnsupported},
		{name: "cut", gateway: "127.77.3.6", reply: answer(address[:3], nil), err: anyError},
		{name: "cut mapping", gateway: "127.77.3.7", reply: answer(address, mapped(nil)[:12]), err: anyError},
		{name: "swapped", gateway: "127.77.3.8", reply: answer(mapped(nil), address), err: anyError},
		{name: "too long", gateway: "127.77.3.9", reply: answer(append(address, 0, 0, 0, 0, 0, 0, 0), nil), err: anyError},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			n := &natPMP{router: fakeServer(t, test.gateway, test.reply), port: 1337, lifetime: time.Hour, now: time.Now}
			l, err := n.request(context.Background(), 1337)
			if test.err == anyError && err != nil {
				return
			}
			if !errors.Is(err, test.err) {
				t.Fatalf("got error %v, want %v", err, test.err)
			}
			if want := netip.MustParseAddrPort("203.0.113.7:40000"); err == nil && l.public != want {
				t.Errorf("got %v, want %v", l.public, want)
			}
		})
	}
}
