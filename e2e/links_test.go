//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
)

// answers asks the tracker at an address with a connected socket, which
// receives nothing from another address.
func (h *host) answers(address string) error {
	out, err := h.command(trackerBinary, "-probe", address).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s asks %s: %s", h.name, address, out)
	}
	return nil
}

// asks checks that each of the addresses answers.
func (h *host) asks(addresses ...string) {
	h.Helper()
	for _, a := range addresses {
		if err := h.answers(a); err != nil {
			h.Error(err)
		}
	}
}

// announces runs libtorrent and rTorrent, which drop a reply from another
// address. They announce to the tracker at each of the addresses, and leave
// again.
func (h *host) announces(name string, addresses ...string) {
	h.Helper()
	for _, c := range []*client{libtorrent, rtorrent} {
		var torrents []*torrent
		var paths []string
		for i, a := range addresses {
			url := fmt.Sprintf("udp://%v/announce", netip.AddrPortFrom(netip.MustParseAddr(a), trackerPort))
			torrents = append(torrents, h.torrent(fmt.Sprintf("%s-%s-%d", name, c.name, i), url))
			paths = append(paths, torrents[i].path)
		}
		p := h.leech(c, torrents[0], paths[1:]...)
		for i, a := range addresses {
			h.probe(netip.AddrPortFrom(netip.MustParseAddr(a), trackerPort)).awaitCounts(torrents[i], counts{leechers: 1})
		}
		p.leave()
	}
}

// announcesLink runs libtorrent and rTorrent with a tracker at fe80::1 on the
// host's link. Only their logs show that they got a reply, because a scope ID
// is valid on one host only.
func (h *host) announcesLink(name string) {
	h.Helper()
	h.give("eth0", "fe80::2/64")
	const url = "udp://[fe80::1%eth0]:1337/announce"
	for c, reply := range map[*client]string{libtorrent: "tracker_reply: ", rtorrent: "tracker_list: received 0 peers"} {
		var options []string
		if c == libtorrent { // which announces from where it listens
			options = []string{"--listen", fmt.Sprintf("[fe80::2%%eth0]:%d", h.peerPort)}
		}
		p := h.leech(c, h.torrent(name+"-"+c.name, url), options...)
		p.await(c.name+" has a reply on its link", func() error {
			own, _ := os.ReadFile(p.state() + ".log") // rTorrent's, once it has made it
			if !strings.Contains(p.read(p.log)+string(own), reply) {
				return errors.New("not in its log")
			}
			return nil
		})
		p.leave()
	}
}

// nft loads rules.
func (h *host) nft(rules string) {
	h.Helper()
	load := h.command("nft", "-f", "-")
	load.Stdin = strings.NewReader(rules)
	if out, err := load.CombinedOutput(); err != nil {
		h.Fatalf("nft on %s: %v: %s", h.name, err, out)
	}
}

