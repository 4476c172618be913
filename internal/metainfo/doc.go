// Package metainfo reads .torrent files and magnet links.
//
// A .torrent file is a bencoded dictionary (BEP 3). Its info hash is the SHA-1
// digest of the bytes of the value "info", or with BEP 52 (version 2) the
// SHA-256 digest, of which trackers use the first 20 bytes. A hybrid torrent
// has both.
//
// Files come from strangers. Read takes them as a stream: it keeps one buffer of
// 4 KiB and a few short strings, hashes the info dictionary while it reads, and
// limits nesting, lengths and the size of the file. It accepts what common
// clients accept, for example unsorted keys.
//
// The package is hand-written because a library builds a tree of the whole file
// in memory, with reflection, and cannot tell in a stream where the info
// dictionary ends. github.com/anacrolix/torrent/bencode adds 848,000 bytes to
// linux-mipsle, packed with xz (Go 1.26); this package has 20,000
// before packing. crypto/sha1
// alone adds 41,600, so SHA-1 is hand-written as well.
package metainfo
