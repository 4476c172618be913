//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

// This file tests the tracker with every client that the package registries
// have. The expectations are the table of docs/clients.md.

// allClientsEnv runs every test of every client when it is 1. Otherwise only the
// tests in the fast column of the expectations run.
const allClientsEnv = "PICO_CLIENTS"

// manyTorrents is how many torrents a client starts and stops at once. With the
// tracker's former limit of connect requests, clients failed from about ten on.
const manyTorrents = 40

// What clients show when the tracker refuses a torrent.
const (
	refusal        = "this tracker does not allow this torrent"
	failureMessage = "tracker sent a failure message" // libtorrent loses the text
)

// unsteady means that the number differs from run to run.
const unsteady = -1

// An expectation says what a client does with the tracker.
type expectation struct {
	client    *client
	from      string // the package registry
	version   string // the version that was tested last
	seeder    bool   // another client gets the file from it
	leecher   bool   // it gets the file from another client
	magnet    bool   // it gets the file with a magnet link that names only the tracker
	ipv6      bool   // it announces to a tracker over IPv6 and serves the file over IPv6
	completed bool   // it reports a finished download
	many      int    // of manyTorrents at once, how many it announces
	stopped   int    // and how many it reports as stopped when it ends
	shows     string // what its user can see when the tracker refuses a torrent; empty if nothing
	fast      string // tests that are part of make test
}

// expectations has every client that can be run, in alphabetical order.
var expectations = []expectation{
	{client: anacrolix, from: "Go", version: "1.59.1", seeder: true, leecher: true, magnet: true, ipv6: true, many: 40, stopped: 0, shows: refusal},
	{client: aria2, from: "Debian", version: "1.36.0", seeder: true, leecher: true, magnet: true, completed: true, many: 40, stopped: 40, shows: refusal, fast: "magnet"},
	{client: bt, from: "Maven Central", version: "1.10", seeder: true, leecher: true, magnet: true, ipv6: true, many: 40, stopped: unsteady},
	{client: deluge, from: "Debian", version: "2.0.3", seeder: true, leecher: true, magnet: true, completed: true, many: 40, stopped: 40, shows: failureMessage},
	{client: lftp, from: "Debian", version: "4.9.2", seeder: true, leecher: true, magnet: true, completed: true, many: 40, stopped: 0, fast: "magnet"},
	{client: libtorrent, from: "Debian", version: "2.0.8.0", seeder: true, leecher: true, magnet: true, ipv6: true, completed: true, many: 40, stopped: 40, shows: failureMessage, fast: "magnet many"},
	{client: libtorrent2011, from: "PyPI", version: "2.0.11.0", seeder: true, leecher: true, magnet: true, ipv6: true, completed: true, many: 40, stopped: 40, shows: failureMessage},
	{client: libtorrent2015, from: "PyPI", version: "2.0.15.0", seeder: true, leecher: true, magnet: true, ipv6: true, completed: true, many: 40, stopped: 40, shows: failureMessage},
	{client: libtorrent211, from: "PyPI", version: "2.1.1.0", seeder: true, leecher: true, magnet: true, ipv6: true, completed: true, many: 40, stopped: 40, shows: failureMessage},
	{client: qbittorrent, from: "Debian", version: "4.5.2", seeder: true, leecher: true, magnet: true, ipv6: true, completed: true, many: 40, stopped: 40, shows: `"status":4`, fast: "many"},
	{client: rqbit, from: "crates.io", version: "9.1.0", seeder: true, leecher: true, magnet: true, ipv6: true, many: 40, stopped: 0},
	{client: rtorrent, from: "Debian", version: "0.9.8", seeder: true, leecher: true, magnet: true, ipv6: true, completed: true, many: 40, stopped: 40, shows: refusal},
	{client: torrentStream, from: "npm", version: "1.2.1", seeder: true, leecher: true, magnet: true, many: 40, stopped: 0},
	{client: transmission, from: "Debian", version: "3.00", seeder: true, leecher: true, magnet: true, completed: true, many: 40, stopped: 40, shows: refusal, fast: "many"},
	{client: webtorrent, from: "npm", version: "3.0.21", seeder: true, leecher: true, magnet: true, completed: true, many: 40, stopped: 40, shows: refusal},
}

