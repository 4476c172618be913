// Package suggest finds the name that a misspelled name means.
package suggest

import "strings"

// Nearest returns the index of the name that is equal to name or most similar,
// or -1. Case, dashes and underscores do not count.
func Nearest(name string, known []string) int {
	name = Fold(name)
	mistakes := 0
	switch {
	case len(name) > 5:
		mistakes = 2
	case len(name) > 2: // a short name is like many others
		mistakes = 1
	}
	for n := 0; n <= mistakes; n++ {
		for i, k := range known {
			if within(n, name, Fold(k)) {
				return i
			}
		}
	}
	for i, k := range known {
		if len(name) > 2 && strings.HasPrefix(Fold(k), name) {
			return i
		}
	}
	return -1
}

// Fold returns a name in lower case without dashes and underscores. If it were
// inlined, it would take 2 KB of a router's flash.
//
//go:noinline
func Fold(name string) string {
	var b []byte
	for i := range len(name) {
		switch c := name[i]; {
		case c == '-' || c == '_':
		case 'A' <= c && c <= 'Z':
			b = append(b, c+'a'-'A')
		default:
			b = append(b, c)
		}
	}
	return string(b)
}

// within reports whether n mistakes or fewer turn b into a. A mistake is a
// missing character, an additional one, a wrong one, or two that changed
// places.
func within(n int, a, b string) bool {
	for a != "" && b != "" && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	if a == "" || b == "" {
		return len(a)+len(b) <= n
	}
	if n == 0 {
		return false
	}
	return within(n-1, a[1:], b) || within(n-1, a, b[1:]) || within(n-1, a[1:], b[1:]) ||
		len(a) > 1 && len(b) > 1 && a[0] == b[1] && a[1] == b[0] && within(n-1, a[2:], b[2:])
}
