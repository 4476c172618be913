package suggest

import (
	"strings"
	"testing"
)

// TestNearest checks which name is meant. A longer name may have more mistakes.
func TestNearest(t *testing.T) {
	known := strings.Fields("p port memory whitelist white-out connect-limit")
	for _, c := range []struct{ name, typed, want string }{
		{name: "equal", typed: "port", want: "port"},
		{name: "one letter", typed: "p", want: "p"},
		{name: "another letter", typed: "q", want: ""},
		{name: "two letters", typed: "po", want: ""},
		{name: "upper case", typed: "PORT", want: "port"},
		{name: "underscore", typed: "connect_limit", want: "connect-limit"},
		{name: "no dash", typed: "connectlimit", want: "connect-limit"},
		{name: "missing character", typed: "prt", want: "port"},
		{name: "additional character", typed: "porrt", want: "port"},
		{name: "wrong character", typed: "pork", want: "port"},
		{name: "changed places", typed: "prot", want: "port"},
		{name: "one of two in the other's place", typed: "prxt", want: ""},
		{name: "the other in its place", typed: "pxot", want: ""},
		{name: "changed places and an additional character", typed: "protx", want: ""},
		{name: "two mistakes in a short name", typed: "prk", want: ""},
		{name: "two mistakes in a long name", typed: "whitleits", want: "whitelist"},
		{name: "three mistakes", typed: "whtleits", want: ""},
		{name: "beginning", typed: "mem", want: "memory"},
		{name: "beginning of two", typed: "white", want: "whitelist"},
		{name: "longer than the name", typed: "memoryxyz", want: ""},
		{name: "empty", typed: "", want: ""},
		{name: "dashes only", typed: "--", want: ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if i := Nearest(c.typed, known); i >= 0 {
				got = known[i]
			}
			if got != c.want {
				t.Errorf("%q: got %q, want %q", c.typed, got, c.want)
			}
		})
	}
}

// TestNearestAtTheEnd checks names of which one character is left to compare.
func TestNearestAtTheEnd(t *testing.T) {
	for _, c := range []struct{ typed, known string }{{"pot", "portz"}, {"portz", "pot"}} {
		if i := Nearest(c.typed, []string{c.known}); i != -1 {
			t.Errorf("%q: got %q, want none", c.typed, c.known)
		}
	}
}

// TestNearestPrefersFewerMistakes checks that the order of the names does not
// matter if one of them is closer.
func TestNearestPrefersFewerMistakes(t *testing.T) {
	for _, known := range [][]string{{"listens", "listen"}, {"listen", "listens"}} {
		for _, typed := range []string{"listen", "listens"} {
			if i := Nearest(typed, known); i < 0 || known[i] != typed {
				t.Errorf("%q in %q: got %d", typed, known, i)
			}
		}
	}
}

// TestNearestLongNames checks that long names are compared to their end.
func TestNearestLongNames(t *testing.T) {
	long := strings.Repeat("ab", 5000)
	if got := Nearest(long, []string{long[:9997] + "xyz", long[:9999] + "x"}); got != 1 {
		t.Errorf("got %d, want the second name", got)
	}
}

func TestFold(t *testing.T) {
	for text, want := range map[string]string{"": "", "Connect-Limit": "connectlimit", "A_Z-az09": "azaz09", "@[`{": "@[`{", "É": "É"} {
		if got := Fold(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
