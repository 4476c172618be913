//go:build linux && !portable

package sandbox

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file makes the seccomp filter: a program for the kernel, which gets the
// number, the arguments and the processor of each system call.
//
// Calls without limits come first, the most frequent ones at the top. On many
// processors the kernel (Linux 5.11) keeps the verdicts that depend on the number
// only, and does not run the program for them.

// calls are the system calls that all processors have and that need no limit.
// The other lists are in calls_linux_*.go.
var calls = [...]uint16{
	unix.SYS_RECVMMSG, unix.SYS_SENDMMSG, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_CTL, unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_GETTIME,
	// Go runtime
	unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOSE, unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_PWAIT2, unix.SYS_EVENTFD2, unix.SYS_EXIT,
	unix.SYS_EXIT_GROUP, unix.SYS_GETPID, unix.SYS_GETRANDOM, unix.SYS_GETTID, unix.SYS_MADVISE, unix.SYS_MUNMAP, unix.SYS_READ,
	unix.SYS_RESTART_SYSCALL, unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SCHED_GETAFFINITY,
	unix.SYS_SCHED_YIELD, unix.SYS_SIGALTSTACK, unix.SYS_WRITE,
	// timers
	unix.SYS_TIMERFD_CREATE, unix.SYS_TIMERFD_SETTIME,
	// sockets, netlink, the service manager
	unix.SYS_BIND, unix.SYS_GETSOCKOPT, unix.SYS_PPOLL, unix.SYS_RECVMSG, unix.SYS_SENDMSG, unix.SYS_SENDTO, unix.SYS_SETSOCKOPT,
	// files
	unix.SYS_FSTAT, unix.SYS_GETCWD, unix.SYS_GETDENTS64, unix.SYS_INOTIFY_ADD_WATCH, unix.SYS_INOTIFY_INIT1, unix.SYS_INOTIFY_RM_WATCH, unix.SYS_PREAD64,
	unix.SYS_READLINKAT, unix.SYS_STATX,
}

// writeCalls are for a process that replaces a file.
var writeCalls = [...]uint16{unix.SYS_FCHMOD, unix.SYS_RENAMEAT2, unix.SYS_UNLINKAT}

// limit is an argument of a system call that must have one of some values.
type limit struct {
	call uint16
	arg  uint8  // counted from 0
	mask uint32 // bits of the argument that count
	want []uint32
}

const (
	all      = ^uint32(0)
	ownPID   = ^uint32(0) // stands for the process ID in want
	typeMask = 0xf        // the type of a socket, without its flags
)

// limits are the limits of all processors. If a call has several, all hold.
var limits = [...]limit{
	{unix.SYS_CLONE, cloneFlags, unix.CLONE_THREAD, []uint32{unix.CLONE_THREAD}},
	{fcntlCall, 1, all, []uint32{unix.F_GETFL, unix.F_SETFL}},
	{unix.SYS_IOCTL, 1, all, []uint32{unix.SIOCGIFINDEX, unix.SIOCINQ}},
	{unix.SYS_KILL, 0, all, []uint32{ownPID}},
	{unix.SYS_MPROTECT, 2, unix.PROT_EXEC, []uint32{0}},
	{unix.SYS_PRCTL, 0, all, []uint32{unix.PR_SET_VMA}}, // the runtime names its memory
	{unix.SYS_SOCKET, 0, all, []uint32{unix.AF_INET, unix.AF_INET6}},
	{unix.SYS_SOCKET, 1, typeMask, []uint32{unix.SOCK_DGRAM}},
	{unix.SYS_TGKILL, 0, all, []uint32{ownPID}},
}

// openLimit is for a process that writes no file.
var openLimit = limit{unix.SYS_OPENAT, 2, unix.O_ACCMODE | unix.O_CREAT | unix.O_TRUNC, []uint32{unix.O_RDONLY}}

// Offsets in struct seccomp_data.
const (
	offsetNumber    = 0
	offsetProcessor = 4
	offsetArguments = 16
)

const (
	opLoad   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	opEqual  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	opAnd    = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	opReturn = unix.BPF_RET | unix.BPF_K

	verdictUnknown   = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	verdictForbidden = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
)

