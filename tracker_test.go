package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/siphash"
)

// This file tests the tracker with requests and replies in bytes, for both
// address families: each row of the tables in BEP 15, as real clients send it.

// TestConversation4 and 6 are a whole conversation, byte by byte as BEP 15 has
// it, without the helpers of the other tests.
func TestConversation4(t *testing.T) {
	s := newService(t)
	a, b := netip.MustParseAddrPort("192.0.2.1:4000"), netip.MustParseAddrPort("198.51.100.2:5000")
	hash, peerID := strings.Repeat("ab", 20), strings.Repeat("2d", 20)
	var ids []string
	for _, h := range []host{a, b} {
		reply := hex.EncodeToString(s.ask(h, bin("0000041727101980 00000000 01020304")))
		if len(reply) != 32 || reply[:16] != "0000000001020304" || reply[16:24] != "6553f100" {
			t.Fatalf("connect: %s", reply)
		}
		ids = append(ids, reply[16:])
	}
	got := s.ask(a, bin(ids[0]+"00000001 0a0b0c0d"+hash+peerID+
		"0000000000000000 0000000000000000 0000000000000005 00000002 00000000 12345678 ffffffff 1ae1"))
	if want := bin("00000001 0a0b0c0d"); !bytes.HasPrefix(got, want) || !bytes.Equal(got[12:], bin("00000000 00000001")) {
		t.Fatalf("the seeder's announce: %x", got)
	}
	got = s.ask(b, bin(ids[1]+"00000001 0a0b0c0e"+hash+peerID+
		"0000000000000000 0000000000000007 0000000000000000 00000002 00000000 12345678 ffffffff 1ae2"))
	if want := bin("00000001 0a0b0c0e"); !bytes.HasPrefix(got, want) || !bytes.Equal(got[12:], bin("00000001 00000001 c0000201 1ae1")) {
		t.Fatalf("the leecher's announce: %x", got)
	}
	s.expectReply(b, bin(ids[1]+"00000002 0a0b0c0f"+strings.Repeat("00", 20)+hash),
		bin("00000002 0a0b0c0f 00000000 00000000 00000000 00000001 00000000 00000001"))
}

func TestConversation6(t *testing.T) {
	s := newService(t)
	a, b := netip.MustParseAddrPort("[2001:db8::1]:4000"), netip.MustParseAddrPort("[2001:db8:5::2]:5000")
	hash, peerID := strings.Repeat("ab", 20), strings.Repeat("2d", 20)
	var ids []string
	for _, h := range []host{a, b} {
		ids = append(ids, hex.EncodeToString(s.ask(h, bin("0000041727101980 00000000 01020304"))[8:]))
	}
	s.ask(a, bin(ids[0]+"00000001 0a0b0c0d"+hash+peerID+
		"0000000000000000 0000000000000000 0000000000000005 00000002 00000000 12345678 ffffffff 1ae1"))
	got := s.ask(b, bin(ids[1]+"00000001 0a0b0c0e"+hash+peerID+
		"0000000000000000 0000000000000007 0000000000000000 00000002 00000000 12345678 ffffffff 1ae2"))
	if want := bin("00000001 0a0b0c0e"); !bytes.HasPrefix(got, want) ||
		!bytes.Equal(got[12:], bin("00000001 00000001 20010db8000000000000000000000001 1ae1")) {
		t.Fatalf("the leecher's announce: %x", got)
	}
}

// TestShortRequests checks that a request of less than 16 bytes gets no reply.
func TestShortRequests(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, _, _ host) {
		for n := 0; n < 16; n++ {
			s.expectSilence(a, connectRequest()[:n])
			s.expectSilence(a, fields{id: s.id(a)}.bytes()[:n])
		}
	})
}

// TestConnectLength checks that a connect may be longer than 16 bytes, and that
// its reply has 16.
func TestConnectLength(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, _, _ host) {
		for _, more := range []int{0, 1, 4, 82, 1480} {
			reply := s.ask(a, append(connectRequest(), make([]byte, more)...))
			if len(reply) != 16 || !bytes.Equal(reply[:8], concat(u32(0), transaction)) {
				t.Errorf("%d bytes more: %x", more, reply)
			}
		}
	})
}

// TestConnectMagic checks that a connect with another protocol ID gets no
// reply.
func TestConnectMagic(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, _, _ host) {
		for i := 0; i < 64; i++ {
			req := connectRequest()
			req[i/8] ^= 1 << (i % 8)
			s.expectSilence(a, req)
		}
		s.expectSilence(a, concat(s.id(a), u32(0), transaction))
	})
}

// TestConnectLimit checks the limit of connects from one address and port in
// two minutes. Above it, a connect gets an error of at most 16 bytes, and after
// a few errors no reply. Other ports are not affected.
func TestConnectLimit(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, b, _ host) {
		s.handlerOf(a).connects.limit = 10
		for i := 0; i < 10; i++ {
			s.connectID(a)
			s.pass(1)
		}
		for i := 0; i < repeatedErrors-1; i++ {
			reply := s.ask(a, append(connectRequest(), byte(i)))
			if len(reply) > 16 || !bytes.Equal(reply, errorReply("too fast")) {
				t.Fatalf("over the limit: %x", reply)
			}
		}
		s.connectID(netip.AddrPortFrom(a.Addr(), 7))
		s.connectID(b)
		s.pass(109) // 119 s after the first
		s.expectReply(a, connectRequest(), errorReply("too fast"))
		s.expectSilence(a, connectRequest())
		s.pass(1)
		s.connectID(a)
	})
}

