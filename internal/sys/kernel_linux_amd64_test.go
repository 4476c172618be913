//go:build !portable

package sys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/sys/systest"
	"golang.org/x/sys/unix"
)

// This file checks what happens if the kernel refuses a call, and what a restart
// changes. It is for one processor only: emulators have no seccomp, and an emulated
// test binary cannot start itself.

// childEnv is set in a process that TestDeclineHugePages starts.
const childEnv = "PICO_SYS_TEST"

// restartsEnv counts how often such a process was restarted.
const restartsEnv = "PICO_SYS_TEST_RESTARTS"

func TestMain(m *testing.M) {
	if kernel := os.Getenv(childEnv); kernel != "" {
		if err := child(kernel, os.Args[1:]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// refused runs f in a thread to which the kernel refuses system calls.
func refused(t *testing.T, calls []uint32, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // to the end of the thread: see withoutCall
		for _, call := range calls {
			if err := withoutCall(call); err != nil {
				done <- fmt.Errorf("seccomp: %w", err)
				return
			}
		}
		done <- f()
	}()
	return <-done
}

// TestRefusedWrites checks that a file whose content is not complete, or does not have
// its mode, is reported and is not left.
func TestRefusedWrites(t *testing.T) {
	create := func(path string) error {
		return Create(path, []byte("new"), &FileState{mode: unix.S_IFREG | 0o644})
	}
	replace := func(path string) error { return NewAtomicFile(path).Write([]byte("new")) }
	for _, c := range []struct {
		name   string
		calls  []uint32
		write  func(path string) error
		before string // the content of the file
	}{
		{name: "new file, no mode", calls: []uint32{unix.SYS_FCHMOD}, write: create},
		{name: "new file, disk fails", calls: []uint32{unix.SYS_FSYNC}, write: create},
		{name: "replacement, no mode", calls: []uint32{unix.SYS_FCHMOD}, write: replace, before: "old"},
		{name: "replacement, no rename", calls: []uint32{unix.SYS_RENAMEAT2, unix.SYS_RENAMEAT, unix.SYS_RENAME}, write: replace, before: "old"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "file")
			if c.before != "" {
				if err := os.WriteFile(path, []byte(c.before), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := refused(t, c.calls, func() error { return c.write(path) }); err != unix.ENOSYS {
				t.Errorf("got %v, want %v", err, unix.ENOSYS)
			}
			if got, err := os.ReadFile(path); string(got) != c.before || (err != nil) != (c.before == "") {
				t.Errorf("the file has %q, %v, want %q", got, err, c.before)
			}
			if _, err := os.Lstat(path + ".new"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the temporary file is left: %v", err)
			}
		})
	}
}

// TestCheckBelievesOldKernels: before Linux 3.6 the kernel does not tell what a path
// is. A directory in its place is not replaced, and nothing is left.
func TestCheckBelievesOldKernels(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.prom")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	r := NewAtomicFile(path)
	if err := refused(t, []uint32{unix.SYS_FSTAT}, r.Check); err != nil {
		t.Errorf("Check: got %v, want no error", err)
	}
	if err := refused(t, []uint32{unix.SYS_FSTAT}, func() error { return r.Write([]byte("x")) }); err != unix.EISDIR {
		t.Errorf("Write: got %v, want %v", err, unix.EISDIR)
	}
	if _, err := os.Lstat(path + ".new"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary file is left: %v", err)
	}
}

// TestRefusedDirectory checks that a directory that cannot be read is reported.
func TestRefusedDirectory(t *testing.T) {
	dir := makeFiles(t)
	err := refused(t, []uint32{unix.SYS_GETDENTS64, unix.SYS_GETDENTS}, func() error {
		return EachEntry(dir, func(string) error { return nil })
	})
	if err != unix.ENOSYS {
		t.Errorf("got %v, want %v", err, unix.ENOSYS)
	}
}

// TestRandomSources checks that one source of random bytes is enough: a kernel
// before Linux 3.17 has no getrandom, and a container may have no /dev.
func TestRandomSources(t *testing.T) {
	for name, calls := range map[string][]uint32{"no getrandom": {unix.SYS_GETRANDOM}, "no files": {unix.SYS_OPENAT, unix.SYS_OPEN}} {
		a, b := make([]byte, 64), make([]byte, 64)
		err := refused(t, calls, func() error { return errors.Join(Random(a), Random(b)) })
		if err != nil || bytes.Equal(a, b) || bytes.Equal(a, make([]byte, 64)) {
			t.Errorf("%s: got %x and %x, %v", name, a, b, err)
		}
	}
}

// TestUnknownFileLimit checks that a limit which is not known is no limit.
func TestUnknownFileLimit(t *testing.T) {
	var got uint64
	err := refused(t, []uint32{unix.SYS_PRLIMIT64, unix.SYS_GETRLIMIT}, func() error { got = FileLimit(); return nil })
	if err != nil || got != 1<<63 {
		t.Errorf("got %d, %v, want %d", got, err, uint64(1<<63))
	}
}

// Kernels of TestDeclineHugePages.
const (
	thisKernel    = "this"
	before618     = "before 6.18"     // knows no exception
	before315     = "before 3.15"     // knows no setting
	noExec        = "without exec"    // refuses to restart the program
	withException = "with exceptions" // not for DeclineHugePages: reports if this kernel knows an exception
)

// exceptAdvised is PR_THP_DISABLE_EXCEPT_ADVISED.
const exceptAdvised = 2

// child calls DeclineHugePages and prints the setting. The first argument is the
// text of /sys/kernel/mm/transparent_hugepage/enabled, "" for no file.
func child(kernel string, args []string) error {
	runtime.LockOSThread() // the filter is for this thread, which also restarts the program
	if kernel == withException {
		fmt.Print(unix.Prctl(unix.PR_SET_THP_DISABLE, 1, exceptAdvised, 0, 0) == nil)
		return nil
	}
	restarts, _ := strconv.Atoi(os.Getenv(restartsEnv))
	if restarts > 1 {
		return errors.New("restarted twice")
	}
	if restarts == 0 {
		if err := imitate(kernel, args[0]); err != nil {
			return err
		}
	}
	if err := os.Setenv(restartsEnv, strconv.Itoa(restarts+1)); err != nil {
		return err
	}
	DeclineHugePages()
	setting, err := unix.PrctlRetInt(unix.PR_GET_THP_DISABLE, 0, 0, 0, 0)
	if err != nil {
		return err
	}
	name, err := os.ReadFile("/proc/self/comm")
	fmt.Printf("%d restarts, setting %d, arguments %q, %s", restarts, setting, args, name)
	return err
}

// imitate shows another mode to this process, and refuses what a kernel did not know.
func imitate(kernel, mode string) error {
	const mm = "/sys/kernel/mm"
	if err := unix.Mount("tmpfs", mm, "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	if mode != "" {
		if err := errors.Join(os.Mkdir(mm+"/transparent_hugepage", 0o755), os.WriteFile(mm+"/transparent_hugepage/enabled", []byte(mode), 0o644)); err != nil {
			return err
		}
	}
	switch kernel {
	case thisKernel:
		return nil
	case noExec:
		return withoutCall(unix.SYS_EXECVE)
	}
	const call, option, flags = 0, 16, 32 // offsets in struct seccomp_data: the number, the first and the third argument
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	equal := func(n uint32, otherwise uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: n, Jf: otherwise}
	}
	refused := uint32(exceptAdvised)
	if kernel == before315 {
		refused = 0 // and what has an exception, as below
	}
	return systest.Confine([]unix.SockFilter{
		load(call), equal(unix.SYS_PRCTL, 6),
		load(option), equal(unix.PR_SET_THP_DISABLE, 4),
		load(flags), {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: exceptAdvised, Jt: 1}, equal(refused, 1),
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EINVAL)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	})
}

