package main

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/logger"
	"github.com/fabricionaweb/pico-tracker/internal/metainfo"
)

// digits is the i-th test torrent as a list names it.
func digits(i int) string { return hex.EncodeToString(testHash(i)[:]) }

// testList makes a list for a file that is not there yet.
func testList(t testing.TB, deny bool, max int) (*accessList, *logLines) {
	t.Helper()
	lines := &logLines{}
	l, err := newAccessList(filepath.Join(t.TempDir(), "list"), deny, max, true, &logger.Logger{Out: lines})
	if err != nil {
		t.Fatal(err)
	}
	return l, lines
}

// look makes the loader check the list at a time, and applies the result.
func look(l *accessList, mono seconds, notice uint32) (installed bool) {
	// The time of day is long before the time of any file.
	return l.install(l.load(listRequest{now: mono, notice: notice}))
}

// differs reports whether the list differs from what was read.
func differs(l *accessList) bool {
	now, err := l.loader.inspect(l.path)
	return err != nil || now != l.loader.read
}

// reloadList reads a list that does not change any more. It reports whether
// another list is in force.
func reloadList(l *accessList) (installed bool) {
	return reloadEach(l, func() {})
}

// reloadEach is reloadList. It calls purge each time that another list is in
// force: the loader may then use the memory of the list before.
func reloadEach(l *accessList, purge func()) (installed bool) {
	now, notice := l.loader.since+1000, uint32(noticeReload)
	if differs(l) {
		notice = noticeChanged
	}
	for {
		if look(l, now, notice) {
			installed = true
			purge()
		}
		if now++; now >= l.loader.since+settleTimeShort+2 || !l.retry {
			return installed
		}
		notice = 0
	}
}

