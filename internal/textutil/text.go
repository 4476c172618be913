// Package textutil has small functions for text. They are written by hand: the
// functions for case in package strings bring the tables of Unicode with them.
package textutil

import "strconv"

// Map replaces every byte of s.
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

// Printable returns a name of unknown origin as it can be shown in a line of
// text. It is quoted if a terminal might act on it or if it would look like
// something else.
func Printable(name string) string {
	if quoted := strconv.Quote(name); quoted != `"`+name+`"` || name == "" {
		return quoted
	}
	return name
}
