package main

import (
	"encoding/binary"
	"runtime"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/prefetch"
	"github.com/fabricionaweb/pico-tracker/internal/siphash"
)

// This file stores the peers of one torrent: it packs them, finds them and
// removes them. All of it runs under the lock of the torrent's shard.
//
// The first few peers are in the torrent record itself. A larger swarm has four
// sets, one for each family and role. A set is an extendible hash: nothing, or
// one leaf, or a tree of nodes with leaves of up to 1 KiB. A node has eight
// references and eight counts. Three bits of the peer's hash choose a reference
// at each level. A leaf of depth d (0 to 3) fills 8>>d neighbouring references
// of its node, and its count is at the first of them:
//
//	root ──► node  refs    A A A A B B C N ──► node ...
//	               counts  9 . . . 7 . 4 31
//
// So an announce costs the same in a swarm of fifty and of five hundred
// thousand, and no step moves more than a leaf. The counts give each peer of a
// set a rank. A run of ranks from a random start is a fair choice of peers in a
// set of any size.
//
// Ranks are ordered by scope first. A set whose peers are all of one scope needs
// nothing for this: that is usual on a public tracker and in a private network.
// In a mixed set the hash begins with three bits for the scope. The root then
// divides the set by scope, and each scope has its own tree below the root. A
// leaf may have peers of several scopes; they are sorted by scope.

// peerKey is a peer's address and port as they are on the wire: 6 bytes for
// IPv4, 18 for IPv6. It identifies a peer within a torrent.
type peerKey interface{ [6]byte | [18]byte }

type (
	key4 = [6]byte
	key6 = [18]byte
)

// peer is a stored peer: 7 bytes for IPv4, 19 for IPv6. It consists of bytes
// only, so it needs no alignment.
type peer[K peerKey] struct {
	key  K
	meta meta
}

// meta has flags in the low bits, and above them a coarse stamp of the last
// announce.
type meta uint8

const (
	metaSeeder    meta = 1 << 0 // left was 0
	metaCompleted meta = 1 << 1 // its download has been counted
	metaFlags     meta = 1<<stampShift - 1

	stampShift = 2
	// stampSpan is the age in units at which a stamp looks new again.
	stampSpan = 1 << (8 - stampShift)
)

// stampOf returns the stamp of a time. unit is the length of one step.
func stampOf(now, unit seconds) meta { return meta(now/unit) << stampShift }

// age returns how many units ago m was stamped, within one unit. now is the
// current stamp.
func (m meta) age(now meta) seconds { return seconds((now - m&^metaFlags) >> stampShift) }

// The four sets of a torrent.
const (
	leechers4 = iota
	seeders4
	leechers6
	seeders6
	numSets
)

func isV6[K peerKey]() bool {
	var k K
	return len(k) == len(key6{})
}

// bytesOf returns the bytes of a key.
func bytesOf[K peerKey](key *K) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(key)), len(*key))
}

// scopeOf returns the scope of a peer's address.
func scopeOf[K peerKey](key *K) scope {
	if isV6[K]() {
		return scope6((*key6)(unsafe.Pointer(key)))
	}
	return scope4((*key4)(unsafe.Pointer(key)))
}

// setOf returns the set for a peer with these flags.
func setOf[K peerKey](m meta) int {
	i := leechers4
	if isV6[K]() {
		i = leechers6
	}
	return i + int(m&metaSeeder)
}

// peerData is the part of a torrent record that holds the peers: up to four of
// IPv4, or one of IPv6 and up to two of IPv4. If there are more, it holds four
// sets.
type peerData struct {
	_       [0]uint32 // the sets are words, which MIPS wants aligned
	spilled bool      // data has sets; otherwise n4 and n6 peers
	n4, n6  uint8
	data    [33]byte
}

// mixed is the scope of a set whose peers have several scopes, or are
// link-local.
const mixed = scopeLink

// scopeOfSet returns the scope of the peers of set i, or mixed. It is
// meaningless while the set is empty.
func (b *peerData) scopeOfSet(i int) scope { return scope(b.data[0] >> (2 * uint(i)) & 3) }

func (b *peerData) setScopeOfSet(i int, k scope) {
	at := 2 * uint(i)
	b.data[0] = b.data[0]&^(3<<at) | byte(k)<<at
}

