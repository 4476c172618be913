package main

import (
	"io"
	"sync"
)

// This file owns the log: whole lines, each with its level. No packet may cause
// one, but under -debug: of what strangers do there are summaries (see news).

type logger struct {
	mu    sync.Mutex
	w     io.Writer
	calm  io.Writer // for what is no warning; nil: w
	debug bool
	// journal has lines begin with their priority, as sd-daemon(3) has it.
	journal bool
}

// level is how a line begins, and its priority of syslog(3).
type level struct{ priority, word string }

var (
	levelError = level{"<3>", "[ERROR] "}
	levelWarn  = level{"<4>", "[WARN] "}
	levelInfo  = level{"<6>", "[INFO] "}
	levelDebug = level{"<7>", "[DEBUG] "}
)

func (l *logger) line(w io.Writer, v level, parts []string) {
	b := make([]byte, 0, 160)
	if l.journal {
		b = append(b, v.priority...)
	}
	b = append(b, v.word...)
	for _, p := range parts {
		b = append(b, p...)
	}
	b = append(b, '\n')
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = w.Write(b) // there is nowhere to say that it failed
}

func (l *logger) quiet() io.Writer {
	if l.calm != nil {
		return l.calm
	}
	return l.w
}

// Each writes its parts as one line.
func (l *logger) info(parts ...string)  { l.line(l.quiet(), levelInfo, parts) }
func (l *logger) warn(parts ...string)  { l.line(l.w, levelWarn, parts) }
func (l *logger) error(parts ...string) { l.line(l.w, levelError, parts) }

func (l *logger) trace(parts ...string) {
	if l.debug {
		l.line(l.quiet(), levelDebug, parts)
	}
}

// news is something that strangers cause and that is counted. It is worth a
// line when there is much of it in a minute, and while it goes on after two,
// four and so on up to an hour: nobody fills the log.
type news struct {
	told uint64 // of the count
	at   uint32 // when, in seconds
	wait uint32 // until it may be told again
}

const (
	newsWorth = 100 // fewer in a minute are no news
	newsFirst = 60
	newsMost  = 60 * 60
)

// due says by how much the count has grown, and in how many seconds; 0 where
// there is nothing to tell now.
func (n *news) due(count uint64, now uint32) (more uint64, in uint32) {
	if in = now - n.at; in < max(n.wait, newsFirst) {
		return 0, 0
	}
	more = count - n.told
	n.told, n.at, n.wait = count, now, min(max(newsFirst, 2*n.wait), newsMost)
	if more*60 < newsWorth*uint64(in) {
		n.wait = 0
		return 0, 0
	}
	return more, in
}
