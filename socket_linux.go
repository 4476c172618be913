//go:build linux && !portable

package main

import (
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file owns the sockets: batches of datagrams in and out of the kernel
// with recvmmsg and sendmmsg. A reply leaves from the address that its request
// came to.
//
// A socket that is meant for one interface is not bound while that isn't there,
// and nothing arrives. When the interface comes, or comes back, the worker puts
// another socket in the place of its own, under the same descriptor.

// maxBatch is how many datagrams are taken from the kernel at once.
const maxBatch = 64

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

// datagramBytes is what a socket takes for each datagram of its batch.
const datagramBytes = int(unsafe.Sizeof(slot{})+2*unsafe.Sizeof(mmsghdr{})+2*unsafe.Sizeof(unix.Iovec{})) + maxReply

// slot is the memory of one request: kept together, for it is used together.
type slot struct {
	name    [(nameSize + 7) &^ 7]byte
	control [controlSize]byte
	request [maxRequest]byte
}

// socket is a bound UDP socket of one address family and its batch.
type socket struct {
	fd       int    // for life
	addr     ipAddr // its zone is the interface that requests must come by
	port     uint16
	shared   bool
	v6       bool
	early    bool // no interface has the address yet
	single   bool // no recvmmsg here
	queue    int  // bytes that the kernel keeps for us
	batch    int  // datagrams taken at once
	stopping atomic.Bool
	uplinks  *uplinks

	index   uint32      // of the interface that it is bound to; 0: it waits for it
	moved   atomic.Bool // the worker is to rebind
	mu      sync.Mutex  // held while what fd stands for is shut down or replaced
	current uint32      // what index should be; mu guards it

	slots   []slot
	replies []byte // maxReply a slot
	in, out []mmsghdr
	iovs    []unix.Iovec // of in, then of out
	pending int          // replies in out
}

// openSocket binds a UDP socket, or has it wait for the interface that the
// address is meant on. shared lets others bind the same address.
func openSocket(addr ipAddr, port uint16, batch int, shared bool) (*socket, error) {
	s := &socket{addr: addr, port: port, shared: shared, v6: addr.is6(), batch: batch, uplinks: &uplinks{}}
	if addr.zone != "" {
		index, err := interfaceIndex(addr.zone)
		if err != nil {
			return nil, err
		}
		s.current = index
	}
	var err error
	if s.fd, err = s.create(); err != nil {
		return nil, err
	}
	if err := s.bind(); err != nil {
		s.close()
		return nil, err
	}
	s.slots = make([]slot, batch)
	s.replies = make([]byte, batch*maxReply)
	s.in = make([]mmsghdr, batch)
	s.out = make([]mmsghdr, batch)
	s.iovs = make([]unix.Iovec, 2*batch)
	for i := range s.slots {
		sl, iov := &s.slots[i], &s.iovs[i]
		iov.Base = &sl.request[0]
		iov.SetLen(len(sl.request))
		s.in[i].Iov, s.out[i].Iov = iov, &s.iovs[batch+i]
		s.in[i].SetIovlen(1)
		s.out[i].SetIovlen(1)
		s.in[i].Name = &sl.name[0]
		s.in[i].Control = &sl.control[0]
	}
	s.rearm(batch)
	return s, nil
}

// receiveBuffer is what is asked of the kernel: a burst of 4,000 connects.
const receiveBuffer = 4 << 20

// create makes a socket that is not bound.
func (s *socket) create() (int, error) {
	family := unix.AF_INET
	if s.v6 {
		family = unix.AF_INET6
	}
	return unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
}

// bind binds the socket unless its interface is not there.
func (s *socket) bind() error {
	s.index = s.current
	if s.waits() {
		return nil
	}
	err := s.configure()
	if err == unix.ENODEV && s.addr.zone != "" {
		s.index, s.current = 0, 0 // it has gone since, and may be back before that is told
		return nil
	}
	return err
}

func (s *socket) configure() error {
	if s.shared {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return errNoSharing
		}
	}
	// What the system refuses of the following, it does without.
	_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	if n, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF); err == nil {
		s.queue = n / 2 // the kernel doubles what it is asked for
	}
	_ = unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &requestFilter)
	linkLocal := s.addr.isLinkLocal6()
	if s.addr.zone != "" && !linkLocal {
		if err := unix.BindToDevice(s.fd, s.addr.zone); err == unix.EPERM {
			return errNoBinding
		} else if err != nil {
			return err
		}
	}
	var sa unix.Sockaddr
	level, freebind := unix.IPPROTO_IP, unix.IP_FREEBIND
	if s.v6 {
		level, freebind = unix.IPPROTO_IPV6, unix.IPV6_FREEBIND
		if err := unix.SetsockoptInt(s.fd, level, unix.IPV6_V6ONLY, 1); err != nil {
			return err
		}
		_ = unix.SetsockoptInt(s.fd, level, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
		if err := unix.SetsockoptInt(s.fd, level, unix.IPV6_RECVPKTINFO, 1); err != nil {
			return err
		}
		sa6 := &unix.SockaddrInet6{Port: int(s.port)}
		copy(sa6.Addr[:], s.addr.ip)
		if linkLocal {
			sa6.ZoneId = s.index // this needs no privilege on any kernel
		}
		sa = sa6
	} else {
		// Don't fragment, and don't believe a stranger's ICMP about the path.
		_ = unix.SetsockoptInt(s.fd, level, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
		if err := unix.SetsockoptInt(s.fd, level, unix.IP_PKTINFO, 1); err != nil {
			return err
		}
		sa4 := &unix.SockaddrInet4{Port: int(s.port)}
		copy(sa4.Addr[:], s.addr.ip)
		sa = sa4
	}
	err := unix.Bind(s.fd, sa)
	if err == unix.EADDRNOTAVAIL && unix.SetsockoptInt(s.fd, level, freebind, 1) == nil {
		// What arrives once an interface has the address is ours.
		s.early = true
		err = unix.Bind(s.fd, sa)
	}
	return err
}

// follow tells the number that the socket's interface has now, 0 for none. Any
// goroutine may call it, and again with what is known.
func (s *socket) follow(index uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == index {
		return
	}
	s.current = index
	s.moved.Store(true)
	s.wake()
}

// wake has the worker look whether it is to stop or to rebind. The socket is
// of no use any more.
func (s *socket) wake() {
	// The worker looks when there is nothing left to take: a flood must not
	// go on coming.
	_ = unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &noneFilter)
	// On a UDP socket that is not connected this wakes who waits, and then
	// says that it is not connected.
	_ = unix.Shutdown(s.fd, unix.SHUT_RD)
}