// TestConnectForEachAnnounce sends a connect before every announce from one
// socket, as BiglyBT and rTorrent 0.16 do. A client with 2,000 torrents starts,
// announces again, stops and starts again without an error. When it stops, all
// of its peers are removed.
func TestConnectForEachAnnounce(t *testing.T) {
	families(t, func(t *testing.T, _ *service, a, _, _ host) {
		s := newServiceOf(t, 400, "secret")
		torrents := 2000
		if testing.Short() {
			torrents = 200
		}
		for _, phase := range []struct {
			name  string
			event uint32
			left  int // torrents, afterwards
			pass  seconds
		}{
			{name: "start", event: 2, left: torrents, pass: testInterval},
			{name: "steady state", event: 0, left: torrents, pass: 10},
			{name: "stop", event: 3, left: 0, pass: 1},
			{name: "restart", event: 2, left: torrents, pass: 1},
			{name: "stop again", event: 3, left: 0, pass: 1},
		} {
			for i := range torrents {
				f := leech(a)
				f.hash, f.event, f.id = i, phase.event, s.connectID(a)
				s.decode(a, s.ask(a, f.bytes()))
			}
			if n, _ := s.store.totals(); n != phase.left {
				t.Fatalf("%s: %d torrents, want %d", phase.name, n, phase.left)
			}
			s.pass(phase.pass)
		}
	})
}

// TestConnectsBeforeTheFirstReply sends a connect for each torrent before the
// first reply and announces with the last ID, as qBittorrent, Deluge and
// libtorrent do.
func TestConnectsBeforeTheFirstReply(t *testing.T) {
	families(t, func(t *testing.T, _ *service, a, _, _ host) {
		s := newServiceOf(t, 400, "secret")
		const torrents = 2000
		for _, event := range []uint32{2, 3} {
			var id []byte
			for range torrents {
				id = s.connectID(a)
			}
			for i := range torrents {
				f := leech(a)
				f.hash, f.event, f.id = i, event, id
				s.decode(a, s.ask(a, f.bytes()))
			}
			want := torrents
			if event == bep15.EventStopped {
				want = 0
			}
			if n, _ := s.store.totals(); n != want {
				t.Fatalf("event %d: %d torrents, want %d", event, n, want)
			}
		}
	})
}

func TestNoConnectLimit(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, _, _ host) {
		s.handlerOf(a).connects = newLimiter(64, 0, limitWindow, siphash.Key{})
		for i := 0; i < 100; i++ {
			s.connectID(a)
		}
	})
}

// TestNetworkLimit checks the limit of connects from an IPv4 address or a /64.
// Above it there is no reply, because the source may be spoofed.
func TestNetworkLimit(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, b, _ host) {
		const limit = 100
		s.handlerOf(a).networks = newLimiter(64, limit, limitWindow, siphash.Key{})
		for i := 0; i < limit; i++ {
			s.connectID(neighbour(a, i))
		}
		s.expectSilence(neighbour(a, limit), connectRequest())
		if s.last != dropConnects {
			t.Fatalf("verdict %q", verdictInfo[s.last].name)
		}
		s.connectID(b)
		s.pass(limitWindow)
		s.connectID(a)
	})
}

// neighbour is another port, or with IPv6 another host, of the same network.
func neighbour(h host, i int) host {
	if h.Addr().Is6() {
		a := h.Addr().As16()
		binary.BigEndian.PutUint64(a[8:], uint64(i+1)<<40)
		return netip.AddrPortFrom(netip.AddrFrom16(a), h.Port())
	}
	return netip.AddrPortFrom(h.Addr(), uint16(2000+i))
}

// TestNetworkLimitIsGenerous checks that five clients with 2,000 torrents each
// stay far below the limit behind one NAT. rTorrent up to 0.15 connects from a
// new port for each announce.
func TestNetworkLimitIsGenerous(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, _, _ host) {
		connects := 5 * 2 * 2000
		if testing.Short() {
			connects /= 10
		}
		for i := range connects {
			s.connectID(neighbour(a, i))
		}
	})
}

// TestBadID checks that a request with a bad connection ID gets an error that
// is not longer than the request.
func TestBadID(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, _, _ host) {
		text := "connection ID is invalid or has expired"
		announce := fields{id: bin("0102030405060708"), port: 1}.bytes()
		scrape := scrapeRequest(bin("0102030405060708"), 1, 2, 3)
		for _, req := range [][]byte{announce, scrape} {
			for n := 16; n <= len(req); n++ {
				s.expectReply(neighbour(a, n), req[:n], errorReply(text[:min(len(text), n-8)]))
			}
		}
	})
}

// TestErrorLimit checks that a flood of bad IDs gets no replies in the end, and
// that others still get errors.
func TestErrorLimit(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, b, _ host) {
		s.handlerOf(a).errors = newLimiter(64, 50, limitWindow, siphash.Key{})
		s.handlerOf(a).repeats = newLimiter(64, 0, limitWindow, siphash.Key{})
		bad := fields{id: bin("0102030405060708"), port: 1}.bytes()
		for i := 0; i < 50; i++ {
			if s.ask(neighbour(a, i), bad) == nil {
				t.Fatalf("error %d is missing", i)
			}
		}
		s.expectSilence(a, bad)
		if s.ask(b, bad) == nil {
			t.Fatal("another network: got no error reply, want one")
		}
		if got := s.announce(a, leech(a)); got.leechers != 1 {
			t.Fatalf("with a good ID: %+v", got)
		}
		s.pass(limitWindow)
		if s.ask(a, bad) == nil {
			t.Fatal("after the window: got no error reply, want one")
		}
		// Errors of the connect limit count as well.
		s.handlerOf(b).errors = newLimiter(64, 1, limitWindow, siphash.Key{})
		s.handlerOf(b).connects = newLimiter(64, 1, limitWindow, siphash.Key{})
		s.connectID(b)
		s.expectReply(b, connectRequest(), errorReply("too fast"))
		s.expectSilence(b, connectRequest())
		if s.last != dropErrors {
			t.Fatalf("verdict %q, want %q", verdictInfo[s.last].name, verdictInfo[dropErrors].name)
		}
	})
}

