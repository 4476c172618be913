package main

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/prefetch"
	"github.com/fabricionaweb/pico-tracker/internal/siphash"
	"github.com/fabricionaweb/pico-tracker/internal/sys"
)

// This file finds the swarm of an info hash, and removes peers and torrents that
// have expired. It does not know packets. Of an address it knows only the bytes.
//
// The table is a linear hash: each bucket is the head of a chain of torrent
// records. A new torrent splits one bucket; after many removals one bucket is
// merged. So no step of growth is larger than a chain. The store is divided into
// shards by info hash. Each shard has a lock, a table and pages of its own.
//
// Lock order: shard, then pool. Nothing holds the locks of two shards.

// torrent is a record of the table: one cache line.
type torrent struct {
	hash      bep15.InfoHash
	next      ref // the next record of the chain; itself if it is in no chain
	completed uint32
	peerData
}

var _ [lineUnits * granule]byte = [unsafe.Sizeof(torrent{})]byte{}

const (
	// firstBuckets is the size of an empty shard's table.
	firstBuckets = 64
	// bucketBytes is what the table takes for each torrent that fits.
	bucketBytes = int(unsafe.Sizeof(ref(0)))
	// pageCost is what a page of the pool takes with all that goes with it.
	pageCost = pageBytes + pageTorrents*bucketBytes
	// pageTorrents is how many torrent records a page holds.
	pageTorrents = pageUnit / lineUnits
)

// shard is a part of the store.
type shard struct {
	mu             sync.Mutex
	arena          arena
	buckets        []ref // the first inUse of them are the table; the others are reserved
	inUse          uint32
	mask           uint32 // the smallest 2^n - 1 that covers inUse
	torrents       uint32
	touchedBuckets uint32          // the largest value of inUse since the last trim
	latest         seconds         // time of the latest announce
	peers          [numSets]uint32 // by family and role
	_              [64]byte        // keeps the neighbour's lock off this cache line
}

// store has all torrents and their peers.
type store struct {
	pool             *pool
	shards           []shard
	shift            uint // of a hash, to get the shard
	hash             tableHash
	peerHash         tableHash
	isolated         *isolation
	quota            sourceQuota
	unit             seconds                    // of stamps
	compactionPaused atomic.Bool                // no block may be moved
	expired          [2]uint64                  // peers that the sweep removed, IPv4 and IPv6; only the sweep uses it
	purged           [2]uint64                  // peers that a purge removed; only the purge uses it
	admit            func(*bep15.InfoHash) bool // nil: every torrent; called under a lock
	top              *topTorrents               // nil: not wanted; only the sweep uses it
}

// newStore makes a store with that many pages and shards. shards must be a
// power of two. quota is how many granules
// one source may take. unit is the
// granularity of peers' ages; the sweep must see each peer more often than
// every stampSpan units. seed is 48 random bytes for the keys of the hashes.
func newStore(pages, shards int, quota uint32, unit seconds, seed []byte) (*store, error) {
	p, err := newPool(pages)
	if err != nil {
		return nil, err
	}
	s := &store{
		pool:     p,
		shards:   make([]shard, shards),
		shift:    uint(64 - bits.Len(uint(shards-1))),
		hash:     tableHash{key: siphash.NewKey(seed)},
		peerHash: tableHash{key: siphash.NewKey(seed[16:])},
		isolated: newIsolation(),
		unit:     unit,
	}
	s.quota.hash = siphash.NewKey(seed[32:])
	s.quota.max = quota
	n := max(firstBuckets, pages*pageTorrents/shards)
	mem, err := sys.Reserve(n * shards * bucketBytes)
	if err != nil {
		return nil, err
	}
	all := unsafe.Slice((*ref)(unsafe.Pointer(&mem[0])), n*shards)
	for i := range s.shards {
		sh := &s.shards[i]
		sh.arena = arena{pool: p, shard: i}
		sh.buckets = all[i*n : (i+1)*n : (i+1)*n]
		sh.inUse, sh.mask = firstBuckets, firstBuckets-1
	}
	return s, nil
}

// maxTorrents returns how many torrents fit if each has up to four IPv4 peers.
func (s *store) maxTorrents() int { return s.pool.capacity() * pageTorrents }

// maxPeers returns about how many IPv4 peers fit in large swarms.
func (s *store) maxPeers() int { return s.pool.capacity() * pageSize * 2 / 17 }

// shardOf returns the shard for a hash.
func (s *store) shardOf(h uint64) *shard {
	return &s.shards[h>>s.shift&uint64(len(s.shards)-1)]
}