// rebind puts another socket in the place of one whose interface has changed.
// (To bind one anew that is bound would take a privilege.)
func (s *socket) rebind() error {
	fd, err := s.create()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moved.Store(false)
	// The old one lets go of the port here.
	err = unix.Dup3(fd, s.fd, unix.O_CLOEXEC)
	unix.Close(fd)
	if err == nil {
		err = s.bind()
	}
	if s.stopping.Load() {
		s.wake() // stop may have met the old one
	}
	return err
}

// errStopped says that a socket was stopped and has nothing left to take.
var errStopped = errors.New("stopped")

// errNoBinding says why a socket could not be bound to an interface.
var errNoBinding = errors.New("-interface needs CAP_NET_RAW before Linux 5.7")

// errNoSharing says that the kernel has no SO_REUSEPORT.
var errNoSharing = errors.New("no SO_REUSEPORT")

// bindsInterfaces says whether a socket can be bound to an interface here.
const bindsInterfaces = true

// waits says whether the socket's interface is not there.
func (s *socket) waits() bool { return s.addr.zone != "" && s.index == 0 }

// requestFilter lets through what can be a request, and has the kernel drop
// the rest before it is queued. Offsets count from the UDP header. It does not
// judge connection IDs and lengths beyond the least, which have answers.
var requestFilter = newRequestFilter()

