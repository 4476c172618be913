package udp

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestSource(t *testing.T) {
	for _, c := range []struct {
		number int
		v6     bool
		want   string
	}{
		{number: 0, want: "127.1.0.0"},
		{number: MaxSources - 1, want: "127.254.255.255"},
		{number: 0, v6: true, want: "2001:db8::1"},
		{number: MaxSources - 1, v6: true, want: "2001:db8:fd:ffff::1"},
	} {
		if got := Source(c.number, c.v6).String(); got != c.want {
			t.Errorf("source %d is %s, want %s", c.number, got, c.want)
		}
	}
}

// The server uses the standard library. It must receive each datagram from the
// client that it was staged for, and its replies must arrive.
func TestBatchFromManySources(t *testing.T) {
	server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	c, err := Open(netip.MustParseAddrPort(server.LocalAddr().String()), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	for i := range Batch {
		c.Stage(i, copy(c.Payload(i), fmt.Sprint("from ", i)), 1000*i)
	}
	if n, err := c.Send(Batch); n != Batch || err != nil {
		t.Fatalf("sent %d: %v", n, err)
	}
	if err := server.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	for i := range Batch {
		n, from, err := server.ReadFromUDPAddrPort(b)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := string(b[:n]), fmt.Sprint("from ", i); got != want || from.Addr() != Source(1000*i, false) {
			t.Errorf("%q from %v, want %q from %v", got, from.Addr(), want, Source(1000*i, false))
		}
		if _, err := server.WriteToUDPAddrPort(b[:n], from); err != nil {
			t.Fatal(err)
		}
	}
	got := 0
	for deadline := time.Now().Add(5 * time.Second); got < Batch && time.Now().Before(deadline); {
		n, err := c.Receive(true)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if text, want := string(c.Received(i)), fmt.Sprint("from ", got+i); text != want {
				t.Errorf("answer %q, want %q", text, want)
			}
		}
		got += n
	}
	if got != Batch {
		t.Errorf("%d answers of %d", got, Batch)
	}
	if n, err := c.Receive(false); n != 0 || err != nil {
		t.Errorf("%d more answers, %v", n, err)
	}
}
