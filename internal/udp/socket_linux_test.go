//go:build linux && !portable

package udp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/rtnetlink"
	"github.com/fabricionaweb/pico-tracker/internal/rtnetlink/rtnetlinktest"
	"github.com/fabricionaweb/pico-tracker/internal/sys/systest"
	"golang.org/x/sys/unix"
)

// testSocket opens a socket on a port that is free.
func testSocket(t testing.TB, ip string, batch int) (*Socket, uint16) {
	t.Helper()
	s, port := openFree(t, ip, batch)
	t.Cleanup(s.Close)
	return s, port
}

// receive waits for datagrams and takes a batch.
func receive(t testing.TB, s *Socket) int {
	t.Helper()
	for end := time.Now().Add(deadline); ; {
		n, errno := s.receive(s.kernel.fd)
		switch {
		case errno == 0:
			return n
		case errno != unix.EAGAIN && errno != unix.EINTR:
			t.Fatal(errno)
		case time.Now().After(end):
			t.Fatal("nothing arrives")
		}
		poll := []unix.PollFd{{Fd: int32(s.kernel.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, int(deadline.Milliseconds())); err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
	}
}

// echo receives until there were n datagrams, and answers each with its own
// bytes. It returns them, and how many replies were refused.
func echo(t testing.TB, s *Socket, n int) (got [][]byte, failed int) {
	t.Helper()
	for len(got) < n {
		k := receive(t, s)
		for i := 0; i < k; i++ {
			got = append(got, bytes.Clone(s.Request(i)))
			s.Reply(i, append(s.Buffer(i), s.Request(i)...))
		}
		failed += s.Flush(k)
	}
	return got, failed
}

// serve echoes until the socket is stopped.
func serve(s *Socket) error {
	return s.Serve(func(n int) { echoBatch(s, n) })
}

func echoBatch(s *Socket, n int) {
	for i := range n {
		s.Reply(i, append(s.Buffer(i), s.Request(i)...))
	}
	s.Flush(n)
}

// loopbackIndex returns the number of the loopback interface.
func loopbackIndex(t testing.TB) uint32 {
	t.Helper()
	// Not by package net: it asks by netlink, which an emulator of a big-endian
	// processor garbles.
	lo, err := rtnetlink.InterfaceIndex("lo")
	if err != nil {
		t.Fatal(err)
	}
	return lo
}

// settle returns when what was sent before lies in the queue where it belongs:
// what is sent to oneself goes the same way, and comes after. There is a way for
// each processor.
func settle(t testing.TB) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := dialClient(t, "127.0.0.1", conn.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	onEachProcessor(t, func() {
		c.send([]byte("x"))
		if err := conn.SetReadDeadline(time.Now().Add(deadline)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	})
}

// TestReplyAddress: a reply leaves from the address that was asked, which a
// client that is connected to it insists on.
func TestReplyAddress(t *testing.T) {
	s, port := testSocket(t, "0.0.0.0", 8)
	addrs := []string{"127.0.0.1", "127.0.0.2", "127.1.2.3", "127.255.255.254"}
	for i, addr := range addrs {
		c := dialClient(t, addr, port)
		c.send(numbered(i))
		echo(t, s, 1)
		if got := c.receive(); !bytes.Equal(got, numbered(i)) {
			t.Errorf("%s: %x", addr, got)
		}
	}
	// All in one batch.
	var clients []*client
	for i, addr := range addrs {
		c := dialClient(t, addr, port)
		c.send(numbered(i))
		clients = append(clients, c)
	}
	echo(t, s, len(addrs))
	for i, c := range clients {
		if got := c.receive(); !bytes.Equal(got, numbered(i)) {
			t.Errorf("%s: %x", addrs[i], got)
		}
	}
	s, port = testSocket(t, "::", 8)
	c := dialClient(t, "::1", port)
	c.send(numbered(1))
	if echo(t, s, 1); !bytes.Equal(c.receive(), numbered(1)) {
		t.Error("::1")
	}
}

// TestSource: the address and port of each datagram in wire form.
func TestSource(t *testing.T) {
	for _, l := range loopbacks {
		for _, ip := range []string{l.addr, l.wildcard} {
			s, port := testSocket(t, ip, 2)
			c := dialClient(t, l.addr, port)
			c.send(numbered(1))
			if n := receive(t, s); n != 1 {
				t.Fatal(n)
			}
			key := make([]byte, len(c.self.Addr().AsSlice())+2)
			s.Source(0, key)
			want := binary.BigEndian.AppendUint16(c.self.Addr().AsSlice(), c.self.Port())
			if !bytes.Equal(key, want) {
				t.Errorf("%s: %x, want %x", ip, key, want)
			}
		}
	}
}

// TestSourceLink checks that the link of a link-local source is reported, also by
// a socket for all addresses, and that other sources have none.
func TestSourceLink(t *testing.T) {
	const port, lo = 6969, rtnetlinktest.Loopback
	rtnetlinktest.InNamespace(t, func() {
		rtnetlinktest.SetUp(t, lo, true)
		for _, address := range []string{"169.254.1.1/16", "192.0.2.1/24", "fe80::1/64", "2001:db8::1/64"} {
			rtnetlinktest.SetAddress(t, lo, address, true)
		}
		for _, c := range []struct {
			addr, wildcard string
			link           uint32
		}{
			{addr: "169.254.1.1", wildcard: "0.0.0.0", link: lo},
			{addr: "192.0.2.1", wildcard: "0.0.0.0", link: 0},
			{addr: "fe80::1", wildcard: "::", link: lo},
			{addr: "2001:db8::1", wildcard: "::", link: 0},
		} {
			for _, ip := range []string{c.addr, c.wildcard} {
				config := testConfig(ip, port, 2)
				if ip == "fe80::1" {
					config.Interface, config.Index = "lo", lo
				}
				s, err := Open(config)
				if err != nil {
					t.Fatal(err)
				}
				to := net.UDPAddr{IP: net.ParseIP(c.addr), Port: port}
				if c.addr == "fe80::1" {
					to.Zone = "lo"
				}
				// The kernel makes the route of a new address some time later. A
				// connected socket may keep the route that it found first.
				poll := []unix.PollFd{{Fd: int32(s.kernel.fd), Events: unix.POLLIN}}
				for end := time.Now().Add(deadline); poll[0].Revents == 0 && time.Now().Before(end); {
					conn, err := net.DialUDP("udp", &net.UDPAddr{IP: to.IP, Zone: to.Zone}, &to)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := conn.Write(numbered(1)); err != nil {
						t.Fatal(err)
					}
					conn.Close()
					if _, err := unix.Poll(poll, 100); err != nil && err != unix.EINTR {
						t.Fatal(err)
					}
				}
				receive(t, s)
				key := make([]byte, len(s.IP())+2)
				link := s.Source(0, key)
				want := netip.MustParseAddr(c.addr).AsSlice()
				if link != c.link || !bytes.Equal(key[:len(want)], want) {
					t.Errorf("%s at %s: got %x by link %d, want %x by %d", c.addr, ip, key, link, want, c.link)
				}
				s.Close()
			}
		}
	})
}

// TestSameInterface checks that a socket which is told the number that its
// interface has already is not bound again, and goes on.
func TestSameInterface(t *testing.T) {
	s, port := onLoopback(t)
	c := dialClient(t, "127.0.0.1", port)
	c.ask(numbered(1))
	s.mu.Lock()
	before := s.kernel
	s.mu.Unlock()
	for i := range 100 {
		s.SetInterface(s.Index())
		s.mu.Lock()
		kernel, interrupted := s.kernel, s.interrupted.Load()
		s.mu.Unlock()
		if kernel != before || interrupted {
			t.Fatalf("after %d times: bound again: %v, interrupted: %v", i+1, kernel != before, interrupted)
		}
	}
	c.ask(numbered(2))
}

// batchOf has n datagrams sent, in order, and receives them at once. A signal
// may come between two, where the kernel is emulated: then they are sent again.
func batchOf(t *testing.T, s *Socket, n int, send func(i int)) {
	t.Helper()
	for try := 0; try < 100; try++ {
		for i := 0; i < n; i++ {
			send(i)
		}
		settle(t)
		for got := 0; got < n; {
			k := receive(t, s)
			if k == n {
				return
			}
			s.Flush(k)
			got += k
		}
	}
	t.Fatalf("%d datagrams never came at once", n)
}

// TestSendFailures: replies that the kernel refuses, wherever they stand in a
// batch, are counted and hold up no other.
func TestSendFailures(t *testing.T) {
	for _, single := range []bool{false, true} {
		for _, l := range loopbacks {
			for _, bad := range [][]int{{}, {0}, {4}, {2}, {0, 1}, {3, 4}, {0, 2, 4}, {0, 1, 2, 3}, {0, 1, 2, 3, 4}} {
				s, port := testSocket(t, l.wildcard, 5)
				c := dialClient(t, l.addr, port)
				batchOf(t, s, 5, func(i int) { c.send(numbered(i)) })
				s.noMmsg = single
				const n = 5
				for i := 0; i < n; i++ {
					if slices.Contains(bad, i) {
						copy(s.slots[i].name[2:4], "\x00\x00") // port 0: no one's
					}
					s.Reply(i, append(s.Buffer(i), s.Request(i)...))
				}
				if failed := s.Flush(n); failed != len(bad) {
					t.Errorf("%v, single %v: %d replies failed", bad, single, failed)
				}
				for i := 0; i < 5; i++ {
					if slices.Contains(bad, i) {
						continue
					}
					if got := c.receive(); !bytes.Equal(got, numbered(i)) {
						t.Errorf("%v: reply %d is %x", bad, i, got)
					}
				}
			}
		}
	}
}

// TestSkippedReplies: only what has a reply is sent, to its own sender.
func TestSkippedReplies(t *testing.T) {
	s, port := testSocket(t, "127.0.0.1", 4)
	clients := []*client{dialClient(t, "127.0.0.1", port), dialClient(t, "127.0.0.1", port), dialClient(t, "127.0.0.1", port)}
	for round := 0; round < 3; round++ {
		const n = 3
		batchOf(t, s, n, func(i int) { clients[i].send(numbered(10*round + i)) })
		for i := 0; i < n; i++ {
			if i != round {
				s.Reply(i, append(s.Buffer(i), s.Request(i)...))
			}
		}
		s.Flush(n)
		for i, c := range clients {
			if i == round {
				continue
			}
			if got := c.receive(); !bytes.Equal(got, numbered(10*round+i)) {
				t.Errorf("round %d, client %d: %x", round, i, got)
			}
		}
	}
	// The socket that was left out each time received nothing in between.
	for i, c := range clients {
		c.send(numbered(100 + i))
	}
	echo(t, s, 3)
	for i, c := range clients {
		if got := c.receive(); !bytes.Equal(got, numbered(100+i)) {
			t.Errorf("client %d: %x", i, got)
		}
	}
}

// TestSingle: where the kernel has no recvmmsg and sendmmsg, datagrams are
// taken and sent one by one.
func TestSingle(t *testing.T) {
	for _, l := range loopbacks {
		for _, ip := range []string{l.addr, l.wildcard} {
			s, port := testSocket(t, ip, 4)
			s.noMmsg = true
			stopped := make(chan error, 1)
			go func() { stopped <- serve(s) }()
			a, b := dialClient(t, l.addr, port), dialClient(t, l.addr, port)
			for i, c := range []*client{a, b, a} {
				if got := c.ask(numbered(i)); !bytes.Equal(got, numbered(i)) {
					t.Errorf("%s: request %d: got %x", ip, i, got)
				}
			}
			s.Stop()
			if err := <-stopped; err != nil {
				t.Error(err)
			}
		}
	}
}

// refuseBatches has the kernel say to this thread, for the rest of its life,
// that it has no recvmmsg and sendmmsg.
func refuseBatches() error {
	jump := func(nr uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: nr}
	}
	refuse := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)}
	prog := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the system call's number
		jump(unix.SYS_RECVMMSG), refuse, jump(unix.SYS_SENDMMSG), refuse,
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	return systest.Confine(prog)
}

