//go:build linux && !portable

package sys

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// makeFiles makes a file, a directory, a pipe and links to each in a directory.
func makeFiles(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, err := range []error{
		os.WriteFile(dir+"/file", []byte("text"), 0o640),
		os.Mkdir(dir+"/dir", 0o700),
		unix.Mkfifo(dir+"/pipe", 0o600),
		os.Symlink("file", dir+"/link"),
		os.Symlink(dir+"/link", dir+"/dir/far"),
		os.Symlink("../link", dir+"/dir/up"),
		os.Symlink("loop", dir+"/loop"),
		os.Symlink("missing", dir+"/broken"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestKinds checks which kind each file has. Links are followed.
func TestKinds(t *testing.T) {
	dir := makeFiles(t)
	for name, want := range map[string]string{"file": "regular", "link": "regular", "dir/far": "regular", "dir": "directory", "pipe": "pipe", "/dev/null": ""} {
		path := filepath.Join(dir, name)
		if name[0] == '/' {
			path = name
		}
		s, err := Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for kind, is := range map[string]bool{"regular": s.IsRegular(), "directory": s.IsDirectory(), "pipe": s.IsPipe()} {
			if is {
				got += kind
			}
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// TestDirectoryState checks that directories are the same for the access list, and
// that no file is the same as a directory.
func TestDirectoryState(t *testing.T) {
	dir := makeFiles(t)
	state := func(path string) FileState {
		s, err := Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return s.Directory()
	}
	if a, b := state(dir), state(dir+"/dir"); a != b || !a.IsDirectory() {
		t.Errorf("got %+v and %+v, want the same state, of a directory", a, b)
	}
	if s := state(dir + "/file"); s.IsDirectory() || s == state(dir) {
		t.Errorf("a file: got the state %+v of a directory", s)
	}
}

// TestKey checks that the key changes with the name and with everything that a
// change of a file changes, and not otherwise.
func TestKey(t *testing.T) {
	base := FileState{Seconds: 1, Nanoseconds: 2, Size: 3, Device: 4, Inode: 5, changedSeconds: 6, changedNanosecond: 7}
	keys := map[uint64]string{base.Key("a"): "base", base.Key("b"): "name"}
	for what, change := range map[string]func(*FileState){
		"seconds": func(s *FileState) { s.Seconds++ }, "nanoseconds": func(s *FileState) { s.Nanoseconds++ }, "size": func(s *FileState) { s.Size++ },
		"device": func(s *FileState) { s.Device++ }, "inode": func(s *FileState) { s.Inode++ },
		"change": func(s *FileState) { s.changedSeconds++ }, "change, ns": func(s *FileState) { s.changedNanosecond++ },
	} {
		s := base
		change(&s)
		if other, known := keys[s.Key("a")]; known {
			t.Errorf("%s: the key is that of %s", what, other)
		}
		keys[s.Key("a")] = what
	}
	if again := base; again.Key("a") != base.Key("a") {
		t.Error("the key of an equal state differs")
	}
}

// TestReplaced checks that only another file counts, whose name changed after its
// content.
func TestReplaced(t *testing.T) {
	before := FileState{Seconds: 1, Inode: 5, Device: 4, changedSeconds: 1}
	for _, c := range []struct {
		name  string
		after FileState
		want  bool
	}{
		{name: "the same", after: before},
		{name: "written", after: FileState{Seconds: 2, Inode: 5, Device: 4, changedSeconds: 2}},
		{name: "new mode", after: FileState{Seconds: 1, Inode: 5, Device: 4, changedSeconds: 2}},
		{name: "another file, just written", after: FileState{Seconds: 2, Inode: 6, Device: 4, changedSeconds: 2}},
		{name: "moved", after: FileState{Seconds: 2, Inode: 6, Device: 4, changedSeconds: 3}, want: true},
		{name: "moved in the same second", after: FileState{Seconds: 2, Nanoseconds: 1, Inode: 6, Device: 4, changedSeconds: 2, changedNanosecond: 2}, want: true},
		{name: "mounted", after: FileState{Seconds: 2, Inode: 5, Device: 7, changedSeconds: 3}, want: true},
	} {
		if got := c.after.Replaced(&before); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// TestEachEntry checks that every name of a large directory is found once, without
// "." and "..", and that an error ends the walk.
func TestEachEntry(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for i := range 500 {
		name := fmt.Sprintf("%03d-%s", i, strings.Repeat("x", 50))
		want = append(want, name)
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	if err := EachEntry(dir, func(name string) error { got = append(got, name); return nil }); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got %d names, want %d", len(got), len(want))
	}
	stop, calls := errors.New("stop"), 0
	if err := EachEntry(dir, func(string) error { calls++; return stop }); err != stop || calls != 1 {
		t.Errorf("got %v after %d calls, want %v after 1", err, calls, stop)
	}
	for _, path := range []string{dir + "/missing", filepath.Join(dir, want[0])} {
		if err := EachEntry(path, func(string) error { return nil }); err == nil {
			t.Errorf("%s: got no error", path)
		}
	}
	atOnce(t, func() error {
		if err := EachEntry(makeFiles(t)+"/pipe", func(string) error { return nil }); err != unix.ENOTDIR {
			t.Errorf("a pipe: got %v, want %v", err, unix.ENOTDIR)
		}
		return nil
	})
}

// atOnce checks that f returns, and returns no error.
func atOnce(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it waits")
	}
}

// TestOpenAtOnce checks that a pipe which nobody writes is opened without a wait.
func TestOpenAtOnce(t *testing.T) {
	dir := makeFiles(t)
	atOnce(t, func() error {
		f, err := OpenAtOnce(dir + "/pipe")
		if err == nil {
			err = f.Close()
		}
		return err
	})
	if f, err := OpenAtOnce(dir + "/missing"); err == nil {
		f.Close()
		t.Error("a file that is missing: got no error")
	}
}

// TestCreate checks that a new file has the content and the mode, and that no other
// file is written.
func TestCreate(t *testing.T) {
	dir := makeFiles(t)
	like, err := Stat(dir + "/file")
	if err != nil {
		t.Fatal(err)
	}
	text := bytes.Repeat([]byte("0123456789"), 10_000)
	if err := Create(dir+"/new", text, &like); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(dir + "/new")
	info, statErr := os.Stat(dir + "/new")
	if err != nil || statErr != nil || !bytes.Equal(got, text) || info.Mode() != 0o640 {
		t.Errorf("got %d bytes, mode %v, %v, %v, want %d bytes, mode -rw-r-----", len(got), info.Mode(), err, statErr, len(text))
	}
	for _, path := range []string{"/file", "/broken", "/missing/new"} {
		if err := Create(dir+path, text, &like); err == nil {
			t.Errorf("%s: got no error", path)
		}
	}
	if got, err := os.ReadFile(dir + "/file"); string(got) != "text" || err != nil {
		t.Errorf("the file has %q, %v", got, err)
	}
}

// TestFollowLinks checks where links lead to, and that a loop ends.
func TestFollowLinks(t *testing.T) {
	dir := makeFiles(t)
	for path, want := range map[string]string{
		"/file": "/file", "/link": "/file", "/dir/far": "/file", "/dir/up": "/dir/../file", "/broken": "/missing", "/missing": "/missing", "/loop": "/loop",
	} {
		if got := FollowLinks(dir + path); got != dir+want {
			t.Errorf("%s: got %s, want %s", path, got, dir+want)
		}
	}
}

// TestRandom checks that every byte of a buffer is random.
func TestRandom(t *testing.T) {
	var seen [40][256]bool
	for range 2000 {
		b := make([]byte, len(seen))
		if err := Random(b); err != nil {
			t.Fatal(err)
		}
		for i, c := range b {
			seen[i][c] = true
		}
	}
	for i := range seen {
		n := 0
		for _, s := range seen[i] {
			if s {
				n++
			}
		}
		if n < 200 {
			t.Errorf("byte %d had %d values, want about 256", i, n)
		}
	}
}

// TestFileLimit compares with the limit that the kernel shows.
func TestFileLimit(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if got := FileLimit(); got != limit.Cur {
		t.Errorf("got %d, want %d", got, limit.Cur)
	}
}

// TestFilesDoNotLeak checks that a program which is started gets no open file.
func TestFilesDoNotLeak(t *testing.T) {
	dir := makeFiles(t)
	f, err := Open(dir + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at, err := OpenAtOnce(dir + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	check := func(fd uintptr) {
		t.Helper()
		if flags, err := unix.FcntlInt(fd, unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("flags %d, %v, want close-on-exec", flags, err)
		}
	}
	check(uintptr(f))
	check(uintptr(at))
	found := false
	walked := func(string) error {
		for fd := range uintptr(100) {
			if path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil && path == dir+"/dir" {
				found = true
				check(fd)
			}
		}
		return nil
	}
	if err := EachEntry(dir+"/dir", walked); err != nil || !found {
		t.Errorf("the directory: got %v, open: %v, want it open during the walk", err, found)
	}
}
