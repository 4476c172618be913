//go:build linux

package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"golang.org/x/sys/unix"
)

// This file records the packets between clients and tracker, like a packet
// sniffer on the tracker's host.

// A capture holds the UDP payloads that came to the tracker's port or left it.
type capture struct {
	mu      sync.Mutex
	packets []packet
}

// A packet is a request to the tracker, or its reply.
type packet struct {
	client  netip.AddrPort // the sender of the request, the receiver of the reply
	reply   bool
	payload []byte
}

// An announce is an announce request of a client.
type announce struct {
	from     netip.AddrPort
	infoHash [20]byte
	left     uint64
	event    uint32
	numWant  int32
	port     uint16 // where the client listens
}

// capture starts to record on the host, which runs a tracker.
func (h *host) capture() *capture {
	h.Helper()
	file, err := openThere(h.namespace, "capture:eth0")
	if err != nil {
		h.Fatal(err)
	}
	c := &capture{}
	var done sync.WaitGroup
	done.Add(1)
	go func() {
		defer done.Done()
		buffer := make([]byte, 1<<16)
		for {
			n, err := file.Read(buffer)
			switch {
			case errors.Is(err, os.ErrClosed):
				return
			case errors.Is(err, syscall.ENETDOWN):
				continue
			case err != nil:
				h.Errorf("capture on %s: %v", h.name, err)
				return
			}
			if p, ok := parseFrame(buffer[:n]); ok {
				c.mu.Lock()
				c.packets = append(c.packets, p)
				c.mu.Unlock()
			}
		}
	}()
	h.Cleanup(func() {
		file.Close()
		done.Wait()
		if h.Failed() {
			c.print(h.lab)
		}
	})
	return c
}

// print shows the announces and the errors of every host.
func (c *capture) print(l *lab) {
	for _, h := range l.hosts {
		announces := c.announces(h)
		if len(announces) == 0 || h.name == "probe" {
			continue
		}
		l.Logf("--- %s: %d connects, %d announces, errors %v", h.name, c.connects(h), len(announces), c.refusals(h))
		for _, a := range announces {
			l.Log(a)
		}
	}
}

// parseFrame returns the packet in an Ethernet frame, if it is one to or from the
// tracker's port. Fragments are skipped.
func parseFrame(frame []byte) (packet, bool) {
	const ethernet, header4, header6, header = 14, 20, 40, 8
	var from, to netip.Addr
	var udp []byte
	if len(frame) < ethernet {
		return packet{}, false
	}
	ip := frame[ethernet:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_IP:
		if len(ip) < header4 || ip[9] != unix.IPPROTO_UDP || binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
			return packet{}, false
		}
		from, to = netip.AddrFrom4([4]byte(ip[12:])), netip.AddrFrom4([4]byte(ip[16:]))
		udp = ip[min(int(ip[0]&15)*4, len(ip)):]
	case unix.ETH_P_IPV6:
		if len(ip) < header6 || ip[6] != unix.IPPROTO_UDP {
			return packet{}, false
		}
		from, to = netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:]))
		udp = ip[header6:]
	default:
		return packet{}, false
	}
	if len(udp) < header {
		return packet{}, false
	}
	size := int(binary.BigEndian.Uint16(udp[4:]))
	if size < header || size > len(udp) {
		return packet{}, false
	}
	p := packet{payload: slices.Clone(udp[header:size])}
	source, destination := binary.BigEndian.Uint16(udp), binary.BigEndian.Uint16(udp[2:])
	switch {
	case destination == trackerPort:
		p.client = netip.AddrPortFrom(from, source)
		return p, true
	case source == trackerPort:
		p.client, p.reply = netip.AddrPortFrom(to, destination), true
		return p, true
	}
	return packet{}, false
}

// of returns the packets of a host, in both families.
func (c *capture) of(h *host) []packet {
	c.mu.Lock()
	defer c.mu.Unlock()
	var packets []packet
	for _, p := range c.packets {
		if a := p.client.Addr(); a == h.ip4 || a == h.ip6 {
			packets = append(packets, p)
		}
	}
	return packets
}

// connects returns the number of connect requests of a host.
func (c *capture) connects(h *host) int {
	n := 0
	for _, p := range c.of(h) {
		if !p.reply && len(p.payload) >= bep15.ConnectSize && binary.BigEndian.Uint64(p.payload) == bep15.ProtocolID {
			n++
		}
	}
	return n
}

// announces returns the announce requests of a host.
func (c *capture) announces(h *host) []announce {
	var announces []announce
	for _, p := range c.of(h) {
		if p.reply || len(p.payload) < bep15.AnnounceSize || bep15.Action(p.payload) != bep15.ActionAnnounce {
			continue
		}
		a := bep15.ParseAnnounce(p.payload)
		announces = append(announces, announce{
			from:     p.client,
			infoHash: *a.InfoHash,
			left:     a.Left,
			event:    a.Event,
			numWant:  a.NumWant,
			port:     binary.BigEndian.Uint16(a.Port[:]),
		})
	}
	return announces
}

// refusals returns the text of every error reply to a host, with its number.
func (c *capture) refusals(h *host) map[string]int {
	refusals := map[string]int{}
	for _, p := range c.of(h) {
		if p.reply && len(p.payload) >= bep15.ErrorSize && binary.BigEndian.Uint32(p.payload) == bep15.ActionError {
			refusals[bep15.ErrorText(p.payload)]++
		}
	}
	return refusals
}

// announced returns the torrents that a host announced with an event; any event
// if events is empty.
func (c *capture) announced(h *host, events ...uint32) map[[20]byte]bool {
	hashes := map[[20]byte]bool{}
	for _, a := range c.announces(h) {
		if len(events) == 0 || slices.Contains(events, a.event) {
			hashes[a.infoHash] = true
		}
	}
	return hashes
}

func (a announce) String() string {
	return fmt.Sprintf("%x… from %v: event %d, left %d, num_want %d, port %d", a.infoHash[:4], a.from, a.event, a.left, a.numWant, a.port)
}
