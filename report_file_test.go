package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/sys"
)

// hangingFile is a file whose disk answers only when it is told to.
type hangingFile struct {
	*sys.AtomicFile
	answer chan struct{}
}

func (f *hangingFile) Write(text []byte) error {
	<-f.answer
	return f.AtomicFile.Write(text)
}

// TestStatsDiskHangs checks that a disk that does not answer holds up neither the
// maintenance loop nor the end, that the log says so once, and that reports are
// written again later. What is written is never a mixture of two reports.
func TestStatsDiskHangs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.prom")
	k, lines := showKeeper(t, path)
	disk := &hangingFile{sys.NewAtomicFile(path), make(chan struct{})}
	k.stats = newReportFile(disk)
	for now := range seconds(4) { // the second and later ones do not wait
		k.writeReport(timestamp{mono: now})
	}
	lines.expectLines(t, "[WARN] -stats "+strconv.Quote(path)+": the disk does not answer; trying again every ")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v, want no file yet", err)
	}

	uptime := func(want uint64) func(report string) bool {
		return func(report string) bool { return sumSamples(report, "uptime_seconds") == want }
	}
	disk.answer <- struct{}{} // the first write goes on
	awaitReport(t, path, uptime(0))
	close(disk.answer)
	awaitReport(t, path, func(report string) bool {
		k.writeReport(timestamp{mono: 9})
		return uptime(9)(report)
	})
	lines.expectLines(t, "[INFO] -stats "+strconv.Quote(path)+": written again")

	k.close()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want the file removed at the end", err)
	}
}
