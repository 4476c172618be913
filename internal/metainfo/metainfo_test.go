package metainfo

import (
	"bytes"
	stdsha1 "crypto/sha1"
	stdsha256 "crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// str bencodes a string.
func str(s string) string { return fmt.Sprintf("%d:%s", len(s), s) }

// dict bencodes a dictionary of keys and bencoded values in turn.
func dict(parts ...string) string {
	s := "d"
	for i, p := range parts {
		if i%2 == 0 {
			p = str(p)
		}
		s += p
	}
	return s + "e"
}

func list(values ...string) string { return "l" + strings.Join(values, "") + "e" }

func integer(n int64) string { return fmt.Sprintf("i%de", n) }

// v1Info is an info dictionary of one file.
var v1Info = dict("length", integer(1000), "name", str("one.iso"), "piece length", integer(16384),
	"pieces", str(strings.Repeat("x", 20)))

func v2File(length int64) string {
	return dict("", dict("length", integer(length), "pieces root", str(strings.Repeat("r", 32))))
}

func read(text string) (*Torrent, error) { return new(Reader).Read(strings.NewReader(text)) }

func TestRead(t *testing.T) {
	multiple := dict("files", list(
		dict("length", integer(10), "path", list(str("a"))),
		dict("attr", str("p"), "length", integer(6), "path", list(str(".pad"), str("6"))),
		dict("length", integer(20), "path", list(str("b"), str("c")))),
		"name", str("two"), "pieces", str(""), "private", integer(1))
	v2 := dict("file tree", dict("a", v2File(10), "b", dict("c", v2File(20), "d", dict("e", v2File(30)))),
		"meta version", integer(2), "name", str("tree"), "piece length", integer(16384))
	hybrid := dict("file tree", dict("a", v2File(10)), "length", integer(10), "meta version", integer(2),
		"name", str("both"), "piece length", integer(16384), "pieces", str(strings.Repeat("x", 20)))
	for _, tt := range []struct {
		name, before, info, after string
		want                      Torrent
	}{
		{name: "one file", info: v1Info, want: Torrent{HasV1: true, Name: "one.iso", Size: 1000, Files: 1}},
		{name: "several files, padding, private", info: multiple,
			want: Torrent{HasV1: true, Name: "two", Size: 30, Files: 2, Private: true}},
		{name: "version 2", info: v2, want: Torrent{HasV2: true, Name: "tree", Size: 60, Files: 3}},
		{name: "version 2, padding", info: dict("file tree", dict("a", v2File(10),
			"b", dict("", dict("attr", str("xp"), "length", integer(5))), "c", dict("", dict("attr", str("x"), "length", integer(20)))),
			"meta version", integer(2)), want: Torrent{HasV2: true, Size: 30, Files: 2}},
		{name: "not private", info: dict("pieces", str(""), "private", integer(2)), want: Torrent{HasV1: true}},
		{name: "hybrid", info: hybrid, want: Torrent{HasV1: true, HasV2: true, Name: "both", Size: 10, Files: 1}},
		{name: "trackers", before: str("announce") + str("udp://a:1/announce") +
			str("announce-list") + list(list(str("udp://a:1/announce"), str("udp://b")), list(str("http://c"))),
			info: v1Info, after: str("nodes") + list(),
			want: Torrent{HasV1: true, Name: "one.iso", Size: 1000, Files: 1, Announce: "udp://a:1/announce",
				Lists: [][]string{{"udp://a:1/announce", "udp://b"}, {"http://c"}}}},
		{name: "trackers twice", before: str("announce") + str("") + str("announce-list") + list(),
			info: v1Info, after: str("announce") + str("udp://b") + str("announce-list") + list(list(str("udp://c"))),
			want: Torrent{HasV1: true, Name: "one.iso", Size: 1000, Files: 1}},
		{name: "an empty tier", before: str("announce-list") + list(list(), list(str("udp://b"))),
			info: v1Info, want: Torrent{HasV1: true, Name: "one.iso", Size: 1000, Files: 1, Lists: [][]string{{"udp://b"}}}},
		{name: "unsorted keys", info: v1Info, after: str("announce") + str("udp://a"),
			want: Torrent{HasV1: true, Name: "one.iso", Size: 1000, Files: 1, Announce: "udp://a"}},
		{name: "other types than usual", before: str("announce") + integer(7) + str("announce-list") + str("x"),
			info: dict("name", integer(3), "pieces", list(), "private", str("1")),
			want: Torrent{HasV1: true}},
		{name: "negative numbers", info: dict("length", integer(-5), "pieces", str("")), want: Torrent{HasV1: true, Files: 1}},
		{name: "long name", info: dict("name", str(strings.Repeat("n", 300)), "pieces", str("")),
			want: Torrent{HasV1: true, Name: strings.Repeat("n", MaxName)}},
		{name: "an info key in a nested dictionary", before: str("azureus") + dict("info", dict("pieces", str("no"))),
			info: v1Info, want: Torrent{HasV1: true, Name: "one.iso", Size: 1000, Files: 1}},
		{name: "larger than the buffer", before: str("comment") + str(strings.Repeat("c", 5000)),
			info: dict("name", str("big"), "pieces", str(strings.Repeat("p", 20*1000))), want: Torrent{HasV1: true, Name: "big"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := "d" + tt.before + "4:info" + tt.info + tt.after + "e"
			want := tt.want
			if want.HasV1 {
				want.V1 = stdsha1.Sum([]byte(tt.info))
			}
			if want.HasV2 {
				want.V2 = stdsha256.Sum256([]byte(tt.info))
			}
			for name, reader := range map[string]io.Reader{
				"whole":               strings.NewReader(text),
				"bytes":               iotest.OneByteReader(strings.NewReader(text)),
				"data with the error": iotest.DataErrReader(strings.NewReader(text)),
				"more behind the end": strings.NewReader(text + "\n\x00"),
			} {
				got, err := new(Reader).Read(reader)
				if err != nil {
					t.Fatalf("%s: got error %v", name, err)
				}
				if part := text[got.Info.From:got.Info.To]; part != tt.info {
					t.Errorf("%s: info dictionary is at %q", name, part)
				}
				if p := got.AnnouncePart; p.To != 0 && !strings.HasPrefix(text[p.From:p.To], "8:announce") {
					t.Errorf("%s: announce is at %q", name, text[p.From:p.To])
				}
				if p := got.ListsPart; p.To != 0 && !strings.HasPrefix(text[p.From:p.To], "13:announce-list") {
					t.Errorf("%s: announce-list is at %q", name, text[p.From:p.To])
				}
				bare, err := (&Reader{Bare: true}).Read(strings.NewReader(text))
				if err != nil || bare.V1 != got.V1 || bare.V2 != got.V2 || bare.Name+bare.Announce != "" {
					t.Errorf("bare: got %+v, %v", bare, err)
				}
				got.Info, got.AnnouncePart, got.ListsPart = Part{}, Part{}, Part{}
				if !reflect.DeepEqual(*got, want) {
					t.Errorf("%s: got %+v, want %+v", name, *got, want)
				}
			}
			// A file that is cut anywhere is incomplete, and nothing else.
			for n := range min(len(text), 3000) {
				if got, err := read(text[:n]); err != ErrTruncated {
					t.Fatalf("first %d bytes: got %v, %v, want %v", n, got, err, ErrTruncated)
				}
			}
		})
	}
}

// TestParts checks where the trackers are in the file.
func TestParts(t *testing.T) {
	announce, lists := str("announce")+str("udp://a"), str("announce-list")+list(list(str("udp://b"), str("udp://c")))
	for _, text := range []string{
		"d" + announce + lists + str("info") + v1Info + "e",
		"d" + str("info") + v1Info + str("x") + list() + lists + announce + "e",
		"d" + announce + str("info") + v1Info + lists + announce + lists + "e",
		"d" + str("comment") + str(strings.Repeat("c", 5000)) + announce + str("info") + v1Info + lists + "e",
	} {
		got, err := read(text)
		if err != nil {
			t.Errorf("%.60q: %v", text, err)
			continue
		}
		for _, part := range []struct {
			name, want string
			got        Part
		}{
			{name: "announce", got: got.AnnouncePart, want: announce}, {name: "announce-list", got: got.ListsPart, want: lists},
		} {
			if want := strings.Index(text, part.want); part.got != (Part{int64(want), int64(want + len(part.want))}) {
				t.Errorf("%.60q: %s is at %v, want %d to %d", text, part.name, part.got, want, want+len(part.want))
			}
		}
	}
}

func TestReadErrors(t *testing.T) {
	nested := func(n int) string {
		return dict("info", v1Info, "x", strings.Repeat("l", n)+strings.Repeat("e", n))
	}
	for _, tt := range []struct {
		name, text string
		want       error
	}{
		{name: "empty", want: ErrTruncated},
		{name: "a list of info hashes", text: strings.Repeat("a", 40) + "\n", want: ErrNotTorrent},
		{name: "a dictionary of numbers", text: "di1ei2ee", want: ErrNotTorrent},
		{name: "a string", text: "3:abc", want: ErrNotTorrent},
		{name: "an empty dictionary", text: "de", want: ErrNoInfo},
		{name: "no info", text: dict("announce", str("x")), want: ErrNoInfo},
		{name: "info is a string", text: dict("info", str("x")), want: ErrNoInfo},
		{name: "info is empty", text: dict("info", "de"), want: ErrNoInfo},
		{name: "version 2 without its number", text: dict("info", dict("file tree", dict("a", v2File(1)))), want: ErrNoInfo},
		{name: "version 3", text: dict("info", dict("file tree", dict("a", v2File(1)), "meta version", integer(3))), want: ErrNoInfo},
		{name: "two info dictionaries", text: dict("info", v1Info, "info", v1Info), want: ErrTwice},
		{name: "length beyond every limit", text: "d8:announce99999999999999999999:", want: ErrNotTorrent},
		{name: "length beyond the size limit", text: "d8:announce33554433:", want: ErrTooLarge},
		{name: "length beyond the end", text: "d8:announce33554432:x", want: ErrTruncated},
		{name: "length without a colon", text: "d8announce", want: ErrNotTorrent},
		{name: "no key", text: "d:", want: ErrNotTorrent},
		{name: "a key without a value", text: "d4:infoe", want: ErrNotTorrent},
		{name: "empty integer", text: "d1:aiee", want: ErrNotTorrent},
		{name: "integer of letters", text: "d1:aixee", want: ErrNotTorrent},
		{name: "unknown type", text: "d1:ax", want: ErrNotTorrent},
		{name: "99 levels", text: nested(maxDepth - 1)},
		{name: "100 levels", text: nested(maxDepth), want: ErrTooDeep},
		{name: "a million levels", text: nested(1000000), want: ErrTooDeep},
		{name: "a million open lists", text: "d1:x" + strings.Repeat("l", 1000000), want: ErrTooDeep},
		{name: "a million open directories", text: "d4:infod9:file tree" + strings.Repeat("d1:a", 1000000), want: ErrTooDeep},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := read(tt.text); err != tt.want {
				t.Errorf("got %v, %v, want error %v", got, err, tt.want)
			}
		})
	}
	gone := errors.New("gone")
	r := io.MultiReader(strings.NewReader("d4:info"), iotest.ErrReader(gone))
	if _, err := new(Reader).Read(r); err != gone {
		t.Errorf("a read error: got %v, want %v", err, gone)
	}
}

