//go:build !linux || portable

package main

// systemPage is the granularity of discard in bytes.
var systemPage = 4096

// reserve returns n bytes of zeroed memory, resident as they are touched where
// the system maps large allocations lazily.
func reserve(n int) ([]byte, error) { return make([]byte, n), nil }

// unreserve leaves b to the collector.
func unreserve([]byte) {}

// hugePage is the size of a huge page in bytes.
const hugePage = 2 << 20

// enlarge would make one huge page of b; here it cannot.
func enlarge([]byte) bool { return false }

// reduce undoes enlarge.
func reduce([]byte) {}

// discard does nothing: the heap cannot give back the middle of an allocation.
func discard([]byte) {}
