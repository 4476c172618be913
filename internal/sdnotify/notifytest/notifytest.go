//go:build linux

// Package notifytest has a service manager for tests: the socket that
// sd_notify(3) sends to.
package notifytest

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Listen opens the socket of a service manager. next returns the state that is
// in its queue, or ""; await waits for a state.
func Listen(t *testing.T, path string) (next, await func() string) {
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
