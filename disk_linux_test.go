//go:build linux && !portable

package main

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/logger"
	"golang.org/x/sys/unix"
)

// TestReloadGivesBack the memory of the list that is no longer in force.
func TestReloadGivesBack(t *testing.T) {
	const n = 5000
	l, lines := testList(t, false, n)
	s := newService(t)
	k := &maintenance{tracker: s.tracker, list: l, log: &logger.Logger{Out: lines}}
	text := ""
	for i := 0; i < n; i++ {
		text += digits(i) + "\n"
	}
	for round := 0; round < 3; round++ {
		writeFile(t, l.path, text)
		k.reload(s.now)
		idle, middle := l.halves[l.next], n/2
		if idle[middle] != (bep15.InfoHash{}) {
			t.Errorf("round %d: the old list is still in memory", round)
		}
		if got := admitted(l, 2*n); len(got) != n {
			t.Errorf("round %d: %d torrents are allowed", round, len(got))
		}
		// A read that fails leaves nothing behind either.
		writeFile(t, l.path, text+digits(n))
		k.reload(s.now)
		if idle[middle] != (bep15.InfoHash{}) {
			t.Errorf("round %d: half a list is still in memory", round)
		}
	}
}

// TestTrimGivesBack: pages that are said to be with the system are, and read as
// zeroes.
func TestTrimGivesBack(t *testing.T) {
	s := newTestStore(t, 400, 1)
	var rng random
	for i := 0; i < 20000; i++ {
		announce(s, &visit{hash: testHash(i)}, testKey4(i), &rng, nil)
	}
	resident := func() (n int) {
		for i := 1; i < len(s.pool.pages); i++ {
			if slices.ContainsFunc(s.pool.mem[i*pageSize:(i+1)*pageSize], func(b byte) bool { return b != 0 }) {
				n++
			}
		}
		return n
	}
	if used, _, _ := s.pool.usage(); resident() != used {
		t.Fatalf("%d pages hold something, %d are used", resident(), used)
	}
	sweepAll(s, 5000, 100)
	for i := 0; i < 10; i++ {
		s.trim(6000, 100, 100)
	}
	if _, _, want := s.pool.usage(); resident() > want {
		t.Errorf("%d pages hold something, %d should be resident", resident(), want)
	}
}

// TestListInode: a file that was put in the place of another is another, were
// it of the same size and time.
func TestListInode(t *testing.T) {
	l, _ := testList(t, false, 10)
	when := time.Unix(1_700_000_000, 0)
	put := func(path, text string) {
		writeFile(t, path, text)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	put(l.path, digits(1))
	if !l.load() || l.changed() {
		t.Fatal("not loaded")
	}
	next := filepath.Join(filepath.Dir(l.path), "next")
	put(next, digits(2))
	if err := os.Rename(next, l.path); err != nil {
		t.Fatal(err)
	}
	if !l.changed() || !l.load() || !l.admits(testHash(2)) || l.admits(testHash(1)) {
		t.Error("a file with another inode is not seen")
	}
}

// TestListPipe: a list from a pipe is read once. It is not read again where
// there is nothing left, unless somebody says so.
func TestListPipe(t *testing.T) {
	l, _ := testList(t, false, 10)
	l.path = filepath.Join(t.TempDir(), "list")
	if err := unix.Mkfifo(l.path, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() { _ = os.WriteFile(l.path, []byte(digits(1)), 0o600) }()
	if !l.load() || !l.admits(testHash(1)) {
		t.Fatal("it isn't read")
	}
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(l.path, later, later); err != nil {
		t.Fatal(err)
	}
	if l.changed() {
		t.Error("it is to be read again")
	}
}

// TestNoLeaks: a program that has ended, or could not start, leaves no file
// descriptor.
func TestNoLeaks(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	list := filepath.Join(t.TempDir(), "list")
	writeFile(t, list, digits(1))
	startProgram(t, "-whitelist", list).stop(os.Interrupt)
	before := count()
	p := startProgram(t, "-whitelist", list, "-workers=2", "-memory=64M")
	for i := 1; i < 4; i++ {
		p.log.take()
		writeFile(t, list, digits(i))
		p.signals <- unix.SIGHUP
		p.await(list + ": 1 torrents")
	}
	p.stop(os.Interrupt)
	busy, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(p.port)})
	if err != nil {
		t.Fatal(err)
	}
	startBusy := []string{"-port", busy.LocalAddr().String()[len("127.0.0.1:"):], "-listen", "[::1],127.0.0.1", "-memory=64M", "-workers=2"}
	expectFailure(t, startBusy, nil, "in use")
	busy.Close()
	if after := count(); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}
