//go:build linux && !portable

package main

import (
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"github.com/fabricionaweb/pico-tracker/internal/logger"
	"github.com/fabricionaweb/pico-tracker/internal/rtnetlink"
	"github.com/fabricionaweb/pico-tracker/internal/rtnetlink/rtnetlinktest"
	"github.com/fabricionaweb/pico-tracker/internal/udp"
	"golang.org/x/sys/unix"
)

// End-to-end tests have interfaces and routes come and go. Here is what can be
// seen without.

// confine puts a filter on what this thread asks of the kernel.
func confine(prog []unix.SockFilter) error {
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&fprog)), 0, 0)
}

// onLoopback opens a socket on the loopback interface alone.
func onLoopback(t *testing.T) *udp.Socket {
	t.Helper()
	index, err := rtnetlink.InterfaceIndex("lo")
	if err != nil {
		t.Fatal(err)
	}
	s, err := udp.Open(udp.Config{IP: ipaddr.Any4.IP, Interface: "lo", Index: index, Batch: 1, Sizes: datagramSizes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
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

// TestWithoutNetlink checks that without netlink, as in some sandboxes, there
// is a warning if a flag needs it, and interfaces are still followed.
func TestWithoutNetlink(t *testing.T) {
	s := onLoopback(t)
	tr := newService(t).tracker
	var log strings.Builder
	done := make(chan *linkMonitor)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the function
		if err := refuseNetlink(); err != nil {
			t.Logf("no seccomp here (%v, as under emulation): only what comes after is tested", err)
			l := &linkMonitor{quit: make(chan struct{}), socks: []*udp.Socket{s}, tracker: tr, auto: true, log: &logger.Logger{Out: &log}}
			l.addInterface("lo", s.Index())
			l.logUnavailable(unix.EAFNOSUPPORT)
			done <- l
			return
		}
		newLinkMonitor(nil, nil, false, &logger.Logger{Out: &log}) // of no interest to anyone
		done <- newLinkMonitor([]*udp.Socket{s}, tr, true, &logger.Logger{Out: &log})
	}()
	l := <-done
	if l.kernel != nil {
		t.Fatal("got a netlink socket, want none")
	}
	name := unix.EAFNOSUPPORT.Error()
	want := "[WARN] netlink: " + name + ": the interfaces are checked every 2 s\n" +
		"[WARN] netlink: " + name + ": -external-ip auto finds no address; give it instead\n"
	if log.String() != want {
		t.Errorf("logged %q, want %q", log.String(), want)
	}
	l.devices[0].index = 99
	l.refresh(allChanges)
	l.refresh(allChanges)
	if !strings.HasSuffix(log.String(), "[INFO] interface lo is there\n") || strings.Count(log.String(), "\n") != 3 {
		t.Errorf("logged %q", log.String())
	}
	l.start()
	l.stop() // does not wait
}

// TestLinksStop checks that stop ends a wait for the kernel.
func TestLinksStop(t *testing.T) {
	for range 3 {
		l := newLinkMonitor(nil, newService(t).tracker, true, &logger.Logger{Out: &strings.Builder{}})
		if l.kernel == nil {
			t.Fatal("got no netlink socket")
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
			t.Fatalf("it still runs after %v", deadline)
		}
	}
}

// awaitRefreshes waits until the monitor has done n refreshes.
func awaitRefreshes(t *testing.T, l *linkMonitor, n uint32) {
	t.Helper()
	start := time.Now()
	for l.refreshes.Load() < n {
		if time.Since(start) > deadline {
			t.Fatalf("got %d refreshes in %v, want %d", l.refreshes.Load(), deadline, n)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestLinksPoll checks that without netlink, and if netlink fails, interfaces are
// checked at intervals.
func TestLinksPoll(t *testing.T) {
	for name, fail := range map[string]func(*linkMonitor){
		"no netlink":    func(l *linkMonitor) { l.kernel.Close(); l.kernel = nil },
		"netlink fails": func(l *linkMonitor) { l.kernel.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLinkMonitor([]*udp.Socket{onLoopback(t)}, newService(t).tracker, false, &logger.Logger{Out: &strings.Builder{}})
			if l.kernel == nil {
				t.Fatal("got no netlink socket")
			}
			fail(l)
			began, before := time.Now(), l.refreshes.Load() // the first pause begins after this
			l.start()
			defer l.stop()
			awaitRefreshes(t, l, before+2)
			if took := time.Since(began); took < 2*pollInterval {
				t.Errorf("2 refreshes took %v, want at least %v", took, 2*pollInterval)
			}
		})
	}
}

// TestLinksRest checks that a network which changes all the time does not keep
// the processor busy.
func TestLinksRest(t *testing.T) {
	rtnetlinktest.InNamespace(t, func() {
		l := newLinkMonitor(nil, newService(t).tracker, true, &logger.Logger{Out: &strings.Builder{}})
		if l.kernel == nil {
			t.Fatal("got no netlink socket")
		}
		l.start()
		defer l.stop()
		start, first := time.Now(), l.refreshes.Load()
		const n = 5
		for up := true; l.refreshes.Load() < first+n; up = !up {
			rtnetlinktest.SetUp(t, rtnetlinktest.Loopback, up)
			if time.Since(start) > deadline {
				t.Fatalf("got %d refreshes in %v, want %d", l.refreshes.Load()-first, deadline, n)
			}
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(start); took < (n-1)*minPause {
			t.Errorf("%d refreshes took %v, want at least %v", n, took, (n-1)*minPause)
		}
	})
}

// TestLinksFollow checks what the tracker is told when addresses and routes come
// and go: the addresses of the interface with the best default route, and the
// gateway. An address that is not public counts as none.
func TestLinksFollow(t *testing.T) {
	rtnetlinktest.InNamespace(t, func() {
		var log logLines
		tr := newService(t).tracker
		near := rtnetlinktest.AddInterface(t, "near")
		far := rtnetlinktest.AddInterface(t, "far")
		both := []uint32{min(near, far), max(near, far)}
		l := newLinkMonitor(nil, tr, true, &logger.Logger{Out: &log})
		if l.kernel == nil {
			t.Fatal("got no netlink socket")
		}
		defer l.kernel.Close()
		log.expectLines(t, "[INFO] external IPv4 address: none", "[INFO] external IPv6 address: none")
		expect := func(what string, changes rtnetlink.Changes, ip4, ip6, gateway string, uplinks4, uplinks6 []uint32, lines ...string) {
			t.Helper()
			l.throttle = changeThrottle{} // has a test of its own
			l.refresh(changes)
			var got, want externalAddrs
			if e := tr.external.Load(); e != nil {
				got = *e
			}
			for _, a := range []struct {
				text string
				to   []byte
			}{{ip4, want.v4[:]}, {ip6, want.v6[:]}, {gateway, want.gateway[:]}} {
				if a.text != "" {
					copy(a.to, netip.MustParseAddr(a.text).AsSlice())
				}
			}
			if got != want {
				t.Errorf("%s: got %v, want %v", what, got, want)
			}
			for family, want := range [][]uint32{uplinks4, uplinks6} {
				var got []uint32
				for i := range l.uplinks[family] {
					if index := l.uplinks[family][i].Load(); index != 0 {
						got = append(got, index)
					}
				}
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Errorf("%s: got the uplinks %d, want %d", what, got, want)
				}
			}
			log.expectLines(t, lines...)
		}
		only := func(i uint32) []uint32 { return []uint32{i} }
		rtnetlinktest.SetAddress(t, near, "192.168.7.2/24", true)
		expect("an address without a route", allChanges, "", "", "", nil, nil)
		rtnetlinktest.SetRoute(t, near, false, 20, "192.168.7.1", true)
		expect("a private address", allChanges, "", "", "192.168.7.1", only(near), nil,
			"[WARN] external IPv4 address: none, because 192.168.7.2 is not a public one")
		rtnetlinktest.SetAddress(t, near, "198.51.100.7/24", true)
		expect("a public one behind it", rtnetlink.AddressesChanged, "198.51.100.7", "", "192.168.7.1", only(near), nil,
			"[INFO] external IPv4 address: 198.51.100.7")
		expect("nothing new", allChanges, "198.51.100.7", "", "192.168.7.1", only(near), nil)
		rtnetlinktest.SetAddress(t, far, "203.0.113.5/24", true)
		rtnetlinktest.SetRoute(t, far, false, 30, "203.0.113.1", true)
		expect("a route that is worse", allChanges, "198.51.100.7", "", "192.168.7.1", both, nil)
		rtnetlinktest.SetRoute(t, far, false, 10, "203.0.113.1", true)
		expect("not asked for routes", rtnetlink.AddressesChanged, "198.51.100.7", "", "192.168.7.1", both, nil)
		expect("a route that is better", rtnetlink.RoutesChanged, "203.0.113.5", "", "", both, nil,
			"[INFO] external IPv4 address: 203.0.113.5")
		rtnetlinktest.SetAddress(t, far, "2001:db8:5::5/64", true)
		rtnetlinktest.SetRoute(t, far, true, 10, "", true)
		expect("IPv6 too", allChanges, "203.0.113.5", "2001:db8:5::5", "", both, only(far),
			"[INFO] external IPv6 address: 2001:db8:5::5")
		rtnetlinktest.Remove(t, far)
		expect("its interface is gone", allChanges, "198.51.100.7", "", "192.168.7.1", only(near), nil,
			"[INFO] external IPv4 address: 198.51.100.7", "[INFO] external IPv6 address: none")
	})
}

// TestZones checks that an interface is found by name or number, and that an
// unknown one is an error.
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
		if got, err := rtnetlink.InterfaceIndex(zone); err != nil || int(got) != want {
			t.Errorf("%s: %d, %v", zone, got, err)
		}
	}
	if _, err := rtnetlink.InterfaceIndex(strings.Repeat("x", 100)); err == nil {
		t.Error("a name of 100 characters: got no error")
	}
}

// TestChangeThrottle checks that the first changes are logged. Then a limited
// number of lines follow in each period, with the number of skipped changes.
func TestChangeThrottle(t *testing.T) {
	var c changeThrottle
	now := time.Now()
	logged, skipped := 0, 0
	for range 1000 {
		if n, ok := c.next(now); ok {
			logged++
			skipped += n
		}
	}
	if logged != maxLines || skipped != 0 {
		t.Errorf("at once: %d of 1000 logged, %d skipped before, want %d, 0", logged, skipped, maxLines)
	}
	if n, ok := c.next(now.Add(linePeriod)); !ok || n != 1000-maxLines {
		t.Errorf("later: logged %v, %d skipped before, want true, %d", ok, n, 1000-maxLines)
	}
	if n, ok := c.next(now.Add(linePeriod)); !ok || n != 0 {
		t.Errorf("again: logged %v, %d skipped before, want true, 0", ok, n)
	}
}
