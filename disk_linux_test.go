//go:build linux && !portable

package main

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/logger"
	"golang.org/x/sys/unix"
)

// TestReloadGivesBack the memory of the list that is no longer in force.
func TestReloadGivesBack(t *testing.T) {
	const n = 2000
	l, lines := testList(t, false, n)
	s := newService(t)
	k := &maintenance{tracker: s.tracker, list: l, log: &logger.Logger{Out: lines}}
	text := ""
	for i := 0; i < n; i++ {
		text += digits(i) + "\n"
	}
	for round := 0; round < 3; round++ {
		writeFile(t, l.path, text)
		reload(k, s.now)
		idle, middle := l.loader.buffers[l.loader.next], n/2
		if idle[middle] != (bep15.InfoHash{}) {
			t.Errorf("round %d: the old list is still in memory", round)
		}
		if got := admitted(l, 2*n); len(got) != n {
			t.Errorf("round %d: %d torrents are allowed", round, len(got))
		}
		// A read that fails leaves nothing behind either.
		writeFile(t, l.path, text+digits(n))
		reload(k, s.now)
		if idle[middle] != (bep15.InfoHash{}) {
			t.Errorf("round %d: half a list is still in memory", round)
		}
	}
}

// TestTrimGivesBack checks that released pages are not resident and read as
// zeros.
func TestTrimGivesBack(t *testing.T) {
	s := newTestStore(t, 400, 1)
	var rng splitMix64
	for i := 0; i < 20000; i++ {
		announce(s, &announceParams{hash: testHash(i)}, testKey4(i), &rng, nil)
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

// TestListInode checks that another file with the same size and time is a
// change.
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
	if !reloadList(l) || differs(l) {
		t.Fatal("reload: got no new list, want one hash")
	}
	next := filepath.Join(filepath.Dir(l.path), "next")
	put(next, digits(2))
	if err := os.Rename(next, l.path); err != nil {
		t.Fatal(err)
	}
	if !differs(l) || !reloadList(l) || !l.admits(testHash(2)) || l.admits(testHash(1)) {
		t.Error("after the rename: got the old list, want the new one")
	}
}

// TestListPipe checks that a pipe is read once, at the start. A reload keeps
// the list and logs that.
func TestListPipe(t *testing.T) {
	l, lines := testList(t, false, 10)
	if err := unix.Mkfifo(l.path, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() { _ = os.WriteFile(l.path, []byte(digits(1)), 0o600) }()
	if !reloadList(l) || !l.admits(testHash(1)) {
		t.Fatal("first load: got no list, want the hash in the pipe")
	}
	lines.expectLines(t, ": 1 torrent")
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(l.path, later, later); err != nil {
		t.Fatal(err)
	}
	if look(l, 5000, 0) {
		t.Error("regular check: got another load of the pipe, want none")
	}
	lines.expectLines(t)
	if look(l, 6000, noticeReload) || !l.admits(testHash(1)) {
		t.Error("reload: got another load of the pipe, want the old list")
	}
	lines.expectLines(t, "a pipe is read only once, at the start; the list that was read before stays in force")
}

// TestNoLeaks checks that a program that has ended, or could not start, leaves
// no file descriptor.
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
		replaceFile(t, list, digits(i))
		p.signals <- unix.SIGHUP
		p.await(list + ": 1 torrent")
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

// TestListHangsAtStart checks that SIGTERM ends a tracker that waits for a pipe
// without a writer, and that a device is refused.
func TestListHangsAtStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	free, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(free.LocalAddr().(*net.UDPAddr).Port)
	free.Close()
	signals := make(chan os.Signal, 2)
	lines := &logLines{}
	ended := make(chan int, 1)
	go func() {
		ended <- run(signals, []string{"-whitelist", path, "-listen", "127.0.0.1", "-memory", "8M", "-port", port}, nil, lines, lines)
	}()
	lines.await(t, nil, "listening on ")
	signals <- unix.SIGHUP // it does not end the wait
	signals <- unix.SIGTERM
	select {
	case code := <-ended:
		if code != exitOK {
			t.Errorf("exit %d, want %d", code, exitOK)
		}
	case <-time.After(deadline):
		t.Error("SIGTERM while the list is read: the tracker still runs")
	}
	lines.await(t, nil, "stopping: terminated")
	for _, device := range []string{"/dev/zero", "/dev/null"} {
		expectUsageError(t, []string{"-blacklist", device}, nil, `-blacklist "`+device+`": not a file or a directory; want the path of a file or a directory`)
	}
}

// TestListBusy checks that a file that changes during the load is read again
// when it has not changed for some seconds.
func TestListBusy(t *testing.T) {
	l, lines := testList(t, false, 10000)
	l.log = &logger.Logger{Out: &changingWriter{logLines: lines, change: func() {
		if err := os.Truncate(l.path, 70000); err != nil {
			t.Error(err)
		}
	}}}
	// The first line is logged while the file is read.
	writeFile(t, l.path, "no hash\n"+listOf(0, 4000))
	look(l, 1000, 0)
	if !l.retry {
		t.Fatal("a file that changed during the load: got no retry, want one")
	}
	for now := seconds(1001); l.retry && now < 1100; now++ {
		look(l, now, 0)
	}
	if want := (70000 - len("no hash\n")) / 41; l.size() != want {
		t.Errorf("%d torrents, want the %d that are left", l.size(), want)
	}
}

// changingWriter does something when the first line is logged.
type changingWriter struct {
	*logLines
	change func()
}

func (w *changingWriter) Write(b []byte) (int, error) {
	if w.change != nil {
		w.change()
		w.change = nil
	}
	return w.logLines.Write(b)
}
