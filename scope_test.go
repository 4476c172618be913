package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"
)

// residents are where the i-th peer of each scope is.
var residents = map[string]func(i int, v6 bool) host{
	"link":    func(i int, v6 bool) host { return resident("169.254.0.0", "fe80::1:0:0", i, v6) },
	"host":    func(i int, v6 bool) host { return resident("127.0.0.1", "::1", i, v6) },
	"private": func(i int, v6 bool) host { return resident("192.168.0.0", "fd12:3456::", i, v6) },
	"global":  func(i int, v6 bool) host { return resident("203.0.113.0", "2001:db8::", i, v6) },
}

// resident returns the i-th address after base. For the scope of a host it
// returns one address with the i-th port.
func resident(base4, base6 string, i int, v6 bool) host {
	base := base4
	if v6 {
		base = base6
	}
	b := netip.MustParseAddr(base).AsSlice()
	if base != "::1" && base != "127.0.0.1" {
		b[len(b)-2] += byte(i >> 8)
		b[len(b)-1] = byte(i)
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a, uint16(2000+i))
}

// bothFamilies runs a test for IPv4 and for IPv6.
func bothFamilies(t *testing.T, f func(t *testing.T, v6 bool)) {
	t.Helper()
	for _, v6 := range []bool{false, true} {
		t.Run(map[bool]string{false: "IPv4", true: "IPv6"}[v6], func(t *testing.T) { f(t, v6) })
	}
}

// TestWhoGetsWhom checks that a client gets exactly the peers that it can
// reach, in swarms of every layout.
func TestWhoGetsWhom(t *testing.T) {
	reached := map[string][]string{
		"link":    {"link", "private", "global"},
		"host":    {"host", "private", "global"},
		"private": {"private", "global"},
		"global":  {"global"},
	}
	sizes := []int{1, 30, 200}
	if testing.Short() {
		sizes = sizes[:2] // large swarms take long on an emulated processor
	}
	bothFamilies(t, func(t *testing.T, v6 bool) {
		for requester, seen := range reached {
			for peer := range reached {
				for other := range reached {
					for _, n := range sizes {
						s := newServiceOf(t, 200, "secret")
						s.link = 7
						want := 0
						for _, scope := range slices.Compact([]string{peer, other}) {
							for i := range n {
								h := residents[scope](i, v6)
								s.announce(h, leech(h))
							}
							if slices.Contains(seen, scope) {
								want += n
							}
						}
						h := residents[requester](999, v6)
						f := leech(h)
						f.want, f.event = 200, 0
						got := s.announce(h, f)
						most := 200
						if v6 {
							most = 66
						}
						if want = min(want, most); len(got.peers) != want {
							t.Fatalf("%d %s and %s peers: a %s requester gets %d, want %d", n, peer, other, requester, len(got.peers), want)
						}
						for _, p := range got.peers {
							if !slices.ContainsFunc(seen, func(scope string) bool { return p == residents[scope](int(p.Port())-2000, v6) }) {
								t.Fatalf("a %s requester gets %s", requester, p)
							}
						}
						// The counts are of all.
						if all := s.store.scrape(testHash(0)); got.leechers != all.leechers {
							t.Fatalf("%d leechers, a scrape says %d", got.leechers, all.leechers)
						}
					}
				}
			}
		}
	})
}

// list has h announce and returns the peers in the order of the reply.
func (s *service) list(h host, left uint64, want int32) (peers []host) {
	s.t.Helper()
	reply := s.ask(h, fields{id: s.id(h), left: left, want: want, port: h.Port()}.bytes())
	s.decode(h, reply)
	n := len(h.Addr().AsSlice())
	for rest := reply[20:]; len(rest) > 0; rest = rest[n+2:] {
		a, _ := netip.AddrFromSlice(rest[:n])
		peers = append(peers, netip.AddrPortFrom(a, binary.BigEndian.Uint16(rest[n:])))
	}
	return peers
}