// TestRepeatedErrors checks that an IP, port and torrent gets only a few errors
// in two minutes, because lftp resends a request as soon as it gets an error.
func TestRepeatedErrors(t *testing.T) {
	bad := bin("0102030405060708")
	for _, c := range []struct {
		name    string
		request func(id []byte) []byte
		proved  bool
		errors  int
	}{
		{name: "announce, bad ID", request: func([]byte) []byte { return fields{id: bad, port: 1}.bytes() }, errors: 8},
		{name: "scrape, bad ID", request: func([]byte) []byte { return scrapeRequest(bad, 0) }, errors: 8},
		{name: "16 bytes, bad ID", request: func([]byte) []byte { return scrapeRequest(bad) }, errors: 8},
		{name: "announce, denied", request: func(id []byte) []byte { return fields{id: id, port: 1}.bytes() }, proved: true, errors: 100},
		{name: "announce, port 0", request: func(id []byte) []byte { return fields{id: id}.bytes() }, proved: true, errors: 100},
		{name: "announce, short", request: func(id []byte) []byte { return fields{id: id}.bytes()[:97] }, proved: true, errors: 100},
		{name: "scrape without a hash", request: func(id []byte) []byte { return scrapeRequest(id) }, proved: true, errors: 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			families(t, func(t *testing.T, s *service, a, b, _ host) {
				s.store.admit = func(*bep15.InfoHash) bool { return false }
				for range 2 {
					for i := range 2000 {
						id := bad
						if c.proved {
							id = s.id(a)
						}
						req := c.request(id)
						copy(req[12:], u32(uint32(i))) // the transaction ID
						if got := s.ask(a, req) != nil; got != (i < c.errors) {
							t.Fatalf("request %d: answered %v, want %v", i, got, i < c.errors)
						}
					}
					if s.last != dropRepeats {
						t.Fatalf("verdict %q, want %q", verdictInfo[s.last].name, verdictInfo[dropRepeats].name)
					}
					// Another port, torrent or network has its own count.
					if s.ask(neighbour(a, 1), c.request(s.id(neighbour(a, 1)))) == nil || s.ask(b, c.request(s.id(b))) == nil {
						t.Fatal("another client: got no error reply, want one")
					}
					other := leech(a)
					if other.hash, other.id = 5, bad; s.ask(a, other.bytes()) == nil {
						t.Fatal("another torrent: got no error reply, want one")
					}
					s.pass(limitWindow)
				}
			})
		})
	}
}

// TestRecovery sends announces with an expired ID for 2,000 torrents, twice
// each, as libtorrent does within a minute. Each gets an error. Then the client
// announces all of them with a new ID.
func TestRecovery(t *testing.T) {
	families(t, func(t *testing.T, _ *service, a, _, _ host) {
		s := newServiceOf(t, 400, "secret")
		const torrents = 2000
		expired := s.connectID(a)
		s.pass(cookieLife + 1)
		s.proved = map[netip.Addr]bool{}
		announceAll := func(id []byte) (errors int) {
			for i := range torrents {
				f := leech(a)
				f.hash, f.id = i, id
				if reply := s.ask(a, f.bytes()); reply == nil {
					t.Fatalf("torrent %d: silence (%s)", i, verdictInfo[s.last].name)
				} else if bytes.HasPrefix(reply, u32(bep15.ActionError)) {
					errors++
				}
			}
			return errors
		}
		for range 2 {
			if got := announceAll(expired); got != torrents {
				t.Fatalf("%d errors, want %d", got, torrents)
			}
			s.pass(17)
		}
		if got := announceAll(s.connectID(a)); got != 0 {
			t.Fatalf("%d errors with a new ID", got)
		}
	})
}

// TestOtherActions checks that an unknown action gets no reply, with any ID.
func TestOtherActions(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, _, _ host) {
		for _, action := range []uint32{3, 4, 255, 256, 0x100, 0x01000000, 0x02000000, math.MaxUint32} {
			for _, id := range [][]byte{s.id(a), bin("0000041727101980"), bin("ffffffffffffffff")} {
				req := fields{id: id, port: 1}.bytes()
				copy(req[8:], u32(action))
				s.expectSilence(a, req)
			}
		}
	})
}

// TestPortZeroSource checks that UDP port 0 gets no reply.
func TestPortZeroSource(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, _, _ host) {
		s.expectSilence(netip.AddrPortFrom(a.Addr(), 0), connectRequest())
		s.connectID(netip.AddrPortFrom(a.Addr(), 1))
		s.connectID(netip.AddrPortFrom(a.Addr(), 256))
	})
}

// TestShortAnnounce checks that an announce of less than 98 bytes gets an
// error.
func TestShortAnnounce(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, _, _ host) {
		req := fields{id: s.id(a), port: 1, left: 1}.bytes()
		for n := 16; n < 98; n++ {
			s.expectReply(a, req[:n], errorReply("announce is too short"))
		}
		s.decode(a, s.ask(a, req)).expect(t, 1, 0)
	})
}

// TestAnnounceOptions checks that the bytes behind the first 98 are ignored.
func TestAnnounceOptions(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, _, _ host) {
		long := strings.Repeat("x", 255)
		for name, options := range map[string][]byte{
			"aria2":                      {0, 0},
			"end of options":             {0},
			"nop":                        {1, 1, 1, 0},
			"URL data":                   []byte("\x02\x09/announce\x00"),
			"URL data without an end":    []byte("\x02\x09/announce"),
			"URL data, empty":            {2, 0, 0},
			"URL data, the longest":      []byte("\x02\xff" + long + "\x00"),
			"URL data twice":             []byte("\x02\xff" + long + "\x02\x03abc\x00"),
			"URL data, cut short":        []byte("\x02\xff/ann"),
			"URL data, without a length": {2},
			"unknown":                    []byte("\x7f\x03abc\x00"),
			"unknown, cut short":         []byte("\x7f\xffabc"),
			"junk":                       bytes.Repeat([]byte{0xff}, 500),
		} {
			f := leech(a)
			f.options = options
			if got := s.announce(a, f); got.leechers != 1 || got.seeders != 0 {
				t.Errorf("%s: %+v", name, got)
			}
		}
	})
}

// TestRegularEvents checks that no event, the event of partial seeds (BEP 21)
// and all unknown events are regular updates. The event has 32 bits.
func TestRegularEvents(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, _, _ host) {
		for _, event := range []uint32{0, 2, 4, 5, 0x100, 0x101, 0x10003, 0x01000000, 0x03000000, 0x80000001, math.MaxUint32} {
			f := leech(a)
			f.event = event
			s.announce(a, f).expect(t, 1, 0)
			if got := s.scraped(a, 0); got != [3]uint32{0, 0, 1} {
				t.Errorf("event %#x: %v", event, got)
			}
		}
	})
}

