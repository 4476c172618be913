//go:build amd64 || arm64

package prefetch

import "unsafe"

// Enabled says whether it pays to tell the processor what is read next. Small
// ones have nothing to do while they wait, and their flash is dear.
const Enabled = true

// Lines has the processor fetch the cache lines of n bytes from p on, while
// it goes on. What isn't memory of ours is ignored.
//
//go:noescape
func Lines(p unsafe.Pointer, n uintptr)