func newRequestFilter() unix.SockFprog {
	const (
		load        = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		length      = unix.BPF_LD | unix.BPF_W | unix.BPF_LEN
		equal       = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		atLeast     = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		ret         = unix.BPF_RET | unix.BPF_K
		udp         = 8 // bytes of header
		maxDatagram = 1 << 16
	)
	// Jumps count from the instruction after; 12 accepts, 13 drops.
	prog := []unix.SockFilter{
		0:  {Code: length},
		1:  {Code: atLeast, Jf: 11, K: udp + headSize},
		2:  {Code: load, K: udp}, // the first half of the ID
		3:  {Code: atLeast, Jf: 9, K: actionError + 1},
		4:  {Code: load, K: udp + 8}, // action
		5:  {Code: equal, Jt: 6, K: actionAnnounce},
		6:  {Code: equal, Jt: 5, K: actionScrape},
		7:  {Code: equal, Jf: 5, K: actionConnect},
		8:  {Code: load, K: udp},
		9:  {Code: equal, Jf: 3, K: protocolID >> 32},
		10: {Code: load, K: udp + 4},
		11: {Code: equal, Jf: 1, K: protocolID & 0xffffffff},
		12: {Code: ret, K: maxDatagram},
		13: {Code: ret, K: 0},
	}
	return unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
}

// noneFilter lets nothing through.
var noneFilter = unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}}

// request is the i-th datagram of the batch, cut to maxRequest.
func (s *socket) request(i int) []byte { return s.slots[i].request[:s.in[i].n] }

// source copies the address and port of the i-th datagram into key: 6 or 18
// bytes, by the socket's family. For an address that means something on its
// link only it returns the number of that link, 0 where it isn't known.
func (s *socket) source(i int, key []byte) (link uint32) {
	name := &s.slots[i].name
	if s.v6 {
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

// buffer is where the reply to the i-th datagram goes: empty, with room for
// maxReply bytes.
func (s *socket) buffer(i int) []byte {
	return s.replies[i*maxReply : i*maxReply : (i+1)*maxReply]
}

// reply queues b, which lies in buffer(i), for the sender of the i-th datagram.
func (s *socket) reply(i int, b []byte) {
	in, out := &s.in[i], &s.out[s.pending]
	s.pending++
	out.Name, out.Namelen = in.Name, in.Namelen
	out.Iov.Base = &b[0]
	out.Iov.SetLen(len(b))
	out.Control, out.Controllen = in.Control, in.Controllen
	s.aim(&s.slots[i])
}

// aim makes the PKTINFO that came with a request fit for its reply: the same
// address, and by which interface. Where the request came by an uplink, the
// reply leaves by it: another, or a tunnel that has taken the default route,
// may lead to a network that has no use for our address. Else the routes say,
// since the way back may be another than the way here; for they need not have
// one by the interface that the request came by, and IPv4 then believes that
// its sender is on the link. What is link-local stays on its link.
func (s *socket) aim(sl *slot) {
	// in_pktinfo: interface, then addresses. in6_pktinfo: address, then interface.
	index := sl.control[pktinfoAt : pktinfoAt+4]
	near := sl.name[4] == 169 && sl.name[5] == 254
	if s.v6 {
		index = sl.control[pktinfoAt+16 : pktinfoAt+20]
		near = sl.control[pktinfoAt] == 0xfe && sl.control[pktinfoAt+1]&0xc0 == 0x80
	}
	if !near && !s.uplinks.has(binary.NativeEndian.Uint32(index)) {
		clear(index)
	}
}

// uplinks are the interfaces that have a default route of an address family.
type uplinks [8]atomic.Uint32

func (u *uplinks) has(index uint32) bool {
	for i := range u {
		switch u[i].Load() {
		case index:
			return true
		case 0:
			return false
		}
	}
	return false
}

// set has the first of the indexes take the place of those before.
func (u *uplinks) set(indexes []uint32) {
	for i := range u {
		var index uint32
		if i < len(indexes) {
			index = indexes[i]
		}
		u[i].Store(index)
	}
}

// rearm makes the first n slots ready to receive.
func (s *socket) rearm(n int) {
	for i := range s.in[:n] {
		s.in[i].Namelen = nameSize
		s.in[i].SetControllen(controlSize)
	}
}

// receive waits for datagrams and takes what is queued, up to a batch. After
// stop it takes what is queued, and then returns errStopped.
func (s *socket) receive() (int, error) {
	for {
		// Most of the time under load there is something: ask without
		// telling the Go scheduler, which costs as much as the call.
		n, errno := s.recvmmsg(unix.RawSyscall6, unix.MSG_DONTWAIT)
		if errno == unix.EAGAIN {
			if s.stopping.Load() {
				return 0, errStopped
			}
			if s.moved.Load() {
				if err := s.rebind(); err != nil {
					return 0, err
				}
				continue
			}
			n, errno = s.recvmmsg(unix.Syscall6, unix.MSG_WAITFORONE)
		}
		switch errno {
		case 0:
			// A stopped socket is woken with a datagram from no one.
			if n > 0 && s.in[0].Namelen != 0 {
				return n, nil
			}
			s.rearm(n)
		case unix.ENOSYS:
			if s.single {
				return 0, errno
			}
			s.single = true
		case unix.EINTR, unix.EAGAIN, unix.ECONNREFUSED:
		default:
			return 0, errno
		}
	}
}

// syscall6 is unix.Syscall6, or unix.RawSyscall6 for calls that don't block.
type syscall6 func(trap, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2 uintptr, err unix.Errno)

func (s *socket) recvmmsg(call syscall6, flags uintptr) (int, unix.Errno) {
	if s.single {
		r, _, errno := call(unix.SYS_RECVMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.in[0].Msghdr)), flags&unix.MSG_DONTWAIT, 0, 0, 0)
		if errno != 0 {
			return 0, errno
		}
		s.in[0].n = uint32(r)
		return 1, 0
	}
	r, _, errno := call(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.in[0])), uintptr(len(s.in)), flags, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}

