package main

import (
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/siphash"
)

// This file has rate limits in tables of fixed size. A limit counts the events of
// a key within a window of time. Each table hashes with its own secret key, so
// that an attacker cannot choose which client it collides with.

// limitWays is the number of keys in a row of 64 bytes.
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
// A full row forgets the key with the fewest events. If there are several, it
// forgets the oldest. A forgotten key starts again at zero. So a flood of spoofed
// sources with one or two events each blocks no client, and does not reset the
// count of a client that sends too much.
type limiter struct {
	rows   []limitRow
	hash   siphash.Key
	limit  uint32 // 0: none
	window seconds
}

// newLimiter makes a limiter of at most this number of bytes, and at least 64.
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
