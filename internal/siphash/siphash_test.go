package siphash

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"testing"
)

// naiveSipHash is SipHash with that many rounds for a word and at the end, as
// its paper describes it.
func naiveSipHash(rounds, final int, key, b []byte) uint64 {
	k0, k1 := binary.LittleEndian.Uint64(key), binary.LittleEndian.Uint64(key[8:])
	v := [4]uint64{k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573}
	mix := func(n int) {
		for ; n > 0; n-- {
			for _, half := range [2][2]int{{0, 2}, {2, 0}} {
				x, y := half[0], half[1]
				shifts := [2]int{13, 16}
				if x == 2 {
					shifts = [2]int{17, 21}
				}
				v[x] += v[1]
				v[1] = bits.RotateLeft64(v[1], shifts[0]) ^ v[x]
				v[x] = bits.RotateLeft64(v[x], 32)
				v[y] += v[3]
				v[3] = bits.RotateLeft64(v[3], shifts[1]) ^ v[y]
			}
		}
	}
	padded := append(bytes.Clone(b), make([]byte, 7-len(b)%8)...)
	padded = append(padded, byte(len(b)))
	for ; len(padded) > 0; padded = padded[8:] {
		m := binary.LittleEndian.Uint64(padded)
		v[3] ^= m
		mix(rounds)
		v[0] ^= m
	}
	v[2] ^= 0xff
	mix(final)
	return v[0] ^ v[1] ^ v[2] ^ v[3]
}

// TestHash compares with SipHash as its paper has it, which the paper's vector
// for 2-4 pins.
func TestHash(t *testing.T) {
	key := make([]byte, 16)
	for i := range key {
		key[i] = byte(i)
	}
	if got := naiveSipHash(2, 4, key, key[:15]); got != 0xa129ca6149be45e5 {
		t.Fatalf("SipHash-2-4: %#x", got)
	}
	k := NewKey(key)
	for n := 0; n < 64; n++ {
		b := bytes.Repeat([]byte{byte(3 * n), 0xfe}, n)[:n]
		if got, want := k.Sum(b), naiveSipHash(1, 3, key, b); got != want {
			t.Errorf("%d bytes: %#x, want %#x", n, got, want)
		}
	}
	var in []byte
	got := make([]uint64, 0, 8)
	for i := 0; i < 24; i++ {
		got = append(got, k.Sum(in))
		in = append(in, byte(i))
	}
	slices.Sort(got)
	if len(slices.Compact(got)) != 24 {
		t.Error("two lengths have the same sum")
	}
	// Every bit of the input changes about half of the output.
	base := make([]byte, 20)
	want := k.Sum(base)
	for bit := 0; bit < 160; bit++ {
		base[bit/8] ^= 1 << (bit % 8)
		if n := bits.OnesCount64(k.Sum(base) ^ want); n < 10 || n > 54 {
			t.Errorf("bit %d changes %d bits of the sum", bit, n)
		}
		base[bit/8] ^= 1 << (bit % 8)
	}
}
