package main

import (
	"bytes"
	"strconv"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/logger"
)

// TestGap checks that after any time without ticks no expired peer is stored
// and no younger one is lost. Stamps wrap after 64 units, so a long gap could
// make old peers look new.
func TestGap(t *testing.T) {
	for _, interval := range []seconds{minInterval, 72, 15 * 60, maxInterval} {
		unit := stampUnit(interval)
		t.Run(strconv.Itoa(int(interval))+" s", func(t *testing.T) {
			for units := seconds(0); units <= 3*stampSpan; units++ {
				for _, gap := range []seconds{units * unit, units*unit + 1, units*unit + unit - 1} {
					testGap(t, interval, gap)
				}
			}
			testGap(t, interval, 10*365*24*3600)
		})
	}
}

// testGap stores peers of all ages, skips all ticks for gap seconds, and checks
// which peers remain.
func testGap(t *testing.T, interval, gap seconds) {
	s, err := newStore(20, 1, 1<<30, stampUnit(interval), testSeed)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(s)
	var log bytes.Buffer
	m := &maintenance{tracker: newTracker(s, interval), log: &logger.Logger{Out: &log}, statsInterval: maxInterval}
	most := m.tracker.ttl(0)
	const peers = 60
	now := timestamp{mono: 1000}
	m.lastTick, m.lastSweep = now.mono, now.mono
	announced := make([]seconds, peers)
	step := max(1, most/(peers-1))
	for i := range announced {
		// One in three has a torrent of its own.
		hash := testHash(0)
		if i%3 == 0 {
			hash = testHash(i)
		}
		announced[i] = now.mono
		announce(s, &announceParams{hash: hash, now: now.mono}, testKey4(i), &splitMix64{}, nil)
		m.tick(now)
		if i < peers-1 {
			now.mono += step
		}
	}
	now.mono += gap
	m.tick(now)
	for i, at := range announced {
		hash := testHash(0)
		if i%3 == 0 {
			hash = testHash(i)
		}
		_, _, result := announce(s, &announceParams{hash: hash, now: now.mono, stopped: true}, testKey4(i), &splitMix64{}, nil)
		age, stored := now.mono-at, result == resultStopped
		if stored && age > most+2*s.unit || !stored && age <= most {
			t.Fatalf("gap of %d s: a peer of %d s is stored: %v; the time to live is %d s\n%s", gap, age, stored, most, log.String())
		}
	}
}

// TestMaxAge checks for every interval that the sweep visits a peer before its
// stamp wraps.
func TestMaxAge(t *testing.T) {
	s := newTestStore(t, 1, 1)
	for interval := minInterval; interval <= maxInterval; interval++ {
		s.unit = stampUnit(interval)
		m := &maintenance{tracker: newTracker(s, interval)}
		pass := m.tracker.sweepPeriod()
		if _, late := m.oldestPeer(timestamp{mono: pass}); late {
			t.Errorf("interval %d s: a sweep that is in time counts as late", interval)
		}
	}
}

// TestFirstPeerAfterLong checks that a store that was empty for a long time
// keeps the first new peer.
func TestFirstPeerAfterLong(t *testing.T) {
	s, err := newStore(20, 1, 1<<30, stampUnit(minInterval), testSeed)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(s)
	var log bytes.Buffer
	m := &maintenance{tracker: newTracker(s, minInterval), log: &logger.Logger{Out: &log}, statsInterval: maxInterval}
	for now := seconds(0); now < 10*maxWait; now += maxWait {
		m.tick(timestamp{mono: now})
	}
	now := timestamp{mono: 10 * maxWait}
	announce(s, &announceParams{hash: testHash(0), now: now.mono}, testKey4(0), &splitMix64{}, nil)
	m.noteAwake(true, now.mono)
	m.tick(now)
	if torrents, _ := s.totals(); torrents != 1 || log.Len() > 0 {
		t.Errorf("%d torrents, want 1; the log says %q", torrents, log.String())
	}
}