// endless repeats a text and counts what is read.
type endless struct {
	text string
	read int64
}

func (e *endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = e.text[(e.read+int64(i))%int64(len(e.text))]
	}
	e.read += int64(len(b))
	return len(b), nil
}

// TestLimits: files without end, of each kind, cost at most MaxSize bytes of
// reading and little memory.
func TestLimits(t *testing.T) {
	endings := []struct{ name, start, text string }{
		{name: "zeros", start: "d1:a", text: "1:x"},
		{name: "files", start: "d4:infod5:filesl", text: "d6:lengthi1e4:pathl1:aee"},
		{name: "directories", start: "d4:infod9:file treed", text: "1:ad0:d6:lengthi1eee"},
		{name: "trackers", start: "d13:announce-listl", text: "l3:udpe"},
		{name: "trackers of one tier", start: "d13:announce-listll", text: "3:udp"},
		{name: "digits", start: "d8:announce", text: "0"},
	}
	if testing.Short() {
		endings = nil // each takes ten seconds on an emulated processor
	}
	for _, tt := range endings {
		t.Run(tt.name, func(t *testing.T) {
			var before, after runtime.MemStats
			e := &endless{text: tt.text}
			d := new(Reader)
			runtime.ReadMemStats(&before)
			got, err := d.Read(io.MultiReader(strings.NewReader(tt.start), e))
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Errorf("got %v, want an error", got)
			}
			if e.read > MaxSize+2*int64(len(d.buf)) {
				t.Errorf("read %d bytes, want at most %d", e.read, MaxSize)
			}
			if n := after.HeapSys - min(before.HeapSys, after.HeapSys); n > 16<<20 {
				t.Errorf("the heap grew by %d bytes", n)
			}
		})
	}
	got, err := read(dict("announce-list", list(strings.Repeat(list(str("u")), MaxTrackers+5)), "info", v1Info))
	if err != nil || len(got.Lists) != MaxTrackers || got.Left != 5 {
		t.Errorf("got %+v, %v, want %d trackers and 5 left", got, err, MaxTrackers)
	}
}