// Each client seeds, leeches, starts from a magnet link, uses IPv6, and has 40
// torrents at once.
func TestClients(t *testing.T) {
	needLab(t)
	t.Parallel()
	tests := []struct {
		name   string
		column string // of the table
		run    func(*testing.T, expectation)
	}{
		{name: "seeder", column: "seeder", run: testClientSeeds},
		{name: "leecher", column: "leecher", run: testClientLeeches},
		{name: "magnet", column: "magnet link", run: testClientMagnet},
		{name: "ipv6", column: "IPv6", run: testClientIPv6},
		{name: "many", column: "40 torrents", run: testClientMany},
		{name: "refused", run: testClientRefused},
	}
	all := os.Getenv(allClientsEnv) == "1"
	rows := make([][]string, len(expectations))
	t.Cleanup(func() { // after the parallel tests
		if all {
			t.Log("results:\n" + markdown(clientColumns, rows))
		}
	})
	for i, e := range expectations {
		if !all && e.fast == "" {
			continue
		}
		t.Run(e.client.name, func(t *testing.T) {
			rows[i] = e.row()
			if all {
				if got, err := e.client.installed(); err != nil {
					rows[i][1] = "not installed"
					t.Fatalf("not installed: %v", err)
				} else if got != e.version {
					rows[i][1] = got
					t.Errorf("version %s, want %s as in docs/clients.md", got, e.version)
				}
			}
			for _, test := range tests {
				if !all && !slices.Contains(strings.Fields(e.fast), test.name) {
					continue
				}
				t.Run(test.name, func(t *testing.T) {
					t.Parallel()
					t.Cleanup(func() {
						if column := slices.Index(clientColumns, test.column); column > 0 && t.Failed() {
							rows[i][column] = "FAILED, expected " + rows[i][column]
						}
					})
					test.run(t, e)
				})
			}
		})
	}
}

// clientColumns are the columns of the table in docs/clients.md.
var clientColumns = []string{"client", "version", "from", "seeder", "leecher", "magnet link", "IPv6", "40 torrents", "stops"}