// TestCompleted checks that a peer which completes with nothing left is a
// seeder and counts as one download.
func TestCompleted(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, b, _ host) {
		done := seed(a)
		done.event = 1
		s.announce(a, leech(a)).expect(t, 1, 0)
		for i := 0; i < 3; i++ {
			s.announce(a, done).expect(t, 0, 1)
			if got := s.scraped(a, 0); got != [3]uint32{1, 1, 0} {
				t.Fatalf("after event %d: %v", i, got)
			}
		}
		s.announce(a, seed(a)).expect(t, 0, 1)
		s.announce(a, done)
		if got := s.scraped(b, 0); got != [3]uint32{1, 1, 0} {
			t.Fatalf("after an update: %v", got)
		}
		done.port = b.Port()
		s.announce(b, done)
		if got := s.scraped(b, 0); got != [3]uint32{2, 2, 0} {
			t.Fatalf("after another peer: %v", got)
		}
		// The count outlives the peers, as long as one is left.
		stop := seed(a)
		stop.event = 3
		s.announce(a, stop)
		if got := s.scraped(b, 0); got != [3]uint32{1, 2, 0} {
			t.Fatalf("after one has left: %v", got)
		}
	})
}

// TestPartialDownload checks that a peer which completes with bytes left stays
// a leecher and is no download. Transmission does this if its user skips a
// file. When the rest is complete, the peer is a seeder and counts once.
func TestPartialDownload(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, b, _ host) {
		for _, left := range []uint64{1, 390400, math.MaxInt64, math.MaxUint64} {
			for _, event := range []uint32{2, 1, 0, 1} {
				f := leech(a)
				f.left, f.event = left, event
				s.announce(a, f).expect(t, 1, 0)
				if got, want := s.scraped(a, 0), [3]uint32{0, 0, 1}; got != want {
					t.Errorf("left %d, event %d: %v, want %v", left, event, got, want)
				}
			}
		}
		s.announce(b, leech(b)).expect(t, 2, 0, a)
		done := seed(a)
		for range 2 {
			done.event = 1
			s.announce(a, done).expect(t, 1, 1, b)
			if got, want := s.scraped(a, 0), [3]uint32{1, 1, 1}; got != want {
				t.Errorf("after the rest: %v, want %v", got, want)
			}
		}
		// It wants another file: a leecher again. The download stays counted.
		s.announce(a, leech(a)).expect(t, 2, 0, b)
		if got, want := s.scraped(a, 0), [3]uint32{0, 1, 2}; got != want {
			t.Errorf("a leecher again: %v, want %v", got, want)
		}
	})
}

// TestStopped checks that a peer which stops is removed and gets counts without
// peers. A stop creates nothing.
func TestStopped(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, b, c host) {
		s.announce(a, leech(a))
		s.announce(b, seed(b))
		stop := leech(a)
		stop.event = 3
		stop.want = 50
		s.announce(a, stop).expect(t, 0, 1)
		s.announce(a, stop).expect(t, 0, 1)
		stop.port = c.Port()
		s.announce(c, stop).expect(t, 0, 1) // never was there
		s.announce(c, leech(c)).expect(t, 1, 1, netip.AddrPortFrom(b.Addr(), b.Port()))

		stop.hash = 77
		s.announce(c, stop).expect(t, 0, 0)
		if n, _ := s.store.totals(); n != 1 {
			t.Fatalf("%d torrents after one was stopped that was not there", n)
		}
		// The last one takes the torrent along.
		stop.hash = 0
		s.announce(c, stop)
		stop.port, stop.left = b.Port(), 0
		s.announce(b, stop).expect(t, 0, 0)
		if n, _ := s.store.totals(); n != 0 || s.store.pool.used != 0 {
			t.Fatalf("%d torrents, %d pages left", n, s.store.pool.used)
		}
	})
}

// TestAddressField checks that the address in the request is ignored, and that
// the peer does not get the UDP port of the packet.
func TestAddressField(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, b, _ host) {
		f := leech(a)
		f.ip, f.port = 0xcb007107, 6881
		s.announce(a, f)
		s.announce(b, leech(b)).expect(t, 2, 0, netip.AddrPortFrom(a.Addr(), 6881))
	})
}

// TestWant checks that a negative num_want gives 50 peers, 0 gives none, and a
// large one gives 200 or 66.
func TestWant(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, _, _ host) {
		most := 200
		if a.Addr().Is6() {
			most = 66
		}
		for i := 0; i < 250; i++ {
			h := netip.AddrPortFrom(a.Addr(), uint16(2000+i))
			f := leech(h)
			f.want = 0
			s.announce(h, f)
		}
		for want, n := range map[int32]int{
			-1: 50, -2: 50, math.MinInt32: 50, 0: 0, 1: 1, 49: 49, 50: 50, 51: 51, 65: 65, 66: 66,
			67: min(67, most), 199: min(199, most), 200: most, 201: most, 1 << 16: most, math.MaxInt32: most,
		} {
			f := leech(a)
			f.want = want
			got := s.announce(a, f)
			if len(got.peers) != n || len(slices.Compact(got.peers)) != n {
				t.Errorf("want %d: %d peers, want %d", want, len(got.peers), n)
			}
		}
	})
}

// TestWantNoneAtStart checks that a leecher that starts gets 50 peers if
// num_want is 0. A seeder and every other announce get none.
func TestWantNoneAtStart(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, _, _ host) {
		for i := range 60 {
			h := netip.AddrPortFrom(a.Addr(), uint16(2000+i))
			s.announce(h, leech(h))
		}
		for _, c := range []struct {
			left  uint64
			event uint32
			peers int
		}{
			{left: 1, event: 2, peers: 50},
			{left: math.MaxUint64, event: 2, peers: 50},
			{left: 0, event: 2, peers: 0},
			{left: 1, event: 0, peers: 0},
			{left: 1, event: 1, peers: 0},
			{left: 1, event: 3, peers: 0},
			{left: 1, event: 4, peers: 0},
			{left: 1, event: 0x102, peers: 0},
		} {
			f := leech(a)
			f.left, f.event, f.want = c.left, c.event, 0
			if got := len(s.announce(a, f).peers); got != c.peers {
				t.Errorf("left %d, event %#x: %d peers, want %d", c.left, c.event, got, c.peers)
			}
		}
	})
}

