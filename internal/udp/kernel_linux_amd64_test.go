//go:build !portable

package udp

import (
	"runtime"
	"strings"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/sys/systest"
	"golang.org/x/sys/unix"
)

// withoutBinding refuses to bind sockets of this thread to a device, as a kernel
// before Linux 5.7 refuses it to a process without privileges. The goroutine must be locked to its
// thread and stay so. Emulators have no seccomp, so this is for one processor only.
func withoutBinding() error {
	const call, level, option = 0, 24, 32 // offsets in struct seccomp_data: the number, the second and the third argument
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	equal := func(n uint32, otherwise uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: n, Jf: otherwise}
	}
	return systest.Confine([]unix.SockFilter{
		load(call), equal(unix.SYS_SETSOCKOPT, 5),
		load(level), equal(unix.SOL_SOCKET, 3),
		load(option), equal(unix.SO_BINDTODEVICE, 1),
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	})
}

// TestBoundInterface checks to which device a socket is bound, with and without the
// privilege that old kernels want. A socket for a link-local address never needs it,
// and a socket for any interface does not need it either.
func TestBoundInterface(t *testing.T) {
	lo := loopbackIndex(t)
	for _, c := range []struct {
		ip, iface string
		zone      uint32
		err       error // without the privilege
	}{
		{ip: "127.0.0.1"},
		{ip: "127.0.0.1", iface: "lo", err: ErrNoBinding},
		{ip: "127.128.0.1", iface: "lo", err: ErrNoBinding},
		{ip: "::1"},
		{ip: "::1", iface: "lo", err: ErrNoBinding},
		{ip: "fe80::1", iface: "lo", zone: lo},
		{ip: "febf::1", iface: "lo", zone: lo},
		{ip: "fe7f::1", iface: "lo", err: ErrNoBinding},
		{ip: "fec0::1", iface: "lo", err: ErrNoBinding},
		{ip: "fd80::1", iface: "lo", err: ErrNoBinding},
	} {
		config := testConfig(c.ip, freePort(t), 1)
		if config.Interface = c.iface; c.iface != "" {
			config.Index = lo
		}
		for _, privileged := range []bool{true, false} {
			var s *Socket
			var err error
			want := c.err
			if privileged {
				s, err = Open(config)
				want = nil
			} else {
				confined, done := make(chan error, 1), make(chan bool)
				go func() {
					runtime.LockOSThread() // to the end of the thread
					confined <- withoutBinding()
					s, err = Open(config)
					close(done)
				}()
				if err := await(t, confined); err != nil {
					t.Fatal(err)
				}
				<-done
			}
			if err != want {
				t.Errorf("%s at %q, privileged %v: got %v, want %v", c.ip, c.iface, privileged, err, want)
			}
			if err != nil {
				continue
			}
			device, err := unix.GetsockoptString(s.kernel.fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
			if device = strings.TrimRight(device, "\x00"); device != c.iface || err != nil {
				t.Errorf("%s: bound to %q, %v, want %q", c.ip, device, err, c.iface)
			}
			if sa, err := unix.Getsockname(s.kernel.fd); err != nil {
				t.Error(err)
			} else if sa6, ok := sa.(*unix.SockaddrInet6); ok && sa6.ZoneId != c.zone {
				t.Errorf("%s: the zone is %d, want %d", c.ip, sa6.ZoneId, c.zone)
			}
			s.Close()
		}
	}
}

// TestAwaitRoomAndSignals checks that a signal does not make Flush give up. Some
// emulators do not survive so many signals.
func TestAwaitRoomAndSignals(t *testing.T) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[0])
	defer unix.Close(ends[1])
	for err := error(nil); err != unix.EAGAIN; _, err = unix.Write(ends[1], make([]byte, 4096)) {
		if err != nil {
			t.Fatal(err)
		}
	}
	s := &Socket{kernel: &kernelSocket{fd: ends[1]}} // a pipe can be full too
	s.interrupted.Store(true)
	thread, stop, stopped := make(chan int), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tid := <-thread
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Tgkill(unix.Getpid(), tid, unix.SIGURG) // Go's runtime ignores it
				runtime.Gosched()
			}
		}
	}()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	thread <- unix.Gettid()
	if !s.awaitRoom() {
		t.Error("it gave up")
	}
	close(stop)
	<-stopped
}

// TestNoReceive checks that Serve returns if the kernel can receive neither batches
// nor single datagrams, also after Stop.
func TestNoReceive(t *testing.T) {
	for _, stop := range []bool{false, true} {
		s, port := testSocket(t, "127.0.0.1", 4)
		dialClient(t, "127.0.0.1", port).send(numbered(1))
		settle(t)
		if stop {
			s.Stop()
		}
		stopped := make(chan error, 1)
		go func() {
			runtime.LockOSThread() // to the end of the thread
			refuse := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)}
			jump := func(nr uint32) unix.SockFilter {
				return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: nr}
			}
			err := systest.Confine([]unix.SockFilter{
				{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the system call
				jump(unix.SYS_RECVMMSG), refuse, jump(unix.SYS_RECVMSG), refuse,
				{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
			})
			if err == nil {
				err = serve(s)
			}
			stopped <- err
		}()
		if err := await(t, stopped); err != unix.ENOSYS {
			t.Errorf("stop %v: got %v, want %v", stop, err, unix.ENOSYS)
		}
	}
}
