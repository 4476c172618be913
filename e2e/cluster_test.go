//go:build linux

package e2e

import (
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

// This file tests cluster/. The balancer and the instances are hosts on one
// segment. A route leads to the service address, which no host of the segment
// has on its interface.

var (
	service4 = netip.MustParseAddrPort("198.19.0.1:1337")
	service6 = netip.MustParseAddrPort("[2001:db8:1::1]:1337")
)

// A cluster is a balancer, which runs pico-cluster, and its instances.
type cluster struct {
	*lab
	balancer  *host
	names     []string // of the instances, in the order of the file
	weights   map[string]int
	instances map[string]*tracker
	dir       string
}

func (l *lab) cluster(names ...string) *cluster {
	l.Helper()
	c := &cluster{
		lab: l, balancer: l.host("balancer", dual), dir: filepath.Join(l.dir, "cluster"),
		weights: map[string]int{}, instances: map[string]*tracker{},
	}
	if err := os.Mkdir(c.dir, 0o755); err != nil {
		l.Fatal(err)
	}
	c.balancer.run("sysctl", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	for _, name := range names {
		c.join(name, 1)
	}
	c.control("apply")
	return c
}

// join makes an instance as cluster/README.md describes it, and adds it to the
// file.
func (c *cluster) join(name string, weight int) {
	c.Helper()
	h := c.host(name, dual)
	h.run("ip", "addr", "add", service4.Addr().String()+"/32", "dev", "lo")
	h.run("ip", "addr", "add", service6.Addr().String()+"/128", "dev", "lo", "nodad")
	h.run("sysctl", "-w", "net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_announce=2")
	c.names = append(c.names, name)
	c.weights[name] = weight
	c.instances[name] = h.tracker(instanceFlags...)
	c.write()
}

var instanceFlags = []string{"-secret", "all the instances have this secret", "-memory", "16M", "-connect-limit", "0", "-scrape-limit", "1"}

// write writes the file of instances.
func (c *cluster) write() {
	c.Helper()
	text := fmt.Sprintf("# The service.\nservice %v %v %d\n\n", service4.Addr(), service6.Addr(), service4.Port())
	for _, name := range c.names {
		h := c.instances[name].host
		text += fmt.Sprintf("%s %d %v %v\n", name, c.weights[name], h.ip4, h.ip6)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "instances"), []byte(text), 0o644); err != nil {
		c.Fatal(err)
	}
}

// argv is pico-cluster's command line on the balancer, with the path that cron has.
func (c *cluster) argv(command string) []string {
	return []string{
		"env", "PATH=/usr/bin:/bin", "PICO_CLUSTER_DIR=" + c.dir, "PICO_CLUSTER_RUN=" + c.dir + "/run", "PICO_CLUSTER_TEMPLATE=../cluster/pico-cluster.nft",
		"PICO_TRACKER=" + trackerBinary, "../cluster/pico-cluster", command,
	}
}

func (c *cluster) control(command string) string {
	c.Helper()
	return c.balancer.run(c.argv(command)...)
}

// watch runs the checks of the instances until the test ends.
func (c *cluster) watch() {
	c.Helper()
	argv := c.argv("watch")
	for i, arg := range argv {
		if name, path, ok := strings.Cut(arg, "../"); ok { // it starts in the lab's directory
			abs, err := filepath.Abs("../" + path)
			if err != nil {
				c.Fatal(err)
			}
			argv[i] = name + abs
		}
	}
	c.balancer.start(argv...)
}

// A standing is the line of an instance in the output of status.
type standing struct {
	weight, slots, now int
	packets            uint64
	health             string
}

func (c *cluster) standings() map[string]standing {
	c.Helper()
	all := map[string]standing{}
	for _, line := range strings.Split(c.control("status"), "\n") {
		var name string
		var s standing
		if n, _ := fmt.Sscan(line, &name, &s.weight, &s.slots, &s.now, &s.packets, &s.health); n == 6 {
			all[name] = s
		}
	}
	return all
}

// member adds a host that reaches the service through the balancer.
func (c *cluster) member(name string) *host {
	c.Helper()
	h := c.host(name, dual)
	h.run("ip", "route", "add", service4.Addr().String(), "via", c.balancer.ip4.String())
	h.run("ip", "route", "add", service6.Addr().String(), "via", c.balancer.ip6.String())
	return h
}

// swarmHash is the info hash of a swarm by its number.
func swarmHash(n int) [20]byte {
	return sha1.Sum(binary.BigEndian.AppendUint32([]byte("cluster"), uint32(n)))
}

// Peers of one torrent are on one instance, over IPv4 and IPv6. Packets are
// distributed by weight, also connects. Packets that are not requests are
// dropped.
func TestClusterMeets(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c := l.cluster("one", "two", "three")
	c.weights["three"] = 2
	c.write()
	c.control("apply")
	a, b := c.member("a"), c.member("b")
	a4, a6 := a.probe(service4), a.probe(service6)

	c.checkMeeting(a4, a6, b)
	c.checkInstances(a)
	c.checkWeights(a4)
	c.checkRefused(a4)

	c.control("stop")
	for _, argv := range [][]string{{"nft", "list", "ruleset"}, {"ip", "-4", "rule"}, {"ip", "-6", "rule"}} {
		if out := c.balancer.run(argv...); strings.Contains(out, "0x7063") || strings.Contains(out, "pico") {
			t.Errorf("after stop, %v: %s", argv, out)
		}
	}
}

// clusterSwarms is the number of swarms that the members announce.
const clusterSwarms = 1000

// checkMeeting announces swarms over both families, and checks that the peers get
// each other and the counts of the whole swarm.
func (c *cluster) checkMeeting(a4, a6 *probe, b *host) {
	c.Helper()
	for n := range clusterSwarms {
		hash := swarmHash(n)
		for _, p := range []*probe{a4, a6, b.probe(service4)} {
			if _, _, err := p.announce(hash, bep15.EventNone, 6881); err != nil {
				c.Fatal(err)
			}
		}
	}
	for n := range clusterSwarms {
		hash := swarmHash(n)
		for _, p := range []*probe{a4, a6} {
			got, err := p.scrape(hash)
			if err != nil {
				c.Fatal(err)
			}
			if got.leechers != 3 {
				c.Errorf("swarm %d, asked at %v: %+v, want its three peers", n, p.tracker, got)
			}
		}
		peers, _, err := a4.announce(hash, bep15.EventNone, 6881)
		if want := netip.AddrPortFrom(b.ip4, 6881); err != nil || len(peers) != 1 || peers[0] != want {
			c.Errorf("swarm %d: peers %v, error %v; want %v", n, peers, err, want)
		}
	}
	// Of several torrents in one scrape, only the first is answered,
	// because the others are on other instances.
	first, second := swarmHash(0), swarmHash(1)
	reply, err := a4.ask(bep15.AppendScrape(nil, 0, 0, first, second))
	leechers := uint32(0)
	if !bep15.ParseScrapeReply(reply, 1, func(_ int, n bep15.Counts) { leechers = n.Leechers }) || err != nil || leechers != 3 {
		c.Errorf("a scrape of two: got %v, %v, want one torrent with 3 leechers", reply, err)
	}

}

// checkInstances asks each instance at its own address: only one of them has the
// peers of a torrent, and it has all of them.
func (c *cluster) checkInstances(a *host) {
	c.Helper()
	whole := map[string]int{} // whole swarms by instance
	for name, tr := range c.instances {
		p := a.probe(tr.address(ipv4))
		for n := range clusterSwarms {
			got, err := p.scrape(swarmHash(n))
			if err != nil {
				c.Fatal(err)
			}
			if got.leechers == 3 {
				whole[name]++
			} else if got != (counts{}) {
				c.Errorf("swarm %d: got %+v at %s, want all peers or none", n, got, name)
			}
		}
	}
	if whole["one"]+whole["two"]+whole["three"] != clusterSwarms {
		c.Errorf("got whole swarms %v, want %d in all", whole, clusterSwarms)
	}
	c.Logf("swarms by instance: %v", whole)

}

// checkWeights sends scrapes of many torrents and as many connects. The instances
// count them and do not answer. An instance with a quarter of the weight must get
// a quarter, within 5 %.
func (c *cluster) checkWeights(a4 *probe) {
	c.Helper()
	for _, kind := range []string{"scrapes", "connects"} {
		before := c.standings()
		const packets = 20000
		for n := range packets {
			request := binary.BigEndian.AppendUint64(nil, bep15.ProtocolID)
			if kind == "scrapes" {
				hash := swarmHash(n)
				request = binary.BigEndian.AppendUint64(nil, 1<<40)
				request = append(request, 0, 0, 0, bep15.ActionScrape, 0, 0, 0, 0)
				request = append(request, hash[:]...)
			} else {
				request = append(request, make([]byte, 8)...)
			}
			if _, err := a4.conn.WriteTo(request, net.UDPAddrFromAddrPort(service4)); err != nil {
				c.Fatal(err)
			}
		}
		total, sent := uint64(0), map[string]uint64{}
		for name, s := range c.standings() {
			sent[name] = s.packets - before[name].packets
			total += sent[name]
		}
		c.Logf("%s by instance: %v", kind, sent)
		if total < packets*9/10 {
			c.Errorf("%d of %d %s counted", total, packets, kind)
		}
		for name, n := range sent {
			due := float64(total) * float64(c.weights[name]) / 4
			if share := float64(n) / due; share < 0.95 || share > 1.05 {
				c.Errorf("%s has %.3f times its share of %s", name, share, kind)
			}
		}
	}
}

// checkRefused checks that the balancer drops datagrams that are no requests.
func (c *cluster) checkRefused(a4 *probe) {
	c.Helper()
	before := c.standings()
	for _, text := range []string{"", "short", strings.Repeat("an action that no tracker knows", 3), strings.Repeat("\x00", 98)} {
		if _, err := a4.conn.WriteTo([]byte(text), net.UDPAddrFromAddrPort(service4)); err != nil {
			c.Fatal(err)
		}
	}
	c.await("four datagrams are refused", func() error {
		if out := c.control("status"); !strings.Contains(strings.Join(strings.Fields(out), " "), "refused 4") {
			return fmt.Errorf("status: %s", out)
		}
		return nil
	})
	for name, s := range c.standings() {
		if s.packets != before[name].packets {
			c.Errorf("%s: got %d of the refused datagrams, want 0", name, s.packets-before[name].packets)
		}
	}
}

// Regulars announce to each of their swarms at a steady pace and record the
// replies.
type regulars struct {
	*probe
	swarms []seen
	mu     sync.Mutex
	quit   chan struct{}
	done   sync.WaitGroup
}

// seen is what regulars learned about a swarm since the last call of forget.
type seen struct {
	answers int
	last    time.Time     // of an answer
	gap     time.Duration // the longest without one
	least   uint32        // peers
}

// regulars starts regulars. Each swarm already has a second peer.
func (h *host) regulars(swarms int) *regulars {
	h.Helper()
	c := &regulars{probe: h.probe(service4), swarms: make([]seen, swarms), quit: make(chan struct{})}
	for n := range swarms {
		for _, port := range []uint16{1000, 2000} {
			if _, _, err := c.announce(swarmHash(n), bep15.EventNone, port); err != nil {
				h.Fatal(err)
			}
		}
	}
	if err := c.conn.SetReadDeadline(time.Time{}); err != nil {
		h.Fatal(err)
	}
	c.forget()
	c.done.Add(2)
	go c.send()
	go c.receive()
	h.Cleanup(func() {
		close(c.quit)
		c.conn.Close()
		c.done.Wait()
	})
	return c
}

// send announces to all swarms twice a second. The ID is valid for longer than
// the test takes.
func (c *regulars) send() {
	defer c.done.Done()
	request := make([]byte, 98)
	binary.BigEndian.PutUint64(request, c.id)
	binary.BigEndian.PutUint32(request[8:], bep15.ActionAnnounce)
	binary.BigEndian.PutUint64(request[64:], 1) // left
	binary.BigEndian.PutUint32(request[92:], 1) // num_want
	binary.BigEndian.PutUint16(request[96:], 1000)
	tick := time.NewTicker(500 * time.Millisecond / 10)
	defer tick.Stop()
	for n := 0; ; {
		for range (len(c.swarms) + 9) / 10 {
			hash := swarmHash(n)
			binary.BigEndian.PutUint32(request[12:], uint32(n))
			copy(request[16:], hash[:])
			// A packet that the host cannot send is lost, as on any
			// network.
			_, _ = c.conn.WriteTo(request, net.UDPAddrFromAddrPort(service4))
			n = (n + 1) % len(c.swarms)
		}
		select {
		case <-c.quit:
			return
		case <-tick.C:
		}
	}
}

func (c *regulars) receive() {
	defer c.done.Done()
	b := make([]byte, 2048)
	for {
		n, from, err := c.conn.ReadFrom(b)
		if err != nil {
			return // closed
		}
		if n < 20 || from.String() != service4.String() || binary.BigEndian.Uint32(b) != bep15.ActionAnnounce {
			continue
		}
		swarm := binary.BigEndian.Uint32(b[4:])
		peers := binary.BigEndian.Uint32(b[12:]) + binary.BigEndian.Uint32(b[16:])
		if int(swarm) >= len(c.swarms) {
			continue
		}
		c.mu.Lock()
		s := &c.swarms[swarm]
		s.answers++
		s.gap = max(s.gap, time.Since(s.last))
		s.last = time.Now()
		s.least = min(s.least, peers)
		c.mu.Unlock()
	}
}

// forget clears what was seen of each swarm.
func (c *regulars) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := range c.swarms {
		c.swarms[n] = seen{last: time.Now(), least: 2}
	}
}