// A reply leaves from the address that was asked, on whatever interface this
// address is and the request arrived.
func TestReplySource(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.segment("br1")
	tr := l.host("tracker", dual)
	tr.give("eth0", "198.18.0.101/24") // a second address of the network
	tr.give("eth0", "2001:db8::101/64")
	tr.plug("eth1", "br1", "198.19.0.1/24", "2001:db8:19::1/64")
	tr.give("lo", "198.18.7.1/32") // anycast
	tr.give("lo", "2001:db8:7::1/128")
	for _, device := range []string{"eth0", "eth1"} {
		tr.give(device, "fe80::1/64") // on each link
	}
	tr.give("eth0", "169.254.1.1/16")
	tr.give("eth1", "169.254.1.2/16")
	tr.tracker("-connect-limit", "0")

	near := l.host("near", dual)
	far := l.bare("far")
	far.plug("eth0", "br1", "198.19.0.2/24", "2001:db8:19::2/64")
	near.give("eth0", "169.254.9.9/16")
	far.give("eth0", "169.254.9.9/16")
	near.route("default", "via", "198.18.0.1")
	near.route("default", "via", "2001:db8::1")
	far.route("default", "via", "198.19.0.1")
	far.route("default", "via", "2001:db8:19::1")

	everywhere := []string{
		"198.18.0.1", "198.18.0.101", "198.19.0.1", "198.18.7.1",
		"2001:db8::1", "2001:db8::101", "2001:db8:19::1", "2001:db8:7::1",
	}
	for _, h := range []*host{near, far} {
		h.asks(everywhere...)
		h.asks("fe80::1%eth0") // two hosts, each on its own link
	}
	// Two hosts have one address, each on its own link.
	near.asks("169.254.1.1")
	far.asks("169.254.1.2")
	near.announces("near", everywhere...)
	far.announces("far", everywhere...)
	near.announcesLink("near-link")
	far.announcesLink("far-link")

	// A lease with a new address, a new prefix, and a PPP link that
	// connects: none of them needs a restart.
	tr.ip("-n", tr.namespace, "addr", "del", "198.19.0.1/24", "dev", "eth1")
	tr.ip("-n", tr.namespace, "addr", "del", "2001:db8:19::1/64", "dev", "eth1")
	tr.give("eth1", "198.19.0.77/24")
	tr.give("eth1", "2001:db8:77::1/64")
	far.give("eth0", "2001:db8:77::2/64")
	far.ip6 = netip.MustParseAddr("2001:db8:77::2")
	l.segment("br2")
	tr.plug("ppp0", "br2", "198.19.2.1/24")
	late := l.bare("late")
	late.plug("eth0", "br2", "198.19.2.2/24")
	far.announces("renewed", "198.19.0.77", "2001:db8:77::1")
	late.announces("dialled", "198.19.2.1")
}

