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
)

// This file is a client of BEP 15, and what it says to a tracker to see it
// serve. It knows nothing of package testing: the guest of a machine
// (guest_test.go) has the same conversation.

const (
	protocolID = 0x41727101980

	actionConnect  = 0
	actionAnnounce = 1
	actionScrape   = 2
	actionError    = 3
)

// refusal is the text of a tracker's error reply.
type refusal string

func (r refusal) Error() string { return "refused: " + string(r) }

type infoHash [20]byte

func randomHash() (h infoHash) {
	_, _ = rand.Read(h[:]) // never fails
	return h
}

// client is a peer: a socket, and the connection ID that it was given.
type client struct {
	conn *net.UDPConn
	id   uint64
}

// dial opens a socket from an address of this machine to the tracker at port
// of the same address's loopback, and connects.
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
	reply, err := c.ask(protocolID, actionConnect, nil)
	if err == nil && len(reply) != 8 {
		err = fmt.Errorf("a connect's reply of %d bytes", 8+len(reply))
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	c.id = binary.BigEndian.Uint64(reply)
	return c, nil
}

func (c *client) close() { c.conn.Close() }

func (c *client) self() netip.AddrPort { return c.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// ask sends a request, again if need be, and returns its reply from the ninth
// byte on.
func (c *client) ask(id uint64, action uint32, body []byte) ([]byte, error) {
	var transaction [4]byte
	_, _ = rand.Read(transaction[:])
	request := binary.BigEndian.AppendUint64(nil, id)
	request = binary.BigEndian.AppendUint32(request, action)
	request = append(append(request, transaction[:]...), body...)
	reply := make([]byte, 2048)
	var failure error
	for range 4 {
		if _, err := c.conn.Write(request); err != nil {
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
			if n < 8 || string(reply[4:8]) != string(transaction[:]) {
				continue // the answer to an earlier try
			}
			switch got := binary.BigEndian.Uint32(reply); got {
			case action:
				return reply[8:n], nil
			case actionError:
				return nil, refusal(reply[8:n])
			default:
				return nil, fmt.Errorf("action %d in the reply to %d", got, action)
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

// announce tells of the client's own port; left of 0 makes it a seeder.
func (c *client) announce(h infoHash, left uint64) (a announced, err error) {
	body := append([]byte(nil), h[:]...)
	body = append(body, "-PT0001-"...)
	body = fmt.Appendf(body, "%012d", c.self().Port())
	body = binary.BigEndian.AppendUint64(body, 0) // downloaded
	body = binary.BigEndian.AppendUint64(body, left)
	body = binary.BigEndian.AppendUint64(body, 0) // uploaded
	body = binary.BigEndian.AppendUint32(body, 2) // event: started
	body = binary.BigEndian.AppendUint32(body, 0) // IP: the sender's
	body = binary.BigEndian.AppendUint32(body, 1) // key
	body = binary.BigEndian.AppendUint32(body, 50)
	body = binary.BigEndian.AppendUint16(body, c.self().Port())
	reply, err := c.ask(c.id, actionAnnounce, body)
	if err != nil {
		return a, err
	}
	size := len(c.self().Addr().AsSlice())
	if len(reply) < 12 || (len(reply)-12)%(size+2) != 0 {
		return a, fmt.Errorf("an announce's reply of %d bytes", 8+len(reply))
	}
	a.interval = binary.BigEndian.Uint32(reply)
	a.leechers = binary.BigEndian.Uint32(reply[4:])
	a.seeders = binary.BigEndian.Uint32(reply[8:])
	for reply = reply[12:]; len(reply) > 0; reply = reply[size+2:] {
		ip, _ := netip.AddrFromSlice(reply[:size])
		a.peers = append(a.peers, netip.AddrPortFrom(ip, binary.BigEndian.Uint16(reply[size:])))
	}
	return a, nil
}

// scrape is the seeders, completed downloads and leechers of a swarm.
func (c *client) scrape(h infoHash) (counts [3]uint32, err error) {
	reply, err := c.ask(c.id, actionScrape, h[:])
	if err == nil && len(reply) != 12 {
		err = fmt.Errorf("a scrape's reply of %d bytes", 8+len(reply))
	}
	if err != nil {
		return counts, err
	}
	for i := range counts {
		counts[i] = binary.BigEndian.Uint32(reply[4*i:])
	}
	return counts, nil
}

var (
	// pair4 and pair6 are from where two clients ask. Loopback has one
	// address of IPv6: there they differ by their ports.
	pair4 = [2]netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")}
	pair6 = [2]netip.Addr{netip.IPv6Loopback(), netip.IPv6Loopback()}
)

// converse has a seeder and a leecher of h meet through the tracker at port,
// and returns what is not as it must be.
func converse(pair [2]netip.Addr, port int, h infoHash) error {
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
	// Byte order and alignment show in the ports and addresses of peers.
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

// freePort is a port that no one has on either loopback address.
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