// TestAnnouncePortZero checks that an announce with port 0 gets an error.
func TestAnnouncePortZero(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, _, _ host) {
		f := leech(a)
		f.id, f.port = s.id(a), 0
		s.expectReply(a, f.bytes(), errorReply("port 0 is invalid"))
		if n, _ := s.store.totals(); n != 0 {
			t.Error("got a stored torrent, want none")
		}
		for _, port := range []uint16{1, 255, 256, 65535} {
			f.port = port
			s.decode(a, s.ask(a, f.bytes()))
		}
	})
}

// TestPeerChoice checks that a client is not in its own reply. A leecher gets
// both roles. A client with nothing left does too, because some clients say
// this for a magnet link.
func TestPeerChoice(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, b, c host) {
		s.announce(a, leech(a)).expect(t, 1, 0)
		s.announce(a, leech(a)).expect(t, 1, 0)
		s.announce(b, seed(b)).expect(t, 1, 1, a)
		s.announce(b, seed(b)).expect(t, 1, 1, a)
		s.announce(c, seed(c)).expect(t, 1, 2, a, b)
		s.announce(b, seed(b)).expect(t, 1, 2, a, c)
		s.announce(a, leech(a)).expect(t, 1, 2, b, c)
		s.announce(c, leech(c)).expect(t, 2, 1, a, b)
		s.announce(a, seed(a)).expect(t, 1, 2, b, c)
		// Other torrents have their own peers.
		f := leech(a)
		f.hash = 1
		s.announce(a, f).expect(t, 1, 0)
	})
}

// TestMagnetLink announces left 0 with event 2 or 0, as aria2, webtorrent,
// lftp, rqbit and bt do, because they do not know the size of a magnet link.
// They must get the seeder. When they know the size, they are leechers.
func TestMagnetLink(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, b, _ host) {
		s.announce(a, seed(a)).expect(t, 0, 1)
		for _, event := range []uint32{2, 0} {
			for _, want := range []int32{-1, 1, 30, 200} {
				f := seed(b)
				f.event, f.want = event, want
				s.announce(b, f).expect(t, 0, 2, a)
			}
		}
		s.announce(b, leech(b)).expect(t, 1, 1, a)
		s.announce(a, seed(a)).expect(t, 1, 1, b)
	})
}

// TestLeechersFirst checks that a client with nothing left gets leechers first
// and then at most ten seeders, up to num_want, in small and large swarms.
func TestLeechersFirst(t *testing.T) {
	bothFamilies(t, func(t *testing.T, v6 bool) {
		for _, n := range []struct{ leechers, seeders int }{
			{0, 0}, {0, 1}, {1, 0}, {1, 1}, {0, 3}, {2, 1}, {3, 9}, {3, 10}, {3, 11}, {0, 200}, {45, 30}, {60, 3}, {200, 200},
		} {
			s := newServiceOf(t, 200, "secret")
			for i := range n.leechers + n.seeders {
				h := residents["global"](i, v6)
				f := leech(h)
				if i >= n.leechers {
					f = seed(h)
				}
				s.announce(h, f)
			}
			requester := residents["global"](999, v6)
			for _, want := range []int{0, 1, 2, 4, 10, 50, 66} {
				for range 5 {
					got := s.list(requester, 0, int32(want))
					leechers := 0
					for leechers < len(got) && int(got[leechers].Port())-2000 < n.leechers {
						leechers++
					}
					seeders := len(got) - leechers
					wantLeechers := min(want, n.leechers)
					wantSeeders := min(want-wantLeechers, 10, n.seeders)
					if leechers != wantLeechers || seeders != wantSeeders {
						t.Fatalf("%d leechers and %d seeders, num_want %d: got %d leechers, then %d others; want %d and %d",
							n.leechers, n.seeders, want, leechers, seeders, wantLeechers, wantSeeders)
					}
					slices.SortFunc(got, host.Compare)
					if slices.Contains(got, requester) || len(slices.Compact(got)) != leechers+seeders {
						t.Fatalf("a peer is there twice, or is the requester: %v", got)
					}
				}
			}
		}
	})
}

// TestLeft checks that a peer with nothing left is a seeder, and that every
// other value is a leecher.
func TestLeft(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, _, _ host) {
		for _, left := range []uint64{1, 1 << 8, 1 << 32, 1 << 56, math.MaxInt64, 1 << 63, math.MaxUint64} {
			f := leech(a)
			f.left = left
			s.announce(a, f).expect(t, 1, 0)
			s.announce(a, seed(a)).expect(t, 0, 1)
		}
	})
}

// TestPeerIDChanges checks that a peer is identified by address and port.
// Transmission changes its peer ID during a session.
func TestPeerIDChanges(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, b, _ host) {
		f := leech(a)
		for i := 0; i < 3; i++ {
			f.peerID = byte(i)
			s.announce(a, f).expect(t, 1, 0)
		}
		s.announce(b, leech(b)).expect(t, 2, 0, a)
		f.peerID, f.event = 99, 3
		s.announce(a, f).expect(t, 1, 0)
		// Nor does an equal peer ID make two peers one.
		f = leech(b)
		f.port++
		s.announce(b, f).expect(t, 2, 0, b)
	})
}

// TestNobodyElse checks that an announce changes only the peer of its own
// address.
func TestNobodyElse(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, b, c host) {
		s.announce(a, leech(a))
		stop := leech(a) // a's port, b's address
		stop.event = 3
		s.announce(b, stop).expect(t, 1, 0)
		s.announce(b, seed(a)).expect(t, 1, 1, a)
		s.announce(c, leech(c)).expect(t, 2, 1, a, netip.AddrPortFrom(b.Addr(), a.Port()))
	})
}

