//go:build linux && !portable

package udp

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/timer"
	"golang.org/x/sys/unix"
)

// This file has the life of a socket: open, serve, rebind, stop, close.
//
// A socket for an interface that is missing is not bound, and nothing arrives.
// When the interface appears, Serve binds a new socket in the kernel, because
// changing a bound one would need a privilege.

// BindsInterfaces reports whether sockets can be bound to an interface here.
const BindsInterfaces = true

// RebindInterval is the time between two attempts to bind a socket whose
// interface is there.
const RebindInterval = 2 * time.Second

// receiveRetry is the time between two attempts to receive, after the kernel had
// no memory or a firewall refused it.
const receiveRetry = time.Second / 4

// Socket is a UDP socket of one address family with the memory of its batch. One
// goroutine calls Serve; the methods that handle the datagrams of a batch are
// for the function that Serve calls. Other methods may be called at any time.
type Socket struct {
	config Config
	batch
	uplinks *Uplinks

	// interrupted makes Serve look at stopped and index.
	interrupted atomic.Bool
	interrupt   chan struct{} // the same, while Serve has no kernel socket
	rebindError error         // that Failed was told last
	failures    uint          // attempts to receive that failed

	mu        sync.Mutex
	kernel    *kernelSocket // nil: the interface is missing, or it is closed
	index     uint32        // the number that the interface has now; 0: it is missing
	stopped   bool
	rcvbuf    int
	freebound bool
	drops     uint64 // of the kernel sockets before this one
}

// kernelSocket is a bound socket in the kernel.
type kernelSocket struct {
	fd    int
	index uint32 // of the interface that it is bound to
	// poll becomes readable when a datagram arrives. It is an epoll instance
	// that watches fd for input only. The runtime's poller would also wake the
	// process for each reply that has left, if it watched the socket itself.
	poll    *os.File
	waiting syscall.RawConn // of poll
	ignored bool            // poll does not watch fd now: Serve is busy
	drops   uint32          // that Drops has counted
}

// Open binds a UDP socket. If the interface is missing, Serve binds the socket
// when SetInterface says that it is there.
func Open(c Config) (*Socket, error) {
	s := &Socket{config: c, index: c.Index, uplinks: &Uplinks{}, interrupt: make(chan struct{}, 1)}
	if !s.InterfaceMissing() {
		if err := s.bind(); err != nil {
			return nil, err
		}
	}
	s.batch.init(&c)
	return s, nil
}

// bind makes a kernel socket for the index that the interface has now. The
// caller holds s.mu, or is Open.
func (s *Socket) bind() error {
	k, err := newKernelSocket(s.V6())
	if err != nil {
		return err
	}
	k.index = s.index
	err = s.configure(k)
	if err == nil {
		err = k.watch()
	}
	if err != nil {
		k.close()
		if err == unix.ENODEV && s.config.Interface != "" {
			s.index = 0 // the interface disappeared again; SetInterface is called when it is back
			return nil
		}
		return err
	}
	s.kernel = k
	return nil
}

func newKernelSocket(v6 bool) (*kernelSocket, error) {
	family := unix.AF_INET
	if v6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	return &kernelSocket{fd: fd}, err
}

// watch prepares k to be waited for.
func (k *kernelSocket) watch() error {
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	err = unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, k.fd, &unix.EpollEvent{Events: unix.EPOLLIN})
	if err == nil {
		err = unix.SetNonblock(poll, true) // os.NewFile wants it
	}
	if err != nil {
		unix.Close(poll)
		return err
	}
	k.poll = os.NewFile(uintptr(poll), "epoll")
	k.waiting, err = k.poll.SyscallConn()
	return err
}

// ignore makes poll, whose descriptor is given, stop or start watching k. Then
// nothing happens in poll when a datagram arrives or when a reply has left. When
// poll starts watching and datagrams have arrived, it becomes readable.
func (k *kernelSocket) ignore(poll uintptr, on bool) error {
	op := unix.EPOLL_CTL_ADD
	if on {
		op = unix.EPOLL_CTL_DEL
	}
	err := unix.EpollCtl(int(poll), op, k.fd, &unix.EpollEvent{Events: unix.EPOLLIN})
	if err == nil {
		k.ignored = on
	}
	return err
}

