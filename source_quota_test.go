package main

import (
	"math/bits"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestShareCounts checks that a source may store as much as its quota, and can
// store again after a removal.
func TestShareCounts(t *testing.T) {
	s := sourceQuota{hash: testKey(), max: 3}
	for i := 0; i < 3; i++ {
		if !s.allows(1, 1) {
			t.Fatalf("peer %d is refused", i)
		}
		s.add(1, 1)
	}
	if s.allows(1, 1) || !s.allows(2, 1) {
		t.Fatal("3 of 3 peers stored: want the source refused and another source allowed")
	}
	s.add(1, -1)
	if !s.allows(1, 1) || s.allows(1, 2) {
		t.Fatal("2 of 3 peers stored: want one more allowed and two more refused")
	}
}

// TestQuotaCollisions checks that greedy sources affect only the few sources
// that share a counter in each row. SECURITY.md has these figures.
func TestQuotaCollisions(t *testing.T) {
	const honest = 200000
	security, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		greedy int
		most   float64 // per cent of the others that are refused
		text   string
	}{
		{greedy: 20, most: 0.002, text: "20 greedy sources refuse fewer than 0.002 %"},
		{greedy: 50, most: 0.02, text: "50 fewer than 0.02 %"},
		{greedy: 150, most: 0.6, text: "150 fewer than 0.6 %"},
	} {
		t.Run(strconv.Itoa(c.greedy)+" greedy sources", func(t *testing.T) {
			s := sourceQuota{hash: testKey(), max: 1000}
			for source := range uint64(c.greedy) {
				for s.allows(source<<32, 1) {
					s.add(source<<32, 1)
				}
			}
			refused := 0
			for i := range uint64(honest) {
				if !s.allows(0x2001_0db8_0000_0000+i, 1) {
					refused++
				}
			}
			if got := 100 * float64(refused) / honest; got > c.most {
				t.Errorf("%.4f %% of the others are refused, want at most %.4f %%", got, c.most)
			} else {
				t.Logf("%.4f %% of the others are refused", got)
			}
			if !strings.Contains(strings.Join(strings.Fields(string(security)), " "), c.text) {
				t.Errorf("SECURITY.md does not say %q", c.text)
			}
		})
	}
}

// TestQuotaCountsMemory checks that one source never uses more than 5 % of the
// pool: with one peer in each torrent, with a leecher and a seeder, and after
// most peers of larger torrents stopped or expired.
func TestQuotaCountsMemory(t *testing.T) {
	const pages = 2000
	limit := pages / 20
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	// roles are the peers of each torrent, true for seeders. The first stop of
	// them of each role leave again.
	for _, c := range []struct {
		name              string
		leechers, seeders int
		stop              int // of each role
		expire            bool
	}{
		{name: "a leecher", leechers: 1},
		{name: "a leecher and a seeder", leechers: 1, seeders: 1},
		{name: "three of each, two of each stop", leechers: 3, seeders: 3, stop: 2},
		{name: "three of each, two of each expire", leechers: 3, seeders: 3, stop: 2, expire: true},
		{name: "seven of each, six of each stop", leechers: 7, seeders: 7, stop: 6},
		{name: "nine of each, eight of each stop", leechers: 9, seeders: 9, stop: 8},
		{name: "four and a seeder, then one and a seeder", leechers: 4, seeders: 1, stop: 3},
		{name: "nine leechers, eight stop", leechers: 9, stop: 8},
		{name: "twenty of each, fifteen of each expire", leechers: 20, seeders: 20, stop: 15, expire: true},
	} {
		for _, v6 := range []bool{false, true} {
			name := c.name + ", IPv4"
			if v6 {
				name = c.name + ", IPv6"
			}
			t.Run(name, func(t *testing.T) {
				s := newTestStore(t, pages, 1)
				s.quota.max = (&memoryPlan{pages: pages}).quota()
				now := seconds(1000)
				change := func(torrent, port int, flags meta, stopped bool) announceResult {
					v := announceParams{hash: testHash(torrent), flags: flags, stopped: stopped, now: now}
					var o announceResult
					if v6 {
						k := *testKey6(1)
						k[16], k[17] = 1, byte(port)
						_, _, o = announce(s, &v, &k, &splitMix64{}, nil)
					} else {
						k := *testKey4(1)
						k[4], k[5] = 1, byte(port)
						_, _, o = announce(s, &v, &k, &splitMix64{}, nil)
					}
					return o
				}
				role := func(p int) meta {
					if p >= c.leechers {
						return metaSeeder
					}
					return 0
				}
				next := 0
				for round := range rounds { // what stopped makes room for more
					first := next
				fill:
					for ; next < first+100000; next++ {
						for p := range c.leechers + c.seeders {
							if change(next, p, role(p), false) != resultAdded {
								break fill
							}
						}
					}
					if used, _, _ := s.pool.usage(); round == 0 && used < limit/10 {
						t.Fatalf("the source has only %d of %d pages", used, limit)
					}
					if c.expire {
						now += 10 * testUnit
					}
					for torrent := 0; torrent < next; torrent++ {
						for p := range c.leechers + c.seeders {
							leaves := p < min(c.stop, c.leechers-1) || p >= c.leechers && p < c.leechers+min(c.stop, c.seeders-1)
							switch {
							case c.expire && !leaves:
								change(torrent, p, role(p), false)
							case !c.expire && leaves:
								change(torrent, p, 0, true)
							}
						}
					}
					if c.expire {
						now += 5 * testUnit
						sweepAll(s, now, 8*testUnit)
					}
				}
				// A page of a class may have room; all others are full.
				if used, _, _ := s.pool.usage(); used > limit+numClasses {
					t.Errorf("one source has %d of %d pages, want at most %d and %d", used, pages, limit, numClasses)
				}
				checkInvariants(t, s)
			})
		}
	}
}

