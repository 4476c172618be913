//go:build linux && !portable

package main

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// loopbacks are an address of each family with the wildcard that includes it.
var loopbacks = []struct{ addr, wildcard string }{{"127.0.0.1", "0.0.0.0"}, {"::1", "::"}}

// testSocket opens a socket on a port that is free.
func testSocket(t testing.TB, ip string, batch int) (*socket, uint16) {
	t.Helper()
	s, port := openFree(t, ip, batch)
	t.Cleanup(s.close)
	return s, port
}

// echo receives until there were n datagrams, and answers each with its own
// bytes. It returns them, and how many replies were refused.
func echo(t testing.TB, s *socket, n int) (got [][]byte, failed int) {
	t.Helper()
	for len(got) < n {
		k, err := s.receive()
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < k; i++ {
			got = append(got, bytes.Clone(s.request(i)))
			s.reply(i, append(s.buffer(i), s.request(i)...))
		}
		failed += s.flush(k)
	}
	return got, failed
}

// numbered is a request that gets through the kernel's filter.
func numbered(n int) []byte {
	req := connectRequest()
	binary.BigEndian.PutUint32(req[12:], uint32(n))
	return req
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
			if n, err := s.receive(); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			key := make([]byte, len(c.self.Addr().AsSlice())+2)
			s.source(0, key)
			want := binary.BigEndian.AppendUint16(c.self.Addr().AsSlice(), c.self.Port())
			if !bytes.Equal(key, want) {
				t.Errorf("%s: %x, want %x", ip, key, want)
			}
		}
	}
}

// TestFilter: the kernel drops what the tracker would not answer for its shape,
// and nothing else.
func TestFilter(t *testing.T) {
	good := fields{id: bin("6553f10001020304"), port: 1}.bytes()
	with := func(req []byte, at int, b ...byte) []byte {
		req = bytes.Clone(req)
		copy(req[at:], b)
		return req
	}
	packets := [][]byte{
		connectRequest(), connectRequest()[:15], connectRequest()[:1], append(connectRequest(), 0),
		with(connectRequest(), 3, 0x16), with(connectRequest(), 7, 0x81), with(connectRequest(), 0, 1), with(connectRequest(), 11, 3),
		with(connectRequest(), 11, 1), with(connectRequest(), 11, 2), with(connectRequest(), 8, 1),
		good, good[:97], good[:16], good[:15], append(bytes.Clone(good), 0, 0), with(good, 11, 0), with(good, 11, 2), with(good, 11, 3), with(good, 11, 4),
		with(good, 8, 1), with(good, 10, 1), scrapeRequest(good[:8]), scrapeRequest(good[:8], make([]int, 74)...), scrapeRequest(good[:8], make([]int, 80)...),
		errorReply(textID), concat(u32(2), transaction, u32(1), u32(0), u32(0)), concat(u32(0), transaction, u32(2), u32(9)),
		with(good, 0, 0, 0, 0, 0), with(good, 0, 0, 0, 0, 3), with(good, 0, 0, 0, 0, 4), with(good, 0, 0xff, 0xff, 0xff, 0xff), with(good, 0, 0x80, 0, 0, 0),
		with(make([]byte, 1200), 0, 4), make([]byte, 16), bytes.Repeat([]byte{0xff}, 16),
	}
	rng := random{state: 5}
	for i := 0; i < 200; i++ {
		req := make([]byte, rng.below(40))
		for j := range req {
			req[j] = byte(rng.below(4))
		}
		if len(req) >= 16 && i%2 == 0 {
			copy(req, connectRequest()[:8+i%5])
		}
		packets = append(packets, req)
	}
	d := testDesk(newService(t).tracker, nil, moment{})
	for _, l := range loopbacks {
		for _, ip := range []string{l.addr, l.wildcard} {
			s, port := testSocket(t, ip, 8)
			c := dialClient(t, l.addr, port)
			for i, req := range packets {
				d.errors.rows[0], d.connects.rows[0] = limitRow{}, limitRow{}
				_, v := handle(d, make([]byte, 0, maxReply), req[:min(len(req), maxRequest)], testKey4(i), 0, moment{mono: 1, wall: testWall})
				pass := v != dropShort && v != dropReply && v != dropAction && v != dropMagic
				var want [][]byte
				if pass {
					want = append(want, req[:min(len(req), maxRequest)])
				}
				// What comes after has come through: it marks the end.
				want = append(want, numbered(i))
				c.send(req)
				c.send(numbered(i))
				got, _ := echo(t, s, len(want))
				if !slices.EqualFunc(got, want, bytes.Equal) {
					t.Fatalf("%x (%s) on %s: received %x, want %x", req, verdictInfo[v].name, ip, got, want)
				}
				for range want {
					c.receive()
				}
			}
		}
	}
}

