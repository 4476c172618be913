package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/rand"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/sys"
)

const testUnit seconds = 100

var testSeed = bytes.Repeat([]byte{0x5a, 0xc3, 0x17}, 16)

func newTestStore(t testing.TB, pages, shards int) *store {
	t.Helper()
	s, err := newStore(pages, shards, math.MaxUint32, testUnit, testSeed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(s) })
	return s
}

// closeStore gives back what a store has reserved: a fuzzer makes thousands.
func closeStore(s *store) {
	buckets := s.shards[0].buckets
	sys.Release(s.pool.mem)
	sys.Release(asBytes(s.pool.pages))
	sys.Release(asBytes(unsafe.Slice(&buckets[0], len(s.shards)*len(buckets))))
}

func asBytes[T any](b []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&b[0])), len(b)*int(unsafe.Sizeof(b[0])))
}

func testHash(i int) *bep15.InfoHash {
	var h bep15.InfoHash
	binary.BigEndian.PutUint32(h[:], uint32(i))
	h[19] = 1
	return &h
}

// testKey4 and testKey6 are the i-th peer's address and port.
func testKey4(i int) *key4 {
	return &key4{10, byte(i >> 16), byte(i >> 8), byte(i), 0x1a, 0xe1}
}

func testKey6(i int) *key6 {
	k := key6{0x20, 0x01, 0x0d, 0xb8}
	binary.BigEndian.PutUint32(k[4:], uint32(i))
	k[17] = 1
	return &k
}

// testOutside has the public addresses of the network. Some peers of scopedKey4
// and scopedKey6 have these addresses.
var testOutside = &externalAddrs{v4: key4{198, 51, 100, 77}, v6: key6{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 4: 0xff, 15: 1}}

// scopedKey4 is the i-th of peers of all scopes, as they are kept: 256 of a
// scope, some with the ports of others.
func scopedKey4(i int) *key4 {
	k := key4{203, 0, byte(i >> 8), byte(i), 0x1a, byte(i % 40)}
	switch i >> 8 & 3 {
	case 0:
		if i%16 == 15 {
			copy(k[:4], testOutside.v4[:])
		}
	case 1:
		copy(k[:2], [4]string{"\x0a\x00", "\xac\x1f", "\xc0\xa8", "\x64\x7f"}[i&3])
	case 2:
		k[0] = 127
	case 3:
		k[0], k[1] = 0xe0, byte(1+i&1)
	}
	return &k
}

// scopedKey6 is scopedKey4 for IPv6.
func scopedKey6(i int) *key6 {
	k := key6{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 8: byte(i >> 8), 9: byte(i), 16: 0x1a, 17: byte(i % 40)}
	switch i >> 8 & 3 {
	case 0:
		if i%16 == 15 {
			copy(k[:16], testOutside.v6[:])
		}
	case 1:
		k[0] = 0xfc + byte(i&1)
	case 2: // a host has only one
		k = key6{15: 1, 16: 0x1b, 17: byte(i)}
	case 3:
		copy(k[:8], []byte{0xfe, 0x80, 0, 0, 0, 0, 0, byte(1 + i&1)})
	}
	return &k
}

// checkInvariants checks the whole store: every block is in use once, and all
// counters agree with the stored peers.
func checkInvariants(t testing.TB, s *store) {
	t.Helper()
	c := &storeCheck{TB: t, s: s, classes: make([]class, len(s.pool.pages)*pageUnit)}
	for i := range s.shards {
		c.checkShard(i)
	}
	c.checkPages()
	c.checkPageLists()
	c.checkQuota()
}

// storeCheck is the state of checkInvariants.
type storeCheck struct {
	testing.TB
	s       *store
	classes []class // by ref: the class of the blocks that torrents reach
	blocks  int     // blocks that torrents reach
	cost    int     // quota cost of all peers
	used    int     // pages in use
	partial int     // pages in use with free blocks
}

// reach notes that a torrent uses a block.
func (c *storeCheck) reach(r ref, class class) {
	c.Helper()
	if c.classes[r] != classFree {
		c.Fatalf("block %d is used twice", r)
	}
	c.classes[r] = class
	c.blocks++
}

// checkShard walks over the torrents of a shard and compares its counters.
func (c *storeCheck) checkShard(i int) {
	c.Helper()
	s, sh := c.s, &c.s.shards[i]
	torrents := uint32(0)
	var peers [numSets]uint32
	for b := range sh.buckets {
		if b >= int(sh.inUse) {
			if sh.buckets[b] != 0 {
				c.Fatalf("bucket %d of %d is not empty", b, sh.inUse)
			}
			continue
		}
		for r := sh.buckets[b]; r != 0; r = sh.torrent(r).next {
			torrents++
			tr := sh.torrent(r)
			h := s.hash.sum(tr.hash[:])
			if s.shardOf(h) != sh || sh.bucket(h) != &sh.buckets[b] {
				c.Fatalf("torrent %x is in the wrong chain", tr.hash)
			}
			c.reach(r, classTorrent)
			n := checkSwarm(c.TB, s, sh, r, c.reach)
			if n == ([numSets]uint32{}) {
				c.Fatalf("torrent %x is empty", tr.hash)
			}
			for set := range n {
				peers[set] += n[set]
				c.cost += int(n[set]) * [...]int{peerCost4, peerCost4, peerCost6, peerCost6}[set]
			}
		}
	}
	if torrents != sh.torrents || peers != sh.peers {
		c.Fatalf("shard %d: got counts of %d torrents and %v peers, want %d and %v", i, sh.torrents, sh.peers, torrents, peers)
	}
	if sh.inUse > sh.mask+1 || sh.inUse <= sh.mask>>1 {
		c.Fatalf("shard %d: got %d buckets with the mask %#x", i, sh.inUse, sh.mask)
	}
}

