package main

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/fabricionaweb/pico-tracker/internal/logger"
	"github.com/fabricionaweb/pico-tracker/internal/metainfo"
	"github.com/fabricionaweb/pico-tracker/internal/sys"
	"github.com/fabricionaweb/pico-tracker/internal/textutil"
)

// This file is -hash and -add-tracker, the commands for .torrent files. They run
// on the user's machine and know nothing of the tracker.

// errSomeFailed ends a command after each failure was logged.
var errSomeFailed = errors.New("not all files could be used")

// printHashes writes a line for each info hash of .torrent files and magnet
// links. The output is a valid access list.
func printHashes(c *config, stdout io.Writer, log *logger.Logger) error {
	failed := false
	for _, name := range c.files {
		t, err := readTorrent(name)
		if err != nil {
			log.Error(textutil.Printable(name), ": ", err.Error())
			failed = true
			continue
		}
		var w textBuilder
		if t.HasV1 {
			hashLine(&w, t.V1[:], t)
		}
		if t.HasV2 {
			hashLine(&w, t.V2[:], t)
		}
		if _, err := stdout.Write(w); err != nil {
			return err
		}
		if c.announceURL != "" && !hasTracker(t, c.announceURL) {
			log.Warn(textutil.Printable(name), ": ", textutil.Printable(c.announceURL), " is not among its trackers; -add-tracker adds it")
		}
	}
	if failed {
		return errSomeFailed
	}
	return nil
}

// readTorrent reads a .torrent file, or a magnet link.
func readTorrent(name string) (*metainfo.Torrent, error) {
	if strings.HasPrefix(name, metainfo.MagnetPrefix) {
		return metainfo.ParseMagnet(name)
	}
	f, _, err := openRegular(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return new(metainfo.Reader).Read(f)
}

// hashLine appends a line of a list: the info hash, and what the torrent is.
func hashLine(w *textBuilder, hash []byte, t *metainfo.Torrent) {
	w.hex(hash)
	w.add(" # ")
	if t.Name == "" {
		w.add("no name")
	} else {
		w.add(textutil.Printable(t.Name))
	}
	if t.Files > 0 {
		w.add(", ")
		w.add(formatSI(t.Size))
		w.count("B, ", uint64(t.Files), " file")
		if t.Files != 1 {
			w.add("s")
		}
	}
	if t.Private {
		w.add(", private")
	}
	eachTracker(t, func(url string) bool {
		w.add(", ")
		w.add(textutil.Printable(url))
		return false
	})
	if t.Left > 0 {
		w.count(" and ", uint64(t.Left), " more")
	}
	w.add("\n")
}

// eachTracker calls f for each tracker of a torrent, once, until f returns true.
// It reports whether f did.
func eachTracker(t *metainfo.Torrent, f func(url string) bool) bool {
	inLists := false
	for _, tier := range t.Lists {
		for _, url := range tier {
			inLists = inLists || url == t.Announce
		}
	}
	if t.Announce != "" && !inLists && f(t.Announce) {
		return true
	}
	for _, tier := range t.Lists {
		for _, url := range tier {
			if f(url) {
				return true
			}
		}
	}
	return false
}

// hasTracker reports whether a torrent has a tracker.
func hasTracker(t *metainfo.Torrent, url string) bool {
	url = comparableURL(url)
	return eachTracker(t, func(have string) bool { return comparableURL(have) == url })
}

// comparableURL returns what makes one tracker differ from another. The path of
// a UDP tracker's address does not.
func comparableURL(url string) string {
	rest, ok := textutil.CutPrefixFold(url, "UDP://")
	if !ok {
		return url
	}
	host, _, _ := strings.Cut(rest, "/")
	return textutil.Map(host, textutil.Upper)
}

// addTracker writes a tracker into .torrent files: into copies that end in
// .new.torrent, or in place.
func addTracker(c *config, stdout io.Writer, log *logger.Logger) error {
	failed := false
	for _, name := range c.files {
		to, err := addTrackerTo(name, c.addTracker, c.inPlace)
		text := textutil.Printable(to) + ": written"
		if to == "" {
			text = textutil.Printable(name) + ": has this tracker already"
		}
		if err != nil {
			log.Error(textutil.Printable(name), ": ", err.Error())
			failed = true
		} else if _, err := io.WriteString(stdout, text+"\n"); err != nil {
			return err
		}
	}
	if failed {
		return errSomeFailed
	}
	return nil
}

// addTrackerTo writes a tracker into one file. It returns the name of the file
// that was written, or "" if the tracker was there.
func addTrackerTo(name, url string, inPlace bool) (to string, err error) {
	f, _, err := openRegular(name)
	if err != nil {
		return "", err
	}
	before, err := io.ReadAll(io.LimitReader(f, metainfo.MaxSize+1))
	f.Close()
	if err != nil {
		return "", err
	}
	t, err := new(metainfo.Reader).Read(bytes.NewReader(before))
	if err != nil {
		return "", err
	}
	if hasTracker(t, url) {
		return "", nil
	}
	after := withTracker(before, t, url)
	// A mistake here would make it another torrent.
	check, err := new(metainfo.Reader).Read(bytes.NewReader(after))
	if err != nil || check.V1 != t.V1 || check.V2 != t.V2 || !hasTracker(check, url) {
		return "", errors.New("its announce-list is malformed")
	}
	if inPlace {
		file := sys.FollowLinks(name) // a link must stay a link
		return name, replaceContent(file, file+".new", after, true)
	}
	to = strings.TrimSuffix(name, ".torrent") + ".new.torrent"
	return to, replaceContent(name, to, after, false)
}

// withTracker returns the text of a .torrent file with one more tracker: as a
// tier of its own behind the others (BEP 12), or as the only one. All other bytes
// stay as they are.
func withTracker(text []byte, t *metainfo.Torrent, url string) []byte {
	var w textBuilder
	at := int64(1) // behind the "d"
	switch {
	case len(t.Lists) > 0:
		at = t.ListsPart.To - 1 // before the "e"
		w.tier(url)
	case t.Announce == "" && t.AnnouncePart.To == 0:
		w.bencode("announce")
		w.bencode(url)
	case t.ListsPart.To != 0: // empty: clients would ignore the other one
		at = t.ListsPart.To - 1
		w.tier(t.Announce)
		w.tier(url)
	default:
		at = t.AnnouncePart.To
		w.bencode("announce-list")
		w.add("l")
		w.tier(t.Announce)
		w.tier(url)
		w.add("e")
	}
	after := make([]byte, 0, len(text)+len(w))
	after = append(after, text[:at]...)
	after = append(after, w...)
	return append(after, text[at:]...)
}

// bencode appends a string in the format of a .torrent file.
func (w *textBuilder) bencode(s string) {
	w.count("", uint64(len(s)), ":")
	w.add(s)
}

// tier adds a list of one tracker.
func (w *textBuilder) tier(url string) {
	w.add("l")
	w.bencode(url)
	w.add("e")
}

// replaceContent writes a new file with the mode of the file name, and renames it to
// name if replace is set. The file is on the disk before it takes the place of
// the other.
func replaceContent(name, to string, content []byte, replace bool) error {
	st, err := sys.Stat(name)
	if err == nil {
		err = sys.Create(to, content, &st)
	}
	if err == nil && replace {
		if err = sys.Rename(to, name); err != nil {
			sys.Remove(to)
		}
	}
	if err != nil {
		err = errors.New(textutil.Printable(to) + ": " + err.Error())
	}
	return err
}
