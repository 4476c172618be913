package main

import (
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/logger"
	"github.com/fabricionaweb/pico-tracker/internal/siphash"
)

// allocRounds is how often a test repeats an operation that must not allocate.
const allocRounds = 50

// expectNoAllocs fails if f allocates. It tries three times, because the runtime
// sometimes allocates in the background.
func expectNoAllocs(t *testing.T, f func()) {
	t.Helper()
	n := 0.0
	for try := 0; try < 3; try++ {
		n = testing.AllocsPerRun(1, func() {
			for i := 0; i < allocRounds; i++ {
				f()
			}
		})
		if n == 0 {
			return
		}
	}
	t.Errorf("got %v allocations in %d rounds, want 0", n, allocRounds)
}

// allocCase is a request that must not allocate.
type allocCase struct {
	name    string
	want    verdict
	prepare func(s *service)
	request func(s *service) []byte
	each    func(req []byte, i uint32) // changes the next request
}

// usedLimiter returns a limiter of one event, which a and b have used up.
func usedLimiter(a, b host) *limiter {
	l := newLimiter(1<<12, 1, limitWindow, siphash.Key{})
	for _, h := range []host{a, b} {
		if h.Addr().Is6() {
			key := keyOf[key6](h)
			l.allow(key[:], 1000)
			l.allow(network(&key), 1000)
		} else {
			key := keyOf[key4](h)
			l.allow(key[:], 1000)
			l.allow(network(&key), 1000)
		}
	}
	return l
}

// requestAllocCases are connects, and requests that get an error or no reply.
func requestAllocCases(t *testing.T, a, b host) []allocCase {
	used := func() *limiter { return usedLimiter(a, b) }
	return []allocCase{
		{name: "connect", want: connected, request: func(*service) []byte { return connectRequest() }},
		{name: "connect over the limit", want: errorConnects,
			prepare: func(s *service) { s.handlerOf(a).connects = used(); s.handlerOf(a).repeats.limit = math.MaxUint32 },
			request: func(*service) []byte { return connectRequest() }},
		{name: "connect over both limits", want: dropErrors,
			prepare: func(s *service) {
				s.handlerOf(a).connects, s.handlerOf(a).errors = used(), used()
				s.handlerOf(a).repeats.limit = 0
			},
			request: func(*service) []byte { return connectRequest() }},
		{name: "connect over the network's limit", want: dropConnects,
			prepare: func(s *service) { s.handlerOf(a).networks = used() },
			request: func(*service) []byte { return connectRequest() }},
		{name: "connect with another magic", want: dropMagic,
			request: func(s *service) []byte { return concat(s.id(a), u32(0), transaction) }},
		{name: "short", want: dropShort, request: func(*service) []byte { return connectRequest()[:15] }},
		{name: "like a reply", want: dropReply, request: func(*service) []byte { return errorReply("some text") }},
		{name: "unknown action", want: dropAction, request: func(s *service) []byte { return concat(s.id(a), u32(7), transaction) }},
		{name: "bad ID", want: errorID,
			prepare: func(s *service) { s.handlerOf(a).repeats.limit = math.MaxUint32 },
			request: func(s *service) []byte { return fields{id: bin("0102030405060708"), port: 1}.bytes() },
			each:    func(req []byte, i uint32) { binary.BigEndian.PutUint32(req, testWall+i%8) }},
		{name: "bad ID over the limit", want: dropErrors,
			prepare: func(s *service) { s.handlerOf(a).errors, s.handlerOf(a).repeats.limit = used(), 0 },
			request: func(s *service) []byte { return fields{id: bin("0102030405060708"), port: 1}.bytes() }},
		{name: "bad ID, repeated", want: dropRepeats,
			prepare: func(s *service) {
				for range repeatedErrors {
					s.ask(a, fields{id: bin("0102030405060708"), port: 1}.bytes())
				}
			},
			request: func(s *service) []byte { return fields{id: bin("0102030405060708"), port: 1}.bytes() }},
		{name: "short announce", want: errorMalformed, request: func(s *service) []byte { return concat(s.id(a), u32(1), transaction) }},
		{name: "port 0", want: errorMalformed, request: func(s *service) []byte { return fields{id: s.id(a)}.bytes() }},
		{name: "denied", want: errorDenied,
			prepare: func(s *service) { s.store.admit = func(*bep15.InfoHash) bool { return false } },
			request: func(s *service) []byte { return fields{id: s.id(a), port: 1}.bytes() }},
	}
}

