//go:build linux && !portable

package main

import (
	"errors"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// End-to-end tests have interfaces and routes come and go. Here is what can be
// seen without.

// quietPort is one below those that the kernel gives to whoever asks for any:
// nobody gets it by chance while its owner lets go of it.
func quietPort() uint16 { return uint16(20000 + rand.IntN(10000)) }

// onLoopback runs a worker on the loopback interface alone.
func onLoopback(t *testing.T) (*socket, uint16) {
	t.Helper()
	any4 := anyIPv4
	any4.zone = "lo"
	var s *socket
	var port uint16
	for s == nil {
		var err error
		port = quietPort()
		if s, err = openSocket(any4, port, 4, false); err != nil && err != unix.EADDRINUSE {
			t.Fatal(err)
		}
	}
	w := &worker{sock: s, desk: newService(t).v4, clock: clock{time.Now()}, log: &logger{}}
	stopped := make(chan error, 1)
	go func() { stopped <- w.run() }()
	t.Cleanup(func() {
		s.stop()
		select {
		case err := <-stopped:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(deadline):
			t.Error("it doesn't stop")
		}
		s.close()
	})
	return s, port
}

// awaitRefused waits until nobody listens on a port.
func awaitRefused(t *testing.T, port uint16) {
	t.Helper()
	c := dialClient(t, "127.0.0.1", port)
	b := make([]byte, 100)
	for end := time.Now().Add(deadline); time.Now().Before(end); {
		_, err := c.conn.Write(connectRequest())
		if err == nil {
			err = c.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		}
		if err == nil {
			_, err = c.conn.Read(b)
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
	}
	t.Fatal("somebody listens")
}

// awaitAnswer waits until somebody answers on a port. What comes while nobody
// listens is lost.
func awaitAnswer(t *testing.T, port uint16) {
	t.Helper()
	b := make([]byte, 100)
	for end := time.Now().Add(deadline); time.Now().Before(end); {
		c := dialClient(t, "127.0.0.1", port)
		c.send(connectRequest())
		if err := c.conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.conn.Read(b); err == nil {
			return
		}
	}
	t.Fatal("nobody answers")
}

// TestFollow: a socket whose interface has gone is deaf and doesn't hold its
// port, and hears again when the interface is back, in whatever order it is
// told; it stops in every state.
func TestFollow(t *testing.T) {
	s, port := onLoopback(t)
	lo, err := interfaceIndex("lo")
	if err != nil || lo == 0 {
		t.Fatal(lo, err)
	}
	dialClient(t, "127.0.0.1", port).ask(connectRequest())
	for range 3 {
		s.follow(0)
		awaitRefused(t, port)
		// Another's, meanwhile.
		other, err := net.ListenUDP("udp4", &net.UDPAddr{Port: int(port)})
		if err != nil {
			t.Fatal(err)
		}
		other.Close()
		s.follow(lo)
		s.follow(0)
		s.follow(lo)
		awaitAnswer(t, port)
	}
	// However often it is told meanwhile, the last word counts, and it rests.
	for range 1000 {
		s.follow(0)
		s.follow(lo)
	}
	awaitAnswer(t, port)
	for end := time.Now().Add(deadline); ; {
		poll := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(poll, 0); err == nil && n == 0 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("it doesn't rest: %v, %#x", err, poll[0].Revents)
		}
	}
	deaf, port := onLoopback(t)
	deaf.follow(0)
	awaitRefused(t, port)
	onLoopback(t)
}

// TestFollowMissed: an interface that goes just before a socket is bound to it,
// and is back before anyone looks, has the number that it had.
func TestFollowMissed(t *testing.T) {
	s, port := onLoopback(t)
	lo := s.index
	s.follow(0)
	awaitRefused(t, port)
	s.mu.Lock()
	s.addr.zone = "absent0"
	s.mu.Unlock()
	s.follow(lo)
	for end := time.Now().Add(deadline); s.moved.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it isn't followed")
		}
	}
	s.mu.Lock() // it has been bound, in vain
	s.addr.zone = "lo"
	s.mu.Unlock()
	l := &links{socks: []*socket{s}, log: &logger{w: &strings.Builder{}}}
	l.watch("lo", lo)
	l.look()
	awaitAnswer(t, port)
}

// refuseNetlink has the kernel refuse netlink to this thread, for the rest of
// its life.
func refuseNetlink() error {
	const call, family = 0, 16 // where struct seccomp_data has the number and the first argument
	at := uint32(family)
	if *(*byte)(unsafe.Pointer(&[]uint16{1}[0])) == 0 { // big-endian
		at += 4
	}
	prog := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: call},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 3, K: unix.SYS_SOCKET},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.AF_NETLINK},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	return confine(prog)
}

// TestWithoutNetlink: as in a sandbox that doesn't permit it, there is a
// warning where it is wanted, and interfaces are followed all the same.
func TestWithoutNetlink(t *testing.T) {
	s, _ := onLoopback(t)
	tr := newService(t).tracker
	var log strings.Builder
	done := make(chan *links)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the function
		if err := refuseNetlink(); err != nil {
			t.Logf("no seccomp here (%v, as under emulation): only what comes after is tested", err)
			l := &links{socks: []*socket{s}, tracker: tr, log: &logger{w: &log}}
			l.watch("lo", s.index)
			l.without(unix.EAFNOSUPPORT)
			done <- l
			return
		}
		newLinks(nil, nil, &logger{w: &log}) // of no interest to anyone
		done <- newLinks([]*socket{s}, tr, &logger{w: &log})
	}()
	l := <-done
	if l.kernel != nil {
		t.Fatal("it has netlink")
	}
	name := unix.EAFNOSUPPORT.Error()
	want := "[WARN] netlink: " + name + ": the interfaces are looked at every 2 s\n" +
		"[WARN] netlink: " + name + ": -external-ip auto finds no address; give it instead\n"
	if log.String() != want {
		t.Errorf("logged %q, want %q", log.String(), want)
	}
	l.devices[0].index = 99
	l.look()
	l.look()
	if !strings.HasSuffix(log.String(), "[INFO] interface lo is there\n") || strings.Count(log.String(), "\n") != 3 {
		t.Errorf("logged %q", log.String())
	}
	l.start()
	l.stop() // does not wait
}

// TestLinksStop: what waits for the kernel's word ends when it is told to.
func TestLinksStop(t *testing.T) {
	for range 3 {
		l := newLinks(nil, newService(t).tracker, &logger{w: &strings.Builder{}})
		if l.kernel == nil {
			t.Fatal("no netlink")
		}
		l.start()
		ended := make(chan struct{})
		go func() {
			l.stop()
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(deadline):
			t.Fatal("it goes on")
		}
	}
}
