package textutil

import (
	"math"
	"strings"
	"testing"
	"unicode"
)

func TestUpper(t *testing.T) {
	for c := range 256 {
		want := byte(c)
		if c < 0x80 {
			want = strings.ToUpper(string(rune(c)))[0]
		}
		if got := Upper(byte(c)); got != want {
			t.Errorf("%#x: got %#x, want %#x", c, got, want)
		}
	}
}

func TestMap(t *testing.T) {
	for text, want := range map[string]string{"": "", "udp://Host:1": "UDP://HOST:1", "é": "é"} {
		if got := Map(text, Upper); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestCutPrefixFold(t *testing.T) {
	for _, c := range []struct {
		name, text, rest string
		ok               bool
	}{
		{name: "lower case", text: "udp://a", rest: "a", ok: true},
		{name: "mixed case", text: "uDp://A", rest: "A", ok: true},
		{name: "the prefix only", text: "UDP://", rest: "", ok: true},
		{name: "a part of the prefix", text: "udp:/", rest: "udp:/"},
		{name: "another prefix", text: "http://a", rest: "http://a"},
		{name: "empty", text: "", rest: ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if rest, ok := CutPrefixFold(c.text, "UDP://"); rest != c.rest || ok != c.ok {
				t.Errorf("%q: got %q, %v, want %q, %v", c.text, rest, ok, c.rest, c.ok)
			}
		})
	}
}

// TestTrimSpace compares with package strings, also for text that is not UTF-8.
func TestTrimSpace(t *testing.T) {
	check := func(text string) {
		t.Helper()
		if got, want := TrimSpace(text), strings.TrimSpace(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	last := rune(unicode.MaxRune + 1)
	if testing.Short() {
		last = 0x30ff // no space comes after U+3000
	}
	for r := range last + 1 {
		check(string(r) + "a" + string(r))
	}
	for _, text := range []string{"", " \r\n", " a b ", "a\r", "a \u3000\u0085", "\u2003 a", "\xff", "\xffa ", " a\xc2", "\x85a\xa0", " \u200b a"} {
		check(text)
	}
}

func TestTrimLeft(t *testing.T) {
	for text, want := range map[string]string{"": "", " \t": "", "\t a ": "a ", "a": "a", "é": "é"} {
		if got := TrimLeft(text, " \t"); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// TestPrintable checks that a name without surprises is unchanged, and that all
// others are quoted.
func TestPrintable(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{name: "plain", text: "my file.torrent", want: "my file.torrent"},
		{name: "other letters", text: "päß 日本", want: "päß 日本"},
		{name: "empty", text: "", want: `""`},
		{name: "escape sequence", text: "\x1b[2J", want: `"\x1b[2J"`},
		{name: "new line", text: "a\nb", want: `"a\nb"`},
		{name: "quote", text: `a"b`, want: `"a\"b"`},
		{name: "backslash", text: `a\b`, want: `"a\\b"`},
		{name: "not UTF-8", text: "a\xff", want: `"a\xff"`},
		{name: "control character of two bytes", text: "\u009b2J", want: `"\u009b2J"`},
		{name: "right to left", text: "\u202egpj", want: `"\u202egpj"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Printable(c.text); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 torrents", 1: "1 torrent", 2: "2 torrents", math.MaxUint64: "18446744073709551615 torrents"} {
		if got := Count(n, "torrent"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
