//go:build linux && !portable && (arm || mips || mipsle)

package sandbox

import "golang.org/x/sys/unix"

// This file lists the calls of 32-bit processors other than 386. A newer Go
// runtime may use those with time64.

const fcntlCall = unix.SYS_FCNTL64

var ownCalls = [...]uint16{
	unix.SYS_CLOCK_GETTIME64, unix.SYS_CLOCK_NANOSLEEP_TIME64, unix.SYS_FSTAT64, unix.SYS_FSTATAT64, unix.SYS_FUTEX_TIME64,
	unix.SYS_PPOLL_TIME64, unix.SYS_STAT64,
}