// checkPages compares the free bits of each page with the blocks that torrents
// reach.
func (c *storeCheck) checkPages() {
	c.Helper()
	s := c.s
	inUse := 0
	for i := 1; i < len(s.pool.pages); i++ {
		pg := &s.pool.pages[i]
		owner := pg.owner.Load()
		if owner == 0 {
			continue
		}
		c.used++
		cl := class(owner)
		if pg.free == allFree(cl) {
			c.Fatalf("page %d is in use and has no block in use", i)
		}
		for b := uint32(0); b < cl.blocks(); b++ {
			r := ref(uint32(i)*pageUnit + b*cl.units())
			want := classFree
			if pg.free>>b&1 == 0 {
				want = cl
				inUse++
			}
			if c.classes[r] != want {
				c.Fatalf("page %d of class %d, block %d: got class %d from its torrent, want %d", i, cl, b, c.classes[r], want)
			}
		}
		if pg.free != 0 {
			c.partial++
		}
	}
	if inUse != c.blocks || c.used != s.pool.used {
		c.Fatalf("got %d blocks and %d pages in use, want %d (reached) and %d (counted by the pool)", inUse, c.used, c.blocks, s.pool.used)
	}
}

// pagesInList checks a list of pages of one owner and returns its length.
func (c *storeCheck) pagesInList(first, owner uint32) (n int) {
	c.Helper()
	prev := uint32(0)
	for i := first; i != 0; i = c.s.pool.pages[i].next {
		if pg := &c.s.pool.pages[i]; pg.owner.Load() != owner || pg.prev != prev || owner != 0 && pg.free == 0 {
			c.Fatalf("page %d with free bits %b: got owner %#x and previous page %d, want %#x and %d",
				i, pg.free, pg.owner.Load(), pg.prev, owner, prev)
		}
		prev = i
		n++
	}
	return n
}

// checkPageLists checks the lists of partial pages and of free pages.
func (c *storeCheck) checkPageLists() {
	c.Helper()
	s := c.s
	listed := 0
	for i := range s.shards {
		for cl, first := range s.shards[i].arena.partial {
			listed += c.pagesInList(first, ownerTag(i, class(cl)))
		}
	}
	if listed != c.partial {
		c.Fatalf("got %d pages in the lists of partial pages, want %d", listed, c.partial)
	}
	idle, released := c.pagesInList(s.pool.idle, 0), c.pagesInList(s.pool.released, 0)
	if c.used+idle+released != int(s.pool.unused)-1 || c.used+idle != s.pool.resident || s.pool.peak < c.used {
		c.Fatalf("%d pages in use, %d idle, %d released: got counts of %d ever used, %d resident, peak %d",
			c.used, idle, released, s.pool.unused-1, s.pool.resident, s.pool.peak)
	}
}

// checkQuota checks that each row of the sketch adds up to the cost of all peers.
func (c *storeCheck) checkQuota() {
	c.Helper()
	for row := range c.s.quota.rows {
		sum := 0
		for i := range c.s.quota.rows[row] {
			sum += int(c.s.quota.rows[row][i].Load())
		}
		if sum != c.cost {
			c.Fatalf("row %d of the quota: got a sum of %d, want %d", row, sum, c.cost)
		}
	}
}

// checkSwarm checks one torrent and returns its counts.
func checkSwarm(t testing.TB, s *store, sh *shard, r ref, reach func(ref, class)) (n [numSets]uint32) {
	w := s.swarmOf(sh, r, 0)
	n = w.counts()
	if !w.spilled {
		if !fitsInline(uint32(w.n4), uint32(w.n6)) {
			t.Fatalf("%d and %d peers in a record", w.n4, w.n6)
		}
		return n
	}
	for i, set := range w.sets() {
		if (set.root == 0) != (set.n == 0) {
			t.Fatalf("set %d: root %d, %d peers", i, set.root, set.n)
		}
		if set.root != 0 {
			if w.scopeOfSet(i) == mixed {
				checkRanks(t, &w, i)
			}
			if got := checkTree(t, &w, i, set.root, 0, 0, 0, reach); got != set.n {
				t.Fatalf("set %d has %d peers, and counts %d", i, got, set.n)
			}
		}
	}
	return n
}

// checkTree checks what hangs from r, whose peers share the first have bits of
// their hash with prefix.
func checkTree(t testing.TB, w *swarm, i int, r ref, depth uint8, prefix uint64, have uint, reach func(ref, class)) uint32 {
	if r&nodeFlag == 0 {
		l := w.leaf(r)
		reach(r, l.class)
		if l.torrent != w.self || int(l.set) != i || l.depth != depth || l.n == 0 {
			t.Fatalf("leaf %d: %+v, want set %d of %d at depth %d", r, *l, i, w.self, depth)
		}
		if i < leechers6 {
			checkLeaf(t, w, peersOf[key4](l, int(l.n)), i, prefix, have)
		} else {
			checkLeaf(t, w, peersOf[key6](l, int(l.n)), i, prefix, have)
		}
		return uint32(l.n)
	}
	reach(r&^nodeFlag, classNode)
	nd := w.node(r)
	total := uint32(0)
	for j := 0; j < 8; {
		run, d := 1, uint8(3)
		if c := nd.refs[j]; c != 0 && c&nodeFlag == 0 {
			d = w.leaf(c).depth
			run = 8 >> d
		}
		if j%run != 0 {
			t.Fatalf("a leaf of depth %d begins at reference %d", d, j)
		}
		n := uint32(0)
		if nd.refs[j] != 0 {
			n = checkTree(t, w, i, nd.refs[j], d, prefix<<d|uint64(j)>>(3-d), have+uint(d), reach)
		}
		if nd.counts[j] != n {
			t.Fatalf("node %d counts %d at %d, there are %d", r, nd.counts[j], j, n)
		}
		for k := j + 1; k < j+run; k++ {
			if nd.refs[k] != nd.refs[j] || nd.counts[k] != 0 {
				t.Fatalf("node %d: reference %d is %d with %d, want %d with 0", r, k, nd.refs[k], nd.counts[k], nd.refs[j])
			}
		}
		total += n
		j += run
	}
	return total
}