// bucket returns the head of the chain for a hash.
func (sh *shard) bucket(h uint64) *ref {
	b := uint32(h) & sh.mask
	if b >= sh.inUse {
		b &= sh.mask >> 1
	}
	return &sh.buckets[b]
}

func (sh *shard) torrent(r ref) *torrent { return block[torrent](sh.arena.pool, r) }

// sameHash compares in words, because Go would call a function.
func sameHash(a, b *bep15.InfoHash) bool {
	return binary.LittleEndian.Uint64(a[:]) == binary.LittleEndian.Uint64(b[:]) &&
		binary.LittleEndian.Uint64(a[8:]) == binary.LittleEndian.Uint64(b[8:]) &&
		binary.LittleEndian.Uint32(a[16:]) == binary.LittleEndian.Uint32(b[16:])
}

// findTorrent returns the record of an info hash, or 0.
func (sh *shard) findTorrent(h uint64, hash *bep15.InfoHash) ref {
	for r := *sh.bucket(h); r != 0; {
		t := sh.torrent(r)
		if sameHash(&t.hash, hash) {
			return r
		}
		r = t.next
	}
	return 0
}

// prefetchTorrents prefetches the buckets of these hashes, and then the first
// record of each chain.
func (s *store) prefetchTorrents(hashes []uint64) {
	for _, h := range hashes {
		sh := s.shardOf(h)
		sh.mu.Lock()
		prefetch.Lines(unsafe.Pointer(sh.bucket(h)), 1)
		sh.mu.Unlock()
	}
	for _, h := range hashes {
		sh := s.shardOf(h)
		sh.mu.Lock()
		if r := *sh.bucket(h); r != 0 {
			prefetch.Lines(unsafe.Pointer(sh.torrent(r)), unsafe.Sizeof(torrent{}))
		}
		sh.mu.Unlock()
	}
}

// linkTorrent adds a record to the table.
func (s *store) linkTorrent(sh *shard, h uint64, r ref) {
	head := sh.bucket(h)
	sh.torrent(r).next, *head = *head, r
	sh.torrents++
	if sh.torrents > sh.inUse && int(sh.inUse) < len(sh.buckets) {
		s.splitBucket(sh)
	}
}

// unlinkTorrent removes a record from the table.
func (s *store) unlinkTorrent(sh *shard, r ref) {
	t := sh.torrent(r)
	p := sh.bucket(s.hash.sum(t.hash[:]))
	for *p != r {
		p = &sh.torrent(*p).next
	}
	*p = t.next
	t.next = r // in no chain: it must not be moved
	sh.torrents--
	// Two at a time, so that a table that becomes empty catches up.
	for i := 0; i < 2 && sh.torrents < sh.inUse/2 && sh.inUse > firstBuckets; i++ {
		sh.mergeBucket()
	}
}

// splitBucket splits the next bucket in turn.
func (s *store) splitBucket(sh *shard) {
	b := sh.inUse
	if b > sh.mask {
		sh.mask = sh.mask<<1 | 1
	}
	sh.inUse++
	sh.touchedBuckets = max(sh.touchedBuckets, sh.inUse)
	low, high := &sh.buckets[b&(sh.mask>>1)], &sh.buckets[b]
	for r := *low; r != 0; {
		t := sh.torrent(r)
		if uint32(s.hash.sum(t.hash[:]))&sh.mask == b {
			*high, high = r, &t.next
		} else {
			*low, low = r, &t.next
		}
		r = t.next
	}
	*low, *high = 0, 0
}

// mergeBucket merges the last bucket with the bucket that it was split from.
func (sh *shard) mergeBucket() {
	last := &sh.buckets[sh.inUse-1]
	p := &sh.buckets[(sh.inUse-1)&(sh.mask>>1)]
	for *p != 0 {
		p = &sh.torrent(*p).next
	}
	*p, *last = *last, 0
	sh.inUse--
	if sh.inUse-1 == sh.mask>>1 {
		sh.mask >>= 1
	}
}

// addCounts updates the shard's counts of peers. before and after are the
// counts of one torrent before and after a change.
func (sh *shard) addCounts(before, after [numSets]uint32) {
	for i := range sh.peers {
		sh.peers[i] += after[i] - before[i]
	}
}

// removeTorrent removes a torrent without peers.
func (s *store) removeTorrent(sh *shard, r ref, now seconds) {
	s.unlinkTorrent(sh, r)
	sh.arena.free(r, classTorrent, now)
}

// swarmOf returns the swarm of record r.
func (s *store) swarmOf(sh *shard, r ref, now seconds) swarm {
	return swarm{peerData: &sh.torrent(r).peerData, self: r, arena: &sh.arena, hash: &s.peerHash, isolated: s.isolated, now: now, stamp: stampOf(now, s.unit)}
}

