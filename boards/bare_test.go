//go:build linux

package boards

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bareEnv has the names of system features. The test binary removes them from
// itself and then becomes the tracker.
const bareEnv = "PICO_BOARDS_WITHOUT"

// call is a system call that a kernel refuses with an error. The first
// arguments can select the call; -1 is any value.
type call struct {
	nr    uintptr
	args  []int
	errno unix.Errno
}

// refused are the features that are system calls.
var refused = map[string][]call{
	"recvmmsg":      {{unix.SYS_RECVMMSG, nil, unix.ENOSYS}},
	"sendmmsg":      {{unix.SYS_SENDMMSG, nil, unix.ENOSYS}},
	"SO_REUSEPORT":  {{unix.SYS_SETSOCKOPT, []int{-1, unix.SOL_SOCKET, unix.SO_REUSEPORT}, unix.ENOPROTOOPT}},
	"filter":        {{unix.SYS_SETSOCKOPT, []int{-1, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER}, unix.ENOPROTOOPT}},
	"options":       {{unix.SYS_SETSOCKOPT, []int{-1, unix.SOL_SOCKET}, unix.ENOPROTOOPT}},
	"IPv4":          {{unix.SYS_SOCKET, []int{unix.AF_INET}, unix.EAFNOSUPPORT}},
	"IPv6":          {{unix.SYS_SOCKET, []int{unix.AF_INET6}, unix.EAFNOSUPPORT}},
	"getrandom":     {{unix.SYS_GETRANDOM, nil, unix.ENOSYS}},
	"advice":        {{unix.SYS_MADVISE, nil, unix.ENOSYS}},
	"time counters": {{unix.SYS_SYSINFO, nil, unix.ENOSYS}, {unix.SYS_PRCTL, nil, unix.ENOSYS}},
}

// other are the features that are not system calls.
var other = map[string]func() error{
	"/proc":   func() error { return hide("/proc") },
	"/dev":    func() error { return hide("/dev") },
	"writing": readOnly,
	"two processors": func() error {
		var set unix.CPUSet
		set.Set(0)
		return unix.SchedSetaffinity(0, &set)
	},
	"memory": func() error {
		return os.WriteFile(os.Getenv("PICO_BOARDS_CGROUP")+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0)
	},
}

// becomeBare removes the features in bareEnv and runs the command line. It
// returns only with an error.
func becomeBare() error {
	runtime.LockOSThread() // namespaces and filters belong to the thread
	names := strings.Split(os.Getenv(bareEnv), ",")
	os.Unsetenv(bareEnv)
	var calls []call
	for _, name := range names {
		if do, ok := other[name]; ok {
			if err := do(); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		} else if c, ok := refused[name]; ok {
			calls = append(calls, c...)
		} else {
			return errors.New(name + ": no such comfort")
		}
	}
	if err := refuse(calls); err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	return unix.Exec(os.Args[1], os.Args[1:], os.Environ())
}

// hide mounts an empty file system over a path, for this process only.
func hide(path string) error {
	if err := ownMounts(); err != nil {
		return err
	}
	return unix.Mount("none", path, "tmpfs", 0, "")
}

// readOnly makes every file system read-only for this process.
func readOnly() error {
	if err := ownMounts(); err != nil {
		return err
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	return unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &attr)
}

func ownMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	return unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
}

