package main

import (
	"io"
	"sync"
)

// This file owns the log: whole lines on standard error. No packet may cause
// one, but under -debug.

type logger struct {
	mu    sync.Mutex
	w     io.Writer
	debug bool
}

func (l *logger) line(level string, parts []string) {
	b := make([]byte, 0, 160)
	b = append(b, level...)
	for _, p := range parts {
		b = append(b, p...)
	}
	b = append(b, '\n')
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.w.Write(b) // there is nowhere to say that it failed
}

// Each writes its parts as one line.
func (l *logger) info(parts ...string)  { l.line("[INFO] ", parts) }
func (l *logger) warn(parts ...string)  { l.line("[WARN] ", parts) }
func (l *logger) error(parts ...string) { l.line("[ERROR] ", parts) }

func (l *logger) trace(parts ...string) {
	if l.debug {
		l.line("[DEBUG] ", parts)
	}
}
