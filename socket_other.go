//go:build !linux || portable

package main

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// This file owns the sockets of systems other than Linux: a datagram a call,
// by the standard library. The system chooses the address that a reply leaves
// from; bind each address (-listen) where a host has several.

// maxBatch is how many datagrams are taken from the system at once.
const maxBatch = 1

const datagramBytes = maxRequest + maxReply

// socket is a bound UDP socket of one address family and the datagram in hand.
type socket struct {
	conn     *net.UDPConn
	addr     ipAddr
	v6       bool
	queue    int  // bytes that the system keeps for us
	batch    int  // datagrams taken at once
	early    bool // of no meaning here
	stopping atomic.Bool

	from   netip.AddrPort
	n      int
	in     [maxRequest]byte
	out    [maxReply]byte
	answer []byte
}

// errStopped says that a socket was stopped and has nothing left to take.
var errStopped = errors.New("stopped")

// errNoSharing says that sockets cannot share an address here.
var errNoSharing = errors.New("no SO_REUSEPORT")

// openSocket binds a UDP socket.
func openSocket(addr ipAddr, port uint16, _ int, shared bool) (*socket, error) {
	if shared {
		return nil, errNoSharing
	}
	network := "udp4"
	if addr.is6() {
		network = "udp6"
	}
	conn, err := net.ListenUDP(network, &net.UDPAddr{IP: net.IP(addr.ip), Port: int(port), Zone: addr.zone})
	if err != nil {
		return nil, err
	}
	s := &socket{conn: conn, addr: addr, v6: addr.is6(), batch: 1}
	const buffer = 1 << 20
	if conn.SetReadBuffer(buffer) == nil {
		s.queue = buffer
	}
	return s, nil
}

// bindsInterfaces says whether a socket can be bound to an interface here.
const bindsInterfaces = false

// waits says whether the socket's interface is not there.
func (*socket) waits() bool { return false }

// receive waits for a datagram. After stop it takes what is queued, and then
// returns errStopped.
func (s *socket) receive() (int, error) {
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(s.in[:])
		switch {
		case err == nil || n > 0: // Windows reports one that was cut as an error
			s.n, s.from = n, from
			return 1, nil
		case s.stopping.Load() && errors.Is(err, os.ErrDeadlineExceeded):
			return 0, errStopped
		case errors.Is(err, net.ErrClosed):
			return 0, err
		}
		// An ICMP error for an earlier reply; the socket is as good as before.
	}
}

func (s *socket) request(int) []byte { return s.in[:s.n] }

// source copies the address and port of the datagram into key: 6 or 18 bytes,
// by the socket's family. For an address with a zone it returns a number that
// stands for it, 0 for others.
func (s *socket) source(_ int, key []byte) (link uint32) {
	if s.v6 {
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

func (s *socket) buffer(int) []byte { return s.out[:0] }

func (s *socket) reply(_ int, b []byte) { s.answer = b }

// flush sends the reply and says whether the system refused it.
func (s *socket) flush(int) (failed int) {
	if len(s.answer) == 0 {
		return 0
	}
	if _, err := s.conn.WriteToUDPAddrPort(s.answer, s.from); err != nil {
		failed = 1
	}
	s.answer = nil
	return failed
}

// stop makes receive return once what is queued has been taken.
func (s *socket) stop() {
	s.stopping.Store(true)
	// With a deadline that has passed not even what is queued can be read.
	_ = s.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
}

func (s *socket) close() { s.conn.Close() }

// hint says what a user can do about an error of openSocket.
func hint(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return " (is another tracker running?)"
	case errors.Is(err, os.ErrPermission):
		return " (ports below 1024 need root)"
	}
	return ""
}

// noFamily says whether err means that the system lacks the address family.
func noFamily(err error) bool { return errors.Is(err, syscall.EAFNOSUPPORT) }
