//go:build linux

package e2e

import (
	"net/netip"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

// Guests get other guests and internet peers, and never an address of the LAN.
// The LAN and the internet never get an address of a guest.
func TestGuests(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	const segment = "guest"
	h.segment(segment)
	h.router.plug("guest", segment, "192.168.2.1/24")
	guests := [2]*host{}
	for i, name := range []string{"guest1", "guest2"} {
		g := h.bare(name)
		g.plug("eth0", segment, []string{"192.168.2.11/24", "192.168.2.12/24"}[i])
		g.route("default", "via", "192.168.2.1")
		guests[i] = g
	}
	h.router.nft(homeRules + `
table inet guest {
	chain forward {
		type filter hook forward priority filter - 1;
		iifname "guest" oifname "lan" drop
		iifname "guest" accept
	}
}`)
	tr := h.router.tracker("-external-ip", "auto", "-isolate", "192.168.2.0/24")
	tr.awaitLog("external IPv4 address: " + homeWAN)

	tor := h.torrent("guests", "udp://192.168.2.1:1337/announce")
	seeder := guests[0].seed(libtorrent, tor)
	world := h.wan.probe(netip.MustParseAddrPort(homeWAN + ":1337"))
	world.awaitCounts(tor, counts{seeders: 1})
	leecher := guests[1].leech(libtorrent, tor)
	leecher.awaitFile()
	leecher.leave()
	seeder.leave()

	hash := [20]byte{9}
	guest := guests[0].probe(netip.MustParseAddrPort("192.168.2.1:1337"))
	lan := h.lan.probe(netip.MustParseAddrPort("192.168.1.1:1337"))
	for _, p := range []struct {
		probe *probe
		port  uint16
	}{{guest, 6881}, {lan, 6882}, {world, 6883}} {
		if _, _, err := p.probe.announce(hash, bep15.EventNone, p.port); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name string
		from *host
		at   string
		want []string
	}{
		{name: "guest", from: guests[1], at: "192.168.2.1:1337", want: []string{"192.168.2.11:6881", "45.83.1.9:6883"}},
		{name: "LAN", from: h.pi, at: "192.168.1.1:1337", want: []string{"192.168.1.11:6882", "45.83.1.9:6883"}},
	} {
		got, err := test.from.probe(netip.MustParseAddrPort(test.at)).peers(hash)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range test.want {
			if len(got) != len(test.want) || got[i].String() != want {
				t.Errorf("%s: got %v, want %v", test.name, got, test.want)
				break
			}
		}
	}
	got, err := world.peers(hash)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range got {
		if p.String() != homeWAN+":6882" && p.String() != "45.83.1.9:6883" {
			t.Errorf("the internet gets %v, want the LAN host by the public address", got)
		}
	}
}