// setsAt and v6At are where sets and IPv6 peers begin in data. Before the sets
// are two bits for the kind of each.
const (
	setsAt = 1
	v6At   = 2 * unsafe.Sizeof(peer[key4]{})
)

// set holds the peers of one family and role.
type set struct {
	root ref
	n    uint32 // peers
}

// nodeFlag in a ref of a set marks a node. Without the flag the ref is a leaf.
const nodeFlag ref = 1 << 31

// node is an inner node of a set.
type node struct {
	refs   [8]ref
	counts [8]uint32
}

// leaf is the head of a leaf block. The peers follow it.
type leaf struct {
	torrent ref // the record of the torrent
	n       uint8
	class   class
	set     uint8
	depth   uint8 // bits of the node's index that all peers share
}

// maxLevels is how many levels of nodes a hash of 64 bits can index.
const maxLevels = 64 / 3

// Layouts are the same on every processor. A node fills one cache line.
var (
	_ [7]byte                   = [unsafe.Sizeof(peer[key4]{})]byte{}
	_ [19]byte                  = [unsafe.Sizeof(peer[key6]{})]byte{}
	_ [8]byte                   = [unsafe.Sizeof(leaf{})]byte{}
	_ [lineUnits * granule]byte = [unsafe.Sizeof(node{})]byte{}
	_ [36]byte                  = [unsafe.Sizeof(peerData{})]byte{}
	_ [maxLeafPeers]byte        = [(1024 - unsafe.Sizeof(leaf{})) / unsafe.Sizeof(peer[key4]{})]byte{}
	_ [numSets]byte             = [unsafe.Sizeof(peerData{}.data) / unsafe.Sizeof(set{})]byte{}
	_ [4]byte                   = [numScopes]byte{}
)

// leafCap returns how many peers a leaf of class c holds: 8 to 145 of IPv4, or
// 2 to 53 of IPv6.
func leafCap[K peerKey](c class) int {
	return (int(c.units())*granule - int(unsafe.Sizeof(leaf{}))) / int(unsafe.Sizeof(peer[K]{}))
}

// leafClass returns the smallest class that holds n peers.
func leafClass[K peerKey](n int) class {
	c := classLeaf
	for c < maxLeaf && leafCap[K](c) < n {
		c++
	}
	return c
}

// peersOf returns the first n peers of a leaf's block.
func peersOf[K peerKey](l *leaf, n int) []peer[K] {
	return unsafe.Slice((*peer[K])(unsafe.Add(unsafe.Pointer(l), unsafe.Sizeof(leaf{}))), n)
}

// inlinePeers returns the peers of one family that are in the record itself.
func inlinePeers[K peerKey](b *peerData) []peer[K] {
	p, n := &b.data[0], b.n4
	if isV6[K]() {
		p, n = &b.data[v6At], b.n6
	}
	return unsafe.Slice((*peer[K])(unsafe.Pointer(p)), int(n))
}

// fitsInline reports whether that many peers fit into the record.
func fitsInline(n4, n6 uint32) bool { return n6 == 0 && n4 <= 4 || n6 == 1 && n4 <= 2 }

func (b *peerData) sets() *[numSets]set { return (*[numSets]set)(unsafe.Pointer(&b.data[setsAt])) }

// counts returns the number of peers of each set, in the record or in sets.
func (b *peerData) counts() (c [numSets]uint32) {
	if b.spilled {
		for i, s := range b.sets() {
			c[i] = s.n
		}
		return c
	}
	for _, pe := range inlinePeers[key4](b) {
		c[setOf[key4](pe.meta)]++
	}
	for _, pe := range inlinePeers[key6](b) {
		c[setOf[key6](pe.meta)]++
	}
	return c
}

// tableHash is the keyed hash of info hashes or of peers. The bits of ignored
// are cleared in every sum: tests set them to force collisions.
type tableHash struct {
	key     siphash.Key
	ignored uint64
}

func (h *tableHash) sum(b []byte) uint64 { return h.key.Sum(b) &^ h.ignored }

// swarm is the peers of a torrent together with what is needed to change them.
type swarm struct {
	*peerData
	self  ref // the torrent record
	arena *arena
	hash  *tableHash
	// isolated are the networks of peers of scopeLink.
	isolated *isolation
	now      seconds
	stamp    meta // of now
}

