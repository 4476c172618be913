package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/logger"
	"github.com/fabricionaweb/pico-tracker/internal/sys"
)

// TestOneAddressIsLoggedOnce checks that the log has one warning if all peers
// have one address and many ports. There is none for a home with one client, or
// for two clients with an address each.
func TestOneAddressIsLoggedOnce(t *testing.T) {
	gateway, other := key4{172, 17, 0, 1}, key4{172, 17, 0, 2}
	gateway6 := key6{0: 0xfd, 15: 1}
	for _, c := range []struct {
		name     string
		torrents int
		keys     func(port byte) []any // *key4 or *key6
		ports    int
		want     string // in the log
	}{
		{name: "one client with many torrents", torrents: 200, ports: 1,
			keys: func(p byte) []any { return []any{at4(gateway, p), at6(gateway6, p)} }},
		{name: "some clients on one host", torrents: 20, ports: manyPorts - 1,
			keys: func(p byte) []any { return []any{at4(gateway, p)} }},
		{name: "two hosts", torrents: 1, ports: 50,
			keys: func(p byte) []any { return []any{at4(gateway, p), at4(other, p)} }},
		{name: "two hosts in small swarms", torrents: 50, ports: 1,
			keys: func(p byte) []any { return []any{at4(gateway, p), at4(other, p)} }},
		{name: "a proxy", torrents: 1, ports: manyPorts, want: "172.17.0.1, with 8 ports",
			keys: func(p byte) []any { return []any{at4(gateway, p)} }},
		{name: "a proxy, large swarms", torrents: 3, ports: 200, want: "172.17.0.1, with 8 ports",
			keys: func(p byte) []any { return []any{at4(gateway, p)} }},
		{name: "a proxy for IPv6", torrents: 3, ports: 200, want: "fd00::1, with 8 ports",
			keys: func(p byte) []any { return []any{at6(gateway6, p)} }},
		{name: "a proxy on a link", torrents: 1, ports: 9, want: "169.254.3.4, with 8 ports",
			keys: func(p byte) []any { return []any{at4(key4{0xe0, 2, 3, 4}, p)} }},
		{name: "a proxy for both", torrents: 1, ports: 100, want: "172.17.0.1 or fd00::1, with 8 ports",
			keys: func(p byte) []any { return []any{at4(gateway, p), at6(gateway6, p)} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			st := newTestStore(t, 200, 2)
			m := &maintenance{tracker: newTracker(st, 15*60), log: &logger.Logger{Out: &out}}
			for i := range c.torrents {
				for p := range c.ports {
					for _, key := range c.keys(byte(p)) {
						v := announceParams{hash: testHash(i), flags: meta(p & 1)}
						switch k := key.(type) {
						case *key4:
							announce(st, &v, k, &splitMix64{}, nil)
						case *key6:
							announce(st, &v, k, &splitMix64{}, nil)
						}
					}
				}
			}
			for now := seconds(0); now < 5*scanInterval; now++ {
				m.watchAddresses(timestamp{mono: now})
				if now < scanInterval && out.Len() > 0 {
					t.Fatalf("at %d s the log says %q", now, out.String())
				}
			}
			got := out.String()
			if c.want == "" && got != "" || c.want != "" && (!strings.HasPrefix(got, "[WARN] all announces come from one address, "+c.want) || strings.Count(got, "\n") != 1) {
				t.Errorf("the log says %q, want one line with %q", got, c.want)
			}
			checkInvariants(t, st)
		})
	}
}

// at4 and at6 are an address with a port.
func at4(k key4, port byte) *key4 { k[4], k[5] = 1, port; return &k }
func at6(k key6, port byte) *key6 { k[16], k[17] = 1, port; return &k }

// TestFullIsLoggedOnce checks that there is one line when the first peer is not
// stored, and one line when every peer was stored for a minute.
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
		k.watchFull(timestamp{mono: now})
		got, want := out.String(), ""
		if now >= 51 {
			want = "[WARN] full: 0 torrents, 0 peers; new peers"
		}
		if !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Fatalf("at %d s the log says %q", now, got)
		}
		lines := strings.Count(got, "\n")
		if now >= 51 && now < 99+fullAfter && lines != 1 || now >= 99+fullAfter && (lines != 2 || !strings.HasSuffix(got, "[INFO] no longer full: new peers are stored again\n")) {
			t.Fatalf("at %d s the log says %q", now, got)
		}
	}
}

