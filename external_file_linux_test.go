//go:build linux && !portable

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fabricionaweb/pico-tracker/internal/logger"
)

// TestExternalFileFollowed checks that the program follows the file without a
// signal, and that -status shows the address.
func TestExternalFileFollowed(t *testing.T) {
	dir := t.TempDir()
	path, stats := filepath.Join(dir, "run", "address"), filepath.Join(dir, "tracker.prom")
	p := startProgram(t, "-external-ip", path, "-stats", stats, "-stats-interval", "1s")
	// The directory and the file come later, as with another service.
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, ip := range []string{"203.0.113.7", "203.0.113.8"} {
		writeFile(t, path+".new", ip+":40000\n")
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		p.log.await(t, nil, "external IPv4 address: "+ip+", public port 40000")
		sample := fmt.Sprintf("pico_tracker_external_info{family=\"ipv4\",address=\"%s:40000\"} 1\n", ip)
		report := awaitReport(t, stats, func(r string) bool { return strings.Contains(r, sample) })
		if got := summaryText(report); !strings.Contains(got, "; external "+ip+":40000") {
			t.Errorf("-status: got %q, want the address in it", got)
		}
	}
}

// TestExternalFilePipe checks that a pipe does not block the tracker.
func TestExternalFilePipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	f := &externalFile{path: path, tracker: &tracker{}, log: &logger.Logger{Out: &log}}
	done := make(chan struct{})
	go func() { f.load(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("load hangs")
	}
	if got, want := log.String(), "not a regular file"; !strings.Contains(got, want) {
		t.Errorf("got log %q, want %q in it", got, want)
	}
}
