package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"github.com/fabricionaweb/pico-tracker/internal/logger"
)

func TestParsePublic(t *testing.T) {
	tests := []struct{ line, want string }{
		{"203.0.113.7", "203.0.113.7:0"},
		{"203.0.113.7:40000", "203.0.113.7:40000"},
		{"203.0.113.7:65535", "203.0.113.7:65535"},
		{"2001:db8::7", "[2001:db8::7]:0"},
		{"[2001:db8::7]", "[2001:db8::7]:0"},
		{"[2001:db8::7]:1337", "[2001:db8::7]:1337"},
		{"203.0.113.7:0", ""},
		{"203.0.113.7:65536", ""},
		{"203.0.113.7:", ""},
		{"203.0.113.7:x", ""},
		{"203.0.113", ""},
		{"[203.0.113.7]:1337", ""},
		{"[2001:db8::7", ""},
		{"[2001:db8::7]1337", ""},
		{"[2001:db8::7]:", ""},
		{"[2001:db8::7%eth0]:1337", ""},
		{"[::ffff:203.0.113.7]", ""},
		{"[]:1", ""},
		{"router.lan:1337", ""},
	}
	for _, test := range tests {
		t.Run(test.line, func(t *testing.T) {
			got := ""
			if e, ok := parsePublic(test.line); ok {
				got = e.String()
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// A lockedBuffer is a log that the watcher writes and a test reads.
type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.Reset()
	return b.String()
}

// TestExternalFile reads one content after another.
func TestExternalFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "address")
	var log lockedBuffer
	tr := &tracker{}
	f := &externalFile{path: path, tracker: tr, log: &logger.Logger{Out: &log}}
	m := &maintenance{tracker: tr, external: f, port: 1337}
	tests := []struct {
		name, content string // "-": no file
		want4, want6  string
		logged        string // a part
		silent        bool
	}{
		{name: "missing", content: "-", logged: "external address: not known yet; following " + path},
		{name: "still missing", content: "-", silent: true},
		{name: "address", content: "# by hand\n203.0.113.7 # home\n", want4: "203.0.113.7:1337", logged: "[INFO] external IPv4 address: 203.0.113.7\n"},
		{name: "same", content: "# by hand\n203.0.113.7 # home\n", want4: "203.0.113.7:1337", silent: true},
		{name: "comment changed", content: "203.0.113.7", want4: "203.0.113.7:1337", silent: true},
		{name: "another port", content: "203.0.113.7:40000\n", want4: "203.0.113.7:40000", logged: "external IPv4 address: 203.0.113.7, public port 40000\n"},
		{name: "both", content: "[2001:db8::7]:1338\n203.0.113.7:40000\r\n", want4: "203.0.113.7:40000", want6: "[2001:db8::7]:1338",
			logged: "external IPv6 address: 2001:db8::7, public port 1338\n"},
		{name: "private", content: "192.168.1.1\n", logged: path + `:1: "192.168.1.1" is not a public address; line skipped`},
		{name: "second", content: "203.0.113.7\n203.0.113.8\n", want4: "203.0.113.7:1337", logged: path + `:2: "203.0.113.8" is the second IPv4 address`},
		{name: "nonsense", content: "hello\x00\x1b\n203.0.113.9\n", want4: "203.0.113.9:1337", logged: `:1: "hello\x00\x1b": want an address`},
		{name: "empty", content: "", logged: "external IPv4 address: none\n"},
		{name: "gone", content: "-", silent: true},
	}
	for _, test := range tests {
		if test.content == "-" {
			if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		} else {
			writeFile(t, path, test.content)
		}
		f.load()
		if got := m.externalAddress(false); got != test.want4 {
			t.Errorf("%s: IPv4: got %q, want %q", test.name, got, test.want4)
		}
		if got := m.externalAddress(true); got != test.want6 {
			t.Errorf("%s: IPv6: got %q, want %q", test.name, got, test.want6)
		}
		if got := log.take(); !strings.Contains(got, test.logged) || test.silent && got != "" {
			t.Errorf("%s: log: got %q, want %q", test.name, got, test.logged)
		}
	}
	// A file that cannot be read keeps what was there.
	writeFile(t, path, "203.0.113.7\n")
	f.load()
	log.take()
	f.path = filepath.Dir(path) // reading a directory fails
	for i, want := range []string{"the last addresses are kept", ""} {
		f.load()
		if got := log.take(); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("read %d: log: got %q, want %q", i, got, want)
		}
	}
	if got := m.externalAddress(false); got != "203.0.113.7:1337" {
		t.Errorf("after a failure: got %q, want 203.0.113.7:1337", got)
	}
}

// TestExternalAddressShown checks that the report has an external address from
// every source, with the port of -port.
func TestExternalAddressShown(t *testing.T) {
	tr := &tracker{}
	m := &maintenance{tracker: tr, port: 6969}
	if got := m.externalAddress(false); got != "" {
		t.Errorf("not known: got %q, want none", got)
	}
	tr.setExternal([4]byte{203, 0, 113, 7}, [16]byte{})
	if got, want := m.externalAddress(false), (ipaddr.Endpoint{Addr: ipaddr.Addr{IP: "\xcb\x00\x71\x07"}, Port: 6969}).String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := m.externalAddress(true); got != "" {
		t.Errorf("IPv6: got %q, want none", got)
	}
}

// TestExternalFileHangs checks that the maintenance loop goes on while the file
// cannot be read, as on a network file system that hangs, and that the file is
// read when the system answers again.
func TestExternalFileHangs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "address")
	var log lockedBuffer
	s := newService(t)
	f := &externalFile{path: path, tracker: s.tracker, log: &logger.Logger{Out: &log}}
	m := &maintenance{tracker: s.tracker, external: f, port: 1337, log: f.log, statsInterval: 15}
	f.mu.Lock() // a read by the watcher hangs
	ticked := make(chan struct{})
	go func() {
		for i := range seconds(3) {
			m.tick(timestamp{mono: s.now.mono + (i+1)*listCheckInterval})
		}
		close(ticked)
	}()
	select {
	case <-ticked:
	case <-time.After(deadline):
		t.Fatal("a tick waits for the file")
	}
	writeFile(t, path, "203.0.113.7")
	f.mu.Unlock()
	for end := time.Now().Add(deadline); m.externalAddress(false) != "203.0.113.7:1337"; {
		if time.Now().After(end) {
			t.Fatalf("got the address %q, want 203.0.113.7:1337", m.externalAddress(false))
		}
	}
}
