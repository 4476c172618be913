//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"
)

// The name of a namespace has the ID of the test process. So parallel runs do
// not collide, and the namespaces of a killed run can be recognized.
const namespaceFamily = "pico-e2e-"

var namespacePrefix = fmt.Sprintf("%s%d-", namespaceFamily, os.Getpid())

var labs atomic.Int32

// patience is how long a test waits for a condition that depends on the timers
// of a client, on a busy machine.
const patience = 90 * time.Second

// A lab has one or more Ethernet segments: bridges in their own namespace, and
// hosts on their ports, each in its own namespace. It is not connected to
// anything else.
type lab struct {
	*testing.T
	dir       string // logs and files of the clients
	bridge    string // the namespace of the bridges
	prefix    string
	hosts     []*host
	ports     int // of the bridges, so far
	processes []*process
	patience  time.Duration // see await
}

// A family is a set of address families.
type family int

const (
	ipv4 family = 1 << iota
	ipv6
	dual = ipv4 | ipv6
)

// A host has addresses that no client treats as local. The ranges are reserved
// for tests (RFC 2544) and for documentation (RFC 3849).
type host struct {
	*lab
	name      string
	namespace string
	port      string     // its first port on a bridge
	ip4, ip6  netip.Addr // its first address; invalid if the host lacks the family
	peerPort  int        // where its clients listen
}

// firstSegment is the bridge that every lab has.
const firstSegment = "br0"

func newLab(t *testing.T) *lab {
	t.Helper()
	needLab(t)
	prefix := fmt.Sprintf("%s%d-", namespacePrefix, labs.Add(1))
	l := &lab{T: t, dir: t.TempDir(), prefix: prefix, bridge: prefix + "bridge", patience: patience}
	t.Cleanup(l.close)
	l.ip("netns", "add", l.bridge)
	l.segment(firstSegment)
	return l
}

// segment adds an Ethernet segment.
func (l *lab) segment(name string) {
	l.Helper()
	// Snooping would drop neighbour solicitations, because there is no
	// multicast router.
	l.ip("-n", l.bridge, "link", "add", name, "type", "bridge", "mcast_snooping", "0")
	l.ip("-n", l.bridge, "link", "set", name, "up")
}

func (l *lab) close() {
	for _, p := range l.processes {
		p.kill()
	}
	if l.Failed() {
		l.printLogs()
	}
	namespaces := []string{l.bridge}
	for _, h := range l.hosts {
		namespaces = append(namespaces, h.namespace)
	}
	for _, name := range namespaces {
		if err := ip("netns", "del", name); err != nil {
			l.Log(err)
		}
	}
}

// host adds a host to the lab, on its first segment.
func (l *lab) host(name string, f family) *host {
	l.Helper()
	n := len(l.hosts) + 1
	h := l.bare(name)
	var addresses []string
	if f&ipv4 != 0 {
		addresses = append(addresses, fmt.Sprintf("198.18.0.%d/24", n))
	}
	if f&ipv6 != 0 {
		addresses = append(addresses, fmt.Sprintf("2001:db8::%x/64", n))
	}
	h.plug("eth0", firstSegment, addresses...)
	return h
}

// bare adds a host that has no network yet.
func (l *lab) bare(name string) *host {
	l.Helper()
	h := &host{lab: l, name: name, namespace: l.prefix + name, peerPort: peerPort}
	l.ip("netns", "add", h.namespace)
	l.hosts = append(l.hosts, h)
	l.ip("-n", h.namespace, "link", "set", "lo", "up")
	return h
}

// plug gives the host an interface on a segment, with addresses such as
// 192.0.2.1/24.
func (h *host) plug(device, segment string, addresses ...string) {
	h.Helper()
	h.ports++
	port := fmt.Sprintf("port%d", h.ports)
	if h.port == "" {
		h.port = port
	}
	h.ip("-n", h.bridge, "link", "add", port, "type", "veth", "peer", "name", device, "netns", h.namespace)
	h.ip("-n", h.bridge, "link", "set", port, "master", segment, "up")
	for _, a := range addresses {
		h.give(device, a)
	}
	h.ip("-n", h.namespace, "link", "set", device, "up")
}

// give adds an address to an interface.
func (h *host) give(device, address string) {
	h.Helper()
	prefix := netip.MustParsePrefix(address)
	args := []string{"-n", h.namespace, "addr", "add", address, "dev", device}
	first := &h.ip4
	if prefix.Addr().Is6() {
		args = append(args, "nodad")
		first = &h.ip6
	}
	if !first.IsValid() {
		*first = prefix.Addr()
	}
	h.ip(args...)
}

// route adds a route.
func (h *host) route(args ...string) {
	h.Helper()
	h.ip(append([]string{"-n", h.namespace, "route", "add"}, args...)...)
}

// isolate keeps the host from all hosts that are isolated too.
func (h *host) isolate() {
	h.Helper()
	h.ip("-n", h.bridge, "link", "set", h.port, "type", "bridge_slave", "isolated", "on")
}

func (h *host) address(f family) netip.Addr {
	if f == ipv6 {
		return h.ip6
	}
	return h.ip4
}

// sent returns how many bytes the host has sent.
func (h *host) sent() (int, error) {
	out, err := h.command("cat", "/sys/class/net/eth0/statistics/tx_bytes").Output()
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(out)))
}

func (l *lab) ip(args ...string) {
	l.Helper()
	if err := ip(args...); err != nil {
		l.Fatal(err)
	}
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// sweepNamespaces removes the namespaces of test processes that have ended.
func sweepNamespaces() error {
	left, err := filepath.Glob("/run/netns/" + namespaceFamily + "*")
	if err != nil {
		return err
	}
	for _, path := range left {
		name := filepath.Base(path)
		pid, _, _ := strings.Cut(strings.TrimPrefix(name, namespaceFamily), "-")
		if _, err := strconv.Atoi(pid); err != nil {
			continue
		}
		if _, err := os.Stat("/proc/" + pid); err == nil {
			continue
		}
		// Another run may remove it too; it must only be gone.
		if err := ip("netns", "del", name); err != nil {
			if _, gone := os.Stat(path); gone == nil {
				return err
			}
		}
	}
	return nil
}

// await waits until fact returns nil. It ends the test with the last error if
// this takes longer than the lab's patience, or if a process of the lab has
// ended by itself.
func (l *lab) await(what string, fact func() error) {
	l.Helper()
	start := time.Now()
	deadline := time.NewTimer(l.patience)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := fact()
		if err == nil {
			l.Logf("%s: %.1f s", what, time.Since(start).Seconds())
			return
		}
		for _, p := range l.processes {
			if ended, how := p.endedByItself(); ended {
				l.Fatalf("%s: %s ended by itself: %v", what, p.name, how)
			}
		}
		select {
		case <-deadline.C:
			l.Fatalf("%s: not within %v: %v", what, l.patience, err)
		case <-tick.C:
		}
	}
}

// printLogs shows the end of every log of the lab.
func (l *lab) printLogs() {
	const most = 6 << 10
	logs, err := filepath.Glob(filepath.Join(l.dir, "*.log"))
	if err != nil {
		l.Error(err)
	}
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil {
			l.Error(err)
			continue
		}
		cut := ""
		if len(text) > most {
			text, cut = text[len(text)-most:], " (its end)"
		}
		l.Logf("--- %s%s\n%s", filepath.Base(path), cut, strings.Map(printable, string(text)))
	}
}

// printable keeps the packets that some clients log from a terminal.
func printable(r rune) rune {
	if r == '\n' || unicode.IsPrint(r) {
		return r
	}
	return '.'
}