// TestNearFirst checks that a client in the network gets the peers of the
// network first, then the rest, up to the number that it wants.
func TestNearFirst(t *testing.T) {
	bothFamilies(t, func(t *testing.T, v6 bool) {
		for _, n := range []int{2, 20, 60, 400} {
			s := newServiceOf(t, 400, "secret")
			for i := range n {
				s.list(residents["global"](i, v6), 1, 0)
			}
			for i := range min(n, 20) {
				s.list(residents["private"](i, v6), 1, 0)
			}
			for _, requester := range []string{"private", "host"} {
				h := residents[requester](999, v6)
				for _, want := range []int{1, 10, 20, 30, 60} {
					got := s.list(h, 1, int32(want))
					near := 0
					for near < len(got) && got[near].Addr().IsPrivate() {
						near++
					}
					others := slices.ContainsFunc(got[near:], func(p host) bool { return p.Addr().IsPrivate() })
					if near != min(n, 20, want) || len(got) != min(want, n+min(n, 20)) || others {
						t.Errorf("%d peers, %d wanted: %d, the first %d of them private", n, want, len(got), near)
					}
				}
				s.announce(h, fields{event: 3, port: h.Port()})
			}
		}
	})
}

// TestLinks checks that only clients on the same link get a link-local peer,
// and that the same address on two links is two peers.
func TestLinks(t *testing.T) {
	bothFamilies(t, func(t *testing.T, v6 bool) {
		for _, n := range []int{1, 30, 200} {
			s := newServiceOf(t, 200, "secret")
			a, c := residents["link"](0, v6), residents["link"](n, v6)
			for s.link = 3; s.link <= 4; s.link++ {
				for i := range n {
					h := residents["link"](i, v6)
					s.announce(h, leech(h))
				}
			}
			s.link = 4
			for i := n / 2; i < n; i++ {
				h := residents["link"](i, v6)
				s.announce(h, fields{event: 3, port: h.Port()})
			}
			for s.link = 3; s.link <= 5; s.link++ {
				want := map[uint32]int{3: n, 4: n / 2}[s.link]
				got := s.announce(c, fields{port: 1, left: 1, event: 3, want: 0})
				if n := int(got.leechers); n != s.leechersNow() {
					t.Fatalf("%d leechers", n)
				}
				peers := s.list(c, 1, 66)
				if len(peers) != min(want, 66) {
					t.Errorf("link %d: %d peers, want %d", s.link, len(peers), want)
				}
				for _, p := range peers {
					if p != residents["link"](int(p.Port())-2000, v6) {
						t.Errorf("link %d: %s", s.link, p)
					}
				}
				s.announce(c, fields{event: 3, port: c.Port()})
			}
			// An ID is good on its link only.
			s.link = 3
			id := s.connectID(a)
			if s.link = 4; s.accepts(a, id) {
				t.Error("an ID from another link: got accepted, want refused")
			}
		}
		if !v6 {
			s := newService(t)
			h := residents["link"](0, false)
			s.link = 4095
			s.connectID(h)
			s.link = 4096
			s.expectSilence(h, connectRequest())
		}
	})
}

func (s *service) leechersNow() int { return int(s.store.scrape(testHash(0)).leechers) }

