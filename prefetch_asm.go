//go:build amd64 || arm64

package main

import "unsafe"

// foresees says whether it pays to tell the processor what is read next. Small
// ones have nothing to do while they wait, and their flash is dear.
const foresees = true

// prefetch has the processor fetch the cache lines of n bytes from p on, while
// it goes on. What isn't memory of ours is ignored.
//
//go:noescape
func prefetch(p unsafe.Pointer, n uintptr)