// batchOf has n datagrams sent, in order, and receives them at once. A signal
// may come between two, where the kernel is emulated: then they are sent again.
func batchOf(t *testing.T, s *socket, n int, send func(i int)) {
	t.Helper()
	for try := 0; try < 100; try++ {
		for i := 0; i < n; i++ {
			send(i)
		}
		settle(t)
		for got := 0; got < n; {
			k, err := s.receive()
			if err != nil {
				t.Fatal(err)
			}
			if k == n {
				return
			}
			s.flush(k)
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
				s.single = single
				const n = 5
				for i := 0; i < n; i++ {
					if slices.Contains(bad, i) {
						copy(s.slots[i].name[2:4], "\x00\x00") // port 0: no one's
					}
					s.reply(i, append(s.buffer(i), s.request(i)...))
				}
				if failed := s.flush(n); failed != len(bad) {
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
				s.reply(i, append(s.buffer(i), s.request(i)...))
			}
		}
		s.flush(n)
		for i, c := range clients {
			if i == round {
				continue
			}
			if got := c.receive(); !bytes.Equal(got, numbered(10*round+i)) {
				t.Errorf("round %d, client %d: %x", round, i, got)
			}
		}
	}
	// The one that was left out each time has got nothing in between.
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
			s.single = true
			sv := newService(t)
			d := sv.v4
			if s.v6 {
				d = sv.v6
			}
			w := &worker{sock: s, desk: d, clock: clock{time.Now()}, log: &logger{}}
			stopped := make(chan error, 1)
			go func() { stopped <- w.run() }()
			a, b := dialClient(t, l.addr, port), dialClient(t, l.addr, port)
			a.announce(fields{want: -1})
			if got := b.announce(fields{left: 1, want: -1}); len(got) != 20+2+len(a.self.Addr().AsSlice()) {
				t.Errorf("%s: %x", ip, got)
			}
			s.stop()
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
	return confine(prog)
}

// confine puts a filter on what this thread asks of the kernel.
func confine(prog []unix.SockFilter) error {
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&fprog)), 0, 0)
}