// builder appends to a program.
type builder struct {
	prog []unix.SockFilter
	pid  uint32
}

// The methods of builder are not inlined, because that would take 2 KB of flash.
//
//go:noinline
func (b *builder) add(code uint16, jt, jf uint8, k uint32) {
	b.prog = append(b.prog, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
}

// filter returns the program for the process. Calls that are not listed get the
// verdict unknown.
func (c *Config) filter(pid, unknown uint32) []unix.SockFilter {
	b := &builder{make([]unix.SockFilter, 0, 160), pid} // 160 is more than any processor needs
	b.add(opLoad, 0, 0, offsetProcessor)
	b.add(opEqual, 1, 0, processor())
	b.add(opReturn, 0, 0, unknown)
	b.add(opLoad, 0, 0, offsetNumber)
	b.allow(calls[:])
	b.allow(ownCalls[:])
	b.limit(limits[:])
	b.limit(ownLimits[:])
	if c.Write != "" {
		b.allow(writeCalls[:])
		b.allow([]uint16{unix.SYS_OPENAT})
	} else {
		b.limit([]limit{openLimit})
	}
	b.add(opReturn, 0, 0, unknown)
	return b.prog
}

// allow allows calls.
//
//go:noinline
func (b *builder) allow(calls []uint16) {
	for i, nr := range calls {
		skip := uint8(0)
		if i == len(calls)-1 {
			skip = 1
		}
		b.add(opEqual, uint8(len(calls)-1-i), skip, uint32(nr)) // to the return
	}
	b.add(opReturn, 0, 0, unix.SECCOMP_RET_ALLOW)
}

// limit allows calls with the right arguments.
//
//go:noinline
func (b *builder) limit(limits []limit) {
	for i := range limits {
		l := &limits[i]
		if i == 0 || limits[i-1].call != l.call {
			end := len(b.prog) // the jump is set when the length is known
			b.add(opEqual, 0, 0, uint32(l.call))
			for j := i; j < len(limits) && limits[j].call == l.call; j++ {
				b.argument(&limits[j])
			}
			b.add(opReturn, 0, 0, unix.SECCOMP_RET_ALLOW)
			b.prog[end].Jf = uint8(len(b.prog) - end - 1)
		}
	}
}

// argument refuses the call unless the argument is as it should be.
func (b *builder) argument(l *limit) {
	low := uint32(0) // the offset of the low half of an argument
	if one := uint16(1); *(*byte)(unsafe.Pointer(&one)) == 0 {
		low = 4
	}
	b.add(opLoad, 0, 0, offsetArguments+8*uint32(l.arg)+low)
	if l.mask != all {
		b.add(opAnd, 0, 0, l.mask)
	}
	for i, want := range l.want {
		if want == ownPID {
			want = b.pid
		}
		b.add(opEqual, uint8(len(l.want)-i), 0, want)
	}
	b.add(opReturn, 0, 0, verdictForbidden)
}

// processor returns the kernel's number of the processor and its calling
// convention, or 0 if it is not known. A process may also call by another one, such as that of 32 bits,
// whose numbers mean other calls.
func processor() uint32 {
	switch runtime.GOARCH {
	case "386":
		return unix.AUDIT_ARCH_I386
	case "amd64":
		return unix.AUDIT_ARCH_X86_64
	case "arm":
		return unix.AUDIT_ARCH_ARM
	case "arm64":
		return unix.AUDIT_ARCH_AARCH64
	case "loong64":
		return unix.AUDIT_ARCH_LOONGARCH64
	case "mips":
		return unix.AUDIT_ARCH_MIPS
	case "mipsle":
		return unix.AUDIT_ARCH_MIPSEL
	case "mips64":
		return unix.AUDIT_ARCH_MIPS64
	case "mips64le":
		return unix.AUDIT_ARCH_MIPSEL64
	case "ppc64":
		return unix.AUDIT_ARCH_PPC64
	case "ppc64le":
		return unix.AUDIT_ARCH_PPC64LE
	case "riscv64":
		return unix.AUDIT_ARCH_RISCV64
	case "s390x":
		return unix.AUDIT_ARCH_S390X
	}
	return 0
}
