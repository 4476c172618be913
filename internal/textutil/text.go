// Package textutil has small functions for text. They are written by hand: the
// functions for case in package strings bring the tables of Unicode with them.
package textutil

import (
	"strconv"
	"strings"
)

// Map replaces every byte of s.
//
//go:noinline
func Map(s string, f func(c byte) byte) string {
	b := []byte(s)
	for i, c := range b {
		b[i] = f(c)
	}
	return string(b)
}

// Upper returns the upper-case letter of an ASCII letter, and any other byte
// unchanged.
func Upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		c -= 'a' - 'A'
	}
	return c
}

// CutPrefixFold returns s without a prefix, which may differ in the case of ASCII
// letters. The prefix must be in upper case.
//
//go:noinline
func CutPrefixFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) {
		return s, false
	}
	for i := range len(prefix) {
		if Upper(s[i]) != prefix[i] {
			return s, false
		}
	}
	return s[len(prefix):], true
}

// whiteSpace has all characters of unicode.White_Space.
const whiteSpace = "\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"

// TrimSpace returns s without leading and trailing white space. It is the same as
// strings.TrimSpace, which takes 2 KB more of flash.
func TrimSpace(s string) string {
	if s != "" && isGraphic(s[0]) && isGraphic(s[len(s)-1]) {
		return s // as most lines of an access list
	}
	return strings.Trim(s, whiteSpace)
}

func isGraphic(c byte) bool { return '!' <= c && c <= '~' }

// TrimLeft returns s without the leading bytes that are in cut.
func TrimLeft(s, cut string) string {
	for len(s) > 0 && strings.IndexByte(cut, s[0]) >= 0 {
		s = s[1:]
	}
	return s
}

// Printable returns a name of unknown origin as it can be shown in a line of
// text. It is quoted if a terminal might act on it or if it would look like
// something else.
func Printable(name string) string {
	if quoted := strconv.Quote(name); quoted != `"`+name+`"` || name == "" {
		return quoted
	}
	return name
}
