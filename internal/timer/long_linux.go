//go:build linux && !portable

package timer

import (
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Long is a timer for long waits. The runtime waits for its own timers with
// epoll_pwait, which may be late by 0.1 % of the time. Meanwhile the runtime's
// monitor thread looks every 20 us: more than 50 times after a wait of 15 seconds.
// This timer is a descriptor of the kernel and is not late.
//
// A value that C gets may be too early, as for Timer.
type Long struct {
	C    chan struct{}
	fd   int
	file *os.File
	own  *Timer // used instead if the kernel has no such descriptors
}

// NewLong returns a timer that is not started.
func NewLong() *Long {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err == nil {
		t := &Long{C: make(chan struct{}, 1), fd: fd, file: os.NewFile(uintptr(fd), "timerfd")}
		var conn syscall.RawConn
		if conn, err = t.file.SyscallConn(); err == nil && t.set(0) == nil {
			go t.forward(conn)
			return t
		}
		t.file.Close()
	}
	own := New(time.Hour)
	own.Stop()
	return &Long{C: own.C, own: own}
}

// forward sends on C whenever the time is over, until Stop.
func (t *Long) forward(conn syscall.RawConn) {
	_ = conn.Read(func(fd uintptr) bool { // it fails when the file is closed
		// A call that tells the scheduler would wake the monitor thread.
		var expirations uint64
		if _, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&expirations)), unsafe.Sizeof(expirations)); errno == 0 {
			select {
			case t.C <- struct{}{}:
			default:
			}
		}
		return false
	})
}

// set starts the timer; 0 stops it.
func (t *Long) set(d time.Duration) error {
	return unix.TimerfdSettime(t.fd, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}, nil)
}

// Reset starts the timer for a duration. A value that C already has is removed.
func (t *Long) Reset(d time.Duration) {
	if t.own != nil {
		t.own.Reset(d)
		return
	}
	_ = t.set(0) // it fails only for a wrong descriptor or a negative time
	select {
	case <-t.C:
	default:
	}
	_ = t.set(max(d, 1))
}

// Stop ends the timer. It cannot be started again.
func (t *Long) Stop() {
	if t.own != nil {
		t.own.Stop()
		return
	}
	t.file.Close()
}
