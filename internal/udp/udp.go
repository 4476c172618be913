// Package udp has the UDP sockets of the tracker: batches of datagrams in and
// out of the kernel. A reply leaves from the address that its request came to.
//
// On Linux a Socket uses recvmmsg and sendmmsg. On other systems, and with the
// build tag portable, it takes one datagram at a time by package net. Both have
// the same methods with the same contract.
package udp

import "errors"

// Config says what to bind and how much memory a batch takes.
type Config struct {
	IP        string // the address to bind: 4 or 16 bytes, in network order
	Port      uint16
	Interface string // requests must arrive by this interface; "": any
	Index     uint32 // its number now; 0: the interface is missing
	Batch     int    // datagrams to take from the kernel at once, at most MaxBatch
	Shared    bool   // other sockets may bind the same address
	Sizes
}

// Sizes are the sizes of datagrams, in bytes.
type Sizes struct {
	MaxRequest int // the largest request; longer ones are cut
	MaxReply   int // the largest reply
}

var (
	// ErrStopped is returned by Receive after Stop, when the queue is empty.
	ErrStopped = errors.New("stopped")
	// ErrNoSharing is returned by Open if sockets cannot share an address here.
	ErrNoSharing = errors.New("no SO_REUSEPORT")
	// ErrNoBinding is returned by Open if the process may not bind a socket to
	// an interface.
	ErrNoBinding = errors.New("-interface needs CAP_NET_RAW before Linux 5.7")
)

// V6 reports whether the socket is for IPv6.
func (s *Socket) V6() bool { return len(s.config.IP) == 16 }

// IP returns the address that the socket is bound to.
func (s *Socket) IP() string { return s.config.IP }

// Interface returns the name of the interface that the socket is for, or "".
func (s *Socket) Interface() string { return s.config.Interface }

// Batch returns how many datagrams Receive takes at once.
func (s *Socket) Batch() int { return s.config.Batch }

// ReceiveBuffer returns the size of the kernel's receive buffer in bytes.
func (s *Socket) ReceiveBuffer() int { return s.rcvbuf }

// Freebound reports whether no interface had the address when it was bound.
func (s *Socket) Freebound() bool { return s.freebound }
