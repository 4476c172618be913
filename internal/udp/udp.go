// Package udp has the UDP sockets of the tracker. A Socket receives datagrams in
// batches, and sends each reply from the address that the request came to.
//
// On Linux a Socket uses recvmmsg and sendmmsg and waits in the Go runtime's
// network poller. On other systems, and with the build tag portable, it uses
// package net and takes one datagram at a time. Both have the same methods with
// the same contract.
//
//	s, err := udp.Open(config)
//	err = s.Serve(func(n int) {
//		for i := range n {
//			s.Reply(i, appendAnswer(s.Buffer(i), s.Request(i)))
//		}
//		s.Flush(n)
//	})
//
// The package knows nothing of trackers, except the filter in filter_linux.go.
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

	// Failed is called when the interface is back but the socket cannot be bound,
	// or when the kernel refuses to receive. The socket tries again until it can.
	Failed func(error)
}

// Sizes are the sizes of datagrams, in bytes.
type Sizes struct {
	MaxRequest int // the largest request; longer ones are cut
	MaxReply   int // the largest reply
}

var (
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