// TestScrape checks replies to 1 to 102 hashes: 12 bytes for each, in order,
// zeros for an unknown one. Bytes behind the last whole hash are ignored.
func TestScrape(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, b, c host) {
		done := seed(a)
		done.event = 1
		s.announce(a, done)
		s.announce(b, seed(b))
		s.announce(c, leech(c))
		second := leech(c)
		second.hash = 2
		s.announce(c, second)

		first := concat(u32(2), u32(1), u32(1))
		want := concat(u32(2), transaction, first, make([]byte, 12), concat(u32(0), u32(0), u32(1)), first)
		req := scrapeRequest(s.id(a), 0, 1, 2, 0)
		for more := 0; more < 20; more++ {
			s.expectReply(a, append(bytes.Clone(req), make([]byte, more)...), want)
		}

		hashes := make([]int, 102)
		req = scrapeRequest(s.id(a), hashes...)
		want = concat(u32(2), transaction, bytes.Repeat(first, 102))
		s.expectReply(a, req, want)
		s.expectReply(a, req[:len(req)-1], want[:len(want)-12])
		s.expectReply(a, append(req, testHash(0)[:]...), want)
		if n, _ := s.store.totals(); n != 2 {
			t.Errorf("%d torrents: a scrape has created some", n)
		}
	})
}

// TestScrapeLimit checks that a reply has only the first torrents up to the
// limit.
func TestScrapeLimit(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, _, _ host) {
		s.announce(a, leech(a))
		entry := concat(u32(0), u32(0), u32(1))
		s.scrapeLimit = 1
		s.expectReply(a, scrapeRequest(s.id(a), 0), concat(u32(2), transaction, entry))
		s.expectReply(a, scrapeRequest(s.id(a), 0, 0, 1), concat(u32(2), transaction, entry))
		s.scrapeLimit = 2
		s.expectReply(a, scrapeRequest(s.id(a), 0, 0, 1), concat(u32(2), transaction, entry, entry))
	})
}

// TestScrapeWithoutHash has an error.
func TestScrapeWithoutHash(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, _, _ host) {
		req := scrapeRequest(s.id(a), 0)
		for n := 16; n < 36; n++ {
			s.expectReply(a, req[:n], errorReply("scrape without an info hash"))
		}
	})
}

// TestDenied checks that a torrent that the access list refuses gets an error,
// is not stored, and scrapes as zeros.
func TestDenied(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, _, _ host) {
		s.store.admit = func(h *bep15.InfoHash) bool { return *h == *testHash(1) }
		for _, event := range []uint32{0, 1, 2, 3} {
			f := leech(a)
			f.id, f.hash, f.event = s.id(a), 0, event
			s.expectReply(a, f.bytes(), errorReply("this tracker does not allow this torrent"))
			if got := s.scraped(a, 0); got != [3]uint32{} {
				t.Errorf("event %d: %v", event, got)
			}
		}
		f := leech(a)
		f.hash = 1
		s.announce(a, f).expect(t, 1, 0)
	})
}

// TestBothFamilies checks that a torrent counts the peers of both families and
// gives only those of the requester's family.
func TestBothFamilies(t *testing.T) {
	s := newService(t)
	a4, b4 := netip.MustParseAddrPort("192.0.2.1:1001"), netip.MustParseAddrPort("192.0.2.2:1002")
	a6, b6 := netip.MustParseAddrPort("[2001:db8::1]:1001"), netip.MustParseAddrPort("[2001:db8::2]:1002")
	s.announce(a4, leech(a4)).expect(t, 1, 0)
	s.announce(a6, leech(a6)).expect(t, 2, 0)
	s.announce(b4, seed(b4)).expect(t, 2, 1, a4)
	s.announce(b6, seed(b6)).expect(t, 2, 2, a6)
	s.announce(a4, leech(a4)).expect(t, 2, 2, b4)
	s.announce(a6, leech(a6)).expect(t, 2, 2, b6)
	for _, h := range []host{a4, a6} {
		if got := s.scraped(h, 0); got != [3]uint32{2, 0, 2} {
			t.Errorf("scrape by %s: %v", h, got)
		}
	}
	stop := leech(a6)
	stop.event = 3
	s.announce(a6, stop).expect(t, 1, 2)
	s.announce(b4, seed(b4)).expect(t, 1, 2, a4)
}

// TestInterval checks that each reply adds up to a tenth to the interval, over
// the whole range. No reply is below the interval, and none is so late that the
// peer would expire.
func TestInterval(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, _, _ host) {
		for _, interval := range []seconds{60, 61, 300, 900, 7200} {
			s.interval = interval
			least, most := uint32(math.MaxUint32), uint32(0)
			for i := 0; i < 1000; i++ {
				n := s.announce(a, leech(a)).interval
				least, most = min(least, n), max(most, n)
			}
			i := uint32(interval)
			if least < i || most > i+i/10 || least > i+i/100 || most < i+i/12 {
				t.Errorf("interval %d: from %d to %d, want %d to %d", i, least, most, i, i+i/10)
			}
			if shortest := uint32(s.ttl(1024)); most >= shortest {
				t.Errorf("interval %d: a peer that comes back after %d s expires after %d s", i, most, shortest)
			}
		}
	})
}

// TestFullTracker checks that a new peer in a full tracker gets peers, counts
// and a shorter interval, and is stored when there is room. Stored peers are
// refreshed as before.
func TestFullTracker(t *testing.T) {
	families(t, func(t *testing.T, _ *service, a, b, c host) {
		s := newServiceOf(t, 1, "secret")
		for i := 0; i < pageTorrents; i++ {
			f := leech(a)
			f.hash = i
			s.announce(a, f).expect(t, 1, 0)
		}
		f := leech(b)
		f.hash = pageTorrents
		got := s.announce(b, f)
		got.expect(t, 0, 0)
		if got.interval < 300 || got.interval > 330 {
			t.Errorf("full: interval %d, want 300 to 330", got.interval)
		}
		if s.last != announcedFull {
			t.Errorf("verdict %q", verdictInfo[s.last].name)
		}
		for interval, want := range map[seconds]uint32{60: 60, 299: 299, 1200: 300, 3600: 900} {
			s.interval = interval
			if got := s.announce(b, f).interval; got < want || got > want+want/10 {
				t.Errorf("interval %d, full: %d, want %d to %d", interval, got, want, want+want/10)
			}
		}
		s.interval = testInterval
		// A known torrent's peers are handed out.
		f.hash = 3
		s.announce(b, leech(b))
		for i := 0; i < 4; i++ {
			f.port = uint16(7000 + i)
			s.announce(b, f)
		}
		f.port = c.Port()
		if got := s.announce(c, f); s.last != announcedFull || len(got.peers) == 0 {
			t.Errorf("a new peer of a known torrent: got %q and %d peers, want %q and some", verdictInfo[s.last].name, len(got.peers), verdictInfo[announcedFull].name)
		}
		// A stored peer is refreshed at the full interval.
		g := leech(a)
		g.hash = 5
		if got := s.announce(a, g); got.interval < uint32(testInterval) || s.last != announcedRefreshed {
			t.Errorf("refreshed: interval %d, %q", got.interval, verdictInfo[s.last].name)
		}
		g.event = 3
		s.announce(a, g)
		f = leech(b)
		f.hash = pageTorrents
		s.announce(b, f).expect(t, 1, 0)
	})
}

