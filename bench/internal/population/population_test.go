package population

import (
	"math"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

func sizes(p Population) []int {
	count := make([]int, p.Torrents)
	for peer := range p.Peers {
		count[p.Torrent(peer)-p.FirstTorrent]++
	}
	return count
}

func TestEvenPopulations(t *testing.T) {
	for name, c := range map[string]struct {
		p    Population
		each int
	}{
		"singles": {Singles(5000), 1},
		"swarms":  {Swarms(20, 300), 300},
		"swarm":   {Swarms(1, 3000), 3000},
	} {
		for torrent, n := range sizes(c.p) {
			if n != c.each {
				t.Fatalf("%s: torrent %d has %d peers, want %d", name, torrent, n, c.each)
			}
		}
	}
}

func TestZipf(t *testing.T) {
	const peers, torrents = 200_000, 10_000
	count := sizes(Zipf(peers, torrents))
	for _, r := range []int{1, 2, 5, 10, 100} {
		// The integral of 1/x over [r, r+1), as a share of the integral over all ranks.
		share := math.Log(float64(r+1)/float64(r)) / math.Log(torrents+1)
		want, got := share*peers, float64(count[r-1])
		if math.Abs(got-want) > 5*math.Sqrt(want) {
			t.Errorf("rank %d has %.0f peers, want about %.0f", r, got, want)
		}
	}
}

func TestPublic(t *testing.T) {
	const peers, torrents = 500_000, 50_000
	count := sizes(Public(peers, torrents))
	for torrent, n := range count {
		if n < 1 {
			t.Fatalf("torrent %d has no peer", torrent)
		}
	}
	for _, part := range [][2]int{{0, 1}, {1, 10}, {10, 100}, {100, 1000}, {1000, 10_000}, {10_000, torrents}} {
		// The integral of 1/(r+100) over the part, as a share of that over all ranks.
		share := math.Log(float64(part[1]+100)/float64(part[0]+100)) / math.Log((torrents+100)/100)
		want, got := float64(part[1]-part[0])+share*(peers-torrents), 0.0
		for _, n := range count[part[0]:part[1]] {
			got += float64(n)
		}
		if math.Abs(got-want) > 5*math.Sqrt(want) {
			t.Errorf("ranks %v have %.0f peers, want about %.0f", part, got, want)
		}
	}
}

func TestAquatic(t *testing.T) {
	p := Aquatic()
	count := sizes(p)
	weights := func(from, to int) (sum float64) {
		for i := from; i < to; i++ {
			sum += 0.5 + math.Exp(6.5-500*float64(i)/float64(p.Torrents))
		}
		return sum
	}
	total := weights(0, p.Torrents)
	for _, part := range [][2]int{{0, 100}, {100, 1000}, {1000, 10_000}, {10_000, 100_000}, {100_000, 1_000_000}} {
		got, want := 0, weights(part[0], part[1])/total*float64(p.Peers)
		for _, n := range count[part[0]:part[1]] {
			got += n
		}
		if math.Abs(float64(got)-want) > 5*math.Sqrt(want) {
			t.Errorf("torrents %v have %d peers, want about %.0f", part, got, want)
		}
	}
}

func TestSeeders(t *testing.T) {
	for _, in100 := range []int{0, 25, 75, 100} {
		p := Swarms(10, 10_000)
		p.SeedersIn100 = in100
		seeders := 0
		for peer := range p.Peers {
			if p.Seeder(peer) {
				seeders++
			}
		}
		want := float64(p.Peers*in100) / 100
		if math.Abs(float64(seeders)-want) > 5*math.Sqrt(want*float64(100-in100)/100) {
			t.Errorf("%d seeders of %d, want about %.0f", seeders, p.Peers, want)
		}
	}
}

func TestNamesAreDistinct(t *testing.T) {
	hashes := map[bep15.InfoHash]bool{}
	ids := map[[20]byte]bool{}
	for i := range 100_000 {
		hashes[InfoHash(i)] = true
		ids[PeerID(i)] = true
	}
	if len(hashes) != 100_000 || len(ids) != 100_000 {
		t.Errorf("%d info hashes and %d peer IDs of 100000 are distinct", len(hashes), len(ids))
	}
	a, b := Singles(10), Singles(10)
	b.FirstTorrent = 10
	if InfoHash(a.Torrent(9)) == InfoHash(b.Torrent(0)) {
		t.Error("populations that begin at different torrents share one")
	}
}
