//go:build linux && !portable && (mips64 || mips64le || ppc64 || ppc64le)

package sandbox

import "golang.org/x/sys/unix"

// This file lists the calls of 64-bit processors on which the standard library
// uses the old call stat.

const (
	fcntlCall  = unix.SYS_FCNTL
	cloneFlags = 0
)

var ownCalls = [...]uint16{unix.SYS_NEWFSTATAT, unix.SYS_STAT}

var ownLimits = [...]limit{
	{unix.SYS_MMAP, 2, unix.PROT_EXEC, []uint32{0}},
}
