package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/metainfo"
	"github.com/fabricionaweb/pico-tracker/internal/sys"
	"github.com/fabricionaweb/pico-tracker/internal/textutil"
)

// This file reads the files of an access list: list files, .torrent files and
// directories of both. It keeps no hashes and does not know the active list.

const (
	// maxLine is how many bytes of a line are read. A magnet link with many
	// trackers has about 5,000.
	maxLine = 16 << 10
	// maxListFile is the size of the largest list file: 25 million info hashes.
	maxListFile = 1 << 30
)

var (
	errNotRegular = errors.New("not a regular file")
	errListHuge   = errors.New("larger than 1 GiB, the most for a list")
	errNoLine     = errors.New("no line is an info hash or a magnet link")
	errNotList    = errors.New("not a file or a directory")
)

// entryKind is the kind of a file in a directory, by its name.
type entryKind uint8

const (
	entryIgnored entryKind = iota
	entryTorrent
	entryList
)

// kindOfEntry returns the kind by the suffix, in upper or lower case. It ignores
// hidden files, because programs use them for incomplete files.
func kindOfEntry(name string) entryKind {
	has := func(suffix string) bool {
		n := len(name) - len(suffix)
		if n <= 0 {
			return false
		}
		rest, ok := textutil.CutPrefixFold(name[n:], suffix)
		return ok && rest == ""
	}
	switch {
	case name[0] == '.':
		return entryIgnored
	case has(".TORRENT"):
		return entryTorrent
	case has(".TXT"), has(".LIST"):
		return entryList
	}
	return entryIgnored
}

// listVisitor gets the hashes and the bad lines that listReader finds.
type listVisitor interface {
	// found gets the info hash of a torrent, and its name if the reader keeps
	// names. The name may have control characters. It is valid during the call.
	found(h *bep15.InfoHash, name string) error
	// badLine gets a line without an info hash, counted from 1.
	badLine(number int, err error)
}

// listReader reads lists, one file after another. It keeps its buffers for the
// next file.
type listReader struct {
	names   bool
	line    []byte
	torrent metainfo.Reader
}

// file reads a list, or a .torrent file if it begins like one.
func (r *listReader) file(f io.Reader, v listVisitor) error {
	var head [metainfo.HeadSize]byte
	n, err := io.ReadFull(f, head[:])
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	f = io.MultiReader(bytes.NewReader(head[:n]), f)
	if metainfo.IsTorrent(head[:n]) {
		return r.torrentFile(f, v)
	}
	if r.line == nil {
		r.line = make([]byte, maxLine)
	}
	left := &io.LimitedReader{R: f, N: maxListFile + 1}
	good, bad := 0, 0
	err = eachLine(left, r.line, func(number int, line []byte) error {
		hashes, name, err := parseLine(line)
		if err != nil {
			bad++
			v.badLine(number, err)
		}
		for i := range hashes {
			good++
			if err := v.found(&hashes[i], name); err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case left.N == 0:
		return errListHuge
	case good == 0 && bad > 0:
		return errNoLine
	}
	return nil
}

// torrentFile reads a .torrent file.
func (r *listReader) torrentFile(f io.Reader, v listVisitor) error {
	r.torrent.Bare = !r.names
	t, err := r.torrent.Read(f)
	if err != nil {
		return err
	}
	var room [2]bep15.InfoHash
	for _, h := range t.Hashes(room[:0]) {
		if err := v.found(&h, t.Name); err != nil {
			return err
		}
	}
	return nil
}

// entry reads a file of a directory.
func (r *listReader) entry(path string, kind entryKind, v listVisitor) error {
	f, _, err := openRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if kind == entryTorrent {
		return r.torrentFile(f, v)
	}
	return r.file(f, v)
}

// openRegular opens a regular file. It does not hang if the file was replaced by a
// pipe.
func openRegular(path string) (sys.File, sys.FileState, error) {
	f, err := sys.OpenAtOnce(path)
	if err != nil {
		return f, sys.FileState{}, err
	}
	st, err := f.Stat()
	if err == nil && !st.IsRegular() {
		err = errNotRegular
	}
	if err == nil && st.Size > maxListFile {
		err = errListHuge
	}
	if err != nil {
		f.Close()
	}
	return f, st, err
}

// eachLine calls f with every line of r, without its end, counted from 1. It cuts
// a line to the size of buf.
func eachLine(r io.Reader, buf []byte, f func(number int, line []byte) error) error {
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

// parseLine reads a line of a list: nothing, a comment, an info hash with
// perhaps a comment behind it, or a magnet link. The results refer to line.
func parseLine(line []byte) (hashes []bep15.InfoHash, name string, err error) {
	const mark = "\ufeff" // some editors begin a file with it
	text := textutil.TrimSpace(strings.TrimPrefix(unsafe.String(unsafe.SliceData(line), len(line)), mark))
	if text == "" || text[0] == '#' {
		return nil, "", nil
	}
	if text[0]|0x20 == 'm' {
		t, err := metainfo.ParseMagnet(text)
		if err != nil {
			return nil, "", err
		}
		return t.Hashes(nil), t.Name, nil
	}
	h, rest, err := metainfo.ParseHash(text)
	if err != nil {
		return nil, "", err
	}
	return []bep15.InfoHash{h}, textutil.TrimLeft(rest, " \t,;|#-"), nil
}
