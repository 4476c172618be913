//go:build linux && !portable

package main

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/logger"
	"github.com/fabricionaweb/pico-tracker/internal/sdnotify"
	"github.com/fabricionaweb/pico-tracker/internal/sdnotify/notifytest"
	"github.com/fabricionaweb/pico-tracker/internal/udp"
)

// The watchdog is fed while the workers are idle or at work, and not while one
// leaves datagrams waiting.
func TestWatchdogSeesStuckWorker(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	next, _ := notifytest.Listen(t, path)
	n := sdnotify.New([]string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=30000000"})

	var port uint16 // of the last
	workers := make([]*worker, 2)
	for i := range workers {
		var s *udp.Socket
		s, port = openFree(t, "127.0.0.1", 1)
		t.Cleanup(s.Close)
		workers[i] = &worker{sock: s}
	}
	k := &maintenance{workers: workers, manager: n}
	stuck := workers[1]
	client, err := net.Dial("udp4", "127.0.0.1:"+strconv.Itoa(int(port)))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	request := []byte("\x00\x00\x04\x17\x27\x10\x19\x80\x00\x00\x00\x00abcd")
	var counts counters

	look := func(when string, want bool) {
		t.Helper()
		k.petWatchdog()
		if got := next() == "WATCHDOG=1"; got != want {
			t.Errorf("%s: fed %v, want %v", when, got, want)
		}
	}
	look("idle", true)
	if _, err := client.Write(request); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); !stuck.sock.Waiting(); {
		if time.Now().After(end) {
			t.Fatal("got no datagram within 5 s")
		}
	}
	look("a datagram waits", false)
	look("and still does", false)
	counts.record(connected, 16, 16)
	stuck.published.publish(&counts)
	look("it waits, but others were taken", true)
	look("and no more", false)
	stuck.sock.Stop() // Serve takes what has arrived, and returns
	if err := stuck.sock.Serve(func(n int) { stuck.sock.Flush(n) }); err != nil {
		t.Fatal(err)
	}
	look("taken", true)
	if got := testing.AllocsPerRun(100, func() { k.petWatchdog() }); got != 0 {
		t.Errorf("feeding allocates: %v", got)
	}
}

// TestRunNotifies checks what a manager is told: ready when the tracker serves and
// -status can show it, reloading and ready on SIGHUP, alive, stopping.
func TestRunNotifies(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	_, await := notifytest.Listen(t, path)
	want := func(state string) {
		t.Helper()
		got := await()
		for got == "WATCHDOG=1" && got != state {
			got = await()
		}
		if got != state {
			t.Fatalf("got %q, want %q", got, state)
		}
	}
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(conn.LocalAddr().(*net.UDPAddr).Port)
	conn.Close()

	signals := make(chan os.Signal)
	done := make(chan int)
	var log strings.Builder
	env := []string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=30000000"}
	stats := filepath.Join(t.TempDir(), "stats.prom")
	args := []string{"-listen", "127.0.0.1", "-port", port, "-workers", "1", "-memory", "16M", "-stats", stats}
	go func() { done <- run(signals, args, env, &log, &log) }()
	want("READY=1")
	if _, err := os.Stat(stats); err != nil {
		t.Errorf("ready, but there is no report: %v", err)
	}
	if out, err := probeWith("127.0.0.1:"+port, 1); err != nil {
		t.Errorf("ready, but does not answer: %q, %v", out, err)
	}
	want("WATCHDOG=1")
	signals <- syscall.SIGHUP
	want("RELOADING=1")
	want("READY=1")
	signals <- os.Interrupt
	want("STOPPING=1")
	if code := <-done; code != exitOK {
		t.Errorf("exit code %d: %s", code, log.String())
	}
}

// TestShortWatchdog checks that a manager that wants a sign of life several times a
// second gets it, although nothing else is due for minutes.
func TestShortWatchdog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	_, await := notifytest.Listen(t, path)
	m := &maintenance{tracker: newTracker(newTestStore(t, 1, 1), 15*60), log: &logger.Logger{Out: io.Discard}, clock: newClock(),
		manager: sdnotify.New([]string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=400000"}), wakeup: peerAlarm{alarm: make(alarm, 1)}}
	var quit, hup, ask atomic.Bool
	done := make(chan struct{})
	go func() { m.run(&quit, &hup, &ask); close(done) }()
	if got := await(); got != "READY=1" {
		t.Fatalf("got %q, want READY=1", got)
	}
	ready := m.clock.now().mono
	// One ping a second would take 40 seconds.
	start := time.Now()
	for range 40 {
		if got := await(); got != "WATCHDOG=1" {
			t.Fatalf("got %q, want WATCHDOG=1", got)
		}
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("40 pings took %v, want 4 s", took)
	}
	quit.Store(true)
	m.wakeup.ring()
	<-done
	if m.lastTick > ready {
		t.Errorf("a tick at %d s, want none: nothing was due", m.lastTick)
	}
}

// TestStoppedBeforeReady checks that a tracker that stops during its start does not
// say that it is ready.
func TestStoppedBeforeReady(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	next, _ := notifytest.Listen(t, path)
	m := &maintenance{tracker: newService(t).tracker, log: &logger.Logger{Out: io.Discard}, clock: newClock(),
		manager: sdnotify.New([]string{"NOTIFY_SOCKET=" + path})}
	var quit, hup, ask atomic.Bool
	quit.Store(true)
	m.run(&quit, &hup, &ask)
	if got := next(); got != "" {
		t.Errorf("got %q, want nothing", got)
	}
}

// TestPingInterval checks that four pings fit into the time of the watchdog, and
// that a watchdog of microseconds does not keep the processor busy.
func TestPingInterval(t *testing.T) {
	for _, c := range []struct {
		usec string
		want time.Duration
	}{
		{usec: "0", want: time.Duration(maxWait) * time.Second},
		{usec: "1", want: minPing},
		{usec: "400000", want: 100 * time.Millisecond},
		{usec: "1000000", want: 250 * time.Millisecond},
		{usec: "30000000", want: 7500 * time.Millisecond},
	} {
		t.Run(c.usec, func(t *testing.T) {
			m := &maintenance{manager: sdnotify.New([]string{"NOTIFY_SOCKET=/nowhere", "WATCHDOG_USEC=" + c.usec})}
			if got := m.pingInterval(); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
