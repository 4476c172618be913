//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

// This file tests the tracker on a machine behind a router that maps ports:
// miniupnpd of Debian, which speaks PCP, NAT-PMP and UPnP IGD 1 and 2.

// buildPortmap builds pico-tracker-portmap once.
var buildPortmap = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(trackerBinary), "pico-tracker-portmap")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version=e2e", "-o", path, ".")
	build.Dir = "../portmap"
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build pico-tracker-portmap: %w\n%s", err, out)
	}
	return path, nil
})

// A home has a router with miniupnpd, a machine for the tracker and another host
// behind it, and a host on the internet. miniupnpd wants public addresses that
// are not reserved; nothing leaves the lab.
type home struct {
	*lab
	router, pi, lan, wan *host
	upnpd                *process
	address              string // file of the public address
}

const (
	homeWAN    = "45.83.1.1" // the router's public address
	homeNewWAN = "45.83.1.77"
	homeChain  = "prerouting_miniupnpd"
)

// homeRules are the router's: it masquerades, and lets in what miniupnpd maps.
const homeRules = `
flush ruleset
table inet miniupnpd {
	chain forward {
		type filter hook forward priority filter; policy drop;
		iifname "lan" accept
		ct state established,related accept
		jump miniupnpd
	}
	chain miniupnpd { }
	chain prerouting {
		type nat hook prerouting priority dstnat;
		jump prerouting_miniupnpd
	}
	chain prerouting_miniupnpd { }
	chain postrouting {
		type nat hook postrouting priority srcnat;
		jump postrouting_miniupnpd
		oifname "wan" masquerade
	}
	chain postrouting_miniupnpd { }
}`

func newHome(t *testing.T) *home {
	l := newLab(t)
	h := &home{lab: l, address: filepath.Join(l.dir, "address")}
	const segment = "home"
	l.segment(segment)
	h.router, h.pi, h.lan, h.wan = l.bare("router"), l.bare("pi"), l.bare("lan"), l.bare("wan")
	h.router.plug("wan", firstSegment, homeWAN+"/24")
	h.router.plug("lan", segment, "192.168.1.1/24")
	h.router.route("default", "via", "45.83.1.254")
	h.router.run("sysctl", "-w", "net.ipv4.ip_forward=1")
	h.pi.plug("eth0", segment, "192.168.1.2/24")
	h.lan.plug("eth0", segment, "192.168.1.11/24")
	h.wan.plug("eth0", firstSegment, "45.83.1.9/24")
	h.pi.route("default", "via", "192.168.1.1")
	h.lan.route("default", "via", "192.168.1.1")
	h.router.nft(homeRules)
	return h
}

// natPMP turns on PCP, too.
const natPMP = "enable_natpmp=yes"

// startRouter starts miniupnpd with more lines of configuration.
func (h *home) startRouter(more ...string) {
	h.Helper()
	config := filepath.Join(h.dir, "miniupnpd.conf")
	text := `ext_ifname=wan
listening_ip=lan
enable_upnp=yes
secure_mode=yes
upnp_table_name=miniupnpd
upnp_nat_table_name=miniupnpd
upnp_forward_chain=miniupnpd
upnp_nat_chain=` + homeChain + `
upnp_nat_postrouting_chain=postrouting_miniupnpd
uuid=5f2ef2e5-8c7b-4f6c-a1f9-0b5b3e1f7a11
` + strings.Join(more, "\n") + "\nallow 1024-65535 192.168.1.0/24 1024-65535\ndeny 0-65535 0.0.0.0/0 0-65535\n"
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		h.Fatal(err)
	}
	h.upnpd = h.router.start("miniupnpd", "-f", config, "-d", "-P", filepath.Join(h.dir, "miniupnpd.pid"))
	h.upnpd.awaitLog("HTTP listening on port")
}

// restartRouter does what a reboot of the router does: its mappings are gone.
func (h *home) restartRouter(more ...string) {
	h.Helper()
	h.upnpd.stop(syscall.SIGTERM)
	h.router.nft(homeRules)
	h.startRouter(more...)
}

// mappings are the router's rules for mapped ports.
func (h *home) mappings() string {
	h.Helper()
	out, err := h.router.command("nft", "list", "chain", "inet", "miniupnpd", homeChain).Output()
	if err != nil {
		h.Fatal(err)
	}
	return string(out)
}

// mapPort starts pico-tracker-portmap beside the tracker.
func (h *home) mapPort(flags ...string) *process {
	h.Helper()
	program, err := buildPortmap()
	if err != nil {
		h.Fatal(err)
	}
	return h.pi.start(append([]string{program, "-file", h.address, "-check", "1s", "-debug"}, flags...)...)
}

// sees waits until a probe gets the peer from the tracker.
func (p *probe) sees(hash [20]byte, want string) {
	p.Helper()
	p.await("it is told "+want, func() error {
		got, err := p.peers(hash)
		if err == nil && !slices.Equal(got, []netip.AddrPort{netip.MustParseAddrPort(want)}) {
			err = fmt.Errorf("it is told %v", got)
		}
		return err
	})
}

