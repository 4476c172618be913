//go:build linux && !portable

package main

import (
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// This file owns what a service manager such as systemd is told, as
// sd_notify(3) has it: ready, reloading, stopping, and that the loops are
// alive. Without NOTIFY_SOCKET it does nothing.

// notifier sends states to the manager's socket. A nil notifier has none.
type notifier struct {
	fd       int
	mu       sync.Mutex // of to, which Sendto writes in
	to       unix.SockaddrUnix
	watchdog bool
}

// newNotifier reads the environment ("NAME=value").
func newNotifier(env []string) *notifier {
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
	n := &notifier{fd: fd, to: unix.SockaddrUnix{Name: path}}
	us, err := strconv.ParseUint(usec, 10, 64)
	n.watchdog = err == nil && us > 0 && (pid == "" || pid == strconv.Itoa(unix.Getpid()))
	return n
}

// tell sends a state. What the manager doesn't take is lost: a tracker serves
// whether or not someone watches.
func (n *notifier) tell(state []byte, flags int) {
	if n != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		_ = unix.Sendto(n.fd, state, unix.MSG_NOSIGNAL|flags, &n.to)
	}
}

// ready says that the sockets are open, or that a reload is done.
func (n *notifier) ready() { n.tell([]byte("READY=1"), 0) }

// stopping says that the tracker was told to end.
func (n *notifier) stopping() { n.tell([]byte("STOPPING=1"), 0) }

// reloading says that the access list is being read; ready must follow.
func (n *notifier) reloading() { n.tell([]byte("RELOADING=1"), 0) }

var aliveState = []byte("WATCHDOG=1")

// alive feeds the manager's watchdog, if it has one.
func (n *notifier) alive() {
	if n != nil && n.watchdog {
		// If its queue is full the manager is busy: the sweep isn't held up.
		n.tell(aliveState, unix.MSG_DONTWAIT)
	}
}
