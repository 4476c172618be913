//go:build linux && !portable

package sdnotify

import (
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// This file owns what a service manager such as systemd is told, as
// sd_notify(3) has it: ready, reloading, stopping, and that the loops are
// alive. Without NOTIFY_SOCKET it does nothing.

// Notifier sends states to the manager's socket. A nil notifier has none.
type Notifier struct {
	fd       int
	mu       sync.Mutex // of to, which Sendto writes in
	to       unix.SockaddrUnix
	watchdog bool
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
	// A path, or with @ a name in the abstract name space.
	if path == "" || path[0] != '/' && path[0] != '@' {
		return nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	n := &Notifier{fd: fd, to: unix.SockaddrUnix{Name: path}}
	us, err := strconv.ParseUint(usec, 10, 64)
	n.watchdog = err == nil && us > 0 && (pid == "" || pid == strconv.Itoa(unix.Getpid()))
	return n
}

// send sends a state. What the manager doesn't take is lost: a tracker serves
// whether or not someone watches.
func (n *Notifier) send(state []byte, flags int) {
	if n != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		_ = unix.Sendto(n.fd, state, unix.MSG_NOSIGNAL|flags, &n.to)
	}
}

// Ready says that the sockets are open, or that a reload is done.
func (n *Notifier) Ready() { n.send([]byte("READY=1"), 0) }

// Stopping says that the tracker was told to end.
func (n *Notifier) Stopping() { n.send([]byte("STOPPING=1"), 0) }

// Reloading says that the access list is being read; ready must follow.
func (n *Notifier) Reloading() { n.send([]byte("RELOADING=1"), 0) }

var watchdogState = []byte("WATCHDOG=1")

// Watchdog feeds the manager's watchdog, if it has one.
func (n *Notifier) Watchdog() {
	if n != nil && n.watchdog {
		// If its queue is full the manager is busy: the sweep isn't held up.
		n.send(watchdogState, unix.MSG_DONTWAIT)
	}
}
