//go:build linux && !portable

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// systemPage is the granularity of discard in bytes.
var systemPage = os.Getpagesize()

// reserve maps n bytes of zeroed memory outside the Go heap. They become
// resident as they are touched. Huge pages are declined: the first byte of one
// would make two megabytes resident.
func reserve(n int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil, err
	}
	_ = unix.Madvise(b, unix.MADV_NOHUGEPAGE) // a kernel without huge pages refuses
	return b, nil
}

// unreserve undoes reserve.
func unreserve(b []byte) { _ = unix.Munmap(b) }

// hugePage is the size of a huge page in bytes where system pages have 4 KiB.
const hugePage = 2 << 20

// enlarge makes one huge page of b, which is one in size and alignment and
// wholly resident, so that nothing becomes resident for it. It says whether
// the system could.
func enlarge(b []byte) bool {
	const collapse = 25 // MADV_COLLAPSE, Linux 6.1
	return unix.Madvise(b, unix.MADV_HUGEPAGE) == nil && unix.Madvise(b, collapse) == nil
}

// reduce undoes enlarge for what becomes resident from now on.
func reduce(b []byte) { _ = unix.Madvise(b, unix.MADV_NOHUGEPAGE) }

// discard gives the memory of b, whole system pages, back to the system. It
// reads as zeroes afterwards.
func discard(b []byte) { _ = unix.Madvise(b, unix.MADV_DONTNEED) }