// TestNobody checks that a source which cannot be a host gets no reply, except
// with -scope off.
func TestNobody(t *testing.T) {
	for _, c := range []struct {
		addr string
		ok   bool
	}{
		{"0.0.0.0", false}, {"0.1.2.3", false}, {"1.0.0.0", true}, {"223.255.255.255", true}, {"224.0.0.1", false}, {"239.255.255.255", false},
		{"240.0.0.1", false}, {"255.255.255.255", false}, {"127.0.0.1", true}, {"10.0.0.1", true}, {"169.254.1.1", true}, {"169.253.1.1", true},
		{"::", false}, {"::1", true}, {"::2", false}, {"::192.0.2.1", false}, {"::ffff:192.0.2.1", false}, {"::ffff:0:192.0.2.1", true}, {"::1:0:0:0", true},
		{"ff02::1", false}, {"ff0e::1", false}, {"fe80::1", true}, {"fc00::1", true}, {"fec0::1", true}, {"2001:db8::1", true}, {"64:ff9b::1", true},
	} {
		h := netip.AddrPortFrom(netip.MustParseAddr(c.addr), 1000)
		s := newService(t)
		if s.ask(h, connectRequest()); (s.last == connected) != c.ok || !c.ok && s.last != dropSource {
			t.Errorf("%s: verdict %d", c.addr, s.last)
		}
		s.scopes = false
		s.connectID(h)
	}
}

// TestScopeOff checks that all clients get all peers, with unchanged addresses.
func TestScopeOff(t *testing.T) {
	bothFamilies(t, func(t *testing.T, v6 bool) {
		s := newService(t)
		s.scopes = false
		var all []host
		for i, scope := range []string{"link", "host", "private", "global"} {
			s.link = uint32(i)
			h := residents[scope](i, v6)
			s.announce(h, leech(h)).expect(t, uint32(i+1), 0, slices.Clone(all)...)
			all = append(all, h)
		}
	})
}

// outsideOfTest has the service told its network's outer addresses, and returns
// that of the family with a port.
func (s *service) outsideOfTest(v6 bool) func(port uint16) host {
	a4, a6 := netip.MustParseAddr("198.51.100.77"), netip.MustParseAddr("2001:db8:ff::1")
	s.setExternal(a4.As4(), a6.As16())
	return func(port uint16) host {
		if v6 {
			return netip.AddrPortFrom(a6, port)
		}
		return netip.AddrPortFrom(a4, port)
	}
}

// TestExternal checks that internet clients get a LAN peer once, as a port of
// the router. LAN clients get it once, under its own address.
func TestExternal(t *testing.T) {
	bothFamilies(t, func(t *testing.T, v6 bool) {
		for _, crowd := range []int{0, 30, 200} { // others, of another torrent's worth
			s := newServiceOf(t, 200, "secret")
			for i := range crowd {
				h := residents["link"](i, v6) // given to nobody here
				s.announce(h, leech(h))
			}
			got := func(h host) announcement {
				f := leech(h)
				f.want = 60
				a := s.announce(h, f)
				s.announce(h, fields{event: 3, port: h.Port()})
				return a
			}
			peers := func(h host, want ...host) {
				t.Helper()
				a := got(h)
				if a.expect(t, a.leechers, 0, want...); a.leechers < uint32(crowd) {
					t.Fatal("got the counts of the reachable peers, want those of the whole swarm")
				}
			}
			private, local, global := residents["private"](0, v6), residents["host"](5, v6), residents["global"](0, v6)
			s.announce(private, leech(private))
			s.announce(local, leech(local))
			peers(global)
			out := s.outsideOfTest(v6)
			peers(global, out(private.Port()), out(local.Port()))
			peers(residents["private"](9, v6), private)
			peers(residents["host"](9, v6), private, local)

			// Another with the same port is the same forward.
			twin := netip.AddrPortFrom(residents["private"](3, v6).Addr(), private.Port())
			s.announce(twin, leech(twin))
			peers(global, out(private.Port()), out(local.Port()))
			peers(residents["private"](9, v6), private, twin)
			s.announce(twin, fields{event: 3, port: twin.Port()})

			// By the router's outer address it is the same peer.
			hairpin := out(private.Port())
			s.announce(hairpin, leech(hairpin))
			peers(global, out(private.Port()), out(local.Port()))
			peers(residents["private"](9, v6), private)
			peers(out(999), private)
			s.announce(private, fields{event: 3, port: private.Port()})
			peers(global, hairpin, out(local.Port()))
			peers(residents["private"](9, v6), hairpin)
			// It does not get itself, by either address.
			if got := s.list(private, 1, 60); slices.Contains(got, hairpin) {
				t.Errorf("%s gets itself as %s", private, hairpin)
			}
			if got := s.list(hairpin, 1, 60); slices.Contains(got, private) {
				t.Errorf("%s gets itself as %s", hairpin, private)
			}
			s.announce(hairpin, fields{event: 3, port: hairpin.Port()})

			// Another address, and none: a private one is none.
			other := netip.MustParseAddr("203.0.113.200")
			other6 := netip.MustParseAddr("2001:db8:ee::1")
			s.setExternal(other.As4(), other6.As16())
			if v6 {
				other = other6
			}
			peers(global, netip.AddrPortFrom(other, private.Port()), netip.AddrPortFrom(other, local.Port()))
			s.setExternal([4]byte{192, 168, 1, 1}, [16]byte{0xfd})
			peers(global)
			if v6 { // an address of the other family only
				s.setExternal([4]byte{203, 0, 113, 200}, [16]byte{})
			} else {
				s.setExternal([4]byte{}, other6.As16())
			}
			peers(global)
			s.setExternal([4]byte{}, [16]byte{})
			peers(global)
		}
	})
}

