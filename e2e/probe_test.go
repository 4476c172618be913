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
	"syscall"
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
	return &probe{host: h, conn: conn, tracker: tracker}
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
	for range 3 {
		if _, err := p.conn.WriteTo(request, net.UDPAddrFromAddrPort(p.tracker)); err != nil {
			return nil, err
		}
		if err := p.conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
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
	body := make([]byte, 82)
	copy(body, infoHash[:])
	copy(body[20:], "-PT0000-end-to-end--")    // peer_id
	binary.BigEndian.PutUint64(body[48:], 1)   // left
	binary.BigEndian.PutUint32(body[72:], 1)   // key
	binary.BigEndian.PutUint32(body[76:], 200) // num_want
	binary.BigEndian.PutUint16(body[80:], 9)   // port: discard, where nobody answers
	binary.BigEndian.PutUint32(body[64:], eventNone)
	reply, err := p.ask(actionAnnounce, body)
	if err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint32(body[64:], eventStopped)
	if _, err := p.ask(actionAnnounce, body); err != nil {
		return nil, err
	}
	size := p.tracker.Addr().BitLen()/8 + 2
	if len(reply) < 12 || (len(reply)-12)%size != 0 {
		return nil, fmt.Errorf("an announce reply of %d bytes", 8+len(reply))
	}
	var peers []netip.AddrPort
	for entry := range slices.Chunk(reply[12:], size) {
		addr, _ := netip.AddrFromSlice(entry[:size-2])
		peers = append(peers, netip.AddrPortFrom(addr, binary.BigEndian.Uint16(entry[size-2:])))
	}
	return peers, nil
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
	p.await(tor.name+" is empty", func() error {
		got, err := p.scrape(tor.infoHash)
		if err == nil && got.seeders+got.leechers != 0 {
			err = fmt.Errorf("got %+v", got)
		}
		return err
	})
}

// passSocketEnv in the environment of the test binary makes it open a socket of
// that network ("udp4", "udp6"), pass it on as a message on descriptor 3, and
// exit.
const passSocketEnv = "PICO_E2E_PASS_SOCKET"

func passSocket(network string) error {
	conn, err := net.ListenPacket(network, ":0")
	if err != nil {
		return err
	}
	file, err := conn.(*net.UDPConn).File()
	if err != nil {
		return err
	}
	return syscall.Sendmsg(3, []byte{0}, syscall.UnixRights(int(file.Fd())), nil, 0)
}

// socket opens a UDP socket on the host for this process to use. A socket stays
// in the namespace that it was opened in, so a copy of the test binary opens it
// there and passes it on.
func (h *host) socket(network string) (net.PacketConn, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	defer theirs.Close()
	child := h.command(self)
	child.Env = append(os.Environ(), passSocketEnv+"="+network)
	child.ExtraFiles = []*os.File{theirs}
	if out, err := child.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("open a socket on %s: %w: %s", h.name, err, out)
	}
	control := make([]byte, syscall.CmsgSpace(4))
	_, n, _, _, err := syscall.Recvmsg(pair[0], make([]byte, 1), control, syscall.MSG_DONTWAIT|syscall.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("receive a socket from %s: %w", h.name, err)
	}
	messages, err := syscall.ParseSocketControlMessage(control[:n])
	if err != nil {
		return nil, err
	}
	if len(messages) != 1 {
		return nil, fmt.Errorf("%d control messages from %s", len(messages), h.name)
	}
	descriptors, err := syscall.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(descriptors[0]), network)
	defer file.Close()
	return net.FilePacketConn(file)
}
