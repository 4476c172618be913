package main

import (
	"encoding/binary"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/prefetch"
)

// This file chooses the peers for a reply: the peers that the requester can
// reach, and a fair choice among them.
//
// The ranks of a set are ordered by scope (see peers.go). So the peers that a
// requester can reach are a range of ranks. The range is found in the same time
// in a swarm of fifty and of five hundred thousand, also if it is short.

// visibility is which peers a requester can reach.
type visibility uint8

const (
	visibilityAll visibility = iota // -scope off: it can reach every peer
	visibilityLink
	visibilityHost
	visibilityPrivate
	visibilityGlobal
	visibilityIsolated // in an isolated network
)

// visibilityOf returns which peers a requester can reach. e is the external
// address of this network, or nil. A requester with that address is in this
// network.
func visibilityOf[K peerKey](requester *K, e *externalAddrs) visibility {
	s := scopeOf(requester)
	if s == scopeLink && isIsolated(requester) {
		return visibilityIsolated
	}
	if s == scopeGlobal && e != nil {
		if out := externalOf[K](e); sameHost(requester, &out) {
			s = scopePrivate
		}
	}
	return visibilityLink + visibility(s)
}

// isGateway reports whether a peer has the address of the router in front of
// this machine. Such a peer is a LAN client that used the public address: the
// router replaced its source (NAT reflection). Nobody listens at the router.
func isGateway[K peerKey](k *K, e *externalAddrs) bool {
	if isV6[K]() {
		return false // only IPv4 is reflected
	}
	b := bytesOf(k)
	return [4]byte(b) == [4]byte(e.gateway[:])
}

// reflect gives a reflected peer the external address. Others reach the peer by
// that address and the forwarding of its port, on the internet and on the LAN.
func reflect[K peerKey](k *K, e *externalAddrs) {
	if e == nil {
		return
	}
	b, external := bytesOf(k), externalOf[K](e)
	copy(b[:len(b)-2], bytesOf(&external))
}

// scopeRange is a range of scopes, without to.
type scopeRange struct{ from, to scope }

// privateRange are the scopes of the peers that a port forwarding can lead to.
var privateRange, globalRange = scopeRange{scopeHost, scopeGlobal}, scopeRange{scopeGlobal, numScopes}

// scopeRanges are the scopes that a requester gets, by its visibility: near
// peers first. A requester on a link is assumed to be in the private network
// too.
var scopeRanges = [...][]scopeRange{
	visibilityAll:     {{scopeLink, numScopes}},
	visibilityLink:    {{scopeLink, scopeHost}, {scopePrivate, scopeGlobal}, globalRange},
	visibilityHost:    {privateRange, globalRange},
	visibilityPrivate: {{scopePrivate, scopeGlobal}, globalRange},
	visibilityGlobal:  {globalRange},
	// Peers of a private network are not reachable from an isolated one.
	visibilityIsolated: {{scopeLink, scopeHost}, globalRange},
}

// minScope is the narrowest scope that a requester gets, by its visibility,
// apart from peers on its link.
var minScope = [...]scope{visibilityAll: 0, visibilityLink: scopePrivate, visibilityHost: scopeHost, visibilityPrivate: scopePrivate, visibilityGlobal: scopeGlobal, visibilityIsolated: scopeGlobal}

// rankRange is a range of ranks of a set.
type rankRange struct {
	set   *set
	lo, n uint32
}

// roles is a set of roles: leechers, seeders or both.
type roles uint8

const (
	leechersOnly roles = 1 << iota // bit 0 is for the first of two sets
	seedersOnly
	anyRole = leechersOnly | seedersOnly
)

// has reports whether r includes leechers (0) or seeders (metaSeeder).
func (r roles) has(role meta) bool { return r>>role&1 != 0 }

// maxSeeders is how many seeders a requester gets that has nothing left. A
// client with a magnet link does not know the size yet and announces that
// nothing is left. Without a seeder its download would never start. A real
// seeder needs no seeders, so these are few.
const maxSeeders = 10

// allRanks returns every rank, for a requester that can reach every peer.
func allRanks[K peerKey](w *swarm, from roles) (runs [2]rankRange) {
	i := setOf[K](0)
	leechers, seeders := &w.sets()[i], &w.sets()[i+1]
	runs = [2]rankRange{{leechers, 0, leechers.n}, {seeders, 0, seeders.n}}
	switch from {
	case leechersOnly:
		runs[1].n = 0
	case seedersOnly:
		runs[0].n = 0
	}
	return runs
}

