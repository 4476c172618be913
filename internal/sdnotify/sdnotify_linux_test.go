//go:build linux && !portable

package sdnotify

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/sdnotify/notifytest"
	"golang.org/x/sys/unix"
)

func TestNotifier(t *testing.T) {
	if n := New([]string{"WATCHDOG_USEC=1000000"}); n != nil {
		t.Error("a notifier without a socket")
	}
	if n := New([]string{"NOTIFY_SOCKET=vsock:2:1"}); n != nil {
		t.Error("a notifier for a socket that is not understood")
	}
	var none *Notifier
	none.Ready()
	none.Watchdog()

	for _, path := range []string{filepath.Join(t.TempDir(), "notify"), "@pico-tracker-test-" + strconv.Itoa(os.Getpid())} {
		next, _ := notifytest.Listen(t, path)
		n := New([]string{"NOTIFY_SOCKET=" + path})
		n.Ready()
		n.Reloading()
		n.Stopping()
		n.Watchdog()
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
		want time.Duration
	}{
		{"", 0},
		{"WATCHDOG_USEC=30000000", 30 * time.Second},
		{"WATCHDOG_USEC=30000000 WATCHDOG_PID=" + own, 30 * time.Second},
		{"WATCHDOG_USEC=30000000 WATCHDOG_PID=1", 0},
		{"WATCHDOG_USEC=0", 0},
		{"WATCHDOG_USEC=soon", 0},
	} {
		n := New(append(strings.Fields(c.env), "NOTIFY_SOCKET=/nowhere"))
		if n.WatchdogInterval() != c.want {
			t.Errorf("%q: %v, want %v", c.env, n.WatchdogInterval(), c.want)
		}
		n.Watchdog() // to a manager that is gone: nothing happens
		unix.Close(n.fd)
	}
}

// TestWatchdogDoesNotWait checks that a service manager which reads nothing cannot
// stop the program.
func TestWatchdogDoesNotWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	n := New([]string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=1000000"})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 10_000 { // far more than a queue has room for
			n.Watchdog()
		}
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Error("it waits for the manager")
	}
}
