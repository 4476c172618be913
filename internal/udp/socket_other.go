//go:build !linux || portable

package udp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// MaxBatch is how many datagrams are taken from the system at once.
const MaxBatch = 1

// DatagramBytes returns the memory that a socket takes for each datagram of its
// batch.
func (z Sizes) DatagramBytes() int { return z.MaxRequest + z.MaxReply }

// socket is a bound UDP socket of one address family and the datagram in hand.
type Socket struct {
	conn      *net.UDPConn
	config    Config
	rcvbuf    int  // bytes that the system keeps for us
	freebound bool // of no meaning here
	stopping  atomic.Bool

	from   netip.AddrPort
	n      int
	in     []byte
	out    []byte
	answer []byte
}

// Open binds a UDP socket.
func Open(c Config) (*Socket, error) {
	if c.Shared {
		return nil, ErrNoSharing
	}
	network := "udp4"
	if len(c.IP) == 16 {
		network = "udp6"
	}
	conn, err := net.ListenUDP(network, &net.UDPAddr{IP: net.IP(c.IP), Port: int(c.Port), Zone: c.Interface})
	if err != nil {
		return nil, err
	}
	c.Batch = 1
	s := &Socket{conn: conn, config: c, in: make([]byte, c.MaxRequest), out: make([]byte, c.MaxReply)}
	const buffer = 1 << 20
	if conn.SetReadBuffer(buffer) == nil {
		s.rcvbuf = buffer
	}
	return s, nil
}

// BindsInterfaces says whether a socket can be bound to an interface here.
const BindsInterfaces = false

// InterfaceMissing says whether the socket's interface is not there.
func (*Socket) InterfaceMissing() bool { return false }

// Receive waits for a datagram. After stop it takes what is queued, and then
// returns ErrStopped.
func (s *Socket) Receive() (int, error) {
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(s.in)
		switch {
		case err == nil || n > 0: // Windows reports one that was cut as an error
			s.n, s.from = n, from
			return 1, nil
		case s.stopping.Load() && errors.Is(err, os.ErrDeadlineExceeded):
			return 0, ErrStopped
		case errors.Is(err, net.ErrClosed):
			return 0, err
		}
		// An ICMP error for an earlier reply; the socket is as good as before.
	}
}

func (s *Socket) Request(int) []byte { return s.in[:s.n] }

// Source copies the address and port of the datagram into key: 6 or 18 bytes,
// by the socket's family. For an address with a zone it returns a number that
// stands for it, 0 for others.
func (s *Socket) Source(_ int, key []byte) (link uint32) {
	if s.V6() {
		a := s.from.Addr().As16()
		copy(key, a[:])
	} else {
		a := s.from.Addr().Unmap().As4()
		copy(key, a[:])
	}
	key[len(key)-2], key[len(key)-1] = byte(s.from.Port()>>8), byte(s.from.Port())
	for _, c := range []byte(s.from.Addr().Zone()) {
		link = link*31 + uint32(c) // nothing asks for the system's own number
	}
	return link
}

func (s *Socket) Buffer(int) []byte { return s.out[:0] }

func (s *Socket) Reply(_ int, b []byte) { s.answer = b }

// Flush sends the reply and says whether the system refused it.
func (s *Socket) Flush(int) (failed int) {
	if len(s.answer) == 0 {
		return 0
	}
	if _, err := s.conn.WriteToUDPAddrPort(s.answer, s.from); err != nil {
		failed = 1
	}
	s.answer = nil
	return failed
}

// Stop makes receive return once what is queued has been taken.
func (s *Socket) Stop() {
	s.stopping.Store(true)
	// With a deadline that has passed not even what is queued can be read.
	_ = s.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
}

func (s *Socket) Close() { s.conn.Close() }

// hint says what a user can do about an error of Open.
func Hint(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return " (is another tracker running?)"
	case errors.Is(err, os.ErrPermission):
		return " (ports below 1024 need root)"
	}
	return ""
}

// NoFamily says whether err means that the system lacks the address family.
func NoFamily(err error) bool { return errors.Is(err, syscall.EAFNOSUPPORT) }

// Drops would return how many datagrams the system has dropped that were meant
// for the socket: not known here.
func (*Socket) Drops() (n uint32, ok bool) { return 0, false }

// Waiting would report whether the socket has datagrams that nobody has taken.
func (*Socket) Waiting() bool { return false }
