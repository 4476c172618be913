package main

import (
	"sync/atomic"
	"unsafe"
)

// This file owns the policy: what a connect, an announce or a scrape does.
// Bytes go in and bytes come out; it knows no socket and no clock.

const (
	// A peer lives 2.25 intervals after its last announce, and 1.25 in a
	// tracker that is full: the reply told it to come back within 1.1.
	ttlQuarters    = 9
	ttlMinQuarters = 5
	// From this much of the pool in use on, of 1024, the time to live shrinks.
	ttlShrinkFrom = 768

	maxInterval seconds = 2 * 60 * 60
	minInterval seconds = 60

	// fullInterval is the shortest interval that a peer without room is told,
	// unless -interval is shorter. Lists of trackers refuse less.
	fullInterval = 300
)

const (
	limitWindow seconds = 120 // of the limits below, and of -connect-limit
	// networkConnects is how many connects one IPv4 address or IPv6 /64 may
	// make in a window. It must let an rTorrent with a thousand torrents
	// pass, and the many clients behind a carrier's NAT.
	networkConnects = 20000
	// networkErrors is how many error replies such a network gets in a
	// window. A client with a thousand torrents and an expired ID is still
	// told of each.
	networkErrors = 2000
)

// Texts of error replies. The first is all that fits into the 16 bytes that a
// connect may be answered with.
const (
	textConnects = "too fast"
	textID       = "connection ID is invalid or has expired"
	textShort    = "announce is too short"
	textPort     = "port 0 is invalid"
	textNoHash   = "scrape without an info hash"
	textDenied   = "this tracker does not allow this torrent"
)

// tracker is what the workers share.
type tracker struct {
	store    *store
	interval seconds
	scopes   bool // peers are given to those who can reach them
	// scrapeLimit is how many info hashes of a scrape are answered. In a cluster a
	// scrape goes by its first one and the others are elsewhere: clients take what
	// is missing from a reply for unknown, and zeros for a torrent without peers.
	scrapeLimit int
	external    atomic.Pointer[external]
}

// setExternal tells the tracker under which addresses the world knows the
// network that it is in: those of the router's other side, in network order,
// zeros where there is none. What is not a global address counts as none. Any
// goroutine may call it, at any time; the packets that follow are answered by
// it.
func (t *tracker) setExternal(v4 [4]byte, v6 [16]byte) {
	e := &external{}
	if isGlobal(string(v4[:])) {
		copy(e.v4[:], v4[:])
	}
	if isGlobal(string(v6[:])) {
		copy(e.v6[:], v6[:])
	}
	if *e == (external{}) {
		e = nil
	}
	t.external.Store(e)
}

// newTracker makes a tracker of a store that counts ages in stampUnit(interval).
func newTracker(s *store, interval seconds) *tracker {
	t := &tracker{store: s, interval: interval, scopes: true, scrapeLimit: maxScrapeHashes}
	// The oldest that a sweep can find a peer. Were its stamp to wrap
	// before, it would live for ever.
	if t.ttl(0)+2*s.unit+2*t.pass() >= stampSpan*s.unit {
		panic("tracker: stamps wrap before the sweep has seen them")
	}
	return t
}

// stampUnit is the granularity of peers' ages for an announce interval.
func stampUnit(interval seconds) seconds { return (interval + 23) / 24 }

// pass is how long the sweep takes to look at every page. What is moved behind
// its back it sees one pass later.
func (t *tracker) pass() seconds { return max(t.interval/16, 4) }

// ttl is the time to live of a peer when that much of the pool, of 1024, is
// in use.
func (t *tracker) ttl(fill int) seconds {
	most, least := t.interval*ttlQuarters/4, t.interval*ttlMinQuarters/4
	if fill <= ttlShrinkFrom {
		return most
	}
	return most - (most-least)*seconds(fill-ttlShrinkFrom)/(1024-ttlShrinkFrom)
}

// handler is what a worker needs to answer; it is the worker's own.
type handler struct {
	*tracker
	cookies  *cookies
	connects *limiter // by IP and port
	networks *limiter // connects by network
	errors   *limiter // error replies by network
	rng      random
	count    counters
}

// network is the part of a source that a host cannot choose freely: an IPv4
// address, an IPv6 /64.
func network[K peerKey](from *K) []byte {
	n := 4
	if isV6[K]() {
		n = 8
	}
	return bytesOf(from)[:n]
}

// address is the source without its port.
func address[K peerKey](from *K) []byte {
	return bytesOf(from)[:len(*from)-2]
}

// unsettled says whether settled would do something with a source. Most are
// plain ones.
func unsettled[K peerKey](from *K) bool {
	first := (*from)[0]
	if isV6[K]() {
		return first&0xe0 != 0x20
	}
	return first == 0 || first == 169 || first >= 224
}

// settled makes of a source on a link the one that is kept, and says whether a
// host can have it.
func settled[K peerKey](from *K, link uint32) bool {
	if isV6[K]() {
		return settled6((*key6)(unsafe.Pointer(from)), link)
	}
	return settled4((*key4)(unsafe.Pointer(from)), link)
}