// TestJoinGrows checks that a peer that joins a torrent of others makes it
// larger by at most three times its quota cost. SECURITY.md says so.
func TestJoinGrows(t *testing.T) {
	const most = 3
	worst := 0.0
	for mix := range 3 * 3 * 3 * 3 * 4 { // peers of each set, and the set of the one that joins
		n := [numSets]int{mix % 3, mix / 3 % 3, mix / 9 % 3, mix / 27 % 3}
		s := newTestStore(t, 30, 1)
		join := func(set, port int) {
			v := announceParams{hash: testHash(0), flags: meta(set & 1)}
			if set < leechers6 {
				announce(s, &v, testKey4(set<<8|port), &splitMix64{}, nil)
			} else {
				announce(s, &v, testKey6(set<<8|port), &splitMix64{}, nil)
			}
		}
		total := 0
		for set := range n {
			total += n[set]
			for port := range n[set] {
				join(set, port)
			}
		}
		if total == 0 {
			continue
		}
		before := blockBytes(s)
		joins := mix / 81
		join(joins, 99)
		cost := [...]int{peerCost4, peerCost4, peerCost6, peerCost6}[joins] * quotaGranule
		worst = max(worst, float64(blockBytes(s)-before)/float64(cost))
	}
	if worst != most {
		t.Errorf("a torrent grows by up to %.2f times what a peer counts as, want %d", worst, most)
	}
}

// blockBytes returns what the blocks in use take.
func blockBytes(s *store) (n int) {
	for i := range s.pool.pages {
		pg := &s.pool.pages[i]
		if c := class(pg.owner.Load()); c != classFree {
			n += int(c.units()) * granule * bits.OnesCount64(allFree(c)&^pg.free)
		}
	}
	return n
}

// TestSourceOf checks that a source is an IPv4 address or an IPv6 /64, with all
// hosts and ports.
func TestSourceOf(t *testing.T) {
	k := key4{192, 0, 2, 1, 1, 2}
	same, other := k, k
	same[5]++
	other[3]++
	if sourceOf(&k) != sourceOf(&same) || sourceOf(&k) == sourceOf(&other) {
		t.Error("IPv4: want the same source for another port, and another source for another address")
	}
	k6 := *testKey6(1)
	for i := range k6 {
		o := k6
		o[i]++
		if differs := sourceOf(&k6) != sourceOf(&o); differs != (i < 8) {
			t.Errorf("IPv6: byte %d counts: %v", i, differs)
		}
	}
}