// TestMaintenanceWait checks that the loop sleeps until something is due, and
// for minutes if nothing is stored.
func TestMaintenanceWait(t *testing.T) {
	const now seconds = 1000
	for _, c := range []struct {
		name     string
		torrents int
		change   func(m *maintenance)
		want     seconds
	}{
		{name: "empty", want: maxWait},
		{name: "a torrent", torrents: 1, want: maxSweepWait},
		{name: "ten thousand torrents", torrents: 10000, want: 5}, // 16 of 159 pages
		{name: "more pages than seconds", torrents: 60000, want: 1},
		{name: "new peers", change: func(m *maintenance) { m.woken, m.wokenAt = true, now }, want: 1},
		{name: "new peers, after a tick of long ago", change: func(m *maintenance) { m.woken, m.wokenAt, m.lastTick = true, now-1, now-100 }, want: 1},
		{name: "rings for more than a second", change: func(m *maintenance) { m.woken, m.wokenAt, m.lastTick = true, now-2, now-100 }, want: 0},
		{name: "full", change: func(m *maintenance) { m.full, m.lastRefusal = true, now-10 }, want: fullAfter - 10},
		{name: "report", change: func(m *maintenance) { m.stats, m.lastReport = &reportFile{}, now-5 }, want: 10},
		{name: "overdue report", change: func(m *maintenance) { m.stats, m.lastReport = &reportFile{}, now-50 }, want: 1},
		{name: "the log, while peers are stored", torrents: 1, change: func(m *maintenance) { m.lastReport = now - 50 }, want: logWait - 50},
		{name: "list", change: func(m *maintenance) { m.list = &accessList{requestedAt: now - 100} }, want: listCheckInterval - 100},
		{name: "list, with a notice", change: func(m *maintenance) {
			m.list = &accessList{requestedAt: now - 100}
			m.list.notify(noticeChanged)
		}, want: 1},
		{name: "list, loading", change: func(m *maintenance) { m.list = &accessList{loading: true} }, want: 1},
		{name: "list, loading for long", change: func(m *maintenance) { m.list = &accessList{loading: true, slowLogged: true} }, want: listSlow},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServiceOf(t, 2000, "secret")
			var rng splitMix64
			for i := range c.torrents {
				announce(s.store, &announceParams{hash: testHash(i), now: now}, testKey4(i), &rng, nil)
			}
			m := &maintenance{tracker: s.tracker, lastTick: now, lastReport: now, statsInterval: 15}
			if c.change != nil {
				c.change(m)
			}
			if got := m.wait(now); got != c.want {
				t.Errorf("got %d s, want %d s", got, c.want)
			}
		})
	}
}

// TestManyRings checks that the loop does its work while it is woken all the time,
// as by a program that changes files of the list many times a second.
func TestManyRings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stats.prom")
	m := &maintenance{tracker: newService(t).tracker, log: &logger.Logger{Out: io.Discard}, clock: newClock(), wakeup: peerAlarm{alarm: make(alarm, 1)},
		stats: newReportFile(sys.NewAtomicFile(path)), statsInterval: 1, metrics: metricsWriter{text: make([]byte, reportBytes)}}
	var quit, hup, ask atomic.Bool
	done := make(chan struct{})
	go func() { m.run(&quit, &hup, &ask); close(done) }()
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for report := range 3 { // the first one is of the start
		for end := time.Now().Add(deadline); ; <-pace.C {
			m.wakeup.ring()
			if os.Remove(path) == nil {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("got %d reports in %v, want 3", report, deadline)
			}
		}
	}
	quit.Store(true)
	m.wakeup.ring()
	<-done
}

// TestSweepShare checks that all pages are visited in the time of a pass with
// any time between ticks, and that no tick visits more than all.
func TestSweepShare(t *testing.T) {
	for _, pages := range []uint32{2, 3, 16, 57, 1000, 1 << 20} {
		for _, step := range []seconds{1, 3, 15} {
			const pass = 56
			looked := uint32(0)
			for elapsed := seconds(0); elapsed < pass; elapsed += step {
				looked += sweepShare(pages, step, pass)
			}
			if looked < pages {
				t.Errorf("%d pages, a tick each %d s: %d looked at in a pass", pages, step, looked)
			}
		}
		if got := sweepShare(pages, 1<<30, 56); got != pages {
			t.Errorf("%d pages, after a long time: %d looked at", pages, got)
		}
	}
}