// anything is a reader without end. Which bytes it returns does not matter.
type anything struct{}

func (anything) Read(b []byte) (int, error) { return len(b), nil }

// TestLargest reads the largest file that is allowed, and one with a byte more.
func TestLargest(t *testing.T) {
	for size, want := range map[int]error{MaxSize: nil, MaxSize + 1: ErrTooLarge} {
		tail := str("info") + v1Info
		comment := size - len("d7:comment33000000:"+tail+"e")
		head := fmt.Sprintf("d7:comment%d:", comment)
		r := io.MultiReader(strings.NewReader(head), io.LimitReader(anything{}, int64(comment)), strings.NewReader(tail), strings.NewReader("e"))
		if _, err := new(Reader).Read(r); err != want {
			t.Errorf("%d bytes: got %v, want %v", size, err, want)
		}
	}
}

// slow returns nothing a number of times before each byte.
type slow struct {
	io.Reader
	empty, reads int
}

func (s *slow) Read(b []byte) (int, error) {
	if s.reads++; s.reads%(s.empty+1) != 0 {
		return 0, nil
	}
	return s.Reader.Read(b[:1])
}

// TestSlow reads from a reader that often returns nothing. If it does so all the
// time, the file is incomplete.
func TestSlow(t *testing.T) {
	text := dict("info", v1Info)
	if _, err := new(Reader).Read(&slow{Reader: strings.NewReader(text), empty: 50}); err != nil {
		t.Errorf("nothing 50 times before each byte: got %v", err)
	}
	r := &slow{Reader: strings.NewReader(text), empty: 10000}
	if got, err := new(Reader).Read(r); err != ErrTruncated || r.reads > 1000 {
		t.Errorf("nothing: got %v, %v after %d reads, want %v after at most 1000", got, err, r.reads, ErrTruncated)
	}
}