// tally returns how many swarms lost their other peer, how many did not, and
// the longest gap of each kind.
func (c *regulars) tally() (lost, kept int, lostGap, keptGap time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.swarms {
		gap := max(s.gap, time.Since(s.last))
		if s.least < 2 {
			lost++
			lostGap = max(lostGap, gap)
		} else {
			kept++
			keptGap = max(keptGap, gap)
		}
	}
	return lost, kept, lostGap, keptGap
}

// awaitAnswers waits until every swarm is answered again.
func (c *regulars) awaitAnswers() {
	c.Helper()
	c.mu.Lock()
	before := make([]int, len(c.swarms))
	for n, s := range c.swarms {
		before[n] = s.answers
	}
	c.mu.Unlock()
	c.await("every swarm is answered", func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		for n, s := range c.swarms {
			if s.answers < before[n]+2 { // a reply may have been on its way
				return fmt.Errorf("swarm %d is not", n)
			}
		}
		return nil
	})
}

// owned returns how many of the swarms an instance has, by its own statistics.
func (c *regulars) owned(tr *tracker) int {
	c.Helper()
	p, n := c.host.probe(tr.address(ipv4)), 0
	for swarm := range c.swarms {
		got, err := p.scrape(swarmHash(swarm))
		if err != nil {
			c.Fatal(err)
		}
		if got.leechers > 0 {
			n++
		}
	}
	return n
}

