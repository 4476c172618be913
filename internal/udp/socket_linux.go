//go:build linux && !portable

package udp

import (
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"golang.org/x/sys/unix"
)

// MaxBatch is how many datagrams are taken from the kernel at once.
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

// DatagramBytes returns the memory that a socket takes for each datagram of its
// batch.
func (z Sizes) DatagramBytes() int {
	return int(unsafe.Sizeof(slot{})+2*unsafe.Sizeof(mmsghdr{})+2*unsafe.Sizeof(unix.Iovec{})) + z.MaxRequest + z.MaxReply
}

// slot has where one request came from, and the address that it came to.
type slot struct {
	name    [(nameSize + 7) &^ 7]byte
	control [controlSize]byte
}

// socket is a bound UDP socket of one address family and its batch.
type Socket struct {
	fd        int // for life
	config    Config
	freebound bool // no interface has the address yet
	noMmsg    bool // no recvmmsg here
	rcvbuf    int  // bytes that the kernel keeps for us
	stopping  atomic.Bool
	uplinks   *Uplinks

	index         uint32      // of the interface that it is bound to; 0: it waits for it
	rebindPending atomic.Bool // the worker is to rebind
	mu            sync.Mutex  // held while what fd stands for is shut down or replaced
	current       uint32      // what index should be; mu guards it

	slots    []slot
	requests []byte // MaxRequest for each slot
	replies  []byte // MaxReply for each slot
	in, out  []mmsghdr
	iovs     []unix.Iovec // of in, then of out
	pending  int          // replies in out
}

// Open binds a UDP socket. If its interface is missing, the socket waits for
// SetInterface.
func Open(c Config) (*Socket, error) {
	s := &Socket{config: c, current: c.Index, uplinks: &Uplinks{}}
	batch := c.Batch
	var err error
	if s.fd, err = s.create(); err != nil {
		return nil, err
	}
	if err := s.bind(); err != nil {
		s.Close()
		return nil, err
	}
	s.slots = make([]slot, batch)
	s.requests = make([]byte, batch*c.MaxRequest)
	s.replies = make([]byte, batch*c.MaxReply)
	s.in = make([]mmsghdr, batch)
	s.out = make([]mmsghdr, batch)
	s.iovs = make([]unix.Iovec, 2*batch)
	for i := range s.slots {
		sl, iov := &s.slots[i], &s.iovs[i]
		iov.Base = &s.requests[i*c.MaxRequest]
		iov.SetLen(c.MaxRequest)
		s.in[i].Iov, s.out[i].Iov = iov, &s.iovs[batch+i]
		s.in[i].SetIovlen(1)
		s.out[i].SetIovlen(1)
		s.in[i].Name = &sl.name[0]
		s.in[i].Control = &sl.control[0]
	}
	s.resetHeaders(batch)
	return s, nil
}

// receiveBuffer is what is asked of the kernel: a burst of 4,000 connects.
const receiveBuffer = 4 << 20

// create makes a socket that is not bound.
func (s *Socket) create() (int, error) {
	family := unix.AF_INET
	if s.V6() {
		family = unix.AF_INET6
	}
	return unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
}

// bind binds the socket unless its interface is not there.
func (s *Socket) bind() error {
	s.index = s.current
	if s.InterfaceMissing() {
		return nil
	}
	err := s.configure()
	if err == unix.ENODEV && s.config.Interface != "" {
		s.index, s.current = 0, 0 // it has gone since, and may be back before that is told
		return nil
	}
	return err
}

func (s *Socket) configure() error {
	if s.config.Shared {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return ErrNoSharing
		}
	}
	// What the system refuses of the following, it does without.
	_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	if n, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF); err == nil {
		s.rcvbuf = n / 2 // the kernel doubles what it is asked for
	}
	_ = unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &requestFilter)
	linkLocal := s.V6() && s.config.IP[0] == 0xfe && s.config.IP[1]&0xc0 == 0x80
	if s.config.Interface != "" && !linkLocal {
		if err := unix.BindToDevice(s.fd, s.config.Interface); err == unix.EPERM {
			return ErrNoBinding
		} else if err != nil {
			return err
		}
	}
	var sa unix.Sockaddr
	level, freebind := unix.IPPROTO_IP, unix.IP_FREEBIND
	if s.V6() {
		level, freebind = unix.IPPROTO_IPV6, unix.IPV6_FREEBIND
		if err := unix.SetsockoptInt(s.fd, level, unix.IPV6_V6ONLY, 1); err != nil {
			return err
		}
		_ = unix.SetsockoptInt(s.fd, level, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
		if err := unix.SetsockoptInt(s.fd, level, unix.IPV6_RECVPKTINFO, 1); err != nil {
			return err
		}
		sa6 := &unix.SockaddrInet6{Port: int(s.config.Port)}
		copy(sa6.Addr[:], s.config.IP)
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
		sa4 := &unix.SockaddrInet4{Port: int(s.config.Port)}
		copy(sa4.Addr[:], s.config.IP)
		sa = sa4
	}
	err := unix.Bind(s.fd, sa)
	if err == unix.EADDRNOTAVAIL && unix.SetsockoptInt(s.fd, level, freebind, 1) == nil {
		// What arrives once an interface has the address is ours.
		s.freebound = true
		err = unix.Bind(s.fd, sa)
	}
	return err
}

