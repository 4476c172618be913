//go:build !linux || portable

package sys

// PageSize is the granularity of discard in bytes.
var PageSize = 4096

// Reserve returns n bytes of zeroed memory, resident as they are touched where
// the system maps large allocations lazily.
func Reserve(n int) ([]byte, error) { return make([]byte, n), nil }

// Release leaves b to the collector.
func Release([]byte) {}

// HugePage is the size of a huge page in bytes.
const HugePage = 2 << 20

// CollapseHuge would make one huge page of b; here it cannot.
func CollapseHuge([]byte) bool { return false }

// SplitHuge undoes enlarge.
func SplitHuge([]byte) {}

// Discard does nothing: the heap cannot give back the middle of an allocation.
func Discard([]byte) {}