// checkRanks checks that the ranks of set i go by scope, and where each begins.
func checkRanks(t testing.TB, w *swarm, i int) {
	set := &w.sets()[i]
	var begin [numScopes + 1]uint32
	last := scope(0)
	for rank := uint32(0); rank < set.n; {
		r, j, rest := w.locate(set, rank)
		l := w.leaf(r)
		if j+int(rest) != int(l.n) {
			t.Fatalf("set %d, rank %d: %d peers from %d on in a leaf of %d", i, rank, rest, j, l.n)
		}
		for ; j < int(l.n); j++ {
			var s scope
			if i < leechers6 {
				s = scopeOf(&peersOf[key4](l, int(l.n))[j].key)
			} else {
				s = scopeOf(&peersOf[key6](l, int(l.n))[j].key)
			}
			for rank++; last < s; last++ {
				begin[last+1] = rank - 1
			}
		}
	}
	for ; last < numScopes; last++ {
		begin[last+1] = set.n
	}
	for s, want := range begin {
		got := rankOf[key4](w, i, scope(s))
		if i >= leechers6 {
			got = rankOf[key6](w, i, scope(s))
		}
		if got != want {
			t.Fatalf("scope %d of set %d begins at rank %d, found at %d", s, i, want, got)
		}
	}
}

func checkLeaf[K peerKey](t testing.TB, w *swarm, peers []peer[K], i int, prefix uint64, have uint) {
	seen := map[K]bool{}
	for j := range peers {
		k := &peers[j].key
		if seen[*k] {
			t.Fatalf("peer %x stands twice in a leaf", *k)
		}
		seen[*k] = true
		if have > 0 && hashPeer(w, i, k)>>(64-have) != prefix {
			t.Fatalf("peer %x is in the wrong leaf", *k)
		}
		if s := scopeOf(k); s != w.scopeOfSet(i) && w.scopeOfSet(i) != mixed {
			t.Fatalf("peer %x of scope %d is in set %d of scope %d", *k, s, i, w.scopeOfSet(i))
		} else if j > 0 && scopeOf(&peers[j-1].key) > s {
			t.Fatalf("peer %x is not in the order of scopes", *k)
		}
		if setOf[K](peers[j].meta) != i {
			t.Fatalf("peer %x with flags %b is in set %d", *k, peers[j].meta&metaFlags, i)
		}
	}
}

// model is the store as one would write it without a care for memory.
type model struct {
	torrents map[bep15.InfoHash]*modelTorrent
}

type modelTorrent struct {
	completed uint32
	peers     map[string]*modelPeer
}

type modelPeer struct {
	seeder, completed bool
	seen              seconds
}

func (m *modelTorrent) census() swarmCounts {
	var c swarmCounts
	if m == nil {
		return c
	}
	for _, p := range m.peers {
		if p.seeder {
			c.seeders++
		} else {
			c.leechers++
		}
	}
	c.completed = m.completed
	return c
}

// checker applies operations to a store and to the model of it.
type checker struct {
	t     testing.TB
	s     *store
	m     model
	rng   splitMix64
	now   seconds
	log   []func() string
	dst   []byte
	every int // invariants are checked after that many operations
	ops   int

	scoped  bool // peers are given by scope
	outside *externalAddrs
}

func newChecker(t testing.TB, pages, shards int, weak uint64) *checker {
	s := newTestStore(t, pages, shards)
	s.hash.ignored, s.peerHash.ignored = weak, weak
	return &checker{t: t, s: s, m: model{map[bep15.InfoHash]*modelTorrent{}}, dst: make([]byte, 0, 4096), now: 1000, every: 1}
}

func (c *checker) fatalf(format string, args ...any) {
	c.t.Helper()
	first := max(0, len(c.log)-40)
	for _, l := range c.log[first:] {
		c.t.Log(l())
	}
	c.t.Fatalf(format, args...)
}

// note remembers an operation, in words that are made when they are wanted.
func (c *checker) note(format string, args ...any) {
	if len(c.log) > 1000 {
		c.log = c.log[:copy(c.log, c.log[500:])]
	}
	c.log = append(c.log, func() string { return fmt.Sprintf(format, args...) })
}

func (c *checker) done() {
	if c.ops++; c.ops%c.every == 0 {
		checkInvariants(c.t, c.s)
	}
}

func check[K peerKey](c *checker, hash *bep15.InfoHash, key *K, flags meta, stopped bool, want int) announceResult {
	c.t.Helper()
	c.note("now %d: announce %x %x flags %b stopped %v want %d", c.now, *hash, *key, flags, stopped, want)
	v := announceParams{hash: hash, flags: flags, stopped: stopped, want: want, now: c.now}
	if c.scoped {
		v.external = c.outside
		v.visibility = visibilityOf(key, c.outside)
	}
	dst, got, o := announce(c.s, &v, key, &c.rng, c.dst[:0])
	c.note("  -> outcome %d %+v, %d bytes", o, got, len(dst))

	mt := c.m.torrents[*hash]
	var mp *modelPeer
	if mt != nil {
		mp = mt.peers[keyString(key)]
	}
	seeder := flags&metaSeeder != 0
	switch o {
	case resultStopped, resultAbsent:
		if !stopped || (mp != nil) != (o == resultStopped) {
			c.fatalf("stopped without being told to, or what was not there")
		}
		if mp != nil {
			delete(mt.peers, keyString(key))
		}
	case resultAdded:
		if mp != nil || stopped {
			c.fatalf("added a peer that was there, or stopped")
		}
		if mt == nil {
			mt = &modelTorrent{peers: map[string]*modelPeer{}}
			c.m.torrents[*hash] = mt
		}
		mp = &modelPeer{seeder: seeder, seen: c.now}
		mt.peers[keyString(key)] = mp
	case resultRefreshed:
		if mp == nil {
			c.fatalf("refreshed a peer that was not there")
		}
		// A full pool, or set, may keep a peer in its old role.
		if was := mp.seeder; was != seeder {
			mp.seeder = seeder
			// A split takes three blocks or none, and gives back what it took.
			full := c.s.pool.used+2 >= c.s.pool.capacity() || c.s.peerHash.ignored != 0
			if got.seeders != mt.census().seeders && full {
				mp.seeder = was
			}
		}
		mp.seen = c.now
	case resultFull:
		if mp != nil || stopped {
			c.fatalf("a peer that was stored, or stops, was refused")
		}
	default:
		c.fatalf("outcome %d", o)
	}
	if mp != nil && !stopped && flags&metaCompleted != 0 && !mp.completed {
		mp.completed = true
		mt.completed++
	}
	if want := mt.census(); got != want && mt != nil {
		c.fatalf("census %+v, want %+v", got, want)
	}
	checkReply(c, mt, key, seeder, stopped, want, dst)
	if mt != nil && len(mt.peers) == 0 {
		delete(c.m.torrents, *hash)
	}
	c.done()
	return o
}

