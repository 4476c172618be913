//go:build linux && !portable

package sandbox

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// This file runs the filter in an interpreter. It needs no seccomp, so it also
// runs under emulators, for their processors.

// callData is struct seccomp_data.
type callData struct {
	nr, processor uint32
	args          [6]uint64
}

// run interprets a program as the kernel does. It knows the instructions that the
// filter may use, and fails for others.
func run(t *testing.T, prog []unix.SockFilter, d *callData) uint32 {
	t.Helper()
	var memory [64]byte
	binary.NativeEndian.PutUint32(memory[0:], d.nr)
	binary.NativeEndian.PutUint32(memory[4:], d.processor)
	for i, v := range d.args {
		binary.NativeEndian.PutUint64(memory[16+8*i:], v)
	}
	a := uint32(0)
	for pc := 0; pc < len(prog); pc++ {
		switch in := prog[pc]; in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			if in.K%4 != 0 || in.K >= uint32(len(memory)) {
				t.Fatalf("instruction %d loads from %d", pc, in.K)
			}
			a = binary.NativeEndian.Uint32(memory[in.K:])
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= in.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			if a == in.K {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		default:
			t.Fatalf("instruction %d has the code %#x", pc, in.Code)
		}
	}
	t.Fatal("the program ends without a return")
	return 0
}

const testPID = 4711

// allowedArguments returns arguments that all limits of a call allow, and for each
// limit arguments that it forbids. It is nil for calls without limits.
func allowedArguments(nr uint16, limits []limit) (good [6]uint64, bad [][6]uint64) {
	value := func(v uint32) uint64 {
		if v == ownPID {
			v = testPID
		}
		return uint64(v) | 0xdeadbeef<<32 // the kernel ignores the upper half too
	}
	for _, l := range limits {
		if l.call == nr {
			good[l.arg] = value(l.want[0])
		}
	}
	for _, l := range limits {
		if l.call == nr {
			wrong := good
			wrong[l.arg] ^= uint64(l.mask&-l.mask) << 7 // another bit than those of the right values
			if l.mask != all {
				wrong[l.arg] = good[l.arg] ^ uint64(l.mask&-l.mask)
			}
			bad = append(bad, wrong)
		}
	}
	return good, bad
}

// TestFilter checks each number: a listed call is allowed, with the right
// arguments, and every other call is refused.
func TestFilter(t *testing.T) {
	if processor() == 0 {
		t.Fatal("the processor is not known")
	}
	for _, write := range []string{"", "/x/y"} {
		t.Run(fmt.Sprintf("write %q", write), func(t *testing.T) {
			c := &Config{Write: write}
			prog := c.filter(testPID, verdictUnknown)
			free := slices.Concat(calls[:], ownCalls[:])
			limited := slices.Concat(limits[:], ownLimits[:])
			if write != "" {
				free = slices.Concat(free, writeCalls[:], []uint16{unix.SYS_OPENAT})
			} else {
				limited = append(limited, openLimit)
			}
			allowed := 0
			for nr := range uint32(1 << 16) {
				good, bad := allowedArguments(uint16(nr), limited)
				want := verdictUnknown
				if slices.Contains(free, uint16(nr)) || bad != nil {
					want = unix.SECCOMP_RET_ALLOW
					allowed++
				}
				if got := run(t, prog, &callData{nr, processor(), good}); got != want {
					t.Errorf("call %d: got verdict %#x, want %#x", nr, got, want)
				}
				for _, args := range bad {
					if got := run(t, prog, &callData{nr, processor(), args}); got != verdictForbidden {
						t.Errorf("call %d with the arguments %#x: got verdict %#x, want %#x", nr, args, got, verdictForbidden)
					}
				}
			}
			if allowed < 40 || allowed > 75 {
				t.Errorf("%d calls are allowed", allowed)
			}
			// The numbers of x32 differ in this bit, with the same processor.
			for _, nr := range free {
				if got := run(t, prog, &callData{uint32(nr) | 0x40000000, processor(), [6]uint64{}}); got != verdictUnknown {
					t.Errorf("call %d of x32: got verdict %#x", nr, got)
				}
				for _, other := range []uint32{0, unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_ARM, unix.AUDIT_ARCH_MIPS64N32, processor() ^ 0x40000000} {
					if got := run(t, prog, &callData{uint32(nr), other, [6]uint64{}}); other != processor() && got != verdictUnknown {
						t.Errorf("call %d of the processor %#x: got verdict %#x", nr, other, got)
					}
				}
			}
			t.Logf("%d calls, %d instructions", allowed, len(prog))
		})
	}
}

