//go:build linux && !portable && (mips || mipsle)

package sandbox

import "golang.org/x/sys/unix"

const cloneFlags = 0

var ownLimits = [...]limit{
	{unix.SYS_FCNTL, 1, all, []uint32{unix.F_GETFL, unix.F_SETFL}},
	{unix.SYS_MMAP, 2, unix.PROT_EXEC, []uint32{0}}, // the runtime
	{unix.SYS_MMAP2, 2, unix.PROT_EXEC, []uint32{0}},
}