// prefetchPeers prefetches the peers that choose will most likely read with
// this rng.
func prefetchPeers[K peerKey](w *swarm, want int, seeder bool, rng splitMix64) {
	if !prefetch.Enabled || !w.spilled {
		return
	}
	if !seeder {
		prefetchRoles[K](w, want, anyRole, &rng)
		return
	}
	want -= prefetchRoles[K](w, want, leechersOnly, &rng)
	prefetchRoles[K](w, min(want, maxSeeders), seedersOnly, &rng)
}

// prefetchRoles is prefetchPeers for some roles. It returns how many peers it
// prefetched.
func prefetchRoles[K peerKey](w *swarm, want int, from roles, rng *splitMix64) int {
	runs := allRanks[K](w, from)
	total := runs[0].n + runs[1].n
	n := min(total, uint32(want))
	if n == 0 {
		return 0
	}
	left := n
	for rank := rng.below(total); left > 0; {
		peers := contiguousPeers[K](w, &runs, rank, left)
		prefetch.Lines(unsafe.Pointer(&peers[0]), uintptr(len(peers))*unsafe.Sizeof(peers[0]))
		left -= uint32(len(peers))
		if rank += uint32(len(peers)); rank == total {
			rank = 0
		}
	}
	return int(n)
}

// chooseForSeeder appends up to want peers for a requester with nothing left:
// leechers first, and then up to maxSeeders seeders. dst must have room for them.
func chooseForSeeder[K peerKey](w *swarm, dst []byte, want int, requester *K, reach visibility, e *externalAddrs, rng *splitMix64) []byte {
	start := len(dst)
	leechers, seeders := hasOthers(w, requester)
	if leechers {
		dst = choose(w, dst, start, want, requester, leechersOnly, reach, e, rng)
		want -= (len(dst) - start) / len(*requester)
	}
	if seeders {
		dst = choose(w, dst, start, min(want, maxSeeders), requester, seedersOnly, reach, e, rng)
	}
	return dst
}

// hasOthers reports whether a swarm has leechers and seeders. In a swarm that fits
// into the record the requester does not count: most swarms are so small.
func hasOthers[K peerKey](w *swarm, requester *K) (leechers, seeders bool) {
	if w.spilled {
		i := setOf[K](0)
		return w.sets()[i].n > 0, w.sets()[i+1].n > 0
	}
	peers := inlinePeers[K](w.peerData)
	for i := range peers {
		switch pe := &peers[i]; {
		case sameKey(&pe.key, requester):
		case pe.meta&metaSeeder == 0:
			leechers = true
		default:
			seeders = true
		}
	}
	return leechers, seeders
}

// choose appends up to want peers of some roles to dst. dst must have room for
// them. The peers of the reply begin at start. e is the external address of this
// network, or nil.
func choose[K peerKey](w *swarm, dst []byte, start, want int, requester *K, from roles, reach visibility, e *externalAddrs, rng *splitMix64) []byte {
	if want <= 0 {
		return dst
	}
	if !w.spilled {
		return chooseFrom(w, dst, start, want, requester, from, reach, e, rng)
	}
	runs := allRanks[K](w, from)
	if runs[0].n+runs[1].n == 0 {
		return dst
	}
	i := setOf[K](0)
	kind := w.scopeOfSet(i)
	switch {
	case runs[1].n == 0:
	case runs[0].n == 0 || kind == w.scopeOfSet(i+1):
		kind = w.scopeOfSet(i + 1)
	default:
		kind = mixed
	}
	inner := reach < visibilityGlobal
	switch {
	case reach == visibilityAll:
	case kind == mixed && e == nil && reach != visibilityLink && reach != visibilityIsolated:
		for _, b := range scopeRanges[reach] {
			before := len(dst)
			runs = rankRanges[K](w, from, b)
			dst = appendRun(w, dst, want, &runs, requester, nil, rng)
			if want -= (len(dst) - before) / len(*requester); want == 0 {
				break
			}
		}
		return dst
	case kind == mixed, e != nil && (inner != (kind < scopeGlobal) || inner && scopeOf(requester) == scopeGlobal || len(dst) > start):
		return chooseFrom(w, dst, start, want, requester, from, reach, e, rng)
	case kind < minScope[reach]:
		return dst
	}
	// Every peer of the set is suitable as it is.
	return appendRun(w, dst, want, &runs, requester, nil, rng)
}

