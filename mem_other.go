//go:build !linux || portable

package main

// systemPage is the granularity of discard in bytes.
var systemPage = 4096

// reserve returns n bytes of zeroed memory, resident as they are touched where
// the system maps large allocations lazily.
func reserve(n int) ([]byte, error) { return make([]byte, n), nil }

// unreserve leaves b to the collector.
func unreserve([]byte) {}

// discard does nothing: the heap cannot give back the middle of an allocation.
func discard([]byte) {}