// TestFewAmongMany checks that a client gets the few peers of a large swarm
// that it can reach, and each of them equally often.
func TestFewAmongMany(t *testing.T) {
	many := 100_000
	if testing.Short() {
		many = 5000
	}
	s := newTestStore(t, 2000, 1)
	var rng splitMix64
	put := func(key *key4) {
		if _, _, o := announce(s, &announceParams{hash: testHash(0)}, key, &rng, nil); o != resultAdded {
			t.Fatalf("outcome %d", o)
		}
	}
	for i := range many {
		put(testKey4(i))
	}
	few := map[key4]int{}
	for i := range 3 {
		key := key4{203, 0, 113, byte(i), 1, 1}
		few[key] = 0
		put(&key)
	}
	checkInvariants(t, s)
	requester, dst := key4{198, 51, 100, 1, 1, 1}, make([]byte, 0, 2000)
	for _, outside := range []*externalAddrs{nil, testOutside} {
		for i := range 300 {
			got, _, _ := announce(s, &announceParams{hash: testHash(0), want: 50, visibility: visibilityOf(&requester, outside), external: outside}, &requester, &rng, dst)
			if n := len(got) / 6; n != 3 && outside == nil || n < 1 || n > 4 {
				t.Fatalf("round %d: %d peers", i, n)
			}
			for ; len(got) > 0; got = got[6:] {
				if k := key4(got[:6]); sameHost(&k, &testOutside.v4) {
					if outside == nil {
						t.Fatal("got the address of the router as a peer")
					}
				} else if _, ok := few[k]; !ok {
					t.Fatalf("%x is given", k)
				} else {
					few[k]++
				}
			}
		}
	}
	for k, n := range few {
		if n < 600 {
			t.Errorf("%x was given %d times in 600", k, n)
		}
	}
}

// TestSearchIsLimited checks that a reply does not search a large swarm for the
// few peers on the requester's link, because it holds the lock of the shard. In
// a swarm that it can search completely it finds them.
func TestSearchIsLimited(t *testing.T) {
	for _, c := range []struct{ others, least, most int }{
		{others: 100, least: 200, most: 200},
		{others: 20_000, least: 0, most: 40},
	} {
		s := newTestStore(t, 2000, 1)
		var rng splitMix64
		put := func(link byte, i int) {
			key := key4{0xe0, link, byte(i >> 8), byte(i), 1, 1}
			if _, _, o := announce(s, &announceParams{hash: testHash(0)}, &key, &rng, nil); o != resultAdded {
				t.Fatalf("peer %d: outcome %d", i, o)
			}
		}
		for i := range c.others {
			put(3, i)
		}
		put(4, 0)
		requester, dst := key4{0xe0, 4, 9, 9, 1, 1}, make([]byte, 0, 2000)
		found := 0
		for range 200 {
			got, _, _ := announce(s, &announceParams{hash: testHash(0), want: 50, visibility: visibilityLink}, &requester, &rng, dst)
			if want := []byte{169, 254, 0, 0, 1, 1}; len(got) > 0 && !bytes.Equal(got, want) {
				t.Fatalf("got %x, want %x or nothing", got, want)
			}
			found += len(got) / len(requester)
			announce(s, &announceParams{hash: testHash(0), stopped: true}, &requester, &rng, nil)
		}
		if found < c.least || found > c.most {
			t.Errorf("%d peers of another link: found the only peer in %d of 200 replies, want %d to %d", c.others, found, c.least, c.most)
		}
	}
}

