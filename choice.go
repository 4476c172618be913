package main

import (
	"encoding/binary"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/prefetch"
)

// This file owns the choice of peers for a reply: which of a swarm's an asker
// may have, by how far both can be reached, and a fair choice among those.
//
// The ranks of a set go by scope (see peers.go), so that what an asker may have
// is a range of ranks, found at the same price in a swarm of fifty and of five
// hundred thousand, however few of them it may have.

// reach is how far an asker reaches.
type reach uint8

const (
	reachAll reach = iota // scopes don't matter
	reachLink
	reachHost
	reachPrivate
	reachGlobal
)

// reachOf is how far an asker reaches, in the network that the world knows as
// e, nil where that isn't known. Who comes by the address of the network itself
// is inside.
func reachOf[K peerKey](asker *K, e *external) reach {
	s := scopeOf(asker)
	if s == scopeGlobal && e != nil {
		if out := outsideOf[K](e); sameHost(asker, &out) {
			s = scopePrivate
		}
	}
	return reachLink + reach(s)
}

// band is a range of scopes: from one to before another.
type band struct{ from, to scope }

// inside is what a forward of the router can lead to.
var inside, beyond = band{scopeHost, scopeGlobal}, band{scopeGlobal, numScopes}

// bands is what an asker is given, by its reach: what is near, and then the
// rest. Whoever is on a link is taken to be in the private network too.
var bands = [...][]band{
	reachAll:     {{scopeLink, numScopes}},
	reachLink:    {{scopeLink, scopeHost}, {scopePrivate, scopeGlobal}, beyond},
	reachHost:    {inside, beyond},
	reachPrivate: {{scopePrivate, scopeGlobal}, beyond},
	reachGlobal:  {beyond},
}

// least is the narrowest scope of peers that an asker is given, by its reach,
// but for those of its link.
var least = [...]scope{reachAll: 0, reachLink: scopePrivate, reachHost: scopeHost, reachPrivate: scopePrivate, reachGlobal: scopeGlobal}

// stretch is a run of ranks of a set.
type stretch struct {
	set   *set
	lo, n uint32
}

// roles says from which of a swarm's peers to choose.
type roles uint8

const (
	leechersOnly roles = 1 << iota // bit 0 is for the first of two sets
	seedersOnly
	anyRole = leechersOnly | seedersOnly
)

// has reports whether r includes leechers (0) or seeders (metaSeeder).
func (r roles) has(role meta) bool { return r>>role&1 != 0 }

// maxSeeders is how many seeders an asker gets that has nothing left. A client
// that does not know the size of a magnet link yet says that it has nothing
// left: without a seeder its download would never start. A true seeder has no
// use for others, so these are few.
const maxSeeders = 10

// whole is all that an asker may have who reaches all.
func whole[K peerKey](w *swarm, from roles) (runs [2]stretch) {
	i := setOf[K](0)
	for role := range runs {
		runs[role].set = &w.sets()[i+role]
		if from.has(meta(role)) {
			runs[role].n = runs[role].set.n
		}
	}
	return runs
}

// foresee has the processor fetch what choose is most likely to read, with an
// rng as it is now.
func foresee[K peerKey](w *swarm, want int, seeder bool, rng random) {
	if !prefetch.Enabled || !w.spilled {
		return
	}
	if !seeder {
		foreseeRoles[K](w, want, anyRole, &rng)
		return
	}
	want -= foreseeRoles[K](w, want, leechersOnly, &rng)
	foreseeRoles[K](w, min(want, maxSeeders), seedersOnly, &rng)
}

// foreseeRoles is foresee for some roles. It returns how many peers it fetched.
func foreseeRoles[K peerKey](w *swarm, want int, from roles, rng *random) int {
	runs := whole[K](w, from)
	total := runs[0].n + runs[1].n
	n := min(total, uint32(want))
	if n == 0 {
		return 0
	}
	left := n
	for rank := rng.below(total); left > 0; {
		peers := piece[K](w, &runs, rank, left)
		prefetch.Lines(unsafe.Pointer(&peers[0]), uintptr(len(peers))*unsafe.Sizeof(peers[0]))
		left -= uint32(len(peers))
		if rank += uint32(len(peers)); rank == total {
			rank = 0
		}
	}
	return int(n)
}