// checkReply holds the peers of a reply against the model.
func checkReply[K peerKey](c *checker, mt *modelTorrent, key *K, seeder, stopped bool, want int, dst []byte) {
	c.t.Helper()
	size := len(*key)
	if len(dst)%size != 0 {
		c.fatalf("%d bytes of peers", len(dst))
	}
	var got []string
	for ; len(dst) > 0; dst = dst[size:] {
		got = append(got, string(dst[:size]))
	}
	var fit, seeders []string // a seeder gets leechers first
	if mt != nil && !stopped && want > 0 {
		for k, p := range mt.peers {
			if len(k) != size || k == keyString(key) {
				continue
			}
			if seeder && p.seeder {
				seeders = append(seeders, k)
			} else {
				fit = append(fit, k)
			}
		}
	}
	e := c.expectation(expectation{}, keyString(key), fit, got)
	e.few = len(e.parts)
	e = c.expectation(e, keyString(key), seeders, got)
	for _, problem := range e.compare(got, want) {
		c.fatalf("%s asks for %d of %d and %d:%s", keyText(keyString(key)), want, len(fit), len(seeders), problem)
	}
}

// expectation is what a list must be: of each part in turn all that there is,
// until the list is full. An entry of the last part may be one of many names.
type expectation struct {
	parts  []map[string]bool
	inside map[string]bool // those of parts that are in this network
	few    int             // from this part on there are at most 10 in all
	loose  bool            // too many that don't pass: there may be fewer
}

// expectation adds to e the peers that are in the swarm, by the words of
// docs/router.md. Of whom the list has a peer of this network, it does not have
// the peer of the same port outside.
func (c *checker) expectation(e expectation, requester string, fit, got []string) expectation {
	if e.inside == nil {
		e.inside = map[string]bool{}
	}
	earlier := expectation{parts: slices.Clone(e.parts)}
	part := func(f func(k string) (string, bool)) map[string]bool {
		m := map[string]bool{}
		failed := 0
		for _, k := range fit {
			if k, ok := f(k); ok && !m[k] && !earlier.has(k) {
				m[k] = true
			} else {
				failed++
			}
		}
		e.parts = append(e.parts, m)
		return m
	}
	if !c.scoped {
		part(func(k string) (string, bool) { return k, true })
		return e
	}
	outside := ""
	if c.outside != nil {
		k := externalOf[key4](c.outside)
		outside = string(k[:4])
		if len(requester) == 18 {
			k := externalOf[key6](c.outside)
			outside = string(k[:16])
		}
	}
	host := func(k string) string { return k[:len(k)-2] }
	port := func(k string) string { return k[len(k)-2:] }
	own := modelScope(requester)
	inside := own != "global" || host(requester) == outside
	if !inside {
		repeated := 0
		all := part(func(k string) (string, bool) {
			switch s := modelScope(k); {
			case s == "global":
				return k, true
			case (s == "private" || s == "host") && outside != "":
				repeated++
				return outside + port(k), true
			}
			return "", false
		})
		e.loose = e.loose || len(all) < repeated && repeated > maxRejected || len(fit)-len(all) > maxRejected
		return e
	}
	if strings.HasPrefix(own, "link") {
		same := part(func(k string) (string, bool) { return unboundString(k), modelScope(k) == own })
		e.loose = e.loose || len(fit)-len(same) > maxRejected
		maps.Copy(e.inside, same)
	}
	maps.Copy(e.inside, part(func(k string) (string, bool) {
		s := modelScope(k)
		return k, (s == "private" || s == "host" && own == "host") && !(host(requester) == outside && port(k) == port(requester))
	}))
	near := map[string]bool{port(requester): true}
	for _, k := range got {
		if e.inside[k] {
			near[port(k)] = true
		}
	}
	part(func(k string) (string, bool) {
		return k, modelScope(k) == "global" && !(host(k) == outside && near[port(k)])
	})
	return e
}

func (e expectation) has(k string) bool {
	return slices.ContainsFunc(e.parts, func(part map[string]bool) bool { return part[k] })
}

// compare says what is wrong with a list.
func (e expectation) compare(got []string, want int) (problems []string) {
	seen := map[string]bool{}
	list := got
	for i, part := range e.parts {
		if i == e.few {
			want = min(want, maxSeeders)
		}
		n := max(0, min(want, len(part)))
		want -= n
		if len(list) < n {
			if !e.loose {
				return []string{fmt.Sprintf(" %d of part %d, want %d", len(list), i, n)}
			}
			n = len(list)
		}
		for _, k := range list[:n] {
			if !part[k] && !(e.loose && e.has(k)) {
				problems = append(problems, fmt.Sprintf(" %s does not belong into part %d", keyText(k), i))
			}
			if seen[k] {
				problems = append(problems, fmt.Sprintf(" %s is in the list twice", keyText(k)))
			}
			seen[k] = true
		}
		list = list[n:]
	}
	if len(list) > 0 {
		problems = append(problems, fmt.Sprintf(" %d too many", len(list)))
	}
	return problems
}

