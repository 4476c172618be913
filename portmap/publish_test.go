package main

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWriteAddress(t *testing.T) {
	path := filepath.Join(t.TempDir(), "address")
	for _, test := range []struct {
		name   string
		public netip.AddrPort
		want   string
	}{
		{name: "known", public: netip.MustParseAddrPort("203.0.113.7:40000"), want: "203.0.113.7:40000\n"},
		{name: "unknown", public: netip.AddrPort{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := writeAddress(path, test.public); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			comment, got, _ := strings.Cut(string(text), "\n")
			if !strings.HasPrefix(comment, "#") || got != test.want {
				t.Errorf("got %q, want a comment and %q", text, test.want)
			}
			before, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := writeAddress(path, test.public); err != nil {
				t.Fatal(err)
			}
			if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
				t.Errorf("an unchanged address replaced the file (%v)", err)
			}
		})
	}
	if _, err := os.Stat(path + ".new"); !os.IsNotExist(err) {
		t.Errorf("the temporary file: %v; want none", err)
	}
	if err := writeAddress(filepath.Join(path, "below", "a", "file"), netip.AddrPort{}); err == nil {
		t.Error("no error for a directory that does not exist")
	}
}

// After a crash the nonce is the same. After a stop that removed the mapping it
// is a new one.
func TestNonce(t *testing.T) {
	path, id := filepath.Join(t.TempDir(), "address"), filepath.Join(t.TempDir(), "machine-id")
	load := func() nonce {
		t.Helper()
		n, err := loadNonce(path, id, 1337)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	first := load()
	if second := load(); second != first {
		t.Errorf("after a crash: got nonce %x, want %x", second, first)
	}
	if info, err := os.Stat(statePath(path)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("state file: %v, %v; want mode 0600", info, err)
	}
	if err := removeFiles(path, false); err != nil {
		t.Fatal(err)
	}
	if second := load(); second != first {
		t.Errorf("after a stop that left the mapping: got nonce %x, want %x", second, first)
	}
	if err := removeFiles(path, true); err != nil {
		t.Fatal(err)
	}
	if second := load(); second == first {
		t.Error("after a stop: the old nonce is used again")
	}
	if err := os.WriteFile(statePath(path), bytes.Repeat([]byte("zz"), 12), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := load(); n == (nonce{}) {
		t.Error("a damaged state file gives an empty nonce")
	}

	// With a machine ID no state is needed.
	if err := os.WriteFile(id, []byte("0123456789abcdef0123456789abcdef\n"), 0o444); err != nil {
		t.Fatal(err)
	}
	first = load()
	if err := removeFiles(path, true); err != nil {
		t.Fatal(err)
	}
	if second := load(); second != first {
		t.Errorf("with a machine ID: got nonce %x, want %x", second, first)
	}
	if other, err := loadNonce(path, id, 1338); err != nil || other == first {
		t.Errorf("another port: got nonce %x, %v; want another", other, err)
	}
	if _, err := os.Stat(statePath(path)); !os.IsNotExist(err) {
		t.Errorf("state file: %v; want none", err)
	}
}
