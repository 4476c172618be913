package main

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

// This file has the policy: what a connect, an announce or a scrape does. Bytes go
// in and bytes come out. It knows no socket and no clock.

const (
	// A peer lives 2.25 intervals after its last announce, and 1.25 in a
	// tracker that is full: the reply told it to come back within 1.1.
	ttlQuarters    = 9
	ttlMinQuarters = 5
	// The time to live shrinks if more than this much of the pool is in use, in
	// parts of 1024.
	ttlShrinkFrom = 768

	maxInterval seconds = 2 * 60 * 60
	minInterval seconds = 60

	// fullInterval is the shortest interval that a peer without room is told,
	// unless -interval is shorter. Lists of trackers refuse less.
	fullInterval = 300
)

// Our choices: no reply may be fragmented, and IPv6 promises 1280 bytes.
const (
	defaultWant = 50
	maxWant4    = 200
	maxWant6    = 66

	// maxReply is the largest reply: 1280 bytes without the headers of IPv6
	// and UDP.
	maxReply = 1280 - 40 - 8
	// maxScrapeHashes is how many torrents fit into a reply. The npm client
	// asks for 81 in two fragments, and waits endlessly if fewer are
	// answered.
	maxScrapeHashes = (maxReply - bep15.ScrapeReplySize) / bep15.ScrapeEntrySize
	// maxRequest is the largest request of which every byte is read.
	maxRequest = bep15.HeaderSize + maxScrapeHashes*len(bep15.InfoHash{})
)

