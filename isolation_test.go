package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// isolate makes a service with these networks, and those of VPNs.
func isolate(t testing.TB, networks string) *service {
	t.Helper()
	s := newServiceOf(t, 400, "secret")
	c := &config{}
	if err := setIsolate(c, networks); err != nil {
		t.Fatal(err)
	}
	s.store.isolated = c.isolated
	return s
}

// places are networks, with the i-th host of each.
var places = map[string]struct{ base4, base6 string }{
	"LAN":       {"192.168.1.0", "fd00:1::"},
	"guests":    {"192.168.2.0", "fd00:2::"},
	"cameras":   {"192.168.3.0", "fd00:3::"},
	"lab":       {"10.0.0.0", "fd00:4::"},
	"tailscale": {"100.64.0.0", "fd7a:115c:a1e0::"},
	"yggdrasil": {"172.16.0.0", "201:2:3::"}, // IPv6 only; 172.16/12 stands in for it
	"internet":  {"198.51.100.0", "2001:db8::"},
	"host":      {"127.0.0.1", "::1"},
}

const testNetworks = "192.168.2.0/24,192.168.3.0/24,10.0.0.0/8,172.16.0.0/12,fd00:2::/64,fd00:3::/64,fd00:4::/64"

func place(name string, i int, v6 bool) host {
	return resident(places[name].base4, places[name].base6, i, v6)
}

// In an isolated network a client gets its own peers first, and then public ones.
// Nobody else gets its peers. It is so in swarms of every layout, with and
// without a public address of this network.
func TestIsolation(t *testing.T) {
	gets := func(requester string) []string {
		switch requester {
		case "LAN":
			return []string{"LAN", "internet"}
		case "internet":
			return []string{"internet"}
		case "host":
			return []string{"host", "LAN", "internet"}
		}
		return []string{requester, "internet"}
	}
	bothFamilies(t, func(t *testing.T, v6 bool) {
		for _, external := range []bool{false, true} {
			for _, n := range []int{1, 5, 30} {
				for requester := range places {
					t.Run(fmt.Sprintf("%s/%d/external=%v", requester, n, external), func(t *testing.T) {
						s := isolate(t, testNetworks)
						if external {
							s.setExternal([4]byte{203, 0, 113, 1}, [16]byte{0x20, 1, 0xd, 0xb8, 0xff, 15: 1})
						}
						for name := range places {
							for i := range n {
								h := place(name, i, v6)
								s.announce(h, leech(h))
							}
						}
						h := place(requester, 250, v6)
						if requester == "host" {
							h = netip.AddrPortFrom(h.Addr(), 9999)
						}
						got := s.list(h, 1, 66)
						want := map[host]bool{}
						for _, name := range gets(requester) {
							for i := range n {
								want[place(name, i, v6)] = true
							}
						}
						own := min(n, 66)
						for i, p := range got {
							if external && requester == "internet" && (p.Addr() == netip.MustParseAddr("203.0.113.1") || p.Addr() == netip.MustParseAddr("2001:db8:ff00::1")) {
								continue // a LAN peer by the public address
							}
							if !want[p] {
								t.Fatalf("gets %v", p)
							}
							if isOwn := place(requester, int(p.Port())-2000, v6) == p; requester != "internet" && requester != "host" && isOwn != (i < own) {
								t.Fatalf("peer %d is %v: its own network must come first", i, p)
							}
							delete(want, p)
						}
						if len(want) > 0 && len(got) < 66 {
							t.Errorf("got %d peers, without %v", len(got), want)
						}
						// Its stop removes it, whatever form is stored.
						before := s.store.scrape(testHash(0)).leechers
						s.announce(h, fields{event: 3, port: h.Port()})
						if after := s.store.scrape(testHash(0)).leechers; after != before-1 {
							t.Errorf("after a stop: got %d leechers, want %d", after, before-1)
						}
						checkInvariants(t, s.store)
					})
				}
			}
		}
	})
}

// A small network among many peers of another isolated network gets its own
// peers, up to the limit that appendRun has.
func TestIsolationSmallAmongMany(t *testing.T) {
	s := isolate(t, testNetworks)
	for i := range 200 {
		h := place("tailscale", i, false)
		s.announce(h, leech(h))
	}
	own := []host{place("guests", 1, false), place("guests", 2, false)}
	for _, h := range own {
		s.announce(h, leech(h))
	}
	h := place("guests", 3, false)
	for range 50 {
		got := s.list(h, 1, 50)
		slices.SortFunc(got, func(a, b host) int { return a.Compare(b) })
		if !slices.Equal(got, own) {
			t.Fatalf("got %v, want %v", got, own)
		}
	}
}

