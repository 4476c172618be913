package logger

import (
	"bytes"
	"strings"
	"sync"
	"testing"
)

func TestLog(t *testing.T) {
	var lines bytes.Buffer
	l := &Logger{Out: &lines}
	l.Debug("not ", "now")
	l.Info("a", "b")
	l.Warn("c")
	l.Error("d", "e", "f")
	l.Verbose = true
	l.Debug("g", "")
	if got, want := lines.String(), "[INFO] ab\n[WARN] c\n[ERROR] def\n[DEBUG] g\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestLogEscapes: what is logged cannot steer a terminal or begin a line.
func TestLogEscapes(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{name: "plain", text: "a b~", want: "a b~"},
		{name: "UTF-8", text: "päß 日本 \u00a0", want: "päß 日本 \u00a0"},
		{name: "escape sequence", text: "\x1b[2J", want: `\x1b[2J`},
		{name: "new line", text: "a\n[ERROR] b\r", want: `a\x0a[ERROR] b\x0d`},
		{name: "delete", text: "\x7f", want: `\x7f`},
		{name: "control character of two bytes", text: "\u009b2J", want: `\xc2` + "\x9b2J"},
		{name: "half of one", text: "\xc2", want: "\xc2"},
		{name: "nothing", text: "", want: ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var lines bytes.Buffer
			l := &Logger{Out: &lines}
			l.Warn("x ", c.text, " y")
			if got, want := lines.String(), "[WARN] x "+c.want+" y\n"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// TestLogWholeLines: what several goroutines log is not mixed up, whatever it
// is written to.
func TestLogWholeLines(t *testing.T) {
	var b bytes.Buffer
	l := &Logger{Out: &b}
	var wg sync.WaitGroup
	for _, s := range []string{"a", "b", "c", "d"} {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; i < 1000; i++ {
				l.Info(strings.Repeat(s, 200), strings.Repeat(s, 200))
			}
		}()
	}
	wg.Wait()
	got := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	for _, line := range got {
		if want := "[INFO] " + strings.Repeat(line[len(line)-1:], 400); line != want {
			t.Fatalf("got %q", line)
		}
	}
	if len(got) != 4000 {
		t.Errorf("%d lines", len(got))
	}
}
