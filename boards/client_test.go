//go:build linux

package boards

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

// This file is a BEP 15 client that checks a tracker. It does not use package
// testing, because the guest of a machine (guest_test.go) runs the same checks.

// refusal is the text of a tracker's error reply.
type refusal string

func (r refusal) Error() string { return "refused: " + string(r) }

func randomHash() (h bep15.InfoHash) {
	_, _ = rand.Read(h[:]) // never fails
	return h
}

// client is a peer: a socket and its connection ID.
type client struct {
	conn      *net.UDPConn
	id        uint64
	connected time.Time // when it got the ID
}

// dial opens a socket on a loopback address, to the tracker at this port of the
// same family, and connects.
func dial(from netip.Addr, port int) (*client, error) {
	to := netip.MustParseAddr("127.0.0.1")
	if from.Is6() {
		to = netip.IPv6Loopback()
	}
	conn, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)),
		net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, uint16(port))))
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn}
	if err := c.connect(); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// connect gets a connection ID.
func (c *client) connect() error {
	reply, err := c.ask(func(transaction uint32) []byte { return bep15.AppendConnect(nil, transaction) })
	if err != nil {
		return err
	}
	id, ok := bep15.ParseConnectReply(reply)
	if !ok {
		return fmt.Errorf("got a connect reply of %d bytes, want %d", len(reply), bep15.ConnectSize)
	}
	c.id, c.connected = id, time.Now()
	return nil
}

func (c *client) close() { c.conn.Close() }

func (c *client) self() netip.AddrPort { return c.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// ask sends a request, up to four times, and returns the whole reply.
func (c *client) ask(request func(transaction uint32) []byte) ([]byte, error) {
	var random [4]byte
	_, _ = rand.Read(random[:])
	transaction := binary.BigEndian.Uint32(random[:])
	b := request(transaction)
	reply := make([]byte, 2048)
	var failure error
	for range 4 {
		if _, err := c.conn.Write(b); err != nil {
			return nil, err
		}
		if err := c.conn.SetReadDeadline(time.Now().Add(3 * time.Second)); err != nil {
			return nil, err
		}
		for {
			n, err := c.conn.Read(reply)
			if err != nil {
				failure = err
				break
			}
			action, got, ok := bep15.ParseReplyHeader(reply[:n])
			if !ok || got != transaction {
				continue // the reply to an earlier request
			}
			switch action {
			case bep15.Action(b):
				return reply[:n], nil
			case bep15.ActionError:
				return nil, refusal(bep15.ErrorText(reply[:n]))
			default:
				return nil, fmt.Errorf("got action %d in a reply, want %d", action, bep15.Action(b))
			}
		}
	}
	return nil, failure
}

// announced is the reply to an announce.
type announced struct {
	interval, leechers, seeders uint32
	peers                       []netip.AddrPort
}

// announce announces the client's own port. With left 0 it is a seeder.
func (c *client) announce(h bep15.InfoHash, left uint64) (a announced, err error) {
	reply, err := c.ask(func(transaction uint32) []byte {
		return bep15.AppendAnnounce(nil, &bep15.Announce{
			ConnectionID: c.id, TransactionID: transaction, InfoHash: h,
			PeerID: [20]byte(fmt.Appendf(nil, "-PT0001-%012d", c.self().Port())),
			Left:   left, Event: bep15.EventStarted, Key: 1, NumWant: 50, Port: c.self().Port(),
		})
	})
	if err != nil {
		return a, err
	}
	v6 := c.self().Addr().Is6()
	r, ok := bep15.ParseAnnounceReply(reply, v6)
	if !ok {
		return a, fmt.Errorf("got an announce reply of %d bytes", len(reply))
	}
	a = announced{interval: r.Interval, leechers: r.Leechers, seeders: r.Seeders}
	for p := range slices.Chunk(r.Peers, bep15.PeerSize(v6)) {
		ip, _ := netip.AddrFromSlice(p[:len(p)-2])
		a.peers = append(a.peers, netip.AddrPortFrom(ip, binary.BigEndian.Uint16(p[len(p)-2:])))
	}
	return a, nil
}

// scrape returns the seeders, completed downloads and leechers of a swarm.
func (c *client) scrape(h bep15.InfoHash) (counts [3]uint32, err error) {
	reply, err := c.ask(func(transaction uint32) []byte { return bep15.AppendScrape(nil, c.id, transaction, h) })
	if err == nil && !bep15.ParseScrapeReply(reply, 1, func(_ int, n bep15.Counts) {
		counts = [3]uint32{n.Seeders, n.Completed, n.Leechers}
	}) {
		err = fmt.Errorf("got a scrape reply of %d bytes", len(reply))
	}
	return counts, err
}

var (
	// pair4 and pair6 are the addresses of two clients. IPv6 has one
	// loopback address, so there the clients differ by their ports.
	pair4 = [2]netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")}
	pair6 = [2]netip.Addr{netip.IPv6Loopback(), netip.IPv6Loopback()}
)

// converse lets a seeder and a leecher of h find each other through the tracker
// at port, and returns an error if a reply is wrong.
func converse(pair [2]netip.Addr, port int, h bep15.InfoHash) error {
	seeder, err := dial(pair[0], port)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer seeder.close()
	leecher, err := dial(pair[1], port)
	if err != nil {
		return fmt.Errorf("second connect: %w", err)
	}
	defer leecher.close()

	a, err := seeder.announce(h, 0)
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	if a.interval < 60 || a.seeders != 1 || a.leechers != 0 || len(a.peers) != 0 {
		return fmt.Errorf("the first announce has %+v", a)
	}
	// A wrong byte order or alignment would show in the ports and addresses
	// of peers.
	if a, err = leecher.announce(h, 1<<40); err != nil {
		return fmt.Errorf("second announce: %w", err)
	}
	if a.seeders != 1 || a.leechers != 1 || !slices.Equal(a.peers, []netip.AddrPort{seeder.self()}) {
		return fmt.Errorf("the second announce has %+v, want the seeder %v", a, seeder.self())
	}
	counts, err := leecher.scrape(h)
	if err != nil {
		return fmt.Errorf("scrape: %w", err)
	}
	if counts != [3]uint32{1, 0, 1} {
		return fmt.Errorf("the scrape has %v, want 1 seeder, 0 completed, 1 leecher", counts)
	}
	seeder.id ^= 1 // no longer what the tracker signed
	var r refusal
	if _, err := seeder.announce(h, 0); !errors.As(err, &r) {
		return fmt.Errorf("a forged connection ID: %v, want a refusal", err)
	}
	return nil
}

// freePort returns a port that is free on both loopback addresses.
func freePort() (int, error) {
	for range 20 {
		four, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		port := four.LocalAddr().(*net.UDPAddr).Port
		six, err := net.ListenPacket("udp6", "[::1]:"+strconv.Itoa(port))
		four.Close()
		if err == nil {
			six.Close()
			return port, nil
		}
	}
	return 0, errors.New("no port is free on both loopback addresses")
}