// filterMode is how a replyBuilder treats peers.
type filterMode uint8

const (
	filterNone     filterMode = iota // take all
	filterSameLink                   // take peers on the requester's link, with their addresses on the wire
	filterForward                    // take all, with the external address and their ports, each port once
	filterUnique                     // take peers that are not in the reply by another address
)

// replyBuilder builds the list of peers if not every peer is suitable as it is.
type replyBuilder[K peerKey] struct {
	requester   K
	fromPrivate bool // the requester is in this network
	hairpin     bool // the requester has this network's external address
	isolated    *isolation
	external    K // the external address of this network, without a port
	mode        filterMode
	start       int // where the peers begin in the reply
}

// chooseFrom is chooseRoles for swarms in which each peer must be checked.
func chooseFrom[K peerKey](w *swarm, dst []byte, start, want int, requester *K, from roles, reach visibility, e *externalAddrs, rng *splitMix64) []byte {
	l := replyBuilder[K]{requester: *requester, fromPrivate: reach < visibilityGlobal, isolated: w.isolated, start: start}
	plain := filterNone
	forward := false
	if e != nil && reach != visibilityAll {
		l.external = externalOf[K](e)
		l.hairpin = sameHost(requester, &l.external)
		forward = reach == visibilityGlobal && countInRange(w, requester, from, privateRange) > 0
		if forward || l.fromPrivate || len(dst) > start {
			plain = filterUnique
		}
	}
	end := len(dst) + want*len(l.requester)
	missing := func() int { return (end - len(dst)) / len(l.requester) }
	if forward {
		l.mode = filterForward
		dst = appendScope(w, dst, privateQuota(w, requester, from, want, rng), from, privateRange, &l, rng)
	}
	for _, b := range scopeRanges[reach] {
		l.mode = plain
		if b.to == scopeHost {
			l.mode = filterSameLink
		}
		dst = appendScope(w, dst, missing(), from, b, &l, rng)
	}
	if forward { // two addresses may have been one peer: fill up
		l.mode = filterForward
		dst = appendScope(w, dst, missing(), from, privateRange, &l, rng)
	}
	return dst
}

// privateQuota returns how many of the wanted peers of a global requester are
// from this network. It rounds randomly, so that the choice is fair.
func privateQuota[K peerKey](w *swarm, requester *K, from roles, want int, rng *splitMix64) int {
	n := uint64(countInRange(w, requester, from, privateRange))
	rest := uint64(countInRange(w, requester, from, globalRange))
	if w.spilled && from.has(metaSeeder) && rest > 0 {
		rest-- // the requester itself, if it is stored
	}
	all := n + rest
	if all <= uint64(want) {
		return want
	}
	return int((uint64(want)*n + uint64(rng.below(uint32(all)))) / all)
}

// rankRanges returns the ranks of the peers of a range of scopes.
func rankRanges[K peerKey](w *swarm, from roles, b scopeRange) (runs [2]rankRange) {
	for role := range runs {
		if !from.has(meta(role)) {
			continue
		}
		i := setOf[K](meta(role))
		lo := rankOf[K](w, i, b.from)
		runs[role] = rankRange{&w.sets()[i], lo, rankOf[K](w, i, b.to) - lo}
	}
	return runs
}

// inlineInRange copies the peers of a range of scopes out of the record.
func inlineInRange[K peerKey](w *swarm, requester *K, from roles, b scopeRange, fit *[4]peer[K]) (n int) {
	peers := inlinePeers[K](w.peerData)
	for i := range peers {
		pe := &peers[i]
		if !from.has(pe.meta&metaSeeder) || sameKey(&pe.key, requester) {
			continue
		}
		if s := scopeOf(&pe.key); b.from <= s && s < b.to {
			fit[n] = *pe
			n++
		}
	}
	return n
}

// countInRange returns how many peers of a range of scopes a swarm has.
func countInRange[K peerKey](w *swarm, requester *K, from roles, b scopeRange) int {
	if !w.spilled {
		var fit [4]peer[K]
		return inlineInRange(w, requester, from, b, &fit)
	}
	runs := rankRanges[K](w, from, b)
	return int(runs[0].n + runs[1].n)
}

