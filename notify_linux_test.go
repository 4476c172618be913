//go:build linux && !portable

package main

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/udp"
	"golang.org/x/sys/unix"
)

// managerSocket is a service manager's end. next takes the state that is there,
// or ""; await waits for one.
func managerSocket(t *testing.T, path string) (next, await func() string) {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	await = func() string {
		b := make([]byte, 256)
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	next = func() string {
		b := make([]byte, 256)
		n := 0
		if err := raw.Control(func(fd uintptr) {
			if n, err = unix.Read(int(fd), b); err != nil {
				n = 0
			}
		}); err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	return next, await
}

func TestNotifier(t *testing.T) {
	if n := newNotifier([]string{"WATCHDOG_USEC=1000000"}); n != nil {
		t.Error("a notifier without a socket")
	}
	if n := newNotifier([]string{"NOTIFY_SOCKET=vsock:2:1"}); n != nil {
		t.Error("a notifier for a socket that is not understood")
	}
	var none *notifier
	none.ready()
	none.alive()

	for _, path := range []string{filepath.Join(t.TempDir(), "notify"), "@pico-tracker-test-" + strconv.Itoa(os.Getpid())} {
		next, _ := managerSocket(t, path)
		n := newNotifier([]string{"NOTIFY_SOCKET=" + path})
		n.ready()
		n.reloading()
		n.stopping()
		n.alive()
		got := next() + " " + next() + " " + next() + " " + next()
		if want := "READY=1 RELOADING=1 STOPPING=1 "; got != want {
			t.Errorf("%s: got %q, want %q: no watchdog was asked for", path, got, want)
		}
	}
}

func TestWatchdogIsWanted(t *testing.T) {
	own := strconv.Itoa(os.Getpid())
	for _, c := range []struct {
		env  string
		want bool
	}{
		{"", false},
		{"WATCHDOG_USEC=30000000", true},
		{"WATCHDOG_USEC=30000000 WATCHDOG_PID=" + own, true},
		{"WATCHDOG_USEC=30000000 WATCHDOG_PID=1", false},
		{"WATCHDOG_USEC=0", false},
		{"WATCHDOG_USEC=soon", false},
	} {
		n := newNotifier(append(strings.Fields(c.env), "NOTIFY_SOCKET=/nowhere"))
		if n.watchdog != c.want {
			t.Errorf("%q: %v, want %v", c.env, n.watchdog, c.want)
		}
		n.alive() // to a manager that is gone: nothing happens
		unix.Close(n.fd)
	}
}

// The watchdog is fed while the workers are idle or at work, and not while one
// leaves datagrams waiting.
func TestWatchdogSeesStuckWorker(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	next, _ := managerSocket(t, path)
	n := newNotifier([]string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=30000000"})

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
			t.Fatal("the datagram did not arrive")
		}
	}
	look("a datagram waits", false)
	look("and still does", false)
	counts.note(connected, 16, 16)
	stuck.published.publish(&counts)
	look("it waits, but others were taken", true)
	look("and no more", false)
	if got, err := stuck.sock.Receive(); got != 1 || err != nil {
		t.Fatal(got, err)
	}
	look("taken", true)
	if got := testing.AllocsPerRun(100, func() { k.petWatchdog() }); got != 0 {
		t.Errorf("feeding allocates: %v", got)
	}
}

// run tells a manager of its life: ready when a client can ask, reloading and
// ready on SIGHUP, alive, stopping.
func TestRunNotifies(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	_, await := managerSocket(t, path)
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
	args := []string{"-listen", "127.0.0.1", "-port", port, "-workers", "1", "-memory", "16M"}
	go func() { done <- run(signals, args, env, &log, &log) }()
	want("READY=1")
	if out, err := runProbe("127.0.0.1:"+port, 1); err != nil {
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
