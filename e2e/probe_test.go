//go:build linux

package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"
)

// BEP 15.
const (
	protocolMagic = 0x41727101980

	actionConnect  = 0
	actionAnnounce = 1
	actionScrape   = 2
	actionError    = 3

	eventNone    = 0
	eventStopped = 3
)

// A probe is a BEP 15 client on a host.
type probe struct {
	*host
	conn    net.PacketConn
	tracker netip.AddrPort
	id      uint64 // connection ID; 0 is none yet
	tries   int    // how often a request is sent that nobody answers
	timeout time.Duration
	again   int // requests that were sent again
}

// A trackerError is the reason in a tracker's error reply.
type trackerError string

func (e trackerError) Error() string { return "the tracker says: " + string(e) }

// counts is what a scrape tells of a swarm.
type counts struct{ seeders, completed, leechers uint32 }

// probe opens a socket on the host, to ask the tracker at an address of the
// same family.
func (h *host) probe(tracker netip.AddrPort) *probe {
	h.Helper()
	network := "udp4"
	if tracker.Addr().Is6() {
		network = "udp6"
	}
	conn, err := h.socket(network)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { conn.Close() })
	return &probe{host: h, conn: conn, tracker: tracker, tries: 3, timeout: time.Second}
}

// roundTrip sends a request, again and again if need be, and returns the body of
// the reply that belongs to it.
func (p *probe) roundTrip(id uint64, action uint32, body []byte) ([]byte, error) {
	transaction := rand.Uint32()
	request := binary.BigEndian.AppendUint64(nil, id)
	request = binary.BigEndian.AppendUint32(request, action)
	request = binary.BigEndian.AppendUint32(request, transaction)
	request = append(request, body...)
	buffer := make([]byte, 1<<16)
	for try := range p.tries {
		if try > 0 {
			p.again++
		}
		if _, err := p.conn.WriteTo(request, net.UDPAddrFromAddrPort(p.tracker)); err != nil {
			return nil, err
		}
		if err := p.conn.SetReadDeadline(time.Now().Add(p.timeout)); err != nil {
			return nil, err
		}
		for {
			n, from, err := p.conn.ReadFrom(buffer)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return nil, err
			}
			if from.String() != p.tracker.String() || n < 8 || binary.BigEndian.Uint32(buffer[4:]) != transaction {
				continue // late, or not for us
			}
			switch got := binary.BigEndian.Uint32(buffer); got {
			case action:
				return buffer[8:n], nil
			case actionError:
				return nil, trackerError(buffer[8:n])
			default:
				return nil, fmt.Errorf("action %d is answered with action %d", action, got)
			}
		}
	}
	return nil, fmt.Errorf("no reply from %v", p.tracker)
}

// ask sends an announce or a scrape. The error that answers it may be about an
// ID that is out of date, or that the tracker gave in an earlier life, so it is
// asked once more with a new one.
func (p *probe) ask(action uint32, body []byte) ([]byte, error) {
	var reason trackerError
	if p.id != 0 {
		reply, err := p.roundTrip(p.id, action, body)
		if !errors.As(err, &reason) {
			return reply, err
		}
	}
	reply, err := p.roundTrip(protocolMagic, actionConnect, nil)
	if err != nil {
		return nil, err
	}
	if len(reply) != 8 {
		return nil, fmt.Errorf("a connect reply of %d bytes", 8+len(reply))
	}
	p.id = binary.BigEndian.Uint64(reply)
	return p.roundTrip(p.id, action, body)
}

// scrape asks for the counts of one torrent.
func (p *probe) scrape(infoHash [20]byte) (counts, error) {
	reply, err := p.ask(actionScrape, infoHash[:])
	if err != nil {
		return counts{}, err
	}
	if len(reply) != 12 {
		return counts{}, fmt.Errorf("a scrape reply of %d bytes", 8+len(reply))
	}
	return counts{
		seeders:   binary.BigEndian.Uint32(reply),
		completed: binary.BigEndian.Uint32(reply[4:]),
		leechers:  binary.BigEndian.Uint32(reply[8:]),
	}, nil
}

