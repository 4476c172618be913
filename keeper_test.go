package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestFullIsLoggedOnce: once when newcomers begin to be turned away, once when
// none has been for a minute, whatever happens in between.
func TestFullIsLoggedOnce(t *testing.T) {
	var out bytes.Buffer
	w := &worker{}
	k := &keeper{
		tracker: newTracker(newTestStore(t, 1, 1), 15*60),
		workers: []*worker{w},
		log:     &logger{w: &out},
	}
	var c counters
	for now := seconds(0); now < 300; now++ {
		if now >= 50 && now < 100 && now%3 == 0 {
			c.verdicts[announcedFull] += 1000
			w.board.show(&c)
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

// TestTTL: a peer lives 2.25 intervals, and ever less from three quarters full
// on, but never less than 1.25.
func TestTTL(t *testing.T) {
	tr := &tracker{interval: 900}
	for _, c := range []struct {
		fill int
		want seconds
	}{{0, 2025}, {768, 2025}, {769, 2022}, {896, 1575}, {1024, 1125}} {
		if got := tr.ttl(c.fill); got != c.want {
			t.Errorf("%d of 1024 full: %d s, want %d", c.fill, got, c.want)
		}
	}
}