// flush sends the queued replies, makes the n slots of the batch ready, and
// says how many replies the kernel refused. One that it refuses (a firewall
// rule, no route) does not hold up the rest.
func (s *socket) flush(n int) (failed int) {
	for from := 0; from < s.pending; {
		sent, errno := s.sendmmsg(unix.RawSyscall6, from, unix.MSG_DONTWAIT)
		if errno == unix.EAGAIN {
			sent, errno = s.sendmmsg(unix.Syscall6, from, 0)
		}
		switch {
		case errno == 0:
			from += sent
		case errno == unix.EINTR:
		case errno == unix.ENOSYS && !s.single:
			s.single = true
		default:
			failed++
			from++
		}
	}
	s.pending = 0
	s.rearm(n)
	return failed
}

func (s *socket) sendmmsg(call syscall6, from int, flags uintptr) (int, unix.Errno) {
	if s.single {
		_, _, errno := call(unix.SYS_SENDMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.out[from].Msghdr)), flags, 0, 0, 0)
		return 1, errno
	}
	r, _, errno := call(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.out[from])), uintptr(s.pending-from), flags, 0, 0)
	return int(r), errno
}

// stop makes receive return once what is queued has been taken.
func (s *socket) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping.Store(true)
	s.wake()
}

func (s *socket) close() { unix.Close(s.fd) }

// hint says what a user can do about an error of openSocket.
func hint(err error) string {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return " (is another tracker running?)"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return " (ports below 1024 need root or CAP_NET_BIND_SERVICE)"
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return " (no interface has this address)"
	}
	return ""
}

// noFamily says whether err means that the kernel lacks the address family.
func noFamily(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EPROTONOSUPPORT)
}