func TestIsTorrent(t *testing.T) {
	for text, want := range map[string]bool{
		"d8:announce": true, "d13:announce-list": true, "d1:": true, "d1": false, "": false, "de": false,
		"deadbeefdeadbeefdeadbeefdeadbeefdeadbeef": false, "d1eadbeefdeadbeefdeadbeefdeadbeefdeadbeef": false,
		"d41d8cd98f00b204e9800998ecf8427e00000000": false, "d123456789012345678901234567890123456789": false,
		"d1234:": true, "d12345:": false, "d:": false, "magnet:?xt": false,
	} {
		if got := IsTorrent([]byte(text)); got != want {
			t.Errorf("IsTorrent(%q) = %v, want %v", text, got, want)
		}
	}
}

func TestSHA1(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	for n := range 300 {
		b := make([]byte, n)
		rng.Read(b)
		var d sha1
		d.reset()
		for rest := b; len(rest) > 0; {
			part := 1 + rng.Intn(len(rest))
			d.write(rest[:part])
			rest = rest[part:]
		}
		if got, want := d.sum(), stdsha1.Sum(b); got != want {
			t.Fatalf("%d bytes: got %x, want %x", n, got, want)
		}
	}
}

func TestParseMagnet(t *testing.T) {
	const v1 = "0123456789abcdef0123456789abcdef01234567"
	const v2 = "c12fe1c06bba254a9dc9f519b335aa7c1367a88a0123456789abcdef01234567"
	for _, tt := range []struct {
		name, link, v1, v2, title string
		trackers                  int
	}{
		{name: "hexadecimal", link: "magnet:?xt=urn:btih:" + v1, v1: v1},
		{name: "capitals", link: "MAGNET:?XT=URN:BTIH:" + strings.ToUpper(v1), v1: v1},
		{name: "base32", link: "magnet:?xt=urn:btih:AERUKZ4JVPG66AJDIVTYTK6N54ASGRLH", v1: v1},
		{name: "base32, small letters", link: "magnet:?xt=urn:btih:aerukz4jvpg66ajdivtytk6n54asgrlh&dn=x", v1: v1, title: "x"},
		{name: "version 2", link: "magnet:?xt=urn:btmh:1220" + v2, v2: v2},
		{name: "hybrid", link: "magnet:?xt=urn:btih:" + v1 + "&xt=urn:btmh:1220" + v2 + "&dn=both", v1: v1, v2: v2, title: "both"},
		{name: "numbered", link: "magnet:?xt.1=urn:btih:" + v1 + "&xt.2=urn:btmh:1220" + v2, v1: v1, v2: v2},
		{name: "name, trackers", link: "magnet:?dn=My+new%20disk%C3%A9&tr=udp%3A%2F%2Fa%3A1&tr=udp://b&xt=urn:btih:" + v1,
			v1: v1, title: "My new disk\u00e9", trackers: 2},
		{name: "from the source of a web page", link: "magnet:?dn=x&amp;xt=urn:btih:" + v1 + "&amp;tr=udp://b", v1: v1, title: "x", trackers: 1},
		{name: "percent at the end", link: "magnet:?xt=urn:btih:" + v1 + "&dn=100%", v1: v1, title: "100%"},
		{name: "percent, malformed", link: "magnet:?xt=urn:btih:" + v1 + "&dn=%zz%4", v1: v1, title: "%zz%4"},
		{name: "percent at the start", link: "magnet:?xt=urn:btih:" + v1 + "&dn=%41b", v1: v1, title: "Ab"},
		{name: "percent at both ends", link: "magnet:?xt=urn:btih:" + v1 + "&dn=%41%62", v1: v1, title: "Ab"},
		{name: "plus", link: "magnet:?xt=urn:btih:" + v1 + "&dn=a+b+", v1: v1, title: "a b "},
		{name: "plus at the start", link: "magnet:?xt=urn:btih:" + v1 + "&dn=+a", v1: v1, title: " a"},
		{name: "other topics", link: "magnet:?xt=urn:sha1:x&xt=urn:btih:" + v1, v1: v1},
		{name: "escaped topic", link: "magnet:?xt=urn%3Abtih%3A" + v1, v1: v1},
		{name: "two of a kind", link: "magnet:?xt=urn:btih:" + v1 + "&xt=urn:btih:" + v1[1:] + "f", v1: v1},
		{name: "two of version 2", link: "magnet:?xt=urn:btmh:1220" + v2 + "&xt=urn:btmh:1220" + v2[1:] + "f", v2: v2},
		{name: "two names", link: "magnet:?dn=first&dn=second&xt=urn:btih:" + v1, v1: v1, title: "first"},
		{name: "malformed number", link: "magnet:?xt.x=urn:btih:" + v1[1:] + "f&xt=urn:btih:" + v1, v1: v1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseMagnet(tt.link)
			if err != nil {
				t.Fatal(err)
			}
			h1, h2 := "", ""
			if got.HasV1 {
				h1 = hex.EncodeToString(got.V1[:])
			}
			if got.HasV2 {
				h2 = hex.EncodeToString(got.V2[:])
			}
			if h1 != tt.v1 || h2 != tt.v2 || got.Name != tt.title || len(got.Lists) != tt.trackers {
				t.Errorf("got %s, %s, %q, %d trackers", h1, h2, got.Name, len(got.Lists))
			}
		})
	}
	for _, link := range []string{
		"", "magnet", "magnet:?", "magnet:?dn=x", "magnet:?xt=urn:btih:", "magnet:?xt=urn:btih:" + v1[1:], "magnet:?xt=urn:btih:" + v1 + "0",
		"magnet:?xt=urn:btih:" + v1[1:] + "g", "magnet:?xt=urn:btih:AERUKZ4JVPG66AJDIVTYTK6N54ASGRL1", "magnet:?xt=urn:btmh:1220" + v2[2:],
		"magnet:?xt=urn:btmh:1114" + v1, "magnet:?xx=urn:btih:" + v1, "http://x/?xt=urn:btih:" + v1, "magnet:?xt.x=urn:btih:" + v1,
	} {
		if got, err := ParseMagnet(link); err != ErrMagnet {
			t.Errorf("%q: got %v, %v, want error %v", link, got, err, ErrMagnet)
		}
	}
}

