//go:build linux && !portable

package main

import (
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"golang.org/x/sys/unix"
)

// populate puts that many torrents of that many peers each into s.
func populate(tb testing.TB, s *store, torrents, peers int) {
	tb.Helper()
	var rng splitMix64
	for i := 0; i < torrents; i++ {
		for j := 0; j < peers; j++ {
			v := announceParams{hash: testHash(i), flags: meta(j % 4 / 3)}
			if _, _, o := announce(s, &v, testKey4(i*peers+j), &rng, nil); o != resultAdded {
				tb.Fatalf("torrent %d, peer %d: outcome %d", i, j, o)
			}
		}
	}
}

// BenchmarkAnnounce measures an announce of a known peer that gets 50 peers. It
// costs the same in small and large swarms, and in an empty and a full table,
// except for cache misses.
func BenchmarkAnnounce(b *testing.B) {
	const pages = 20000
	for _, c := range []struct{ torrents, peers int }{
		{1000, 1}, {pages * pageTorrents * 95 / 100, 1}, {1, 50}, {10000, 50}, {500, 1000}, {1, 500000},
	} {
		b.Run(fmt.Sprintf("torrents=%d/peers=%d", c.torrents, c.peers), func(b *testing.B) {
			s := newTestStore(b, pages, 16)
			populate(b, s, c.torrents, c.peers)
			for i := 0; i < pages/chunkPages && s.pool.collapseHuge(1); i++ { // like the maintenance loop
			}
			dst := make([]byte, 0, maxReply)
			rng := splitMix64{state: 1}
			b.ReportAllocs()
			b.ResetTimer()
			var hash bep15.InfoHash
			v := announceParams{hash: &hash, want: 50, now: 1}
			for i := 0; i < b.N; i++ {
				t, p := int(rng.below(uint32(c.torrents))), int(rng.below(uint32(c.peers)))
				hash = *testHash(t)
				v.flags = meta(p % 4 / 3)
				if _, _, o := announce(s, &v, testKey4(t*c.peers+p), &rng, dst); o != resultRefreshed {
					b.Fatalf("outcome %d", o)
				}
			}
		})
	}
}

// BenchmarkHold measures how long the operations that may move much hold a
// shard's lock, in a store of 1 GiB, in processor time: the median, the
// 99.99th percentile and the longest in microseconds.
func BenchmarkHold(b *testing.B) {
	const pages = 1 << 30 / pageCost
	kinds := []string{"create", "grow", "sweep", "purge"}
	for _, kind := range kinds {
		b.Run(kind, func(b *testing.B) {
			for i := 0; i < b.N; i++ {
				held := hold(b, kind, pages)
				slices.Sort(held)
				b.ReportMetric(float64(held[len(held)-1])/1e3, "max-us")
				b.ReportMetric(float64(held[len(held)*9999/10000])/1e3, "p99.99-us")
				b.ReportMetric(float64(held[len(held)/2])/1e3, "p50-us")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}

func hold(b *testing.B, kind string, pages int) (held []time.Duration) {
	s := newTestStore(b, pages, 16)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	clock := func() time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
			b.Fatal(err)
		}
		return time.Duration(ts.Nano())
	}
	timed := func(f func()) {
		start := clock()
		f()
		held = append(held, clock()-start)
	}
	var rng splitMix64
	join := func(torrent, peer int) {
		announce(s, &announceParams{hash: testHash(torrent)}, testKey4(peer), &rng, nil)
	}
	switch kind {
	case "create": // torrents of one peer, until the store is full
		for i := 0; i < s.maxTorrents(); i++ {
			timed(func() { join(i, i) })
		}
	case "grow": // one swarm, as large as there are test peers
		for i := 0; i < 1<<24; i++ {
			timed(func() { join(0, i) })
		}
	case "sweep": // everything expires: small torrents, then a large swarm
		for i := 0; i < s.maxTorrents()/2; i++ {
			join(1+i, i)
		}
		for i := 0; i < 1<<24; i++ {
			join(0, i)
		}
		for i := uint32(1); i < s.pool.highWater(); i++ {
			timed(func() { s.sweep(i, 50*testUnit, testUnit) })
		}
		if n, _ := s.totals(); n > 0 {
			b.Logf("%d torrents left for a second pass", n)
		}
	case "purge": // a large swarm goes in steps; each is a hold
		for i := 0; i < 1<<24; i++ {
			join(0, i)
		}
		h := s.hash.sum(testHash(0)[:])
		sh := s.shardOf(h)
		r := sh.findTorrent(h, testHash(0))
		s.unlinkTorrent(sh, r)
		w := s.swarmOf(sh, r, 0)
		var n uint64
		gone4 := func(pe *peer[key4]) bool { return countIfGone(s, &n, &pe.key, true) }
		gone6 := func(pe *peer[key6]) bool { return countIfGone(s, &n, &pe.key, true) }
		for done := false; !done; {
			timed(func() { done = w.freeLeaves(purgeStep, gone4, gone6) })
		}
		if n != 1<<24 {
			b.Fatalf("%d peers removed", n)
		}
	}
	return held
}

// BenchmarkParallel is BenchmarkAnnounce for several workers on one store, as
// -cpu 1,2,4 says. What they wait for each other shows in -mutexprofile.
func BenchmarkParallel(b *testing.B) {
	const torrents, peers = 1000, 1000
	s := newTestStore(b, 10000, 16)
	populate(b, s, torrents, peers)
	var worker atomic.Uint64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		dst := make([]byte, 0, maxReply)
		rng := splitMix64{state: worker.Add(1)}
		var hash bep15.InfoHash
		v := announceParams{hash: &hash, want: 50, now: 1}
		for pb.Next() {
			t, p := int(rng.below(torrents)), int(rng.below(peers))
			hash = *testHash(t)
			v.flags = meta(p % 4 / 3)
			if _, _, o := announce(s, &v, testKey4(t*peers+p), &rng, dst); o != resultRefreshed {
				b.Errorf("outcome %d", o)
				return
			}
		}
	})
}
