//go:build 386 || arm || mips || mipsle || mips64 || mips64le

package hmac256

import (
	"encoding/binary"
	"math/bits"
)

// This file has HMAC-SHA256 (RFC 2104, FIPS 180-4) for processors on which the
// standard library has no assembly for it. There crypto/hmac would cost 40 KB of
// flash, because self-tests and other ciphers come with it, and a fifth more
// time.

// MAC signs with one key.
type MAC struct{ inner, outer sha256State }

type sha256State [8]uint32

func New(key []byte) *MAC {
	if len(key) > 64 {
		sum := sha256Start.finish(0, key)
		key = sum[:]
	}
	h := &MAC{inner: sha256Start, outer: sha256Start}
	var pad [64]byte
	for i := range pad {
		pad[i] = 0x36
	}
	for i, b := range key {
		pad[i] ^= b
	}
	h.inner.compress(&pad)
	for i := range pad {
		pad[i] ^= 0x36 ^ 0x5c
	}
	h.outer.compress(&pad)
	return h
}

// sum is the signature of message.
func (h *MAC) Sum(message []byte) [32]byte {
	digest := h.inner.finish(64, message)
	return h.outer.finish(64, digest[:])
}

// finish is the digest of message, after as many bytes as went into s before.
func (s sha256State) finish(before int, message []byte) (digest [32]byte) {
	length := 8 * (uint64(before) + uint64(len(message)))
	for ; len(message) >= 64; message = message[64:] {
		s.compress((*[64]byte)(message))
	}
	var block [64]byte
	block[copy(block[:], message)] = 0x80
	if len(message) >= 56 { // no room for the length
		s.compress(&block)
		block = [64]byte{}
	}
	binary.BigEndian.PutUint64(block[56:], length)
	s.compress(&block)
	for i, v := range s {
		binary.BigEndian.PutUint32(digest[4*i:], v)
	}
	return digest
}

// compress works a block into s.
func (s *sha256State) compress(block *[64]byte) {
	var w [64]uint32
	for i := 0; i < 16; i++ {
		w[i] = binary.BigEndian.Uint32(block[4*i:])
	}
	for i := 16; i < 64; i++ {
		v := (*[17]uint32)(w[i-16:])
		x, y := v[1], v[14]
		v[16] = v[0] + v[9] +
			(bits.RotateLeft32(x, -7) ^ bits.RotateLeft32(x, -18) ^ x>>3) +
			(bits.RotateLeft32(y, -17) ^ bits.RotateLeft32(y, -19) ^ y>>10)
	}
	a, b, c, d, e, f, g, h := s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]
	// Eight rounds at a time: the letters take turns instead of moving on.
	for i := 0; i < 64; i += 8 {
		k, m := (*[8]uint32)(sha256Round[i:]), (*[8]uint32)(w[i:])
		h += upper1(e) + (g ^ e&(f^g)) + k[0] + m[0]
		d += h
		h += upper0(a) + (a&b ^ c&(a^b))
		g += upper1(d) + (f ^ d&(e^f)) + k[1] + m[1]
		c += g
		g += upper0(h) + (h&a ^ b&(h^a))
		f += upper1(c) + (e ^ c&(d^e)) + k[2] + m[2]
		b += f
		f += upper0(g) + (g&h ^ a&(g^h))
		e += upper1(b) + (d ^ b&(c^d)) + k[3] + m[3]
		a += e
		e += upper0(f) + (f&g ^ h&(f^g))
		d += upper1(a) + (c ^ a&(b^c)) + k[4] + m[4]
		h += d
		d += upper0(e) + (e&f ^ g&(e^f))
		c += upper1(h) + (b ^ h&(a^b)) + k[5] + m[5]
		g += c
		c += upper0(d) + (d&e ^ f&(d^e))
		b += upper1(g) + (a ^ g&(h^a)) + k[6] + m[6]
		f += b
		b += upper0(c) + (c&d ^ e&(c^d))
		a += upper1(f) + (h ^ f&(g^h)) + k[7] + m[7]
		e += a
		a += upper0(b) + (b&c ^ d&(b^c))
	}
	s[0], s[1], s[2], s[3] = s[0]+a, s[1]+b, s[2]+c, s[3]+d
	s[4], s[5], s[6], s[7] = s[4]+e, s[5]+f, s[6]+g, s[7]+h
}

// The two sums of FIPS 180-4 that have capital letters there.

func upper0(x uint32) uint32 {
	return bits.RotateLeft32(x, -2) ^ bits.RotateLeft32(x, -13) ^ bits.RotateLeft32(x, -22)
}

func upper1(x uint32) uint32 {
	return bits.RotateLeft32(x, -6) ^ bits.RotateLeft32(x, -11) ^ bits.RotateLeft32(x, -25)
}

// The fractions of the square roots of the first eight primes, and of the cube
// roots of the first 64.
var (
	sha256Start = sha256State{
		0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
	}
	sha256Round = [64]uint32{
		0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
		0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
		0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
		0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
		0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
		0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
		0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
		0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
	}
)
