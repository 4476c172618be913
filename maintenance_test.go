package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/logger"
)

// TestFullIsLoggedOnce: once when newcomers begin to be turned away, once when
// none has been for a minute, whatever happens in between.
func TestFullIsLoggedOnce(t *testing.T) {
	var out bytes.Buffer
	w := &worker{}
	k := &maintenance{
		tracker: newTracker(newTestStore(t, 1, 1), 15*60),
		workers: []*worker{w},
		log:     &logger.Logger{Out: &out},
	}
	var c counters
	for now := seconds(0); now < 300; now++ {
		if now >= 50 && now < 100 && now%3 == 0 {
			c.verdicts[announcedFull].datagrams += 1000
			w.published.publish(&c)
		}
		k.watchFull(moment{mono: now})
		got, want := out.String(), ""
		if now >= 51 {
			want = "[WARN] full: 0 torrents, 0 peers; newcomers"
		}
		if !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Fatalf("at %d s the log says %q", now, got)
		}
		lines := strings.Count(got, "\n")
		if now >= 51 && now < 99+fullAfter && lines != 1 || now >= 99+fullAfter && (lines != 2 || !strings.HasSuffix(got, "[INFO] no longer full: newcomers are stored again\n")) {
			t.Fatalf("at %d s the log says %q", now, got)
		}
	}
}
