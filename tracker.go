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
	limitWindow seconds = 120 // of the limits below

	// defaultConnects is the default of -connect-limit: how many connects one
	// IP and port may make in a window. BiglyBT and rTorrent 0.16 connect
	// before each announce, from one port. A client with 2,000 hybrid torrents,
	// which announce twice, makes 8,000 connects if it starts and stops in one
	// window. A reply is not longer than a connect, so the limit protects
	// processor time only: BenchmarkHandle and make instructions have the price
	// of a connect. 83 connects a second are 0.2 % of a MIPS at 580 MHz.
	defaultConnects = 10000
	// networkConnects is how many connects one IPv4 address or IPv6 /64 may
	// make in a window. rTorrent up to 0.15 connects from a new port each time,
	// and a NAT has many clients behind one address.
	networkConnects = 100000
	// networkErrors is how many error replies such a network gets in a window
	// if it did not prove its address. libtorrent keeps an expired ID for up to
	// a minute after an error: with 2,000 torrents it gets 4,000 errors.
	networkErrors = 5000
	// repeatedErrors is how many of those a request gets, by IP, port and info
	// hash. lftp resends an announce as soon as it gets an error, and never
	// makes a new connection ID. After a minute without a reply it does.
	repeatedErrors = 8
	// provedErrors is repeatedErrors for a source that proved its address. lftp
	// does the same if the access list refuses its torrent.
	provedErrors = 100
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
	repeats  *limiter // error replies by IP, port and info hash
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
		v := errorID
		if requestAction(req) == actionScrape {
			v = errorScrapeID
		}
		return refuseUnproved(d, dst, req, from, textID, len(req), v, now)
	}
	if requestAction(req) == actionAnnounce {
		return answerAnnounce(d, dst, req, from, now)
	}
	return answerScrape(d, dst, req, from, now)
}

// refuseUnproved appends an error reply of at most limit bytes for a source that
// has not proved its address, unless the source got enough of them.
func refuseUnproved[K peerKey](d *handler, dst, req []byte, from *K, text string, limit int, v verdict, now moment) ([]byte, verdict) {
	if isRepeated(d, req, from, d.repeats.limit, now) {
		return dst, dropRepeats
	}
	if !d.errors.allow(network(from), now.mono) {
		return dst, dropErrors
	}
	return appendError(dst, requestTransaction(req), text, limit), v
}

// isRepeated counts an error reply and reports whether its IP, port and info
// hash already got as many as limit. Each limit has its own count.
func isRepeated[K peerKey](d *handler, req []byte, from *K, limit uint32, now moment) bool {
	var key [len(key6{}) + 8 + 1]byte
	n := copy(key[:], bytesOf(from))
	n += copy(key[n:n+8], req[headSize:])
	key[n] = byte(limit)
	return !d.repeats.allowUpTo(key[:n+1], limit, now.mono)
}

// refuse appends an error reply for a source that has proved its address,
// unless the source got enough of them.
func refuse[K peerKey](d *handler, dst, req []byte, from *K, text string, v verdict, now moment) ([]byte, verdict) {
	if isRepeated(d, req, from, provedErrors, now) {
		return dst, dropRepeats
	}
	return appendError(dst, requestTransaction(req), text, maxReply), v
}

func connect[K peerKey](d *handler, dst, req []byte, from *K, now moment) ([]byte, verdict) {
	if requestID(req) != protocolID {
		return dst, dropMagic
	}
	transaction := requestTransaction(req)
	if !d.connects.allow(bytesOf(from), now.mono) {
		return refuseUnproved(d, dst, req[:headSize], from, textConnects, connectSize, errorConnects, now)
	}
	if !d.networks.allow(network(from), now.mono) {
		return dst, dropConnects
	}
	return appendConnect(dst, transaction, d.cookies.issue(address(from), now)), connected
}

func answerAnnounce[K peerKey](d *handler, dst, req []byte, from *K, now moment) ([]byte, verdict) {
	transaction := requestTransaction(req)
	if len(req) < announceSize {
		return refuse(d, dst, req, from, textShort, errorMalformed, now)
	}
	a := parseAnnounce(req)
	if a.port == [2]byte{} {
		return refuse(d, dst, req, from, textPort, errorMalformed, now)
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
		return refuse(d, dst, req, from, textDenied, errorDenied, now)
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

func answerScrape[K peerKey](d *handler, dst, req []byte, from *K, now moment) ([]byte, verdict) {
	hashes := req[headSize:]
	if len(hashes) < len(infoHash{}) {
		return refuse(d, dst, req, from, textNoHash, errorNoHash, now)
	}
	dst = appendHead(dst, actionScrape, requestTransaction(req))
	for n := 0; n < d.scrapeLimit && len(hashes) >= len(infoHash{}); n++ {
		dst = appendScrapeEntry(dst, d.store.scrape((*infoHash)(hashes)))
		hashes = hashes[len(infoHash{}):]
	}
	return dst, scraped
}
