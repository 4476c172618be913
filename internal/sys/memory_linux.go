//go:build linux && !portable && !race && !heapslab

package sys

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// PageSize is the granularity of Discard in bytes.
var PageSize = os.Getpagesize()

// Reserve maps n bytes of zeroed memory outside the Go heap. They become
// resident when they are used. Huge pages are declined, because the first byte
// of a huge page would make two megabytes resident.
func Reserve(n int) ([]byte, error) {
	p, err := unix.MmapPtr(-1, 0, nil, uintptr(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil, err
	}
	b := unsafe.Slice((*byte)(p), n)
	_ = unix.Madvise(b, unix.MADV_NOHUGEPAGE) // fails on a kernel without huge pages
	return b, nil
}

// Release unmaps memory of Reserve.
func Release(b []byte) { _ = unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b))) }

// HugePage is the size of a huge page in bytes, if system pages have 4 KiB.
const HugePage = 2 << 20

// CollapseHuge makes one huge page of b. b must have the size and the alignment
// of a huge page and must be resident, so no more memory becomes resident. It
// reports whether the system could do it.
func CollapseHuge(b []byte) bool {
	const collapse = 25 // MADV_COLLAPSE, Linux 6.1
	return unix.Madvise(b, unix.MADV_HUGEPAGE) == nil && unix.Madvise(b, collapse) == nil
}

// SplitHuge declines huge pages for b again.
func SplitHuge(b []byte) { _ = unix.Madvise(b, unix.MADV_NOHUGEPAGE) }

// Discard returns the memory of b to the system. b must be whole system pages.
// It reads as zeros afterwards.
func Discard(b []byte) { _ = unix.Madvise(b, unix.MADV_DONTNEED) }
