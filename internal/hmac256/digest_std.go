//go:build !(386 || arm || mips || mipsle || mips64 || mips64le)

package hmac256

import (
	"crypto/sha256"
	"hash"
)

// Digest is the SHA-256 digest of what was written since Reset.
type Digest struct{ hash hash.Hash }

// Reset starts a new message.
func (d *Digest) Reset() {
	if d.hash == nil {
		d.hash = sha256.New()
	}
	d.hash.Reset()
}

// Write adds to the message.
func (d *Digest) Write(b []byte) { d.hash.Write(b) }

// Sum ends the message and returns its digest.
func (d *Digest) Sum() (digest [32]byte) {
	d.hash.Sum(digest[:0])
	return digest
}
