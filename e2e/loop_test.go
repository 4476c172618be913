//go:build linux

package e2e

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

// vnetHeader is the struct virtio_net_hdr before a frame of a packet socket. It
// is all zero, so the network card computes no checksum.
const vnetHeader = 10

// frame returns an Ethernet frame with a UDP datagram from a chosen sender.
func frame(to net.HardwareAddr, from, dst netip.AddrPort, payload []byte) []byte {
	udp := binary.BigEndian.AppendUint16(nil, from.Port())
	udp = binary.BigEndian.AppendUint16(udp, dst.Port())
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(payload)))
	udp = append(append(udp, 0, 0), payload...)
	pseudo := append(from.Addr().AsSlice(), dst.Addr().AsSlice()...)
	pseudo = append(pseudo, 0, 17, udp[4], udp[5])
	binary.BigEndian.PutUint16(udp[6:], checksum(append(pseudo, udp...)))

	b := make([]byte, vnetHeader, 200)
	b = append(b, to...)
	b = append(b, 2, 0, 0, 0, 0, 1) // an address that no host has
	if from.Addr().Is4() {
		head := []byte{0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0}
		binary.BigEndian.PutUint16(head[2:], uint16(20+len(udp)))
		head = append(append(head, from.Addr().AsSlice()...), dst.Addr().AsSlice()...)
		binary.BigEndian.PutUint16(head[10:], checksum(head))
		b = append(append(b, 0x08, 0x00), head...)
	} else {
		head := []byte{0x60, 0, 0, 0, 0, 0, 17, 64}
		binary.BigEndian.PutUint16(head[4:], uint16(len(udp)))
		b = append(append(append(b, 0x86, 0xdd), head...), from.Addr().AsSlice()...)
		b = append(b, dst.Addr().AsSlice()...)
	}
	return append(b, udp...)
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	if len(b)%2 == 1 {
		b = append(b[:len(b):len(b)], 0)
	}
	sum := uint32(0)
	for ; len(b) > 0; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// between returns the UDP payload of a frame from one host to another, nil for
// other frames.
func between(b []byte, from, to netip.Addr) []byte {
	head, size, kind, at := 20, 4, 9, 12
	if from.Is6() {
		head, size, kind, at = 40, 16, 6, 8
	}
	ip := b[min(len(b), vnetHeader+14):]
	if len(ip) < head+8 || ip[kind] != 17 || ip[0]>>4 != byte(map[bool]int{false: 4, true: 6}[from.Is6()]) ||
		!bytes.Equal(ip[at:at+size], from.AsSlice()) || !bytes.Equal(ip[at+size:at+2*size], to.AsSlice()) {
		return nil
	}
	return ip[head+8:]
}

// A forged packet seems to come from one tracker and goes to another one. The
// two trackers send each other at most one packet.
func TestTrackersFallSilent(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	hosts := []*host{l.host("one", dual), l.host("two", dual)}
	var trackers []*tracker
	for _, h := range hosts {
		// One secret, so that each tracker accepts the connection IDs
		// of the other. One worker, so that packets are answered in
		// order.
		trackers = append(trackers, h.tracker("-secret", strings.Repeat("s", 32), "-workers", "1"))
	}
	// Everything passes the bridge, where the test reads and forges
	// packets.
	taps := map[*host]*os.File{}
	for _, h := range hosts {
		tap, err := openThere(l.bridge, "packet:"+h.port)
		if err != nil {
			t.Fatal(err)
		}
		defer tap.Close()
		taps[h] = tap
	}
	asker := l.host("asker", dual)
	hash := sha1.Sum([]byte("loop"))

	for _, f := range []family{ipv4, ipv6} {
		one, two := trackers[0].address(f), trackers[1].address(f)
		probes := []*probe{asker.probe(one), asker.probe(two)}
		for _, p := range probes {
			if _, _, err := p.announce(hash, bep15.EventNone, 5001); err != nil {
				t.Fatal(err)
			}
		}
		// Static neighbours, so that no packet waits for a neighbour
		// solicitation.
		for i, h := range hosts {
			other := hosts[1-i]
			h.ip("-n", h.namespace, "neigh", "replace", other.address(f).String(), "lladdr", other.mac().String(), "dev", "eth0")
		}
		id := binary.BigEndian.AppendUint64(nil, bep15.ProtocolID)
		request := func(id []byte, action uint32, body int) []byte {
			b := binary.BigEndian.AppendUint32(bytes.Clone(id), action)
			return append(append(b, "tran"...), make([]byte, body)...)
		}
		bad := []byte("bad ID..")
		for _, c := range []struct {
			name    string
			packet  []byte
			replies int
		}{
			{name: "connect", packet: request(id, bep15.ActionConnect, 0), replies: 1},
			{name: "connect, padded", packet: request(id, bep15.ActionConnect, 1000), replies: 1},
			{name: "announce with a bad ID", packet: request(bad, bep15.ActionAnnounce, 82), replies: 1},
			{name: "scrape with a bad ID", packet: request(bad, bep15.ActionScrape, 20), replies: 1},
			{name: "an error", packet: append([]byte{0, 0, 0, 3}, "tranfor no reason"...), replies: 0},
			{name: "another action", packet: request(bad, 7, 0), replies: 0},
			{name: "an announce reply", packet: append([]byte{0, 0, 0, 1}, "tran123456789012345678"...), replies: 0},
			{name: "a scrape reply", packet: append([]byte{0, 0, 0, 2}, "tran12345678901234567890"...), replies: 0},
			{name: "nothing", replies: 0},
		} {
			if _, err := taps[hosts[0]].Write(frame(hosts[0].mac(), two, one, c.packet)); err != nil {
				t.Fatal(err)
			}
			// If the first tracker answers a probe, it has answered
			// all packets before. Then the same holds for the
			// second, and for the first again.
			for _, i := range []int{0, 1, 0, 1} {
				if _, err := probes[i].scrape(hash); err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
			}
			said := overheard(t, taps[hosts[0]], one.Addr(), two.Addr())
			if answers := overheard(t, taps[hosts[1]], two.Addr(), one.Addr()); len(said) != c.replies || len(answers) != 0 {
				t.Errorf("%s: %q, and back: %q; want %d replies and none back", c.name, said, answers, c.replies)
			}
		}
	}
}

// mac is the host's Ethernet address.
func (h *host) mac() net.HardwareAddr {
	h.Helper()
	out, err := h.command("cat", "/sys/class/net/eth0/address").Output()
	if err != nil {
		h.Fatal(err)
	}
	mac, err := net.ParseMAC(strings.TrimSpace(string(out)))
	if err != nil {
		h.Fatal(err)
	}
	return mac
}

// overheard returns the packets from one host to another since the last call.
// All of them are in the queue of the tap.
func overheard(t *testing.T, tap *os.File, from, to netip.Addr) (payloads [][]byte) {
	t.Helper()
	if err := tap.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 1<<16+64)
	for {
		n, err := tap.Read(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return payloads
		}
		if err != nil {
			t.Fatal(err)
		}
		if payload := between(buffer[:n], from, to); payload != nil {
			payloads = append(payloads, bytes.Clone(payload))
		}
	}
}
