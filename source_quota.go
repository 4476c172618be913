package main

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/siphash"
)

// This file limits how much of the store one source may use. A source is an IPv4
// address or an IPv6 /64, the smallest network that a host is given.

const quotaWidth = 1024

// sourceQuota counts the stored peers of all sources. It is a count-min sketch
// with two rows: a source has at most as many peers as the smaller of its two
// counters. Nothing is evicted. A source that shares one counter with a greedy
// source still has its other counter; only one source in a million shares both.
type sourceQuota struct {
	hash siphash.Key
	max  uint32 // peers that a source may have
	rows [2][quotaWidth]atomic.Uint32
}

// sourceOf returns the source of a peer as a number.
func sourceOf[K peerKey](key *K) uint64 {
	b := unsafe.Slice((*byte)(unsafe.Pointer(key)), len(*key))
	if isV6[K]() {
		return binary.BigEndian.Uint64(b)
	}
	// No packet comes from an IPv6 /64 that is as small a number as this.
	return uint64(binary.BigEndian.Uint32(b))
}

func (s *sourceQuota) counters(source uint64) (a, b *atomic.Uint32) {
	var buf [8]byte
	binary.LittleEndian.PutUint64(buf[:], source)
	h := s.hash.Sum(buf[:])
	return &s.rows[0][h%quotaWidth], &s.rows[1][h>>32%quotaWidth]
}

// allows reports whether source may store another peer.
func (s *sourceQuota) allows(source uint64) bool {
	a, b := s.counters(source)
	return min(a.Load(), b.Load()) < s.max
}

// add counts a peer that was stored (1) or removed (-1).
func (s *sourceQuota) add(source uint64, n int32) {
	a, b := s.counters(source)
	a.Add(uint32(n))
	b.Add(uint32(n))
}

// sources returns how many sources have stored peers, counted up to 3. Sources
// that share a counter count once.
func (s *sourceQuota) sources() (n int) {
	for i := range s.rows[0] {
		if s.rows[0][i].Load() != 0 {
			if n++; n == 3 {
				break
			}
		}
	}
	return n
}
