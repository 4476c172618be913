package main

import "strconv"

// translate replaces every byte of s. (What package strings has for case brings
// the tables of Unicode along.)
func translate(s string, f func(c byte) byte) string {
	b := []byte(s)
	for i, c := range b {
		b[i] = f(c)
	}
	return string(b)
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		c -= 'a' - 'A'
	}
	return c
}

// printable returns a name of unknown origin for a line of text: quoted if a
// terminal might act on it, or if it would look like something else.
func printable(name string) string {
	if quoted := strconv.Quote(name); quoted != `"`+name+`"` || name == "" {
		return quoted
	}
	return name
}