// TestNoBatches: a kernel that has no recvmmsg, or lost it, is found out.
func TestNoBatches(t *testing.T) {
	s, port := testSocket(t, "127.0.0.1", 4)
	w := &worker{sock: s, desk: newService(t).v4, clock: clock{time.Now()}, log: &logger{}}
	refused, stopped := make(chan error, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the function
		err := refuseBatches()
		if refused <- err; err != nil {
			s.single = true
		}
		stopped <- w.run()
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
	s.stop()
	if err := <-stopped; err != nil || !s.single {
		t.Errorf("single %v, %v", s.single, err)
	}
}

// TestReloadGivesBack the memory of the list that is no longer in force.
func TestReloadGivesBack(t *testing.T) {
	const n = 5000
	l, lines := testList(t, false, n)
	s := newService(t)
	k := &keeper{tracker: s.tracker, list: l, log: &logger{w: lines}}
	text := ""
	for i := 0; i < n; i++ {
		text += digits(i) + "\n"
	}
	for round := 0; round < 3; round++ {
		writeFile(t, l.path, text)
		k.reload(s.now)
		idle, middle := l.halves[l.next], n/2
		if idle[middle] != (infoHash{}) {
			t.Errorf("round %d: the old list is still in memory", round)
		}
		if got := admitted(l, 2*n); len(got) != n {
			t.Errorf("round %d: %d torrents are allowed", round, len(got))
		}
		// A read that fails leaves nothing behind either.
		writeFile(t, l.path, text+digits(n))
		k.reload(s.now)
		if idle[middle] != (infoHash{}) {
			t.Errorf("round %d: half a list is still in memory", round)
		}
	}
}

// TestTrimGivesBack: pages that are said to be with the system are, and read as
// zeroes.
func TestTrimGivesBack(t *testing.T) {
	s := newTestStore(t, 400, 1)
	var rng random
	for i := 0; i < 20000; i++ {
		announce(s, &visit{hash: testHash(i)}, testKey4(i), &rng, nil)
	}
	resident := func() (n int) {
		for i := 1; i < len(s.pool.pages); i++ {
			if slices.ContainsFunc(s.pool.mem[i*pageSize:(i+1)*pageSize], func(b byte) bool { return b != 0 }) {
				n++
			}
		}
		return n
	}
	if used, _, _ := s.pool.usage(); resident() != used {
		t.Fatalf("%d pages hold something, %d are used", resident(), used)
	}
	sweepAll(s, 5000, 100)
	for i := 0; i < 10; i++ {
		s.trim(6000, 100, 100)
	}
	if _, _, want := s.pool.usage(); resident() > want {
		t.Errorf("%d pages hold something, %d should be resident", resident(), want)
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
		n, err := s.receive()
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < n; i++ {
			if !bytes.Equal(s.request(i), numbered(got)) {
				t.Fatalf("datagram %d is %x", got, s.request(i))
			}
			got++
		}
		s.flush(n)
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
	for _, n := range []int{maxRequest - 1, maxRequest, maxRequest + 1, 9000, 65507, 16} {
		req := append(numbered(n), make([]byte, n-16)...)
		c.send(req)
		if got, _ := echo(t, s, 1); !bytes.Equal(got[0], req[:min(n, maxRequest)]) {
			t.Errorf("%d bytes: received %d", n, len(got[0]))
		}
		// An answer of that size is none that the tracker would give.
		if got := c.receive(); len(got) != min(n, maxRequest) {
			t.Errorf("%d bytes: %d came back", n, len(got))
		}
	}
}

// TestStopWakes who waits, and whoever asks afterwards.
func TestStopWakes(t *testing.T) {
	for _, single := range []bool{false, true} {
		for _, l := range loopbacks {
			s, port := testSocket(t, l.wildcard, 4)
			s.single = single
			// Whether it waits already when it is stopped is left to chance.
			first, second := make(chan error, 1), make(chan error, 1)
			go func() {
				_, err := s.receive()
				first <- err
				s.flush(1)
				_, err = s.receive()
				second <- err
			}()
			c := dialClient(t, l.addr, port)
			c.send(numbered(1))
			if err := <-first; err != nil {
				t.Fatal(err)
			}
			s.stop()
			for i := 0; i < 2; i++ {
				select {
				case err := <-second:
					if err != errStopped {
						t.Errorf("%v", err)
					}
				case <-time.After(deadline):
					t.Fatal("it waits on")
				}
				go func() {
					_, err := s.receive()
					second <- err
				}()
			}
			<-second
		}
	}
}

// TestStopUnderFlood: what keeps coming after stop holds nobody up; what had come
// is taken.
func TestStopUnderFlood(t *testing.T) {
	for _, l := range loopbacks {
		s, port := testSocket(t, l.wildcard, 4)
		c := dialClient(t, l.addr, port)
		for i := range 9 {
			c.send(numbered(i))
		}
		settle(t)
		s.stop()
		got := 0
		for {
			c.send(numbered(100))
			n, err := s.receive()
			if err == errStopped {
				break
			}
			if got += n; err != nil || got > 1000 {
				t.Fatalf("%d datagrams taken: %v", got, err)
			}
			s.rearm(n)
		}
		if got != 9 {
			t.Errorf("%d datagrams taken, want 9", got)
		}
	}
}

// TestReceiveFails: a socket that is broken ends its worker with an error.
func TestReceiveFails(t *testing.T) {
	s, _ := openFree(t, "127.0.0.1", 4)
	s.close()
	w := &worker{sock: s, desk: newService(t).v4, log: &logger{}}
	if err := w.run(); err != unix.EBADF {
		t.Errorf("%v", err)
	}
}

// TestFamiliesApart: the IPv6 socket takes no IPv4, so that both wildcards fit
// on one port and no mapped address is ever seen.
func TestFamiliesApart(t *testing.T) {
	any4, any6 := anyIPv4, anyIPv6
	port := freePort(t)
	s6, err := openSocket(any6, port, 4, false)
	if err != nil {
		t.Fatal(err)
	}
	defer s6.close()
	s4, err := openSocket(any4, port, 4, false)
	if err != nil {
		t.Fatalf("IPv4 beside IPv6: %v", err)
	}
	defer s4.close()
	c4, c6 := dialClient(t, "127.0.0.1", port), dialClient(t, "::1", port)
	c4.send(numbered(4))
	c6.send(numbered(6))
	for _, x := range []struct {
		s *socket
		n int
	}{{s4, 4}, {s6, 6}} {
		if got, _ := echo(t, x.s, 1); len(got) != 1 || !bytes.Equal(got[0], numbered(x.n)) {
			t.Errorf("family %d: %x", x.n, got)
		}
	}
}

// TestSharedSockets: sockets that share a port get whole clients each.
func TestSharedSockets(t *testing.T) {
	addr, _ := parseAddress("127.0.0.1")
	port := freePort(t)
	var socks []*socket
	for i := 0; i < 2; i++ {
		s, err := openSocket(addr, port, 64, true)
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		socks = append(socks, s)
	}
	if _, err := openSocket(addr, port, 1, false); err != unix.EADDRINUSE {
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
		s.stop()
		seen := map[string]int{}
		for {
			n, err := s.receive()
			if err == errStopped {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			for j := 0; j < n; j++ {
				seen[string(s.request(j))]++
			}
			s.flush(n)
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

// TestZones: an unknown interface is an error, one by name or number is found.
func TestZones(t *testing.T) {
	index, err := os.ReadFile("/sys/class/net/lo/ifindex")
	if err != nil {
		t.Fatal(err)
	}
	lo, err := strconv.Atoi(strings.TrimSpace(string(index)))
	if err != nil {
		t.Fatal(err)
	}
	for zone, want := range map[string]int{"lo": lo, "7": 7, "nosuch0": 0} {
		if got, err := interfaceIndex(zone); err != nil || int(got) != want {
			t.Errorf("%s: %d, %v", zone, got, err)
		}
	}
	if _, err := interfaceIndex(strings.Repeat("x", 100)); err == nil {
		t.Error("a name that is too long is an interface")
	}
}

// TestSocketAllocs: a datagram that goes through the socket allocates nothing.
func TestSocketAllocs(t *testing.T) {
	for _, single := range []bool{false, true} {
		for _, l := range loopbacks {
			s, port := testSocket(t, l.wildcard, 4)
			s.single = single
			c := dialClient(t, l.addr, port)
			raw, err := c.conn.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			sv := newService(t)
			sv.v4.connects = newLimiter(64, 0, limitWindow, hashKey{})
			sv.v6.connects = sv.v4.connects
			var fd int
			if err := raw.Control(func(f uintptr) { fd = int(f) }); err != nil {
				t.Fatal(err)
			}
			req, reply := connectRequest(), make([]byte, 100)
			var key4 key4
			var key6 key6
			n := testing.AllocsPerRun(20, func() {
				if _, err := unix.Write(fd, req); err != nil {
					t.Fatal(err)
				}
				if n, err := s.receive(); n != 1 || err != nil {
					t.Fatal(n, err)
				}
				var out []byte
				if s.v6 {
					s.source(0, key6[:])
					out, _ = handle(sv.v6, s.buffer(0), s.request(0), &key6, 0, sv.now)
				} else {
					s.source(0, key4[:])
					out, _ = handle(sv.v4, s.buffer(0), s.request(0), &key4, 0, sv.now)
				}
				s.reply(0, out)
				if failed := s.flush(1); failed != 0 {
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
	s := &socket{uplinks: &uplinks{}}
	for _, c := range []struct {
		uplinks []uint32
		index   uint32
		client  []byte // IPv4 only
		addr    string
		kept    bool
	}{
		{nil, 7, []byte{192, 0, 2, 1}, "127.0.0.1", false},
		{[]uint32{7}, 7, []byte{192, 0, 2, 1}, "192.0.2.7", true},
		{[]uint32{6, 7}, 7, []byte{192, 0, 2, 1}, "192.0.2.7", true},
		{[]uint32{1, 2, 3, 4, 5, 6, 8, 7}, 7, []byte{192, 0, 2, 1}, "192.0.2.7", true},
		{[]uint32{1, 2, 3, 4, 5, 6, 8, 9, 7}, 7, []byte{192, 0, 2, 1}, "192.0.2.7", false}, // more than are kept
		{[]uint32{6, 8}, 7, []byte{192, 0, 2, 1}, "192.0.2.7", false},
		{nil, 7, []byte{192, 0, 2, 1}, "192.0.2.7", false}, // it was one
		{nil, 7, []byte{169, 254, 2, 1}, "169.254.0.1", true},
		{nil, 7, []byte{169, 253, 2, 1}, "192.0.2.7", false},
		{nil, 7, nil, "fe80::1", true},
		{nil, 7, nil, "febf::1", true},
		{nil, 7, nil, "fec0::1", false},
		{nil, 7, nil, "fe40::1", false},
		{nil, 7, nil, "::1", false},
		{nil, 7, nil, "2001:db8::1", false},
		{[]uint32{7}, 7, nil, "2001:db8::1", true},
		{[]uint32{6}, 7, nil, "2001:db8::1", false},
	} {
		s.uplinks.set(c.uplinks)
		index := none
		if c.kept {
			index = number(c.index)
		}
		addr := netip.MustParseAddr(c.addr)
		ip := addr.AsSlice()
		before, want := concat(ip, number(c.index)), concat(ip, index)
		if s.v6 = addr.Is6(); !s.v6 {
			before, want = concat(number(c.index), ip, ip), concat(index, ip, ip)
		}
		var sl slot
		copy(sl.name[4:], c.client)
		copy(sl.control[pktinfoAt:], before)
		if s.aim(&sl); !bytes.Equal(sl.control[pktinfoAt:pktinfoAt+len(want)], want) {
			t.Errorf("%s by interface %d, uplinks %d: %x, want %x", c.addr, c.index, c.uplinks, sl.control[pktinfoAt:], want)
		}
	}
}

// TestListInode: a file that was put in the place of another is another, were
// it of the same size and time.
func TestListInode(t *testing.T) {
	l, _ := testList(t, false, 10)
	when := time.Unix(1_700_000_000, 0)
	put := func(path, text string) {
		writeFile(t, path, text)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	put(l.path, digits(1))
	if !l.load() || l.changed() {
		t.Fatal("not loaded")
	}
	next := filepath.Join(filepath.Dir(l.path), "next")
	put(next, digits(2))
	if err := os.Rename(next, l.path); err != nil {
		t.Fatal(err)
	}
	if !l.changed() || !l.load() || !l.admits(testHash(2)) || l.admits(testHash(1)) {
		t.Error("a file with another inode is not seen")
	}
}

// TestListPipe: a list from a pipe is read once. It is not read again where
// there is nothing left, unless somebody says so.
func TestListPipe(t *testing.T) {
	l, _ := testList(t, false, 10)
	l.path = filepath.Join(t.TempDir(), "list")
	if err := unix.Mkfifo(l.path, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() { _ = os.WriteFile(l.path, []byte(digits(1)), 0o600) }()
	if !l.load() || !l.admits(testHash(1)) {
		t.Fatal("it isn't read")
	}
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(l.path, later, later); err != nil {
		t.Fatal(err)
	}
	if l.changed() {
		t.Error("it is to be read again")
	}
}

// TestNoLeaks: a program that has ended, or could not start, leaves no file
// descriptor.
func TestNoLeaks(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	list := filepath.Join(t.TempDir(), "list")
	writeFile(t, list, digits(1))
	startProgram(t, "-whitelist", list).stop(os.Interrupt)
	before := count()
	p := startProgram(t, "-whitelist", list, "-workers=2", "-memory=64M")
	for i := 1; i < 4; i++ {
		p.log.take()
		writeFile(t, list, digits(i))
		p.signals <- unix.SIGHUP
		p.await(list + ": 1 torrents")
	}
	p.stop(os.Interrupt)
	busy, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(p.port)})
	if err != nil {
		t.Fatal(err)
	}
	startBusy := []string{"-port", busy.LocalAddr().String()[len("127.0.0.1:"):], "-listen", "[::1],127.0.0.1", "-memory=64M", "-workers=2"}
	expectFailure(t, startBusy, nil, "in use")
	busy.Close()
	if after := count(); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}
