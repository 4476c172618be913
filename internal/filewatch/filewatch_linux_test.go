//go:build linux && !portable

package filewatch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fixture is a directory in which a test watches a path.
type fixture struct {
	t      *testing.T
	dir    string
	events chan Event
}

func watch(t *testing.T, dir, path string) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: dir, events: make(chan Event, 1000)}
	stop, err := Watch(path, func(e Event) { f.events <- e })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return f
}

// expect waits for an event and drops those that follow at once.
func (f *fixture) expect(what string, want Event) {
	f.t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case got := <-f.events:
			if got == want {
				f.drain()
				return
			}
		case <-deadline:
			f.t.Fatalf("%s: no event %d within 10 s", what, want)
		}
	}
}

// drain drops the other events of the same change.
func (f *fixture) drain() {
	for {
		select {
		case <-f.events:
		case <-time.After(20 * time.Millisecond):
			return
		}
	}
}

// none checks that there is no event.
func (f *fixture) none(what string) {
	f.t.Helper()
	select {
	case e := <-f.events:
		f.t.Errorf("%s: got event %d, want none", what, e)
	case <-time.After(50 * time.Millisecond):
	}
}

func (f *fixture) path(name string) string { return filepath.Join(f.dir, name) }

func (f *fixture) write(name, text string) {
	f.t.Helper()
	if err := os.WriteFile(f.path(name), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) rename(from, to string) {
	f.t.Helper()
	if err := os.Rename(f.path(from), f.path(to)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) remove(name string) {
	f.t.Helper()
	if err := os.RemoveAll(f.path(name)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) mkdir(name string) {
	f.t.Helper()
	if err := os.MkdirAll(f.path(name), 0o700); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) link(target, name string) {
	f.t.Helper()
	if err := os.Symlink(target, f.path(name)); err != nil {
		f.t.Fatal(err)
	}
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	f := watch(t, dir, filepath.Join(dir, "list"))
	f.write("other", "x")
	f.none("another file")
	f.write("list", "x")
	f.expect("created", Changed)
	f.write("list", "xy")
	f.expect("written", Changed)
	f.write("new", "xyz")
	f.none("a temporary file")
	f.rename("new", "list")
	f.expect("renamed into place", Replaced)
	f.write("list", "x")
	f.expect("written after the rename", Changed)
	f.remove("list")
	f.expect("removed", Changed)
	f.write("list", "x")
	f.expect("back", Changed)
	f.rename("list", "list~")
	f.expect("renamed away", Changed)
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	f := watch(t, dir, filepath.Join(dir, "torrents"))
	f.mkdir("torrents")
	f.expect("directory created", Changed)
	f.write("torrents/a", "x")
	f.expect("file created", Changed)
	f.write("torrents/a", "xy")
	f.expect("file written", Changed)
	f.write("b", "x")
	f.none("a file beside the directory")
	f.rename("b", "torrents/b")
	f.expect("file renamed into the directory", Changed)
	f.remove("torrents/a")
	f.expect("file removed", Changed)
	f.remove("torrents")
	f.expect("directory removed", Changed)
	f.mkdir("torrents")
	f.expect("directory back", Changed)
	f.write("torrents/c", "x")
	f.expect("file in the new directory", Changed)
	f.rename("torrents", "old")
	f.expect("directory renamed away", Changed)
	f.mkdir("torrents")
	f.expect("another directory", Changed)
	f.write("old/x", "x")
	f.none("a file in the directory that was renamed away")
	f.write("torrents/x", "x")
	f.expect("a file in the other directory", Changed)
}

// TestParents: directories above the file may come, go and be renamed.
func TestParents(t *testing.T) {
	dir := t.TempDir()
	f := watch(t, dir, filepath.Join(dir, "a/b/list"))
	f.mkdir("a")
	f.expect("first directory", Changed)
	f.mkdir("a/b")
	f.expect("second directory", Changed)
	f.write("a/b/list", "x")
	f.expect("file", Changed)
	f.mkdir("c/b")
	f.write("c/b/list", "x")
	f.none("elsewhere")
	f.rename("a", "d")
	f.expect("directory renamed away", Changed)
	f.rename("c", "a")
	f.expect("another directory in its place", Replaced)
	f.write("a/b/list", "xy")
	f.expect("file in the other directory", Changed)
	f.remove("a")
	f.expect("all removed", Changed)
}

// TestLinks: as Kubernetes mounts a file, list -> ..data/list, ..data -> ..1.
func TestLinks(t *testing.T) {
	dir := t.TempDir()
	f := &fixture{t: t, dir: dir}
	f.mkdir("..1")
	f.write("..1/list", "x")
	f.link("..1", "..data")
	f.link("..data/list", "list")
	f = watch(t, dir, filepath.Join(dir, "list"))
	f.write("..1/list", "y")
	f.expect("the target is written", Changed)
	f.mkdir("..2")
	f.write("..2/list", "z")
	f.link("..2", "..new")
	f.drain()
	f.rename("..new", "..data")
	f.expect("the link in the middle is replaced", Replaced)
	f.write("..1/list", "old")
	f.none("the old target")
	f.write("..2/list", "new")
	f.expect("the new target is written", Changed)
	f.link(f.path("..1/list"), "absolute")
	f.rename("absolute", "list")
	f.expect("the link itself is replaced", Replaced)
	f.write("..1/list", "again")
	f.expect("its absolute target is written", Changed)
}

// TestLoop: a symbolic link to itself ends the walk.
func TestLoop(t *testing.T) {
	dir := t.TempDir()
	f := &fixture{t: t, dir: dir}
	f.link("list", "list")
	f = watch(t, dir, filepath.Join(dir, "list"))
	f.remove("list")
	f.expect("the loop is removed", Changed)
	f.write("list", "x")
	f.expect("a file in its place", Changed)
}

// TestRelative: a relative path counts from the working directory.
func TestRelative(t *testing.T) {
	dir := t.TempDir()
	before, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chdir(before) })
	if err := os.Chdir(dir); err != nil {
		t.Fatal(err)
	}
	f := watch(t, dir, "./x/../list")
	f.mkdir("x")
	f.expect("directory", Changed)
	f.write("list", "x")
	f.expect("file", Changed)
}

// TestMode: a change of the mode or the owner may make a file readable.
func TestMode(t *testing.T) {
	dir := t.TempDir()
	f := &fixture{t: t, dir: dir}
	f.mkdir("torrents")
	for _, name := range []string{"list", "other", "torrents/a"} {
		f.write(name, "x")
	}
	chmod := func(name string, mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(f.path(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	f = watch(t, dir, f.path("list"))
	chmod("other", 0o644)
	chmod("", 0o711)
	f.none("another file, and the directory itself")
	chmod("list", 0o644)
	f.expect("mode of the file", Changed)
	f = watch(t, dir, f.path("torrents"))
	chmod("torrents/a", 0o644)
	f.expect("mode of a file in a directory", Changed)
}

// TestSpelling: a path may be written in several ways.
func TestSpelling(t *testing.T) {
	for _, spelling := range []string{"a/b/list", "a//b///list", "./a/./b/./list", "a/../a/b/list", "a/b/../../a/b/list", "link/list", "link/../b/list", "absolute/list", "//absolute/./list"} {
		t.Run(spelling, func(t *testing.T) {
			dir := t.TempDir()
			f := &fixture{t: t, dir: dir}
			f.mkdir("a/b")
			f.link("a/b", "link")
			f.link(f.path("a/b"), "absolute")
			f = watch(t, dir, dir+"/"+spelling)
			f.write("list", "x")
			f.write("a/list", "x")
			f.none("a file elsewhere")
			f.write("a/b/list", "x")
			f.expect("created", Changed)
			f.write("a/b/new", "x")
			f.rename("a/b/new", "a/b/list")
			f.expect("replaced", Replaced)
		})
	}
	for _, spelling := range []string{"a/b/", "a/b/.", "a/b/x/..", "link/", "link"} {
		t.Run(spelling, func(t *testing.T) {
			dir := t.TempDir()
			f := &fixture{t: t, dir: dir}
			f.mkdir("a/b/x")
			f.link("a/b", "link")
			f = watch(t, dir, dir+"/"+spelling)
			f.write("a/list", "x")
			f.none("a file elsewhere")
			f.write("a/b/list", "x")
			f.expect("created in the directory", Changed)
		})
	}
}

// TestSteps checks how many parts of a path are followed.
func TestSteps(t *testing.T) {
	dir := t.TempDir()
	parts := strings.Count(dir, "/") + 1 // with the name of the file
	for dots, want := range map[int]bool{maxSteps - parts - 1: true, maxSteps - parts: true, maxSteps - parts + 1: false} {
		name := fmt.Sprintf("list%d", dots)
		f := watch(t, dir, dir+"/"+strings.Repeat("./", dots)+name)
		f.write(name, "x")
		if want {
			f.expect(name, Changed)
		} else {
			f.none(name)
		}
	}
}

// event returns an event as the kernel writes it.
func event(wd int32, mask uint32, name string) []byte {
	size := (len(name) + 15) &^ 15
	if name != "" && size == len(name) {
		size += 16
	}
	b := binary.NativeEndian.AppendUint32(nil, uint32(wd))
	b = binary.NativeEndian.AppendUint32(b, mask)
	b = binary.NativeEndian.AppendUint32(b, 0) // the cookie of a rename
	b = binary.NativeEndian.AppendUint32(b, uint32(size))
	return append(append(b, name...), make([]byte, size-len(name))...)
}

// TestMatch checks what each event means, and that an event that is cut at any place
// means nothing.
func TestMatch(t *testing.T) {
	const above, list, directory, unknown = 1, 2, 3, 4
	w := &watcher{names: map[int32]names{
		above:     {parts: []string{"a", "b"}},
		list:      {parts: []string{"link"}, last: "list"},
		directory: {last: anyName},
	}}
	type meaning struct{ matched, replaced, rearm bool }
	all := func(events ...[]byte) []byte { return bytes.Join(events, nil) }
	for _, c := range []struct {
		name   string
		events []byte
		want   meaning
	}{
		{name: "nothing"},
		{name: "part created", events: event(above, unix.IN_CREATE|unix.IN_ISDIR, "a"), want: meaning{rearm: true}},
		{name: "second part created", events: event(above, unix.IN_CREATE|unix.IN_ISDIR, "b"), want: meaning{rearm: true}},
		{name: "part removed", events: event(above, unix.IN_DELETE, "a"), want: meaning{rearm: true}},
		{name: "part renamed away", events: event(above, unix.IN_MOVED_FROM, "a"), want: meaning{rearm: true}},
		{name: "part renamed into place", events: event(above, unix.IN_MOVED_TO, "a"), want: meaning{rearm: true, replaced: true}},
		{name: "link renamed into place", events: event(list, unix.IN_MOVED_TO, "link"), want: meaning{rearm: true, replaced: true}},
		{name: "mode of a part", events: event(above, unix.IN_ATTRIB, "a")},
		{name: "beside a part", events: event(above, unix.IN_CREATE, "c")},
		{name: "the file's name elsewhere", events: event(above, unix.IN_CREATE, "list")},
		{name: "file created", events: event(list, unix.IN_CREATE, "list"), want: meaning{matched: true, rearm: true}},
		{name: "file written", events: event(list, unix.IN_CLOSE_WRITE, "list"), want: meaning{matched: true}},
		{name: "mode of the file", events: event(list, unix.IN_ATTRIB, "list"), want: meaning{matched: true}},
		{name: "file removed", events: event(list, unix.IN_DELETE, "list"), want: meaning{matched: true, rearm: true}},
		{name: "file renamed into place", events: event(list, unix.IN_MOVED_TO, "list"), want: meaning{matched: true, replaced: true, rearm: true}},
		{name: "another file written", events: event(list, unix.IN_CLOSE_WRITE, "list2")},
		{name: "mode of the directory", events: event(list, unix.IN_ATTRIB|unix.IN_ISDIR, "")},
		{name: "in a directory", events: event(directory, unix.IN_CLOSE_WRITE, "any"), want: meaning{matched: true}},
		{name: "renamed into a directory", events: event(directory, unix.IN_MOVED_TO, "any"), want: meaning{matched: true}},
		{name: "mode of a watched directory", events: event(directory, unix.IN_ATTRIB|unix.IN_ISDIR, "")},
		{name: "directory removed", events: event(above, unix.IN_DELETE_SELF, ""), want: meaning{rearm: true}},
		{name: "directory renamed", events: event(directory, unix.IN_MOVE_SELF, ""), want: meaning{rearm: true}},
		{name: "directory unmounted", events: event(list, unix.IN_UNMOUNT, ""), want: meaning{rearm: true}},
		{name: "watch removed", events: event(list, unix.IN_IGNORED, "")},
		{name: "an old watch", events: event(unknown, unix.IN_DELETE_SELF, "")},
		{name: "an old watch, a name", events: event(unknown, unix.IN_CREATE, "list")},
		{name: "events are lost", events: event(-1, unix.IN_Q_OVERFLOW, ""), want: meaning{rearm: true}},
		{name: "created, then written", events: all(event(list, unix.IN_CREATE, "list"), event(list, unix.IN_CLOSE_WRITE, "list")), want: meaning{matched: true, rearm: true}},
		{name: "replaced, then written", events: all(event(list, unix.IN_MOVED_TO, "list"), event(list, unix.IN_CLOSE_WRITE, "list")),
			want: meaning{matched: true, replaced: true, rearm: true}},
		{name: "part replaced, then another created", events: all(event(above, unix.IN_MOVED_TO, "a"), event(above, unix.IN_CREATE, "b")), want: meaning{replaced: true, rearm: true}},
		{name: "after an old watch", events: all(event(unknown, unix.IN_IGNORED, ""), event(list, unix.IN_CLOSE_WRITE, "list")), want: meaning{matched: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got meaning
			if got.matched, got.replaced, got.rearm = w.match(c.events); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			first := 0 // bytes of the first event
			if len(c.events) > 0 {
				first = eventHeader + int(binary.NativeEndian.Uint32(c.events[12:]))
			}
			for n := range first {
				got.matched, got.replaced, got.rearm = w.match(c.events[:n:n])
				if got != (meaning{}) {
					t.Errorf("the first %d bytes: got %+v, want nothing", n, got)
				}
			}
		})
	}
}

// inotifyFiles returns the inotify descriptors of this process.
func inotifyFiles(t *testing.T) (fds []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil {
			if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.Contains(target, "inotify") {
				fds = append(fds, fd)
			}
		}
	}
	return fds
}

// TestDescriptor: a program that is started gets no descriptor of Watch, no thread
// waits in the kernel, and stop closes the descriptor.
func TestDescriptor(t *testing.T) {
	before := inotifyFiles(t)
	stop, err := Watch(t.TempDir(), func(Event) {})
	if err != nil {
		t.Fatal(err)
	}
	during := inotifyFiles(t)
	if len(during) != len(before)+1 {
		t.Errorf("got %d descriptors, want %d", len(during), len(before)+1)
	}
	for _, fd := range during {
		if slices.Contains(before, fd) {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("got flags %#x, %v, want close-on-exec", flags, err)
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
			t.Errorf("got flags %#x, %v, want no blocking", flags, err)
		}
	}
	stop()
	for end := time.Now().Add(10 * time.Second); len(inotifyFiles(t)) != len(before); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("stop has not closed the descriptor")
		}
	}
}

// TestStop: after stop there is no event, and the goroutine ends.
func TestStop(t *testing.T) {
	dir := t.TempDir()
	events := make(chan Event, 10)
	stop, err := Watch(filepath.Join(dir, "list"), func(e Event) { events <- e })
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if err := os.WriteFile(filepath.Join(dir, "list"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-events:
		t.Errorf("got event %d after stop, want none", e)
	case <-time.After(50 * time.Millisecond):
	}
}