// refuse makes the kernel answer these calls with their errors, in this process
// and in programs that it runs.
func refuse(calls []call) error {
	if len(calls) == 0 {
		return nil
	}
	const (
		load    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		ret     = unix.BPF_RET | unix.BPF_K
		numbers = 0  // offset of the call's number in struct seccomp_data
		args    = 16 // and of its arguments, of 8 bytes each
	)
	var low uint32 // of the half of an argument that counts
	if one := uint16(1); *(*byte)(unsafe.Pointer(&one)) == 0 {
		low = 4
	}
	var prog []unix.SockFilter
	for _, c := range calls {
		var tests [][2]uint32
		tests = append(tests, [2]uint32{numbers, uint32(c.nr)})
		for i, a := range c.args {
			if a >= 0 {
				tests = append(tests, [2]uint32{args + 8*uint32(i) + low, uint32(a)})
			}
		}
		for i, test := range tests {
			// A difference skips the other tests and the verdict.
			prog = append(prog, unix.SockFilter{Code: load, K: test[0]},
				unix.SockFilter{Code: equal, Jf: uint8(2*(len(tests)-1-i) + 1), K: test[1]})
		}
		prog = append(prog, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(c.errno)})
	}
	prog = append(prog, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&fprog)), 0, 0); err != nil {
		return err
	}
	for _, c := range calls {
		a := [3]uintptr{^uintptr(0), ^uintptr(0), ^uintptr(0)}
		for i, arg := range c.args {
			a[i] = uintptr(arg)
		}
		if _, _, errno := unix.RawSyscall(c.nr, a[0], a[1], a[2]); errno != c.errno {
			return fmt.Errorf("call %d is not refused: %v", c.nr, errno)
		}
	}
	return nil
}

// nativeTarget is the target of this machine, or "".
func nativeTarget() string {
	return map[string]string{"amd64": "linux-amd64", "arm64": "linux-arm64", "riscv64": "linux-riscv64"}[runtime.GOARCH]
}

// bare returns a command that runs the tracker without these features.
func bare(t *testing.T, without string, args ...string) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "only root can take away what a process has")
	}
	target := nativeTarget()
	if target == "" {
		skip(t, "no target is named for "+runtime.GOARCH)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, append([]string{build(t, target)[0]}, args...)...)
	cmd.Env = append(os.Environ(), bareEnv+"="+without)
	return cmd
}