// TestMagnetLimits checks how much of a magnet link is kept.
func TestMagnetLimits(t *testing.T) {
	const start = "magnet:?xt=urn:btih:0123456789abcdef0123456789abcdef01234567"
	long := func(n int) string { return strings.Repeat("u", n) }
	for _, tt := range []struct {
		name, parameters string
		title, left      int
		trackers         []int // their lengths
	}{
		{name: "the longest name", parameters: "&dn=" + long(MaxName), title: MaxName},
		{name: "a longer name", parameters: "&dn=" + long(MaxName+1), title: MaxName},
		{name: "addresses of trackers", parameters: "&tr=" + long(MaxURL) + "&tr=" + long(MaxURL+1) + "&tr=a", trackers: []int{MaxURL, 1}},
		{name: "most trackers", parameters: strings.Repeat("&tr=a", MaxTrackers), trackers: slices.Repeat([]int{1}, MaxTrackers)},
		{name: "more trackers", parameters: strings.Repeat("&tr=a", MaxTrackers+5), trackers: slices.Repeat([]int{1}, MaxTrackers), left: 5},
	} {
		got, err := ParseMagnet(start + tt.parameters)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var trackers []int
		for _, tier := range got.Lists {
			trackers = append(trackers, len(strings.Join(tier, " ")))
		}
		if len(got.Name) != tt.title || !slices.Equal(trackers, tt.trackers) || got.Left != tt.left {
			t.Errorf("%s: got a name of %d bytes, trackers of %v bytes and %d left, want %d, %v and %d",
				tt.name, len(got.Name), trackers, got.Left, tt.title, tt.trackers, tt.left)
		}
	}
}