// TestFilterNames spells out what must be in the filter, and what must not.
func TestFilterNames(t *testing.T) {
	c := &Config{}
	prog := c.filter(testPID, verdictUnknown)
	const (
		ok      = unix.SECCOMP_RET_ALLOW
		unknown = verdictUnknown
		no      = verdictForbidden
	)
	flags := func(v uint64) (args [6]uint64) {
		args[cloneFlags] = v
		return args
	}
	for _, test := range []struct {
		name string
		nr   uint32
		args [6]uint64
		want uint32
	}{
		{name: "recvmmsg", nr: unix.SYS_RECVMMSG, args: [6]uint64{}, want: ok},
		{name: "restart_syscall", nr: unix.SYS_RESTART_SYSCALL, args: [6]uint64{}, want: ok},
		{name: "execve", nr: unix.SYS_EXECVE, args: [6]uint64{}, want: unknown},
		{name: "execveat", nr: unix.SYS_EXECVEAT, args: [6]uint64{}, want: unknown},
		{name: "ptrace", nr: unix.SYS_PTRACE, args: [6]uint64{}, want: unknown},
		{name: "process_vm_writev", nr: unix.SYS_PROCESS_VM_WRITEV, args: [6]uint64{}, want: unknown},
		{name: "connect", nr: unix.SYS_CONNECT, args: [6]uint64{}, want: unknown},
		{name: "accept4", nr: unix.SYS_ACCEPT4, args: [6]uint64{}, want: unknown},
		{name: "unlinkat", nr: unix.SYS_UNLINKAT, args: [6]uint64{}, want: unknown},
		{name: "clone3", nr: unix.SYS_CLONE3, args: [6]uint64{}, want: unknown},
		{name: "a thread", nr: unix.SYS_CLONE, args: flags(unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM | unix.CLONE_THREAD), want: ok},
		{name: "a process", nr: unix.SYS_CLONE, args: flags(uint64(unix.SIGCHLD)), want: no},
		{name: "open for reading", nr: unix.SYS_OPENAT, args: [6]uint64{0, 0, unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK}, want: ok},
		{name: "open for writing", nr: unix.SYS_OPENAT, args: [6]uint64{0, 0, unix.O_WRONLY}, want: no},
		{name: "truncate", nr: unix.SYS_OPENAT, args: [6]uint64{0, 0, unix.O_TRUNC}, want: no},
		{name: "UDP over IPv6", nr: unix.SYS_SOCKET, args: [6]uint64{unix.AF_INET6, unix.SOCK_DGRAM | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK}, want: ok},
		{name: "TCP", nr: unix.SYS_SOCKET, args: [6]uint64{unix.AF_INET, unix.SOCK_STREAM}, want: no},
		{name: "packets", nr: unix.SYS_SOCKET, args: [6]uint64{unix.AF_PACKET, unix.SOCK_DGRAM}, want: no},
		{name: "netlink", nr: unix.SYS_SOCKET, args: [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW}, want: no},
		{name: "memory", nr: mmapCall, args: [6]uint64{0, 4096, unix.PROT_READ | unix.PROT_WRITE}, want: ok},
		{name: "a signal to itself", nr: unix.SYS_TGKILL, args: [6]uint64{testPID, 4712, uint64(unix.SIGURG)}, want: ok},
		{name: "a signal to another process", nr: unix.SYS_TGKILL, args: [6]uint64{1, 1, uint64(unix.SIGURG)}, want: no},
		{name: "the name of a mapping", nr: unix.SYS_PRCTL, args: [6]uint64{unix.PR_SET_VMA}, want: ok},
		{name: "prctl", nr: unix.SYS_PRCTL, args: [6]uint64{unix.PR_SET_DUMPABLE}, want: no},
	} {
		if got := run(t, prog, &callData{test.nr, processor(), test.args}); got != test.want {
			t.Errorf("%s: got verdict %#x, want %#x", test.name, got, test.want)
		}
	}
}
