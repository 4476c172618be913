package main

import (
	"sync"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

// This file selects the torrents that the report names: those with most peers,
// which the sweep meets anyway, and the last ones that the access list refused.
// Both are in tables of fixed size.

// maxTop is the largest -top.
const maxTop = 100

// topTorrent is a torrent with many peers.
type topTorrent struct {
	hash      bep15.InfoHash
	peers     [numSets]uint32 // by family and role
	downloads uint32
}

func (t *topTorrent) total() uint32 {
	n := uint32(0)
	for _, p := range t.peers {
		n += p
	}
	return n
}

// topTorrents collects the torrents with most peers during a pass of the sweep.
// Only the maintenance loop uses it.
type topTorrents struct {
	found  []topTorrent // in this pass
	result []topTorrent // of the last pass, most peers first
	least  uint32       // peers of the smallest one, if found is full; else 0
}

func newTopTorrents(max int) *topTorrents {
	return &topTorrents{found: make([]topTorrent, 0, max), result: make([]topTorrent, 0, max)}
}

// consider adds a torrent to this pass. The sweep calls it with a lock held. For
// most torrents it costs one comparison.
func (t *topTorrents) consider(hash *bep15.InfoHash, peers *[numSets]uint32, downloads uint32) {
	n := uint32(0)
	for _, p := range peers {
		n += p
	}
	if n <= t.least { // also one without peers
		return
	}
	candidate := topTorrent{*hash, *peers, downloads}
	at := -1
	for i := range t.found {
		if t.found[i].hash == *hash { // moved to a page that comes later
			at = i
		}
	}
	switch {
	case at >= 0:
	case len(t.found) < cap(t.found):
		at = len(t.found)
		t.found = t.found[:at+1]
	default:
		at = t.smallest()
	}
	t.found[at] = candidate
	if len(t.found) == cap(t.found) {
		t.least = t.found[t.smallest()].total()
	}
}

func (t *topTorrents) smallest() (at int) {
	for i := range t.found {
		if t.found[i].total() < t.found[at].total() {
			at = i
		}
	}
	return at
}

// endPass publishes the torrents of this pass as the result and begins a new pass.
func (t *topTorrents) endPass() {
	for i := range t.found { // insertion sort: at most 100
		for j := i; j > 0 && t.found[j].total() > t.found[j-1].total(); j-- {
			t.found[j], t.found[j-1] = t.found[j-1], t.found[j]
		}
	}
	t.found, t.result = t.result[:0], t.found
	t.least = 0
}

// clear forgets all torrents. The sweep stops while the store is empty.
func (t *topTorrents) clear() { t.found, t.result, t.least = t.found[:0], t.result[:0], 0 }

// numRefused is how many refused torrents are remembered.
const numRefused = 8

// refusedTorrent is a torrent that the access list refused.
type refusedTorrent struct {
	hash bep15.InfoHash
	last seconds // when it was last refused
	set  bool
}

// refusedTorrents remembers the last torrents that the access list refused, so
// that the operator can find a mistake in the list. Anyone on the internet can
// fill it with other hashes. It has a fixed size.
type refusedTorrents struct {
	mu      sync.Mutex
	entries [numRefused]refusedTorrent
}

// note remembers a torrent. It does not wait for another worker.
func (r *refusedTorrents) note(hash *bep15.InfoHash, now seconds) {
	if !r.mu.TryLock() {
		return
	}
	defer r.mu.Unlock()
	oldest := &r.entries[0]
	for i := range r.entries {
		e := &r.entries[i]
		if e.set && e.hash == *hash {
			e.last = now
			return
		}
		if !e.set && oldest.set || e.set == oldest.set && e.last < oldest.last {
			oldest = e
		}
	}
	*oldest = refusedTorrent{*hash, now, true}
}

// read returns the table.
func (r *refusedTorrents) read() [numRefused]refusedTorrent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.entries
}