// row returns the expectation as a row of the table in docs/clients.md.
func (e expectation) row() []string {
	stopped := strconv.Itoa(e.stopped)
	if e.stopped == unsteady {
		stopped = "some"
	}
	return []string{e.client.name, e.version, e.from, yes(e.seeder), yes(e.leecher), yes(e.magnet), yes(e.ipv6), strconv.Itoa(e.many), stopped}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// markdown returns a table.
func markdown(columns []string, rows [][]string) string {
	var b strings.Builder
	line := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	line(columns)
	b.WriteString(strings.Repeat("|---", len(columns)) + "|\n")
	for _, row := range rows {
		line(row)
	}
	return b.String()
}

// The table in docs/clients.md has the expectations.
func TestClientsDocument(t *testing.T) {
	document, err := os.ReadFile("../docs/clients.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for _, e := range expectations {
		rows = append(rows, e.row())
	}
	if want := markdown(clientColumns, rows); !strings.Contains(string(document), want) {
		t.Errorf("docs/clients.md lacks this table:\n%s", want)
	}
	for _, e := range expectations {
		if e.shows != "" && !strings.Contains(string(document), "`"+e.shows+"`") {
			t.Errorf("docs/clients.md does not say that %s shows %q", e.client.name, e.shows)
		}
	}
	for _, c := range packetClients {
		if !strings.Contains(string(document), c.program) {
			t.Errorf("docs/clients.md does not name %s", c.program)
		}
	}
}

// newPatientLab makes a lab for clients that take long to start while others use
// the processor, such as Deluge's console.
func newPatientLab(t *testing.T) *lab {
	t.Helper()
	l := newLab(t)
	l.patience = 2 * patience
	return l
}

func testClientSeeds(t *testing.T, e expectation) {
	l := newPatientLab(t)
	tr := l.host("tracker", ipv4).tracker()
	seen := tr.capture()
	probe := l.host("probe", ipv4).probe(tr.address(ipv4))
	tor := l.torrent("file", tr.url(ipv4))

	seeder := l.host("seeder", ipv4).seed(e.client, tor)
	probe.awaitPeers(tor, seeder)
	l.host("leecher", ipv4).leech(libtorrent, tor).awaitFile()
	leaves(seen, seeder, probe, e)
}

func testClientLeeches(t *testing.T, e expectation) { testDownload(t, e, private, false) }
func testClientMagnet(t *testing.T, e expectation)  { testDownload(t, e, public, true) }

func testDownload(t *testing.T, e expectation, privacy int, magnet bool) {
	l := newPatientLab(t)
	tr := l.host("tracker", ipv4).tracker()
	seen := tr.capture()
	probe := l.host("probe", ipv4).probe(tr.address(ipv4))
	tor := l.makeTorrent("file", fileSize, privacy, []string{tr.url(ipv4)})

	l.host("seeder", ipv4).seed(libtorrent, tor)
	probe.awaitCounts(tor, counts{seeders: 1})
	leecher := l.host("leecher", ipv4).join(e.client, task{torrents: []*torrent{tor}, magnet: magnet})
	leecher.awaitFile()
	if e.completed {
		l.await("the download is announced as completed", func() error {
			if !seen.announced(leecher.host, bep15.EventCompleted)[tor.infoHash] {
				return errors.New("it is not")
			}
			return nil
		})
	}
	leaves(seen, leecher, probe, e)
}

// leaves ends a client and checks what it leaves behind.
func leaves(seen *capture, p *peer, probe *probe, e expectation) {
	p.Helper()
	p.leave()
	if e.stopped > 0 {
		p.await(p.process.name+" has left the swarm", func() error {
			if peers, err := probe.peers(p.torrent.infoHash); err != nil {
				return err
			} else if slices.Contains(peers, p.address(ipv4)) {
				return fmt.Errorf("got %v", peers)
			}
			return nil
		})
	}
	noRefusals(seen, p)
}

// noRefusals checks that the tracker sent no error to a peer.
func noRefusals(seen *capture, p *peer) {
	p.Helper()
	for reason, n := range seen.refusals(p.host) {
		p.Errorf("%s got %d times the error %q", p.process.name, n, reason)
	}
}

// testClientIPv6 has a seeder on hosts that have only IPv6. A client that asks no
// tracker over IPv6 is expected to use the torrent's other tracker instead.
func testClientIPv6(t *testing.T, e expectation) {
	l := newPatientLab(t)
	if !e.ipv6 {
		tr := l.host("tracker", dual).tracker()
		seen := tr.capture()
		tor := l.torrent("file", tr.url(ipv6), tr.url(ipv4))
		seeder := l.host("seeder", dual).seed(e.client, tor)
		l.host("probe", ipv4).probe(tr.address(ipv4)).awaitPeers(tor, seeder)
		seeder.leave()
		for _, a := range seen.announces(seeder.host) {
			if a.from.Addr().Is6() {
				t.Errorf("got %v, want no announce over IPv6", a)
			}
		}
		return
	}
	tr := l.host("tracker", ipv6).tracker()
	seen := tr.capture()
	probe := l.host("probe", ipv6).probe(tr.address(ipv6))
	tor := l.torrent("file", tr.url(ipv6))
	seeder := l.host("seeder", ipv6).seed(e.client, tor)
	probe.awaitPeers(tor, seeder)
	l.host("leecher", ipv6).leech(libtorrent, tor).awaitFile()
	seeder.leave()
	noRefusals(seen, seeder)
}

// testClientMany has a client that seeds many torrents: it announces all of them
// at its start, no error comes, and it reports all as stopped at its end.
func testClientMany(t *testing.T, e expectation) {
	l := newPatientLab(t)
	tr := l.host("tracker", ipv4).tracker()
	seen := tr.capture()
	probe := l.host("probe", ipv4).probe(tr.address(ipv4))
	var torrents []*torrent
	for i := range manyTorrents {
		torrents = append(torrents, l.makeTorrent(fmt.Sprintf("file%02d", i), 16<<10, private, []string{tr.url(ipv4)}))
	}

	seeder := l.host("seeder", ipv4).join(e.client, task{torrents: torrents, seed: true})
	probe.awaitKnown(torrents, e.many)
	seeder.leave()
	if e.stopped == unsteady {
		noRefusals(seen, seeder)
		return
	}
	l.await(fmt.Sprintf("%d torrents are reported as stopped", e.stopped), func() error {
		if n := len(seen.announced(seeder.host, bep15.EventStopped)); n != e.stopped {
			return fmt.Errorf("got %d", n)
		}
		return nil
	})
	probe.awaitKnown(torrents, e.many-e.stopped)
	t.Logf("%d connects, %d announces", seen.connects(seeder.host), len(seen.announces(seeder.host)))
	noRefusals(seen, seeder)
}

// testClientRefused has a client with a torrent that is not on the whitelist.
func testClientRefused(t *testing.T, e expectation) {
	l := newPatientLab(t)
	h := l.host("tracker", ipv4)
	list := filepath.Join(l.dir, "list")
	if err := os.WriteFile(list, []byte(strings.Repeat("0", 40)+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	tr := h.tracker("-whitelist", list)
	seen := tr.capture()
	tor := l.torrent("file", tr.url(ipv4))

	p := l.host("seeder", ipv4).seed(e.client, tor)
	l.await("the tracker refuses the torrent", func() error {
		if len(seen.refusals(p.host)) == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	if e.shows != "" {
		l.await(fmt.Sprintf("%s shows %q", e.client.name, e.shows), func() error {
			if !strings.Contains(p.message(p), e.shows) {
				return errors.New("not yet")
			}
			return nil
		})
	}
}

// awaitKnown waits until want of the torrents, each with one peer or none, have a
// peer. torrent-stream announces as a leecher although it has the files.
func (p *probe) awaitKnown(torrents []*torrent, want int) {
	p.Helper()
	var hashes []bep15.InfoHash
	for _, tor := range torrents {
		hashes = append(hashes, tor.infoHash)
	}
	p.await(fmt.Sprintf("the tracker knows a peer of %d of %d torrents", want, len(torrents)), func() error {
		reply, err := p.ask(bep15.AppendScrape(nil, 0, 0, hashes...))
		if err != nil {
			return err
		}
		got := 0
		if !bep15.ParseScrapeReply(reply, len(hashes), func(_ int, n bep15.Counts) { got += int(n.Seeders + n.Leechers) }) {
			return fmt.Errorf("got a scrape reply of %d bytes", len(reply))
		}
		if got != want {
			return fmt.Errorf("got %d", got)
		}
		return nil
	})
}