func (k *kernelSocket) close() {
	if k.poll != nil {
		k.poll.Close()
	}
	unix.Close(k.fd)
}

// InterfaceMissing reports whether the socket waits for its interface.
func (s *Socket) InterfaceMissing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config.Interface != "" && s.index == 0
}

// Index returns the number of the socket's interface, 0 if it is missing.
func (s *Socket) Index() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index
}

// ReceiveBuffer returns the size of the kernel's receive buffer in bytes.
func (s *Socket) ReceiveBuffer() int { return s.rcvbuf }

// Freebound reports whether no interface had the address when it was bound.
func (s *Socket) Freebound() bool { return s.freebound }

// SetUplinks makes the socket use u, the interfaces with a default route. It
// must be called before Serve.
func (s *Socket) SetUplinks(u *Uplinks) { s.uplinks = u }

// SetInterface tells the number that the socket's interface has now, 0 if it is
// missing. It may be called again with the same number.
func (s *Socket) SetInterface(index uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index = index
	var bound uint32
	if s.kernel != nil {
		bound = s.kernel.index
	}
	if index != bound {
		s.wake()
	}
}

// Stop makes Serve return after it has handled the datagrams that have arrived.
func (s *Socket) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	s.wake()
}

// wake makes Serve look at s.stopped and s.index. The caller holds s.mu.
func (s *Socket) wake() {
	s.interrupted.Store(true)
	if s.kernel != nil {
		_ = s.kernel.poll.SetReadDeadline(time.Unix(1, 0)) // it fails only if it is closed
	}
	select {
	case s.interrupt <- struct{}{}:
	default:
	}
}

// Close releases the port. Serve must have returned.
func (s *Socket) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	s.unbind()
}

// unbind closes the kernel socket, if there is one. The caller holds s.mu.
func (s *Socket) unbind() {
	if s.kernel != nil {
		s.drops, _ = s.countDrops()
		s.kernel.close()
		s.kernel = nil
	}
}

// Serve calls handle for each batch of datagrams until Stop. handle answers the
// n datagrams of the batch and calls Flush. Serve returns an error if the socket
// fails.
func (s *Socket) Serve(handle func(n int)) error {
	var failed error
	take := func(poll uintptr) bool {
		wait, err := s.takeAll(poll, handle)
		failed = err
		return !wait
	}
	for {
		k, stopped := s.current()
		switch {
		case stopped:
			return s.takeRest(handle)
		case k == nil:
			continue
		}
		// Read calls take, and again whenever datagrams have arrived, until
		// take returns true or the deadline of wake ends it.
		err := k.waiting.Read(take)
		if failed != nil {
			return failed
		}
		if err != nil && !s.interrupted.Load() {
			return err
		}
	}
}

// current returns the kernel socket to serve, which it binds or replaces if the
// interface has changed, or whether the socket is stopped. It waits while the
// interface is missing or the socket cannot be bound, and then returns nil.
func (s *Socket) current() (k *kernelSocket, stopped bool) {
	s.mu.Lock()
	s.interrupted.Store(false)
	if s.stopped {
		s.mu.Unlock()
		return nil, true
	}
	if s.kernel != nil && s.kernel.index != s.index {
		s.unbind() // this also releases the port
	}
	var err error
	if s.kernel != nil {
		err = s.kernel.poll.SetReadDeadline(time.Time{}) // after wake
	} else if s.index != 0 || s.config.Interface == "" {
		err = s.bind()
	}
	k = s.kernel
	s.mu.Unlock()
	if k != nil && err == nil {
		s.rebindError = nil
		return k, false
	}
	var retry <-chan struct{}
	if err != nil {
		if err != s.rebindError && s.config.Failed != nil {
			s.config.Failed(err)
		}
		s.rebindError = err
		t := timer.New(RebindInterval)
		defer t.Stop()
		retry = t.C
	}
	select {
	case <-s.interrupt:
	case <-retry:
	}
	return nil, false
}