// unboundString is a link-local peer's key as it was before it was kept.
func unboundString(k string) string {
	if len(k) == 6 {
		return "\xa9\xfe" + k[2:]
	}
	return k[:4] + "\x00\x00\x00\x00" + k[8:]
}

// modelScope is the scope of a peer's key as it is kept; for a link with which.
func modelScope(k string) string {
	a, _ := netip.AddrFromSlice([]byte(k[:len(k)-2]))
	switch {
	case a.Is4() && a.As4()[0] >= 224:
		return "link" + k[:2]
	case a.Is6() && a.IsLinkLocalUnicast():
		return "link" + k[4:8]
	case a.IsLoopback():
		return "host"
	case a.IsPrivate(), netip.MustParsePrefix("100.64.0.0/10").Contains(a):
		return "private"
	}
	return "global"
}

func keyText(k string) string {
	a, _ := netip.AddrFromSlice([]byte(k[:len(k)-2]))
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16([]byte(k[len(k)-2:]))).String()
}

func keyString[K peerKey](key *K) string {
	return string(unsafe.Slice((*byte)(unsafe.Pointer(key)), len(*key)))
}

func (c *checker) scrape(hash *bep15.InfoHash) {
	c.t.Helper()
	if got, want := c.s.scrape(hash), c.m.torrents[*hash].census(); got != want {
		c.fatalf("scrape of %x: %+v, want %+v", *hash, got, want)
	}
}

func (c *checker) sweep(ttl seconds) {
	c.note("now %d: sweep, ttl %d", c.now, ttl)
	want := 0
	for h, mt := range c.m.torrents {
		for k, p := range mt.peers {
			// The stamp is coarse: both ends are rounded down.
			if (c.now/testUnit-p.seen/testUnit)*testUnit > (ttl+testUnit-1)/testUnit*testUnit {
				delete(mt.peers, k)
				want++
			}
		}
		if len(mt.peers) == 0 {
			delete(c.m.torrents, h)
		}
	}
	// What a pass moves behind its own back it may miss.
	got := 0
	for last := -1; last != got; {
		last = got
		for i := uint32(1); i < c.s.pool.highWater(); i++ {
			got += c.s.sweep(i, c.now, ttl)
		}
	}
	if got != want {
		c.fatalf("%d peers expired, want %d", got, want)
	}
	c.done()
}

func (c *checker) purge(admit func(*bep15.InfoHash) bool) {
	c.note("purge")
	want := 0
	for h := range c.m.torrents {
		if !admit(&h) {
			delete(c.m.torrents, h)
			want++
		}
	}
	got := 0
	c.s.compactionPaused.Store(true)
	for i := uint32(1); i < c.s.pool.highWater(); i++ {
		got += c.s.purge(i, c.now, admit)
	}
	c.s.compactionPaused.Store(false)
	if got != want {
		c.fatalf("%d torrents purged, want %d", got, want)
	}
	c.done()
}

func (c *checker) compareAll() {
	c.t.Helper()
	torrents, peers := c.s.totals()
	want := 0
	for h, mt := range c.m.torrents {
		c.scrape(&h)
		want += len(mt.peers)
	}
	if torrents != len(c.m.torrents) || peers[0]+peers[1]+peers[2]+peers[3] != want {
		c.fatalf("%d torrents, %v peers; want %d, %d", torrents, peers, len(c.m.torrents), want)
	}
}

// run turns bytes into operations, four a piece, until there are enough.
func (c *checker) run(data []byte) {
	const enough = 1000
	for ; len(data) >= 4 && c.ops < enough; data = data[4:] {
		op, a, b, d := data[0], int(data[1]), int(data[2]), int(data[3])
		hash := testHash(a % 16)
		who := b<<2 | d&3
		flags := meta(d>>2) & metaFlags
		testKey4, testKey6 := testKey4, testKey6
		if a&8 != 0 {
			testKey4, testKey6 = scopedKey4, scopedKey6
		}
		switch {
		case op < 100:
			check(c, hash, testKey4(who), flags, false, d>>3)
		case op < 110: // a crowd
			for i := 0; i <= d; i++ {
				check(c, hash, testKey4(who+i), meta(op)&metaFlags, op == 109, 0)
			}
		case op < 190:
			check(c, hash, testKey6(who), flags, false, d>>3)
		case op < 200:
			for i := 0; i <= d; i++ {
				check(c, hash, testKey6(who+i), meta(op)&metaFlags, op == 199, 0)
			}
		case op < 220:
			check(c, hash, testKey4(who), 0, true, 10)
		case op < 240:
			check(c, hash, testKey6(who), 0, true, 10)
		case op < 250:
			c.now += seconds(b)
			c.sweep(seconds(300 + a))
		case op < 253:
			c.purge(func(h *bep15.InfoHash) bool { return h[3]&7 != byte(a&7) })
		case op < 254:
			c.s.trim(c.now, 10, 64)
		default:
			c.scrape(hash)
		}
	}
	c.compareAll()
}

var poolSizes = []int{1, 2, 3, 64}

// FuzzStore compares the store with its model, in pools of few blocks, with
// one shard or several, under hashes that are good, poor or always 0.
func FuzzStore(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x01\x05\xd0\x00\x00\x00\xf0\xff\xff\x00"), uint8(0))
	for how := 0; how < 128; how += 5 {
		b := make([]byte, 200)
		rand.New(rand.NewSource(int64(how))).Read(b)
		f.Add(b, uint8(how))
	}
	// Large swarms that come and go.
	f.Add([]byte("\x64\x00\x00\xff\x64\x00\x40\xff\x65\x00\x80\xff\xfe\x00\x00\x00\x6d\x00\x00\xff\x6d\x00\x40\xff"), uint8(3))
	f.Add([]byte("\xbe\x01\x00\xff\xbf\x01\x20\xff\xf0\xff\xff\x00\x00\x01\x00\x00\xf0\xff\xff\x00\xfa\x01\x00\x00"), uint8(3))
	f.Fuzz(func(t *testing.T, data []byte, how uint8) {
		weak := []uint64{0, ^uint64(0), 0, ^uint64(0) >> 6}[how>>2&3]
		c := newChecker(t, poolSizes[how&3], 1<<(how>>4&1), weak)
		c.every = 8
		c.scoped = how>>5&1 != 0
		if how>>6&1 != 0 {
			c.outside = testOutside
		}
		c.run(data)
		checkInvariants(t, c.s)
	})
}

