package main

import (
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/sys"
)

// fillUp stores torrents of one IPv4 peer, from the first on, until there is
// no room, and says how many.
func fillUp(t *testing.T, s *store, first int, now seconds) int {
	t.Helper()
	var rng splitMix64
	for n := 0; ; n++ {
		i := first + n
		switch _, _, o := announce(s, &announceParams{hash: testHash(i), now: now}, testKey4(i), &rng, nil); o {
		case resultAdded:
		case resultFull:
			return n
		default:
			t.Fatalf("torrent %d: outcome %d", i, o)
		}
	}
}

// fillOne stores peers of one swarm until there is no room, and says how many.
func fillOne(t *testing.T, s *store, torrent, first int, now seconds) int {
	t.Helper()
	var rng splitMix64
	for n := 0; ; n++ {
		switch _, _, o := announce(s, &announceParams{hash: testHash(torrent), now: now}, testKey4(first+n), &rng, nil); o {
		case resultAdded:
		case resultFull:
			return n
		default:
			t.Fatalf("peer %d: outcome %d", first+n, o)
		}
	}
}

func sweepAll(s *store, now, ttl seconds) {
	for i := uint32(1); i < s.pool.highWater(); i++ {
		s.sweep(i, now, ttl)
	}
}

// TestNoRot checks that as much fits after days of growing and shrinking swarms
// as at the start, even if one in ten of the small ones stays. Then the memory
// returns to the system.
func TestNoRot(t *testing.T) {
	pages := 1000
	if testing.Short() {
		pages = 100
	}
	fresh := newTestStore(t, pages, 4)
	small := fillUp(t, fresh, 0, 0)
	large := fillOne(t, newTestStore(t, pages, 4), 0, 0, 0)

	s := newTestStore(t, pages, 4)
	var rng splitMix64
	now := seconds(0)
	atLeast := func(what string, n, of int) {
		t.Helper()
		if n < of*95/100 {
			t.Fatalf("at %d s: room for %d %s, a fresh store has it for %d", now, n, what, of)
		}
	}
	for day := 0; day < 4; day++ {
		atLeast("torrents", fillUp(t, s, 0, now), small)
		// Nine in ten go, all over the pages.
		now += 20 * testUnit
		stay := 0
		for i := 0; i < small; i += 10 {
			if _, _, o := announce(s, &announceParams{hash: testHash(i), now: now}, testKey4(i), &rng, nil); o == resultRefreshed {
				stay++
			}
		}
		sweepAll(s, now, 10*testUnit)
		sweepAll(s, now, 10*testUnit)
		if torrents, _ := s.totals(); torrents != stay {
			t.Fatalf("%d torrents, want the %d that stay", torrents, stay)
		}
		atLeast("peers beside them", fillOne(t, s, small, 0, now), large*9/10)
		checkInvariants(t, s)
		now += 20 * testUnit
		for i := 0; i < 3; i++ {
			sweepAll(s, now, 10*testUnit)
		}
		atLeast("peers", fillOne(t, s, small, 0, now), large)
		now += 20 * testUnit
		for i := 0; i < 3; i++ {
			sweepAll(s, now, 10*testUnit)
		}
		if torrents, _ := s.totals(); torrents != 0 {
			t.Fatalf("%d torrents left", torrents)
		}
	}
	for i := 0; i < 2*pages; i += 100 {
		s.trim(now+1000, 100, 100)
	}
	if used, _, resident := s.pool.usage(); used != 0 || resident > 2*sys.PageSize/pageSize {
		t.Errorf("%d pages in use, %d resident after all has gone", used, resident)
	}
	checkInvariants(t, s)
}

// TestSpray checks that a thousand hosts can register all of their torrents
// while another host announces random torrents as fast as possible.
func TestSpray(t *testing.T) {
	const pages, hosts, each = 400, 1000, 10
	s := newTestStore(t, pages, 4)
	l := memoryPlan{pages: pages}
	s.quota.max = l.quota()
	var rng splitMix64
	sprayed, refused, next := 0, 0, 1<<20
	for i := 0; i < hosts*each; i++ {
		for j := 0; j < 5; j++ {
			key := *testKey4(1 << 20)
			key[4], key[5] = byte(next>>8), byte(next)|1
			switch _, _, o := announce(s, &announceParams{hash: testHash(next)}, &key, &rng, nil); o {
			case resultAdded:
				sprayed++
			case resultQuota:
				refused++
			default:
				t.Fatalf("spray %d: outcome %d", next, o)
			}
			next++
		}
		host := i % hosts
		if _, _, o := announce(s, &announceParams{hash: testHash(i)}, testKey4(host), &rng, nil); o != resultAdded {
			t.Fatalf("torrent %d of host %d: outcome %d", i/hosts, host, o)
		}
	}
	if most := s.maxTorrents() / 20; sprayed > most || sprayed < most*9/10 || refused == 0 {
		t.Errorf("%d of %d sprayed torrents stored, want about %d", sprayed, sprayed+refused, most)
	}
	for i := 0; i < hosts*each; i++ {
		if s.scrape(testHash(i)).leechers != 1 {
			t.Fatalf("torrent %d is lost", i)
		}
	}
}