// TestNoBatches: a kernel that has no recvmmsg, or lost it, is found out.
func TestNoBatches(t *testing.T) {
	s, port := testSocket(t, "127.0.0.1", 4)
	refused, stopped := make(chan error, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the function
		err := refuseBatches()
		if refused <- err; err != nil {
			s.noMmsg = true
		}
		stopped <- serve(s)
	}()
	if err := <-refused; err != nil {
		t.Logf("no seccomp here (%v, as under emulation): only what comes after is tested", err)
	}
	var clients []*client
	for i := 0; i < 6; i++ {
		c := dialClient(t, "127.0.0.1", port)
		c.send(connectRequest())
		clients = append(clients, c)
	}
	for i, c := range clients {
		if got := c.receive(); len(got) != 16 {
			t.Errorf("client %d: %x", i, got)
		}
	}
	s.Stop()
	if err := <-stopped; err != nil || !s.noMmsg {
		t.Errorf("single %v, %v", s.noMmsg, err)
	}
}

// TestBatch: more datagrams than a batch holds are taken in several, in order,
// and each is answered.
func TestBatch(t *testing.T) {
	s, port := testSocket(t, "127.0.0.1", 4)
	c := dialClient(t, "127.0.0.1", port)
	for i := 0; i < 11; i++ {
		c.send(numbered(i))
	}
	settle(t)
	var sizes []int
	for got := 0; got < 11; {
		n := receive(t, s)
		for i := 0; i < n; i++ {
			if !bytes.Equal(s.Request(i), numbered(got)) {
				t.Fatalf("datagram %d is %x", got, s.Request(i))
			}
			got++
		}
		s.Flush(n)
		sizes = append(sizes, n)
	}
	if !slices.Equal(sizes, []int{4, 4, 3}) {
		t.Errorf("batches of %v", sizes)
	}
}

