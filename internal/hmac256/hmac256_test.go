package hmac256

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"testing"
)

// TestHMAC compares with the standard library: keys and messages of every
// length about the edges of a block, and a signer that is used again.
func TestHMAC(t *testing.T) {
	lengths := []int{0, 1, 4, 20, 31, 32, 33, 54, 55, 56, 57, 63, 64, 65, 118, 119, 120, 127, 128, 129, 1000}
	text := make([]byte, 1000)
	for i := range text {
		text[i] = byte(i*i>>3 ^ i)
	}
	for _, k := range lengths {
		h := New(text[:k])
		for _, m := range lengths {
			checkHMAC(t, h, text[:k], text[len(text)-m:])
		}
	}
}

func FuzzHMAC(f *testing.F) {
	f.Add([]byte("key"), []byte("message"))
	f.Add(bytes.Repeat([]byte{0xaa}, 131), bytes.Repeat([]byte{0xcd}, 119))
	f.Fuzz(func(t *testing.T, key, message []byte) { checkHMAC(t, New(key), key, message) })
}

func checkHMAC(t *testing.T, h *MAC, key, message []byte) {
	t.Helper()
	want := hmac.New(sha256.New, key)
	want.Write(message)
	if got := h.Sum(message); !bytes.Equal(got[:], want.Sum(nil)) {
		t.Fatalf("a key of %d bytes, a message of %d: %x, want %x", len(key), len(message), got, want.Sum(nil))
	}
}

// TestDigest compares with the standard library, for messages that are written
// in parts of any length.
func TestDigest(t *testing.T) {
	text := make([]byte, 300)
	for i := range text {
		text[i] = byte(i*i>>3 ^ i)
	}
	var d Digest
	for n := range len(text) {
		for _, part := range []int{1, 7, 63, 64, 65, 300} {
			d.Reset()
			for rest := text[:n]; len(rest) > 0; {
				m := min(part, len(rest))
				d.Write(rest[:m])
				rest = rest[m:]
			}
			if got, want := d.Sum(), sha256.Sum256(text[:n]); got != want {
				t.Fatalf("%d bytes in parts of %d: got %x, want %x", n, part, got, want)
			}
		}
	}
}
