// Package siphash has SipHash-1-3, the keyed hash of all tables. Strangers choose
// info hashes, addresses and ports. Without the key they cannot choose where
// these are stored. It is written by hand, because the standard library
// does not export SipHash.
package siphash

import (
	"encoding/binary"
	"math/bits"
)

// Key is a 128-bit SipHash key. Each table has one of its own.
type Key struct{ k0, k1 uint64 }

// NewKey reads a key from the first 16 bytes of seed.
func NewKey(seed []byte) Key {
	return Key{k0: binary.LittleEndian.Uint64(seed), k1: binary.LittleEndian.Uint64(seed[8:16])}
}

// Sum returns SipHash-1-3 of b.
func (k Key) Sum(b []byte) uint64 {
	v0 := k.k0 ^ 0x736f6d6570736575
	v1 := k.k1 ^ 0x646f72616e646f6d
	v2 := k.k0 ^ 0x6c7967656e657261
	v3 := k.k1 ^ 0x7465646279746573
	last := uint64(len(b)) << 56

	for len(b) >= 8 {
		m := binary.LittleEndian.Uint64(b)
		v3 ^= m
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0 ^= m
		b = b[8:]
	}
	if len(b) >= 4 {
		last |= uint64(binary.LittleEndian.Uint32(b))
		for i, c := range b[4:] {
			last |= uint64(c) << (8 * (4 + uint(i)))
		}
	} else {
		for i, c := range b {
			last |= uint64(c) << (8 * uint(i))
		}
	}
	v3 ^= last
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0 ^= last

	v2 ^= 0xff
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	return v0 ^ v1 ^ v2 ^ v3
}

func sipRound(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	v0 += v1
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v0 = bits.RotateLeft64(v0, 32)
	v2 += v3
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 += v3
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v2 += v1
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v2 = bits.RotateLeft64(v2, 32)
	return v0, v1, v2, v3
}
