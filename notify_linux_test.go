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

// run tells a manager of its life: ready when a client can ask, reloading and
// ready on SIGHUP, alive, stopping.
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
	args := []string{"-listen", "127.0.0.1", "-port", port, "-workers", "1", "-memory", "16M"}
	go func() { done <- run(signals, args, env, &log, &log) }()
	want("READY=1")
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
