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
