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

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

// A probe is a BEP 15 client on a host.
type probe struct {
	*host
	conn    net.PacketConn
	tracker netip.AddrPort
	id      uint64 // connection ID; 0 is none yet
	tries   int    // how often a request without a reply is sent
	timeout time.Duration
	again   int // requests that were sent again
}

// A trackerError is the reason in a tracker's error reply.
type trackerError string

func (e trackerError) Error() string { return "the tracker says: " + string(e) }

// counts are the numbers of a swarm in a scrape reply.
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

// roundTrip sends a request, again if there is no reply, and returns its reply.
func (p *probe) roundTrip(request []byte) ([]byte, error) {
	transaction := rand.Uint32()
	binary.BigEndian.PutUint32(request[12:], transaction)
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
			action, got, ok := bep15.ParseReplyHeader(buffer[:n])
			if from.String() != p.tracker.String() || !ok || got != transaction {
				continue // late, or not for us
			}
			switch action {
			case bep15.Action(request):
				return buffer[:n], nil
			case bep15.ActionError:
				return nil, trackerError(bep15.ErrorText(buffer[:n]))
			default:
				return nil, fmt.Errorf("got action %d in a reply, want %d", action, bep15.Action(request))
			}
		}
	}
	return nil, fmt.Errorf("no reply from %v", p.tracker)
}

// ask sends an announce or a scrape. The connection ID may have expired, or may
// be from before a restart: after an error the probe connects and asks again.
func (p *probe) ask(request []byte) ([]byte, error) {
	var reason trackerError
	if p.id != 0 {
		binary.BigEndian.PutUint64(request, p.id)
		reply, err := p.roundTrip(request)
		if !errors.As(err, &reason) {
			return reply, err
		}
	}
	reply, err := p.roundTrip(bep15.AppendConnect(nil, 0))
	if err != nil {
		return nil, err
	}
	var ok bool
	if p.id, ok = bep15.ParseConnectReply(reply); !ok {
		return nil, fmt.Errorf("got a connect reply of %d bytes, want %d", len(reply), bep15.ConnectSize)
	}
	binary.BigEndian.PutUint64(request, p.id)
	return p.roundTrip(request)
}

// scrape asks for the counts of one torrent.
func (p *probe) scrape(infoHash bep15.InfoHash) (c counts, err error) {
	reply, err := p.ask(bep15.AppendScrape(nil, 0, 0, infoHash))
	if err == nil && !bep15.ParseScrapeReply(reply, 1, func(_ int, n bep15.Counts) {
		c = counts{seeders: n.Seeders, completed: n.Completed, leechers: n.Leechers}
	}) {
		err = fmt.Errorf("got a scrape reply of %d bytes", len(reply))
	}
	return c, err
}

// peers announces a leecher, removes it at once, and returns the peers in the
// reply.
func (p *probe) peers(infoHash [20]byte) ([]netip.AddrPort, error) {
	const discard = 9 // a port where nobody answers
	peers, _, err := p.announce(infoHash, bep15.EventNone, discard)
	if err != nil {
		return nil, err
	}
	_, _, err = p.announce(infoHash, bep15.EventStopped, discard)
	return peers, err
}

// announce announces a leecher with a port, and returns the peers and the
// counts in the reply.
func (p *probe) announce(infoHash [20]byte, event uint32, port uint16) (peers []netip.AddrPort, c counts, err error) {
	return p.announceFor(infoHash, event, port, 200)
}

// announceFor is announce for at most so many peers.
func (p *probe) announceFor(infoHash [20]byte, event uint32, port uint16, numWant int32) (peers []netip.AddrPort, c counts, err error) {
	reply, err := p.ask(bep15.AppendAnnounce(nil, &bep15.Announce{
		InfoHash: infoHash, PeerID: [20]byte([]byte("-PT0000-end-to-end--")),
		Left: 1, Event: event, Key: 1, NumWant: numWant, Port: port,
	}))
	if err != nil {
		return nil, c, err
	}
	v6 := p.tracker.Addr().Is6()
	r, ok := bep15.ParseAnnounceReply(reply, v6)
	if !ok {
		return nil, c, fmt.Errorf("got an announce reply of %d bytes", len(reply))
	}
	for entry := range slices.Chunk(r.Peers, bep15.PeerSize(v6)) {
		addr, _ := netip.AddrFromSlice(entry[:len(entry)-2])
		peers = append(peers, netip.AddrPortFrom(addr, binary.BigEndian.Uint16(entry[len(entry)-2:])))
	}
	return peers, counts{leechers: r.Leechers, seeders: r.Seeders}, nil
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

// awaitEmpty waits until the tracker counts no peers in the torrent's swarm.
// The number of downloads is lost with the last peer.
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
