//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

// TestSmallMTU: a client gets 200 peers over IPv4 although a link has an MTU that
// is smaller than the reply: a link in the path, whose router must fragment, and
// the tracker's own, where the tracker's kernel must.
func TestSmallMTU(t *testing.T) {
	const mtu = "1200" // the reply has 20 + 200*6 bytes, and 28 bytes of headers
	for _, c := range []struct {
		name   string
		shrink func(tr, router, client *host)
	}{
		{name: "in the path", shrink: func(_, router, _ *host) {
			router.ip("-n", router.namespace, "link", "set", "lan", "mtu", mtu)
		}},
		{name: "own link", shrink: func(tr, _, _ *host) {
			tr.ip("-n", tr.namespace, "link", "set", "eth0", "mtu", mtu)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.segment("lan")
			tr := l.host("tracker", ipv4)
			router, client := l.bare("router"), l.bare("client")
			router.plug("wan", firstSegment, "198.18.0.2/24")
			router.plug("lan", "lan", "198.18.1.1/24")
			router.run("sysctl", "-w", "net.ipv4.ip_forward=1")
			client.plug("eth0", "lan", "198.18.1.2/24")
			client.route("default", "via", "198.18.1.1")
			tr.route("default", "via", "198.18.0.2")
			c.shrink(tr, router, client)
			tr.tracker()

			p := client.probe(netip.AddrPortFrom(tr.ip4, trackerPort))
			infoHash := [20]byte{1, 2, 3}
			for i := range 220 {
				if _, _, err := p.announceFor(infoHash, bep15.EventStarted, uint16(10000+i), 0); err != nil {
					t.Fatal(fmt.Errorf("peer %d: %w", i, err))
				}
			}
			peers, _, err := p.announce(infoHash, bep15.EventNone, 10000)
			if err != nil {
				t.Fatal(err)
			}
			if len(peers) != 200 {
				t.Errorf("got %d peers, want 200", len(peers))
			}
		})
	}
}

// TestScrapeInFragments: a scrape of 81 info hashes, which the npm client
// sends, does not fit into one frame of 1,500 bytes. The tracker gets both
// fragments and answers all info hashes. More hashes are answered only as far
// as they fit into a reply.
func TestScrapeInFragments(t *testing.T) {
	l := newLab(t)
	tr := l.host("tracker", ipv4|ipv6).tracker()
	client := l.host("client", ipv4|ipv6)
	for _, f := range []family{ipv4, ipv6} {
		p := client.probe(tr.address(f))
		for _, c := range []struct{ asked, answered int }{{74, 74}, {81, 81}, {102, 102}, {103, 102}} {
			hashes := make([]bep15.InfoHash, c.asked)
			reply, err := p.ask(bep15.AppendScrape(nil, 0, 0, hashes...))
			if err != nil {
				t.Fatal(fmt.Errorf("%v, %d info hashes: %w", f, c.asked, err))
			}
			if !bep15.ParseScrapeReply(reply, c.answered, func(int, bep15.Counts) {}) {
				t.Errorf("%v, %d info hashes: got %d bytes, want %d torrents", f, c.asked, len(reply), c.answered)
			}
		}
	}
}
