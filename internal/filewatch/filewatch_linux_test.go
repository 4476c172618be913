//go:build linux && !portable

package filewatch

import (
	"os"
	"path/filepath"
	"testing"
	"time"
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
