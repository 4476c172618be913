package main

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/siphash"
)

// This file limits how much of the store one source may use. A source is an IPv4
// address or an IPv6 /64, the smallest network that a host is given.

const (
	quotaRows  = 4
	quotaWidth = 512

	// quotaGranule is the unit of the counters, in bytes.
	quotaGranule = 32
	// What a peer counts as, in granules. The torrents of one source never take
	// more than their peers count as. The most for IPv4 is a torrent with one
	// peer: a record. The most for IPv6 is a torrent with a leecher and a seeder:
	// a record and two leaves, for two peers.
	peerCost4 = 64 / quotaGranule
	peerCost6 = 96 / quotaGranule
)

// sourceQuota counts what the stored peers of each source take. It is a count-min
// sketch: a source takes at most as much as the smallest of its counters. Nothing
// is evicted. A source is refused only if a greedy source shares each of its
// counters.
type sourceQuota struct {
	hash siphash.Key
	max  uint32 // granules that a source may take
	rows [quotaRows][quotaWidth]atomic.Uint32
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

// peerCost returns what a peer counts as, in granules.
func peerCost[K peerKey]() uint32 {
	if isV6[K]() {
		return peerCost6
	}
	return peerCost4
}

// hashOf returns a hash of source with 16 bits for each row.
func (s *sourceQuota) hashOf(source uint64) uint64 {
	var buf [8]byte
	binary.LittleEndian.PutUint64(buf[:], source)
	return s.hash.Sum(buf[:])
}

// allows reports whether source may store another peer that counts as cost.
func (s *sourceQuota) allows(source uint64, cost uint32) bool {
	h := s.hashOf(source)
	for i := range s.rows {
		if s.rows[i][h%quotaWidth].Load()+cost <= s.max {
			return true
		}
		h >>= 16
	}
	return false
}

// add counts a peer that was stored. cost is negative for a peer that was
// removed.
func (s *sourceQuota) add(source uint64, cost int32) {
	h := s.hashOf(source)
	for i := range s.rows {
		s.rows[i][h%quotaWidth].Add(uint32(cost))
		h >>= 16
	}
}

// allowsPeer reports whether the source of key may store another peer.
func allowsPeer[K peerKey](s *sourceQuota, key *K) bool {
	return s.allows(sourceOf(key), peerCost[K]())
}

// addPeerTo counts a stored peer, and removePeerFrom a removed peer.
func addPeerTo[K peerKey](s *sourceQuota, key *K) { s.add(sourceOf(key), int32(peerCost[K]())) }

func removePeerFrom[K peerKey](s *sourceQuota, key *K) { s.add(sourceOf(key), -int32(peerCost[K]())) }

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