// appendScope appends up to want peers of a range of scopes.
func appendScope[K peerKey](w *swarm, dst []byte, want int, from roles, b scopeRange, l *replyBuilder[K], rng *splitMix64) []byte {
	if want <= 0 {
		return dst
	}
	if !w.spilled {
		var fit [4]peer[K]
		if n := inlineInRange(w, &l.requester, from, b, &fit); n > 0 {
			at, before := int(rng.below(uint32(n))), len(dst)
			dst = l.append(dst, fit[at:n], want)
			dst = l.append(dst, fit[:at], want-(len(dst)-before)/len(l.requester))
		}
		return dst
	}
	runs := rankRanges[K](w, from, b)
	return appendRun(w, dst, want, &runs, &l.requester, l, rng)
}

// contiguousPeers returns the peers from a rank of two sets on that are stored
// next to each other, at most most.
func contiguousPeers[K peerKey](w *swarm, runs *[2]rankRange, rank, most uint32) []peer[K] {
	run := &runs[0]
	if rank >= run.n {
		run, rank = &runs[1], rank-run.n
	}
	block, j, n := w.locate(run.set, run.lo+rank)
	n = min(n, run.n-rank, most)
	return peersOf[K](w.leaf(block), j+int(n))[j:]
}

// maxRejected is how many unsuitable peers appendRun looks at before it gives
// up.
const maxRejected = 256

// appendRun appends up to want peers of two sets: a run of ranks from a random
// start. If l is nil, every peer is suitable as it is.
func appendRun[K peerKey](w *swarm, dst []byte, want int, runs *[2]rankRange, requester *K, l *replyBuilder[K], rng *splitMix64) []byte {
	total := runs[0].n + runs[1].n
	if total == 0 {
		return dst
	}
	self := *requester
	rank, left := rng.below(total), total
	tries := 8
	if total == 1 {
		tries = 0
	}
	for spare := maxRejected; left > 0 && spare > 0; {
		peers := contiguousPeers[K](w, runs, rank, left)
		if left == total && tries > 0 && (sameKey(&peers[0].key, &self) || l != nil && l.mode == filterSameLink && !sameLink(&peers[0].key, &self)) {
			// If a run began with a peer that can't be given, its neighbour
			// would be chosen more often than others.
			rank = rng.below(total)
			tries--
			continue
		}
		before := len(dst)
		if l == nil {
			dst = appendPeers(dst, peers, &self, want)
		} else {
			dst = l.append(dst, peers, want)
		}
		n := (len(dst) - before) / len(self)
		if want -= n; want == 0 {
			return dst
		}
		if l != nil {
			spare -= len(peers) - n
		}
		left -= uint32(len(peers))
		if rank += uint32(len(peers)); rank == total {
			rank = 0
		}
	}
	return dst
}

// append appends up to want of those peers that are suitable.
func (l *replyBuilder[K]) append(dst []byte, peers []peer[K], want int) []byte {
	before := len(dst)
	if l.mode == filterNone || l.mode == filterUnique && !l.hairpin {
		dst = appendPeers(dst, peers, &l.requester, want)
		if l.mode == filterNone || !l.hasExternal(dst[before:]) {
			return dst
		}
		dst = dst[:before] // check each peer
	}
	for i := 0; i < len(peers) && want > 0; i++ {
		k := peers[i].key
		if !sameKey(&k, &l.requester) && l.rewrite(dst, &k) {
			dst = append(dst, bytesOf(&k)...)
			want--
		}
	}
	return dst
}

// hasExternal reports whether a peer in dst has the external address.
func (l *replyBuilder[K]) hasExternal(dst []byte) bool {
	external := bytesOf(&l.external)
	if isV6[K]() {
		low, high := binary.LittleEndian.Uint64(external[8:]), binary.LittleEndian.Uint64(external)
		for ; len(dst) >= 18; dst = dst[18:] {
			if binary.LittleEndian.Uint64(dst[8:]) == low && binary.LittleEndian.Uint64(dst) == high {
				return true
			}
		}
		return false
	}
	host := binary.LittleEndian.Uint32(external)
	for ; len(dst) >= 6; dst = dst[6:] {
		if binary.LittleEndian.Uint32(dst) == host {
			return true
		}
	}
	return false
}

// rewrite reports whether a peer other than the requester goes into the reply,
// and changes k to what the reply shows. A private peer and a peer with the
// external address are the same peer if they have the same port.
func (l *replyBuilder[K]) rewrite(dst []byte, k *K) bool {
	port := portOf(k)
	switch l.mode {
	case filterSameLink:
		if !sameLink(k, &l.requester) {
			return false
		}
		stripLinkID(k, l.isolated)
	case filterForward:
		if l.hasPort(dst, port) {
			return false
		}
		*k = l.external
		copy(bytesOf(k)[len(*k)-2:], port[:])
	case filterUnique:
		if !sameHost(k, &l.external) {
			return !l.hairpin || port != portOf(&l.requester) || scopeOf(k) == scopeGlobal
		}
		return !(l.fromPrivate && port == portOf(&l.requester)) && !l.hasPort(dst, port)
	}
	return true
}