// If an instance does not answer under load, only its own swarms are affected,
// for less than ten seconds. It gets them again when it is back. An added
// instance takes its share, and no client waits.
func TestClusterChanges(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c := l.cluster("one", "two", "three")
	client := c.member("client")
	const swarms = 300
	regulars := client.regulars(swarms)
	c.watch()
	await := func(name, health string) {
		t.Helper()
		l.await(name+" is "+health, func() error {
			if s := c.standings(); s[name].health != health {
				return fmt.Errorf("%+v", s)
			}
			return nil
		})
	}
	await("two", "up")
	regulars.awaitAnswers()
	owned := regulars.owned(c.instances["two"])

	// The host loses its power.
	regulars.forget()
	two := c.instances["two"].host
	l.ip("-n", l.bridge, "link", "set", two.port, "down")
	c.instances["two"].kill()
	await("two", "down")
	regulars.awaitAnswers()
	lost, kept, lostGap, keptGap := regulars.tally()
	t.Logf("lost: %d of %d swarms lost a peer and had no answer for up to %.1f s; the others waited %.1f s at most",
		lost, swarms, lostGap.Seconds(), keptGap.Seconds())
	if lost != owned || lost+kept != swarms {
		t.Errorf("%d swarms lost a peer; the instance had %d", lost, owned)
	}
	// Ten seconds. An idle machine takes less than eight; the rest is for a
	// busy machine.
	if lostGap > 30*time.Second {
		t.Errorf("the heirs let %v pass", lostGap)
	}
	if s := c.standings(); s["two"].now != 0 || s["two"].slots == 0 || s["one"].now+s["three"].now != 256 {
		t.Errorf("slots: %+v", s)
	}

	// It is back and knows no peers.
	for n := range swarms {
		if _, _, err := client.probe(service4).announce(swarmHash(n), bep15.EventNone, 2000); err != nil {
			t.Fatal(err)
		}
	}
	regulars.forget()
	l.ip("-n", l.bridge, "link", "set", two.port, "up")
	c.instances["two"] = two.tracker(instanceFlags...)
	await("two", "up")
	regulars.awaitAnswers()
	lost, _, lostGap, keptGap = regulars.tally()
	t.Logf("back: %d swarms went back and had no answer for up to %.1f s; the others %.1f s",
		lost, lostGap.Seconds(), keptGap.Seconds())
	if lost != owned || regulars.owned(c.instances["two"]) != owned {
		t.Errorf("%d swarms went back, %d are there; it had %d", lost, regulars.owned(c.instances["two"]), owned)
	}

	// A fourth.
	for n := range swarms {
		if _, _, err := client.probe(service4).announce(swarmHash(n), bep15.EventNone, 2000); err != nil {
			t.Fatal(err)
		}
	}
	c.join("four", 1)
	regulars.forget()
	c.control("apply")
	regulars.awaitAnswers()
	lost, _, lostGap, keptGap = regulars.tally()
	t.Logf("added: %d of %d swarms moved and had no answer for up to %.1f s; the others %.1f s",
		lost, swarms, lostGap.Seconds(), keptGap.Seconds())
	if at := regulars.owned(c.instances["four"]); lost != at || at == 0 {
		t.Errorf("%d swarms moved, %d of them to the new instance", lost, at)
	}
	for name, s := range c.standings() {
		if s.slots != 64 || s.now != 64 {
			t.Errorf("%s has %d slots, and %d now; want 64", name, s.slots, s.now)
		}
	}
}

// libtorrent accepts a reply only from the address that it asked; Transmission
// does not care. They find each other through the cluster.
func TestClusterClients(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c := l.cluster("one", "two", "three")
	tor := l.torrent("cluster", fmt.Sprintf("udp://%v/announce", service4), fmt.Sprintf("udp://%v/announce", service6))
	asker := c.member("probe")
	probe4, probe6 := asker.probe(service4), asker.probe(service6)

	seeder := c.member("seeder").seed(libtorrent, tor)
	probe4.awaitPeers(tor, seeder)
	probe6.awaitPeers(tor, seeder)
	leechers := []*peer{
		c.member("libtorrent").leech(libtorrent, tor),
		c.member("transmission").leech(transmission, tor), // it asks over IPv4 alone
	}
	for _, p := range leechers {
		p.awaitFile()
	}
	probe4.awaitPeers(tor, seeder, leechers[0], leechers[1])
	probe6.awaitPeers(tor, seeder, leechers[0])
	for _, p := range append(leechers, seeder) {
		p.leave()
	}
	probe4.awaitEmpty(tor)
}
