//go:build linux && !portable

package sys

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// withStreams calls f while standard output and standard error are other files. An
// fd of -1 means that the stream is closed.
func withStreams(t *testing.T, out, err int, f func()) {
	t.Helper()
	for stream, fd := range map[int]int{1: out, 2: err} {
		saved, e := unix.FcntlInt(uintptr(stream), unix.F_DUPFD_CLOEXEC, 3)
		if e != nil {
			t.Fatal(e)
		}
		defer func() {
			if err := unix.Dup3(saved, stream, 0); err != nil {
				panic(err) // nobody can read what the tests say
			}
			unix.Close(saved)
		}()
		if fd < 0 {
			e = unix.Close(stream)
		} else {
			e = unix.Dup3(fd, stream, 0)
		}
		if e != nil {
			panic(e)
		}
	}
	f()
}

// pipe returns the writing end of a new pipe.
func pipe(t *testing.T) int {
	t.Helper()
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(ends[0]); unix.Close(ends[1]) })
	return ends[1]
}

// file returns a new file.
func file(t *testing.T) int {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return int(f.Fd())
}

// TestSeparatePipes: only two different pipes are separate pipes.
func TestSeparatePipes(t *testing.T) {
	a, b, f := pipe(t), pipe(t), file(t)
	for _, c := range []struct {
		name     string
		out, err int
		want     bool
	}{
		{name: "two pipes", out: a, err: b, want: true},
		{name: "one pipe", out: a, err: a},
		{name: "a pipe and a file", out: a, err: f},
		{name: "a file and a pipe", out: f, err: a},
		{name: "two files", out: f, err: file(t)},
		{name: "a pipe and nothing", out: a, err: -1},
		{name: "nothing and a pipe", out: -1, err: a},
	} {
		var got bool
		withStreams(t, c.out, c.err, func() { got = SeparatePipes() })
		if got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// TestIsJournal checks that only the device and the inode of standard error are the
// name of its stream.
func TestIsJournal(t *testing.T) {
	out, journal := pipe(t), pipe(t)
	var st unix.Stat_t
	if err := unix.Fstat(journal, &st); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("%d:%d", st.Dev, st.Ino)
	for _, c := range []struct {
		name, stream string
		err          int
		want         bool
	}{
		{name: "the journal", stream: name, err: journal, want: true},
		{name: "redirected", stream: name, err: out},
		{name: "closed", stream: name, err: -1},
		{name: "closed, zeros", stream: "0:0", err: -1},
		{name: "another inode", stream: name + "0", err: journal},
		{name: "another device", stream: "1" + name, err: journal},
		{name: "no name", stream: "", err: journal},
	} {
		var got bool
		withStreams(t, out, c.err, func() { got = IsJournal(c.stream) })
		if got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// TestIsTerminal checks standard output.
func TestIsTerminal(t *testing.T) {
	other := pipe(t)
	kinds := map[string]int{"pipe": pipe(t), "file": file(t), "closed": -1}
	if fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0); err == nil {
		defer unix.Close(fd)
		kinds["terminal"] = fd
	} else {
		t.Logf("no terminal here (%v): only the rest is tested", err)
	}
	for kind, fd := range kinds {
		var got bool
		withStreams(t, fd, other, func() { got = IsTerminal() })
		if want := kind == "terminal"; got != want {
			t.Errorf("%s: got %v, want %v", kind, got, want)
		}
	}
}
