//go:build amd64 || arm64

package prefetch

import "unsafe"

// Enabled reports whether prefetching makes the tracker faster. Small
// processors have nothing else to do while they wait, and their boards have
// little flash.
const Enabled = true

// Lines has the processor fetch the cache lines of n bytes from p on, while
// it goes on. What isn't memory of ours is ignored.
//
//go:noescape
func Lines(p unsafe.Pointer, n uintptr)