// Each protocol alone, and all together, keep the tracker reachable while the
// router restarts and its address changes.
func TestPortMapping(t *testing.T) {
	tests := []struct {
		name, protocols, title string
		router                 []string
	}{
		{name: "PCP", protocols: "pcp", title: "PCP", router: []string{natPMP}},
		{name: "NAT-PMP", protocols: "nat-pmp", title: "NAT-PMP", router: []string{natPMP}},
		{name: "IGD 1", protocols: "upnp", title: "UPnP", router: []string{"force_igd_desc_v1=yes"}},
		{name: "IGD 2", protocols: "upnp", title: "UPnP"},
		{name: "router with UPnP only", protocols: "pcp,nat-pmp,upnp", title: "UPnP"},
		{name: "all", protocols: "pcp,nat-pmp,upnp", title: "PCP", router: []string{natPMP}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t)
			h.startRouter(test.router...)
			tr := h.pi.tracker("-external-ip", h.address)
			mapper := h.mapPort("-protocols", test.protocols)
			mapper.awaitLog("public address " + homeWAN + ":1337 by " + test.title)
			mapper.awaitLog("use udp://" + homeWAN + ":1337/announce in torrents")
			tr.awaitLog("external IPv4 address: " + homeWAN + ", public port 1337")

			// The internet reaches the tracker, and gets a LAN peer by the
			// public address.
			hash := [20]byte{1}
			inside := h.lan.probe(tr.address(ipv4))
			if _, _, err := inside.announce(hash, bep15.EventNone, 6881); err != nil {
				t.Fatal(err)
			}
			world := h.wan.probe(netip.MustParseAddrPort(homeWAN + ":1337"))
			world.sees(hash, homeWAN+":6881")

			h.restartRouter(test.router...)
			h.await("the mapping is there again", func() error {
				if got := h.mappings(); !strings.Contains(got, "dnat ip to 192.168.1.2:1337") {
					return errors.New(got)
				}
				return nil
			})
			world.sees(hash, homeWAN+":6881")

			h.router.ip("-n", h.router.namespace, "addr", "del", homeWAN+"/24", "dev", "wan")
			h.router.give("wan", homeNewWAN+"/24")
			mapper.awaitLog("public address " + homeNewWAN + ":1337 by " + test.title)
			tr.awaitLog("external IPv4 address: " + homeNewWAN + ", public port 1337")
			world.tracker = netip.MustParseAddrPort(homeNewWAN + ":1337")
			world.sees(hash, homeNewWAN+":6881")

			mapper.stop(syscall.SIGTERM)
			if got := h.mappings(); strings.Contains(got, "dnat") {
				t.Errorf("after the stop the router still forwards: %s", got)
			}
			tr.awaitLog("external IPv4 address: none")
			if left, err := filepath.Glob(h.address + "*"); err != nil || len(left) > 0 {
				t.Errorf("files after the stop: %v, want none (%v)", left, err)
			}
		})
	}
}

// If another host has the public port, the log has the address to use, and a
// real client gets its file by it.
func TestPortMappingTaken(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"pcp", "nat-pmp", "upnp"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			h := newHome(t)
			h.startRouter(natPMP)
			h.lan.run("natpmpc", "-g", "192.168.1.1", "-a", "1337", "1337", "udp", "3600")
			h.lan.run("natpmpc", "-g", "192.168.1.1", "-a", "6881", "6881", "tcp", "3600")
			tr := h.pi.tracker("-external-ip", h.address)
			mapper := h.mapPort("-protocols", protocol)
			mapper.awaitLog("public port 1337 is not available")
			_, rest, _ := strings.Cut(mapper.read(mapper.log), "use udp://")
			url, _, ok := strings.Cut(rest, "/announce in torrents")
			public, err := netip.ParseAddrPort(url)
			if !ok || err != nil || public.Addr().String() != homeWAN || public.Port() == 1337 {
				t.Fatalf("the log says %q; want an address with another port (%v)", url, err)
			}
			tr.awaitLog(fmt.Sprintf("external IPv4 address: %s, public port %d", homeWAN, public.Port()))
			if protocol != "pcp" {
				hash := [20]byte{2}
				inside := h.lan.probe(tr.address(ipv4))
				if _, _, err := inside.announce(hash, bep15.EventNone, 6881); err != nil {
					t.Fatal(err)
				}
				h.wan.probe(public).sees(hash, homeWAN+":6881")
				return
			}
			tor := h.torrent("taken", "udp://"+url+"/announce", tr.url(ipv4))
			seeder := h.lan.seed(libtorrent, tor)
			h.wan.probe(public).awaitCounts(tor, counts{seeders: 1})
			leecher := h.wan.leech(libtorrent, tor)
			leecher.awaitFile()
			leecher.leave()
			seeder.leave()
		})
	}
}

