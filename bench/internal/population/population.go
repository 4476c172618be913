// Package population defines the peers and torrents of a load. A population is
// a set of peers numbered from 0. Everything about a peer (its torrent, its
// role) follows from its number. So nothing is stored, and all runs on all
// machines send the same requests.
package population

import (
	"math"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

// Population is a set of peers spread over torrents.
type Population struct {
	// Peers and Torrents are how many there are.
	Peers, Torrents int
	// SeedersIn100 is how many of a hundred peers have the whole torrent.
	SeedersIn100 int
	// FirstTorrent is added to the number of each torrent: populations that should not share
	// torrents begin at different ones.
	FirstTorrent int

	spread func(peer, peers, torrents int) int
}

// Singles returns n torrents with one leecher each.
func Singles(n int) Population {
	return Population{Peers: n, Torrents: n, spread: modulo}
}

// Swarms is a number of torrents with as many peers each. The peers come in turn, one to a swarm,
// as they do on a real tracker, so that the swarms grow side by side. A quarter are seeders.
func Swarms(torrents, peersEach int) Population {
	return Population{Peers: torrents * peersEach, Torrents: torrents, SeedersIn100: 25, spread: modulo}
}

// Zipf spreads peers so that the torrent of rank r has a share in proportion to 1/r: a few large
// swarms, and many of one peer. A quarter are seeders.
func Zipf(peers, torrents int) Population {
	return Population{Peers: peers, Torrents: torrents, SeedersIn100: 25, spread: zipf}
}

// Public is like a large public tracker. Every torrent has a peer. Of the
// others, the torrent of rank r has a share in proportion to 1/(r+100). Of
// 50,000,000 peers in 5,000,000 torrents the largest swarm has some 41,000, and
// seven of ten torrents have four at most. A quarter are seeders.
func Public(peers, torrents int) Population {
	return Population{Peers: peers, Torrents: torrents, SeedersIn100: 25, spread: public}
}

// Aquatic is the default of aquatic's load test: 2,000,000 peers, three in four
// of them seeders, on 1,000,000 torrents. The popularity of the torrent of rank
// r is 1/2 + exp(6.5 - 500 r/1000000). Some 1 % of the torrents have over a
// hundred peers and most have one or none.
func Aquatic() Population {
	return Population{Peers: 2_000_000, Torrents: 1_000_000, SeedersIn100: 75, spread: aquatic}
}

// Torrent is the number of the torrent that a peer is in.
func (p *Population) Torrent(peer int) int {
	return p.FirstTorrent + p.spread(peer, p.Peers, p.Torrents)
}

// Seeder reports whether a peer has the whole torrent.
func (p *Population) Seeder(peer int) bool {
	return Hash64(uint64(peer)^saltSeeder)%100 < uint64(p.SeedersIn100)
}

// InfoHash is the info hash of a torrent.
func InfoHash(torrent int) (h bep15.InfoHash) {
	fill(h[:], uint64(torrent)^saltInfoHash)
	return h
}

// PeerID is the ID that a peer sends. No two peers share one.
func PeerID(peer int) (id [20]byte) {
	copy(id[:], "-PB0100-")
	fill(id[8:], uint64(peer)^saltPeerID)
	return id
}

// Salts separate the random streams of one number.
const (
	saltTorrent  = 0x1 << 56
	saltSeeder   = 0x2 << 56
	saltInfoHash = 0x3 << 56
	saltPeerID   = 0x4 << 56
)

func modulo(peer, _, torrents int) int { return peer % torrents }

// zipf inverts the continuous distribution with density 1/r over [1, torrents+1).
func zipf(peer, _, torrents int) int {
	u := unit(Hash64(uint64(peer) ^ saltTorrent))
	r := math.Exp(u * math.Log(float64(torrents+1)))
	return min(int(r)-1, torrents-1)
}

// public inverts the continuous distribution with density 1/(r+100) over [0, torrents).
func public(peer, _, torrents int) int {
	const flat = 100
	if peer < torrents {
		return peer
	}
	u := unit(Hash64(uint64(peer) ^ saltTorrent))
	r := flat * (math.Exp(u*math.Log(float64(torrents+flat)/flat)) - 1)
	return min(int(r), torrents-1)
}

// aquatic draws from two parts, by their weights: the constant part is uniform,
// the rest exponential.
func aquatic(peer, peers, torrents int) int {
	const top, slope = 6.5, 500
	n := float64(torrents)
	floor := n * n / float64(peers)
	peak := math.Exp(top) * n / slope * (1 - math.Exp(-slope))

	h := Hash64(uint64(peer) ^ saltTorrent)
	part, u := unit(h)*(floor+peak), unit(Hash64(h))
	if part < floor {
		return int(u * n)
	}
	r := -math.Log(1-u*(1-math.Exp(-slope))) / slope
	return min(int(r*n), torrents-1)
}

// Hash64 is the output function of SplitMix64: a bijection that looks random.
func Hash64(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// unit maps 64 random bits to [0, 1).
func unit(x uint64) float64 { return float64(x>>11) / (1 << 53) }

func fill(b []byte, seed uint64) {
	for len(b) > 0 {
		seed = Hash64(seed)
		for i := 0; i < 8 && i < len(b); i++ {
			b[i] = byte(seed >> (8 * i))
		}
		b = b[min(8, len(b)):]
	}
}