func (w *swarm) leaf(r ref) *leaf { return block[leaf](w.arena.pool, r) }
func (w *swarm) node(r ref) *node { return block[node](w.arena.pool, r&^nodeFlag) }

// hashPeer returns the hash that leads to a peer in set i.
func hashPeer[K peerKey](w *swarm, i int, key *K) uint64 {
	h := w.hash.sum(bytesOf(key))
	if w.scopeOfSet(i) == mixed {
		h = uint64(scopeIndex(scopeOf(key)))<<61 | h>>3
	}
	return h
}

// scopeIndex returns the index of a scope in the root of a mixed set: 0, 1, 2
// or 4. The scopes that are not global are in the first half.
func scopeIndex(s scope) int { return 1 << s >> 1 }

// path is the way from the root of a set to a leaf.
type path struct {
	set   *set
	hash  uint64
	leaf  ref // 0 if the path ends at an empty reference
	len   int // nodes on the path
	nodes [maxLevels]ref
}

// index returns the index of the reference in the node at level i.
func (p *path) index(i int) int { return int(p.hash >> (61 - 3*uint(i)) & 7) }

// walk follows hash from the root of set i.
func (w *swarm) walk(p *path, i int, hash uint64) {
	p.set, p.hash, p.len = &w.sets()[i], hash, 0
	r := p.set.root
	for r&nodeFlag != 0 {
		p.nodes[p.len] = r
		p.len++
		r = w.node(r).refs[p.index(p.len-1)]
	}
	p.leaf = r
}

// refRange returns the references that a leaf of that depth fills at the end of
// p: their node, the first index and their number. p.len must not be 0.
func (w *swarm) refRange(p *path, depth uint8) (nd *node, first, n int) {
	n = 8 >> depth
	return w.node(p.nodes[p.len-1]), p.index(p.len-1) &^ (n - 1), n
}

// setRefs makes all references of a leaf of that depth refer to r.
func (w *swarm) setRefs(p *path, depth uint8, r ref) {
	if p.len == 0 {
		p.set.root = r
		return
	}
	nd, first, n := w.refRange(p, depth)
	for i := first; i < first+n; i++ {
		nd.refs[i] = r
	}
}

// addToCounts adds d to the counts on the path to a leaf of that depth.
func (w *swarm) addToCounts(p *path, depth uint8, d int) {
	p.set.n += uint32(d)
	if p.len == 0 {
		return
	}
	for i := 0; i < p.len-1; i++ {
		w.node(p.nodes[i]).counts[p.index(i)] += uint32(d)
	}
	nd, first, _ := w.refRange(p, depth)
	nd.counts[first] += uint32(d)
}

// empty reports whether n references from first on are empty.
func (nd *node) empty(first, n int) bool {
	for _, r := range nd.refs[first : first+n] {
		if r != 0 {
			return false
		}
	}
	return true
}

// newLeaf allocates an empty leaf with room for n peers of set i. It returns
// nil if the pool is full.
func newLeaf[K peerKey](w *swarm, i, n int) (ref, *leaf) {
	c := leafClass[K](n)
	r := w.arena.alloc(c)
	if r == 0 {
		return 0, nil
	}
	l := w.leaf(r)
	*l = leaf{torrent: w.self, class: c, set: uint8(i)}
	return r, l
}

func (w *swarm) freeLeaf(r ref) {
	if r != 0 {
		w.arena.free(r, w.leaf(r).class, w.now)
	}
}

// Keys are compared and copied by functions for one family, because Go calls a
// function to compare 18 bytes and does not inline generic code. They are
// compared as words if the processor can load a word from any address. If not, a
// word takes four loads, so one byte of the address is compared first.

// unalignedWords is true where the compiler loads a word from any address with
// one instruction.
const unalignedWords = runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64" || runtime.GOARCH == "386" ||
	runtime.GOARCH == "loong64" || runtime.GOARCH == "ppc64le" || runtime.GOARCH == "s390x"

func sameKey4(a, b *key4) bool { return (unalignedWords || a[3] == b[3]) && equalKey4(a, b) }

