//go:build !amd64 && !arm64

package main

import "unsafe"

const foresees = false

func prefetch(unsafe.Pointer, uintptr) {}
