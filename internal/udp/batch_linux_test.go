//go:build linux && !portable

package udp

import (
	"bytes"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/rtnetlink/rtnetlinktest"
	"golang.org/x/sys/unix"
)

// TestDatagramBytes compares with the memory that a socket has.
func TestDatagramBytes(t *testing.T) {
	const batch = 4
	s, _ := testSocket(t, "127.0.0.1", batch)
	got := batch * testSizes.DatagramBytes()
	want := len(s.requests) + len(s.replies) + len(s.slots)*int(unsafe.Sizeof(s.slots[0])) +
		(len(s.in)+len(s.out))*int(unsafe.Sizeof(s.in[0])) + len(s.iovs)*int(unsafe.Sizeof(s.iovs[0]))
	if got != want {
		t.Errorf("got %d bytes for %d datagrams, want %d", got, batch, want)
	}
}

// TestOldRepliesStay checks that a reply that the kernel refuses does not repeat the
// replies of the batch before.
func TestOldRepliesStay(t *testing.T) {
	for _, l := range loopbacks {
		s, port := testSocket(t, l.wildcard, 8)
		c := dialClient(t, l.addr, port)
		batchOf(t, s, 8, func(i int) { c.send(numbered(i)) })
		for i := range 8 {
			s.Reply(i, append(s.Buffer(i), s.Request(i)...))
		}
		if failed := s.Flush(8); failed != 0 {
			t.Errorf("%s: %d replies failed, want 0", l.addr, failed)
		}
		for i := range 8 {
			if got := c.receive(); !bytes.Equal(got, numbered(i)) {
				t.Errorf("%s: reply %d is %x", l.addr, i, got)
			}
		}
		batchOf(t, s, 3, func(i int) { c.send(numbered(10 + i)) })
		copy(s.slots[0].name[2:4], "\x00\x00") // port 0: no one's
		for i := range 3 {
			s.Reply(i, append(s.Buffer(i), s.Request(i)...))
		}
		if failed := s.Flush(3); failed != 1 {
			t.Errorf("%s: %d replies failed, want 1", l.addr, failed)
		}
		c.send(numbered(20))
		echo(t, s, 1)
		for _, n := range []int{11, 12, 20} {
			if got := c.receive(); !bytes.Equal(got, numbered(n)) {
				t.Errorf("%s: got %x, want %x", l.addr, got, numbered(n))
			}
		}
	}
}

// TestAwaitRoom checks that Flush tries again when the send buffer has room, when a
// signal comes, and after a second, except if the socket is interrupted.
func TestAwaitRoom(t *testing.T) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[0])
	defer unix.Close(ends[1])
	s := &Socket{kernel: &kernelSocket{fd: ends[1]}} // a pipe can be full too
	expect := func(what string, want bool, least, most time.Duration) {
		t.Helper()
		start := time.Now()
		if got := s.awaitRoom(); got != want {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
		if took := time.Since(start); took < least || took > most {
			t.Errorf("%s: took %v, want %v to %v", what, took, least, most)
		}
	}
	expect("room", true, 0, deadline)
	s.interrupted.Store(true)
	expect("room, interrupted", true, 0, deadline)
	for err := error(nil); err != unix.EAGAIN; _, err = unix.Write(ends[1], make([]byte, 4096)) {
		if err != nil {
			t.Fatal(err)
		}
	}
	expect("full, interrupted", false, time.Second, deadline)
	s.interrupted.Store(false)
	expect("full", true, time.Second, deadline)

	// While signals come, it does not give up.
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
	expect("full, a signal", true, 0, deadline)
	close(stop)
	<-stopped
}

// fillBuffer makes s send its n replies to a host that does not answer, until the
// send buffer has no room. It returns what Flush returns.
func fillBuffer(t *testing.T, s *Socket, n int) <-chan int {
	t.Helper()
	done := make(chan int, 1)
	go func() {
		for i := range n {
			copy(s.slots[i].name[4:8], []byte{192, 0, 2, 99})
			s.Reply(i, append(append(s.Buffer(i), s.Request(i)...), make([]byte, 1000)...))
		}
		done <- s.Flush(n)
	}()
	poll := []unix.PollFd{{Fd: int32(s.kernel.fd), Events: unix.POLLOUT}}
	for end := time.Now().Add(deadline); ; runtime.Gosched() {
		poll[0].Revents = 0
		k, err := unix.Poll(poll, 0)
		if err == nil && k == 0 {
			return done
		}
		if time.Now().After(end) {
			t.Fatal("the send buffer is not full")
		}
	}
}

// TestFullSendBuffer checks that replies for which the send buffer has no room wait
// until it has. After Stop, all of them together wait for a second.
func TestFullSendBuffer(t *testing.T) {
	const port, lo, n = 6969, rtnetlinktest.Loopback, 16
	rtnetlinktest.InNamespace(t, func() {
		rtnetlinktest.SetUp(t, lo, true)
		for _, stop := range []bool{false, true} {
			// The kernel keeps packets to a host that it does not find yet.
			link := rtnetlinktest.AddInterface(t, "slow0")
			rtnetlinktest.SetAddress(t, link, "192.0.2.1/24", true)
			s, err := Open(testConfig("0.0.0.0", port, n))
			if err != nil {
				t.Fatal(err)
			}
			if err := unix.SetsockoptInt(s.kernel.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1); err != nil { // the kernel's least
				t.Fatal(err)
			}
			c := dialClient(t, "192.0.2.1", port)
			batchOf(t, s, n, func(i int) { c.send(numbered(i)) })
			s.interrupted.Store(stop)
			start := time.Now()
			done := fillBuffer(t, s, n)
			select {
			case failed := <-done:
				t.Errorf("stop %v: Flush returned at once, %d replies failed", stop, failed)
			default:
			}
			if !stop {
				rtnetlinktest.Remove(t, link) // now nothing waits for the host: there is room
			}
			if failed := await(t, done); failed == 0 || failed == n {
				t.Errorf("stop %v: %d replies failed, want those that were not sent yet", stop, failed)
			}
			if took := time.Since(start); took > n/2*time.Second {
				t.Errorf("stop %v: took %v, want about a second", stop, took)
			}
			if stop {
				rtnetlinktest.Remove(t, link)
			}
			s.Close()
		}
	})
}