// TestSourceShareAnswered checks that a source that has used its quota gets a
// reply and is not stored.
func TestSourceShareAnswered(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, b, _ host) {
		s.store.quota.max = 3*peerCost4 + 1
		if a.Addr().Is6() {
			s.store.quota.max = 3*peerCost6 + 1
		}
		for i := 0; i < 5; i++ {
			f := leech(a)
			f.hash = i
			got := s.announce(a, f)
			if stored := i < 3; stored != (got.leechers == 1) || stored != (s.last == announcedNew) {
				t.Fatalf("torrent %d: %+v, %q", i, got, verdictInfo[s.last].name)
			}
			if i := uint32(testInterval); got.interval < i {
				t.Errorf("interval %d", got.interval)
			}
		}
		s.announce(b, leech(b)).expect(t, 2, 0, a)
	})
}

// TestTTL checks that a peer lives for 2.25 intervals, and in a full tracker
// for 1.25.
func TestTTL(t *testing.T) {
	tr := &tracker{interval: 1000}
	for fill, want := range map[int]seconds{0: 2250, 768: 2250, 769: 2250 - 1000/256, 896: 1750, 1024: 1250} {
		if got := tr.ttl(fill); got != want {
			t.Errorf("at %d of 1024: %d, want %d", fill, got, want)
		}
	}
	families(t, func(t *testing.T, s *service, a, b, _ host) {
		sweep := func() {
			for i := uint32(1); i < s.store.pool.highWater(); i++ {
				s.store.sweep(i, s.now.mono, s.ttl(s.store.pool.fillLevel()))
			}
		}
		s.announce(a, leech(a))
		s.pass(testInterval * 9 / 4)
		s.announce(b, leech(b))
		sweep()
		s.announce(b, leech(b)).expect(t, 2, 0, a)
		s.pass(2 * s.store.unit)
		sweep()
		s.announce(b, leech(b)).expect(t, 1, 0)
		for i := 0; i < 30; i++ { // none goes unseen for longer than a pass
			s.pass(testInterval / 10)
			sweep()
		}
		if n, _ := s.store.totals(); n != 0 {
			t.Errorf("%d torrents are left", n)
		}
	})
}

// TestStampsSuffice checks that the stamp of a peer does not wrap before its
// life and a sweep end, for every interval. newTracker panics if it would.
func TestStampsSuffice(t *testing.T) {
	for i := minInterval; i <= maxInterval; i++ {
		newTracker(&store{unit: stampUnit(i)}, i)
	}
}

// accepts sends a scrape with an ID and reports whether the ID was valid.
func (s *service) accepts(h host, id []byte) bool {
	s.t.Helper()
	reply := s.ask(h, scrapeRequest(id, 0))
	ok := bytes.HasPrefix(reply, u32(2))
	if !ok && !bytes.HasPrefix(reply, errorReply("connection ID")) {
		s.t.Fatalf("neither accepted nor refused: %x (%s)", reply, verdictInfo[s.last].name)
	}
	return ok
}

// TestIDLife checks that an ID is valid for 120 seconds, also at an instance
// that has never seen it.
func TestIDLife(t *testing.T) {
	for name, other := range map[string]bool{"same": false, "another": true} {
		t.Run(name, func(t *testing.T) {
			families(t, func(t *testing.T, s *service, a, _, _ host) {
				id := s.connectID(a)
				if other {
					o := newService(t)
					o.proved = s.proved
					s = o
				}
				for _, n := range []seconds{0, 1, 58, 60, 1} {
					s.pass(n)
					if !s.accepts(a, id) {
						t.Fatalf("refused %d s after it was issued", s.now.wall-testWall)
					}
				}
				for _, n := range []seconds{1, 1, 120, 1 << 20, 1 << 30, 1 << 31} {
					s.pass(n)
					if s.accepts(a, id) {
						t.Fatalf("accepted %d s after it was issued", s.now.wall-testWall)
					}
					s.handlerOf(a).errors.rows[0] = limitRow{}
				}
			})
		})
	}
}

// TestIDFromTheFuture checks that the clock of another instance may be ahead by
// some seconds.
func TestIDFromTheFuture(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, _, _ host) {
		for ahead, want := range map[uint32]bool{1: true, cookieSkew: true, cookieSkew + 1: false, 120: false, 1 << 20: false, 1 << 30: false} {
			o := newService(t)
			o.now.wall += ahead
			if got := s.accepts(a, o.id(a)); got != want {
				t.Errorf("%d s ahead: accepted %v", ahead, got)
			}
		}
	})
}

// TestIDBoundToAddress checks that an ID is valid from every port of its
// address, and from no other address.
func TestIDBoundToAddress(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, b, _ host) {
		id := s.connectID(a)
		s.connectID(b)
		if !s.accepts(netip.AddrPortFrom(a.Addr(), 9), id) {
			t.Error("ID from another port: got refused, want accepted")
		}
		for i := 0; i < 2; i++ { // remembered or not
			if s.accepts(b, id) {
				t.Error("ID from another address: got accepted, want refused")
			}
			if s.accepts(netip.AddrPortFrom(a.Addr().Next(), a.Port()), id) {
				t.Error("ID from the next address: got accepted, want refused")
			}
			if !s.accepts(a, id) {
				t.Error("ID from its own address: got refused, want accepted")
			}
		}
	})
}