var (
	_ [maxReply - bep15.AnnounceReplySize - maxWant4*len(key4{})]byte
	_ [maxReply - bep15.AnnounceReplySize - maxWant6*len(key6{})]byte
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

// Texts of error replies. The reply to a connect has at most 16 bytes, so
// textConnects has 8.
const (
	textConnects = "too fast"
	textID       = "connection ID is invalid or has expired"
	textShort    = "announce is too short"
	textPort     = "port 0 is invalid"
	textNoHash   = "scrape without an info hash"
	textDenied   = "this tracker does not allow this torrent"
)

// tracker is what all workers share.
type tracker struct {
	store    *store
	interval seconds
	scopes   bool // a client gets only peers that it can reach
	// scrapeLimit is how many info hashes of a scrape are answered. In a cluster
	// it is 1: the first info hash chooses the instance, and the other torrents
	// are on other instances. Clients treat torrents that are missing in a reply
	// as unknown, but zeros as a torrent without peers.
	scrapeLimit int
	external    atomic.Pointer[externalAddrs]
	addrsMu     sync.Mutex    // for changes of addrs
	addrs       externalAddrs // what external points to a copy of
	refused     refusedTorrents
}

// setExternal sets the public addresses of this network, zeros if there is
// none. An address that is not global counts as none. Any goroutine may call it
// at any time; it is in force for the packets that follow.
func (t *tracker) setExternal(v4 [4]byte, v6 [16]byte) {
	t.addrsMu.Lock()
	defer t.addrsMu.Unlock()
	t.addrs.v4, t.addrs.v6 = [6]byte{}, [18]byte{}
	if isGlobal(string(v4[:])) {
		copy(t.addrs.v4[:], v4[:])
	}
	if isGlobal(string(v6[:])) {
		copy(t.addrs.v6[:], v6[:])
	}
	t.publishAddrs()
}

// setGateway sets the IPv4 address of the router in front of this machine, zeros
// if there is none. A router that is no host of this network counts as none.
func (t *tracker) setGateway(v4 [4]byte) {
	t.addrsMu.Lock()
	defer t.addrsMu.Unlock()
	t.addrs.gateway = [6]byte{}
	copy(t.addrs.gateway[:], v4[:])
	if isMartian4(&t.addrs.gateway) || scope4(&t.addrs.gateway) != scopePrivate {
		t.addrs.gateway = [6]byte{}
	}
	t.publishAddrs()
}

// publishAddrs shows the handlers a copy of addrs.
func (t *tracker) publishAddrs() {
	if t.addrs == (externalAddrs{}) {
		t.external.Store(nil)
		return
	}
	e := t.addrs
	t.external.Store(&e)
}

// newTracker makes a tracker. The unit of the store must be
// stampUnit(interval).
func newTracker(s *store, interval seconds) *tracker {
	t := &tracker{store: s, interval: interval, scopes: true, scrapeLimit: maxScrapeHashes}
	// If the stamp wrapped before, the peer would never expire.
	if t.maxAge() >= stampSpan*s.unit {
		panic("tracker: stamps wrap before the sweep sees them")
	}
	return t
}

// stampUnit returns the granularity of peers' ages for an announce interval.
func stampUnit(interval seconds) seconds { return (interval + 23) / 24 }

// sweepPeriod returns how long the sweep takes to visit every page. A block
// that moves to a visited page is seen in the next pass.
func (t *tracker) sweepPeriod() seconds { return max(t.interval/16, 4) }

// maxAge returns the greatest age at which a sweep that is in time sees a peer.
func (t *tracker) maxAge() seconds { return t.ttl(0) + 2*t.store.unit + 2*t.sweepPeriod() }

// ttl returns the time to live of a peer. fill is how much of the pool is in
// use, in parts of 1024.
func (t *tracker) ttl(fill int) seconds {
	most, least := t.interval*ttlQuarters/4, t.interval*ttlMinQuarters/4
	if fill <= ttlShrinkFrom {
		return most
	}
	return most - (most-least)*seconds(fill-ttlShrinkFrom)/(1024-ttlShrinkFrom)
}

// handler is what one worker needs to answer requests. Workers do not share it.
type handler struct {
	*tracker
	cookies  *cookies
	connects *limiter // by IP and port
	networks *limiter // connects by network
	errors   *limiter // error replies by network
	repeats  *limiter // error replies by IP, port and info hash
	rng      splitMix64
	count    counters
}

// network returns the part of a source that a host cannot choose freely: the
// IPv4 address, or the IPv6 /64.
func network[K peerKey](from *K) []byte {
	n := 4
	if isV6[K]() {
		n = 8
	}
	return bytesOf(from)[:n]
}

// address returns the source without its port.
func address[K peerKey](from *K) []byte {
	return bytesOf(from)[:len(*from)-2]
}

// needsNormalizing reports whether normalizeSource can change or refuse a
// source. For most sources it is false.
func needsNormalizing[K peerKey](from *K, iso *isolation) bool {
	first := (*from)[0]
	if isV6[K]() {
		return first&0xe0 != 0x20
	}
	return iso.special4[first]
}

// normalizeSource converts a source address to its stored form and reports
// whether it is a valid host address.
func normalizeSource[K peerKey](from *K, link uint32, iso *isolation) bool {
	if isV6[K]() {
		return normalizeSource6((*key6)(unsafe.Pointer(from)), link, iso)
	}
	return normalizeSource4((*key4)(unsafe.Pointer(from)), link, iso)
}

// handle answers a request from an address and UDP port. It appends the reply
// to dst, which must have room for maxReply bytes. If there is no reply, it
// appends nothing. link is the number of the link that a link-local source is
// on.
func handle[K peerKey](h *handler, dst, req []byte, from *K, link uint32, now timestamp) ([]byte, verdict) {
	if len(req) < bep15.HeaderSize {
		return dst, dropShort
	}
	if port := bytesOf(from)[len(*from)-2:]; port[0]|port[1] == 0 {
		return dst, dropSource
	}
	if h.scopes && needsNormalizing(from, h.store.isolated) {
		key := *from
		if !normalizeSource(&key, link, h.store.isolated) {
			return dst, dropSource
		}
		from = &key
	}
	// A reply begins with its action; a request begins with the protocol ID or
	// with the time of its ID. A packet that begins like a reply may be one, and
	// an answer to it could start an endless exchange between two trackers.
	if bep15.FirstWord(req) <= bep15.ActionError {
		return dst, dropReply
	}
	switch bep15.Action(req) {
	case bep15.ActionConnect:
		return connect(h, dst, req, from, now)
	case bep15.ActionAnnounce, bep15.ActionScrape:
	default:
		return dst, dropAction
	}
	if !h.cookies.valid(bep15.ConnectionID(req), address(from), now) {
		v := errorID
		if bep15.Action(req) == bep15.ActionScrape {
			v = errorScrapeID
		}
		return refuseUnproved(h, dst, req, from, textID, len(req), v, now)
	}
	if bep15.Action(req) == bep15.ActionAnnounce {
		return answerAnnounce(h, dst, req, from, now)
	}
	return answerScrape(h, dst, req, from, now)
}

// refuseUnproved appends an error reply of at most limit bytes for a source that
// has not proved its address, unless the source got enough of them.
func refuseUnproved[K peerKey](h *handler, dst, req []byte, from *K, text string, limit int, v verdict, now timestamp) ([]byte, verdict) {
	if isRepeated(h, req, from, h.repeats.limit, now) {
		return dst, dropRepeats
	}
	if !h.errors.allow(network(from), now.mono) {
		return dst, dropErrors
	}
	return bep15.AppendError(dst, bep15.TransactionID(req), text, limit), v
}

// isRepeated counts an error reply and reports whether its IP, port and info
// hash already got as many as limit. Each limit has its own count.
func isRepeated[K peerKey](h *handler, req []byte, from *K, limit uint32, now timestamp) bool {
	var key [len(key6{}) + 8 + 1]byte
	n := copy(key[:], bytesOf(from))
	n += copy(key[n:n+8], req[bep15.HeaderSize:])
	key[n] = byte(limit)
	return !h.repeats.allowUpTo(key[:n+1], limit, now.mono)
}

// refuse appends an error reply for a source that has proved its address,
// unless the source got enough of them.
func refuse[K peerKey](h *handler, dst, req []byte, from *K, text string, v verdict, now timestamp) ([]byte, verdict) {
	if isRepeated(h, req, from, provedErrors, now) {
		return dst, dropRepeats
	}
	return bep15.AppendError(dst, bep15.TransactionID(req), text, maxReply), v
}

func connect[K peerKey](h *handler, dst, req []byte, from *K, now timestamp) ([]byte, verdict) {
	if bep15.ConnectionID(req) != bep15.ProtocolID {
		return dst, dropMagic
	}
	transaction := bep15.TransactionID(req)
	if !h.connects.allow(bytesOf(from), now.mono) {
		return refuseUnproved(h, dst, req[:bep15.HeaderSize], from, textConnects, bep15.ConnectSize, errorConnects, now)
	}
	if !h.networks.allow(network(from), now.mono) {
		return dst, dropConnects
	}
	return bep15.AppendConnectReply(dst, transaction, h.cookies.issue(address(from), now)), connected
}

func answerAnnounce[K peerKey](h *handler, dst, req []byte, from *K, now timestamp) ([]byte, verdict) {
	transaction := bep15.TransactionID(req)
	if len(req) < bep15.AnnounceSize {
		return refuse(h, dst, req, from, textShort, errorMalformed, now)
	}
	a := bep15.ParseAnnounce(req)
	if a.Port == [2]byte{} {
		return refuse(h, dst, req, from, textPort, errorMalformed, now)
	}
	limit := maxWant4
	if isV6[K]() {
		limit = maxWant6
	}
	v := announceParams{hash: a.InfoHash, stopped: a.Event == bep15.EventStopped, want: wantedPeers(&a, limit), now: now.mono}
	if a.Left == 0 { // a client that skipped some of the files completes with more: a leecher
		v.flags = metaSeeder
		if a.Event == bep15.EventCompleted {
			v.flags |= metaCompleted
		}
	}
	key := *from
	copy(bytesOf(&key)[len(key)-2:], a.Port[:])
	if h.scopes {
		if v.external = h.external.Load(); v.external != nil {
			reflected := isGateway(&key, v.external)
			if externalOf[K](v.external) == *new(K) {
				v.external = nil // there is no address of this family
			}
			if reflected {
				h.count.reflected++
				reflect(&key, v.external)
			}
		}
		v.visibility = visibilityOf(&key, v.external)
	}

	start := len(dst)
	out, c, o := announce(h.store, &v, &key, &h.rng, dst[:start+bep15.AnnounceReplySize])
	interval := uint32(h.interval)
	result := announcedRefreshed
	switch o {
	case resultDenied:
		h.refused.note(v.hash, now.mono)
		return refuse(h, dst, req, from, textDenied, errorDenied, now)
	case resultAdded:
		result = announcedNew
	case resultStopped:
		result = announcedStopped
	case resultAbsent:
		result = announcedAbsent
	case resultFull:
		result = announcedFull
		interval = max(interval/4, min(interval, fullInterval))
	case resultQuota:
		result = announcedQuota
	}
	// Clients spread out because replies differ. No reply is below the
	// interval: lists of trackers refuse less than 300 seconds.
	interval += h.rng.below(interval/10 + 1)
	bep15.PutAnnounceReply(out[start:], transaction, interval, c.leechers, c.seeders)
	return out, result
}

// wantedPeers returns how many peers to send, at most limit. A leecher that
// starts wants peers, even if it asks for none: anacrolix and BiglyBT sometimes
// send num_want 0.
func wantedPeers(a *bep15.AnnounceRequest, limit int) int {
	if a.NumWant < 0 || a.NumWant == 0 && a.Event == bep15.EventStarted && a.Left > 0 {
		return min(defaultWant, limit)
	}
	return min(int(a.NumWant), limit)
}

func answerScrape[K peerKey](h *handler, dst, req []byte, from *K, now timestamp) ([]byte, verdict) {
	hashes := req[bep15.HeaderSize:]
	if len(hashes) < len(bep15.InfoHash{}) {
		return refuse(h, dst, req, from, textNoHash, errorNoHash, now)
	}
	dst = bep15.AppendReplyHeader(dst, bep15.ActionScrape, bep15.TransactionID(req))
	for n := 0; n < h.scrapeLimit && len(hashes) >= len(bep15.InfoHash{}); n++ {
		c := h.store.scrape((*bep15.InfoHash)(hashes))
		dst = bep15.AppendScrapeEntry(dst, c.seeders, c.completed, c.leechers)
		hashes = hashes[len(bep15.InfoHash{}):]
	}
	return dst, scraped
}
