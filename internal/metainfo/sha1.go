package metainfo

import (
	"encoding/binary"
	"math/bits"
)

// This file has SHA-1 (FIPS 180-4). crypto/sha1 takes 41,600
// bytes of a router's flash, packed, because its self-tests and other ciphers come along.

// sha1 is a digest of the bytes written so far.
type sha1 struct {
	state  [5]uint32
	block  [64]byte
	length uint64 // bytes written
}

func (d *sha1) reset() {
	*d = sha1{state: [5]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0}}
}

func (d *sha1) write(b []byte) {
	for len(b) > 0 {
		n := copy(d.block[d.length%64:], b)
		d.length += uint64(n)
		if b = b[n:]; d.length%64 == 0 {
			d.compress()
		}
	}
}

// sum ends the message and returns its digest.
func (d *sha1) sum() (digest [20]byte) {
	bits := 8 * d.length
	d.write([]byte{0x80})
	for d.length%64 != 56 {
		d.write([]byte{0})
	}
	d.write(binary.BigEndian.AppendUint64(nil, bits))
	for i, v := range d.state {
		binary.BigEndian.PutUint32(digest[4*i:], v)
	}
	return digest
}

func (d *sha1) compress() {
	var w [16]uint32
	for i := range w {
		w[i] = binary.BigEndian.Uint32(d.block[4*i:])
	}
	a, b, c, e, f := d.state[0], d.state[1], d.state[2], d.state[3], d.state[4]
	for i := 0; i < 80; i++ {
		if i >= 16 {
			x := w[(i-3)&15] ^ w[(i-8)&15] ^ w[(i-14)&15] ^ w[i&15]
			w[i&15] = bits.RotateLeft32(x, 1)
		}
		var mix, round uint32
		switch {
		case i < 20:
			mix, round = b&c|^b&e, 0x5a827999
		case i < 40:
			mix, round = b^c^e, 0x6ed9eba1
		case i < 60:
			mix, round = b&c|b&e|c&e, 0x8f1bbcdc
		default:
			mix, round = b^c^e, 0xca62c1d6
		}
		next := bits.RotateLeft32(a, 5) + mix + f + w[i&15] + round
		a, b, c, e, f = next, a, bits.RotateLeft32(b, 30), c, e
	}
	d.state[0] += a
	d.state[1] += b
	d.state[2] += c
	d.state[3] += e
	d.state[4] += f
}