// TestNewPeersWakeMaintenance checks that the first peer of an empty store
// wakes the loop. Later only many peers do. Requests that store nothing do not.
func TestNewPeersWakeMaintenance(t *testing.T) {
	s := newService(t)
	m := &maintenance{tracker: s.tracker, clock: newClock(), wakeup: peerAlarm{alarm: make(alarm, 1)}}
	w := &worker{handler: s.v4, newPeers: &m.wakeup}
	stored := func(n int) (rang bool) {
		for range n {
			s.v4.count.record(announcedNew, 98, 20)
			w.newPeers.check(&s.v4.count, &w.storedAtAlarm)
		}
		s.v4.count.record(connected, 16, 16)
		s.v4.count.record(announcedRefreshed, 98, 20)
		w.newPeers.check(&s.v4.count, &w.storedAtAlarm)
		select {
		case <-m.wakeup.alarm:
			return true
		default:
			return false
		}
	}
	asleep := func(limit uint64) { m.wakeup.limit.Store(limit) }
	asleep(0) // it wakes up in a second anyway
	if stored(10) {
		t.Error("limit 0: got a ring, want none")
	}
	w.storedAtAlarm = 10
	asleep(1)
	if stored(0) {
		t.Error("no new peer: got a ring, want none")
	}
	if !stored(1) {
		t.Error("first peer: got no ring, want one")
	}
	asleep(manyPeers)
	if stored(int(manyPeers) - 1) {
		t.Error("one peer fewer than the limit: got a ring, want none")
	}
	if !stored(1) {
		t.Error("the limit is reached: got no ring, want one")
	}
	// Peers that are not stored because the memory is full count as well.
	asleep(2)
	s.v4.count.record(announcedFull, 98, 20)
	if stored(0) {
		t.Error("one of two peers that are not stored: got a ring, want none")
	}
	s.v4.count.record(announcedFull, 98, 20)
	if !stored(0) {
		t.Error("two peers that are not stored: got no ring, want one")
	}
}

// TestFullExpiresEarlier checks that the loop removes peers after 1.25 to 2.25
// intervals while the memory is full, and only after 2.25 intervals otherwise.
func TestFullExpiresEarlier(t *testing.T) {
	const pages = 64
	for _, c := range []struct {
		name        string
		torrents    int
		least, most int // torrents that are left after 1.9 intervals
	}{
		{name: "full", torrents: (pages - 2) * pageTorrents, least: pages * pageTorrents / 2, most: pages * pageTorrents * 8 / 10},
		{name: "half full", torrents: pages * pageTorrents / 2, least: pages * pageTorrents / 2, most: pages * pageTorrents / 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServiceOf(t, pages, "secret")
			var rng splitMix64
			for i := range c.torrents {
				if _, _, o := announce(s.store, &announceParams{hash: testHash(i), now: s.now.mono}, testKey4(i), &rng, nil); o != resultAdded {
					t.Fatalf("torrent %d: outcome %d", i, o)
				}
			}
			m := &maintenance{tracker: s.tracker, log: &logger.Logger{Out: io.Discard}, statsInterval: 15, noHugePages: true, lastTick: s.now.mono, lastSweep: s.now.mono}
			ticks := func(until seconds) {
				for ; s.now.mono < until; m.tick(s.now) {
					s.pass(5)
				}
			}
			start := s.now.mono
			ticks(start + testInterval*5/4)
			if n, _ := s.store.totals(); n != c.torrents {
				t.Errorf("after 1.25 intervals %d torrents are left, want %d", n, c.torrents)
			}
			ticks(start + testInterval*19/10)
			if n, _ := s.store.totals(); n < c.least || n > c.most {
				t.Errorf("after 1.9 intervals %d torrents are left, want %d to %d", n, c.least, c.most)
			}
			ticks(start + testInterval*10/4)
			if n, _ := s.store.totals(); n != 0 {
				t.Errorf("after 2.5 intervals %d torrents are left, want 0", n)
			}
			// The memory returns to the system after minutes.
			ticks(s.now.mono + 2*idleBefore)
			if _, _, resident := s.store.pool.usage(); resident > sys.PageSize/pageSize {
				t.Errorf("%d pages are resident, want 0", resident)
			}
			checkInvariants(t, s.store)
		})
	}
}
