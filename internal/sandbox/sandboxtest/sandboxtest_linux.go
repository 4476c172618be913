//go:build linux && !portable

// Package sandboxtest tries from inside a sandbox what the sandbox must refuse.
package sandboxtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/fabricionaweb/pico-tracker/internal/sandbox"
)

// attempt is something that an attacker would try.
type attempt struct {
	name string
	part sandbox.Part // that must refuse it
	try  func() error
	want unix.Errno
}

// attempts returns what is tried. in is what is in force.
func attempts(in sandbox.Part) []attempt {
	raw := func(nr, a, b, c uintptr) func() error {
		return func() error {
			_, _, errno := unix.RawSyscall6(nr, a, b, c, 0, 0, 0)
			if errno == 0 {
				return nil
			}
			return errno
		}
	}
	socket := func(family, kind int) func() error {
		return func() error {
			fd, err := unix.Socket(family, kind, 0)
			if err == nil {
				unix.Close(fd)
			}
			return err
		}
	}
	open := func(path string, flags int) func() error {
		return func() error {
			fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o600)
			if err == nil {
				unix.Close(fd)
			}
			return err
		}
	}
	const calls, files = sandbox.SystemCalls, sandbox.Files
	list := []attempt{
		{"execve", calls, func() error { return unix.Exec("/bin/true", []string{"true"}, nil) }, unix.ENOSYS},
		{"ptrace", calls, raw(unix.SYS_PTRACE, unix.PTRACE_TRACEME, 0, 0), unix.ENOSYS},
		{"bpf", calls, raw(unix.SYS_BPF, 0, 0, 0), unix.ENOSYS},
		{"io_uring", calls, raw(unix.SYS_IO_URING_SETUP, 0, 0, 0), unix.ENOSYS},
		{"unshare", calls, raw(unix.SYS_UNSHARE, unix.CLONE_NEWUSER, 0, 0), unix.ENOSYS},
		{"mount", calls, raw(unix.SYS_MOUNT, 0, 0, 0), unix.ENOSYS},
		{"connect", calls, raw(unix.SYS_CONNECT, 0, 0, 0), unix.ENOSYS},
		{"listen", calls, raw(unix.SYS_LISTEN, 0, 0, 0), unix.ENOSYS},
		{"another filter", calls, raw(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, 0), unix.ENOSYS},
		{"clone3", calls, raw(unix.SYS_CLONE3, 0, 0, 0), unix.ENOSYS},
		{"a process", calls, raw(unix.SYS_CLONE, uintptr(unix.SIGCHLD), uintptr(unix.SIGCHLD), 0), unix.EPERM},
		{"a signal to another process", calls, func() error { return unix.Kill(unix.Getppid(), 0) }, unix.EPERM},
		{"code in memory", calls, func() error {
			b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ, unix.MAP_ANON|unix.MAP_PRIVATE)
			if err != nil {
				return fmt.Errorf("mmap: %w", err)
			}
			defer func() { _ = unix.Munmap(b) }()
			return unix.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC)
		}, unix.EPERM},
		{"ioctl of a terminal", calls, func() error { _, err := unix.IoctlGetTermios(0, unix.TCGETS); return err }, unix.EPERM},
		{"/etc/passwd", files, open("/etc/passwd", unix.O_RDONLY), unix.EACCES},
		{"/proc/self/mem", files, open("/proc/self/mem", unix.O_RDWR), unix.EACCES},
		{"a directory", files, open("/", unix.O_RDONLY|unix.O_DIRECTORY), unix.EACCES},
		{"a new file", files, open("/tmp/pico-tracker-forbidden", unix.O_WRONLY|unix.O_CREAT), unix.EACCES},
	}
	if runtime.GOARCH != "s390x" { // its filter does not see this argument
		list = append(list, attempt{"new code in memory", calls, func() error {
			_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
			return err
		}, unix.EPERM})
	}
	if runtime.GOARCH != "s390x" && runtime.GOARCH != "386" { // the same
		list = append(list,
			attempt{"socket of packets", calls, socket(unix.AF_PACKET, unix.SOCK_DGRAM), unix.EPERM},
			attempt{"raw socket", calls, socket(unix.AF_INET, unix.SOCK_RAW), unix.EPERM},
			attempt{"TCP socket", calls, socket(unix.AF_INET6, unix.SOCK_STREAM), unix.EPERM},
			attempt{"local socket", calls, socket(unix.AF_UNIX, unix.SOCK_DGRAM), unix.EPERM})
	}
	if in&calls != 0 {
		return list
	}
	for i := len(list) - 1; i >= 0; i-- { // some would end or change the process
		if list[i].part == calls {
			list = append(list[:i], list[i+1:]...)
		}
	}
	return list
}