// handle answers a request from an address and UDP port. The reply is appended
// to dst, which must have room for maxReply bytes; nothing is appended where
// there is none. link is the number of the link that a link-local source is
// on.
func handle[K peerKey](d *handler, dst, req []byte, from *K, link uint32, now moment) ([]byte, verdict) {
	if len(req) < headSize {
		return dst, dropShort
	}
	if port := bytesOf(from)[len(*from)-2:]; port[0]|port[1] == 0 {
		return dst, dropSource
	}
	if d.scopes && unsettled(from) {
		key := *from
		if !settled(&key, link) {
			return dst, dropSource
		}
		from = &key
	}
	// Every reply begins with its action, a request with the protocol's ID or
	// the date of its own. What begins like a reply may be one: were it
	// answered, two trackers could keep each other busy.
	if requestDate(req) <= actionError {
		return dst, dropReply
	}
	switch requestAction(req) {
	case actionConnect:
		return connect(d, dst, req, from, now)
	case actionAnnounce, actionScrape:
	default:
		return dst, dropAction
	}
	if !d.cookies.valid(requestID(req), address(from), now) {
		if !d.errors.allow(network(from), now.mono) {
			return dst, dropErrors
		}
		v := errorID
		if requestAction(req) == actionScrape {
			v = errorScrapeID
		}
		return appendError(dst, requestTransaction(req), textID, len(req)), v
	}
	if requestAction(req) == actionAnnounce {
		return answerAnnounce(d, dst, req, from, now)
	}
	return d.answerScrape(dst, req)
}

func connect[K peerKey](d *handler, dst, req []byte, from *K, now moment) ([]byte, verdict) {
	if requestID(req) != protocolID {
		return dst, dropMagic
	}
	transaction := requestTransaction(req)
	if !d.connects.allow(bytesOf(from), now.mono) {
		if !d.errors.allow(network(from), now.mono) {
			return dst, dropErrors
		}
		return appendError(dst, transaction, textConnects, connectSize), errorConnects
	}
	if !d.networks.allow(network(from), now.mono) {
		return dst, dropConnects
	}
	return appendConnect(dst, transaction, d.cookies.issue(address(from), now)), connected
}

func answerAnnounce[K peerKey](d *handler, dst, req []byte, from *K, now moment) ([]byte, verdict) {
	transaction := requestTransaction(req)
	if len(req) < announceSize {
		return appendError(dst, transaction, textShort, maxReply), errorMalformed
	}
	a := parseAnnounce(req)
	if a.port == [2]byte{} {
		return appendError(dst, transaction, textPort, maxReply), errorMalformed
	}
	limit := maxWant4
	if isV6[K]() {
		limit = maxWant6
	}
	v := visit{hash: a.hash, stopped: a.event == eventStopped, want: a.want(limit), now: now.mono}
	if a.left == 0 { // a client that skipped some of the files completes with more: a leecher
		v.flags = metaSeeder
		if a.event == eventCompleted {
			v.flags |= metaCompleted
		}
	}
	key := *from
	copy(bytesOf(&key)[len(key)-2:], a.port[:])
	if d.scopes {
		if v.outside = d.external.Load(); v.outside != nil && outsideOf[K](v.outside) == *new(K) {
			v.outside = nil // none of this family
		}
		v.reach = reachOf(&key, v.outside)
	}

	start := len(dst)
	out, c, o := announce(d.store, &v, &key, &d.rng, dst[:start+announceReply])
	interval := uint32(d.interval)
	result := announced
	switch o {
	case outcomeDenied:
		return appendError(dst, transaction, textDenied, maxReply), errorDenied
	case outcomeAdded:
		result = announcedNew
	case outcomeStopped:
		result = announcedStop
	case outcomeAbsent:
		result = announcedAbsent
	case outcomeFull:
		result = announcedFull
		interval = max(interval/4, min(interval, fullInterval))
	case outcomeShare:
		result = announcedShare
	}
	// Clients spread out because replies differ. No reply is below the
	// interval: lists of trackers refuse less than 300 seconds.
	interval += d.rng.below(interval/10 + 1)
	putAnnounceHead(out[start:], transaction, interval, c.leechers, c.seeders)
	return out, result
}

func (d *handler) answerScrape(dst, req []byte) ([]byte, verdict) {
	hashes := req[headSize:]
	if len(hashes) < len(infoHash{}) {
		return appendError(dst, requestTransaction(req), textNoHash, maxReply), errorNoHash
	}
	dst = appendHead(dst, actionScrape, requestTransaction(req))
	for n := 0; n < d.scrapeLimit && len(hashes) >= len(infoHash{}); n++ {
		dst = appendScrapeEntry(dst, d.store.scrape((*infoHash)(hashes)))
		hashes = hashes[len(infoHash{}):]
	}
	return dst, scraped
}