// choose appends up to want peers to dst, whose capacity must suffice. A leecher
// gets peers of both roles. A seeder gets leechers first and then up to
// maxSeeders seeders. e is the network as the world knows it, nil where that
// isn't known.
func choose[K peerKey](w *swarm, dst []byte, want int, asker *K, seeder bool, reach reach, e *external, rng *random) []byte {
	start := len(dst)
	if !seeder {
		return chooseRoles(w, dst, start, want, asker, anyRole, reach, e, rng)
	}
	dst = chooseRoles(w, dst, start, want, asker, leechersOnly, reach, e, rng)
	want -= (len(dst) - start) / len(*asker)
	return chooseRoles(w, dst, start, min(want, maxSeeders), asker, seedersOnly, reach, e, rng)
}

// chooseRoles is choose for peers of some roles. The reply's peers begin at
// start.
func chooseRoles[K peerKey](w *swarm, dst []byte, start, want int, asker *K, from roles, reach reach, e *external, rng *random) []byte {
	if want <= 0 {
		return dst
	}
	if !w.spilled {
		return chooseFrom(w, dst, start, want, asker, from, reach, e, rng)
	}
	runs := whole[K](w, from)
	if runs[0].n+runs[1].n == 0 {
		return dst
	}
	i := setOf[K](0)
	kind := w.kind(i)
	switch {
	case runs[1].n == 0:
	case runs[0].n == 0 || kind == w.kind(i+1):
		kind = w.kind(i + 1)
	default:
		kind = mixed
	}
	inner := reach != reachGlobal
	switch {
	case reach == reachAll:
	case kind == mixed && e == nil && reach != reachLink:
		for _, b := range bands[reach] {
			before := len(dst)
			runs = stretches[K](w, from, b)
			dst = draw(w, dst, want, &runs, asker, nil, rng)
			if want -= (len(dst) - before) / len(*asker); want == 0 {
				break
			}
		}
		return dst
	case kind == mixed, e != nil && (inner != (kind < scopeGlobal) || inner && scopeOf(asker) == scopeGlobal || len(dst) > start):
		return chooseFrom(w, dst, start, want, asker, from, reach, e, rng)
	case kind < least[reach]:
		return dst
	}
	// All go in as they are.
	return draw(w, dst, want, &runs, asker, nil, rng)
}

// sieve is what happens to peers on their way into a list.
type sieve uint8

const (
	sievePlain   sieve = iota // they go in
	sieveLink                 // those on the asker's link do, with their addresses as they were
	sieveForward              // they do as ports of outside, each once
	sieveOnce                 // those do that aren't in the list by another address
)

// list is a reply's peers in the making, where they are not all that there is.
type list[K peerKey] struct {
	asker   K
	inner   bool // the asker is inside
	hairpin bool // and comes by way of outside
	outside K    // this network as the world knows it, without a port
	how     sieve
	start   int // of the peers in the reply
}

// chooseFrom is choose where it matters who is who.
func chooseFrom[K peerKey](w *swarm, dst []byte, start, want int, asker *K, from roles, reach reach, e *external, rng *random) []byte {
	l := list[K]{asker: *asker, inner: reach != reachGlobal, start: start}
	plain := sievePlain
	forward := false
	if e != nil && reach != reachAll {
		l.outside = outsideOf[K](e)
		l.hairpin = sameHost(asker, &l.outside)
		forward = !l.inner && bandSize(w, asker, from, inside) > 0
		if forward || l.inner || len(dst) > start {
			plain = sieveOnce
		}
	}
	end := len(dst) + want*len(l.asker)
	missing := func() int { return (end - len(dst)) / len(l.asker) }
	if forward {
		l.how = sieveForward
		dst = take(w, dst, fairShare(w, asker, from, want, rng), from, inside, &l, rng)
	}
	for _, b := range bands[reach] {
		l.how = plain
		if b.to == scopeHost {
			l.how = sieveLink
		}
		dst = take(w, dst, missing(), from, b, &l, rng)
	}
	if forward { // where peers turned out to be one
		l.how = sieveForward
		dst = take(w, dst, missing(), from, inside, &l, rng)
	}
	return dst
}

// fairShare is how many of the peers that a global asker wants are to be from
// inside. It is rounded up as often as is fair.
func fairShare[K peerKey](w *swarm, asker *K, from roles, want int, rng *random) int {
	n := uint64(bandSize(w, asker, from, inside))
	rest := uint64(bandSize(w, asker, from, beyond))
	if w.spilled && from.has(metaSeeder) && rest > 0 {
		rest-- // the asker, unless there was no room for it
	}
	all := n + rest
	if all <= uint64(want) {
		return want
	}
	return int((uint64(want)*n + uint64(rng.below(uint32(all)))) / all)
}

