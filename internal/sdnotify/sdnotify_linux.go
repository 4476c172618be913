//go:build linux && !portable

package sdnotify

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Notifier sends states to the service manager. A nil Notifier sends nothing.
type Notifier struct {
	fd       int
	mu       sync.Mutex // guards to, because Sendto writes to it
	to       unix.SockaddrUnix
	watchdog time.Duration // 0: the manager has none
}

// New reads the environment ("NAME=value").
func New(env []string) *Notifier {
	var path, usec, pid string
	for _, e := range env {
		name, v, _ := strings.Cut(e, "=")
		switch name {
		case "NOTIFY_SOCKET":
			path = v
		case "WATCHDOG_USEC":
			usec = v
		case "WATCHDOG_PID":
			pid = v
		}
	}
	// A path, or a name in the abstract namespace if it begins with @.
	if path == "" || path[0] != '/' && path[0] != '@' {
		return nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	n := &Notifier{fd: fd, to: unix.SockaddrUnix{Name: path}}
	us, err := strconv.ParseUint(usec, 10, 64)
	if err == nil && (pid == "" || pid == strconv.Itoa(unix.Getpid())) {
		n.watchdog = time.Duration(min(us, 1<<40)) * time.Microsecond
	}
	return n
}

// send sends a state. Errors are ignored: the tracker serves whether or not a
// manager listens.
func (n *Notifier) send(state []byte, flags int) {
	if n != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		_ = unix.Sendto(n.fd, state, unix.MSG_NOSIGNAL|flags, &n.to)
	}
}

// Ready reports that the sockets are open, or that a reload is done.
func (n *Notifier) Ready() { n.send([]byte("READY=1"), 0) }

// Stopping reports that the tracker was told to stop.
func (n *Notifier) Stopping() { n.send([]byte("STOPPING=1"), 0) }

// Reloading reports that the access list is being reloaded. Ready must follow.
func (n *Notifier) Reloading() { n.send([]byte("RELOADING=1"), 0) }

var watchdogState = []byte("WATCHDOG=1")

// WatchdogInterval returns the time after which the manager restarts the service
// if Watchdog is not called. 0 means that the manager does not watch it.
func (n *Notifier) WatchdogInterval() time.Duration {
	if n == nil {
		return 0
	}
	return n.watchdog
}

// Watchdog tells the manager that the program is alive, if the manager watches
// it.
func (n *Notifier) Watchdog() {
	if n != nil && n.watchdog > 0 {
		// If the queue is full, the manager is busy. The caller must not wait.
		n.send(watchdogState, unix.MSG_DONTWAIT)
	}
}
