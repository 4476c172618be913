package metainfo

import (
	"errors"
	"io"

	"github.com/fabricionaweb/pico-tracker/internal/hmac256"
)

// This file reads .torrent files. It does not open files and does not know
// trackers.

// Hash is an info hash as BEP 15 carries it.
type Hash = [20]byte

// Torrent is what a .torrent file says about its content.
type Torrent struct {
	V1 Hash     // if HasV1
	V2 [32]byte // if HasV2; trackers use the first 20 bytes
	// HasV1 and HasV2 say which versions the torrent has. At least one is set.
	HasV1, HasV2 bool

	Name    string // at most MaxName bytes, as the file has it: not safe to print
	Size    uint64 // bytes of all files, without padding files
	Files   int    // without padding files
	Private bool

	// Announce and Lists are the trackers: the value of "announce" and of
	// "announce-list" (BEP 12), in the order of the file. At most MaxTrackers,
	// the others are counted in Left.
	Announce string
	Lists    [][]string
	Left     int

	// Parts of the file as offsets from its start: [from, to). An absent part
	// has to = 0.
	Info, AnnouncePart, ListsPart Part
}

// Part is a part of the file from the first byte of a key to behind the last byte of its
// value; for Info it is the value only.
type Part struct{ From, To int64 }

// Hashes appends the info hashes as trackers use them.
func (t *Torrent) Hashes(dst []Hash) []Hash {
	if t.HasV1 {
		dst = append(dst, t.V1)
	}
	if t.HasV2 {
		dst = append(dst, Hash(t.V2[:20]))
	}
	return dst
}

const (
	MaxName     = 255  // bytes of a name that are kept
	MaxTrackers = 100  // trackers that are kept
	MaxURL      = 1024 // bytes of a tracker's address

	// MaxSize is the size of the largest file that is read. libtorrent's limit
	// is 10 MB by default. The time to read a file depends on it.
	MaxSize = 32 << 20

	// maxDepth is how deep lists and dictionaries may be nested: each
	// directory of a version 2 torrent is a level. libtorrent has the same
	// limit.
	maxDepth = 100
)

var (
	// ErrTruncated means that the file ends early: perhaps it is still being
	// written.
	ErrTruncated = errors.New("the .torrent file is incomplete")

	ErrNotTorrent = errors.New("not a valid .torrent file")
	ErrTooLarge   = errors.New("larger than 32 MiB, the most for a .torrent file")
	ErrTooDeep    = errors.New("lists or dictionaries are nested more than 100 deep")
	ErrNoInfo     = errors.New("the .torrent file has no info dictionary with \"pieces\" or \"file tree\"")
	ErrTwice      = errors.New("the .torrent file has two info dictionaries")
)

// HeadSize is how many bytes of a file IsTorrent needs.
const HeadSize = 6

// IsTorrent reports whether a file that begins with b may be a .torrent file: a
// bencoded dictionary whose first key has at most four digits of length. An info
// hash can begin with d and digits too, but no colon follows.
func IsTorrent(b []byte) bool {
	if len(b) == 0 || b[0] != 'd' {
		return false
	}
	i := 1
	for i < min(len(b), HeadSize-1) && isDigit(b[i]) {
		i++
	}
	return i > 1 && i < len(b) && b[i] == ':'
}

// Reader reads .torrent files. It is for many files in turn: its memory is
// used again.
type Reader struct {
	// Bare leaves out names and trackers, for callers that want hashes only.
	// The result is then valid until the next call of Read.
	Bare bool
	bare Torrent

	in     io.Reader
	buf    [4 << 10]byte
	have   int   // bytes in buf
	next   int   // the next byte to read
	before int64 // bytes of the file before buf
	err    error // of in

	hashing bool
	hashed  int // bytes of buf that the digests have, or that are not theirs
	v1      sha1
	v2      hmac256.Digest

	depth int
	keyAt int64 // offset of the key that was read last
	t     *Torrent
}

// Read reads one .torrent file from r. It reads at most MaxSize bytes and may
// read past the end of the dictionary.
func (d *Reader) Read(r io.Reader) (*Torrent, error) {
	d.in, d.have, d.next, d.before, d.err = r, 0, 0, 0, nil
	d.hashing, d.depth = false, 0
	t := &d.bare
	if !d.Bare {
		t = new(Torrent)
	}
	*t = Torrent{}
	d.t = t
	err := d.torrent()
	d.in, d.t = nil, nil
	if err != nil {
		return nil, err
	}
	return t, nil
}

