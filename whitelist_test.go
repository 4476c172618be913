package main

import (
	"bytes"
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
)

// digits is the i-th test torrent as a list names it.
func digits(i int) string { return hex.EncodeToString(testHash(i)[:]) }

// testList makes a list for a file that is not there yet.
func testList(t testing.TB, deny bool, max int) (*accessList, *logLines) {
	t.Helper()
	lines := &logLines{}
	l, err := newAccessList(filepath.Join(t.TempDir(), "list"), deny, max, &logger.Logger{Out: lines})
	if err != nil {
		t.Fatal(err)
	}
	return l, lines
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
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
	hash := "0123456789abcdef0123456789abcdef01234567"
	want := bep15.InfoHash(bin(hash))
	v2 := hash + strings.Repeat("9f", 12)
	for _, line := range []string{
		hash, strings.ToUpper(hash), "0123456789ABCDEF0123456789abcdef01234567", hash + "\r", "  " + hash + "\t ",
		"\xef\xbb\xbf" + hash, hash + " # a comment", hash + "#a comment", hash + "\t#", hash + " # a # b",
		v2, strings.ToUpper(v2) + " # v2", "\t" + v2 + "\r",
	} {
		var h bep15.InfoHash
		if ok, err := parseLine([]byte(line), &h); !ok || err != nil || h != want {
			t.Errorf("%q: %v, %v, %x", line, ok, err, h)
		}
	}
	for _, line := range []string{"", " ", "\r", "\t", "#", "# " + hash, "  # x", "#" + hash, "\xef\xbb\xbf", "\xef\xbb\xbf# x\r"} {
		var h bep15.InfoHash
		if ok, err := parseLine([]byte(line), &h); ok || err != nil {
			t.Errorf("%q: %v, %v, want neither a hash nor an error", line, ok, err)
		}
	}
	for line, want := range map[string]error{
		hash[1:]:            errLineLength,
		hash + "8":          errLineLength,
		v2[1:]:              errLineLength,
		v2 + "0":            errLineLength,
		"g" + hash[1:]:      errLineLength,
		"G" + hash[1:]:      errLineLength,
		hash[:39] + "/":     errLineLength,
		hash[:39] + ":":     errLineLength,
		hash[:39] + "@":     errLineLength,
		hash[:39] + "`":     errLineLength,
		v2[:63] + "x":       errLineLength,
		hash[:39] + "\x00":  errLineLength,
		hash[:38] + "é":     errLineLength,
		"0x" + hash:         errLineLength,
		"abc # x":           errLineLength,
		hash + " x":         errLineRest,
		hash + "\t" + hash:  errLineRest,
		hash + " ; x":       errLineRest,
		"allow " + hash:     errLineRest,
		hash + " " + "// x": errLineRest,
	} {
		var h bep15.InfoHash
		if ok, err := parseLine([]byte(line), &h); ok || err != want {
			t.Errorf("%q: %v, %v, want %v", line, ok, err, want)
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
		"\t"+digits(0)) // without a line end
	if !l.load() {
		t.Fatal("not loaded")
	}
	if got := admitted(l, 10); !slices.Equal(got, []int{0, 1, 2, 3}) {
		t.Errorf("admitted: %v", got)
	}
	lines.expectLines(t, "list:5: an info hash is 40 hexadecimal digits, or 64 for BitTorrent v2; line skipped",
		"list:9: only a comment may follow the info hash; line skipped",
		"whitelist "+l.path+": 4 torrents")
}

// TestListOfOriginal: the example that the original tracker documents has a
// line of 41 characters.
func TestListOfOriginal(t *testing.T) {
	l, lines := testList(t, false, 10)
	writeFile(t, l.path, `# Comments start with #
a1b2c3d4e5f6789012345678901234567890abcd
fedcba0987654321098765432109876543210fedc

e5d4c3b2a1987654321098765432109876543210
`)
	l.load()
	lines.expectLines(t, "list:3: an info hash is 40 hexadecimal digits", ": 2 torrents")
	for _, h := range []string{"a1b2c3d4e5f6789012345678901234567890abcd", "e5d4c3b2a1987654321098765432109876543210"} {
		if !l.admits((*bep15.InfoHash)(bin(h))) {
			t.Errorf("%s is not allowed", h)
		}
	}
}

// TestListBadLines: the first ten are named, then they are counted.
func TestListBadLines(t *testing.T) {
	for _, bad := range []int{9, 10, 11, 500} {
		l, lines := testList(t, false, 10)
		writeFile(t, l.path, digits(1)+"\n"+strings.Repeat("bad\n", bad)+digits(2))
		l.load()
		var want []string
		for i := 0; i < min(bad, 10); i++ {
			want = append(want, fmt.Sprintf("[WARN] %s:%d: ", l.path, i+2))
		}
		if bad > 10 {
			want = append(want, fmt.Sprintf("[WARN] %s: %d lines skipped in all", l.path, bad))
		}
		lines.expectLines(t, append(want, "2 torrents")...)
		if got := admitted(l, 5); !slices.Equal(got, []int{1, 2}) {
			t.Errorf("admitted: %v", got)
		}
	}
}

// TestListRefusesAll: a whitelist that was never read, is gone or has nothing
// in it allows nothing; so does a blacklist that is gone.
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
		if !l.load() {
			t.Error("that the file is gone is news")
		}
		expect("without a file")
		lines.expectLines(t, "[WARN] "+l.kind()+" "+l.path+": no such file; every torrent is refused until it is there")

		writeFile(t, l.path, "# nothing\n")
		l.load()
		if deny {
			expect("of nothing", 0, 1, 2)
			lines.expectLines(t, ": 0 torrents")
		} else {
			expect("of nothing")
			lines.expectLines(t, ": 0 torrents", "every torrent is refused")
		}

		writeFile(t, l.path, digits(1))
		l.load()
		if deny {
			expect("of one", 0, 2)
		} else {
			expect("of one", 1)
		}
		lines.expectLines(t, ": 1 torrents")
		if err := os.Remove(l.path); err != nil {
			t.Fatal(err)
		}
		if !l.changed() {
			t.Error("it is gone, and has not changed")
		}
		l.load()
		expect("that is gone")
		if l.changed() {
			t.Error("that it is gone is told twice")
		}
		lines.expectLines(t, "no such file")
		writeFile(t, l.path, digits(2))
		if !l.changed() || !l.load() || l.changed() {
			t.Error("it is back, and has not changed; or goes on changing")
		}
	}
}

