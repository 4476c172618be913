package load

import (
	"fmt"

	"github.com/fabricionaweb/pico-tracker/bench/internal/population"
	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

// A Workload is a mix of requests about a population. Announces are regular
// updates of registered peers. Connects come from clients that do nothing else,
// so that the tracker's limit of connects has no effect.
type Workload struct {
	Name string
	// About describes it in one line.
	About      string
	Population population.Population
	// Connects, Announces and Scrapes are the weights of the mix.
	Connects, Announces, Scrapes int
	// Hashes is how many info hashes a scrape names; with HashesVary it is 1 to Hashes, evenly.
	Hashes     int
	HashesVary bool
	NumWant    int32
}

// Workloads are the mixes that the benchmarks measure. Those with the same population can be run
// against the same tracker one after another.
func Workloads() []Workload {
	million := population.Swarms(1000, 1000)
	return []Workload{
		{
			Name: "announce", About: "announces for 50 peers; 1,000,000 peers in swarms of 1,000",
			Population: million, Announces: 1, NumWant: 50,
		},
		{
			Name: "connect", About: "connects",
			Population: million, Connects: 1,
		},
		{
			Name: "scrape", About: "scrapes of 5 torrents; 1,000,000 peers in swarms of 1,000",
			Population: million, Scrapes: 1, Hashes: 5,
		},
		{
			Name: "aquatic", About: "aquatic's bencher: 100 announces for 30 peers to 1 scrape; 2,000,000 peers on 1,000,000 torrents",
			Population: population.Aquatic(), Announces: 100, Scrapes: 1, Hashes: 10, HashesVary: true, NumWant: 30,
		},
		{
			Name: "aquatic-load", About: "aquatic's load test: 50 connects to 50 announces to 1 scrape, on the same torrents",
			Population: population.Aquatic(), Connects: 50, Announces: 50, Scrapes: 1, Hashes: 10, HashesVary: true, NumWant: 30,
		},
	}
}

// Find returns the workload of that name.
func Find(name string) (Workload, error) {
	var names []string
	for _, w := range Workloads() {
		if w.Name == name {
			return w, nil
		}
		names = append(names, w.Name)
	}
	return Workload{}, fmt.Errorf("no workload %q; there are %v", name, names)
}

// request is a request of a client that may not have a connection ID yet.
type request struct {
	action  uint8
	source  uint32 // number of the client's address
	peer    uint32 // announce: number in the population
	event   uint32
	hashes  uint8 // scrape: how many
	inOrder bool  // scrape: torrents from first on; else drawn by seed
	first   uint32
	seed    uint64
}

// requests draws an endless sequence from a workload.
type requests struct {
	w       Workload
	rng     uint64
	connect uint32
	sources int
}

func (r *requests) random() uint64 {
	r.rng++
	return population.Hash64(r.rng)
}

func (r *requests) next(q *request) bool {
	h := r.random()
	// The high half picks the kind, the low half the peer; both by multiplication, not division.
	kind := int((h >> 32) * uint64(r.w.Connects+r.w.Announces+r.w.Scrapes) >> 32)
	peer := uint32((h & 0xFFFFFFFF) * uint64(r.w.Population.Peers) >> 32)
	*q = request{source: peer % uint32(r.sources), peer: peer}
	switch {
	case kind < r.w.Announces:
		q.action = bep15.ActionAnnounce
	case kind < r.w.Announces+r.w.Scrapes:
		q.action = bep15.ActionScrape
		q.seed = r.random()
		q.hashes = uint8(r.w.Hashes)
		if r.w.HashesVary {
			q.hashes = uint8(1 + q.seed%uint64(r.w.Hashes))
		}
	default:
		q.action = bep15.ActionConnect
		q.source = r.connect
		if r.connect++; r.connect == maxSources {
			r.connect = uint32(r.sources)
		}
	}
	return true
}
