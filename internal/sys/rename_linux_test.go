//go:build linux && !portable

package sys

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/sys/systest"
	"golang.org/x/sys/unix"
)

// withoutCall refuses a system call to this thread from now on, as a kernel does
// that does not have it. The goroutine must be locked to its thread and stay so:
// the thread then ends with it.
func withoutCall(number uint32) error {
	const call = 0 // where struct seccomp_data has the number
	return systest.Confine([]unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: call},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: number, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	})
}

// TestAtomicFileOnOldKernels checks that the file is replaced before Linux
// 3.15, which has no renameat2. riscv64 and loong64 never had another call.
func TestAtomicFileOnOldKernels(t *testing.T) {
	if runtime.GOARCH == "riscv64" || runtime.GOARCH == "loong64" {
		return
	}
	path := filepath.Join(t.TempDir(), "a.prom")
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // to the end of the thread: see withoutCall
		if err := withoutCall(unix.SYS_RENAMEAT2); err != nil {
			t.Logf("no seccomp here (%v, as under emulation): only what comes after is tested", err)
		}
		file := NewAtomicFile(path)
		err := file.Write([]byte("first"))
		if err == nil {
			err = file.Write([]byte("second"))
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("Write: got %v, want no error", err)
	}
	if got, err := os.ReadFile(path); string(got) != "second" || err != nil {
		t.Errorf("the file has %q, %v; want %q", got, err, "second")
	}
	if _, err := os.Lstat(path + ".new"); err == nil {
		t.Error("the temporary file is left")
	}
}
