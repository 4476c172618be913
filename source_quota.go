package main

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/siphash"
)

// This file owns the count of what each source has stored: an IPv4 address or
// an IPv6 /64, the smallest network that a host can be given. It bounds how
// much of the tracker one host can take.

const quotaWidth = 1024

// sourceQuota counts the stored peers of all sources in two rows of counters. A
// source has at most as many as the smaller of its two counters says. Nothing
// is ever evicted, and a stranger that shares one counter with a greedy source
// still has the other: both coincide for one source in a million.
type sourceQuota struct {
	hash siphash.Key
	max  uint32 // peers a source may have
	rows [2][quotaWidth]atomic.Uint32
}

// sourceOf is what a peer's share is counted by.
func sourceOf[K peerKey](key *K) uint64 {
	b := unsafe.Slice((*byte)(unsafe.Pointer(key)), len(*key))
	if isV6[K]() {
		return binary.BigEndian.Uint64(b)
	}
	// No IPv6 /64 that a packet can come from is this small a number.
	return uint64(binary.BigEndian.Uint32(b))
}

func (s *sourceQuota) counters(source uint64) (a, b *atomic.Uint32) {
	var buf [8]byte
	binary.LittleEndian.PutUint64(buf[:], source)
	h := s.hash.Sum(buf[:])
	return &s.rows[0][h%quotaWidth], &s.rows[1][h>>32%quotaWidth]
}

// allows says whether source may have another peer stored.
func (s *sourceQuota) allows(source uint64) bool {
	a, b := s.counters(source)
	return min(a.Load(), b.Load()) < s.max
}

// add notes that a peer of source came (1) or went (-1).
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