// torrent reads the outer dictionary.
func (d *Reader) torrent() error {
	t := d.t
	if c, err := d.peek(); err != nil {
		return err
	} else if c != 'd' {
		return ErrNotTorrent
	}
	seen := false
	err := d.dictionary(func(key string) error {
		if d.Bare && key != "info" {
			return d.skip()
		}
		switch key {
		case "info":
			if seen {
				return ErrTwice
			}
			seen = true
			return d.info()
		case "announce":
			if t.AnnouncePart.To != 0 {
				break
			}
			start := d.keyAt
			url, err := d.text(MaxURL)
			t.Announce = url
			t.AnnouncePart = Part{start, d.offset()}
			return err
		case "announce-list":
			if t.ListsPart.To != 0 {
				break
			}
			start := d.keyAt
			err := d.lists()
			t.ListsPart = Part{start, d.offset()}
			return err
		}
		return d.skip()
	})
	if err == nil && !t.HasV1 && !t.HasV2 {
		err = ErrNoInfo
	}
	return err
}

// info reads the info dictionary and hashes it.
func (d *Reader) info() error {
	t := d.t
	d.v1.reset()
	d.v2.Reset()
	d.hashing, d.hashed = true, d.next
	t.Info.From = d.offset()

	var length, size uint64 // of version 1
	var pieces, single, tree bool
	version, files, treeFiles := uint64(0), 0, 0
	treeSize := uint64(0)
	err := d.dictionary(func(key string) (err error) {
		switch key {
		case "name":
			if d.Bare {
				return d.skip()
			}
			t.Name, err = d.text(MaxName)
		case "length":
			single = true
			length, err = d.number()
		case "files":
			files, size, err = d.files()
		case "pieces":
			pieces = true
			err = d.skip()
		case "meta version":
			version, err = d.number()
		case "file tree":
			tree = true
			treeFiles, treeSize, err = d.tree()
		case "private":
			var n uint64
			n, err = d.number()
			t.Private = n == 1
		default:
			err = d.skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	t.Info.To = d.offset()
	d.hash()
	d.hashing = false

	t.HasV1 = pieces
	t.HasV2 = tree && version == 2
	switch {
	case t.HasV2:
		t.Files, t.Size = treeFiles, treeSize
	case single:
		t.Files, t.Size = 1, length
	default:
		t.Files, t.Size = files, size
	}
	if t.HasV1 {
		t.V1 = d.v1.sum()
	}
	if t.HasV2 {
		t.V2 = d.v2.Sum()
	}
	return nil
}

// files reads the list of files of version 1.
func (d *Reader) files() (files int, size uint64, err error) {
	err = d.list(func() error {
		length, padding := uint64(0), false
		err := d.dictionary(func(key string) (err error) {
			switch key {
			case "length":
				length, err = d.number()
			case "attr":
				padding, err = d.padding()
			default:
				err = d.skip()
			}
			return err
		})
		if !padding {
			files++
			size += length
		}
		return err
	})
	return files, size, err
}

// tree reads a directory of a version 2 torrent. A file is a dictionary whose
// only key is empty (BEP 52).
func (d *Reader) tree() (files int, size uint64, err error) {
	err = d.dictionary(func(name string) error {
		if name != "" {
			n, bytes, err := d.tree()
			files += n
			size += bytes
			return err
		}
		length, padding := uint64(0), false
		err := d.dictionary(func(key string) (err error) {
			switch key {
			case "length":
				length, err = d.number()
			case "attr":
				padding, err = d.padding()
			default:
				err = d.skip()
			}
			return err
		})
		if !padding {
			files++
			size += length
		}
		return err
	})
	return files, size, err
}

// padding reads the attributes of a file (BEP 47) and reports whether it is only
// padding.
func (d *Reader) padding() (bool, error) {
	attributes, err := d.text(16)
	for i := range attributes {
		if attributes[i] == 'p' {
			return true, err
		}
	}
	return false, err
}

// lists reads "announce-list": a list of lists of trackers.
func (d *Reader) lists() error {
	t := d.t
	kept := 0
	return d.list(func() error {
		var tier []string
		err := d.list(func() error {
			url, err := d.text(MaxURL)
			if kept++; kept > MaxTrackers {
				t.Left++
			} else {
				tier = append(tier, url)
			}
			return err
		})
		if len(tier) > 0 {
			t.Lists = append(t.Lists, tier)
		}
		return err
	})
}