// A tracker has two uplinks. Each provider forwards only packets from its own
// addresses, so a reply must leave by the uplink that was asked. A client
// behind both providers asks both addresses.
func TestReplyUplink(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	const internet, line1, line2, tunnel = firstSegment, "line1", "line2", "tunnel"
	for _, name := range []string{line1, line2, tunnel} {
		l.segment(name)
	}
	client := l.bare("client")
	client.plug("eth0", internet, "198.18.0.9/24", "2001:db8::9/64")
	tr := l.bare("tracker")
	tr.plug("wan1", line1, "198.18.1.2/24", "2001:db8:1::2/64")
	tr.plug("wan2", line2, "198.18.2.2/24", "2001:db8:2::2/64")
	tr.plug("tun0", tunnel, "10.8.0.2/24", "fd08::2/64")
	const asked1, asked2, asked1v6, asked2v6 = "198.18.1.2", "198.18.2.2", "2001:db8:1::2", "2001:db8:2::2"
	for i, line := range []string{line1, line2} {
		isp := l.bare(fmt.Sprintf("isp%d", i+1))
		isp.plug("net", internet, fmt.Sprintf("198.18.0.%d/24", i+1), fmt.Sprintf("2001:db8::%d/64", i+1))
		isp.plug("line", line, fmt.Sprintf("198.18.%d.1/24", i+1), fmt.Sprintf("2001:db8:%d::1/64", i+1))
		isp.run("sysctl", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
		isp.nft(fmt.Sprintf(`table inet bcp38 {
			chain forward {
				type filter hook forward priority filter;
				iifname "line" ip saddr != 198.18.%[1]d.0/24 drop
				iifname "line" ip6 saddr != 2001:db8:%[1]d::/64 drop
			}
		}`, i+1))
		client.route(fmt.Sprintf("198.18.%d.0/24", i+1), "via", fmt.Sprintf("198.18.0.%d", i+1))
		client.route(fmt.Sprintf("2001:db8:%d::/64", i+1), "via", fmt.Sprintf("2001:db8::%d", i+1))
	}
	tr.tracker("-connect-limit", "0")
	tr.tracker("-connect-limit", "0", "-port", "1338", "-listen", asked1+","+asked2)

	// Two default routes, as netifd and others set them: the second is used
	// when the first is gone. For IPv6 the source address selects the
	// route.
	tr.route("default", "via", "198.18.1.1", "metric", "10")
	tr.route("default", "via", "198.18.2.1", "metric", "20")
	tr.route("default", "from", "2001:db8:1::/64", "via", "2001:db8:1::1", "dev", "wan1", "metric", "512")
	tr.route("default", "from", "2001:db8:2::/64", "via", "2001:db8:2::1", "dev", "wan2", "metric", "1024")
	client.announces("metrics", asked1, asked2, asked1v6, asked2v6)

	// A tunnel takes over the default route, as VPN clients do.
	tr.route("0.0.0.0/1", "via", "10.8.0.1")
	tr.route("128.0.0.0/1", "via", "10.8.0.1")
	client.announces("tunnel", asked1, asked2)
	client.asks(asked1+":1338", asked2+":1338")
	tr.ip("-n", tr.namespace, "route", "del", "0.0.0.0/1")
	tr.ip("-n", tr.namespace, "route", "del", "128.0.0.0/1")

	// Rules for the source address, and no other default route by the
	// second uplink.
	tr.ip("-n", tr.namespace, "route", "del", "default", "via", "198.18.2.1")
	tr.route("default", "via", "198.18.2.1", "table", "102")
	tr.ip("-n", tr.namespace, "rule", "add", "from", asked2, "table", "102")
	client.announces("rules", asked1, asked2)

	// A request for one address arrives on the other link, which has no
	// default route: normal routing decides the way back.
	client.ip("-n", client.namespace, "route", "replace", "198.18.1.0/24", "via", "198.18.0.2")
	isp2 := l.hosts[len(l.hosts)-1]
	isp2.route("198.18.1.2", "via", "198.18.2.2")
	client.announces("asymmetric", asked1)
}

// With -interface, only requests on this interface are accepted. The tracker
// waits for a missing interface. An interface that goes and returns is a new
// one for the kernel, but the same for the tracker.
func TestInterface(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.segment("line")
	host := l.host("tracker", dual)
	tr := host.tracker("-connect-limit", "0", "-interface", "ppp0", "-interface", "lan,lo")
	neighbour := l.host("neighbour", dual)
	caller := l.bare("caller")
	caller.plug("eth0", "line", "198.19.0.2/24", "2001:db8:19::2/64")
	caller.route("198.18.0.0/24", "dev", "eth0")
	host.asks("127.0.0.1", "::1")
	for _, at := range []string{"198.18.0.1", "2001:db8::1"} {
		if neighbour.answers(at) == nil {
			t.Errorf("%s is answered by an interface that was not named", at)
		}
	}
	for call := range 3 {
		host.plug("ppp0", "line", "198.19.0.1/24", "2001:db8:19::1/64")
		tr.awaitLogTimes("interface ppp0 is there", call+1)
		caller.ip("-n", caller.namespace, "neigh", "flush", "dev", "eth0") // whose MAC address is another
		caller.announces(fmt.Sprintf("call-%d", call), "198.19.0.1", "2001:db8:19::1")
		caller.asks("198.18.0.1") // any address of ours will do, by this interface
		host.ip("-n", host.namespace, "link", "del", "ppp0")
		tr.awaitLogTimes("interface ppp0 is gone", call+1)
	}
	// Only the name counts.
	host.ip("-n", host.namespace, "link", "set", "eth0", "down")
	host.ip("-n", host.namespace, "link", "set", "eth0", "name", "lan", "up")
	tr.awaitLog("interface lan is there")
	neighbour.asks("198.18.0.1")
}

// An address in -listen that no interface has yet is answered at once when one
// has it, and after it was away.
func TestListenEarly(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	host := l.host("tracker", dual)
	const early4, early6 = "198.18.0.201", "2001:db8::201"
	tr := host.tracker("-listen", early4+",["+early6+"],fe80::77%eth0")
	tr.awaitLog("no interface has it")
	asker := l.host("asker", dual)
	for range 2 {
		host.give("eth0", early4+"/24")
		host.give("eth0", early6+"/64")
		host.give("eth0", "fe80::77/64")
		asker.asks(early4, early6, "fe80::77%eth0")
		for _, prefix := range []string{early4 + "/24", early6 + "/64", "fe80::77/64"} {
			host.ip("-n", host.namespace, "addr", "del", prefix, "dev", "eth0")
		}
	}
}