// TestLongDatagrams are cut to what is looked at; the next ones are whole.
func TestLongDatagrams(t *testing.T) {
	s, port := testSocket(t, "0.0.0.0", 2)
	c := dialClient(t, "127.0.0.1", port)
	for _, n := range []int{testSizes.MaxRequest - 1, testSizes.MaxRequest, testSizes.MaxRequest + 1, 9000, 65507, 16} {
		req := append(numbered(n), make([]byte, n-16)...)
		c.send(req)
		if got, _ := echo(t, s, 1); !bytes.Equal(got[0], req[:min(n, testSizes.MaxRequest)]) {
			t.Errorf("%d bytes: received %d", n, len(got[0]))
		}
		// An answer of that size is none that the tracker would give.
		if got := c.receive(); len(got) != min(n, testSizes.MaxRequest) {
			t.Errorf("%d bytes: %d came back", n, len(got))
		}
	}
}

// await returns what comes from a channel.
func await[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(deadline):
		t.Fatal("nothing happens")
	}
	panic("unreachable")
}

// TestStop: Serve returns if it waits, if it has not begun, and again.
func TestStop(t *testing.T) {
	for _, noMmsg := range []bool{false, true} {
		for _, l := range loopbacks {
			s, port := testSocket(t, l.wildcard, 4)
			s.noMmsg = noMmsg
			stopped := make(chan error, 1)
			go func() { stopped <- serve(s) }()
			if got := dialClient(t, l.addr, port).ask(numbered(1)); !bytes.Equal(got, numbered(1)) {
				t.Errorf("got %x", got)
			}
			s.Stop()
			for range 2 {
				if err := await(t, stopped); err != nil {
					t.Error(err)
				}
				go func() { stopped <- serve(s) }()
			}
			await(t, stopped)
		}
	}
}

// TestBusySocketWakesNobody: datagrams that arrive while the socket is busy wake no
// other thread, and Serve answers them. When it waits, the next datagram wakes it.
func TestBusySocketWakesNobody(t *testing.T) {
	for _, l := range loopbacks {
		s, port := testSocket(t, l.wildcard, 4)
		c := dialClient(t, l.addr, port)
		var sent, taken, checks int
		send := func(n int) {
			for range n {
				c.send(numbered(sent))
				sent++
			}
			settle(t)
		}
		send(busyAfter + 1)
		readable := make(chan int, 2)
		stopped := make(chan error, 1)
		go func() {
			stopped <- s.Serve(func(n int) {
				if taken += n; taken > busyAfter && checks < 2 { // the last of these, and one that came meanwhile
					checks++
					send(2 - checks)
					_ = s.kernel.waiting.Control(func(poll uintptr) {
						n, err := unix.Poll([]unix.PollFd{{Fd: int32(poll), Events: unix.POLLIN}}, 0)
						if err != nil {
							n = -1
						}
						readable <- n
					})
				}
				echoBatch(s, n)
			})
		}()
		for range 2 {
			if got := await(t, readable); got != 0 {
				t.Errorf("%s: poll returns %d during a batch, want 0", l.addr, got)
			}
		}
		for i := range busyAfter + 2 {
			if got := c.receive(); !bytes.Equal(got, numbered(i)) {
				t.Errorf("%s: reply %d is %x, want %x", l.addr, i, got, numbered(i))
			}
		}
		// Bursts and single datagrams in turn, each after the last reply.
		for i := range 300 {
			first, burst := sent, 1+i%(busyAfter+8)
			for range burst {
				c.send(numbered(sent))
				sent++
			}
			for j := range burst {
				if got := c.receive(); !bytes.Equal(got, numbered(first+j)) {
					t.Fatalf("%s: reply %d is %x, want %x", l.addr, first+j, got, numbered(first+j))
				}
			}
		}
		s.Stop()
		if err := await(t, stopped); err != nil {
			t.Error(err)
		}
	}
}

