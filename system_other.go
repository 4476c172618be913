//go:build !linux || portable

package main

// memoryLimit is how many bytes the process may use; here it is unknown.
func memoryLimit() uint64 { return 0 }