// TestStoreModel runs long random sequences, with a bias that changes: swarms
// grow, shrink and die, in pools that are full most of the time or never.
func TestStoreModel(t *testing.T) {
	steps := 30000
	if testing.Short() {
		steps = 4000
	}
	for _, pages := range []int{1, 2, 3, 64, 1000} {
		for _, weak := range []uint64{0, ^uint64(0), ^uint64(0) >> 6} {
			t.Run(fmt.Sprintf("pages=%d/weak=%x", pages, weak), func(t *testing.T) {
				t.Parallel()
				r := rand.New(rand.NewSource(int64(pages)))
				c := newChecker(t, pages, 2, weak)
				c.every = 500
				torrents, people := 3, 2000
				for i := 0; i < steps; i++ {
					if i%1000 == 0 {
						torrents = []int{1, 3, 100, 5000}[r.Intn(4)]
						people = []int{10, 300, 5000}[r.Intn(3)]
						c.now += seconds(r.Intn(400))
						c.sweep(1000)
						c.s.trim(c.now, 100, 1000)
						c.scoped = r.Intn(4) != 0
						if c.outside = nil; r.Intn(2) == 0 {
							c.outside = testOutside
						}
					}
					torrent, who := r.Intn(torrents), r.Intn(people)
					h := testHash(torrent)
					testKey4, testKey6 := testKey4, testKey6
					if torrent&1 == 0 {
						testKey4, testKey6 = scopedKey4, scopedKey6
					}
					flags := meta(r.Intn(4))
					stopped := r.Intn(8) == 0
					if r.Intn(2) == 0 {
						check(c, h, testKey4(who), flags, stopped, r.Intn(80))
					} else {
						check(c, h, testKey6(who), flags, stopped, r.Intn(80))
					}
				}
				c.compareAll()
				c.now += 3000
				c.sweep(1000)
				c.compareAll()
				if n, _ := c.s.totals(); n != 0 || c.s.pool.used != 0 {
					t.Fatalf("%d torrents and %d pages left after all expired", n, c.s.pool.used)
				}
			})
		}
	}
}

// TestFull checks that stored peers are refreshed while new peers are not
// stored, and that new peers are stored again after others were removed.
func TestFull(t *testing.T) {
	s := newTestStore(t, 1, 1)
	var rng splitMix64
	put := func(i int) announceResult {
		_, _, o := announce(s, &announceParams{hash: testHash(i), now: 5}, testKey4(i), &rng, nil)
		return o
	}
	for i := 0; i < pageTorrents; i++ {
		if o := put(i); o != resultAdded {
			t.Fatalf("torrent %d: outcome %d", i, o)
		}
	}
	if o := put(pageTorrents); o != resultFull {
		t.Fatalf("one too many: outcome %d", o)
	}
	for i := 0; i < pageTorrents; i++ {
		if o := put(i); o != resultRefreshed {
			t.Fatalf("refresh of %d: outcome %d", i, o)
		}
	}
	announce(s, &announceParams{hash: testHash(7), stopped: true}, testKey4(7), &rng, nil)
	if o := put(pageTorrents); o != resultAdded {
		t.Fatalf("after one left: outcome %d", o)
	}
	checkInvariants(t, s)
}

// TestNewcomerInFullSwarm checks that a peer that cannot be stored gets peers.
func TestNewcomerInFullSwarm(t *testing.T) {
	s := newTestStore(t, 1, 1)
	var rng splitMix64
	dst := make([]byte, 0, 1200)
	for i := 0; i < 4; i++ {
		announce(s, &announceParams{hash: testHash(0)}, testKey4(i), &rng, nil)
	}
	got, c, o := announce(s, &announceParams{hash: testHash(0), want: 50}, testKey4(9), &rng, dst)
	if o != resultFull || len(got) != 4*6 || c.leechers != 4 {
		t.Fatalf("outcome %d, %d bytes, %+v", o, len(got), c)
	}
}

// TestSourceShare checks that one source fills its quota and not more, that
// other sources are not affected, and that expired peers free the quota.
func TestSourceShare(t *testing.T) {
	s := newTestStore(t, 64, 1)
	s.quota.max = 100 * peerCost6
	var rng splitMix64
	add := func(hash int, key *key6) announceResult {
		_, _, o := announce(s, &announceParams{hash: testHash(hash)}, key, &rng, nil)
		return o
	}
	count := map[announceResult]int{}
	for i := 0; i < 150; i++ {
		k := *testKey6(1)
		k[15] = byte(i) // within one /64
		count[add(i, &k)]++
	}
	if count[resultAdded] != 100 || count[resultQuota] != 50 {
		t.Fatalf("outcomes %v", count)
	}
	if o := add(0, testKey6(2)); o != resultAdded {
		t.Fatalf("another /64 in the same swarm: %d", o)
	}
	for i := uint32(1); i < s.pool.highWater(); i++ {
		s.sweep(i, 1000, 10)
	}
	if o := add(5, testKey6(1)); o != resultAdded {
		t.Fatalf("after its peers expired: %d", o)
	}
	checkInvariants(t, s)
}