// stretches is where the peers of a band are in a swarm's sets.
func stretches[K peerKey](w *swarm, from roles, b band) (runs [2]stretch) {
	for role := range runs {
		if !from.has(meta(role)) {
			continue
		}
		i := setOf[K](meta(role))
		lo := rankOf[K](w, i, b.from)
		runs[role] = stretch{&w.sets()[i], lo, rankOf[K](w, i, b.to) - lo}
	}
	return runs
}

// inlineOf copies the peers of a band out of the record.
func inlineOf[K peerKey](w *swarm, asker *K, from roles, b band, fit *[4]peer[K]) (n int) {
	peers := inline[K](w.body)
	for i := range peers {
		pe := &peers[i]
		if !from.has(pe.meta&metaSeeder) || same(&pe.key, asker) {
			continue
		}
		if s := scopeOf(&pe.key); b.from <= s && s < b.to {
			fit[n] = *pe
			n++
		}
	}
	return n
}

// bandSize is how many peers of a band a swarm has.
func bandSize[K peerKey](w *swarm, asker *K, from roles, b band) int {
	if !w.spilled {
		var fit [4]peer[K]
		return inlineOf(w, asker, from, b, &fit)
	}
	runs := stretches[K](w, from, b)
	return int(runs[0].n + runs[1].n)
}

// take appends up to want peers of a band.
func take[K peerKey](w *swarm, dst []byte, want int, from roles, b band, l *list[K], rng *random) []byte {
	if want <= 0 {
		return dst
	}
	if !w.spilled {
		var fit [4]peer[K]
		if n := inlineOf(w, &l.asker, from, b, &fit); n > 0 {
			at, before := int(rng.below(uint32(n))), len(dst)
			dst = l.append(dst, fit[at:n], want)
			dst = l.append(dst, fit[:at], want-(len(dst)-before)/len(l.asker))
		}
		return dst
	}
	runs := stretches[K](w, from, b)
	return draw(w, dst, want, &runs, &l.asker, l, rng)
}

// piece is the peers from a rank of two sets on that lie together, up to most.
func piece[K peerKey](w *swarm, runs *[2]stretch, rank, most uint32) []peer[K] {
	run := &runs[0]
	if rank >= run.n {
		run, rank = &runs[1], rank-run.n
	}
	block, j, n := w.locate(run.set, run.lo+rank)
	n = min(n, run.n-rank, most)
	return peersOf[K](w.leaf(block), j+int(n))[j:]
}

// patience is how many peers are looked at in vain for a band of a list.
const patience = 256

