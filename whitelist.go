package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"sync/atomic"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/logger"
	"github.com/fabricionaweb/pico-tracker/internal/sys"
)

// This file owns the access list: a file of info hashes that alone are
// allowed, or alone refused. What is loaded is a sorted array of 20 bytes a
// hash outside the Go heap, of which there are two: one in force, one to load
// into.

// hashSet is a sorted list of info hashes.
type hashSet []bep15.InfoHash

func (s hashSet) has(h *bep15.InfoHash) bool {
	_, found := slices.BinarySearchFunc(s, h, func(a bep15.InfoHash, b *bep15.InfoHash) int { return bytes.Compare(a[:], b[:]) })
	return found
}

// accessList is a list file and what was last read of it.
type accessList struct {
	path    string
	deny    bool // a blacklist
	log     *logger.Logger
	halves  [2][]bep15.InfoHash // room for the list in force and the next one
	current atomic.Pointer[listInForce]
	next    int           // the half to load into
	state   sys.FileState // of what was read last; zero: the file was not there
	busy    bool          // the file was written to while it was read
	reads   [numReads]uint64
}

// What a load came to.
const (
	readOK = iota
	readFailed
	readMissing
	numReads
)

var readNames = [numReads]string{readOK: "ok", readFailed: "failed", readMissing: "missing"}

// listInForce is a list in force. A nil set refuses every torrent.
type listInForce struct {
	hashes hashSet
	all    bool // refuse everything: the file is gone
	deny   bool
}

// newAccessList makes a list with room for max hashes. It refuses everything
// until it is loaded.
func newAccessList(path string, deny bool, max int, log *logger.Logger) (*accessList, error) {
	mem, err := sys.Reserve(2 * max * len(bep15.InfoHash{}))
	if err != nil {
		return nil, err
	}
	all := unsafe.Slice((*bep15.InfoHash)(unsafe.Pointer(unsafe.SliceData(mem))), 2*max)
	l := &accessList{path: path, deny: deny, log: log, halves: [2][]bep15.InfoHash{all[:max:max], all[max:]}}
	l.current.Store(&listInForce{all: true})
	return l, nil
}

// listBytes is the memory that a list of max hashes takes.
func listBytes(max int) int { return 2 * max * len(bep15.InfoHash{}) }

// admits says whether the list in force allows a torrent.
func (l *accessList) admits(h *bep15.InfoHash) bool {
	s := l.current.Load()
	return !s.all && s.hashes.has(h) != s.deny
}

// changed says whether the file is another than the one that was read, or came
// or went.
func (l *accessList) changed() bool {
	now, err := sys.Stat(l.path)
	if err != nil {
		// What cannot be looked at stays as it is; what is gone is news once.
		return errors.Is(err, fs.ErrNotExist) && l.state != sys.FileState{}
	}
	if now.Size+l.state.Size == 0 && l.state != (sys.FileState{}) {
		return false // a pipe, whose end has been read, or still nothing
	}
	return now != l.state
}

// size is how many hashes are in force.
func (l *accessList) size() int { return len(l.current.Load().hashes) }

// kind is what the list is called in the log.
func (l *accessList) kind() string {
	if l.deny {
		return "blacklist"
	}
	return "whitelist"
}

// load reads the file and puts it in force. It says whether the list in force
// is another one now. A file that is gone, or none, refuses every torrent; one
// that cannot be read to its end leaves the list as it was.
func (l *accessList) load() bool {
	name := l.kind() + " " + l.path
	f, err := sys.Open(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		l.state = sys.FileState{}
		l.reads[readMissing]++
		l.current.Store(&listInForce{all: true})
		l.log.Warn(name, ": no such file; every torrent is refused until it is there")
		return true
	}
	var hashes []bep15.InfoHash
	var state sys.FileState
	if err == nil {
		defer f.Close()
		if state, err = f.Stat(); err == nil {
			hashes, err = l.read(f)
		}
		// Half of a list that is being written is no list. (A pipe, which
		// has no size, is written to while it is read.)
		if after, statErr := f.Stat(); err == nil && statErr == nil && after != state && after.Size+state.Size > 0 {
			err = errListBusy
		}
	}
	l.busy = err == errListBusy
	if err != nil {
		rest := "; the list that was read before stays in force"
		if l.current.Load().all {
			rest = "; every torrent is refused until it can be read"
		}
		l.log.Error(name, ": ", err.Error(), rest)
		l.reads[readFailed]++
		l.discardOld() // what was read of it
		return false
	}
	l.state = state
	l.reads[readOK]++
	l.current.Store(&listInForce{hashes: hashes, deny: l.deny})
	l.next ^= 1
	l.log.Info(name, ": ", strconv.Itoa(len(hashes)), " torrents")
	if len(hashes) == 0 && !l.deny {
		l.log.Warn(name, ": no info hash in it; every torrent is refused")
	}
	return true
}