// TestShareRace checks that a new torrent has its peer even if another shard
// uses up the quota at the same time.
func TestShareRace(t *testing.T) {
	for range 10 {
		s := newTestStore(t, 4, 1)
		s.quota.max = peerCost4
		key := testKey4(1)
		s.pool.mu.Lock() // which the announce must wait for, in the middle
		done := make(chan swarmCounts)
		go func() {
			var rng splitMix64
			_, c, o := announce(s, &announceParams{hash: testHash(0)}, key, &rng, nil)
			if o == resultAdded && c.leechers == 0 {
				t.Error("got added and 0 leechers, want at least 1")
			}
			done <- c
		}()
		for s.shards[0].mu.TryLock() {
			s.shards[0].mu.Unlock()
			runtime.Gosched()
		}
		for range 1000 {
			runtime.Gosched()
		}
		addPeerTo(&s.quota, key)
		s.pool.mu.Unlock()
		<-done
		removePeerFrom(&s.quota, key)
		checkInvariants(t, s)
	}
}

// TestPurgeLetsIn checks that an operation that waits for a shard gets the lock
// between two torrents of a purge, also if each torrent is removed in one step.
func TestPurgeLetsIn(t *testing.T) {
	s := newTestStore(t, 64, 1)
	var rng splitMix64
	for i := 0; i < pageTorrents; i++ {
		announce(s, &announceParams{hash: testHash(i)}, testKey4(i), &rng, nil)
	}
	asked := 0 // under the shard's lock
	in := make(chan int, 1)
	s.compactionPaused.Store(true)
	s.purge(1, 0, func(*bep15.InfoHash) bool {
		if asked++; asked == 1 {
			go func() {
				sh := &s.shards[0]
				sh.mu.Lock()
				defer sh.mu.Unlock()
				in <- asked
			}()
		}
		// After a millisecond of waiting it is the waiter's turn.
		for start := time.Now(); time.Since(start) < time.Millisecond; {
			runtime.Gosched()
		}
		return false
	})
	if n := <-in; n == pageTorrents {
		t.Errorf("who waited since the first torrent got in after all %d", n)
	}
}

// TestPurgeInSteps checks that an operation that waits for a shard gets the lock
// while a purge removes a large swarm.
func TestPurgeInSteps(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	const n = 20_000
	for end := time.Now().Add(deadline); ; {
		s := newTestStore(t, 400, 1)
		var rng splitMix64
		for i := range n {
			announce(s, &announceParams{hash: testHash(0)}, testKey4(i), &rng, nil)
		}
		removed := make(chan uint64, 1)
		s.compactionPaused.Store(true)
		for i := uint32(1); i < s.pool.highWater(); i++ {
			s.purge(i, 0, func(*bep15.InfoHash) bool {
				go func() {
					sh := &s.shards[0]
					sh.mu.Lock()
					defer sh.mu.Unlock()
					removed <- s.purged[0]
				}()
				// After a millisecond of waiting it is the waiter's turn.
				for start := time.Now(); time.Since(start) < 2*time.Millisecond; {
					runtime.Gosched()
				}
				return false
			})
		}
		if s.purged[0] != n {
			t.Fatalf("%d peers are removed, want %d", s.purged[0], n)
		}
		// It takes some luck, because the waiter must wake up in time.
		if got := <-removed; got < n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the waiter got in after all %d peers in each purge of %v", n, deadline)
		}
	}
}

// TestFreeLeaves checks that a step of a purge removes a limited number of peers,
// and that all steps together remove all peers of both families.
func TestFreeLeaves(t *testing.T) {
	s := newTestStore(t, 400, 1)
	var rng splitMix64
	const n = 3000
	for i := range n {
		announce(s, &announceParams{hash: testHash(0), flags: meta(i & 1)}, testKey4(i), &rng, nil)
		announce(s, &announceParams{hash: testHash(0), flags: meta(i & 1)}, testKey6(i), &rng, nil)
	}
	sh := &s.shards[0]
	w := s.swarmOf(sh, sh.findTorrent(s.hash.sum(testHash(0)[:]), testHash(0)), 0)
	removed := 0
	gone4 := func(*peer[key4]) bool { removed++; return true }
	gone6 := func(*peer[key6]) bool { removed++; return true }
	for steps := 1; ; steps++ {
		before := removed
		done := w.freeLeaves(3, gone4, gone6)
		if removed-before > 3*maxLeafPeers {
			t.Fatalf("step %d removed %d peers, want at most %d", steps, removed-before, 3*maxLeafPeers)
		}
		if left := w.counts(); done != (left == [numSets]uint32{}) || removed-before == 0 && !done {
			t.Fatalf("step %d removed %d peers and reports done %v; %v are left", steps, removed-before, done, left)
		}
		if done {
			break
		}
	}
	if removed != 2*n {
		t.Errorf("%d peers are removed, want %d", removed, 2*n)
	}
}

// TestSweepBehind checks a sweep whose clock is behind the clock of the
// workers, after a long list for example. It must keep peers that announced in
// the meantime and remove the expired ones.
func TestSweepBehind(t *testing.T) {
	for _, ahead := range []seconds{1, testUnit, 5 * testUnit} {
		s := newTestStore(t, 64, 1)
		var rng splitMix64
		const now, ttl = 50 * testUnit, 40 * testUnit
		for i := 0; i < 400; i++ {
			at := now - 1 + ahead
			if i%8 == 0 {
				at = now - 43*testUnit
			}
			// A record, a leaf, a tree.
			torrent := max(0, i%10-7)
			announce(s, &announceParams{hash: testHash(torrent), now: at}, testKey4(i), &rng, nil)
			announce(s, &announceParams{hash: testHash(10 + i), now: at}, testKey6(i), &rng, nil)
		}
		sweepAll(s, now-1, ttl)
		sweepAll(s, now-1, ttl) // what the first has moved
		if _, peers := s.totals(); peers[leechers4] != 350 || peers[leechers6] != 350 {
			t.Errorf("%d seconds ahead: %v peers are left, want 350 of each family", ahead, peers)
		}
		checkInvariants(t, s)
	}
}

