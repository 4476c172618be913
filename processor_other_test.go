//go:build !linux

package main

import "testing"

// onEachProcessor calls f once: which processor it is on can't be had.
func onEachProcessor(_ testing.TB, f func()) { f() }