// hasPort reports whether dst has a peer with this port that is private or has
// the external address.
func (l *replyBuilder[K]) hasPort(dst []byte, port [2]byte) bool {
	size := len(l.requester)
	for at := l.start; at+size <= len(dst); at += size {
		k := (*K)(unsafe.Pointer(&dst[at]))
		if portOf(k) == port && (scopeOf(k) != scopeGlobal || sameHost(k, &l.external)) {
			return true
		}
	}
	return false
}

// externalOf returns the address of e in the family of K.
func externalOf[K peerKey](e *externalAddrs) (k K) {
	if isV6[K]() {
		copy(bytesOf(&k), e.v6[:])
	} else {
		copy(bytesOf(&k), e.v4[:])
	}
	return k
}

func portOf[K peerKey](k *K) [2]byte { return [2]byte(bytesOf(k)[len(*k)-2:]) }

// sameHost reports whether two peers have the same address.
func sameHost[K peerKey](a, b *K) bool {
	x, y := bytesOf(a), bytesOf(b)
	if isV6[K]() {
		return binary.LittleEndian.Uint64(x) == binary.LittleEndian.Uint64(y) && binary.LittleEndian.Uint64(x[8:]) == binary.LittleEndian.Uint64(y[8:])
	}
	return binary.LittleEndian.Uint32(x) == binary.LittleEndian.Uint32(y)
}

// isIsolated reports whether a stored address is in an isolated network.
func isIsolated[K peerKey](k *K) bool {
	if isV6[K]() {
		return isIsolated6((*key6)(unsafe.Pointer(k)))
	}
	return isIsolated4((*key4)(unsafe.Pointer(k)))
}

// sameLink reports whether two stored addresses of scopeLink are on the same
// link or in the same isolated network.
func sameLink[K peerKey](a, b *K) bool {
	n := 2
	switch isolated := isIsolated(a); {
	case isolated && isV6[K]():
		return (bytesOf(a)[0]^bytesOf(b)[0])&^1 == 0
	case isolated:
		n = 1
	case isV6[K]():
		n = 8
	}
	return string(bytesOf(a)[:n]) == string(bytesOf(b)[:n])
}

// stripLinkID converts a stored address of a link or an isolated network back to
// the address on the wire.
func stripLinkID[K peerKey](k *K, iso *isolation) {
	if isV6[K]() {
		stripLinkID6((*key6)(unsafe.Pointer(k)), iso)
	} else {
		stripLinkID4((*key4)(unsafe.Pointer(k)), iso)
	}
}

// appendPeers appends the keys of up to want peers, without the requester. dst
// must have room for them.
func appendPeers[K peerKey](dst []byte, peers []peer[K], requester *K, want int) []byte {
	if isV6[K]() {
		return appendPeers6(dst, castPeers[peer[key6]](peers), (*key6)(unsafe.Pointer(requester)), want)
	}
	return appendPeers4(dst, castPeers[peer[key4]](peers), (*key4)(unsafe.Pointer(requester)), want)
}

func appendPeers4(dst []byte, peers []peer[key4], requester *key4, want int) []byte {
	self, at := *requester, len(dst)
	out := dst[:cap(dst)]
	for i := range peers {
		k := &peers[i].key
		if sameKey4(k, &self) {
			continue
		}
		if want == 0 {
			break
		}
		want--
		if unalignedWords {
			*(*key4)(out[at:]) = *k
		} else { // an assignment would be a call
			o := (*key4)(out[at:])
			o[0], o[1], o[2], o[3], o[4], o[5] = k[0], k[1], k[2], k[3], k[4], k[5]
		}
		at += len(key4{})
	}
	return out[:at]
}

func appendPeers6(dst []byte, peers []peer[key6], requester *key6, want int) []byte {
	self, at := *requester, len(dst)
	out := dst[:cap(dst)]
	for i := range peers {
		k := &peers[i].key
		if sameKey6(k, &self) {
			continue
		}
		if want == 0 {
			break
		}
		want--
		*(*key6)(out[at:]) = *k
		at += len(key6{})
	}
	return out[:at]
}
