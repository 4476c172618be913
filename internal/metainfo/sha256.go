package metainfo

import (
	std "crypto/sha256"
	"hash"
)

type sha256 struct{ h hash.Hash }

func (d *sha256) reset()         { d.h = std.New() }
func (d *sha256) write(b []byte) { d.h.Write(b) }
func (d *sha256) sum() (digest [32]byte) {
	d.h.Sum(digest[:0])
	return digest
}