func equalKey4(a, b *key4) bool {
	return binary.LittleEndian.Uint32(a[:]) == binary.LittleEndian.Uint32(b[:]) &&
		binary.LittleEndian.Uint16(a[4:]) == binary.LittleEndian.Uint16(b[4:])
}

func sameKey6(a, b *key6) bool { return (unalignedWords || a[15] == b[15]) && equalKey6(a, b) }

// equalKey6 starts with the half of an address that differs most often.
func equalKey6(a, b *key6) bool {
	return binary.LittleEndian.Uint64(a[8:]) == binary.LittleEndian.Uint64(b[8:]) &&
		binary.LittleEndian.Uint64(a[:]) == binary.LittleEndian.Uint64(b[:]) &&
		binary.LittleEndian.Uint16(a[16:]) == binary.LittleEndian.Uint16(b[16:])
}

func sameKey[K peerKey](a, b *K) bool {
	if isV6[K]() {
		return sameKey6((*key6)(unsafe.Pointer(a)), (*key6)(unsafe.Pointer(b)))
	}
	return sameKey4((*key4)(unsafe.Pointer(a)), (*key4)(unsafe.Pointer(b)))
}

// castPeers converts peers to their concrete type. T must be peer[K].
func castPeers[T any, K peerKey](peers []peer[K]) []T {
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(peers))), len(peers))
}

// scan returns the index of key in peers, or -1.
func scan[K peerKey](peers []peer[K], key *K) int {
	if isV6[K]() {
		return scan6(castPeers[peer[key6]](peers), (*key6)(unsafe.Pointer(key)))
	}
	return scan4(castPeers[peer[key4]](peers), (*key4)(unsafe.Pointer(key)))
}

func scan4(peers []peer[key4], key *key4) int {
	last := key[3]
	for i := range peers {
		if k := &peers[i].key; k[3] == last && equalKey4(k, key) {
			return i
		}
	}
	return -1
}

func scan6(peers []peer[key6], key *key6) int {
	last := key[15]
	for i := range peers {
		if k := &peers[i].key; k[15] == last && equalKey6(k, key) {
			return i
		}
	}
	return -1
}