// Try tries everything from several threads, and returns what the sandbox did not
// refuse. in is what must be in force.
func Try(in sandbox.Part) error {
	const threads = 4
	var wg, ready sync.WaitGroup
	problems := make([]error, threads)
	ready.Add(threads)
	for i := range threads {
		wg.Add(1)
		go func() {
			defer wg.Done()
			runtime.LockOSThread()
			ready.Done()
			ready.Wait() // all have threads of their own
			problems[i] = tryAll(in)
		}()
	}
	wg.Wait()
	return errors.Join(problems...)
}

func tryAll(in sandbox.Part) error {
	var problems []error
	for _, a := range attempts(in) {
		if in&a.part == 0 {
			continue
		}
		err := a.try()
		if a.want == unix.EACCES && err == unix.EPERM {
			continue // the filter refuses it, because the process writes no files
		}
		if !errors.Is(err, a.want) {
			problems = append(problems, fmt.Errorf("%s: got error %v, want %v", a.name, err, a.want))
		}
	}
	if in&sandbox.Capabilities != 0 {
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var has [2]unix.CapUserData
		if err := unix.Capget(&head, &has[0]); in&sandbox.SystemCalls == 0 && (err != nil || has != [2]unix.CapUserData{}) {
			problems = append(problems, fmt.Errorf("capabilities: %+v, %v", has, err))
		}
	}
	return errors.Join(problems...)
}

// Threads returns the lines of /proc/PID/task/TID/status that begin with name, of
// all threads, each once.
func Threads(pid int, name string) (values []string, err error) {
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // this thread has ended
		}
		for _, line := range strings.Split(string(b), "\n") {
			if v, ok := strings.CutPrefix(line, name+":"); ok {
				if v = strings.TrimSpace(v); !contains(values, v) {
					values = append(values, v)
				}
			}
		}
	}
	return values, nil
}

func contains(all []string, s string) bool {
	for _, other := range all {
		if s == other {
			return true
		}
	}
	return false
}

// Check compares the state of all threads of a process with what must be in
// force.
func Check(pid int, in sandbox.Part) error {
	var problems []error
	for _, c := range []struct {
		part       sandbox.Part
		name, want string
	}{
		{sandbox.SystemCalls | sandbox.Files, "NoNewPrivs", "1"},
		{sandbox.SystemCalls, "Seccomp", "2"},
		{sandbox.Capabilities, "CapPrm", strings.Repeat("0", 16)},
		{sandbox.Capabilities, "CapEff", strings.Repeat("0", 16)},
		{sandbox.Capabilities, "CapInh", strings.Repeat("0", 16)},
		{sandbox.Capabilities, "CapAmb", strings.Repeat("0", 16)},
	} {
		if in&c.part == 0 {
			continue
		}
		got, err := Threads(pid, c.name)
		if err != nil || len(got) != 1 || got[0] != c.want {
			problems = append(problems, fmt.Errorf("%s of all threads: got %q, %v, want %q", c.name, got, err, c.want))
		}
	}
	return errors.Join(problems...)
}