// Every address of a network comes back from its stored form, and the longest
// prefix wins.
func TestIsolationForms(t *testing.T) {
	s := isolate(t, "none,10.0.0.0/8,10.1.0.0/16,192.168.2.7/32,200::/7,fd00:2::/64,fd00:2::8/128")
	iso := s.store.isolated
	tests := []struct {
		address string
		same    string // an address of the same network; "": not isolated
		other   string // an address of another network
	}{
		{address: "10.0.0.1", same: "10.255.255.255", other: "10.1.0.1"},
		{address: "10.1.0.1", same: "10.1.255.255", other: "10.2.0.1"},
		{address: "192.168.2.7", same: "192.168.2.7", other: "10.0.0.1"},
		{address: "192.168.2.8"},
		{address: "100.64.0.1"},
		{address: "200::1", same: "3ff:ffff::1", other: "fd00:2::1"},
		{address: "301:2:3:4:5:6:7:8", same: "200::1", other: "fd00:2::8"},
		{address: "fd00:2::1", same: "fd00:2::ffff:ffff:ffff:ffff", other: "fd00:2::8"},
		{address: "fd00:2::8", same: "fd00:2::8", other: "fd00:2::9"},
		{address: "fd00:2:0:1::"},
		{address: "fd7a:115c:a1e0::1"},
	}
	for _, test := range tests {
		t.Run(test.address, func(t *testing.T) {
			a := netip.MustParseAddr(test.address)
			if a.Is6() {
				checkForm[key6](t, iso, a, test.same, test.other)
			} else {
				checkForm[key4](t, iso, a, test.same, test.other)
			}
		})
	}
}

func checkForm[K peerKey](t *testing.T, iso *isolation, a netip.Addr, same, other string) {
	t.Helper()
	stored := func(a netip.Addr) (k K) {
		copy(bytesOf(&k), a.AsSlice())
		if !normalizeSource(&k, 0, iso) {
			t.Fatalf("%v is refused", a)
		}
		return k
	}
	k := stored(a)
	if got := isIsolated(&k); got != (same != "") {
		t.Fatalf("isolated: got %v, want %v", got, same != "")
	}
	if same == "" {
		return
	}
	if scopeOf(&k) != scopeLink {
		t.Errorf("scope: got %v, want %v", scopeOf(&k), scopeLink)
	}
	neighbour, stranger := stored(netip.MustParseAddr(same)), stored(netip.MustParseAddr(other))
	if !sameLink(&k, &neighbour) || sameLink(&k, &stranger) {
		t.Errorf("same network as %s: %v, as %s: %v", same, sameLink(&k, &neighbour), other, sameLink(&k, &stranger))
	}
	stripLinkID(&k, iso)
	if got, _ := netip.AddrFromSlice(address(&k)); got != a {
		t.Errorf("comes back as %v", got)
	}
}

// There is room for four networks beside those of VPNs, and the error says how
// many there may be.
func TestIsolationLimit(t *testing.T) {
	var four, six []string
	for i := range maxIsolated - 1 { // one is Tailscale's
		four = append(four, fmt.Sprintf("192.168.%d.0/24", i))
	}
	for i := range maxIsolated - 2 { // two are those of VPNs
		six = append(six, fmt.Sprintf("fd00:%d::/64", i))
	}
	all := strings.Join(append(four, six...), ",")
	if err := setIsolate(&config{}, all); err != nil {
		t.Errorf("%s: got %v, want no error", all, err)
	}
	for _, more := range []string{"192.168.99.0/24", "fd00:99::/64"} {
		if err := setIsolate(&config{}, all+","+more); err == nil || !strings.Contains(err.Error(), "more than 8 networks") {
			t.Errorf("one more: got %v, want an error", err)
		}
	}
	if len(four) < 4 || len(six) < 4 {
		t.Errorf("room for %d and %d networks, want 4", len(four), len(six))
	}
}

// e000::/4 has the stored form of isolated networks, and no host has it.
func TestIsolationForged(t *testing.T) {
	s := isolate(t, testNetworks)
	for _, address := range []string{"[e000::1]:1", "[efff::1]:1", "240.0.0.1:1", "247.0.0.1:1"} {
		h := netip.MustParseAddrPort(address)
		s.expectSilence(h, connectRequest())
	}
}