// compactSteps limits how many blocks are moved after an announce. On average,
// one block is moved for each block that is freed.
const compactSteps = 8

// compact moves blocks of the shard together, if some were freed.
func (s *store) compact(sh *shard, n int, now seconds) {
	if sh.arena.sparse == 0 || s.compactionPaused.Load() {
		return
	}
	sh.arena.compact(n, now, func(c class, r ref) bool { return s.moveBlock(sh, c, r, now) })
}

// moveBlock copies a block of the shard to a new one and updates all references
// to it. It refuses a block that has many references, or whose references it
// cannot find.
func (s *store) moveBlock(sh *shard, c class, r ref, now seconds) bool {
	switch {
	case c == classNode:
		return false
	case c == classTorrent:
		return s.moveTorrent(sh, r)
	}
	l := block[leaf](s.pool, r)
	w := s.swarmOf(sh, l.torrent, now)
	var p path
	if l.set < leechers6 {
		w.walk(&p, int(l.set), hashPeer(&w, int(l.set), &peersOf[key4](l, 1)[0].key))
	} else {
		w.walk(&p, int(l.set), hashPeer(&w, int(l.set), &peersOf[key6](l, 1)[0].key))
	}
	to := sh.arena.alloc(c)
	copyBlock(s.pool, to, r, c)
	w.setRefs(&p, l.depth, to)
	return true
}

// moveTorrent is moveBlock for a torrent record.
func (s *store) moveTorrent(sh *shard, r ref) bool {
	t := sh.torrent(r)
	if t.next == r {
		return false
	}
	if t.spilled {
		for _, set := range t.sets() {
			if set.root&nodeFlag != 0 {
				return false // too many leaves refer to the record
			}
		}
	}
	to := sh.arena.alloc(classTorrent)
	copyBlock(s.pool, to, r, classTorrent)
	p := sh.bucket(s.hash.sum(t.hash[:]))
	for *p != r {
		p = &sh.torrent(*p).next
	}
	*p = to
	if t.spilled {
		for _, set := range t.sets() {
			if set.root != 0 {
				block[leaf](s.pool, set.root).torrent = to
			}
		}
	}
	return true
}

// announceResult is what an announce did to the peer.
type announceResult uint8

const (
	resultRefreshed announceResult = iota // the peer was stored already
	resultAdded                           // the peer is new
	resultStopped                         // the peer was removed
	resultAbsent                          // the peer stops, but was not stored
	resultFull                            // a new peer, but the pool is full
	resultQuota                           // a new peer, but its source has used its quota
	resultDenied                          // the access list refuses the torrent
)

// announceParams is one announce as the store needs it.
type announceParams struct {
	hash       *bep15.InfoHash
	flags      meta // metaSeeder, metaCompleted
	stopped    bool
	want       int // peers wanted
	visibility visibility
	external   *externalAddrs // the public addresses of this network; nil: unknown
	now        seconds
}

// swarmCounts are the counts of a torrent, both families together, as a scrape
// reports them. The reply to an announce has the first two.
type swarmCounts struct{ seeders, leechers, completed uint32 }

func (t *torrent) swarmCounts(n [numSets]uint32) swarmCounts {
	return swarmCounts{n[seeders4] + n[seeders6], n[leechers4] + n[leechers6], t.completed}
}

// announce updates the swarm of v.hash with the peer key and appends the chosen
// peers to dst. dst must have room for them.
func announce[K peerKey](s *store, v *announceParams, key *K, rng *splitMix64, dst []byte) ([]byte, swarmCounts, announceResult) {
	h := s.hash.sum(v.hash[:])
	sh := s.shardOf(h)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.latest = max(sh.latest, v.now)

	r := sh.findTorrent(h, v.hash)
	if r == 0 {
		c, o := createTorrent(s, sh, h, v, key)
		return dst, c, o
	}
	t := sh.torrent(r)
	w := s.swarmOf(sh, r, v.now)
	before := t.counts()
	o := resultRefreshed
	if v.stopped {
		o = resultAbsent
		if removePeer(&w, key) {
			removePeerFrom(&s.quota, key)
			o = resultStopped
		}
	} else {
		prefetchPeers[K](&w, v.want, v.flags&metaSeeder != 0, *rng)
		found, downloaded := updatePeer(&w, key, v.flags)
		if !found {
			o = addPeer(s, &w, v, key)
			downloaded = o == resultAdded && v.flags&metaCompleted != 0
		}
		if downloaded {
			t.completed++
		}
		if v.flags&metaSeeder != 0 {
			dst = chooseForSeeder(&w, dst, v.want, key, v.visibility, v.external, rng)
		} else {
			dst = choose(&w, dst, len(dst), v.want, key, anyRole, v.visibility, v.external, rng)
		}
	}
	after := t.counts()
	sh.addCounts(before, after)
	c := t.swarmCounts(after)
	if after == ([numSets]uint32{}) {
		s.removeTorrent(sh, r, v.now)
	}
	s.compact(sh, compactSteps, v.now)
	return dst, c, o
}

