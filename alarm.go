package main

// This file has what wakes the maintenance loop before something is due by time.

// alarm wakes the maintenance loop, which then does within a second what is due.
// A nil alarm wakes nobody.
type alarm chan struct{}

// ring wakes the loop. It never blocks.
func (a alarm) ring() {
	select {
	case a <- struct{}{}:
	default:
	}
}
