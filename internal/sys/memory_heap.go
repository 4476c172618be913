//go:build linux && !portable && (race || heapslab)

package sys

import "os"

// With the race detector, and with the build tag heapslab, the memory of Reserve
// is in the Go heap. The race detector ignores mapped memory, and the check of
// unsafe pointers knows only the heap.

// PageSize is the granularity of Discard in bytes.
var PageSize = os.Getpagesize()

// Reserve returns n bytes of zeroed memory of the Go heap, at the beginning of a
// system page.
func Reserve(n int) ([]byte, error) { return make([]byte, max(n, 64<<10))[:n], nil }

// Release leaves b to the garbage collector.
func Release([]byte) {}

// HugePage is the size of a huge page in bytes, if system pages have 4 KiB.
const HugePage = 2 << 20

// CollapseHuge is not possible in the Go heap.
func CollapseHuge([]byte) bool { return false }

// SplitHuge does nothing, because there are no huge pages.
func SplitHuge([]byte) {}

// Discard clears b, which the race detector sees as a write.
func Discard(b []byte) { clear(b) }