// SetInterface tells the number that the socket's interface has now, 0 for none. Any
// goroutine may call it, and again with what is known.
func (s *Socket) SetInterface(index uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == index {
		return
	}
	s.current = index
	s.rebindPending.Store(true)
	s.wake()
}

// wake has the worker look whether it is to stop or to rebind. The socket is
// of no use any more.
func (s *Socket) wake() {
	// The worker looks when there is nothing left to take: a flood must not
	// go on coming.
	_ = unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &noneFilter)
	// On a UDP socket that is not connected this wakes who waits, and then
	// says that it is not connected.
	_ = unix.Shutdown(s.fd, unix.SHUT_RD)
}

// rebind puts another socket in the place of one whose interface has changed.
// (To bind one anew that is bound would take a privilege.)
func (s *Socket) rebind() error {
	fd, err := s.create()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rebindPending.Store(false)
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

// BindsInterfaces says whether a socket can be bound to an interface here.
const BindsInterfaces = true

// InterfaceMissing says whether the socket's interface is not there.
func (s *Socket) InterfaceMissing() bool { return s.config.Interface != "" && s.index == 0 }

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
		1:  {Code: atLeast, Jf: 11, K: udp + bep15.HeaderSize},
		2:  {Code: load, K: udp}, // the first half of the ID
		3:  {Code: atLeast, Jf: 9, K: bep15.ActionError + 1},
		4:  {Code: load, K: udp + 8}, // action
		5:  {Code: equal, Jt: 6, K: bep15.ActionAnnounce},
		6:  {Code: equal, Jt: 5, K: bep15.ActionScrape},
		7:  {Code: equal, Jf: 5, K: bep15.ActionConnect},
		8:  {Code: load, K: udp},
		9:  {Code: equal, Jf: 3, K: bep15.ProtocolID >> 32},
		10: {Code: load, K: udp + 4},
		11: {Code: equal, Jf: 1, K: bep15.ProtocolID & 0xffffffff},
		12: {Code: ret, K: maxDatagram},
		13: {Code: ret, K: 0},
	}
	return unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
}

// noneFilter lets nothing through.
var noneFilter = unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}}

// Request returns the i-th datagram of the batch, cut to MaxRequest.
func (s *Socket) Request(i int) []byte {
	at := i * s.config.MaxRequest
	return s.requests[at : at+int(s.in[i].n)]
}

// Source copies the address and port of the i-th datagram into key: 6 or 18
// bytes, by the socket's family. For an address that means something on its
// link only it returns the number of that link, 0 where it isn't known.
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

// Buffer is where the reply to the i-th datagram goes: empty, with room for
// MaxReply bytes.
func (s *Socket) Buffer(i int) []byte {
	at := i * s.config.MaxReply
	return s.replies[at : at : at+s.config.MaxReply]
}

// Reply queues b, which lies in buffer(i), for the sender of the i-th datagram.
func (s *Socket) Reply(i int, b []byte) {
	in, out := &s.in[i], &s.out[s.pending]
	s.pending++
	out.Name, out.Namelen = in.Name, in.Namelen
	out.Iov.Base = &b[0]
	out.Iov.SetLen(len(b))
	out.Control, out.Controllen = in.Control, in.Controllen
	s.setReplyPktinfo(&s.slots[i])
}

// setReplyPktinfo makes the PKTINFO that came with a request fit for its reply: the same
// address, and by which interface. Where the request came by an uplink, the
// Reply leaves by it: another, or a tunnel that has taken the default route,
// may lead to a network that has no use for our address. Else the routes say,
// since the way back may be another than the way here; for they need not have
// one by the interface that the request came by, and IPv4 then believes that
// its sender is on the link. What is link-local stays on its link.
func (s *Socket) setReplyPktinfo(sl *slot) {
	// in_pktinfo: interface, then addresses. in6_pktinfo: address, then interface.
	index := sl.control[pktinfoAt : pktinfoAt+4]
	near := sl.name[4] == 169 && sl.name[5] == 254
	if s.V6() {
		index = sl.control[pktinfoAt+16 : pktinfoAt+20]
		near = sl.control[pktinfoAt] == 0xfe && sl.control[pktinfoAt+1]&0xc0 == 0x80
	}
	if !near && !s.uplinks.has(binary.NativeEndian.Uint32(index)) {
		clear(index)
	}
}