// createTorrent stores a torrent with its first peer.
func createTorrent[K peerKey](s *store, sh *shard, h uint64, v *announceParams, key *K) (swarmCounts, announceResult) {
	if s.admit != nil && !s.admit(v.hash) {
		return swarmCounts{}, resultDenied
	}
	if v.stopped {
		return swarmCounts{}, resultAbsent
	}
	if !allowsPeer(&s.quota, key) {
		return swarmCounts{}, resultQuota
	}
	r := sh.arena.alloc(classTorrent)
	if r == 0 {
		return swarmCounts{}, resultFull
	}
	t := sh.torrent(r)
	*t = torrent{hash: *v.hash}
	w := s.swarmOf(sh, r, v.now)
	// The record has room. The quota is not checked again: another shard may
	// have used it up, but a torrent without peers must not be stored.
	insertPeer(&w, peer[K]{*key, w.stamp | v.flags})
	addPeerTo(&s.quota, key)
	if v.flags&metaCompleted != 0 {
		t.completed = 1
	}
	s.linkTorrent(sh, h, r)
	after := t.counts()
	sh.addCounts([numSets]uint32{}, after)
	return t.swarmCounts(after), resultAdded
}

// addPeer stores a peer that is new to its swarm, if there is room and the
// quota of its source allows it.
func addPeer[K peerKey](s *store, w *swarm, v *announceParams, key *K) announceResult {
	if !allowsPeer(&s.quota, key) {
		return resultQuota
	}
	if !insertPeer(w, peer[K]{*key, w.stamp | v.flags}) {
		return resultFull
	}
	addPeerTo(&s.quota, key)
	return resultAdded
}

// scrape returns the counts of a torrent, or zeros if it is not stored.
func (s *store) scrape(hash *bep15.InfoHash) swarmCounts {
	h := s.hash.sum(hash[:])
	sh := s.shardOf(h)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	r := sh.findTorrent(h, hash)
	if r == 0 {
		return swarmCounts{}
	}
	t := sh.torrent(r)
	return t.swarmCounts(t.counts())
}

// totals returns the number of torrents, and of peers by family and role.
func (s *store) totals() (torrents int, peers [numSets]int) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		torrents += int(sh.torrents)
		for j, n := range sh.peers {
			peers[j] += int(n)
		}
		sh.mu.Unlock()
	}
	return torrents, peers
}

// eachBlock calls f for every torrent record and every leaf of page i. It holds
// the lock of their shard.
func (s *store) eachBlock(i uint32, now seconds, f func(sh *shard, c class, r ref)) {
	pg := &s.pool.pages[i]
	owner := pg.owner.Load()
	c := class(owner)
	if c == classFree || c == classNode {
		return
	}
	sh := &s.shards[owner>>8]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	// f may free blocks, and the page with them.
	for b := uint32(0); b < c.blocks() && pg.owner.Load() == owner; b++ {
		if pg.free>>b&1 == 0 {
			f(sh, c, ref(i*pageUnit+b*c.units()))
		}
	}
	s.compact(sh, pageTorrents, now)
}

// sweep removes the peers of page i that have not announced for ttl, and the
// torrents that have no peer left. It returns how many peers it removed. A
// stamp is coarse: a peer is removed when it is certainly older than ttl, which
// is up to two units later. A block can move to a page that the sweep has
// passed; the next pass finds it.
func (s *store) sweep(i uint32, now, ttl seconds) (expired int) {
	return s.sweepLate(i, now, ttl, ttl)
}