// TestTurn: a socket is busy after busyAfter datagrams and not before. After a whole
// turn, and when its queue is empty, it waits again.
func TestTurn(t *testing.T) {
	s, port := testSocket(t, "127.0.0.1", 1)
	c := dialClient(t, "127.0.0.1", port)
	const more = 3 // the rest, in another turn
	for i := range turn + more {
		c.send(numbered(i))
		if i%16 == 0 {
			settle(t)
		}
	}
	settle(t)
	for _, want := range []int{turn, more, 0} {
		taken := 0
		err := s.kernel.waiting.Control(func(poll uintptr) {
			wait, err := s.takeAll(poll, func(n int) {
				taken += n
				if busy := taken > busyAfter; s.kernel.ignored != busy {
					t.Errorf("after %d datagrams: busy %v, want %v", taken, s.kernel.ignored, busy)
				}
			})
			if !wait || err != nil {
				t.Errorf("got %v, %v, want to wait", wait, err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if taken != want || s.kernel.ignored {
			t.Errorf("%d datagrams in a turn, busy after it %v, want %d", taken, s.kernel.ignored, want)
		}
	}
}

// TestBusySocketCannotWait: a busy socket that the kernel does not let wait again
// reports it, tries again, and can be stopped.
func TestBusySocketCannotWait(t *testing.T) {
	s, _ := testSocket(t, "127.0.0.1", 1)
	var told []string
	s.config.Failed = func(err error) {
		if told = append(told, err.Error()); len(told) == 2 {
			s.Stop()
		}
	}
	s.kernel.ignored = true // but the epoll instance watches it: to add it again is an error
	if err := serve(s); err != nil {
		t.Error(err)
	}
	want := "receive: " + unix.EEXIST.Error()
	if !slices.Equal(told, []string{want, want}) {
		t.Errorf("told %q, want twice %q", told, want)
	}
}

// TestBusySocketLetsOthersRun: if there is one processor, a socket whose queue is
// never empty does not keep another socket waiting for longer than its turn.
func TestBusySocketLetsOthersRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	busy, busyPort := testSocket(t, "127.0.0.1", 16)
	other, otherPort := testSocket(t, "127.0.0.1", 16)
	toBusy, toOther := dialClient(t, "127.0.0.1", busyPort), dialClient(t, "127.0.0.1", otherPort)

	const asked = 2 * turn // datagrams before other gets one
	var taken, answered atomic.Int64
	stopped := make(chan error, 2)
	go func() {
		stopped <- other.Serve(func(n int) {
			answered.Store(taken.Load())
			echoBatch(other, n)
			busy.Stop()
		})
	}()
	go func() {
		stopped <- busy.Serve(func(n int) {
			sum := taken.Add(int64(n))
			switch {
			case sum >= asked && sum < asked+int64(n):
				toOther.send(numbered(0))
			case sum > 20*turn:
				busy.Stop()
			}
			busy.Flush(n)
			for range n {
				toBusy.send(numbered(0))
			}
		})
	}()
	for range 8 {
		toBusy.send(numbered(0))
	}
	if err := await(t, stopped); err != nil {
		t.Error(err)
	}
	if n := answered.Load(); n == 0 || n > asked+2*turn {
		t.Errorf("the other socket was served after %d datagrams, want at most %d", n-asked, 2*turn)
	}
	other.Stop()
	if err := await(t, stopped); err != nil {
		t.Error(err)
	}
}

// TestStopAnswersQueue: Serve answers every datagram that arrived before Stop,
// also if it has not begun.
func TestStopAnswersQueue(t *testing.T) {
	for _, noMmsg := range []bool{false, true} {
		for _, l := range loopbacks {
			s, port := testSocket(t, l.wildcard, 4)
			s.noMmsg = noMmsg
			c := dialClient(t, l.addr, port)
			for i := range 9 {
				c.send(numbered(i))
			}
			settle(t)
			s.Stop()
			if err := serve(s); err != nil {
				t.Fatal(err)
			}
			for i := range 9 {
				if got := c.receive(); !bytes.Equal(got, numbered(i)) {
					t.Errorf("reply %d is %x", i, got)
				}
			}
		}
	}
}

// TestStopUnderFlood: datagrams that arrive after Stop do not hold it up for
// longer than a full queue does.
func TestStopUnderFlood(t *testing.T) {
	for _, l := range loopbacks {
		s, port := testSocket(t, l.wildcard, 4)
		c := dialClient(t, l.addr, port)
		taken, before := 0, 0
		c.send(numbered(0))
		err := s.Serve(func(n int) {
			if taken += n; taken > 1000 && before == 0 {
				before = taken
				s.Stop()
			}
			c.send(numbered(1)) // the queue is never empty
			c.send(numbered(2))
			s.Flush(n)
		})
		if err != nil {
			t.Fatal(err)
		}
		if most := 2*s.rcvbuf/512 + len(s.in); before == 0 || taken-before > most {
			t.Errorf("%d datagrams after Stop, want at most %d", taken-before, most)
		}
	}
}

// TestRestIsLimited: after Stop, Serve handles as many datagrams as fit into the
// queue, and leaves those that came later.
func TestRestIsLimited(t *testing.T) {
	const leastBuffer, fit = 512, 5 // bytes of the queue for a datagram
	for _, batch := range []int{1, 4} {
		s, port := testSocket(t, "127.0.0.1", batch)
		c := dialClient(t, "127.0.0.1", port)
		for i := range 20 {
			c.send(numbered(i))
		}
		settle(t)
		s.rcvbuf = fit * leastBuffer / 2 // the kernel doubles it
		s.Stop()
		taken, batches := 0, 0
		if err := s.Serve(func(n int) { taken += n; batches++ }); err != nil {
			t.Fatal(err)
		}
		if taken < fit || taken-fit >= batch || !s.Waiting() {
			t.Errorf("batch of %d: %d datagrams in %d batches, more are waiting: %v, want %d", batch, taken, batches, s.Waiting(), fit)
		}
	}
}

// TestStopFails: if the kernel refuses to receive after Stop, Serve returns, and
// reports only what is a bug.
func TestStopFails(t *testing.T) {
	tcp, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(tcp)
	for _, c := range []struct {
		name string
		fd   int
		want error
	}{
		{name: "no descriptor", fd: -1, want: unix.EBADF},
		{name: "not connected", fd: tcp}, // as if there were no memory
	} {
		s, _ := testSocket(t, "127.0.0.1", 4)
		fd := s.kernel.fd
		s.kernel.fd = c.fd
		s.Stop()
		if err := serve(s); err != c.want {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		s.kernel.fd = fd
	}
}

// TestWaiting: only datagrams that nobody has taken are waiting.
func TestWaiting(t *testing.T) {
	for _, l := range loopbacks {
		s, port := testSocket(t, l.addr, 4)
		if s.Waiting() {
			t.Errorf("%s: a datagram is waiting before one is sent", l.addr)
		}
		c := dialClient(t, l.addr, port)
		c.send(numbered(1))
		settle(t)
		if !s.Waiting() {
			t.Errorf("%s: nothing is waiting", l.addr)
		}
		if echo(t, s, 1); s.Waiting() {
			t.Errorf("%s: a datagram is waiting after it was taken", l.addr)
		}
	}
}

// TestServeClosed: a socket that is closed has nothing to serve.
func TestServeClosed(t *testing.T) {
	s, _ := openFree(t, "127.0.0.1", 4)
	s.Close()
	if err := serve(s); err != nil {
		t.Error(err)
	}
	s.Close()
	s.Stop()
	s.SetInterface(1)
	if n, _ := s.Drops(); n != 0 || s.Waiting() {
		t.Errorf("closed, %d drops, waiting %v", n, s.Waiting())
	}
}

// TestServeFails: an error of the kernel that is no datagram's ends Serve.
func TestServeFails(t *testing.T) {
	s, port := testSocket(t, "127.0.0.1", 4)
	fd := s.kernel.fd
	dialClient(t, "127.0.0.1", port).send(numbered(1))
	settle(t)
	s.kernel.fd = -1
	err := serve(s)
	s.kernel.fd = fd
	if err != unix.EBADF {
		t.Errorf("got %v, want %v", err, unix.EBADF)
	}
}

// TestServeWithoutPoller: Serve ends if it can no longer wait.
func TestServeWithoutPoller(t *testing.T) {
	s, port := testSocket(t, "127.0.0.1", 4)
	stopped := make(chan error, 1)
	go func() { stopped <- serve(s) }()
	dialClient(t, "127.0.0.1", port).ask(numbered(1))
	if err := s.kernel.poll.Close(); err != nil {
		t.Fatal(err)
	}
	if err := await(t, stopped); err == nil {
		t.Error("got no error")
	}
}

// TestCloseReleases: Close, and Open if it fails, leave no descriptor open.
func TestCloseReleases(t *testing.T) {
	count := func() int {
		t.Helper()
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	s, port := openFree(t, "127.0.0.1", 1)
	during := count()
	for range 10 {
		if other, err := Open(testConfig("127.0.0.1", port, 1)); err == nil {
			other.Close()
			t.Fatal("the port is not in use")
		}
	}
	if got := count(); got > during {
		t.Errorf("%d descriptors are open after Open has failed, want %d", got, during)
	}
	s.Close()
	if got, want := count(), during-2; got > want { // the socket and its epoll instance
		t.Errorf("%d descriptors are open after Close, want %d", got, want)
	}
}

// TestFamiliesApart: the IPv6 socket takes no IPv4, so that both wildcards fit
// on one port and no mapped address is ever seen.
func TestFamiliesApart(t *testing.T) {
	port := freePort(t)
	s6, err := Open(testConfig("::", port, 4))
	if err != nil {
		t.Fatal(err)
	}
	defer s6.Close()
	s4, err := Open(testConfig("0.0.0.0", port, 4))
	if err != nil {
		t.Fatalf("IPv4 beside IPv6: %v", err)
	}
	defer s4.Close()
	c4, c6 := dialClient(t, "127.0.0.1", port), dialClient(t, "::1", port)
	c4.send(numbered(4))
	c6.send(numbered(6))
	for _, x := range []struct {
		s *Socket
		n int
	}{{s4, 4}, {s6, 6}} {
		if got, _ := echo(t, x.s, 1); len(got) != 1 || !bytes.Equal(got[0], numbered(x.n)) {
			t.Errorf("family %d: %x", x.n, got)
		}
	}
}

// TestSharedSockets: sockets that share a port get whole clients each.
func TestSharedSockets(t *testing.T) {
	port := freePort(t)
	shared := testConfig("127.0.0.1", port, 64)
	shared.Shared = true
	var socks []*Socket
	for i := 0; i < 2; i++ {
		s, err := Open(shared)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		socks = append(socks, s)
	}
	if _, err := Open(testConfig("127.0.0.1", port, 1)); err != unix.EADDRINUSE {
		t.Errorf("one that does not share: %v", err)
	}
	const clients = 40
	for i := 0; i < clients; i++ {
		c := dialClient(t, "127.0.0.1", port)
		for j := 0; j < 3; j++ {
			c.send(numbered(i))
		}
	}
	settle(t)
	total := 0
	for i, s := range socks {
		s.Stop()
		seen := map[string]int{}
		if err := s.Serve(func(n int) {
			for j := range n {
				seen[string(s.Request(j))]++
			}
			s.Flush(n)
		}); err != nil {
			t.Fatal(err)
		}
		if total += len(seen); len(seen) == 0 || len(seen) == clients {
			t.Errorf("socket %d has %d of %d clients", i, len(seen), clients)
		}
		for req, n := range seen {
			if n != 3 {
				t.Errorf("socket %d has %d of 3 datagrams of %x", i, n, req)
			}
		}
	}
	if total != clients {
		t.Errorf("%d clients, want %d", total, clients)
	}
}

// TestSocketAllocs: a datagram that goes through the socket allocates nothing.
func TestSocketAllocs(t *testing.T) {
	for _, single := range []bool{false, true} {
		for _, l := range loopbacks {
			s, port := testSocket(t, l.wildcard, 4)
			s.noMmsg = single
			c := dialClient(t, l.addr, port)
			raw, err := c.conn.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			var fd int
			if err := raw.Control(func(f uintptr) { fd = int(f) }); err != nil {
				t.Fatal(err)
			}
			req, reply := connectRequest(), make([]byte, 100)
			var key [18]byte
			n := testing.AllocsPerRun(20, func() {
				if _, err := unix.Write(fd, req); err != nil {
					t.Fatal(err)
				}
				if n := receive(t, s); n != 1 {
					t.Fatal(n)
				}
				s.Source(0, key[:len(s.config.IP)+2])
				s.Reply(0, append(s.Buffer(0), s.Request(0)...))
				if failed := s.Flush(1); failed != 0 {
					t.Fatal("not sent")
				}
				if n, err := unix.Read(fd, reply); n != 16 || err != nil {
					t.Fatal(n, err)
				}
			})
			if n != 0 {
				t.Errorf("%s, single %v: %v allocations", l.addr, single, n)
			}
		}
	}
}

// TestAim: the reply's PKTINFO keeps the address, and the interface only where
// it is an uplink or the reply must stay on the link.
func TestAim(t *testing.T) {
	number := func(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
	none := number(0)
	s := &Socket{uplinks: &Uplinks{}}
	for _, c := range []struct {
		uplinks []uint32
		index   uint32
		client  []byte // IPv4 only
		addr    string
		kept    bool
	}{
		{uplinks: nil, index: 7, client: []byte{192, 0, 2, 1}, addr: "127.0.0.1"},
		{uplinks: []uint32{7}, index: 7, client: []byte{192, 0, 2, 1}, addr: "192.0.2.7", kept: true},
		{uplinks: []uint32{6, 7}, index: 7, client: []byte{192, 0, 2, 1}, addr: "192.0.2.7", kept: true},
		{uplinks: []uint32{1, 2, 3, 4, 5, 6, 8, 7}, index: 7, client: []byte{192, 0, 2, 1}, addr: "192.0.2.7", kept: true},
		{uplinks: []uint32{1, 2, 3, 4, 5, 6, 8, 9, 7}, index: 7, client: []byte{192, 0, 2, 1}, addr: "192.0.2.7"}, // more than are kept
		{uplinks: []uint32{6, 8}, index: 7, client: []byte{192, 0, 2, 1}, addr: "192.0.2.7"},
		{uplinks: nil, index: 7, client: []byte{192, 0, 2, 1}, addr: "192.0.2.7"}, // it was one
		{uplinks: nil, index: 7, client: []byte{169, 254, 2, 1}, addr: "169.254.0.1", kept: true},
		{uplinks: nil, index: 7, client: []byte{169, 253, 2, 1}, addr: "192.0.2.7"},
		{uplinks: nil, index: 7, addr: "fe80::1", kept: true},
		{uplinks: nil, index: 7, addr: "febf::1", kept: true},
		{uplinks: nil, index: 7, addr: "fec0::1"},
		{uplinks: nil, index: 7, addr: "fe40::1"},
		{uplinks: nil, index: 7, addr: "::1"},
		{uplinks: nil, index: 7, addr: "2001:db8::1"},
		{uplinks: []uint32{7}, index: 7, addr: "2001:db8::1", kept: true},
		{uplinks: []uint32{6}, index: 7, addr: "2001:db8::1"},
	} {
		s.uplinks.Set(c.uplinks)
		index := none
		if c.kept {
			index = number(c.index)
		}
		addr := netip.MustParseAddr(c.addr)
		ip := addr.AsSlice()
		before, want := concat(ip, number(c.index)), concat(ip, index)
		if s.config.IP = string(ip); !s.V6() {
			before, want = concat(number(c.index), ip, ip), concat(index, ip, ip)
		}
		var sl slot
		copy(sl.name[4:], c.client)
		copy(sl.control[pktinfoAt:], before)
		if s.setReplyPktinfo(&sl); !bytes.Equal(sl.control[pktinfoAt:pktinfoAt+len(want)], want) {
			t.Errorf("%s by interface %d, uplinks %d: %x, want %x", c.addr, c.index, c.uplinks, sl.control[pktinfoAt:], want)
		}
	}
}

// quietPort is below the ports that the kernel assigns to programs that ask for
// any port. So no other program gets it by chance while its owner closes it.
func quietPort() uint16 { return uint16(20000 + rand.IntN(10000)) }

// onLoopback serves on the loopback interface alone.
func onLoopback(t *testing.T) (*Socket, uint16) {
	t.Helper()
	return onLoopbackWith(t, func(err error) { t.Errorf("rebind failed: %v", err) })
}

func onLoopbackWith(t *testing.T, rebindFailed func(error)) (*Socket, uint16) {
	t.Helper()
	var s *Socket
	var port uint16
	for s == nil {
		var err error
		port = quietPort()
		c := testConfig("0.0.0.0", port, 4)
		c.Interface, c.Index, c.Failed = "lo", loopbackIndex(t), rebindFailed
		if s, err = Open(c); err != nil && err != unix.EADDRINUSE {
			t.Fatal(err)
		}
	}
	stopped := make(chan error, 1)
	go func() { stopped <- serve(s) }()
	t.Cleanup(func() {
		s.Stop()
		select {
		case err := <-stopped:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(deadline):
			t.Error("it doesn't stop")
		}
		s.Close()
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
	c := dialClient(t, "127.0.0.1", port)
	for end := time.Now().Add(deadline); time.Now().Before(end); {
		if _, err := c.conn.Write(connectRequest()); err != nil {
			continue // refused before
		}
		if err := c.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.conn.Read(b); err == nil {
			return
		}
	}
	t.Fatal("nobody answers")
}

// TestReceiveFails lets the kernel refuse to receive. The socket reports it now and
// then and keeps its port. When the kernel receives again, the socket answers what
// arrived meanwhile. It stops in both states.
func TestReceiveFails(t *testing.T) {
	type failure struct {
		err error
		n   uint // how many there were
	}
	failures := make(chan failure, 100)
	var socket atomic.Pointer[Socket]
	s, port := onLoopbackWith(t, func(err error) { failures <- failure{err, socket.Load().failures} })
	socket.Store(s)
	c := dialClient(t, "127.0.0.1", port)
	c.ask(connectRequest())
	fd := s.kernel.fd
	working, err := unix.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(working)
	// Receiving from a TCP socket without a connection is an error.
	broken, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(broken)
	replace := func(by int) {
		t.Helper()
		if err := unix.Dup3(by, fd, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
	}
	awaitFailure := func(n uint) {
		t.Helper()
		select {
		case f := <-failures:
			if got, want := f.err.Error(), "receive: "+unix.ENOTCONN.Error(); got != want || f.n != n {
				t.Errorf("failure %d: got %q, want failure %d, %q", f.n, got, n, want)
			}
		case <-time.After(deadline):
			t.Fatal("no failure is reported")
		}
	}
	replace(broken)
	c.send(connectRequest())
	for _, n := range []uint{1, 2, 4} {
		awaitFailure(n)
	}
	replace(working)
	c.receive()
	c.ask(connectRequest())
	replace(broken)
	c.send(connectRequest())
	awaitFailure(8)
}

// TestIsBug checks which errors end Serve.
func TestIsBug(t *testing.T) {
	for errno, want := range map[unix.Errno]bool{
		unix.ENOMEM: false, unix.ENOBUFS: false, unix.EPERM: false, unix.EACCES: false, unix.ECONNABORTED: false, unix.ENETDOWN: false, unix.EIO: false,
		unix.EBADF: true, unix.ENOTSOCK: true, unix.EFAULT: true, unix.EINVAL: true, unix.ENOSYS: true,
	} {
		if got := isBug(errno); got != want {
			t.Errorf("%v: got %v, want %v", errno, got, want)
		}
	}
}

// TestFollow: a socket whose interface has gone is deaf and doesn't hold its
// port, and hears again when the interface is back, in whatever order it is
// told; it stops in every state.
func TestFollow(t *testing.T) {
	s, port := onLoopback(t)
	lo := loopbackIndex(t)
	dialClient(t, "127.0.0.1", port).ask(connectRequest())
	for range 3 {
		s.SetInterface(0)
		awaitRefused(t, port)
		// Another's, meanwhile.
		other, err := net.ListenUDP("udp4", &net.UDPAddr{Port: int(port)})
		if err != nil {
			t.Fatal(err)
		}
		other.Close()
		s.SetInterface(lo)
		s.SetInterface(0)
		s.SetInterface(lo)
		awaitAnswer(t, port)
	}
	// However often it is told meanwhile, the last word counts, and it rests.
	for range 1000 {
		s.SetInterface(0)
		s.SetInterface(lo)
	}
	awaitAnswer(t, port)
	if s.Index() != lo || s.kernel.index != lo {
		t.Errorf("bound to %d, told %d, want %d", s.kernel.index, s.Index(), lo)
	}
	deaf, port := onLoopback(t)
	deaf.SetInterface(0)
	awaitRefused(t, port)
	onLoopback(t)
}

// TestFollowMissed: an interface that goes just before a socket is bound to it,
// and is back before anyone looks, has the number that it had.
func TestFollowMissed(t *testing.T) {
	s, port := onLoopback(t)
	lo := s.Index()
	s.SetInterface(0)
	awaitRefused(t, port)
	rename := func(name string) {
		s.mu.Lock()
		s.config.Interface = name
		s.mu.Unlock()
	}
	rename("absent0")
	s.SetInterface(lo)
	for end := time.Now().Add(deadline); s.Index() != 0; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("it was not bound in vain")
		}
	}
	rename("lo")
	s.SetInterface(lo)
	awaitAnswer(t, port)
}

// TestRebindFails: while another program has the port, the socket of an
// interface that is back waits for it. It warns once, and serves when the port is
// free.
func TestRebindFails(t *testing.T) {
	warned := make(chan error, 10)
	s, port := onLoopbackWith(t, func(err error) { warned <- err })
	s.SetInterface(0)
	awaitRefused(t, port)
	other, err := net.ListenUDP("udp4", &net.UDPAddr{Port: int(port)})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // each makes it try again
		s.SetInterface(loopbackIndex(t))
	}
	if err := await(t, warned); err != unix.EADDRINUSE {
		t.Errorf("warned of %v, want %v", err, unix.EADDRINUSE)
	}
	other.Close()
	awaitAnswer(t, port)
	select {
	case err := <-warned:
		t.Errorf("warned again: %v", err)
	default:
	}

	// It stops while it waits.
	deaf, port := onLoopbackWith(t, func(err error) { warned <- err })
	deaf.SetInterface(0)
	awaitRefused(t, port)
	if other, err = net.ListenUDP("udp4", &net.UDPAddr{Port: int(port)}); err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	deaf.SetInterface(loopbackIndex(t))
	await(t, warned)
}

// TestFailedIsToldOnce: each new reason why a socket cannot be bound is told once,
// whenever it is tried again. After a success, it is told again.
func TestFailedIsToldOnce(t *testing.T) {
	for _, listening := range []bool{true, false} {
		told := 0
		lo := loopbackIndex(t)
		config := testConfig("127.0.0.1", quietPort(), 1)
		config.Interface = "lo"
		if listening {
			config.Failed = func(error) { told++ }
		}
		s, err := Open(config)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		bind := func(index uint32, want bool) {
			t.Helper()
			s.SetInterface(index)
			if k, stopped := s.current(); (k != nil) != want || stopped {
				t.Errorf("interface %d: bound %v, stopped %v, want bound %v", index, k != nil, stopped, want)
			}
		}
		for round := range 2 {
			other, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(config.Port)})
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				bind(lo, false)
			}
			if listening && told != round+1 {
				t.Errorf("told %d times, want %d", told, round+1)
			}
			other.Close()
			bind(lo, true)
			bind(0, false)
		}
	}
}

// TestMissingInterfaceRests: while the interface is missing, Serve waits.
func TestMissingInterfaceRests(t *testing.T) {
	config := testConfig("127.0.0.1", quietPort(), 1)
	config.Interface = "lo"
	s, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	returned := make(chan bool, 2)
	go func() {
		for range 2 {
			_, stopped := s.current()
			returned <- stopped
		}
	}()
	select {
	case <-returned:
		t.Error("it does not wait")
	case <-time.After(50 * time.Millisecond):
	}
	s.Stop()
	if await(t, returned); !await(t, returned) {
		t.Error("it is not stopped")
	}
}

// TestNoDescriptors: with no file descriptor left the socket waits, as it does
// for a port.
func TestNoDescriptors(t *testing.T) {
	warned := make(chan error, 10)
	s, port := onLoopbackWith(t, func(err error) { warned <- err })
	lo := s.Index()
	s.SetInterface(0)
	awaitRefused(t, port)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	s.SetInterface(lo)
	err := await(t, warned)
	if e := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); e != nil {
		t.Fatal(e)
	}
	if err != unix.EMFILE {
		t.Errorf("warned of %v, want %v", err, unix.EMFILE)
	}
	awaitAnswer(t, port)
}

// TestDropsAcrossRebinds checks that the counter continues if the kernel counts
// from zero again.
func TestDropsAcrossRebinds(t *testing.T) {
	s, port := onLoopback(t)
	lo := s.Index()
	if _, ok := s.Drops(); !ok {
		t.Log("the kernel does not tell (before Linux 4.12, or an emulator): nothing to test")
		return
	}
	for round := uint64(1); round <= 3; round++ {
		c := dialClient(t, "127.0.0.1", port)
		c.send([]byte("junk"))
		c.send([]byte("more junk"))
		c.ask(numbered(1)) // what was sent before has been judged
		if got, _ := s.Drops(); got != 2*round {
			t.Errorf("round %d: %d drops, want %d", round, got, 2*round)
		}
		s.SetInterface(0)
		awaitRefused(t, port)
		if got, _ := s.Drops(); got != 2*round {
			t.Errorf("round %d, unbound: %d drops, want %d", round, got, 2*round)
		}
		s.SetInterface(lo)
		awaitAnswer(t, port)
	}
}

// TestAwaitRoom checks that Flush tries again when the send buffer has room, and after a
// second, except if the socket is interrupted.
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
}

// TestFullSendBuffer checks that replies for which the send buffer has no room wait
// until it has, and that none is lost. After Stop, all of them together wait for a
// second. A reply that is refused before does not matter.
func TestFullSendBuffer(t *testing.T) {
	const n = 40 // the kernel queues fewer
	for _, single := range []bool{false, true} {
		for _, stop := range []bool{false, true} {
			// A UDP socket on loopback is never full, but a UNIX socket that nobody
			// reads is.
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_SNDBUF, 1); err != nil { // the kernel's least
				t.Fatal(err)
			}
			s, _ := testSocket(t, "127.0.0.1", n)
			udp := s.kernel.fd
			s.kernel.fd, s.noMmsg = fds[0], single
			s.interrupted.Store(stop)
			for i := range n {
				s.in[i].SetControllen(0)
				if i > 0 { // the first goes to a host, which is refused
					s.in[i].Name, s.in[i].Namelen = nil, 0 // to the other end
				}
				s.Reply(i, append(s.Buffer(i), numbered(i)...))
			}
			done := make(chan int, 1)
			start := time.Now()
			go func() { done <- s.Flush(n) }()
			awaitFull(t, fds[0])
			failed, took := 0, time.Duration(0)
			if stop {
				failed, took = await(t, done), time.Since(start)
				if took < time.Second || took > deadline {
					t.Errorf("single %v: took %v, want about a second", single, took)
				}
			}
			next, b := 1, make([]byte, 100)
			for end := time.Now().Add(deadline); time.Now().Before(end); {
				size, err := unix.Read(fds[1], b)
				if err == nil {
					if !bytes.Equal(b[:size], numbered(next)) {
						t.Fatalf("single %v, stop %v: reply %d is %x", single, stop, next, b[:size])
					}
					if next++; next < n {
						continue
					}
				} else if err != unix.EAGAIN && err != unix.EINTR {
					t.Fatal(err)
				}
				if next == n || stop && err == unix.EAGAIN {
					break
				}
				runtime.Gosched()
			}
			if !stop {
				failed = await(t, done)
			}
			switch {
			case failed != n-next+1:
				t.Errorf("single %v, stop %v: %d of %d replies failed, %d arrived", single, stop, failed, n, next-1)
			case stop == (next == n):
				t.Errorf("single %v, stop %v: %d of %d replies arrived", single, stop, next-1, n)
			}
			s.kernel.fd = udp
			unix.Close(fds[0])
			unix.Close(fds[1])
		}
	}
}

// awaitFull waits until a descriptor takes no more.
func awaitFull(t *testing.T, fd int) {
	t.Helper()
	for end := time.Now().Add(deadline); ; runtime.Gosched() {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 0)
		if err == nil && n == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("it is not full")
		}
	}
}
