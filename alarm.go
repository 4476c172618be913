package main

import "sync/atomic"

// This file has the alarms that wake the maintenance loop early.

// alarm wakes the maintenance loop. The next tick follows within a second. A nil
// alarm does nothing.
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
	limit atomic.Uint64 // number of new peers of one worker that rings; 0: never
}

// check rings if a worker has seen limit new peers since its last ring, stored or
// not. last is their number at that time.
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
