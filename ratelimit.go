package main

import (
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/siphash"
)

// This file has rate limits in tables of fixed size: how often an event may
// happen for a key in a window of time. Each table hashes keys with a secret,
// so that an attacker cannot choose which keys collide.

// limitWays is how many keys share a row of 64 bytes.
const limitWays = 5

type limitEntry struct {
	tag   uint32  // the rest of the key's hash
	start seconds // of the window
	count uint32  // 0: the entry is free
}

type limitRow struct {
	entries [limitWays]limitEntry
	_       uint32
}

const limitRowBytes = 64

var _ [limitRowBytes]byte = [unsafe.Sizeof(limitRow{})]byte{}

// limiter allows each key limit events in a window that begins with the first.
// It belongs to one worker.
//
// A full row forgets the key with the fewest events, and of those the oldest. A
// forgotten key starts again at zero, so that a flood of spoofed sources, with
// an event or two each, locks no one out and does not free the greedy.
type limiter struct {
	rows   []limitRow
	hash   siphash.Key
	limit  uint32 // 0: none
	window seconds
}

// newLimiter makes a limiter of at most that many bytes, 64 at the least.
func newLimiter(bytes int, limit uint32, window seconds, key siphash.Key) *limiter {
	n := 1
	for n*2*limitRowBytes <= bytes {
		n *= 2
	}
	if limit == 0 {
		n = 1
	}
	return &limiter{rows: make([]limitRow, n), hash: key, limit: limit, window: window}
}

// allow counts an event of key and reports whether it is within the limit.
func (l *limiter) allow(key []byte, now seconds) bool {
	return l.allowUpTo(key, l.limit, now)
}

// allowUpTo is allow with another limit for this key.
func (l *limiter) allowUpTo(key []byte, limit uint32, now seconds) bool {
	if l.limit == 0 {
		return true
	}
	h := l.hash.Sum(key)
	row := &l.rows[uint32(h)&uint32(len(l.rows)-1)]
	tag := uint32(h >> 32)
	victim := &row.entries[0]
	for i := range row.entries {
		e := &row.entries[i]
		if e.count != 0 && now-e.start >= l.window {
			e.count = 0
		}
		if e.count != 0 && e.tag == tag {
			if e.count >= limit {
				return false
			}
			e.count++
			return true
		}
		if e.count < victim.count || e.count == victim.count && e.start < victim.start {
			victim = e
		}
	}
	*victim = limitEntry{tag: tag, start: now, count: 1}
	return true
}