// searchScope returns the index of the first peer with scope s or a wider one.
// The peers must be sorted by scope.
func searchScope[K peerKey](peers []peer[K], s scope) int {
	low, high := 0, len(peers)
	for low < high {
		mid := (low + high) / 2
		if scopeOf(&peers[mid].key) < s {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// rankOf returns the rank in set i of the first peer with scope s or a wider
// one.
func rankOf[K peerKey](w *swarm, i int, s scope) uint32 {
	set := &w.sets()[i]
	kind := w.scopeOfSet(i)
	switch {
	case set.n == 0 || s == 0:
		return 0
	case kind != mixed && s <= kind:
		return 0
	case kind != mixed || s == numScopes:
		return set.n
	}
	r, rank := set.root, uint32(0)
	if r&nodeFlag != 0 {
		nd, at := w.node(r), scopeIndex(s)
		// Only the first leaf can have peers on both sides of that place.
		if r = nd.refs[0]; r == 0 || r&nodeFlag != 0 || nd.refs[at] != r {
			for _, n := range nd.counts[:at] {
				rank += n
			}
			return rank
		}
	}
	l := w.leaf(r)
	return uint32(searchScope(peersOf[K](l, int(l.n)), s))
}

// findPeer returns the stored peer in set i, or nil. It hashes the key only if
// the set has nodes.
func findPeer[K peerKey](w *swarm, i int, key *K) *peer[K] {
	s := &w.sets()[i]
	r := s.root
	if r&nodeFlag != 0 {
		var p path
		w.walk(&p, i, hashPeer(w, i, key))
		r = p.leaf
	}
	if r == 0 {
		return nil
	}
	l := w.leaf(r)
	if prefetch.Enabled {
		prefetch.Lines(unsafe.Pointer(l), min(uintptr(maxLeaf.units())*granule, unsafe.Sizeof(*l)+uintptr(s.n)*unsafe.Sizeof(peer[K]{})))
	}
	peers := peersOf[K](l, int(l.n))
	if j := scan(peers, key); j >= 0 {
		return &peers[j]
	}
	return nil
}

// updatePeer refreshes a stored peer with the flags of m. found is false if the
// peer is not stored. downloaded is true the first time that the peer comes
// with metaCompleted.
func updatePeer[K peerKey](w *swarm, key *K, m meta) (found, downloaded bool) {
	m |= w.stamp
	role := m & metaSeeder
	if !w.spilled {
		peers := inlinePeers[K](w.peerData)
		j := scan(peers, key)
		return j >= 0, j >= 0 && peers[j].refresh(m, role)
	}
	i := setOf[K](m)
	if pe := findPeer(w, i, key); pe != nil {
		return true, pe.refresh(m, role)
	}
	pe := findPeer(w, i^1, key)
	if pe == nil {
		return false, false
	}
	// The role has changed. If there is no room to move the peer, it stays in the
	// set of its old role.
	downloaded = pe.refresh(m, role^metaSeeder)
	if addToSet(w, i, peer[K]{*key, pe.meta ^ metaSeeder}) {
		removeFromSet(w, i^1, key)
	}
	return true, downloaded
}

// refresh stores the stamp and the flags of m, with the given role. It reports
// whether a download must be counted.
func (pe *peer[K]) refresh(m, role meta) bool {
	first := m&^pe.meta&metaCompleted != 0
	pe.meta = m&^metaSeeder | pe.meta&metaCompleted | role
	return first
}

// insertPeer stores a peer that is not stored yet. It returns false if the pool
// is full; then nothing has changed.
func insertPeer[K peerKey](w *swarm, pe peer[K]) bool {
	if !w.spilled {
		n4, n6 := w.n4+1, w.n6
		if isV6[K]() {
			n4, n6 = w.n4, w.n6+1
		}
		if fitsInline(uint32(n4), uint32(n6)) {
			w.n4, w.n6 = n4, n6
			peers := inlinePeers[K](w.peerData)
			peers[len(peers)-1] = pe
			return true
		}
		if !w.spill() {
			return false
		}
		if !addToSet(w, setOf[K](pe.meta), pe) {
			w.unspill()
			return false
		}
		return true
	}
	return addToSet(w, setOf[K](pe.meta), pe)
}

// spill moves the peers of the record into sets. It returns false if the pool
// is full; then nothing has changed.
func (w *swarm) spill() bool {
	old := *w.peerData
	*w.peerData = peerData{spilled: true}
	if addAllToSets(w, inlinePeers[key4](&old)) && addAllToSets(w, inlinePeers[key6](&old)) {
		return true
	}
	for _, s := range w.sets() {
		w.freeLeaf(s.root)
	}
	*w.peerData = old
	return false
}

func addAllToSets[K peerKey](w *swarm, peers []peer[K]) bool {
	for _, pe := range peers {
		if !addToSet(w, setOf[K](pe.meta), pe) {
			return false
		}
	}
	return true
}

// unspill moves the peers of small sets back into the record, if they fit.
func (w *swarm) unspill() {
	if !w.spilled {
		return
	}
	s := *w.sets()
	if !fitsInline(s[leechers4].n+s[seeders4].n, s[leechers6].n+s[seeders6].n) {
		return
	}
	for i := range s {
		if s[i].root&nodeFlag != 0 {
			return // the next removal makes the tree flatter
		}
	}
	b := peerData{}
	for i := range s {
		if s[i].root == 0 {
			continue
		}
		l := w.leaf(s[i].root)
		if i < leechers6 {
			b.n4 += l.n
			copy(inlinePeers[key4](&b)[b.n4-l.n:], peersOf[key4](l, int(l.n)))
		} else {
			b.n6 += l.n
			copy(inlinePeers[key6](&b)[b.n6-l.n:], peersOf[key6](l, int(l.n)))
		}
		w.freeLeaf(s[i].root)
	}
	*w.peerData = b
}

// addToSet stores a peer in set i, where it is not yet. It returns false if the
// pool is full; then the set has the same peers as before.
func addToSet[K peerKey](w *swarm, i int, pe peer[K]) bool {
	var p path
	s := scopeOf(&pe.key)
	if !w.makeMixed(i, s) {
		return false
	}
	w.walk(&p, i, hashPeer(w, i, &pe.key))
	if p.leaf == 0 && !attachLeaf[K](w, &p, i) {
		return false
	}
	for {
		l := w.leaf(p.leaf)
		n := int(l.n)
		if n < leafCap[K](l.class) {
			l.n++
			peers, at := peersOf[K](l, n+1), n
			if w.scopeOfSet(i) == mixed {
				at = searchScope(peers[:n], s+1)
				copy(peers[at+1:], peers[at:n])
			}
			peers[at] = pe
			w.addToCounts(&p, l.depth, 1)
			return true
		}
		if l.class < maxLeaf {
			if !resizeLeaf[K](w, &p, n+1) {
				return false
			}
			continue
		}
		if !splitLeaf[K](w, &p) {
			return false
		}
		w.walk(&p, i, p.hash)
		if p.leaf == 0 && !attachLeaf[K](w, &p, i) {
			return false
		}
	}
}

// makeMixed prepares set i for a peer of scope s. It returns false if the pool
// is full; then nothing has changed.
func (w *swarm) makeMixed(i int, s scope) bool {
	set, kind := &w.sets()[i], w.scopeOfSet(i)
	switch {
	case set.n == 0:
		w.setScopeOfSet(i, s)
		return true
	case kind == s || kind == mixed:
		return true
	}
	if set.root&nodeFlag != 0 {
		// The tree moves below a new root.
		r := w.arena.alloc(classNode)
		if r == 0 {
			return false
		}
		nd := w.node(r)
		*nd = node{}
		nd.refs[scopeIndex(kind)], nd.counts[scopeIndex(kind)] = set.root, set.n
		set.root = r | nodeFlag
	}
	w.setScopeOfSet(i, mixed)
	return true
}

// makeUniform turns set i into a set of one scope, if all its peers have one
// scope.
func makeUniform[K peerKey](w *swarm, i int) {
	set := &w.sets()[i]
	if set.n == 0 || w.scopeOfSet(i) != mixed {
		return
	}
	if set.root&nodeFlag == 0 {
		l := w.leaf(set.root)
		peers := peersOf[K](l, int(l.n))
		if s := scopeOf(&peers[0].key); s == scopeOf(&peers[len(peers)-1].key) {
			w.setScopeOfSet(i, s)
		}
		return
	}
	nd := w.node(set.root)
	for s := scopeHost; s < numScopes; s++ {
		// If a leaf is there, the next removal makes the tree flatter.
		if at := scopeIndex(s); nd.counts[at] == set.n && nd.refs[at]&nodeFlag != 0 {
			w.arena.free(set.root&^nodeFlag, classNode, w.now)
			set.root = nd.refs[at]
			w.setScopeOfSet(i, s)
			return
		}
	}
}

// attachLeaf attaches an empty leaf at the end of p. The leaf fills as many
// empty references as it may.
func attachLeaf[K peerKey](w *swarm, p *path, i int) bool {
	r, l := newLeaf[K](w, i, 1)
	if l == nil {
		return false
	}
	if p.len > 0 {
		l.depth = 3
		for l.depth > 0 {
			nd, first, n := w.refRange(p, l.depth-1)
			if !nd.empty(first, n) {
				break
			}
			l.depth--
		}
	}
	w.setRefs(p, l.depth, r)
	p.leaf = r
	return true
}

// resizeLeaf moves the leaf of p to a block for n peers. It returns false if
// the pool is full.
func resizeLeaf[K peerKey](w *swarm, p *path, n int) bool {
	old := w.leaf(p.leaf)
	r, l := newLeaf[K](w, int(old.set), n)
	if l == nil {
		return false
	}
	l.n, l.depth = old.n, old.depth
	copy(peersOf[K](l, int(l.n)), peersOf[K](old, int(old.n)))
	w.setRefs(p, l.depth, r)
	w.freeLeaf(p.leaf)
	p.leaf = r
	return true
}

// splitLeaf divides the leaf of p by the next bit of the hash. If the node has
// no bit left, it adds a node. It returns false if the pool is full or the hash
// has no bits left; then nothing has changed.
func splitLeaf[K peerKey](w *swarm, p *path) bool {
	old := w.leaf(p.leaf)
	deeper := p.len == 0 || old.depth == 3
	level, depth := p.len-1, old.depth
	if deeper {
		level, depth = p.len, 0
	}
	most := maxLevels
	if w.scopeOfSet(int(old.set)) != mixed {
		most-- // the set can still become mixed, which adds a level
	}
	if level == most {
		return false
	}

	bit := 63 - 3*uint(level) - uint(depth)
	peers := peersOf[K](old, int(old.n))
	var upper [maxLeafPeers]bool
	var sizes [2]int
	for i := range peers {
		upper[i] = hashPeer(w, int(old.set), &peers[i].key)>>bit&1 != 0
		if upper[i] {
			sizes[1]++
		} else {
			sizes[0]++
		}
	}

	var refs [2]ref
	var halves [2]*leaf
	var top ref
	ok := true
	for h, n := range sizes {
		if n > 0 {
			refs[h], halves[h] = newLeaf[K](w, int(old.set), n)
			ok = ok && halves[h] != nil
		}
	}
	if ok && deeper {
		top = w.arena.alloc(classNode)
		ok = top != 0
	}
	if !ok {
		w.freeLeaf(refs[0])
		w.freeLeaf(refs[1])
		return false
	}

	for i := range peers {
		l := halves[0]
		if upper[i] {
			l = halves[1]
		}
		l.n++
		peersOf[K](l, int(l.n))[l.n-1] = peers[i]
	}
	nd, first, n := (*node)(nil), 0, 8
	if deeper {
		nd = w.node(top)
		*nd = node{}
		w.setRefs(p, old.depth, top|nodeFlag)
	} else {
		nd, first, n = w.refRange(p, depth)
	}
	w.freeLeaf(p.leaf)
	for h := range halves {
		from := first + h*n/2
		for i := from; i < from+n/2; i++ {
			nd.refs[i] = refs[h]
		}
		nd.counts[from] = uint32(sizes[h])
		if halves[h] != nil {
			halves[h].depth = depth + 1
		}
	}
	return true
}

// maxLeafPeers is how many peers the largest leaf holds.
const maxLeafPeers = 145

// removeFromSet removes a peer that is in set i.
func removeFromSet[K peerKey](w *swarm, i int, key *K) {
	var p path
	w.walk(&p, i, hashPeer(w, i, key))
	removeIf(w, &p, func(pe *peer[K]) bool { return sameKey(&pe.key, key) })
}

// removeIf removes the peers for which gone returns true from the leaf of p,
// and from the neighbours that are merged with it. The rest moves to a smaller
// block if that saves enough.
func removeIf[K peerKey](w *swarm, p *path, gone func(*peer[K]) bool) {
	defer makeUniform[K](w, int(w.leaf(p.leaf).set))
	for {
		l := w.leaf(p.leaf)
		n := filterInPlace(peersOf[K](l, int(l.n)), gone)
		if n == int(l.n) {
			break
		}
		w.addToCounts(p, l.depth, n-int(l.n))
		l.n = uint8(n)
		if n == 0 {
			w.prune(p)
			return
		}
		for p.len > 0 && mergeLeaf[K](w, p) {
		}
	}
	// A block that is one class smaller is not worth a move: the next peer would
	// need the larger one again. Except the smallest: a source could take more in
	// tiny swarms than its peers count as.
	l := w.leaf(p.leaf)
	if c := leafClass[K](int(l.n)); c+1 < l.class || c == classLeaf && c < l.class {
		resizeLeaf[K](w, p, int(l.n))
	}
}

// filterInPlace moves the peers that are not gone to the front, in their order,
// and returns their number.
func filterInPlace[K peerKey](peers []peer[K], gone func(*peer[K]) bool) (n int) {
	for j := range peers {
		if gone(&peers[j]) {
			continue
		}
		if n < j {
			peers[n] = peers[j]
		}
		n++
	}
	return n
}

// prune removes the empty leaf of p and the nodes that become empty.
func (w *swarm) prune(p *path) {
	depth := w.leaf(p.leaf).depth
	w.freeLeaf(p.leaf)
	w.setRefs(p, depth, 0)
	for p.len > 0 {
		top := p.nodes[p.len-1] &^ nodeFlag
		if !w.node(top).empty(0, 8) {
			return
		}
		w.arena.free(top, classNode, w.now)
		p.len--
		w.setRefs(p, 3, 0) // a node fills one reference
	}
}

// mergeLeaf makes the tree flatter by one step. The leaf of p replaces its
// node, or takes the references and the peers of its neighbour if both together
// fill less than three quarters of a leaf. mergeLeaf returns false if nothing
// can be merged or the pool is full.
func mergeLeaf[K peerKey](w *swarm, p *path) bool {
	l := w.leaf(p.leaf)
	if l.depth == 0 {
		w.arena.free(p.nodes[p.len-1]&^nodeFlag, classNode, w.now)
		p.len--
		if p.len > 0 {
			l.depth = 3
		}
		w.setRefs(p, l.depth, p.leaf)
		return true
	}
	nd, mine, n := w.refRange(p, l.depth)
	other := mine ^ n
	r := nd.refs[other]
	if r&nodeFlag != 0 {
		return false
	}
	if r == 0 {
		if !nd.empty(other, n) {
			return false
		}
	} else {
		o := w.leaf(r)
		total := int(l.n) + int(o.n)
		if o.depth != l.depth || total > leafCap[K](maxLeaf)*3/4 {
			return false
		}
		if total > leafCap[K](l.class) {
			if !resizeLeaf[K](w, p, total) {
				return false
			}
			l = w.leaf(p.leaf)
		}
		peers, to := peersOf[K](l, total), l.n
		if other < mine { // keeps the order of scopes
			copy(peers[o.n:], peers[:l.n])
			to = 0
		}
		copy(peers[to:], peersOf[K](o, int(o.n)))
		l.n = uint8(total)
		w.freeLeaf(r)
	}
	nd.counts[mine], nd.counts[other] = 0, 0
	l.depth--
	w.setRefs(p, l.depth, p.leaf)
	nd.counts[min(mine, other)] = uint32(l.n)
	return true
}

// removePeer removes a peer in whichever role it is stored, and reports whether
// it was stored.
func removePeer[K peerKey](w *swarm, key *K) bool {
	if !w.spilled {
		return removeInlineIf(w, func(pe *peer[K]) bool { return sameKey(&pe.key, key) }) > 0
	}
	for i := setOf[K](0); i <= setOf[K](metaSeeder); i++ {
		if findPeer(w, i, key) != nil {
			removeFromSet(w, i, key)
			w.unspill()
			return true
		}
	}
	return false
}

// removeInlineIf removes the peers of the record for which gone returns true,
// and returns their number.
func removeInlineIf[K peerKey](w *swarm, gone func(*peer[K]) bool) int {
	peers := inlinePeers[K](w.peerData)
	n := filterInPlace(peers, gone)
	if isV6[K]() {
		w.n6 = uint8(n)
	} else {
		w.n4 = uint8(n)
	}
	return len(peers) - n
}

// freeLeaves removes up to n leaves with all their peers. It calls gone for
// each peer. It reports whether no peer is left.
func (w *swarm) freeLeaves(n int, gone4 func(*peer[key4]) bool, gone6 func(*peer[key6]) bool) bool {
	if !w.spilled {
		removeInlineIf(w, gone4)
		removeInlineIf(w, gone6)
		return true
	}
	for i := range w.sets() {
		for w.sets()[i].n > 0 {
			if n == 0 {
				return false
			}
			n--
			r, _, _ := w.locate(&w.sets()[i], 0)
			if i < leechers6 {
				removeFromLeafIf(w, r, gone4)
			} else {
				removeFromLeafIf(w, r, gone6)
			}
		}
	}
	return true
}

// removeFromLeafIf calls removeIf for the leaf in block r.
func removeFromLeafIf[K peerKey](w *swarm, r ref, gone func(*peer[K]) bool) {
	l := w.leaf(r)
	var p path
	w.walk(&p, int(l.set), hashPeer(w, int(l.set), &peersOf[K](l, 1)[0].key))
	removeIf(w, &p, gone)
}

// locate finds the peer with that rank: its leaf, its index there, and how many
// peers the leaf has from there on.
func (w *swarm) locate(s *set, rank uint32) (r ref, at int, rest uint32) {
	r, n := s.root, s.n
	for r&nodeFlag != 0 {
		nd := w.node(r)
		i := 0
		for rank >= nd.counts[i] {
			rank -= nd.counts[i]
			i++
		}
		r, n = nd.refs[i], nd.counts[i]
	}
	return r, int(rank), n - rank
}