// announceAllocCases are announces from a.
func announceAllocCases(t *testing.T, a host) []allocCase {
	return []allocCase{
		{name: "announce, refreshed", want: announcedRefreshed, request: func(s *service) []byte {
			f := leech(a)
			f.id = s.id(a)
			return f.bytes()
		}},
		{name: "announce by another instance's ID", want: announcedRefreshed,
			request: func(s *service) []byte {
				f := leech(a)
				f.id = newService(t).id(a)
				return f.bytes()
			},
			each: func(req []byte, i uint32) { req[97]++ }},
		{name: "announce, new torrents", want: announcedNew,
			request: func(s *service) []byte { return fields{id: s.id(a), port: 1}.bytes() },
			each:    func(req []byte, i uint32) { binary.BigEndian.PutUint32(req[16:], i) }},
		{name: "announce, a growing swarm", want: announcedNew,
			request: func(s *service) []byte { return fields{id: s.id(a), port: 1, left: 1, want: 200}.bytes() },
			each:    func(req []byte, i uint32) { binary.BigEndian.PutUint16(req[96:], uint16(1+i%65535)) }},
		{name: "announce, changing roles", want: announcedRefreshed,
			request: func(s *service) []byte { return fields{id: s.id(a), port: 1, want: 200}.bytes() },
			each: func(req []byte, i uint32) {
				req[71], req[83] = byte(i&1), byte(i>>1&1)
				binary.BigEndian.PutUint16(req[96:], uint16(1+i/8))
			}},
		{name: "announce, peers inside and outside", want: announcedRefreshed,
			prepare: func(s *service) {
				fillSwarm(s, a, 300)
				for i := range 300 {
					h := residents["private"](i, a.Addr().Is6())
					s.announce(h, leech(h))
				}
				s.outsideOfTest(false)
			},
			request: func(s *service) []byte { return fields{id: s.id(a), left: 1, port: 1, want: 200}.bytes() }},
		{name: "announce, stopped", want: announcedStopped,
			prepare: func(s *service) { fillSwarm(s, a, 6*allocRounds) },
			request: func(s *service) []byte { return fields{id: s.id(a), port: 2000, event: 3}.bytes() },
			each:    func(req []byte, i uint32) { binary.BigEndian.PutUint16(req[96:], uint16(2000+i)) }},
		{name: "announce, stopped, no torrent", want: announcedAbsent,
			request: func(s *service) []byte { return fields{id: s.id(a), port: 1, event: 3}.bytes() }},
		{name: "announce, full", want: announcedFull,
			prepare: func(s *service) { fillStore(s, a) },
			request: func(s *service) []byte { return fields{id: s.id(a), hash: 1 << 30, port: 1}.bytes() }},
		{name: "announce, its source has its share", want: announcedQuota,
			prepare: func(s *service) { s.store.quota.max = 0 },
			request: func(s *service) []byte { return fields{id: s.id(a), port: 1}.bytes() }},
	}
}

// scrapeAllocCases are scrapes from a.
func scrapeAllocCases(a host) []allocCase {
	return []allocCase{
		{name: "scrape", want: scraped,
			prepare: func(s *service) { fillSwarm(s, a, 300) },
			request: func(s *service) []byte { return scrapeRequest(s.id(a), make([]int, 102)...) }},
		{name: "scrape without a hash", want: errorNoHash,
			request: func(s *service) []byte { return scrapeRequest(s.id(a)) }},
	}
}

// TestZeroAllocs checks that no packet allocates.
func TestZeroAllocs(t *testing.T) {
	families(t, func(t *testing.T, _ *service, a, b, _ host) {
		for _, c := range slices.Concat(requestAllocCases(t, a, b), announceAllocCases(t, a), scrapeAllocCases(a)) {
			t.Run(c.name, func(t *testing.T) { c.run(t, a) })
		}
	})
}

