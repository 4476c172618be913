//go:build linux

package e2e

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// A file is one piece. If aria2 finishes two pieces together, it sends a
// bitfield. rTorrent accepts a bitfield only at the start of a connection and
// would disconnect.
const (
	fileSize  = 4<<20 - 12345
	pieceSize = 4 << 20
)

// A torrent is one file of random bytes.
type torrent struct {
	name     string
	path     string // of the .torrent file
	trackers []string
	infoHash [20]byte
	content  []byte
	sum      [sha256.Size]byte
}

// torrent makes a torrent that names the trackers, each in a tier of its own.
// The content follows from the name.
func (l *lab) torrent(name string, trackers ...string) *torrent {
	l.Helper()
	return l.makeTorrent(name, fileSize, private, trackers)
}

// The value of the field private (BEP 27). A client that gets a magnet link needs
// a public torrent: libtorrent never sends the metadata of a private one.
const (
	public  = 0
	private = 1
)

func (l *lab) makeTorrent(name string, size, privacy int, trackers []string) *torrent {
	l.Helper()
	tor := &torrent{name: name, content: make([]byte, size), path: filepath.Join(l.dir, name+".torrent"), trackers: trackers}
	rand.NewChaCha8(sha256.Sum256([]byte(name))).Read(tor.content)
	tor.sum = sha256.Sum256(tor.content)
	var meta []byte
	tor.infoHash, meta = metainfo(name, tor.content, privacy, trackers)
	if err := os.WriteFile(tor.path, meta, 0o644); err != nil {
		l.Fatal(err)
	}
	return tor
}

// metainfo is the info hash and the .torrent file (BEP 3) of a file.
func metainfo(name string, content []byte, privacy int, trackers []string) (infoHash [20]byte, file []byte) {
	var pieces []byte
	for piece := range slices.Chunk(content, pieceSize) {
		sum := sha1.Sum(piece)
		pieces = append(pieces, sum[:]...)
	}
	info := map[string]any{
		"length":       len(content),
		"name":         name,
		"piece length": pieceSize,
		"pieces":       string(pieces),
		"private":      privacy,
	}
	meta := map[string]any{"announce": trackers[0], "info": info}
	if len(trackers) > 1 {
		var tiers []any
		for _, tracker := range trackers {
			tiers = append(tiers, []any{tracker})
		}
		meta["announce-list"] = tiers // BEP 12
	}
	return sha1.Sum(bencode(nil, info)), bencode(nil, meta)
}

// bencode appends v, made of int, string, []any and map[string]any, to b.
func bencode(b []byte, v any) []byte {
	switch v := v.(type) {
	case int:
		b = append(b, 'i')
		b = strconv.AppendInt(b, int64(v), 10)
		return append(b, 'e')
	case string:
		b = strconv.AppendInt(b, int64(len(v)), 10)
		b = append(b, ':')
		return append(b, v...)
	case []any:
		b = append(b, 'l')
		for _, item := range v {
			b = bencode(b, item)
		}
		return append(b, 'e')
	case map[string]any:
		b = append(b, 'd')
		for _, key := range slices.Sorted(maps.Keys(v)) {
			b = bencode(bencode(b, key), v[key])
		}
		return append(b, 'e')
	}
	panic(fmt.Sprintf("bencode: %T", v))
}

func TestBencode(t *testing.T) {
	for _, c := range []struct {
		v    any
		want string
	}{
		{0, "i0e"},
		{-42, "i-42e"},
		{"", "0:"},
		{"spam\x00", "5:spam\x00"},
		{[]any{}, "le"},
		{[]any{"a", []any{1}}, "l1:ali1eee"},
		// Keys in the order of their bytes.
		{map[string]any{"b": 1, "a": "x", "B": map[string]any{}}, "d1:Bde1:a1:x1:bi1ee"},
	} {
		if got := string(bencode(nil, c.v)); got != c.want {
			t.Errorf("%#v: %q, want %q", c.v, got, c.want)
		}
	}
}

func TestMetainfo(t *testing.T) {
	content := bytes.Repeat([]byte{'x'}, pieceSize+1)
	hash, file := metainfo("f", content, private, []string{"udp://a:1", "udp://b:2"})
	first, second := sha1.Sum(content[:pieceSize]), sha1.Sum(content[pieceSize:])
	info := fmt.Sprintf("d6:lengthi%de4:name1:f12:piece lengthi%de6:pieces40:%s%s7:privatei1ee", pieceSize+1, pieceSize, first, second)
	want := "d8:announce9:udp://a:113:announce-listll9:udp://a:1el9:udp://b:2ee4:info" + info + "e"
	if string(file) != want {
		t.Errorf("%q, want %q", file, want)
	}
	if hash != sha1.Sum([]byte(info)) {
		t.Errorf("info hash %s is not that of the info dictionary", hex.EncodeToString(hash[:]))
	}
}