// sweepLate is sweep if peers may be as old as oldest. It also removes the peers
// whose stamp may have wrapped: an old peer cannot be told from a new one.
func (s *store) sweepLate(i uint32, now, ttl, oldest seconds) (expired int) {
	var stamp meta
	most, wrapped := (ttl+s.unit-1)/s.unit, (oldest+s.unit-1)/s.unit
	was := s.expired
	isGone := func(m meta) bool {
		age := m.age(stamp)
		return age > most || age+stampSpan <= wrapped
	}
	gone4 := func(pe *peer[key4]) bool {
		return countIfGone(s, &s.expired[0], &pe.key, isGone(pe.meta))
	}
	gone6 := func(pe *peer[key6]) bool {
		return countIfGone(s, &s.expired[1], &pe.key, isGone(pe.meta))
	}
	s.eachBlock(i, now, func(sh *shard, c class, r ref) {
		// A worker may have stored a later time than now. A stamp from the
		// future would look like the oldest one.
		stamp = stampOf(max(now, sh.latest), s.unit)
		if c == classTorrent {
			w := s.swarmOf(sh, r, now)
			before := w.counts()
			if w.spilled {
				w.unspill()
			}
			if !w.spilled {
				removeInlineIf(&w, gone4)
				removeInlineIf(&w, gone6)
			}
			if s.top != nil {
				t, counts := sh.torrent(r), w.counts()
				s.top.consider(&t.hash, &counts, t.completed)
			}
			s.finishRemoval(sh, &w, before)
			return
		}
		w := s.swarmOf(sh, block[leaf](s.pool, r).torrent, now)
		before := w.counts()
		if l := w.leaf(r); l.set < leechers6 {
			removeFromLeafIf(&w, r, gone4)
		} else {
			removeFromLeafIf(&w, r, gone6)
		}
		w.unspill()
		s.finishRemoval(sh, &w, before)
	})
	return int(s.expired[0] - was[0] + s.expired[1] - was[1])
}

// countIfGone updates the quota and the counter n if a peer is gone. It returns
// gone.
func countIfGone[K peerKey](s *store, n *uint64, key *K, gone bool) bool {
	if gone {
		removePeerFrom(&s.quota, key)
		*n++
	}
	return gone
}

// finishRemoval updates the counts of a swarm that lost peers, and removes the
// torrent if no peer is left.
func (s *store) finishRemoval(sh *shard, w *swarm, before [numSets]uint32) {
	after := w.counts()
	sh.addCounts(before, after)
	if after == ([numSets]uint32{}) {
		s.removeTorrent(sh, w.self, w.now)
	}
}

// quiesce waits for all operations that are already in the store.
func (s *store) quiesce() { s.totals() } // it takes every lock once

// purgeStep is how many leaves a purge frees while it holds a lock.
const purgeStep = 16

// purge removes the torrents of page i that admit refuses, with their peers. It
// returns how many torrents it removed. It must not run at the same time as a
// sweep: a large swarm is first removed from the table, and then freed in steps
// between which others use the shard. A purge of all pages needs
// compactionPaused, because a record could move to a page that the purge has
// passed.
func (s *store) purge(i uint32, now seconds, admit func(*bep15.InfoHash) bool) (removed int) {
	gone4 := func(pe *peer[key4]) bool { return countIfGone(s, &s.purged[0], &pe.key, true) }
	gone6 := func(pe *peer[key6]) bool { return countIfGone(s, &s.purged[1], &pe.key, true) }
	s.eachBlock(i, now, func(sh *shard, c class, r ref) {
		if c != classTorrent || admit(&sh.torrent(r).hash) {
			return
		}
		removed++
		s.unlinkTorrent(sh, r)
		w := s.swarmOf(sh, r, now)
		sh.addCounts(w.counts(), [numSets]uint32{})
		for done := false; !done; {
			done = w.freeLeaves(purgeStep, gone4, gone6)
			sh.mu.Unlock() // also after the last step: the next torrent may be as large
			sh.mu.Lock()
		}
		sh.arena.free(r, classTorrent, now)
	})
	return removed
}

// trim returns free memory to the system: pages that have been idle for age
// seconds, at most n system pages in a call, and the unused ends of the tables.
func (s *store) trim(now, age seconds, n int) {
	s.pool.releaseIdle(now, age, n)
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		s.trimTable(sh)
		sh.mu.Unlock()
	}
}

func (s *store) trimTable(sh *shard) {
	const slack = 1 << 16 / 4 // buckets: 64 KiB stay resident
	if sh.touchedBuckets < sh.inUse+slack {
		return
	}
	base := uintptr(unsafe.Pointer(&sh.buckets[0]))
	size := uintptr(sys.PageSize)
	from := (base + uintptr(sh.inUse)*uintptr(bucketBytes) + size - 1) &^ (size - 1)
	to := (base + uintptr(sh.touchedBuckets)*uintptr(bucketBytes)) &^ (size - 1)
	if from < to {
		sys.Discard(unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(&sh.buckets[0]), from-base)), to-from))
	}
	sh.touchedBuckets = sh.inUse
}