// TestIDForged checks that an ID with a changed bit and a guessed ID are
// refused.
func TestIDForged(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, _, _ host) {
		s.handlerOf(a).errors = newLimiter(64, 0, limitWindow, siphash.Key{})
		s.handlerOf(a).repeats = newLimiter(64, 0, limitWindow, siphash.Key{})
		id := s.connectID(a)
		for i := 0; i < 64; i++ {
			forged := bytes.Clone(id)
			forged[i/8] ^= 1 << (i % 8)
			if s.accepts(a, forged) {
				t.Errorf("accepted with bit %d changed", i)
			}
		}
		guesses := [][]byte{make([]byte, 8), bytes.Repeat([]byte{0xff}, 8), bin("0000041727101980"), concat(id[4:], id[:4])}
		for i := 0; i < 1000; i++ {
			guesses = append(guesses, concat(id[:4], u32(uint32(i))))
		}
		for _, guess := range guesses {
			if bytes.HasPrefix(s.ask(a, scrapeRequest(guess, 0)), u32(2)) {
				t.Errorf("accepted %x", guess)
			}
		}
	})
}

// TestSharedSecret checks that instances with the same secret accept each
// other's IDs, and that others do not.
func TestSharedSecret(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, _, _ host) {
		id := s.connectID(a)
		same, other := newServiceOf(t, 1, "secret"), newServiceOf(t, 1, "Secret")
		if !same.accepts(a, id) {
			t.Error("ID of an instance with the same secret: got refused, want accepted")
		}
		if other.accepts(a, id) {
			t.Error("ID of an instance with another secret: got accepted, want refused")
		}
		// How long an instance has been up does not matter.
		same = newServiceOf(t, 1, "secret")
		same.now.mono += 1 << 20
		if !same.accepts(a, id) {
			t.Error("ID at an older instance: got refused, want accepted")
		}
	})
}

// TestWallClockJumps changes the wall clock: a board without a battery starts
// in 1970, or the clock is set back. IDs from before stay valid for two
// minutes, and not longer.
func TestWallClockJumps(t *testing.T) {
	for _, jump := range []struct{ before, after uint32 }{
		{10, testWall}, {testWall, 10}, {testWall, testWall - 3600}, {testWall, testWall + 3600},
		{testWall, testWall - 11}, {testWall, testWall + 200}, {math.MaxUint32 - 5, testWall}, {testWall, testWall - 2},
		{testWall, testWall + 20*365*24*3600}, {testWall, testWall - 20*365*24*3600}, // years
	} {
		t.Run(fmt.Sprintf("%d to %d", jump.before, jump.after), func(t *testing.T) {
			families(t, func(t *testing.T, _ *service, a, b, _ host) {
				s := newServiceAt(t, timestamp{mono: 3, wall: jump.before})
				first := s.connectID(a)
				s.pass(50)
				second := s.connectID(a)
				s.now.wall += jump.after - jump.before
				third := s.connectID(a)
				for _, id := range [][]byte{first, second, third} {
					if !s.accepts(a, id) {
						t.Fatalf("%x is refused after the jump", id)
					}
					if s.accepts(b, id) {
						t.Fatalf("%x is good for another address", id)
					}
				}
				s.pass(70) // the first is 120 s old
				for _, id := range [][]byte{first, second, third} {
					if !s.accepts(a, id) {
						t.Fatalf("%x is refused before its time", id)
					}
				}
				// By a clock that was set back a little it is younger.
				if back := jump.before - jump.after; back <= cookieLife {
					s.pass(seconds(back))
				}
				s.pass(3)
				if s.accepts(a, first) {
					t.Error("the first ID after two minutes: got accepted, want refused")
				}
				s.pass(50)
				if s.accepts(a, second) || s.accepts(a, third) {
					t.Error("the other IDs after two minutes: got accepted, want refused")
				}
			})
		})
	}
}

// newServiceAt makes a service whose clocks have stood there from the start.
func newServiceAt(t testing.TB, now timestamp) *service {
	s := newServiceOf(t, 4, "secret")
	key := deriveKey([]byte("secret"))
	s.now = now
	s.v4, s.v6 = newTestHandler(s.tracker, key, now), newTestHandler(s.tracker, key, now)
	return s
}

// TestSlowDrift checks that a new ID is valid while the clock is slewed, second
// by second.
func TestSlowDrift(t *testing.T) {
	families(t, func(t *testing.T, s *service, a, _, _ host) {
		s.handlerOf(a).connects = newLimiter(64, 0, limitWindow, siphash.Key{})
		for i := 0; i < 300; i++ {
			id := s.id(a)
			s.pass(100)
			if i%2 == 0 {
				s.now.wall++
			} else {
				s.now.mono++
			}
			if i > 150 {
				s.now.wall--
			}
			if !s.accepts(a, id) {
				t.Fatalf("step %d: refused", i)
			}
		}
	})
}

// TestFirstSecondsOf1970 checks that an ID from the first seconds of 1970 is
// valid and cannot be mistaken for an action.
func TestFirstSecondsOf1970(t *testing.T) {
	families(t, func(t *testing.T, _ *service, a, _, _ host) {
		for wall := uint32(0); wall < 8; wall++ {
			s := newServiceAt(t, timestamp{wall: wall})
			id := s.connectID(a)
			for i := 0; i < 120; i++ {
				if !s.accepts(a, id) {
					t.Fatalf("issued at %d: refused after %d s", wall, i)
				}
				s.pass(1)
			}
		}
	})
}

func TestWantedPeers(t *testing.T) {
	for _, c := range []struct {
		numWant     int32
		limit, want int
	}{
		{numWant: math.MinInt32, limit: 200, want: 50},
		{numWant: -1, limit: 200, want: 50},
		{numWant: -1, limit: 49, want: 49},
		{numWant: 0, limit: 200, want: 0},
		{numWant: 1, limit: 200, want: 1},
		{numWant: 199, limit: 200, want: 199},
		{numWant: 200, limit: 200, want: 200},
		{numWant: 201, limit: 200, want: 200},
		{numWant: math.MaxInt32, limit: 66, want: 66},
	} {
		a := bep15.AnnounceRequest{NumWant: c.numWant}
		if got := wantedPeers(&a, c.limit); got != c.want {
			t.Errorf("num_want %d, at most %d: %d, want %d", c.numWant, c.limit, got, c.want)
		}
	}
}
