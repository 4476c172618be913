package main

import "sync/atomic"

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

// peerAlarm rings if workers have stored many new peers.
type peerAlarm struct {
	alarm
	limit atomic.Uint64 // so many new peers of one worker ring; 0: never
}

// check rings if a worker has stored limit peers, or had no room for them, since
// its last ring. last is their number at that time.
func (a *peerAlarm) check(c *counters, last *uint64) {
	limit := a.limit.Load()
	if limit == 0 {
		return
	}
	if n := c.verdicts[announcedNew].datagrams + c.verdicts[announcedFull].datagrams; n-*last >= limit {
		*last = n
		a.ring()
	}
}
