//go:build linux

package e2e

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var clients = []*client{aria2, libtorrent, rtorrent, transmission}

// Every client gets the file from every other one.
func TestSwarmIPv4(t *testing.T) {
	needLab(t)
	t.Parallel()
	for _, seeder := range clients {
		t.Run(seeder.name, func(t *testing.T) {
			var leechers []*client
			for _, c := range clients {
				if c != seeder {
					leechers = append(leechers, c)
				}
			}
			testSwarm(t, ipv4, seeder, leechers)
		})
	}
}

// The same with the clients that ask UDP trackers over IPv6. aria2 1.36 and
// Transmission 3.00 don't.
func TestSwarmIPv6(t *testing.T) {
	needLab(t)
	t.Parallel()
	t.Run("libtorrent", func(t *testing.T) {
		testSwarm(t, ipv6, libtorrent, []*client{libtorrent, rtorrent})
	})
	t.Run("rtorrent", func(t *testing.T) {
		testSwarm(t, ipv6, rtorrent, []*client{libtorrent})
	})
}

// testSwarm runs a seeder and leechers on hosts with one address family, and
// ends them again. The leechers cannot reach each other, so each gets the file
// from the seeder.
func testSwarm(t *testing.T, f family, seeder *client, leechers []*client) {
	t.Parallel()
	l := newLab(t)
	tr := l.host("tracker", f).tracker()
	probe := l.host("probe", f).probe(tr.address(f))
	tor := l.torrent("from-"+seeder.name, tr.url(f))

	peers := []*peer{l.host("seeder", f).seed(seeder, tor)}
	probe.awaitCounts(tor, counts{seeders: 1})
	for _, c := range leechers {
		h := l.host(c.name, f)
		h.isolate()
		peers = append(peers, h.leech(c, tor))
	}
	probe.awaitPeers(tor, peers...)
	if f == ipv6 && seeder.announce != nil {
		// rTorrent 0.9.8 announces over IPv6, but reads the peers of
		// the reply as IPv4 peers. So the seeder must find rTorrent
		// with its next announce.
		seeder.announce(peers[0])
	}

	for _, p := range peers[1:] {
		p.awaitFile()
	}
	all := uint32(len(peers))
	probe.awaitCounts(tor, counts{seeders: all, completed: all - 1})

	// A peer that stops is removed at once.
	for len(peers) > 0 {
		peers[0].leave()
		peers = peers[1:]
		probe.awaitPeers(tor, peers...)
	}
	probe.awaitEmpty(tor)

	tr.stop(syscall.SIGTERM)
	if tr.err != nil {
		t.Errorf("the tracker, told to stop: %v", tr.err)
	}
}

// A seeder with both families serves a leecher of each family. The tracker
// counts each address as a peer.
func TestDualStack(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	tr := l.host("tracker", dual).tracker()
	tor := l.torrent("dual", tr.url(ipv4), tr.url(ipv6))
	asker := l.host("probe", dual)
	probe4, probe6 := asker.probe(tr.address(ipv4)), asker.probe(tr.address(ipv6))

	seeder := l.host("seeder", dual).seed(libtorrent, tor)
	probe4.awaitPeers(tor, seeder)
	probe6.awaitPeers(tor, seeder)
	leecher4 := l.host("leecher4", ipv4).leech(aria2, tor)
	leecher6 := l.host("leecher6", ipv6).leech(libtorrent, tor)
	leecher4.awaitFile()
	leecher6.awaitFile()

	want := counts{seeders: 4, completed: 2}
	probe4.awaitCounts(tor, want)
	probe6.awaitCounts(tor, want)
	probe4.awaitPeers(tor, seeder, leecher4)
	probe6.awaitPeers(tor, seeder, leecher6)
	seeder.leave()
	probe4.awaitPeers(tor, leecher4)
	probe6.awaitPeers(tor, leecher6)
}

