//go:build 386 || arm || mips || mipsle || mips64 || mips64le

package hmac256

// Digest is the SHA-256 digest of what was written since Reset.
type Digest struct {
	state  sha256State
	block  [64]byte
	length uint64
}

// Reset starts a new message.
func (d *Digest) Reset() { d.state, d.length = sha256Start, 0 }

// Write adds to the message.
func (d *Digest) Write(b []byte) {
	for len(b) > 0 {
		n := copy(d.block[d.length%64:], b)
		d.length += uint64(n)
		if b = b[n:]; d.length%64 == 0 {
			d.state.compress(&d.block)
		}
	}
}

// Sum ends the message and returns its digest.
func (d *Digest) Sum() (digest [32]byte) {
	return d.state.finish(int(d.length&^63), d.block[:d.length%64])
}
