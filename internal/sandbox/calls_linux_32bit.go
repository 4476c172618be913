//go:build linux && !portable && (arm || mips || mipsle)

package sandbox

import "golang.org/x/sys/unix"

// This file has the calls of 32-bit processors except 386. Those with time64 are for a newer
// Go runtime.

const fcntlCall = unix.SYS_FCNTL64

var ownCalls = [...]uint16{
	unix.SYS_CLOCK_GETTIME64, unix.SYS_CLOCK_NANOSLEEP_TIME64, unix.SYS_FSTAT64, unix.SYS_FSTATAT64, unix.SYS_FUTEX_TIME64,
	unix.SYS_PPOLL_TIME64, unix.SYS_STAT64,
}
