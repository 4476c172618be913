//go:build linux && !portable && s390x

package sandbox

import "golang.org/x/sys/unix"

const (
	fcntlCall  = unix.SYS_FCNTL
	cloneFlags = 1 // the first argument is the stack
)

// The arguments of mmap are in memory, where the filter does not see them.
var ownCalls = [...]uint16{unix.SYS_MMAP, unix.SYS_NEWFSTATAT, unix.SYS_STAT}

var ownLimits = [...]limit{
	// The same holds for the arguments of the calls for sockets.
	{unix.SYS_SOCKETCALL, 0, all, socketCalls},
}
