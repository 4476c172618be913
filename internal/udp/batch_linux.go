//go:build linux && !portable

package udp

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file has the memory of a batch, and the system calls that receive and
// send one.

// MaxBatch is the largest batch.
const MaxBatch = 64

// mmsghdr is struct mmsghdr. It must not end in a zero-size field, or Go pads
// it beyond the kernel's 32 bytes on 32-bit processors.
type mmsghdr struct {
	unix.Msghdr
	n uint32
}

const (
	nameSize = unix.SizeofSockaddrInet6
	// controlSize holds one PKTINFO of either family, aligned.
	controlSize = (unix.SizeofCmsghdr+unix.SizeofInet6Pktinfo+7)&^7 + 8
	// pktinfoAt is where the PKTINFO itself begins.
	pktinfoAt = (unix.SizeofCmsghdr + unix.SizeofPtr - 1) &^ (unix.SizeofPtr - 1)
)

// slot has where one request came from, and the address that it came to.
type slot struct {
	name    [(nameSize + 7) &^ 7]byte
	control [controlSize]byte
}

// batch is the memory of the datagrams that are received and answered together.
type batch struct {
	noMmsg   bool // this kernel has no recvmmsg
	slots    []slot
	requests []byte // MaxRequest for each slot
	replies  []byte // MaxReply for each slot
	in, out  []mmsghdr
	iovs     []unix.Iovec // of in, then of out
	pending  int          // replies in out
}

// DatagramBytes returns the memory that a socket takes for each datagram of its
// batch.
func (z Sizes) DatagramBytes() int {
	return int(unsafe.Sizeof(slot{})+2*unsafe.Sizeof(mmsghdr{})+2*unsafe.Sizeof(unix.Iovec{})) + z.MaxRequest + z.MaxReply
}

func (b *batch) init(c *Config) {
	n := c.Batch
	b.slots = make([]slot, n)
	b.requests = make([]byte, n*c.MaxRequest)
	b.replies = make([]byte, n*c.MaxReply)
	b.in = make([]mmsghdr, n)
	b.out = make([]mmsghdr, n)
	b.iovs = make([]unix.Iovec, 2*n)
	for i := range b.slots {
		sl, iov := &b.slots[i], &b.iovs[i]
		iov.Base = &b.requests[i*c.MaxRequest]
		iov.SetLen(c.MaxRequest)
		b.in[i].Iov, b.out[i].Iov = iov, &b.iovs[n+i]
		b.in[i].SetIovlen(1)
		b.out[i].SetIovlen(1)
		b.in[i].Name = &sl.name[0]
		b.in[i].Control = &sl.control[0]
	}
	b.resetHeaders(n)
}

// resetHeaders makes the first n slots ready to receive.
func (b *batch) resetHeaders(n int) {
	for i := range b.in[:n] {
		b.in[i].Namelen = nameSize
		b.in[i].SetControllen(controlSize)
	}
}

// Request returns the i-th datagram of the batch, cut to MaxRequest.
func (s *Socket) Request(i int) []byte {
	at := i * s.config.MaxRequest
	return s.requests[at : at+int(s.in[i].n)]
}

// Source copies the address and port of the i-th datagram into key: 6 or 18
// bytes, by the socket's family. For a link-local address it returns the number
// of the interface, 0 if it is not known.
func (s *Socket) Source(i int, key []byte) (link uint32) {
	name := &s.slots[i].name
	if s.V6() {
		copy(key[:16], name[8:24])
		copy(key[16:], name[2:4])
		return binary.NativeEndian.Uint32(name[24:]) // the kernel's scope ID: 0 for others
	}
	copy(key[:4], name[4:8])
	copy(key[4:], name[2:4])
	if key[0] == 169 {
		return binary.NativeEndian.Uint32(s.slots[i].control[pktinfoAt:])
	}
	return 0
}

// Buffer returns the memory for the reply to the i-th datagram: empty, with a
// capacity of MaxReply bytes.
func (s *Socket) Buffer(i int) []byte {
	at := i * s.config.MaxReply
	return s.replies[at : at : at+s.config.MaxReply]
}

// Reply queues b, which lies in Buffer(i), for the sender of the i-th datagram.
func (s *Socket) Reply(i int, b []byte) {
	in, out := &s.in[i], &s.out[s.pending]
	s.pending++
	out.Name, out.Namelen = in.Name, in.Namelen
	out.Iov.Base = &b[0]
	out.Iov.SetLen(len(b))
	out.Control, out.Controllen = in.Control, in.Controllen
	s.setReplyPktinfo(&s.slots[i])
}

// The kernel calls below never block. They are made without telling the Go
// scheduler, because that costs as much as the call.

// receive takes up to a batch of datagrams.
func (s *Socket) receive(fd int) (n int, errno unix.Errno) {
	if s.noMmsg {
		r, _, errno := unix.RawSyscall6(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&s.in[0].Msghdr)), unix.MSG_DONTWAIT, 0, 0, 0)
		if errno != 0 {
			return 0, errno
		}
		s.in[0].n = uint32(r)
		return 1, 0
	}
	r, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&s.in[0])), uintptr(len(s.in)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}

// Flush sends the queued replies and makes the n slots of the batch ready for
// the next one. It returns how many replies the kernel refused (a firewall rule,
// no route). A refused reply does not hold up the others. After Stop, it drops the
// rest if the send buffer has no room for a second.
func (s *Socket) Flush(n int) (failed int) {
	for from := 0; from < s.pending; {
		sent, errno := s.send(s.kernel.fd, from)
		switch {
		case errno == 0:
			from += sent
		case errno == unix.EINTR:
		case errno == unix.EAGAIN:
			if !s.awaitRoom() {
				failed += s.pending - from
				from = s.pending
			}
		case errno == unix.ENOSYS && !s.noMmsg:
			s.noMmsg = true
		default:
			failed++
			from++
		}
	}
	s.pending = 0
	s.resetHeaders(n)
	return failed
}

// send sends the queued replies, the first from on.
func (s *Socket) send(fd, from int) (sent int, errno unix.Errno) {
	if s.noMmsg {
		_, _, errno := unix.RawSyscall6(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&s.out[from].Msghdr)), unix.MSG_DONTWAIT, 0, 0, 0)
		return 1, errno
	}
	r, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&s.out[from])), uintptr(s.pending-from), unix.MSG_DONTWAIT, 0, 0)
	return int(r), errno
}

// awaitRoom waits until the send buffer has room, and reports whether to try
// again. A socket that is interrupted waits at most a second.
func (s *Socket) awaitRoom() bool {
	fds := [1]unix.PollFd{{Fd: int32(s.kernel.fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(fds[:], 1000)
	return n > 0 || err == unix.EINTR || !s.interrupted.Load()
}