const (
	// busyAfter is how many datagrams without a pause make a socket busy. To
	// watch a busy socket costs 2 to 3 % of its processor time, and may wake
	// another thread of the runtime, which finds nothing to do. To stop and start
	// watching costs as much as half a datagram, so short bursts do not.
	busyAfter = 16
	// turn is how many datagrams a busy socket takes before it waits in the poller
	// like the others. On one processor nobody looks into the poller before, and
	// the other family would get no answer.
	turn = 256
)

// takeAll handles datagrams until the queue is empty or others have their turn,
// which it reports with wait, or until it is interrupted. A batch that is not full
// does not mean that the queue is empty: a signal may end an emulator's recvmmsg
// early. poll is the descriptor of the kernel socket's epoll instance.
func (s *Socket) takeAll(poll uintptr, handle func(n int)) (wait bool, err error) {
	k := s.kernel
	for taken := 0; !s.interrupted.Load(); {
		n, errno := s.receive(k.fd)
		switch {
		case errno == 0:
			if taken += n; taken > busyAfter && !k.ignored {
				_ = k.ignore(poll, true) // on an error poll goes on watching
			}
			handle(n)
			if taken >= turn && k.ignored && k.ignore(poll, false) == nil {
				return true, nil
			}
		case errno == unix.EAGAIN:
			if k.ignored {
				if err := k.ignore(poll, false); err != nil {
					s.receiveFailed(err.(unix.Errno)) // no memory: try again
					continue
				}
			}
			return true, nil
		case errno == unix.EINTR, errno == unix.ECONNREFUSED:
		case errno == unix.ENOSYS && !s.noMmsg:
			s.noMmsg = true
		case isBug(errno):
			return false, errno
		default:
			s.receiveFailed(errno)
		}
	}
	return false, nil
}

// isBug reports whether an attempt to receive failed because of this program, or
// because the kernel cannot receive at all. Waiting would not help.
func isBug(errno unix.Errno) bool {
	switch errno {
	case unix.EBADF, unix.ENOTSOCK, unix.EFAULT, unix.EINVAL, unix.ENOSYS:
		return true
	}
	return false
}

// receiveFailed waits after an error that will pass. The socket stays open,
// because to bind its port again may need a privilege. Failed is told of the
// first failure, the second, the fourth, the eighth and so on.
func (s *Socket) receiveFailed(errno unix.Errno) {
	s.failures++
	if s.failures&(s.failures-1) == 0 && s.config.Failed != nil {
		s.config.Failed(errors.New("receive: " + errno.Error()))
	}
	retry := timer.New(receiveRetry)
	defer retry.Stop()
	select {
	case <-s.interrupt:
	case <-retry.C:
	}
}

// takeRest handles the datagrams that arrived before Stop. The queue never held
// more than takeRest takes, so that a flood does not prolong it.
func (s *Socket) takeRest(handle func(n int)) error {
	const leastBuffer = 512 // the kernel counts more for the smallest datagram
	for left := 2 * s.rcvbuf / leastBuffer; left > 0 && s.kernel != nil; {
		n, errno := s.receive(s.kernel.fd)
		switch errno {
		case 0:
			handle(n)
			left -= n
		case unix.EAGAIN:
			return nil
		case unix.EINTR, unix.ECONNREFUSED:
		case unix.ENOSYS:
			if s.noMmsg {
				return errno
			}
			s.noMmsg = true
		default:
			if isBug(errno) {
				return errno
			}
			return nil
		}
	}
	return nil
}

// Drops returns how many datagrams for the socket the kernel has dropped: those
// that its filter refused, those with a wrong checksum, and those for which its
// queue had no room. ok is false if the kernel does not tell.
func (s *Socket) Drops() (n uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.countDrops()
}

// countDrops adds the drops since the last call. The caller holds s.mu.
func (s *Socket) countDrops() (uint64, bool) {
	if s.kernel == nil {
		return s.drops, true
	}
	n, ok := s.kernel.countDrops()
	s.drops += uint64(n - s.kernel.drops) // the kernel's counter wraps
	s.kernel.drops = n
	return s.drops, ok
}

// Waiting reports whether the socket has datagrams that nobody has taken.
func (s *Socket) Waiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kernel == nil {
		return false
	}
	var n int32 // without telling the Go scheduler, as in receive
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(s.kernel.fd), unix.SIOCINQ, uintptr(unsafe.Pointer(&n)))
	return errno == 0 && n > 0
}
