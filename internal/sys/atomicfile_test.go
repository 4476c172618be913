package sys

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestReplacement: a file is there whole or not at all, for everybody to read,
// and what a stranger has put in its way is not written to.
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