// TestFairToAll checks that a client gets each peer that it can reach equally
// often, in swarms of each layout.
func TestFairToAll(t *testing.T) {
	rounds := 200
	if testing.Short() {
		rounds = 30
	}
	askers := map[string]*key4{
		"global":  {192, 0, 2, 1, 9, 9},
		"private": {192, 168, 77, 77, 9, 9},
		"host":    {127, 9, 9, 9, 9, 9},
		"link":    {0xe0, 1, 9, 9, 9, 9},
	}
	// Peers of one scope are told apart by their last address byte and port.
	sizes := map[string][4]int{ // link, host, private, global
		"inline": {1, 1, 1, 1}, "leaf": {20, 20, 20, 20}, "trie": {200, 200, 200, 200}, "large global": {3, 3, 60, 1500}, "large private": {3, 60, 1500, 60},
	}
	for layout, n := range sizes {
		for name, requester := range askers {
			for _, outside := range []*externalAddrs{nil, testOutside} {
				// Of how many it is given some: those that come first.
				few := map[string]int{"global": n[3], "private": n[2], "host": n[1] + n[2], "link": n[0]}[name]
				if name == "global" && outside != nil {
					few = n[1] + n[2] + n[3]
				}
				if few < 2 {
					continue // nothing to choose from
				}
				t.Run(fmt.Sprintf("%s/%s/%v", layout, name, outside != nil), func(t *testing.T) {
					t.Parallel()
					s := newTestStore(t, 200, 1)
					rng := splitMix64{state: 7}
					for sc, first := range []key4{{0xe0, 1}, {127}, {10}, {203}} {
						for i := range n[sc] {
							k := first
							k[2], k[3], k[4], k[5] = byte(i>>8), byte(i), 0x40+byte(sc)<<3+byte(i>>8), byte(i) // no port twice
							announce(s, &announceParams{hash: testHash(0), flags: meta(i % 4 / 3)}, &k, &rng, nil)
						}
					}
					want := max(1, min(few/3, 30))
					hits, total := map[key4]float64{}, 0.0
					dst := make([]byte, 0, 2000)
					for total < float64(rounds*few) {
						got, _, _ := announce(s, &announceParams{hash: testHash(0), want: want, stopped: false, visibility: visibilityOf(requester, outside), external: outside}, requester, &rng, dst)
						if len(got) != 6*want {
							t.Fatalf("%d bytes for %d", len(got), want)
						}
						for ; len(got) > 0; got = got[6:] {
							hits[key4(got[:6])]++
							total++
						}
					}
					if len(hits) != few {
						t.Fatalf("%d were given, want %d", len(hits), few)
					}
					expected, chi := total/float64(few), 0.0
					for _, h := range hits {
						chi += (h - expected) * (h - expected) / expected
					}
					df := float64(few - 1)
					if limit := df + 6*math.Sqrt(2*df)*math.Sqrt(float64(want)) + 10; chi > limit {
						t.Errorf("chi-square %.0f with %.0f degrees of freedom, over %.0f", chi, df, limit)
					}
				})
			}
		}
	}
}
