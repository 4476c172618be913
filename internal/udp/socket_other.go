//go:build !linux || portable

package udp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// This file has the sockets of systems other than Linux: one datagram at a time,
// by package net. The system chooses the address that a reply leaves from. On a
// host with several addresses each must be bound (-listen).

const (
	// MaxBatch is the largest batch.
	MaxBatch = 1
	// BindsInterfaces reports whether sockets can be bound to an interface here.
	BindsInterfaces = false
)

// Socket is a UDP socket of one address family with the memory of one datagram.
// One goroutine calls Serve; the methods that handle the datagram are for the
// function that Serve calls. Other methods may be called at any time.
type Socket struct {
	config Config
	conn   *net.UDPConn
	rcvbuf int // bytes

	mu      sync.Mutex
	stopped bool

	from    netip.AddrPort
	n       int
	in, out []byte
	answer  []byte // the queued reply
}

// DatagramBytes returns the memory that a socket takes for each datagram of its
// batch.
func (z Sizes) DatagramBytes() int { return z.MaxRequest + z.MaxReply }

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

// InterfaceMissing reports whether the socket waits for its interface.
func (*Socket) InterfaceMissing() bool { return false }

// ReceiveBuffer returns the size of the system's receive buffer in bytes.
func (s *Socket) ReceiveBuffer() int { return s.rcvbuf }

// Freebound reports whether no interface had the address when it was bound.
func (*Socket) Freebound() bool { return false }

// drainTime is how long Serve takes queued datagrams after Stop: with a deadline
// that has passed not even a queued datagram can be read.
const drainTime = 100 * time.Millisecond

// Serve calls handle for each datagram until Stop. handle answers it and calls
// Flush. Serve returns an error if the socket fails.
func (s *Socket) Serve(handle func(n int)) error {
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(s.in)
		switch {
		case err == nil || n > 0: // Windows reports a datagram that was cut as an error
			s.n, s.from = n, from
			handle(1)
			runtime.Gosched() // other sockets must not starve on one processor
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		}
		// Other errors are ICMP messages about earlier replies: the socket works.
	}
}

// Request returns the datagram, cut to MaxRequest.
func (s *Socket) Request(int) []byte { return s.in[:s.n] }

// Source copies the address and port of the datagram into key: 6 or 18 bytes, by
// the socket's family. For an address with a zone it returns a number that
// stands for the zone, 0 for others.
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
		link = link*31 + uint32(c) // nobody needs the system's own number
	}
	return link
}

// Buffer returns the memory for the reply: empty, with a capacity of MaxReply
// bytes.
func (s *Socket) Buffer(int) []byte { return s.out[:0] }

// Reply queues b, which lies in Buffer, for the sender of the datagram.
func (s *Socket) Reply(_ int, b []byte) { s.answer = b }

// Flush sends the queued reply. It returns 1 if the system refused it.
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

// Stop makes Serve return after it has handled the datagrams that have arrived.
func (s *Socket) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.stopped = true
		_ = s.conn.SetReadDeadline(time.Now().Add(drainTime)) // it fails only if it is closed
	}
}

// Close releases the port.
func (s *Socket) Close() { s.conn.Close() }

// Hint returns what a user can do about an error of Open.
func Hint(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return " (is another tracker running?)"
	case errors.Is(err, os.ErrPermission):
		return " (ports below 1024 need root)"
	}
	return ""
}

// NoFamily reports whether err means that the system lacks the address family.
func NoFamily(err error) bool { return errors.Is(err, syscall.EAFNOSUPPORT) }

// Drops would return how many datagrams for the socket the system has dropped:
// not known here.
func (*Socket) Drops() (n uint64, ok bool) { return 0, false }

// Waiting would report whether the socket has datagrams that nobody has taken:
// not known here.
func (*Socket) Waiting() bool { return false }