// TestDeclineHugePages checks that the program restarts once, with its arguments and
// its name, if the system uses huge pages for all memory, and that it continues as it
// is otherwise.
func TestDeclineHugePages(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a mount namespace needs root")
	}
	run := func(kernel, mode string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, os.Args[0], mode, "second argument")
		cmd.Env = append(os.Environ(), childEnv+"="+kernel)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s, %s: %v: %s", kernel, mode, err, out)
		}
		return string(out)
	}
	setting := 1
	if run(withException, "") == "true" {
		setting |= exceptAdvised
	}
	for _, c := range []struct {
		kernel, mode      string
		restarts, setting int
	}{
		{kernel: thisKernel, mode: "[always] madvise never\n", restarts: 1, setting: setting},
		{kernel: thisKernel, mode: "always [madvise] never\n"},
		{kernel: thisKernel, mode: "always madvise [never]\n"},
		{kernel: thisKernel, mode: ""}, // a kernel without huge pages
		{kernel: before618, mode: "[always] madvise never\n", restarts: 1, setting: 1},
		{kernel: noExec, mode: "[always] madvise never\n", setting: setting},
		{kernel: before315, mode: "[always] madvise never\n"},
	} {
		t.Run(c.kernel+", "+strings.TrimSpace(c.mode), func(t *testing.T) {
			name := filepath.Base(os.Args[0])
			want := fmt.Sprintf("%d restarts, setting %d, arguments %q, %s\n", c.restarts, c.setting, []string{c.mode, "second argument"}, name[:min(15, len(name))])
			if got := run(c.kernel, c.mode); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
