package main

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// logLines is a log that a test can read while it is written.
type logLines struct {
	mu     sync.Mutex
	b      bytes.Buffer
	writes chan struct{} // closed by the next write, if someone waits for it
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.writes != nil {
		close(l.writes)
		l.writes = nil
	}
	return l.b.Write(b)
}

// await waits until all parts have been logged, or until ended is closed: then
// it returns false.
func (l *logLines) await(t testing.TB, ended <-chan struct{}, parts ...string) bool {
	t.Helper()
	late := time.After(deadline)
	for {
		l.mu.Lock()
		if l.writes == nil {
			l.writes = make(chan struct{})
		}
		next, text := l.writes, l.b.String()
		l.mu.Unlock()
		missing := slices.IndexFunc(parts, func(p string) bool { return !strings.Contains(text, p) })
		if missing < 0 {
			return true
		}
		select {
		case <-next:
		case <-ended:
			return false
		case <-late:
			t.Fatalf("%q was not logged, but:\n%s", parts[missing], text)
		}
	}
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// take returns the lines so far and forgets them.
func (l *logLines) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := strings.TrimSuffix(l.b.String(), "\n")
	l.b.Reset()
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

// expectLines compares the lines that were logged: each must contain what is
// wanted at its place.
func (l *logLines) expectLines(t testing.TB, want ...string) {
	t.Helper()
	got := l.take()
	ok := len(got) == len(want)
	for i := 0; ok && i < len(got); i++ {
		ok = strings.Contains(got[i], want[i])
	}
	if !ok {
		t.Errorf("logged:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestLog(t *testing.T) {
	var lines logLines
	l := &logger{w: &lines}
	l.trace("not ", "now")
	l.info("a", "b")
	l.warn("c")
	l.error("d", "e", "f")
	l.debug = true
	l.trace("g", "")
	if got, want := lines.String(), "[INFO] ab\n[WARN] c\n[ERROR] def\n[DEBUG] g\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestLogWholeLines: what several goroutines log is not mixed up, whatever it
// is written to.
func TestLogWholeLines(t *testing.T) {
	var b bytes.Buffer
	l := &logger{w: &b}
	var wg sync.WaitGroup
	for _, s := range []string{"a", "b", "c", "d"} {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; i < 1000; i++ {
				l.info(strings.Repeat(s, 200), strings.Repeat(s, 200))
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