// draw appends up to want peers of two sets: a run of ranks from a random one
// on. Where l is nil they are as they are.
func draw[K peerKey](w *swarm, dst []byte, want int, runs *[2]stretch, asker *K, l *list[K], rng *random) []byte {
	total := runs[0].n + runs[1].n
	if total == 0 {
		return dst
	}
	self := *asker
	rank, left := rng.below(total), total
	tries := 8
	if total == 1 {
		tries = 0
	}
	for spare := patience; left > 0 && spare > 0; {
		peers := piece[K](w, runs, rank, left)
		if left == total && tries > 0 && (same(&peers[0].key, &self) || l != nil && l.how == sieveLink && !sameLink(&peers[0].key, &self)) {
			// A run that begins with one who isn't given would favour its
			// neighbour.
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

// append appends up to want of those peers that pass.
func (l *list[K]) append(dst []byte, peers []peer[K], want int) []byte {
	before := len(dst)
	if l.how == sievePlain || l.how == sieveOnce && !l.hairpin {
		dst = appendPeers(dst, peers, &l.asker, want)
		if l.how == sievePlain || !l.fromOutside(dst[before:]) {
			return dst
		}
		dst = dst[:before] // with a closer look
	}
	for i := 0; i < len(peers) && want > 0; i++ {
		k := peers[i].key
		if !same(&k, &l.asker) && l.passes(dst, &k) {
			dst = append(dst, bytesOf(&k)...)
			want--
		}
	}
	return dst
}

// fromOutside says whether one of the peers in dst has the address of outside.
func (l *list[K]) fromOutside(dst []byte) bool {
	outside := bytesOf(&l.outside)
	if isV6[K]() {
		low, high := binary.LittleEndian.Uint64(outside[8:]), binary.LittleEndian.Uint64(outside)
		for ; len(dst) >= 18; dst = dst[18:] {
			if binary.LittleEndian.Uint64(dst[8:]) == low && binary.LittleEndian.Uint64(dst) == high {
				return true
			}
		}
		return false
	}
	host := binary.LittleEndian.Uint32(outside)
	for ; len(dst) >= 6; dst = dst[6:] {
		if binary.LittleEndian.Uint32(dst) == host {
			return true
		}
	}
	return false
}

// passes says whether a peer that is not the asker itself goes into the list
// dst, and makes of it what the list shows. A peer inside and one of outside
// with the same port are one.
func (l *list[K]) passes(dst []byte, k *K) bool {
	port := portOf(k)
	switch l.how {
	case sieveLink:
		if !sameLink(k, &l.asker) {
			return false
		}
		unbind(k)
	case sieveForward:
		if l.hasInside(dst, port) {
			return false
		}
		*k = l.outside
		copy(bytesOf(k)[len(*k)-2:], port[:])
	case sieveOnce:
		if !sameHost(k, &l.outside) {
			return !l.hairpin || port != portOf(&l.asker) || scopeOf(k) == scopeGlobal
		}
		return !(l.inner && port == portOf(&l.asker)) && !l.hasInside(dst, port)
	}
	return true
}

// hasInside reports whether a peer with this port is in dst that is inside, or
// has the address of outside.
func (l *list[K]) hasInside(dst []byte, port [2]byte) bool {
	size := len(l.asker)
	for at := l.start; at+size <= len(dst); at += size {
		k := (*K)(unsafe.Pointer(&dst[at]))
		if portOf(k) == port && (scopeOf(k) != scopeGlobal || sameHost(k, &l.outside)) {
			return true
		}
	}
	return false
}

// outsideOf is the address of e in the family of K.
func outsideOf[K peerKey](e *external) (k K) {
	if isV6[K]() {
		copy(bytesOf(&k), e.v6[:])
	} else {
		copy(bytesOf(&k), e.v4[:])
	}
	return k
}

func portOf[K peerKey](k *K) [2]byte { return [2]byte(bytesOf(k)[len(*k)-2:]) }

// sameHost says whether two peers have one address.
func sameHost[K peerKey](a, b *K) bool {
	x, y := bytesOf(a), bytesOf(b)
	if isV6[K]() {
		return binary.LittleEndian.Uint64(x) == binary.LittleEndian.Uint64(y) && binary.LittleEndian.Uint64(x[8:]) == binary.LittleEndian.Uint64(y[8:])
	}
	return binary.LittleEndian.Uint32(x) == binary.LittleEndian.Uint32(y)
}

// sameLink says whether two link-local addresses, as they are kept, are of one
// link.
func sameLink[K peerKey](a, b *K) bool {
	n := 2
	if isV6[K]() {
		n = 8
	}
	return string(bytesOf(a)[:n]) == string(bytesOf(b)[:n])
}

// unbind makes of a link-local address that is kept the one that it was.
func unbind[K peerKey](k *K) {
	if isV6[K]() {
		unbind6((*key6)(unsafe.Pointer(k)))
	} else {
		unbind4((*key4)(unsafe.Pointer(k)))
	}
}

// appendPeers appends the keys of up to want peers, but not the asker, to dst,
// whose capacity must suffice.
func appendPeers[K peerKey](dst []byte, peers []peer[K], asker *K, want int) []byte {
	if isV6[K]() {
		return appendPeers6(dst, as[peer[key6]](peers), (*key6)(unsafe.Pointer(asker)), want)
	}
	return appendPeers4(dst, as[peer[key4]](peers), (*key4)(unsafe.Pointer(asker)), want)
}

func appendPeers4(dst []byte, peers []peer[key4], asker *key4, want int) []byte {
	self, at := *asker, len(dst)
	out := dst[:cap(dst)]
	for i := range peers {
		k := &peers[i].key
		if same4(k, &self) {
			continue
		}
		if want == 0 {
			break
		}
		want--
		if wordsAnywhere {
			*(*key4)(out[at:]) = *k
		} else { // that would be a call, for six bytes
			o := (*key4)(out[at:])
			o[0], o[1], o[2], o[3], o[4], o[5] = k[0], k[1], k[2], k[3], k[4], k[5]
		}
		at += len(key4{})
	}
	return out[:at]
}

func appendPeers6(dst []byte, peers []peer[key6], asker *key6, want int) []byte {
	self, at := *asker, len(dst)
	out := dst[:cap(dst)]
	for i := range peers {
		k := &peers[i].key
		if same6(k, &self) {
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

// random is a small generator (SplitMix64) for choices that need no secrecy.
type random struct{ state uint64 }

func (r *random) next() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below is a number from 0 to n-1.
func (r *random) below(n uint32) uint32 {
	return uint32(uint64(uint32(r.next()>>32)) * uint64(n) >> 32)
}