// TestListKept: what can't be read, or not to its end, leaves the list as it
// was, and is tried again.
func TestListKept(t *testing.T) {
	l, lines := testList(t, false, 3)
	writeFile(t, l.path, digits(1)+"\n"+digits(2))
	l.load()
	lines.take()
	expectKept := func(why string) {
		t.Helper()
		for i := 0; i < 2; i++ {
			if !l.changed() {
				t.Errorf("%s: it is not tried again", why)
			}
			if l.load() {
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
	if err := errors.Join(os.Remove(l.path), os.Mkdir(l.path, 0o700)); err != nil {
		t.Fatal(err)
	}
	expectKept("a directory")

	if err := os.Remove(l.path); err != nil {
		t.Fatal(err)
	}
	writeFile(t, l.path, digits(4)+"\n"+digits(5)+"\n"+digits(6))
	if !l.changed() || !l.load() {
		t.Fatal("a good file is not loaded")
	}
	if got := admitted(l, 10); !slices.Equal(got, []int{4, 5, 6}) {
		t.Errorf("%v are allowed", got)
	}

	// Before anything was read, there is nothing to keep.
	l, lines = testList(t, true, 3)
	if err := os.Mkdir(l.path, 0o700); err != nil {
		t.Fatal(err)
	}
	l.load()
	lines.expectLines(t, "every torrent is refused until it can be read")
	if got := admitted(l, 10); got != nil {
		t.Errorf("%v are allowed", got)
	}
}

// TestListCutOff: a read that fails half-way is a failure, wherever it fails.
func TestListCutOff(t *testing.T) {
	l, _ := testList(t, false, 1000)
	text := ""
	for i := 0; i < 500; i++ {
		text += digits(i) + "\n"
	}
	gone := errors.New("gone")
	for _, n := range []int{0, 1, 40, 41, 42, 10000, len(text)} {
		r := io.MultiReader(strings.NewReader(text[:n]), iotest.ErrReader(gone))
		if got, err := l.read(r); err != gone || got != nil {
			t.Errorf("after %d bytes: %d hashes, %v", n, len(got), err)
		}
	}
	if got, err := l.read(strings.NewReader(text)); len(got) != 500 || err != nil {
		t.Errorf("whole: %d hashes, %v", len(got), err)
	}
}

// changingWriter does something when the first line is logged.
type changingWriter struct {
	*logLines
	change func()
}

func (w *changingWriter) Write(b []byte) (int, error) {
	if w.change != nil {
		w.change()
		w.change = nil
	}
	return w.logLines.Write(b)
}

// TestListBusy: a file that is cut off or written to while it is read changes
// nothing, and is read again a second later.
func TestListBusy(t *testing.T) {
	text := "a line that is logged while the file is read\n"
	for i := 0; i < 4000; i++ {
		text += digits(i) + "\n"
	}
	for name, change := range map[string]func(path string) error{
		"truncated": func(path string) error { return os.Truncate(path, 100000) },
		"emptied":   func(path string) error { return os.Truncate(path, 0) },
		"written to": func(path string) error {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteString(digits(5000) + "\n")
				err = errors.Join(err, f.Close())
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t)
			l, lines := testList(t, false, 10000)
			writeFile(t, l.path, digits(9000))
			l.load()
			lines.take()
			w := &changingWriter{logLines: lines, change: func() {
				if err := change(l.path); err != nil {
					t.Error(err)
				}
			}}
			l.log = &logger.Logger{Out: w}
			k := &maintenance{tracker: s.tracker, list: l, log: l.log}
			writeFile(t, l.path, text)
			k.tick(moment{mono: 300})
			if !l.admits(testHash(9000)) || l.admits(testHash(1)) {
				t.Error("the list that was in force is another")
			}
			if got := strings.Join(lines.take(), "\n"); !strings.Contains(got, "somebody is writing to it") {
				t.Errorf("log: %s", got)
			}
			k.tick(moment{mono: 301})
			if l.admits(testHash(9000)) || l.busy {
				t.Error("the file was not read again")
			}
			lines.take()
			k.tick(moment{mono: 302})
			if got := lines.take(); len(got) != 0 {
				t.Errorf("read once more: %q", got)
			}
		})
	}
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
	if !l.changed() || !l.load() || l.changed() {
		t.Fatal("a new file has not changed, or one that was read has")
	}
	touch()
	if l.changed() {
		t.Error("nothing is different, and it has changed")
	}
	when = when.Add(-time.Hour) // older is different as well
	touch()
	if !l.changed() || !l.load() || l.changed() {
		t.Error("the time is different, and it has not changed")
	}
	writeFile(t, l.path, digits(1)+"\n")
	touch()
	if !l.changed() {
		t.Error("the size is different, and it has not changed")
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
	err := eachLine(r, func(number int, line []byte) error {
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
				continue // a line is searched anew after each read
			}
			checkLines(t, fmt.Sprintf("%s, %d bytes", name, len(text)), reader(strings.NewReader(text)), text)
		}
	}
	stop := errors.New("stop")
	n := 0
	if err := eachLine(strings.NewReader("a\nb\nc"), func(int, []byte) error { n++; return stop }); err != stop || n != 1 {
		t.Errorf("after an error: %v, %d lines", err, n)
	}
}

// TestReloadPurges: what a reload takes off the list is gone with its peers,
// small swarms and large ones, and newcomers are refused; the rest stays.
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
			k.reload(s.now)
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
		if got := lines.take(); !strings.Contains(got[len(got)-1], ": 2 torrents removed") {
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
		k.reload(s.now)
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
	k.reload(s.now)
	writeFile(t, l.path, digits(2))
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
			k.reload(s.now)
			close(done)
		}()
		lines.await(t, nil, ": 1 torrents") // the new list is in force
		select {
		case <-done:
			t.Error("the reload has not waited")
		case <-time.After(20 * time.Millisecond):
		}
		return ok
	}
	s.announce(a, fields{id: id, hash: 1, port: 1}).expect(t, 0, 1)
	<-done
	if n, _ := s.store.totals(); n != 0 {
		t.Error("a torrent that is not allowed is there after the reload")
	}
}

