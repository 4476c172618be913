//go:build linux && !portable

package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// PageSize is the granularity of discard in bytes.
var PageSize = os.Getpagesize()

// Reserve maps n bytes of zeroed memory outside the Go heap. They become
// resident as they are touched. Huge pages are declined: the first byte of one
// would make two megabytes resident.
func Reserve(n int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil, err
	}
	_ = unix.Madvise(b, unix.MADV_NOHUGEPAGE) // a kernel without huge pages refuses
	return b, nil
}

// Release undoes reserve.
func Release(b []byte) { _ = unix.Munmap(b) }

// HugePage is the size of a huge page in bytes where system pages have 4 KiB.
const HugePage = 2 << 20

// CollapseHuge makes one huge page of b, which is one in size and alignment and
// wholly resident, so that nothing becomes resident for it. It says whether
// the system could.
func CollapseHuge(b []byte) bool {
	const collapse = 25 // MADV_COLLAPSE, Linux 6.1
	return unix.Madvise(b, unix.MADV_HUGEPAGE) == nil && unix.Madvise(b, collapse) == nil
}

// SplitHuge undoes enlarge for what becomes resident from now on.
func SplitHuge(b []byte) { _ = unix.Madvise(b, unix.MADV_NOHUGEPAGE) }

// Discard gives the memory of b, whole system pages, back to the system. It
// reads as zeroes afterwards.
func Discard(b []byte) { _ = unix.Madvise(b, unix.MADV_DONTNEED) }