func TestParseHash(t *testing.T) {
	const v1 = "0123456789abcdef0123456789ABCDEF01234567"
	v2 := v1 + strings.Repeat("9f", 12)
	for _, tt := range []struct{ text, rest string }{
		{v1, ""}, {v2, ""}, {v1 + " x", " x"}, {v1 + ",name", ",name"}, {v1 + "#", "#"}, {v2 + "\t- a", "\t- a"}, {v1 + "_", "_"},
	} {
		h, rest, err := ParseHash(tt.text)
		if err != nil || rest != tt.rest || !strings.EqualFold(hex.EncodeToString(h[:]), v1) {
			t.Errorf("%q: got %x, %q, %v, want rest %q", tt.text, h, rest, err, tt.rest)
		}
	}
	for _, text := range []string{
		"", v1[1:], v1 + "0", v1 + "g", v2[1:], v2 + "0", v1[:39] + "g", v1[:39] + "/", v1[:39] + "`", v2[:63] + "x", v1[:38] + "\u00e9", v1 + "\u00e9", v1 + "\x80", "0x" + v1,
	} {
		if h, _, err := ParseHash(text); err != ErrHash {
			t.Errorf("%q: got %x, %v, want error %v", text, h, err, ErrHash)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, text := range []string{
		"", "de", dict("info", v1Info), dict("announce", str("u"), "announce-list", list(list(str("a"))), "info", v1Info),
		dict("info", dict("file tree", dict("a", v2File(10)), "meta version", integer(2), "pieces", str(""))),
		dict("info", dict("files", list(dict("attr", str("p"), "length", integer(1))), "pieces", str(""))),
	} {
		f.Add([]byte(text), uint8(0))
	}
	f.Fuzz(func(t *testing.T, text []byte, how uint8) {
		d := new(Reader)
		var r io.Reader = bytes.NewReader(text)
		if how%2 == 1 {
			r = iotest.OneByteReader(r)
		}
		got, err := d.Read(r)
		want, value := tree(text)
		if err != nil {
			if want != nil && err != ErrTwice && err != ErrTooDeep && err != ErrNoInfo && err != ErrNotTorrent {
				t.Fatalf("got error %v for a good file", err)
			}
			return
		}
		// What it accepts, a parser that builds a tree accepts as well.
		if want == nil || value == "" {
			t.Fatalf("got %+v, and the tree has no info dictionary", got)
		}
		if text[got.Info.From] != 'd' || string(text[got.Info.From:got.Info.To]) != value {
			t.Fatalf("the info dictionary is %q, want %q", text[got.Info.From:got.Info.To], value)
		}
		if got.HasV1 && got.V1 != stdsha1.Sum([]byte(value)) || got.HasV2 && got.V2 != stdsha256.Sum256([]byte(value)) {
			t.Fatal("wrong digest")
		}
		if len(got.Name) > MaxName || len(got.Announce) > MaxURL || len(got.Lists) > MaxTrackers {
			t.Fatal("longer than the limits")
		}
	})
}

// tree parses a bencoded value in the plain way: a map for a dictionary. value
// is the text of the first "info" of an outer dictionary.
func tree(b []byte) (parsed any, value string) {
	pos := 0
	var parse func(depth int) any
	number := func(end byte) (n int, ok bool) {
		start := pos
		for pos < len(b) && isDigit(b[pos]) && pos-start < 19 {
			n = 10*n + int(b[pos]-'0')
			pos++
		}
		if pos == start || pos == len(b) || b[pos] != end {
			return 0, false
		}
		pos++
		return n, true
	}
	parse = func(depth int) any {
		switch {
		case pos >= len(b):
			return nil
		case isDigit(b[pos]):
			n, ok := number(':')
			if !ok || n > len(b)-pos {
				return nil
			}
			pos += n
			return string(b[pos-n : pos])
		case b[pos] == 'i':
			if pos++; pos < len(b) && b[pos] == '-' {
				pos++
			}
			if n, ok := number('e'); ok {
				return n
			}
			return nil
		case b[pos] == 'l':
			l := []any{}
			for pos++; pos < len(b) && b[pos] != 'e'; {
				v := parse(depth + 1)
				if v == nil {
					return nil
				}
				l = append(l, v)
			}
			if pos++; pos > len(b) {
				return nil
			}
			return l
		case b[pos] == 'd':
			d := map[string]any{}
			for pos++; pos < len(b) && b[pos] != 'e'; {
				key, ok := parse(depth + 1).(string)
				if !ok {
					return nil
				}
				start := pos
				v := parse(depth + 1)
				if v == nil {
					return nil
				}
				if depth == 0 && key == "info" && value == "" {
					value = string(b[start:pos])
				}
				d[key] = v
			}
			if pos++; pos > len(b) {
				return nil
			}
			return d
		}
		return nil
	}
	parsed = parse(0)
	if _, ok := parsed.(map[string]any); !ok {
		return nil, ""
	}
	return parsed, value
}

func FuzzMagnet(f *testing.F) {
	f.Add("magnet:?xt=urn:btih:0123456789abcdef0123456789abcdef01234567&dn=a+b%20c&tr=udp://x")
	f.Add("magnet:?xt.1=urn:btmh:1220c12fe1c06bba254a9dc9f519b335aa7c1367a88a0123456789abcdef01234567&dn=%")
	f.Fuzz(func(t *testing.T, link string) {
		got, err := ParseMagnet(link)
		if err == nil && (!got.HasV1 && !got.HasV2 || len(got.Name) > MaxName) {
			t.Fatalf("got %+v", got)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	text := dict("info", dict("name", str("x"), "pieces", str(strings.Repeat("p", 1<<20))))
	d := new(Reader)
	b.SetBytes(int64(len(text)))
	for range b.N {
		if _, err := d.Read(strings.NewReader(text)); err != nil {
			b.Fatal(err)
		}
	}
}
