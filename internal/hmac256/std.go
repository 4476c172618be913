//go:build !(386 || arm || mips || mipsle || mips64 || mips64le)

package hmac256

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
)

// This file has HMAC-SHA256 for processors on which the standard library has
// assembly for it.

// MAC signs with one key.
type MAC struct {
	mac hash.Hash
	// Fields, because an argument of an interface method is allocated.
	in, out [sha256.Size]byte
}

func New(key []byte) *MAC { return &MAC{mac: hmac.New(sha256.New, key)} }

// sum is the signature of message.
func (h *MAC) Sum(message []byte) [sha256.Size]byte {
	h.mac.Reset()
	for len(message) > 0 {
		n := copy(h.in[:], message)
		h.mac.Write(h.in[:n])
		message = message[n:]
	}
	h.mac.Sum(h.out[:0])
	return h.out
}