// TestListIsLookedAt every five minutes, and read when it has changed.
func TestListIsLookedAt(t *testing.T) {
	s := newService(t)
	l, lines := testList(t, false, 10)
	k := &maintenance{tracker: s.tracker, list: l, log: &logger.Logger{Out: lines}}
	writeFile(t, l.path, digits(1))
	at := func(n seconds, want ...string) {
		t.Helper()
		k.tick(moment{mono: n})
		lines.expectLines(t, want...)
	}
	at(299)
	at(300, "1 torrents")
	at(301)
	at(600)
	writeFile(t, l.path, digits(1)+"\n"+digits(2))
	at(601)
	at(899)
	at(900, "2 torrents")
	at(1200)
}

// FuzzList compares the parser with one that is slow and plain.
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
		got, err := l.read(reader(bytes.NewReader(text)))

		var want []bep15.InfoHash
		var bad []int
		hashes := 0
		for i, line := range splitLines(string(text)) {
			line = strings.TrimSpace(strings.TrimPrefix(line, "\xef\xbb\xbf"))
			word, _, _ := strings.Cut(line, "#")
			word = strings.Trim(word, " \t")
			if word == "" && (line == "" || strings.HasPrefix(line, "#")) {
				continue
			}
			if b, err := hex.DecodeString(word); err == nil && (len(b) == 20 || len(b) == 32) {
				hashes++
				want = append(want, bep15.InfoHash(b[:20]))
			} else {
				bad = append(bad, i+1)
			}
		}
		if hashes > 50 {
			if err != errListFull || got != nil {
				t.Fatalf("%d hashes, %v, want a list that is full", len(got), err)
			}
			return
		}
		slices.SortFunc(want, func(a, b bep15.InfoHash) int { return bytes.Compare(a[:], b[:]) })
		want = slices.Compact(want)
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("%x, %v, want %x", got, err, want)
		}
		for i, n := range bad[:min(len(bad), maxBadLines)] {
			if line := strings.Split(lines.String(), "\n")[i]; !strings.Contains(line, l.path+":"+strconv.Itoa(n)+": ") {
				t.Fatalf("logged %q for line %d", line, n)
			}
		}
		if n := strings.Count(lines.String(), "\n"); n != min(len(bad), maxBadLines+1) {
			t.Fatalf("%d lines logged for %d bad ones", n, len(bad))
		}
		set := hashSet(got)
		for i := range want {
			if !set.has(&want[i]) {
				t.Fatalf("%x is not found", want[i])
			}
			h := want[i]
			h[19]++
			if _, ok := slices.BinarySearchFunc(want, h, func(a, b bep15.InfoHash) int { return bytes.Compare(a[:], b[:]) }); set.has(&h) != ok {
				t.Fatalf("%x is found: %v", h, !ok)
			}
		}
	})
}

// BenchmarkListMillionLines reads a list of a million: within two seconds on
// anything that is faster than a router.
func BenchmarkListMillionLines(b *testing.B) {
	const n = 1_000_000
	rng := random{state: 1}
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
		if !l.load() {
			b.Fatal("not loaded")
		}
		if l.next ^= 1; len(l.current.Load().hashes) < n*9/10 {
			b.Fatal("hashes are missing")
		}
	}
	if d := b.Elapsed() / time.Duration(b.N); d > 2*time.Second && !testing.Short() {
		b.Errorf("%v for a million lines, want less than 2 s", d)
	}
}

// BenchmarkListLookup looks for torrents in a list of a million.
func BenchmarkListLookup(b *testing.B) {
	set := make(hashSet, 1_000_000)
	rng := random{state: 1}
	for i := range set {
		for j := range set[i] {
			set[i][j] = byte(rng.next())
		}
	}
	slices.SortFunc(set, func(a, b bep15.InfoHash) int { return bytes.Compare(a[:], b[:]) })
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		if !set.has(&set[int(rng.below(uint32(len(set))))]) {
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