// reload is reloadList for a tracker that serves.
func reload(m *maintenance, now timestamp) {
	reloadEach(m.list, func() { m.purge(now) })
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// replaceFile replaces a file by renaming another to its place.
func replaceFile(t testing.TB, path, text string) {
	t.Helper()
	writeFile(t, path+".new", text)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// admitted lists the torrents of the first n that are allowed.
func admitted(l *accessList, n int) (which []int) {
	for i := 0; i < n; i++ {
		if l.admits(testHash(i)) {
			which = append(which, i)
		}
	}
	return which
}

func TestListLine(t *testing.T) {
	const hash = "0123456789abcdef0123456789abcdef01234567"
	v2 := hash + strings.Repeat("9f", 12)
	magnet := "magnet:?xt=urn:btih:" + hash
	for _, tt := range []struct {
		line, name string
		hashes     int
	}{
		{line: hash, hashes: 1}, {line: strings.ToUpper(hash), hashes: 1}, {line: hash + "\r", hashes: 1}, {line: "  " + hash + "\t ", hashes: 1},
		{line: "\xef\xbb\xbf" + hash, hashes: 1}, {line: hash + " # a comment", name: "a comment", hashes: 1},
		{line: hash + "#a comment", name: "a comment", hashes: 1}, {line: hash + "\t#", hashes: 1}, {line: hash + " # a # b", name: "a # b", hashes: 1},
		{line: v2, hashes: 1}, {line: strings.ToUpper(v2) + " # v2", name: "v2", hashes: 1}, {line: "\t" + v2 + "\r", hashes: 1},
		// As lists of other trackers have it.
		{line: hash + " name", name: "name", hashes: 1}, {line: hash + " - the name", name: "the name", hashes: 1},
		{line: hash + ",name", name: "name", hashes: 1}, {line: hash + ";1;2", name: "1;2", hashes: 1}, {line: hash + "\t" + hash, name: hash, hashes: 1},
		{line: hash + "|name", name: "name", hashes: 1}, {line: hash + ":name", name: ":name", hashes: 1},
		{line: magnet, hashes: 1}, {line: magnet + "&dn=a+b&tr=udp://x", name: "a b", hashes: 1},
		{line: magnet + "&xt=urn:btmh:1220" + v2, hashes: 2}, {line: "MAGNET:?xt=urn:btih:" + hash, hashes: 1},
		{line: ""}, {line: " "}, {line: "\r"}, {line: "\t"}, {line: "#"}, {line: "# " + hash}, {line: "  # x"}, {line: "#" + hash},
		{line: "\xef\xbb\xbf"}, {line: "\xef\xbb\xbf# x\r"},
	} {
		got, name, err := parseLine([]byte(tt.line))
		if err != nil || name != tt.name || len(got) != tt.hashes {
			t.Errorf("%q: got %x, %q, %v, want %d hashes and the name %q", tt.line, got, name, err, tt.hashes, tt.name)
		}
		for _, h := range got {
			if h != bep15.InfoHash(bin(hash)) {
				t.Errorf("%q: got %x", tt.line, h)
			}
		}
	}
	for line, want := range map[string]error{
		hash[1:]:             metainfo.ErrHash,
		hash + "8":           metainfo.ErrHash,
		hash + "x":           metainfo.ErrHash,
		v2[1:]:               metainfo.ErrHash,
		v2 + "0":             metainfo.ErrHash,
		"g" + hash[1:]:       metainfo.ErrHash,
		hash[:39] + ":":      metainfo.ErrHash,
		v2[:63] + "x":        metainfo.ErrHash,
		hash[:38] + "\u00e9": metainfo.ErrHash,
		"0x" + hash:          metainfo.ErrHash,
		"abc # x":            metainfo.ErrHash,
		"allow " + hash:      metainfo.ErrHash,
		"magnet:?dn=x":       metainfo.ErrMagnet,
		"mirror":             metainfo.ErrMagnet,
	} {
		if got, _, err := parseLine([]byte(line)); got != nil || err != want {
			t.Errorf("%q: got %x, %v, want %v", line, got, err, want)
		}
	}
}

// TestList reads a file with everything in it that a file may have.
func TestList(t *testing.T) {
	l, lines := testList(t, false, 100)
	writeFile(t, l.path, "\xef\xbb\xbf# the first line has a BOM\r\n\r\n"+
		strings.ToUpper(digits(1))+"\r\n"+
		digits(2)+" # two\n"+
		"nonsense\n"+
		digits(2)+"\n"+
		"   \n"+
		digits(3)+strings.Repeat("0", 24)+"\n"+
		digits(4)+" and more\n"+
		"magnet:?xt=urn:btih:"+digits(5)+"&dn=five\n"+
		"magnet:?dn=six\n"+
		"\t"+digits(0)) // without a line end
	if !reloadList(l) {
		t.Fatal("reload: got no new list, want one")
	}
	if got := admitted(l, 10); !slices.Equal(got, []int{0, 1, 2, 3, 4, 5}) {
		t.Errorf("admitted: %v", got)
	}
	lines.expectLines(t, "list:5: an info hash is 40 hexadecimal digits, or 64 for BitTorrent v2; skipped",
		"list:11: the magnet link has no info hash",
		"whitelist "+l.path+": 6 torrents")
}

// TestListNoLine checks that a file without a valid line is an error and keeps
// the old list. A file with comments only, or an empty one, is an empty list.
func TestListNoLine(t *testing.T) {
	for _, deny := range []bool{false, true} {
		l, lines := testList(t, deny, 10)
		writeFile(t, l.path, "a name\n"+digits(1)[1:]+"\n")
		reloadList(l)
		if got := admitted(l, 3); got != nil {
			t.Errorf("%s: %v are allowed", l.kind(), got)
		}
		lines.expectLines(t, "list:1: ", "list:2: ",
			"[ERROR] "+l.kind()+" "+l.path+": no line is an info hash or a magnet link; every torrent is refused until it is read")
		writeFile(t, l.path, digits(1))
		reloadList(l)
		want := admitted(l, 3)
		lines.take()
		writeFile(t, l.path, "a name")
		reloadList(l)
		if got := admitted(l, 3); !slices.Equal(got, want) {
			t.Errorf("%s: %v are allowed, want %v as before", l.kind(), got, want)
		}
		lines.expectLines(t, "list:1: ", "[ERROR] "+l.kind()+" "+l.path+": no line is an info hash or a magnet link; the list that was read before stays")
		writeFile(t, l.path, "# nothing\n")
		reloadList(l)
		if got := l.size(); got != 0 {
			t.Errorf("%s: %d torrents, want none", l.kind(), got)
		}
	}
}

// TestListOfOriginal reads the example in the documentation of the original
// tracker, which has a line of 41 characters.
func TestListOfOriginal(t *testing.T) {
	l, lines := testList(t, false, 10)
	writeFile(t, l.path, `# Comments start with #
a1b2c3d4e5f6789012345678901234567890abcd
fedcba0987654321098765432109876543210fedc

e5d4c3b2a1987654321098765432109876543210
`)
	reloadList(l)
	lines.expectLines(t, "list:3: an info hash is 40 hexadecimal digits", ": 2 torrents")
	for _, h := range []string{"a1b2c3d4e5f6789012345678901234567890abcd", "e5d4c3b2a1987654321098765432109876543210"} {
		if !l.admits((*bep15.InfoHash)(bin(h))) {
			t.Errorf("%s is not allowed", h)
		}
	}
}

// TestListBadLines checks that the first ten bad lines are logged, and then the
// number of all.
func TestListBadLines(t *testing.T) {
	for _, bad := range []int{9, 10, 11, 500} {
		l, lines := testList(t, false, 10)
		writeFile(t, l.path, digits(1)+"\n"+strings.Repeat("bad\n", bad)+digits(2))
		reloadList(l)
		var want []string
		for i := 0; i < min(bad, 10); i++ {
			want = append(want, fmt.Sprintf("[WARN] %s:%d: ", l.path, i+2))
		}
		if bad > 10 {
			want = append(want, fmt.Sprintf("[WARN] %s: %d lines or files skipped in all", l.path, bad))
		}
		lines.expectLines(t, append(want, "2 torrents")...)
		if got := admitted(l, 5); !slices.Equal(got, []int{1, 2}) {
			t.Errorf("admitted: %v", got)
		}
	}
}

// TestListRefusesAll checks that a whitelist that was never read, is missing or
// is empty allows nothing. A missing blacklist does the same.
func TestListRefusesAll(t *testing.T) {
	for _, deny := range []bool{false, true} {
		l, lines := testList(t, deny, 10)
		expect := func(when string, want ...int) {
			t.Helper()
			if got := admitted(l, 3); !slices.Equal(got, want) {
				t.Errorf("%s %s: %v are allowed, want %v", l.kind(), when, got, want)
			}
		}
		expect("before it is read")
		if !reloadList(l) {
			t.Error("a missing file before the first load: got no list installed, want an empty one")
		}
		expect("without a file")
		lines.expectLines(t, "[WARN] "+l.kind()+" "+l.path+": no such file; every torrent is refused until it is there")

		writeFile(t, l.path, "# nothing\n")
		reloadList(l)
		if deny {
			expect("of nothing", 0, 1, 2)
			lines.expectLines(t, ": 0 torrents")
		} else {
			expect("of nothing")
			lines.expectLines(t, ": 0 torrents", "every torrent is refused")
		}

		writeFile(t, l.path, digits(1))
		reloadList(l)
		if deny {
			expect("of one", 0, 2)
		} else {
			expect("of one", 1)
		}
		lines.expectLines(t, ": 1 torrent")
		if err := os.Remove(l.path); err != nil {
			t.Fatal(err)
		}
		if !differs(l) {
			t.Error("removed file: got unchanged, want changed")
		}
		reloadList(l)
		expect("that is gone")
		if differs(l) {
			t.Error("removed file after the reload: got changed, want unchanged")
		}
		lines.expectLines(t, "no such file")
		writeFile(t, l.path, digits(2))
		if !differs(l) || !reloadList(l) || differs(l) {
			t.Error("file that is back: want changed, a new list, then unchanged")
		}
	}
}

// TestListKept checks that a list that cannot be read keeps the old list and is
// tried again.
func TestListKept(t *testing.T) {
	l, lines := testList(t, false, 3)
	writeFile(t, l.path, digits(1)+"\n"+digits(2))
	reloadList(l)
	lines.take()
	expectKept := func(why string) {
		t.Helper()
		for i := 0; i < 2; i++ {
			if !differs(l) {
				t.Errorf("%s: it is not tried again", why)
			}
			if reloadList(l) {
				t.Errorf("%s: it was loaded", why)
			}
			if got := admitted(l, 10); !slices.Equal(got, []int{1, 2}) {
				t.Errorf("%s: %v are allowed", why, got)
			}
			lines.expectLines(t, "stays in force")
		}
	}

	writeFile(t, l.path, digits(4)+"\n"+digits(5)+"\n"+digits(6)+"\n"+digits(7))
	expectKept("more than there is room for")
	if err := errors.Join(os.Remove(l.path), os.Symlink("list", l.path)); err != nil {
		t.Fatal(err)
	}
	expectKept("a symbolic link to itself")

	if err := os.Remove(l.path); err != nil {
		t.Fatal(err)
	}
	writeFile(t, l.path, digits(4)+"\n"+digits(5)+"\n"+digits(6))
	if !differs(l) || !reloadList(l) {
		t.Fatal("good file: got no new list")
	}
	if got := admitted(l, 10); !slices.Equal(got, []int{4, 5, 6}) {
		t.Errorf("got %v allowed, want 4, 5 and 6", got)
	}

	// Before anything was read, there is nothing to keep.
	l, lines = testList(t, true, 3)
	if err := os.Symlink("list", l.path); err != nil {
		t.Fatal(err)
	}
	reloadList(l)
	lines.expectLines(t, "every torrent is refused until it is read")
	if got := admitted(l, 10); got != nil {
		t.Errorf("got %v allowed, want none", got)
	}
}

// TestListDuplicates checks that lines which name the same torrent need room
// only while the list is read. Later lists have as much room as the first.
func TestListDuplicates(t *testing.T) {
	const max = 10
	l, _ := testList(t, false, max)
	// Each list is read into the memory that the list before does not use.
	for _, tt := range []struct {
		name, text string
		from, to   int
	}{
		{name: "one torrent ten times", text: strings.Repeat(listOf(0, 1), max), from: 0, to: 1},
		{name: "another one ten times", text: strings.Repeat(listOf(1, 2), max), from: 1, to: 2},
		{name: "ten torrents", text: listOf(2, 12), from: 2, to: 12},
		{name: "ten others", text: listOf(12, 22), from: 12, to: 22},
		{name: "five of them twice", text: strings.Repeat(listOf(12, 17), 2), from: 12, to: 17},
	} {
		writeFile(t, l.path, tt.text)
		if !reloadList(l) || l.size() != tt.to-tt.from || !l.admits(testHash(tt.from)) || !l.admits(testHash(tt.to-1)) {
			t.Errorf("%s: got %d torrents, %v are allowed, want %d to %d", tt.name, l.size(), admitted(l, 30), tt.from, tt.to-1)
		}
	}
	// The torrents of the old list find room beside five that are named twice. The
	// file has another size, because its time may be the same.
	writeFile(t, l.path, strings.Repeat(listOf(17, 22), 2)+"\n")
	look(l, l.loader.since+1000, noticeChanged)
	if got := l.size(); got != max || !l.admits(testHash(12)) || !l.admits(testHash(21)) {
		t.Errorf("before the file is known to be complete: got %d torrents, want the old and the new list: %d", got, max)
	}
}

// TestListCutOff checks that a read error is an error at every place of the
// file.
func TestListCutOff(t *testing.T) {
	l, _ := testList(t, false, 1000)
	text := ""
	for i := 0; i < 500; i++ {
		text += digits(i) + "\n"
	}
	gone := errors.New("gone")
	read := func(r io.Reader) (int, error) {
		l.loader.hashes = l.loader.buffers[0][:0]
		err := l.loader.reader.file(r, &l.loader)
		return len(l.loader.hashes), err
	}
	for _, n := range []int{0, 1, 40, 41, 42, 10000, len(text)} {
		r := io.MultiReader(strings.NewReader(text[:n]), iotest.ErrReader(gone))
		if got, err := read(r); err != gone {
			t.Errorf("after %d bytes: %d hashes, %v", n, got, err)
		}
	}
	if got, err := read(strings.NewReader(text)); got != 500 || err != nil {
		t.Errorf("whole: %d hashes, %v", got, err)
	}
}

// TestListHuge checks that a file larger than the limit is not read. The file has no
// content, so it takes no room.
func TestListHuge(t *testing.T) {
	l, lines := testList(t, false, 10)
	writeFile(t, l.path, "")
	if err := os.Truncate(l.path, maxListFile+1); err != nil {
		t.Fatal(err)
	}
	reloadList(l)
	lines.expectLines(t, "larger than 1 GiB, the most for a list; every torrent is refused until it is read")
}

// TestListChanged looks at time and size. (A file of another inode: in the
// tests for Linux.)
func TestListChanged(t *testing.T) {
	l, _ := testList(t, false, 10)
	writeFile(t, l.path, digits(1))
	when := time.Unix(1_700_000_000, 123_456_789)
	touch := func() {
		if err := os.Chtimes(l.path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	touch()
	if !differs(l) || !reloadList(l) || differs(l) {
		t.Fatal("new file: want changed, a new list, then unchanged")
	}
	when = when.Add(-time.Hour) // older is different as well
	touch()
	if !differs(l) || !reloadList(l) || differs(l) {
		t.Error("another time: want changed, a new list, then unchanged")
	}
	writeFile(t, l.path, digits(1)+"\n")
	touch()
	if !differs(l) {
		t.Error("another size: got unchanged, want changed")
	}
}

// lineReaders read a text in different portions.
var lineReaders = map[string]func(io.Reader) io.Reader{
	"whole": func(r io.Reader) io.Reader { return r },
	"bytes": iotest.OneByteReader,
	"half":  iotest.HalfReader,
	"data with the error": func(r io.Reader) io.Reader {
		return iotest.DataErrReader(r)
	},
}

// splitLines is eachLine, written without a care for memory.
func splitLines(text string) (lines []string) {
	if text == "" {
		return nil
	}
	lines = strings.Split(text, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	for i, l := range lines {
		lines[i] = l[:min(len(l), maxLine)]
	}
	return lines
}

func checkLines(t testing.TB, name string, r io.Reader, text string) {
	t.Helper()
	want := splitLines(text)
	var got []string
	err := eachLine(r, make([]byte, maxLine), func(number int, line []byte) error {
		if got = append(got, string(line)); number != len(got) {
			t.Fatalf("%s: line %d is called %d", name, len(got), number)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%s: %d lines, want %d, or they differ", name, len(got), len(want))
	}
}

func TestEachLine(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	for _, text := range []string{
		"", "\n", "\n\n", "a", "a\n", "a\nb", "a\r\nb\r\n", "\na", "a\n\n\nb\n",
		long(maxLine-1) + "\nb", long(maxLine) + "\nb\nc", long(maxLine+1) + "\nb\nc\n", long(2*maxLine) + "\nb", long(3*maxLine + 17),
		"a\n" + long(maxLine-2) + "\nb", "a\n" + long(maxLine) + "\nb\n", "a\n" + long(5*maxLine) + "\n\nb\n",
		strings.Repeat(long(40)+"\n", 5000), strings.Repeat(long(maxLine)+"\n", 5),
	} {
		for name, reader := range lineReaders {
			if len(text) > 1000 && name == "bytes" {
				continue // a line is searched again after each read
			}
			checkLines(t, fmt.Sprintf("%s, %d bytes", name, len(text)), reader(strings.NewReader(text)), text)
		}
	}
	stop := errors.New("stop")
	n := 0
	if err := eachLine(strings.NewReader("a\nb\nc"), make([]byte, maxLine), func(int, []byte) error { n++; return stop }); err != stop || n != 1 {
		t.Errorf("after an error: %v, %d lines", err, n)
	}
}

// TestReloadPurges checks that torrents which a reload removes from the list
// are removed with their peers, in small and large swarms, and are refused
// afterwards. The other torrents stay.
func TestReloadPurges(t *testing.T) {
	for _, deny := range []bool{false, true} {
		s := newService(t)
		l, lines := testList(t, deny, 100)
		s.store.admit = l.admits
		k := &maintenance{tracker: s.tracker, list: l, log: &logger.Logger{Out: lines}}
		a, b := netip.MustParseAddrPort("192.0.2.1:1001"), netip.MustParseAddrPort("[2001:db8::1]:1001")
		list := func(which ...int) {
			text := ""
			for i := 0; i < 20; i++ {
				if slices.Contains(which, i) != deny {
					text += digits(i) + "\n"
				}
			}
			writeFile(t, l.path, text)
			reload(k, s.now)
		}
		list(0, 1, 2, 3)
		fillSwarm(s, a, 1000)
		fillSwarm(s, b, 1000)
		for i := 1; i < 4; i++ {
			s.announce(a, fields{hash: i, port: 1})
			s.announce(b, fields{hash: i, port: 1})
		}
		lines.take()
		list(1, 3, 9)
		if got := strings.Join(lines.take(), "\n"); strings.Count(got, ": 2 torrents removed") != 1 {
			t.Errorf("logged: %q", got)
		}
		checkInvariants(t, s.store)
		for i := 0; i < 4; i++ {
			want := [3]uint32{}
			if i == 1 || i == 3 {
				want[0] = 2
			}
			if got := s.scraped(a, i); got != want {
				t.Errorf("torrent %d: %v, want %v", i, got, want)
			}
		}
		f := leech(a)
		f.id, f.hash = s.id(a), 2
		s.expectReply(a, f.bytes(), errorReply(textDenied))
		f.hash = 9
		s.announce(a, f)

		// All are gone when the file is.
		if err := os.Remove(l.path); err != nil {
			t.Fatal(err)
		}
		reload(k, s.now)
		if n, _ := s.store.totals(); n != 0 || s.store.pool.used != 0 {
			t.Errorf("%d torrents, %d pages are left", n, s.store.pool.used)
		}
	}
}

// TestReloadWaits for announces that were admitted by the old list: what they
// store must not escape the purge, and what they read must not be discarded.
func TestReloadWaits(t *testing.T) {
	s := newService(t)
	l, lines := testList(t, false, 100)
	s.store.admit = l.admits
	k := &maintenance{tracker: s.tracker, list: l, log: &logger.Logger{Out: lines}}
	writeFile(t, l.path, digits(1))
	reload(k, s.now)
	writeFile(t, l.path, digits(2)+"\n# another size") // the times of files are coarse
	lines.take()
	a := netip.MustParseAddrPort("192.0.2.1:1001")
	id := s.id(a)
	done := make(chan bool)
	// An announce is in the store, which has no page yet for a purge to lock.
	admit := s.store.admit
	s.store.admit = func(h *bep15.InfoHash) bool {
		ok := admit(h)
		s.store.admit = admit
		go func() {
			reload(k, s.now)
			close(done)
		}()
		lines.await(t, nil, ": 2 torrents; 1 of them are no longer in it") // the new list is in force
		select {
		case <-done:
			t.Error("got the end of the reload before the request has ended")
		case <-time.After(20 * time.Millisecond):
		}
		return ok
	}
	s.announce(a, fields{id: id, hash: 1, port: 1}).expect(t, 0, 1)
	<-done
	if n, _ := s.store.totals(); n != 0 {
		t.Error("got a torrent that is not allowed after the reload, want none")
	}
}

// TestListIsLookedAt every five minutes, and read when it has changed.
func TestListIsLookedAt(t *testing.T) {
	l, lines := testList(t, false, 10)
	go l.serve()
	writeFile(t, l.path, digits(1))
	at := func(n seconds, want ...string) {
		t.Helper()
		l.tick(n, 0)
		for start := time.Now(); l.loading && time.Since(start) < deadline; {
			l.tick(n, 0)
		}
		lines.expectLines(t, want...)
	}
	at(299)
	at(300, "1 torrent")
	at(301)
	at(600)
	writeFile(t, l.path, digits(1)+"\n"+digits(2))
	at(601)
	at(899)
	at(900, "2 torrents")
	at(1200)
}

// TestListIsLookedAtAgain checks that a list which changed just now is read again as
// soon as it has not changed for some seconds, not only at the next regular check.
func TestListIsLookedAtAgain(t *testing.T) {
	l, lines := testList(t, false, 10)
	go l.serve()
	writeFile(t, l.path, digits(1)+"\n"+digits(2))
	reads := func() uint64 { return l.reads[readOK] }
	at := func(n seconds, want ...string) {
		t.Helper()
		l.tick(n, 0)
		for start := time.Now(); l.loading && time.Since(start) < deadline; {
			l.tick(n, 0)
		}
		lines.expectLines(t, want...)
	}
	at(300, "2 torrents")
	writeFile(t, l.path, digits(1))
	at(600) // it may be half-written: what it lacks stays
	if n := len(l.current.Load().hashes); n != 2 {
		t.Errorf("at once: got %d torrents, want 2", n)
	}
	before := reads()
	at(600)
	if got := reads(); got != before {
		t.Errorf("read %d times more in the same second, want 0", got-before)
	}
	for now := seconds(601); now < 600+settleTime; now++ {
		at(now)
	}
	at(600+settleTime, "1 torrent")
	before = reads()
	at(601 + settleTime)
	at(610 + settleTime)
	if got := reads(); got != before {
		t.Errorf("read %d times more after that, want 0", got-before)
	}
}

// FuzzList compares the parser with a slow and simple parser.
func FuzzList(f *testing.F) {
	f.Add([]byte(""), uint8(0))
	f.Add([]byte(digits(1)+"\n"+digits(2)+"\r\n# x\n\n"+digits(1)), uint8(1))
	f.Add([]byte("\xef\xbb\xbf"+strings.ToUpper(digits(0xabcdef))+" # x\nbad\n"+digits(3)+strings.Repeat("0", 24)), uint8(2))
	f.Add([]byte(digits(1)+" "+digits(2)+"\n#\n"+digits(5)[1:]), uint8(3))
	l, _ := testList(f, false, 50)
	f.Fuzz(func(t *testing.T, text []byte, how uint8) {
		lines := &logLines{}
		l.log = &logger.Logger{Out: lines}
		reader := []func(io.Reader) io.Reader{lineReaders["whole"], lineReaders["bytes"], lineReaders["half"], lineReaders["data with the error"]}[how%4]
		d := &l.loader
		d.hashes, d.bad, d.path, d.log = d.buffers[0][:0], 0, l.path, l.log
		err := d.reader.file(reader(bytes.NewReader(text)), d)
		if metainfo.IsTorrent(text) {
			return
		}
		sortHashes(d.hashes, 0)
		got := slices.Compact(d.hashes)

		var want []bep15.InfoHash
		var bad []int
		hashes := 0
		for i, line := range splitLines(string(text)) {
			line = strings.TrimSpace(strings.TrimPrefix(line, "\xef\xbb\xbf"))
			if line == "" || line[0] == '#' {
				continue
			}
			if line[0]|0x20 == 'm' {
				if m, err := metainfo.ParseMagnet(line); err == nil {
					hashes += len(m.Hashes(nil))
					want = m.Hashes(want)
				} else {
					bad = append(bad, i+1)
				}
				continue
			}
			word := line
			if end := strings.IndexFunc(line, func(r rune) bool {
				return r < 0x80 && !('0' <= r && r <= '9' || 'a' <= r|0x20 && r|0x20 <= 'z')
			}); end >= 0 {
				word = line[:end]
			}
			if b, err := hex.DecodeString(word); err == nil && (len(b) == 20 || len(b) == 32) {
				hashes++
				want = append(want, bep15.InfoHash(b[:20]))
			} else {
				bad = append(bad, i+1)
			}
		}
		if hashes > 50 {
			if err != errListFull {
				t.Fatalf("%d hashes, %v, want a list that is full", len(got), err)
			}
			return
		}
		slices.SortFunc(want, func(a, b bep15.InfoHash) int { return bytes.Compare(a[:], b[:]) })
		want = slices.Compact(want)
		noLine := len(want) == 0 && len(bad) > 0
		if err != nil && !(noLine && err == errNoLine) || noLine && err == nil || !slices.Equal(got, want) {
			t.Fatalf("%x, %v, want %x", got, err, want)
		}
		for i, n := range bad[:min(len(bad), maxBadLines)] {
			if line := strings.Split(lines.String(), "\n")[i]; !strings.Contains(line, l.path+":"+strconv.Itoa(n)+": ") {
				t.Fatalf("logged %q for line %d", line, n)
			}
		}
		if n := strings.Count(lines.String(), "\n"); n != min(len(bad), maxBadLines) {
			t.Fatalf("%d lines logged for %d bad ones", n, len(bad))
		}
		set := hashSet(got)
		for i := range want {
			if !set.contains(&want[i]) {
				t.Fatalf("%x is not found", want[i])
			}
			h := want[i]
			h[19]++
			if _, ok := slices.BinarySearchFunc(want, h, func(a, b bep15.InfoHash) int { return bytes.Compare(a[:], b[:]) }); set.contains(&h) != ok {
				t.Fatalf("%x is found: %v", h, !ok)
			}
		}
	})
}

// BenchmarkListMillionLines reads a list of a million. It fails if that takes ten
// times as long as decoding and sorting the hashes, on this machine.
func BenchmarkListMillionLines(b *testing.B) {
	const n = 1_000_000
	rng := splitMix64{state: 1}
	text := make([]byte, 0, 41*n)
	for i := 0; i < n; i++ {
		var h [24]byte
		for j := 0; j < len(h); j += 8 {
			copy(h[j:], strconv.FormatUint(rng.next()|1<<63, 16))
		}
		text = append(hex.AppendEncode(text, h[:20]), '\n')
	}
	l, _ := testList(b, false, n)
	writeFile(b, l.path, string(text))
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		if !reloadList(l) {
			b.Fatal("not loaded")
		}
		if len(l.current.Load().hashes) < n*9/10 {
			b.Fatal("hashes are missing")
		}
	}
	b.StopTimer()
	each := b.Elapsed() / time.Duration(b.N)
	start := time.Now()
	hashes := make([][20]byte, n)
	for i := range hashes {
		if _, err := hex.Decode(hashes[i][:], text[41*i:41*i+40]); err != nil {
			b.Fatal(err)
		}
	}
	slices.SortFunc(hashes, func(x, y [20]byte) int { return bytes.Compare(x[:], y[:]) })
	if ref := time.Since(start); each > 10*ref {
		b.Errorf("%v for a million lines, want at most ten times the %v that decoding and sorting take", each, ref)
	}
}

// BenchmarkListLookup looks for torrents in a list of a million.
func BenchmarkListLookup(b *testing.B) {
	set := make(hashSet, 1_000_000)
	rng := splitMix64{state: 1}
	for i := range set {
		for j := range set[i] {
			set[i][j] = byte(rng.next())
		}
	}
	slices.SortFunc(set, func(a, b bep15.InfoHash) int { return bytes.Compare(a[:], b[:]) })
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		if !set.contains(&set[int(rng.below(uint32(len(set))))]) {
			b.Fatal("not found")
		}
	}
}

// TestSortHashes beside package slices, with hashes that are alike and the same.
func TestSortHashes(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	for n := 0; n < 300; n++ {
		h := make([]bep15.InfoHash, n)
		for i := range h {
			rng.Read(h[i][rng.Intn(len(h[i])):])
			if i > 0 && rng.Intn(4) == 0 {
				h[i] = h[rng.Intn(i)]
			}
		}
		want := slices.Clone(h)
		slices.SortFunc(want, func(a, b bep15.InfoHash) int { return bytes.Compare(a[:], b[:]) })
		if sortHashes(h, 0); !slices.Equal(h, want) {
			t.Fatalf("%d hashes: %x, want %x", n, h, want)
		}
	}
}

// writtenList is a list of n torrents, in force.
func writtenList(t *testing.T, deny bool, n int) (*accessList, *logLines) {
	t.Helper()
	l, lines := testList(t, deny, 1000)
	writeFile(t, l.path, listOf(0, n))
	if !look(l, 1000, 0) {
		t.Fatal("the first list is not loaded")
	}
	lines.take()
	return l, lines
}

// listOf is a list of the torrents from from to below to.
func listOf(from, to int) string {
	var text strings.Builder
	for i := from; i < to; i++ {
		text.WriteString(digits(i) + "\n")
	}
	return text.String()
}

// TestListHalfWritten checks the list while a program truncates the file and
// adds line after line, with every kind of notice. No torrent of the old or the
// new list is refused before the file has not changed for some seconds.
func TestListHalfWritten(t *testing.T) {
	for name, notice := range map[string]uint32{"reload": noticeReload, "change": noticeChanged, "regular check": 0} {
		for _, deny := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", deny ", deny), func(t *testing.T) {
				l, _ := writtenList(t, deny, 400)
				expect := func(when string, want func(i int) bool) {
					t.Helper()
					for i := range 500 {
						h := testHash(i)
						if got := l.current.Load().hashes.contains(h); got != want(i) {
							t.Fatalf("%s: torrent %d is in the list in force: %v", when, i, got)
						}
					}
				}
				now := seconds(2000)
				for lines := 0; lines <= 300; lines += 50 {
					// Torrents 100 to 399 stay, in a file that is not yet as long.
					writeFile(t, l.path, listOf(100, 100+lines)+digits(900)[:30])
					look(l, now, notice)
					expect(fmt.Sprint(lines, " lines"), func(i int) bool { return i < 400 })
					now++
				}
				writeFile(t, l.path, listOf(100, 450))
				look(l, now, noticeChanged)
				expect("complete", func(i int) bool { return i < 450 })
				for range settleTime {
					if !l.retry {
						t.Fatal("got no retry, want one")
					}
					expect("complete, a moment later", func(i int) bool { return i < 450 })
					now++
					look(l, now, 0)
				}
				expect("settled", func(i int) bool { return i >= 100 && i < 450 })
				if l.retry {
					t.Error("the list is read again for nothing")
				}
			})
		}
	}
}

// TestListShorter checks that the removal of most torrents waits, and that
// their return is immediate.
func TestListShorter(t *testing.T) {
	for _, tt := range []struct {
		before, after int
		wait          seconds
	}{
		{before: 400, after: 200, wait: settleTime},
		{before: 400, after: 199, wait: settleTimeShort},
		{before: 400, after: 1, wait: settleTimeShort},
		{before: 11, after: 1, wait: settleTimeShort},
		{before: 10, after: 1, wait: settleTime},
		{before: 2, after: 0, wait: settleTime},
	} {
		t.Run(fmt.Sprint(tt.before, " to ", tt.after), func(t *testing.T) {
			l, _ := writtenList(t, false, tt.before)
			writeFile(t, l.path, "#\n"+listOf(0, tt.after))
			for i := range tt.wait {
				look(l, 2000+i, 0)
				if got := l.size(); got != tt.before {
					t.Fatalf("after %d s: %d torrents, want %d", i, got, tt.before)
				}
			}
			look(l, 2000+tt.wait, 0)
			if got := l.size(); got != tt.after {
				t.Errorf("after %d s: %d torrents, want %d", tt.wait, got, tt.after)
			}
		})
	}
}

// TestListGone checks that a file that is missing for a moment changes nothing.
// Some editors rename the old file and write a new one.
func TestListGone(t *testing.T) {
	l, lines := writtenList(t, false, 3)
	if err := os.Rename(l.path, l.path+"~"); err != nil {
		t.Fatal(err)
	}
	look(l, 2000, noticeChanged)
	if got := admitted(l, 5); !slices.Equal(got, []int{0, 1, 2}) {
		t.Errorf("missing for a moment: %v are allowed", got)
	}
	writeFile(t, l.path, listOf(1, 4))
	look(l, 2001, noticeChanged)
	if got := admitted(l, 5); !slices.Equal(got, []int{0, 1, 2, 3}) {
		t.Errorf("back: %v are allowed", got)
	}
	look(l, 2001+settleTime, 0)
	if got := admitted(l, 5); !slices.Equal(got, []int{1, 2, 3}) {
		t.Errorf("settled: %v are allowed", got)
	}
	lines.expectLines(t, "4 torrents; 1 of them are no longer in it and go when it has not changed for 3 s", ": 3 torrents")
	if err := os.Remove(l.path); err != nil {
		t.Fatal(err)
	}
	look(l, 3000, noticeChanged)
	look(l, 3000+settleTime-1, 0)
	if l.current.Load().all {
		t.Error("before the settle time: got all torrents refused, want the old list")
	}
	look(l, 3000+settleTime, 0)
	if !l.current.Load().all {
		t.Error("after the settle time: got the old list, want all torrents refused")
	}
	lines.expectLines(t, "no such file; every torrent is refused until it is there")
}

// TestListReplaced checks that a file that is renamed to the path is complete
// at once.
func TestListReplaced(t *testing.T) {
	l, lines := writtenList(t, false, 400)
	replaceFile(t, l.path, listOf(399, 401))
	look(l, 2000, noticeReplaced)
	if got := l.current.Load().hashes; len(got) != 2 || !got.contains(testHash(400)) {
		t.Errorf("%d torrents, want 2", len(got))
	}
	lines.expectLines(t, ": 2 torrents")
}

// TestListOld checks that a file whose time is long ago is complete at once,
// even if the tracker has not seen it before.
func TestListOld(t *testing.T) {
	l, _ := writtenList(t, false, 3)
	writeFile(t, l.path, listOf(1, 4))
	when := time.Unix(1_700_000_000, 0)
	if err := os.Chtimes(l.path, when, when); err != nil {
		t.Fatal(err)
	}
	r := listRequest{now: 2000, wall: 1_700_000_000 + uint32(settleTime), notice: noticeReload}
	l.install(l.load(r))
	if got := admitted(l, 5); !slices.Equal(got, []int{1, 2, 3}) {
		t.Errorf("%v are allowed", got)
	}
}

// torrentText is a .torrent file of version 1 and its info hash.
func torrentText(name string) (string, bep15.InfoHash) {
	info := fmt.Sprintf("d6:lengthi1e4:name%d:%s6:pieces20:xxxxxxxxxxxxxxxxxxxxe", len(name), name)
	return "d8:announce7:udp://a4:info" + info + "e", sha1.Sum([]byte(info))
}

// TestListTorrentFile checks that a .torrent file is a list with its torrent.
func TestListTorrentFile(t *testing.T) {
	l, lines := testList(t, false, 10)
	text, hash := torrentText("one")
	writeFile(t, l.path, text)
	look(l, 1000, 0)
	if !l.admits(&hash) || l.size() != 1 {
		t.Error("the torrent of a .torrent file is refused")
	}
	lines.expectLines(t, ": 1 torrent")
	writeFile(t, l.path, text[:len(text)-1])
	reloadList(l)
	if !l.admits(&hash) {
		t.Error("half a .torrent file replaced a whole one")
	}
	lines.expectLines(t, "[ERROR] whitelist "+l.path+": the .torrent file is incomplete; the list that was read before stays")
}

// TestListDirectory checks a directory of .torrent files and lists.
func TestListDirectory(t *testing.T) {
	l, lines := testList(t, false, 100)
	if err := os.Mkdir(l.path, 0o700); err != nil {
		t.Fatal(err)
	}
	put := func(name, text string) {
		t.Helper()
		writeFile(t, filepath.Join(l.path, name), text)
	}
	remove := func(name string) {
		t.Helper()
		if err := os.RemoveAll(filepath.Join(l.path, name)); err != nil {
			t.Fatal(err)
		}
	}
	a, hashA := torrentText("a")
	b, hashB := torrentText("b")
	now := seconds(1000)
	expect := func(when string, want map[*bep15.InfoHash]bool) {
		t.Helper()
		now += 1000
		look(l, now, noticeChanged)
		for h, ok := range want {
			if l.admits(h) != ok {
				t.Errorf("%s: %x is allowed: %v", when, *h, !ok)
			}
		}
	}
	settle := func(when string, want map[*bep15.InfoHash]bool) {
		t.Helper()
		now += settleTimeShort
		look(l, now, 0)
		now += settleTimeShort
		expect(when, want)
	}
	expect("empty", map[*bep15.InfoHash]bool{&hashA: false})
	lines.expectLines(t, ": 0 torrents", "every torrent is refused")

	put("a.torrent", a)
	put("README", digits(1))
	put(".hidden.torrent", b)
	expect("one is dropped in", map[*bep15.InfoHash]bool{&hashA: true, &hashB: false, testHash(1): false})
	put("b.TORRENT", b[:30])
	expect("a second one, half written", map[*bep15.InfoHash]bool{&hashA: true, &hashB: false})
	put("b.TORRENT", b)
	expect("the second one, whole", map[*bep15.InfoHash]bool{&hashA: true, &hashB: true})
	put("friends.txt", digits(1)+" # one\n")
	put("more.list", digits(2))
	put("list.csv", digits(3))
	settle("lists", map[*bep15.InfoHash]bool{&hashA: true, &hashB: true, testHash(1): true, testHash(2): true, testHash(3): false})
	lines.expectLines(t, ": 1 torrent", ": 2 torrents", ": 4 torrents")

	// A file that is written again in place keeps its torrent while it is
	// incomplete.
	put("a.torrent", a[:30])
	expect("half of the first one", map[*bep15.InfoHash]bool{&hashA: true, &hashB: true})
	put("a.torrent", a)
	settle("whole again", map[*bep15.InfoHash]bool{&hashA: true, &hashB: true})
	lines.take()

	remove("a.torrent")
	expect("removed", map[*bep15.InfoHash]bool{&hashA: true, &hashB: true})
	settle("removed and settled", map[*bep15.InfoHash]bool{&hashA: false, &hashB: true})
	remove("")
	expect("the directory is removed", map[*bep15.InfoHash]bool{&hashB: true})
	settle("gone", map[*bep15.InfoHash]bool{&hashB: false})
	if err := os.Mkdir(l.path, 0o700); err != nil {
		t.Fatal(err)
	}
	put("b.torrent", b)
	expect("back", map[*bep15.InfoHash]bool{&hashB: true})
}

// TestListDirectoryRemembers checks that a .torrent file that did not change is
// not read again, and that a file which is not a torrent is reported once.
func TestListDirectoryRemembers(t *testing.T) {
	l, lines := testList(t, false, 100)
	if err := os.Mkdir(l.path, 0o700); err != nil {
		t.Fatal(err)
	}
	want := 0
	for i := range 50 {
		text, _ := torrentText(fmt.Sprint("torrent ", i))
		writeFile(t, fmt.Sprintf("%s/%d.torrent", l.path, i), text)
		want++
	}
	writeFile(t, l.path+"/bad\n\x1b[31m.torrent", "no torrent")
	look(l, 1000, 0)
	if l.size() != want {
		t.Fatalf("%d torrents, want %d", l.size(), want)
	}
	lines.expectLines(t, `bad\n\x1b[31m.torrent": not a valid .torrent file; skipped`, ": 50 torrents")
	// What is remembered of a file takes the place of its content.
	known := l.loader.known[l.loader.next^1]
	i := slices.IndexFunc(known, func(k knownFile) bool { return k.hash != bep15.InfoHash{} })
	known[i].hash = *testHash(77)
	text, hash := torrentText("another")
	writeFile(t, l.path+"/another.torrent", text)
	for now := seconds(2000); now < 2000+settleTime+1; now++ {
		look(l, now, noticeChanged)
	}
	if !l.admits(&hash) || l.size() != want+1 {
		t.Errorf("%d torrents, want %d", l.size(), want+1)
	}
	if !l.admits(testHash(77)) {
		t.Error("a file that did not change was read again")
	}
	lines.take()
	look(l, 9000, noticeReload)
	lines.expectLines(t, ": 51 torrents")
}

// TestKnownFilesAllOrNothing checks that the table has all hashes of a file or none.
func TestKnownFilesAllOrNothing(t *testing.T) {
	k := make(knownFiles, 2)
	k.add(1, testHash(1))
	k.add(2, testHash(2))
	k.add(2, testHash(3)) // the second hash of a hybrid torrent has no room
	for key, want := range map[uint64]int{1: 1, 2: 0} {
		got := 0
		k.each(key, func(*bep15.InfoHash) { got++ })
		if got != want {
			t.Errorf("file %d: got %d hashes, want %d", key, got, want)
		}
	}
}

// TestListDirectoryFull checks that a directory with too many torrents keeps
// the old list.
func TestListDirectoryFull(t *testing.T) {
	l, lines := testList(t, false, 10)
	if err := os.Mkdir(l.path, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, l.path+"/a.list", listOf(0, 5))
	look(l, 1000, 0)
	writeFile(t, l.path+"/b.list", listOf(5, 20))
	look(l, 2000, noticeChanged)
	look(l, 2000+settleTime, 0)
	if got := admitted(l, 30); !slices.Equal(got, []int{0, 1, 2, 3, 4}) {
		t.Errorf("%v are allowed", got)
	}
	lines.expectLines(t, ": 5 torrents", "more info hashes than the memory set aside")
}

// TestListHangs checks that a list that hangs stops nothing else, and that the
// log has one warning.
func TestListHangs(t *testing.T) {
	l, lines := testList(t, false, 10)
	// No loader serves the requests: it hangs.
	l.notify(noticeChanged)
	for now := seconds(1); now < 100; now++ {
		if l.tick(now, 0) {
			t.Fatal("a list is in force")
		}
	}
	lines.expectLines(t, "reading it takes more than 10 s; every torrent is refused until it is read")
	if l.reloadPending() {
		t.Error("a reload waits for a load that takes long")
	}
	l.notify(noticeChanged)
	go l.serve()
	defer l.close()
	writeFile(t, l.path, digits(1))
	for start := time.Now(); !l.admits(testHash(1)); {
		if l.tick(200, 0); time.Since(start) > deadline {
			t.Fatal("the list is not in force when the system answers again")
		}
	}
}

// TestFirstLoad checks that the start waits for the list, but not without end.
func TestFirstLoad(t *testing.T) {
	old := firstLoadWait
	t.Cleanup(func() { firstLoadWait = old })
	l, _ := testList(t, false, 10)
	writeFile(t, l.path, digits(1))
	wait := func(most time.Duration) {
		t.Helper()
		firstLoadWait = most
		ended := make(chan struct{})
		go func() {
			l.firstLoad()
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(deadline):
			t.Fatal("the start still waits for the list")
		}
	}
	// No loader serves the request: it hangs.
	l.request(1, 0)
	wait(10 * time.Millisecond)
	if l.admits(testHash(1)) {
		t.Error("a torrent is allowed before the list is read")
	}
	go l.serve()
	defer l.close()
	wait(deadline)
	if !l.admits(testHash(1)) {
		t.Error("the start has not waited for the list")
	}
}

// TestReloadDuringHang checks that a reload does not wait for a load that hangs.
func TestReloadDuringHang(t *testing.T) {
	l, _ := testList(t, false, 10)
	l.notify(noticeChanged)
	for now := seconds(1); now < 100; now++ {
		l.tick(now, 0)
	}
	l.notify(noticeReload)
	if l.reloadPending() {
		t.Error("got a pending reload, want none while a load takes long")
	}
}

func TestEstimateList(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "a.torrent"), "x")
	writeFile(t, filepath.Join(dir, "b.list"), listOf(0, 10))
	writeFile(t, filepath.Join(dir, "c"), listOf(0, 10))
	for _, tt := range []struct {
		path string
		want listEstimate
		err  error
	}{
		{path: dir, want: listEstimate{2 + 10, true}},
		{path: filepath.Join(dir, "c"), want: listEstimate{10, false}},
		{path: filepath.Join(dir, "none"), want: listEstimate{}},
		{path: os.DevNull, want: listEstimate{}, err: errNotList},
	} {
		if got, err := estimateList(tt.path); got != tt.want || err != tt.err {
			t.Errorf("%s: got %+v, %v, want %+v, %v", tt.path, got, err, tt.want, tt.err)
		}
	}
}

func mkdir(t testing.TB, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
}
