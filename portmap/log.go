package main

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// This file writes log lines. They look like the tracker's: information goes to
// one writer, warnings go to another one, so that procd can give them different
// priorities. Times are left to the service manager.

// maxLogLine is the longest message in bytes. A router's error text may be long.
const maxLogLine = 400

type logger struct {
	out, err io.Writer
	verbose  bool
}

func (l *logger) info(format string, args ...any)  { printLine(l.out, "INFO", format, args) }
func (l *logger) warn(format string, args ...any)  { printLine(l.err, "WARN", format, args) }
func (l *logger) error(format string, args ...any) { printLine(l.err, "ERROR", format, args) }

func (l *logger) debug(format string, args ...any) {
	if l.verbose {
		printLine(l.out, "DEBUG", format, args)
	}
}

// printLine writes one line. A router's text cannot add lines or control
// characters.
func printLine(w io.Writer, level, format string, args []any) {
	text := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, fmt.Sprintf(format, args...))
	if len(text) > maxLogLine {
		text = strings.ToValidUTF8(text[:maxLogLine], "") + "..."
	}
	fmt.Fprintf(w, "[%s] %s\n", level, text)
}
