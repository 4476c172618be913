//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

// A routerTopology is the home network of docs/router.md: a router that runs the
// tracker, two hosts on its LAN and two on the internet. The router masquerades
// the IPv4 of the LAN and forwards a port to each host. IPv6 is routed. One
// host on each side has both families.
type routerTopology struct {
	*lab
	router          *host
	inside, outside [2]*host
	wan             string   // the router's public address
	tr              *tracker // which torrents know by that
	world           *probe   // asks it from out there
}

func newRouterTopology(t *testing.T) *routerTopology {
	l := newLab(t)
	const home, isp = "home", firstSegment
	h := &routerTopology{lab: l, wan: "203.0.113.1"}
	l.segment(home)
	h.router = l.bare("router")
	h.router.plug("wan", isp, h.wan+"/24", "2001:db8::1/64")
	h.router.plug("lan", home, "192.168.1.1/24", "2001:db8:1::1/64")
	h.router.route("default", "via", "203.0.113.254")
	h.router.route("default", "via", "2001:db8::fe")
	h.router.run("sysctl", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	for i := range h.inside {
		in, out := l.bare(fmt.Sprintf("lan%d", i+1)), l.bare(fmt.Sprintf("wan%d", i+1))
		in.plug("eth0", home, fmt.Sprintf("192.168.1.%d/24", 11+i))
		out.plug("eth0", isp, fmt.Sprintf("203.0.113.%d/24", 11+i))
		if i == 1 {
			in.give("eth0", "2001:db8:1::12/64")
			out.give("eth0", "2001:db8::12/64")
			in.route("default", "via", "2001:db8:1::1")
			out.route("2001:db8:1::/64", "via", "2001:db8::1")
		}
		in.route("default", "via", "192.168.1.1")
		in.peerPort = peerPort + i // the router has but one of each
		h.inside[i], h.outside[i] = in, out
	}
	h.router.nft(documented(t, "../docs/router.md", "nft"))
	// The first chain, so it counts all packets that will be forwarded.
	h.router.nft(`table inet count {
		chain forward {
			type filter hook forward priority filter - 1;
			counter
			ct state new ct status dnat counter
		}
	}`)
	return h
}

// documented is the block of a kind in a page of the documentation.
func documented(t *testing.T, path, kind string) string {
	t.Helper()
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(page), "\n```"+kind+"\n")
	block, _, end := strings.Cut(block, "\n```\n")
	if !ok || !end {
		t.Fatalf("%s has no block of %s", path, kind)
	}
	return block
}

// forwarded returns how many bytes reached the router for forwarding, and how
// many packets began a connection through a port forwarding.
func (h *routerTopology) forwarded() (bytes, openings int) {
	h.Helper()
	out, err := h.router.command("nft", "list", "chain", "inet", "count", "forward").Output()
	if err != nil {
		h.Fatal(err)
	}
	found := regexp.MustCompile(`counter packets (\d+) bytes (\d+)`).FindAllSubmatch(out, -1)
	if len(found) != 2 {
		h.Fatalf("%d counters: %s", len(found), out)
	}
	bytes, _ = strconv.Atoi(string(found[0][2]))
	openings, _ = strconv.Atoi(string(found[1][1]))
	return bytes, openings
}

// A download is a file that goes from one host to another.
type download struct {
	from    *host
	seeder  *client
	to      *host
	leecher *client
}

// load runs downloads in parallel. Leechers start when the seeder is known. The
// seeder announces again only when they are done, so that the leechers must
// find the seeder.
func (h *routerTopology) load(round string, downloads ...download) {
	h.Helper()
	var peers, leechers []*peer
	for i, d := range downloads {
		tor := h.torrent(fmt.Sprintf("%s-%d", round, i), h.tr.url(ipv4), h.tr.url(ipv6))
		peers = append(peers, d.from.seed(d.seeder, tor))
		want := counts{seeders: 1}
		if d.from.ip6.IsValid() {
			want.seeders++
		}
		h.world.awaitCounts(tor, want)
		leechers = append(leechers, d.to.leech(d.leecher, tor))
	}
	for _, p := range leechers {
		p.awaitFile()
	}
	for _, p := range append(peers, leechers...) {
		p.leave()
	}
}

