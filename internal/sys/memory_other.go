//go:build !linux || portable

package sys

// PageSize is the granularity of Discard in bytes.
var PageSize = 4096

// Reserve returns n bytes of zeroed memory. On most systems they become
// resident when they are used.
func Reserve(n int) ([]byte, error) { return make([]byte, n), nil }

// Release leaves b to the garbage collector.
func Release([]byte) {}

// HugePage is the size of a huge page in bytes.
const HugePage = 2 << 20

// CollapseHuge is not supported here.
func CollapseHuge([]byte) bool { return false }

// SplitHuge is not supported here.
func SplitHuge([]byte) {}

// Discard does nothing: the heap cannot give back the middle of an allocation.
func Discard([]byte) {}