// peers announces a leecher and takes it back at once, and returns the peers
// that it was told of.
func (p *probe) peers(infoHash [20]byte) ([]netip.AddrPort, error) {
	const discard = 9 // a port where nobody answers
	peers, _, err := p.announce(infoHash, eventNone, discard)
	if err != nil {
		return nil, err
	}
	_, _, err = p.announce(infoHash, eventStopped, discard)
	return peers, err
}

// announce announces a leecher that listens on a port, and returns the peers
// and the counts that it was told of.
func (p *probe) announce(infoHash [20]byte, event uint32, port uint16) (peers []netip.AddrPort, c counts, err error) {
	body := make([]byte, 82)
	copy(body, infoHash[:])
	copy(body[20:], "-PT0000-end-to-end--")  // peer_id
	binary.BigEndian.PutUint64(body[48:], 1) // left
	binary.BigEndian.PutUint32(body[64:], event)
	binary.BigEndian.PutUint32(body[72:], 1)   // key
	binary.BigEndian.PutUint32(body[76:], 200) // num_want
	binary.BigEndian.PutUint16(body[80:], port)
	reply, err := p.ask(actionAnnounce, body)
	if err != nil {
		return nil, c, err
	}
	size := p.tracker.Addr().BitLen()/8 + 2
	if len(reply) < 12 || (len(reply)-12)%size != 0 {
		return nil, c, fmt.Errorf("an announce reply of %d bytes", 8+len(reply))
	}
	for entry := range slices.Chunk(reply[12:], size) {
		addr, _ := netip.AddrFromSlice(entry[:size-2])
		peers = append(peers, netip.AddrPortFrom(addr, binary.BigEndian.Uint16(entry[size-2:])))
	}
	return peers, counts{leechers: binary.BigEndian.Uint32(reply[4:]), seeders: binary.BigEndian.Uint32(reply[8:])}, nil
}

// awaitCounts waits until the tracker counts want in the torrent's swarm.
func (p *probe) awaitCounts(tor *torrent, want counts) {
	p.Helper()
	p.await(fmt.Sprintf("%s has %+v", tor.name, want), func() error {
		got, err := p.scrape(tor.infoHash)
		if err == nil && got != want {
			err = fmt.Errorf("got %+v", got)
		}
		return err
	})
}

// awaitPeers waits until the tracker names just these peers of the torrent.
func (p *probe) awaitPeers(tor *torrent, peers ...*peer) {
	p.Helper()
	family := ipv4
	if p.tracker.Addr().Is6() {
		family = ipv6
	}
	var want []netip.AddrPort
	for _, peer := range peers {
		want = append(want, peer.address(family))
	}
	slices.SortFunc(want, netip.AddrPort.Compare)
	p.await(fmt.Sprintf("%s has %v", tor.name, want), func() error {
		got, err := p.peers(tor.infoHash)
		slices.SortFunc(got, netip.AddrPort.Compare)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("got %v", got)
		}
		return err
	})
}

// awaitEmpty waits until the tracker counts nobody in the torrent's swarm. How
// often it was downloaded goes with the last peer.
func (p *probe) awaitEmpty(tor *torrent) {
	p.Helper()
	p.awaitNobody(tor.infoHash)
}

// awaitNobody is awaitEmpty of a torrent that is only an info hash.
func (p *probe) awaitNobody(infoHash [20]byte) {
	p.Helper()
	p.await(fmt.Sprintf("%x is empty", infoHash[:4]), func() error {
		got, err := p.scrape(infoHash)
		if err == nil && got.seeders+got.leechers != 0 {
			err = fmt.Errorf("got %+v", got)
		}
		return err
	})
}

// socket opens a UDP socket on the host for this process to use.
func (h *host) socket(network string) (net.PacketConn, error) {
	file, err := openThere(h.namespace, network)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return net.FilePacketConn(file)
}
