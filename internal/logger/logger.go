// Package logger writes whole log lines with a level. It is written by hand,
// because log/slog would cost 125 KB of a router's flash. No packet may cause a
// log line, except with -debug: what strangers do is logged as summaries, which
// Throttle limits.
package logger

import (
	"io"
	"sync"
)

// Logger writes log lines. It is safe for concurrent use.
type Logger struct {
	mu      sync.Mutex
	Out     io.Writer
	InfoOut io.Writer // for lines below a warning; nil: Out
	Verbose bool      // write debug lines
	Journal bool      // begin lines with their priority (sd-daemon(3))
}

// level is the beginning of a line, and its priority in syslog(3).
type level struct{ priority, word string }

var (
	levelError = level{"<3>", "[ERROR] "}
	levelWarn  = level{"<4>", "[WARN] "}
	levelInfo  = level{"<6>", "[INFO] "}
	levelDebug = level{"<7>", "[DEBUG] "}
)

func (l *Logger) line(w io.Writer, v level, parts []string) {
	b := make([]byte, 0, 160)
	if l.Journal {
		b = append(b, v.priority...)
	}
	b = append(b, v.word...)
	for _, p := range parts {
		b = appendPrintable(b, p)
	}
	b = append(b, '\n')
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = w.Write(b) // if it fails, there is nowhere to report it
}

// appendPrintable appends s with its control characters as \xNN. The name of a
// file or an interface, or the text of another tracker, must not steer the
// terminal that shows the log.
func appendPrintable(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	for i := range len(s) {
		c := s[i]
		// U+0080 to U+009F are control characters of two bytes.
		if c < ' ' || c == 0x7f || c == 0xc2 && i+1 < len(s) && s[i+1] < 0xa0 {
			b = append(b, '\\', 'x', digits[c>>4], digits[c&15])
		} else {
			b = append(b, c)
		}
	}
	return b
}

func (l *Logger) infoWriter() io.Writer {
	if l.InfoOut != nil {
		return l.InfoOut
	}
	return l.Out
}

// Each method writes its parts as one line. Info and Warn have many callers: a
// copy in each of them would take 1 KB of flash.

//go:noinline
func (l *Logger) Info(parts ...string) { l.line(l.infoWriter(), levelInfo, parts) }

//go:noinline
func (l *Logger) Warn(parts ...string) { l.line(l.Out, levelWarn, parts) }

func (l *Logger) Error(parts ...string) { l.line(l.Out, levelError, parts) }

func (l *Logger) Debug(parts ...string) {
	if l.Verbose {
		l.line(l.infoWriter(), levelDebug, parts)
	}
}