// Routers that refuse: the program says what is wrong and the tracker
// continues. The mapping is made when the router allows it.
func TestPortMappingRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*home)
		says   string
	}{
		{name: "refuses", change: func(h *home) {
			// PCP and NAT-PMP would try all 65,535 ports one after another.
			h.startRouter("deny 0-65535 192.168.1.2/32 0-65535")
		}, says: "the router 192.168.1.1 does not forward the port (PCP: no answer; NAT-PMP: no answer; UPnP: refused: "},
		{name: "is behind another router", change: func(h *home) {
			h.router.ip("-n", h.router.namespace, "addr", "del", homeWAN+"/24", "dev", "wan")
			h.router.give("wan", "10.9.9.9/24")
			h.startRouter(natPMP)
		}, says: "the router 192.168.1.1 does not forward the port"},
		{name: "has no port mapping", change: func(*home) {}, says: "the router 192.168.1.1 does not answer by PCP, NAT-PMP or UPnP"},
		{name: "never answers", change: func(h *home) {
			h.router.nft(`table inet silent {
				chain input {
					type filter hook input priority filter
					iifname "lan" drop
				}
			}`)
		}, says: "the router 192.168.1.1 does not answer by PCP, NAT-PMP or UPnP"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t)
			test.change(h)
			tr := h.pi.tracker("-external-ip", h.address)
			mapper := h.mapPort()
			mapper.awaitLog(test.says)
			if text := tr.read(tr.log); strings.Contains(text, "external IPv4 address") {
				t.Errorf("the tracker took an address: %s", text)
			}
			if h.upnpd != nil {
				return
			}
			// A router announces itself when it starts.
			h.router.nft(homeRules)
			h.startRouter(natPMP)
			if err := mapper.cmd.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			mapper.awaitLog("public address " + homeWAN + ":1337 by PCP")
			tr.awaitLog("external IPv4 address: " + homeWAN)
		})
	}
}

// reflectionRules are what a home router adds so that LAN hosts reach a forwarded
// port by the public address. The router replaces the source by its own LAN
// address, as OpenWrt does by default (reflection_src internal).
const reflectionRules = `
table ip reflection {
	chain prerouting {
		type nat hook prerouting priority dstnat + 1;
		iifname "lan" ip daddr 45.83.1.1 udp dport 1337 dnat to 192.168.1.2
		iifname "lan" ip daddr 45.83.1.1 tcp dport 6881 dnat to 192.168.1.11
		iifname "wan" udp dport 1337 dnat to 192.168.1.2
		iifname "wan" tcp dport 6881 dnat to 192.168.1.11
	}
	chain postrouting {
		type nat hook postrouting priority srcnat + 1;
		iifname "lan" oifname "lan" ct status dnat SOURCE
	}
	chain forward {
		type filter hook forward priority filter - 1;
		ct status dnat accept
	}
}`

// LAN clients that use the public address of a tracker behind the router are
// given to others with the public address, and both the LAN and the internet get
// the file from them. With reflection_src external the router replaces the source
// by its public address, which the tracker knows, too.
func TestNATReflection(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, source string
		logged       bool
	}{
		{name: "internal", source: "snat to 192.168.1.1", logged: true},
		{name: "external", source: "snat to 45.83.1.1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t)
			rules := strings.Replace(homeRules, "policy drop;", "policy drop;\n\t\tct status dnat accept", 1)
			h.router.nft(rules + strings.Replace(reflectionRules, "SOURCE", test.source, 1))
			other := h.bare("lan2")
			other.plug("eth0", "home", "192.168.1.12/24")
			other.route("default", "via", "192.168.1.1")
			other.peerPort = peerPort + 1 // the router has only one of each

			stats := filepath.Join(h.dir, "stats.prom")
			tr := h.pi.tracker("-external-ip", homeWAN, "-stats", stats, "-stats-interval", "1s")
			const warning = "LAN clients come from the address of the router in front"
			tor := h.torrent("reflected", "udp://"+homeWAN+":1337/announce")
			seeder := h.lan.seed(libtorrent, tor)
			world := h.wan.probe(netip.MustParseAddrPort(homeWAN + ":1337"))
			world.awaitCounts(tor, counts{seeders: 1})
			world.sees(tor.infoHash, homeWAN+":6881")
			for _, to := range []struct {
				host *host
				as   *client
			}{{other, libtorrent}, {h.wan, libtorrent}} {
				leecher := to.host.leech(to.as, tor)
				leecher.awaitFile()
				leecher.leave()
			}
			seeder.leave()
			if test.logged {
				tr.awaitLog(warning)
			}
			if n := strings.Count(tr.read(tr.log), warning); n > 1 || n == 1 && !test.logged {
				t.Errorf("the warning is logged %d times, want it: %v", n, test.logged)
			}
		})
	}
}
