package main

import (
	"encoding/binary"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/siphash"
)

func limitKey(i int) []byte { return binary.BigEndian.AppendUint32([]byte{10, 0}, uint32(i)) }

func TestLimit(t *testing.T) {
	for _, limit := range []uint32{1, 2, 10} {
		l := newLimiter(1<<10, limit, 120, testKey())
		for _, start := range []seconds{0, 1, 119, 120, 121, 100000} {
			for i := uint32(0); i < limit; i++ {
				if !l.allow(limitKey(int(start)), start) {
					t.Fatalf("limit %d: event %d is refused", limit, i)
				}
			}
			for _, at := range []seconds{start, start + 119} {
				if l.allow(limitKey(int(start)), at) {
					t.Fatalf("limit %d: one too many after %d s", limit, at-start)
				}
			}
			if !l.allow(limitKey(1<<30), start) {
				t.Fatalf("another key is refused")
			}
			if !l.allow(limitKey(int(start)), start+120) {
				t.Fatalf("limit %d: refused in the next window", limit)
			}
			l = newLimiter(1<<10, limit, 120, testKey())
		}
	}
}

func testKey() siphash.Key { return siphash.NewKey(testSeed) }

// TestLimiterSize checks that the table has the largest power of two of rows
// that fits.
func TestLimiterSize(t *testing.T) {
	for bytes, rows := range map[int]int{0: 1, 63: 1, 64: 1, 127: 1, 128: 2, 191: 2, 255: 2, 256: 4, 1 << 12: 64, 1<<12 + 63: 64} {
		if got := len(newLimiter(bytes, 1, 1, testKey()).rows); got != rows {
			t.Errorf("%d bytes: %d rows, want %d", bytes, got, rows)
		}
	}
	if got := len(newLimiter(1<<20, 0, 1, testKey()).rows); got != 1 {
		t.Errorf("without a limit: %d rows", got)
	}
}

// TestLimiterModel compares a table that has room with a map.
func TestLimiterModel(t *testing.T) {
	l := newLimiter(1<<18, 3, 20, testKey())
	type window struct {
		start seconds
		count int
	}
	model := map[uint32]window{}
	rng := splitMix64{state: 7}
	now := seconds(0)
	for i := 0; i < 20000; i++ {
		now += seconds(rng.below(2))
		k := rng.below(50)
		w := model[k]
		if w.count == 0 || now-w.start >= 20 {
			w = window{start: now}
		}
		want := w.count < 3
		if want {
			w.count++
		}
		model[k] = w
		if got := l.allow(limitKey(int(k)), now); got != want {
			t.Fatalf("event %d, key %d at %d: %v, want %v", i, k, now, got, want)
		}
	}
}

// TestLimiterUnderFlood sends events of far more spoofed sources than the table
// has room for. Honest clients are never refused, and greedy clients stay
// limited.
func TestLimiterUnderFlood(t *testing.T) {
	const limit, window = 10, 120
	spoofed := 100000
	if testing.Short() {
		spoofed = 20000
	}
	l := newLimiter(1<<12, limit, window, testKey()) // 320 entries
	rng := splitMix64{state: 3}
	const greedy, honest = 20, 50
	allowed := [greedy]int{}
	windows := 3
	for i := 0; i < windows*spoofed; i++ {
		now := seconds(i * window / spoofed)
		l.allow(limitKey(1<<20+i), now)
		if i%10 == 0 {
			g := int(rng.below(greedy))
			if l.allow(limitKey(g), now) {
				allowed[g]++
			}
		}
		// An honest client has five events in a window.
		if i%(spoofed/5) < honest && !l.allow(limitKey(1000+i%(spoofed/5)), now) {
			t.Fatalf("at %d an honest client is refused", now)
		}
	}
	for g, n := range allowed {
		// Forgotten is only who has had few events: the count may begin
		// again some times until it stands out.
		if n > 3*limit*windows {
			t.Errorf("the greedy source %d had %d events in %d windows", g, n, windows)
		}
	}
}

// TestLimiterFullOfGreed checks that a new key is allowed, also if every entry
// of its row is at the limit.
func TestLimiterFullOfGreed(t *testing.T) {
	l := newLimiter(64, 2, 120, testKey())
	for k := 0; k < 100; k++ {
		for event := 0; event < 2; event++ {
			if !l.allow(limitKey(k), seconds(k)) {
				t.Fatalf("event %d of key %d is refused", event, k)
			}
		}
	}
	// The last ones are still known.
	for k := 100 - limitWays; k < 100; k++ {
		if l.allow(limitKey(k), 100) {
			t.Errorf("key %d was forgotten", k)
		}
	}
}