// TestBare checks that the tracker serves without each feature, and logs which
// one is missing.
func TestBare(t *testing.T) {
	for _, c := range []struct {
		without string
		says    string // in its log
		no4     bool
		no6     bool
	}{
		{without: "recvmmsg"},
		{without: "sendmmsg"},
		{without: "recvmmsg,sendmmsg"},
		{without: "SO_REUSEPORT", says: "no SO_REUSEPORT"},
		{without: "filter"},
		{without: "options", says: "no SO_REUSEPORT"},
		{without: "IPv6", says: "no IPv6 on this system", no6: true},
		{without: "IPv4", says: "no IPv4 on this system", no4: true},
		{without: "getrandom"},
		{without: "advice"},
		{without: "time counters"},
		{without: "/proc"},
		{without: "/dev"},
		{without: "writing"},
		{without: "two processors", says: "; 1 worker,"},
		{without: "/proc,/dev,writing,two processors,recvmmsg,sendmmsg,SO_REUSEPORT,filter,IPv6,advice,time counters", says: "no IPv6", no6: true},
	} {
		t.Run(c.without, func(t *testing.T) {
			t.Parallel()
			args := []string{"-memory", "16M"}
			if !strings.Contains(c.without, "processors") {
				args = append(args, "-workers", "3")
			}
			tracker, err := launch(bare(t, c.without, args...))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(tracker.kill)
			if !strings.Contains(tracker.log(), c.says) {
				t.Errorf("no %q in its log:\n%s", c.says, tracker.log())
			}
			if !c.no4 {
				if err := converse(pair4, tracker.port, randomHash()); err != nil {
					t.Errorf("IPv4: %v", err)
				}
			}
			if !c.no6 {
				if err := converse(pair6, tracker.port, randomHash()); err != nil {
					t.Errorf("IPv6: %v", err)
				}
			}
			if err := tracker.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestBareTooMuch checks that the tracker ends with one line that names the
// missing feature.
func TestBareTooMuch(t *testing.T) {
	for _, c := range []struct{ without, says string }{
		{"IPv4,IPv6", "address family not supported"},
		{"getrandom,/dev", "/dev/urandom"},
	} {
		out, err := bare(t, c.without, "-memory", "16M", "-port", "1").CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), c.says) || !strings.Contains(string(out), "[ERROR] ") {
			t.Errorf("without %s: %v, %q; want an error with %q", c.without, err, out, c.says)
		}
	}
}

// TestBareReadOnlyList checks that a list on a read-only file system is read,
// and that its change is noticed.
func TestBareReadOnlyList(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list")
	first, second := randomHash(), randomHash()
	if err := writeList(path, first); err != nil {
		t.Fatal(err)
	}
	tracker, err := launch(bare(t, "writing,/proc", "-memory", "16M", "-whitelist", path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tracker.kill)
	if err := tracker.checkReload(path, first, second); err != nil {
		t.Error(err)
	}
	if err := tracker.stop(); err != nil {
		t.Error(err)
	}
}

// TestBareLittleMemory checks that the tracker chooses a size that fits into a
// control group of 32 MiB, and survives when it is full.
func TestBareLittleMemory(t *testing.T) {
	if os.Geteuid() != 0 {
		skip(t, "only root can make control groups")
	}
	const limit = 32 << 20
	group, peak, err := memoryGroup(limit)
	if err != nil {
		skip(t, "no control group of limited memory: "+err.Error())
	}
	t.Cleanup(func() {
		if err := os.Remove(group); err != nil {
			t.Error(err)
		}
	})
	cmd := bare(t, "memory")
	cmd.Env = append(cmd.Env, "PICO_BOARDS_CGROUP="+group)
	tracker, err := launch(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tracker.kill)
	if !strings.Contains(tracker.log(), "] memory 8M") {
		t.Errorf("not 8M, the least, in its log:\n%s", tracker.log())
	}
	c, err := dial(pair4[0], tracker.port)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for range 5000 {
		if _, err := c.announce(randomHash(), 1); err != nil {
			t.Fatalf("%v\n%s", err, tracker.log())
		}
	}
	if err := converse(pair6, tracker.port, randomHash()); err != nil {
		t.Errorf("IPv6: %v", err)
	}
	b, err := os.ReadFile(filepath.Join(group, peak))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err != nil || n > limit/2 {
		t.Errorf("at most %s bytes (%v), want half of what there is to be left", b, err)
	}
	if err := tracker.stop(); err != nil {
		t.Error(err)
	}
}

// TestBareMemoryLimit checks that a control group that allows less than -memory gets
// a warning, and that the sizes in it are right.
func TestBareMemoryLimit(t *testing.T) {
	if os.Geteuid() != 0 {
		skip(t, "only root can make control groups")
	}
	group, _, err := memoryGroup(32 << 20)
	if err != nil {
		skip(t, "no control group of limited memory: "+err.Error())
	}
	t.Cleanup(func() {
		if err := os.Remove(group); err != nil {
			t.Error(err)
		}
	})
	for _, c := range []struct{ name, memory, want string }{
		{name: "more than the group", memory: "64M",
			want: `[WARN] -memory "64M": this process may use only 32M (its control group, or the machine), so the kernel may end it; allow 66M, or set 30M`},
		{name: "the whole group", memory: "32M", want: "; allow 34M, or set 30M"},
		{name: "what the warning says", memory: "30M"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := bare(t, "memory")
			cmd.Env = append(cmd.Env, "PICO_BOARDS_CGROUP="+group)
			cmd.Args = append(cmd.Args, "-memory", c.memory)
			tracker, err := launch(cmd)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(tracker.kill)
			log := tracker.log()
			if warns := strings.Contains(log, "this process may use only"); warns != (c.want != "") || !strings.Contains(log, c.want) {
				t.Errorf("got the log\n%s\nwant %q in it", log, c.want)
			}
			if err := converse(pair4, tracker.port, randomHash()); err != nil {
				t.Error(err)
			}
			if err := tracker.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// memoryGroup makes a control group, version 1 or 2, with this memory limit. It
// returns the name of the file that has the peak.
func memoryGroup(limit int) (group, peak string, err error) {
	for _, v := range []struct{ root, limit, peak string }{
		{root: "/sys/fs/cgroup/memory", limit: "memory.limit_in_bytes", peak: "memory.max_usage_in_bytes"},
		{root: "/sys/fs/cgroup", limit: "memory.max", peak: "memory.peak"},
	} {
		if group, err = os.MkdirTemp(v.root, "pico-boards-"); err != nil {
			continue
		}
		if err = os.WriteFile(filepath.Join(group, v.limit), []byte(strconv.Itoa(limit)), 0); err == nil {
			return group, v.peak, nil
		}
		os.Remove(group)
	}
	return "", "", err
}
