package main

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// TestOnlyRegularFiles checks that a pipe or a device in the place of a small
// file is refused at once, because reading it may never end and writing would
// destroy it.
func TestOnlyRegularFiles(t *testing.T) {
	dir := t.TempDir()
	pipe, link := filepath.Join(dir, "pipe"), filepath.Join(dir, "link")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/stdout", link); err != nil {
		t.Fatal(err)
	}
	const stats = ": this is not a regular file; want the path of a file that may be replaced"
	for _, c := range []struct {
		name, flag, path string
		code             int
		want             string
	}{
		{name: "secret from a pipe", flag: "-secret-file", path: pipe, code: 1, want: ": this is not a regular file"},
		{name: "secret from a device", flag: "-secret-file", path: "/dev/zero", code: 1, want: ": this is not a regular file"},
		{name: "status of a pipe", flag: "-status", path: pipe, code: 1, want: ": this is not a regular file"},
		{name: "status of a device", flag: "-status", path: "/dev/zero", code: 1, want: ": this is not a regular file"},
		{name: "statistics to a pipe", flag: "-stats", path: pipe, code: 2, want: stats},
		{name: "statistics to a device", flag: "-stats", path: "/dev/null", code: 2, want: stats},
		{name: "statistics to standard output", flag: "-stats", path: "/dev/stdout", code: 2, want: stats},
		{name: "statistics to a link", flag: "-stats", path: link, code: 2, want: stats},
		{name: "statistics to a directory", flag: "-stats", path: dir, code: 2, want: stats},
		{name: "escapes in a path", flag: "-secret-file", path: "\x1b[2J", code: 1, want: ": no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			expectError(t, c.code, []string{c.flag, c.path, "-workers=1"}, nil, c.flag+" "+strconv.Quote(c.path)+c.want)
			if _, err := os.Lstat(c.path); err != nil && c.path[0] == '/' {
				t.Errorf("%s: it is not there any more: %v", c.path, err)
			}
		})
	}
}

// blockedLog is a log that nobody reads: a write never returns.
type blockedLog struct{ written chan struct{} }

func (l *blockedLog) Write(b []byte) (int, error) {
	select {
	case l.written <- struct{}{}:
	default:
	}
	select {}
}

// TestStopsAlthoughSomethingHangs checks that SIGTERM and SIGINT end a start
// that hangs.
func TestStopsAlthoughSomethingHangs(t *testing.T) {
	defer func(before time.Duration) { stopWait = before }(stopWait)
	stopWait = 50 * time.Millisecond
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(sig.String(), func(t *testing.T) {
			signals := make(chan os.Signal, 4)
			log := &blockedLog{written: make(chan struct{}, 1)}
			code := make(chan int, 1)
			go func() { code <- run(signals, []string{"-memory=8M", "-workers=1"}, nil, log, log) }()
			<-log.written
			signals <- syscall.SIGHUP // means nothing yet
			signals <- sig
			select {
			case got := <-code:
				if got != exitFailure {
					t.Errorf("exit %d, want %d", got, exitFailure)
				}
			case <-time.After(deadline):
				t.Fatal("it still runs after the signal")
			}
		})
	}
}
