//go:build linux && !portable && (amd64 || arm64 || loong64 || riscv64)

package sandbox

import "golang.org/x/sys/unix"

// This file lists the calls of 64-bit processors. They have no older calls for the
// same.

const (
	fcntlCall  = unix.SYS_FCNTL
	cloneFlags = 0
)

var ownCalls = [...]uint16{unix.SYS_NEWFSTATAT}

var ownLimits = [...]limit{
	{unix.SYS_MMAP, 2, unix.PROT_EXEC, []uint32{0}},
}