// A torrent on the whitelist works. Another torrent is refused, and every
// client shows its user why.
func TestWhitelist(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	trackerHost := l.host("tracker", ipv4)
	url := fmt.Sprintf("udp://%s:%d", trackerHost.ip4, trackerPort)
	listed, unlisted := l.torrent("listed", url), l.torrent("unlisted", url)
	path := filepath.Join(l.dir, "whitelist")
	allow := func(tor *torrent) {
		line := fmt.Sprintf("# allowed today\n%s\n", hex.EncodeToString(tor.infoHash[:]))
		if err := os.WriteFile(path, []byte(line), 0o644); err != nil {
			l.Fatal(err)
		}
	}
	allow(listed)
	tr := trackerHost.tracker("-whitelist", path)
	probe := l.host("probe", ipv4).probe(tr.address(ipv4))

	l.host("seeder", ipv4).seed(libtorrent, listed)
	probe.awaitCounts(listed, counts{seeders: 1})
	l.host("leecher", ipv4).leech(aria2, listed).awaitFile()
	probe.awaitCounts(listed, counts{seeders: 2, completed: 1})

	_, err := probe.peers(unlisted.infoHash)
	var refusal trackerError
	if !errors.As(err, &refusal) || refusal == "" {
		t.Fatalf("a torrent that is not on the whitelist is answered with %v", err)
	}
	var refused []*peer
	for _, c := range clients {
		refused = append(refused, l.host(c.name, ipv4).seed(c, unlisted))
	}
	for _, p := range refused {
		want := string(refusal)
		if p.failure != "" {
			want = p.failure
		}
		p.await(fmt.Sprintf("%s shows %q", p.process.name, want), func() error {
			if !strings.Contains(p.message(p), want) {
				return errors.New("it does not")
			}
			return nil
		})
	}
	probe.awaitEmpty(unlisted)

	// The lists are exchanged. Torrents that are no longer listed are
	// removed with their peers.
	allow(unlisted)
	if err := tr.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	probe.awaitEmpty(listed)
	if _, err := probe.peers(listed.infoHash); !errors.As(err, &refusal) {
		t.Errorf("a torrent that is no longer on the whitelist is answered with %v", err)
	}
	var welcome []*peer
	for _, p := range refused {
		if p.announce == nil {
			p.leave() // it would ask again after minutes
			continue
		}
		p.announce(p)
		welcome = append(welcome, p)
	}
	probe.awaitPeers(unlisted, welcome...)
}

// A killed tracker knows no peers when it is back. It has another secret, so no
// connection ID is valid. The swarm is complete again after about one interval,
// and a new peer finds the swarm.
func TestRestart(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.patience = 2 * time.Minute
	tr := l.host("tracker", ipv4).tracker()
	probe := l.host("probe", ipv4).probe(tr.address(ipv4))
	tor := l.torrent("restart", tr.url(ipv4))

	// At this rate no leecher finishes before the test's patience ends.
	const rate = 16 << 10
	seeder := l.host("seeder", ipv4).seed(libtorrent, tor, "--upload", strconv.Itoa(rate))
	probe.awaitCounts(tor, counts{seeders: 1})
	leechers := []*peer{
		l.host("aria2", ipv4).leech(aria2, tor),
		l.host("rtorrent", ipv4).leech(rtorrent, tor),
		l.host("transmission", ipv4).leech(transmission, tor),
	}
	all := append([]*peer{seeder}, leechers...)
	probe.awaitPeers(tor, all...)
	l.await("the file is on its way", func() error {
		sent, err := seeder.sent()
		if err == nil && sent < 4*rate {
			err = fmt.Errorf("%d bytes sent", sent)
		}
		return err
	})

	tr.kill()
	tr.host.tracker(tr.flags...)
	// rTorrent ignores intervals below ten minutes, so the test announces
	// as its user can.
	leechers[1].announce(leechers[1])
	probe.awaitPeers(tor, all...)
	probe.awaitCounts(tor, counts{seeders: 1, leechers: 3})

	seeder.tell("upload 0")
	newcomer := l.host("newcomer", ipv4).leech(libtorrent, tor)
	for _, p := range append(leechers, newcomer) {
		p.awaitFile()
	}
	probe.awaitCounts(tor, counts{seeders: 5, completed: 4})
}
