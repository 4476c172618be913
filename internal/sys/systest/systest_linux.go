//go:build linux

// Package systest has what tests of several packages want to know from the kernel,
// or want it to refuse.
package systest

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// HugeBytes returns how much of the mappings that b is in is in huge pages, by
// /proc/self/smaps.
func HugeBytes(t *testing.T, b []byte) (n int) {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	from := uintptr(unsafe.Pointer(&b[0]))
	inside := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var low, high uintptr
		var kib int
		if k, _ := fmt.Sscanf(lines.Text(), "%x-%x", &low, &high); k == 2 && strings.Contains(lines.Text(), "-") {
			inside = low < from+uintptr(len(b)) && high > from
		} else if k, _ := fmt.Sscanf(lines.Text(), "AnonHugePages: %d kB", &kib); k == 1 && inside {
			n += kib << 10
		}
	}
	return n
}

// Confine puts a filter on what this thread asks of the kernel. The goroutine must
// be locked to its thread and stay so. Emulators have no seccomp.
func Confine(filter []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
}
