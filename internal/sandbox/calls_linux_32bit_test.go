//go:build linux && !portable && (386 || arm || mips || mipsle)

package sandbox

import "golang.org/x/sys/unix"

const mmapCall = unix.SYS_MMAP2