// discardOld gives back the memory of the list that is no longer in force. No
// one may be reading it.
func (l *accessList) discardOld() {
	half := l.halves[l.next]
	if len(half) == 0 {
		return
	}
	first := uintptr(unsafe.Pointer(&half[0]))
	size := uintptr(sys.PageSize)
	from := (first + size - 1) &^ (size - 1)
	to := (first + uintptr(len(half)*len(bep15.InfoHash{}))) &^ (size - 1)
	if from < to {
		sys.Discard(unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(&half[0]), from-first)), to-from))
	}
}

const (
	maxBadLines = 10 // that are warned of one by one
	maxLine     = 64 << 10
)

var errListBusy = errors.New("somebody is writing to it; it is read again in a second")

var errListFull = errors.New("more info hashes than the memory set aside for the list holds; restart, or raise -memory")

// read parses a list into the idle half.
func (l *accessList) read(r io.Reader) ([]bep15.InfoHash, error) {
	half := l.halves[l.next]
	n, bad := 0, 0
	err := eachLine(r, func(number int, line []byte) error {
		var h bep15.InfoHash
		switch ok, err := parseLine(line, &h); {
		case err != nil:
			if bad++; bad <= maxBadLines {
				l.log.Warn(l.path, ":", strconv.Itoa(number), ": ", err.Error(), "; line skipped")
			}
		case ok && n == len(half):
			return errListFull
		case ok:
			half[n] = h
			n++
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if bad > maxBadLines {
		l.log.Warn(l.path, ": ", strconv.Itoa(bad), " lines skipped in all")
	}
	sortHashes(half[:n], 0)
	return slices.Compact(half[:n]), nil
}

// sortHashes sorts what is the same up to a bit, in place: halves by that bit,
// quarters by the next and so on. (Package slices' sort is slower and takes
// 3 KB of a router's flash.)
func sortHashes(h []bep15.InfoHash, bit int) {
	for ; len(h) > 1 && bit < 8*len(bep15.InfoHash{}); bit++ {
		low, high := 0, len(h)
		for low < high {
			if h[low][bit/8]<<(bit%8)&0x80 == 0 {
				low++
			} else {
				high--
				h[low], h[high] = h[high], h[low]
			}
		}
		sortHashes(h[:low], bit+1)
		h = h[low:]
	}
}

// eachLine calls f with every line of r, without its end, counted from 1. What
// a line has beyond maxLine bytes is not read.
func eachLine(r io.Reader, f func(number int, line []byte) error) error {
	buf := make([]byte, maxLine)
	have, number, skip := 0, 1, false
	for {
		n, err := r.Read(buf[have:])
		have += n
		rest := buf[:have]
		for {
			i := bytes.IndexByte(rest, '\n')
			if i < 0 {
				break
			}
			if !skip {
				if err := f(number, rest[:i]); err != nil {
					return err
				}
			}
			number++
			skip = false
			rest = rest[i+1:]
		}
		if len(rest) == len(buf) || skip {
			if !skip {
				if err := f(number, rest); err != nil {
					return err
				}
			}
			skip, rest = true, nil
		}
		have = copy(buf, rest)
		if err == io.EOF {
			if have > 0 {
				return f(number, buf[:have])
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

var (
	errLineLength = errors.New("an info hash is 40 hexadecimal digits, or 64 for BitTorrent v2")
	errLineRest   = errors.New("only a comment may follow the info hash")
)

// parseLine reads a line: nothing, a comment, or a hash with perhaps a comment
// behind it. ok is false where there is no hash.
func parseLine(line []byte, h *bep15.InfoHash) (ok bool, err error) {
	line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
	line = bytes.TrimSpace(line)
	n := 0
	for n < len(line) && line[n] != ' ' && line[n] != '\t' && line[n] != '#' {
		n++
	}
	word, rest := line[:n], bytes.TrimSpace(line[n:])
	if len(rest) > 0 && rest[0] != '#' {
		return false, errLineRest
	}
	if len(word) == 0 {
		return false, nil
	}
	if len(word) != 2*len(h) && len(word) != 2*32 {
		return false, errLineLength
	}
	for i, c := range word {
		d, ok := hexDigit(c)
		if !ok {
			return false, errLineLength
		}
		if i/2 < len(h) { // BEP 52: trackers know a v2 torrent by 20 bytes
			h[i/2] = h[i/2]<<4 | d
		}
	}
	return true, nil
}

// hexDigit is the value of a digit. (encoding/hex would bring fmt along: 50 KB
// of a router's flash.)
func hexDigit(c byte) (d byte, ok bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
