package sys

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestReplacement checks that a file is complete or absent, that everybody may
// read it, and that a file which another user put in its place is not written
// to.
func TestReplacement(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "a.prom"), filepath.Join(dir, "other")
	if err := os.WriteFile(other, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, path+".new"); err != nil {
		t.Fatal(err)
	}
	r := NewAtomicFile(path)
	long := bytes.Repeat([]byte("x"), 100000)
	for _, text := range [][]byte{[]byte("first"), long, []byte("second")} {
		if err := r.Write(text); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("%v: %d bytes", err, len(got))
		}
		if st, err := os.Lstat(path); err != nil || st.Mode() != 0o644 {
			t.Errorf("mode %v, %v", st.Mode(), err)
		}
	}
	if b, err := os.ReadFile(other); err != nil || string(b) != "other" {
		t.Errorf("%q, %v", b, err)
	}
	// In the place of a directory nothing can be put, and nothing is left.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := r.Write(long); err == nil {
		t.Error("written over a directory")
	}
	if _, err := os.Lstat(path + ".new"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the temporary file is left")
	}
	r.Remove()
}

// TestAtomicFileReplaces only a regular file or nothing: a device, a pipe or a
// link that stands in its place is neither replaced nor removed.
func TestAtomicFileReplaces(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, path string)
		want error
	}{
		{name: "nothing", make: func(*testing.T, string) {}},
		{name: "a file", make: func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("before"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "a directory", make: func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
		}, want: ErrNotRegular},
		{name: "a link to a file", make: func(t *testing.T, path string) {
			if err := os.WriteFile(path+".target", []byte("target"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(path+".target", path); err != nil {
				t.Fatal(err)
			}
		}, want: ErrNotRegular},
		{name: "a link to a device", make: func(t *testing.T, path string) {
			if err := os.Symlink(os.DevNull, path); err != nil {
				t.Fatal(err)
			}
		}, want: ErrNotRegular},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.prom")
			c.make(t, path)
			before, _ := os.Lstat(path)
			r := NewAtomicFile(path)
			if err := r.Check(); err != c.want {
				t.Errorf("Check: got %v, want %v", err, c.want)
			}
			if err := r.Write([]byte("x")); err != c.want {
				t.Errorf("Write: got %v, want %v", err, c.want)
			}
			r.Remove()
			after, err := os.Lstat(path)
			if c.want == nil && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Remove left the file: %v", err)
			}
			if c.want != nil && (err != nil || !os.SameFile(before, after)) {
				t.Errorf("it is not there any more, or another one: %v", err)
			}
		})
	}
}

// TestReadRegularFile refuses what may never end.
func TestReadRegularFile(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, path, want string
		err              error
	}{
		{name: "a file", path: file, want: "text"},
		{name: "a link to a file", path: link, want: "text"},
		{name: "nothing", path: file + "x", err: ErrNoFile},
		{name: "a directory", path: dir, err: ErrNotRegular},
		{name: "a device", path: os.DevNull, err: ErrNotRegular},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ReadRegularFile(c.path)
			if string(got) != c.want || err != c.err {
				t.Errorf("got %q, %v; want %q, %v", got, err, c.want, c.err)
			}
		})
	}
}
