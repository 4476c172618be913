//go:build linux && !portable && 386

package sandbox

import "golang.org/x/sys/unix"

const (
	fcntlCall  = unix.SYS_FCNTL64
	cloneFlags = 0
)

var ownCalls = [...]uint16{
	unix.SYS_CLOCK_GETTIME64, unix.SYS_CLOCK_NANOSLEEP_TIME64, unix.SYS_FSTAT64, unix.SYS_FSTATAT64, unix.SYS_FUTEX_TIME64,
	unix.SYS_PPOLL_TIME64, unix.SYS_STAT64,
	unix.SYS_SET_THREAD_AREA, // each thread
}

var ownLimits = [...]limit{
	{unix.SYS_FCNTL, 1, all, []uint32{unix.F_GETFL, unix.F_SETFL}},
	{unix.SYS_MMAP2, 2, unix.PROT_EXEC, []uint32{0}},
	// The arguments of the calls for sockets are in memory, where the filter
	// does not see them.
	{unix.SYS_SOCKETCALL, 0, all, socketCalls},
}