// TestFairChoice checks that every peer of a swarm is given equally often, in
// every layout and for small and large num_want.
func TestFairChoice(t *testing.T) {
	rounds := 300
	if testing.Short() {
		rounds = 30
	}
	for _, n := range []int{2, 4, 5, 40, 128, 300, 3000} {
		for _, want := range []int{1, 10, 50} {
			t.Run(fmt.Sprintf("peers=%d/want=%d", n, want), func(t *testing.T) {
				t.Parallel()
				s := newTestStore(t, 100, 1)
				rng := splitMix64{state: 42}
				for i := 0; i < n; i++ {
					announce(s, &announceParams{hash: testHash(0), flags: meta(i % 4 / 3)}, testKey4(i), &rng, nil)
				}
				// The requester is stored, in a place that could favour a neighbour.
				requester := testKey4(0)
				hits := make([]float64, n)
				dst := make([]byte, 0, 1200)
				total := 0.0
				for total < float64(rounds*n) {
					got, _, _ := announce(s, &announceParams{hash: testHash(0), want: want}, requester, &rng, dst)
					for ; len(got) > 0; got = got[6:] {
						hits[int(got[2])<<8|int(got[3])]++
						total++
					}
				}
				if hits[0] != 0 {
					t.Fatal("got the requester in its own reply")
				}
				expected := total / float64(n-1)
				chi := 0.0
				for _, h := range hits[1:] {
					chi += (h - expected) * (h - expected) / expected
				}
				// Runs make neighbours appear together, which multiplies
				// the variance of a sum, not of a peer's own count: for
				// one peer it is binomial, as chi-square wants it.
				df := float64(n - 2)
				if limit := df + 6*math.Sqrt(2*df)*math.Sqrt(float64(min(want, n-1))) + 10; chi > limit {
					t.Errorf("chi-square %.0f with %.0f degrees of freedom, over %.0f", chi, df, limit)
				}
			})
		}
	}
}

// TestGrowthAndFold checks that the table grows and shrinks step by step and
// loses no torrent.
func TestGrowthAndFold(t *testing.T) {
	s := newTestStore(t, 200, 1)
	var rng splitMix64
	const n = 10000
	for i := 0; i < n; i++ {
		announce(s, &announceParams{hash: testHash(i)}, testKey4(i), &rng, nil)
	}
	checkInvariants(t, s)
	if sh := &s.shards[0]; sh.inUse != n {
		t.Fatalf("%d buckets for %d torrents", sh.inUse, n)
	}
	for i := 0; i < n; i++ {
		if s.scrape(testHash(i)).leechers != 1 {
			t.Fatalf("torrent %d is lost", i)
		}
	}
	order := rand.New(rand.NewSource(1)).Perm(n)
	for j, i := range order {
		announce(s, &announceParams{hash: testHash(i), stopped: true}, testKey4(i), &rng, nil)
		if j%1000 == 0 {
			checkInvariants(t, s)
		}
	}
	if sh := &s.shards[0]; sh.inUse > 2*firstBuckets || s.pool.used != 0 {
		t.Fatalf("%d buckets, %d pages left", sh.inUse, s.pool.used)
	}
}

// TestTrim checks that pages that are free for long return to the system and
// can be used again.
func TestTrim(t *testing.T) {
	s := newTestStore(t, 400, 1)
	var rng splitMix64
	for round := 0; round < 3; round++ {
		now := seconds(round) * 10000
		for i := 0; i < 20000; i++ {
			if _, _, o := announce(s, &announceParams{hash: testHash(i), now: now}, testKey4(i), &rng, nil); o != resultAdded {
				t.Fatalf("round %d, torrent %d: outcome %d", round, i, o)
			}
		}
		used, _, resident := s.pool.usage()
		if used != resident || used < 20000/pageTorrents {
			t.Fatalf("%d pages used, %d resident", used, resident)
		}
		for i := uint32(1); i < s.pool.highWater(); i++ {
			s.sweep(i, now+5000, 100)
		}
		for _, at := range []seconds{now + 4999, now + 5000} { // the clock that is asked may be behind
			s.trim(at, 60, 1000)
			if _, _, resident := s.pool.usage(); resident != used {
				t.Fatalf("%d pages resident at once after they were freed, want %d", resident, used)
			}
		}
		for i := 0; i < 10; i++ {
			s.trim(now+5060, 60, 100)
		}
		if used, _, resident := s.pool.usage(); used != 0 || resident > sys.PageSize/pageSize {
			t.Fatalf("%d pages used, %d resident after the trim", used, resident)
		}
	}
	checkInvariants(t, s)
}

// TestLeafClass checks that peers get the smallest leaf with room for them, and the
// largest leaf if no leaf has room.
func TestLeafClass(t *testing.T) {
	t.Run("IPv4", testLeafClass[key4])
	t.Run("IPv6", testLeafClass[key6])
}

func testLeafClass[K peerKey](t *testing.T) {
	most := leafCap[K](maxLeaf)
	for n := 1; n < most+10; n++ {
		c := leafClass[K](n)
		if c > maxLeaf || leafCap[K](c) < min(n, most) || c > classLeaf && leafCap[K](c-1) >= n {
			t.Errorf("%d peers: got class %d, want the smallest with room", n, c)
		}
	}
}

// TestStamps checks that a stamp gives its age across the wrap of its bits, for
// every interval and up to the greatest age of a peer.
func TestStamps(t *testing.T) {
	for interval := minInterval; interval <= maxInterval; interval++ {
		tr := newTracker(&store{unit: stampUnit(interval)}, interval)
		unit := tr.store.unit
		oldest := tr.ttl(0) + 2*unit + 2*tr.sweepPeriod()
		for _, at := range []seconds{0, 1, stampSpan*unit - 1, 7*stampSpan*unit + 3} {
			for _, age := range []seconds{0, unit, tr.ttl(1024), oldest} {
				got := stampOf(at, unit).age(stampOf(at+age, unit)) * unit
				if got+unit <= age || got >= age+unit {
					t.Fatalf("interval %d: stamped at %d, asked %d later: age %d", interval, at, age, got)
				}
			}
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("newTracker with a unit that is too small: got no panic")
		}
	}()
	newTracker(&store{unit: 10}, minInterval*10)
}