// run sends the request of a case again and again.
func (c *allocCase) run(t *testing.T, a host) {
	t.Helper()
	s := newService(t)
	for _, h := range []*handler{s.v4, s.v6} {
		for _, l := range []**limiter{&h.connects, &h.networks, &h.errors} {
			*l = newLimiter(64, 0, limitWindow, siphash.Key{}) // no limit
		}
	}
	if c.prepare != nil {
		c.prepare(s)
	}
	req, dst := c.request(s), make([]byte, 0, maxReply)
	h, now, i := s.handlerOf(a), s.now, uint32(0)
	from4, from6 := key4{}, key6{}
	if a.Addr().Is6() {
		from6 = keyOf[key6](a)
	} else {
		from4 = keyOf[key4](a)
	}
	expectNoAllocs(t, func() {
		var v verdict
		if a.Addr().Is6() {
			_, v = handle(h, dst, req, &from6, 0, now)
		} else {
			_, v = handle(h, dst, req, &from4, 0, now)
		}
		if v != c.want && !(v == announcedNew && c.want == announcedRefreshed) { // the first is new
			t.Fatalf("round %d: got verdict %q, want %q", i, verdictInfo[v].name, verdictInfo[c.want].name)
		}
		if i++; c.each != nil {
			c.each(req, i)
		}
	})
}

// TestLimiterAllocs checks that a full limiter does not allocate for new keys.
func TestLimiterAllocs(t *testing.T) {
	l := newLimiter(64, 3, limitWindow, siphash.Key{})
	var key [6]byte
	expectNoAllocs(t, func() {
		key[0]++
		l.allow(key[:], 5)
	})
}

// TestTickAllocs checks that a tick of the maintenance loop does not allocate.
func TestTickAllocs(t *testing.T) {
	s := newService(t)
	a, b := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("[2001:db8::1]:1")
	fillSwarm(s, a, 1000)
	fillSwarm(s, b, 1000)
	s.store.top = newTopTorrents(maxTop)
	for i := 0; i < 200; i++ {
		s.announce(a, fields{hash: i, port: 1})
	}
	expectNoAllocs(t, func() {
		if _, ok := s.store.oneAddress(s.now.mono); !ok {
			t.Error("oneAddress: got false, want the address of each family")
		}
	})
	c := netip.MustParseAddrPort("192.0.2.2:1")
	s.announce(c, fields{hash: 1000, port: 1})
	k := &maintenance{tracker: s.tracker, clock: newClock(), log: &logger.Logger{}, lastTick: s.now.mono, lastSweep: s.now.mono}
	now := s.now
	expectNoAllocs(t, func() {
		for i := 0; i < 50; i++ {
			now.mono++
			k.tick(now)
		}
	})
	if n, _ := s.store.totals(); n != 0 {
		t.Errorf("got %d torrents after the sweep, want 0", n)
	}
}

// TestPurgeAllocs checks that a purge allocates little. It may allocate for the
// functions that it passes on, because a reload is rare.
func TestPurgeAllocs(t *testing.T) {
	s := newService(t)
	a := netip.MustParseAddrPort("192.0.2.1:1")
	fillSwarm(s, a, 1000)
	for i := 0; i < 200; i++ {
		s.announce(a, fields{hash: i, port: 1})
	}
	refuse := func(h *bep15.InfoHash) bool { return h[3]&1 == 0 }
	var n float64
	done := make(chan struct{})
	go func() { // a purge that does not come to an end must not hang the test
		defer close(done)
		n = testing.AllocsPerRun(1, func() {
			for i := uint32(1); i < s.store.pool.highWater(); i++ {
				s.store.purge(i, s.now.mono, refuse)
			}
			refuse = func(h *bep15.InfoHash) bool { return false }
		})
	}()
	select {
	case <-done:
	case <-time.After(deadline):
		t.Fatal("the purge does not come to an end")
	}
	if limit := float64(4 * s.store.pool.highWater()); n > limit {
		t.Errorf("got %v allocations, want at most %v", n, limit)
	}
	if n, _ := s.store.totals(); n != 0 {
		t.Errorf("got %d torrents after the purge, want 0", n)
	}
}

// fillSwarm stores n leechers from ports of h, 2000 and up, in torrent 0.
func fillSwarm(s *service, h host, n int) {
	id := s.id(h)
	for i := 0; i < n; i++ {
		s.announce(h, fields{id: id, left: 1, port: uint16(2000 + i)})
	}
}

// fillStore stores torrents until no shard has room.
func fillStore(s *service, h host) {
	id := s.id(h)
	for i, full := 0, 0; full < 100; i++ {
		s.announce(h, fields{id: id, hash: i, left: 1, port: 1})
		if full++; s.last != announcedFull {
			full = 0
		}
	}
}