// In a home network every pair exchanges its file. LAN clients connect directly,
// internet clients use the public address and the port forwarding.
func TestHouse(t *testing.T) {
	t.Parallel()
	h := newRouterTopology(t)
	h.tr = h.router.tracker("-external-ip", "auto")
	h.tr.awaitLog("external IPv4 address: " + h.wan)
	h.tr.awaitLog("external IPv6 address: 2001:db8::1")
	h.world = h.outside[0].probe(h.tr.address(ipv4))
	lan1, lan2, wan1, wan2 := h.inside[0], h.inside[1], h.outside[0], h.outside[1]

	h.load("neighbours", download{lan1, rtorrent, lan2, libtorrent}, download{wan1, aria2, wan2, libtorrent})
	if bytes, _ := h.forwarded(); bytes != 0 {
		t.Errorf("the router has forwarded %d bytes for neighbours", bytes)
	}
	h.load("across", download{lan1, libtorrent, wan1, transmission}, download{wan2, libtorrent, lan2, libtorrent})
	bytes, openings := h.forwarded()
	if bytes < 2*fileSize || openings == 0 {
		t.Errorf("the router has forwarded %d bytes, and opened %d connections from outside", bytes, openings)
	}
	h.load("crosswise", download{lan2, libtorrent, wan1, aria2}, download{wan2, libtorrent, lan1, rtorrent})
	if more, again := h.forwarded(); more < bytes+2*fileSize || again == openings {
		t.Errorf("the router has forwarded %d bytes more, and opened %d connections from outside", more-bytes, again-openings)
	}

	// A new lease: the internet gets the new address, the LAN gets the same
	// as before.
	hash := [20]byte{1}
	inside := lan1.probe(h.tr.address(ipv4))
	sees := func(p *probe, want string) {
		t.Helper()
		p.await("it is told "+want, func() error {
			got, err := p.peers(hash)
			if err == nil && !slices.Equal(got, []netip.AddrPort{netip.MustParseAddrPort(want)}) {
				err = fmt.Errorf("it is told %v", got)
			}
			return err
		})
	}
	if _, _, err := inside.announce(hash, bep15.EventNone, 6881); err != nil {
		t.Fatal(err)
	}
	sees(h.world, h.wan+":6881")
	const lease = "203.0.113.77"
	h.router.ip("-n", h.router.namespace, "addr", "del", h.wan+"/24", "dev", "wan")
	h.router.give("wan", lease+"/24")
	h.router.route("default", "via", "203.0.113.254")
	h.tr.awaitLog("external IPv4 address: " + lease)
	h.world.tracker = netip.AddrPortFrom(netip.MustParseAddr(lease), trackerPort)
	sees(h.world, lease+":6881")
	sees(lan2.probe(netip.MustParseAddrPort("192.168.1.1:1337")), "192.168.1.11:6881")

	// A new prefix, and a provider without a public IPv4 address.
	h.router.give("wan", "2001:db8:0:77::1/64")
	h.router.ip("-n", h.router.namespace, "addr", "del", "2001:db8::1/64", "dev", "wan")
	h.tr.awaitLog("external IPv6 address: 2001:db8:0:77::1")
	h.router.ip("-n", h.router.namespace, "addr", "del", lease+"/24", "dev", "wan")
	h.tr.awaitLog("external IPv4 address: none")
	h.router.give("wan", "100.64.7.7/24")
	h.router.route("default", "via", "100.64.7.1")
	h.tr.awaitLog("external IPv4 address: none, because 100.64.7.7 is not a public one")
}
