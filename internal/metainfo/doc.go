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
// The package is hand-written because libraries build a tree of the whole file
// with reflection, and none of them finds the extent of the info dictionary in
// a stream. On linux-mipsle, packed with xz, this package takes 7 KB;
// github.com/jackpal/bencode-go takes 60 KB, github.com/zeebo/bencode 52 KB
// and github.com/anacrolix/torrent/bencode 85 KB. crypto/sha1 alone takes
// 41 KB there, so SHA-1 is hand-written as well.
package metainfo