// uplinks are the interfaces that have a default route of an address family.
type Uplinks [8]atomic.Uint32

func (u *Uplinks) has(index uint32) bool {
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
func (u *Uplinks) Set(indexes []uint32) {
	for i := range u {
		var index uint32
		if i < len(indexes) {
			index = indexes[i]
		}
		u[i].Store(index)
	}
}

// resetHeaders makes the first n slots ready to receive.
func (s *Socket) resetHeaders(n int) {
	for i := range s.in[:n] {
		s.in[i].Namelen = nameSize
		s.in[i].SetControllen(controlSize)
	}
}

// Receive waits for datagrams and takes what is queued, up to a batch. After
// Stop it takes what is queued, and then returns ErrStopped.
func (s *Socket) Receive() (int, error) {
	for {
		// Most of the time under load there is something: ask without
		// telling the Go scheduler, which costs as much as the call.
		n, errno := s.recvmmsg(unix.RawSyscall6, unix.MSG_DONTWAIT)
		if errno == unix.EAGAIN {
			if s.stopping.Load() {
				return 0, ErrStopped
			}
			if s.rebindPending.Load() {
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
			s.resetHeaders(n)
		case unix.ENOSYS:
			if s.noMmsg {
				return 0, errno
			}
			s.noMmsg = true
		case unix.EINTR, unix.EAGAIN, unix.ECONNREFUSED:
		default:
			return 0, errno
		}
	}
}

// syscall6 is unix.Syscall6, or unix.RawSyscall6 for calls that don't block.
type syscall6 func(trap, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2 uintptr, err unix.Errno)

func (s *Socket) recvmmsg(call syscall6, flags uintptr) (int, unix.Errno) {
	if s.noMmsg {
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

// Flush sends the queued replies, makes the n slots of the batch ready, and
// says how many replies the kernel refused. One that it refuses (a firewall
// rule, no route) does not hold up the rest.
func (s *Socket) Flush(n int) (failed int) {
	for from := 0; from < s.pending; {
		sent, errno := s.sendmmsg(unix.RawSyscall6, from, unix.MSG_DONTWAIT)
		if errno == unix.EAGAIN {
			sent, errno = s.sendmmsg(unix.Syscall6, from, 0)
		}
		switch {
		case errno == 0:
			from += sent
		case errno == unix.EINTR:
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

func (s *Socket) sendmmsg(call syscall6, from int, flags uintptr) (int, unix.Errno) {
	if s.noMmsg {
		_, _, errno := call(unix.SYS_SENDMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.out[from].Msghdr)), flags, 0, 0, 0)
		return 1, errno
	}
	r, _, errno := call(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.out[from])), uintptr(s.pending-from), flags, 0, 0)
	return int(r), errno
}

// Stop makes receive return once what is queued has been taken.
func (s *Socket) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping.Store(true)
	s.wake()
}

func (s *Socket) Close() { unix.Close(s.fd) }

// hint says what a user can do about an error of Open.
func Hint(err error) string {
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

// NoFamily says whether err means that the kernel lacks the address family.
func NoFamily(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EPROTONOSUPPORT)
}

// Drops returns how many datagrams the kernel has dropped that were meant for
// the socket, modulo 1<<32: datagrams that its filter refused, those with a
// wrong checksum, and those for which its queue had no room.
func (s *Socket) Drops() (n uint32, ok bool) {
	const meminfoDrops = 8 // SK_MEMINFO_DROPS, of nine
	var info [9]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	return info[meminfoDrops], errno == 0 && size == uint32(unsafe.Sizeof(info)) // Linux 4.12
}

// Waiting reports whether the socket has datagrams that nobody has taken.
func (s *Socket) Waiting() bool {
	n, err := unix.IoctlGetInt(s.fd, unix.SIOCINQ)
	return err == nil && n > 0
}

// SetUplinks makes the socket use u, the interfaces with a default route.
func (s *Socket) SetUplinks(u *Uplinks) { s.uplinks = u }

// Index returns the number of the interface that the socket is bound to.
func (s *Socket) Index() uint32 { return s.index }
