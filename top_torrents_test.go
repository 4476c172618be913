package main

import (
	"fmt"
	"io"
	"math/rand"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/logger"
)

// TestTopTorrents compares with a sorted list, for any order in which the sweep
// meets torrents, and for torrents that it meets twice.
func TestTopTorrents(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	for _, max := range []int{1, 2, 20, maxTop} {
		for _, n := range []int{0, 1, max - 1, max, max + 1, 10 * max} {
			top := newTopTorrents(max)
			for pass := range 3 {
				want := map[bep15.InfoHash]uint32{}
				for _, i := range rng.Perm(n) {
					// Different totals, so that there is one order only.
					peers := [numSets]uint32{leechers4: uint32(10 * i), seeders6: uint32(pass)}
					top.consider(testHash(i), &peers, uint32(i))
					if i%3 == 0 { // moved, and met again
						peers[leechers4]++
						top.consider(testHash(i), &peers, uint32(i))
					}
					if total := (&topTorrent{peers: peers}).total(); total > 0 {
						want[*testHash(i)] = total
					}
				}
				top.endPass()
				var totals []uint32
				for _, total := range want {
					totals = append(totals, total)
				}
				slices.Sort(totals)
				slices.Reverse(totals)
				totals = totals[:min(len(totals), max)]
				if len(top.result) != len(totals) {
					t.Fatalf("top %d of %d: %d torrents, want %d", max, n, len(top.result), len(totals))
				}
				for i, got := range top.result {
					if got.total() != totals[i] || want[got.hash] != totals[i] {
						t.Fatalf("top %d of %d: place %d has %d peers, want %d", max, n, i, got.total(), totals[i])
					}
				}
			}
		}
	}
}

// TestTopIsSwept checks that a pass of the sweep finds small and large swarms
// and forgets removed ones.
func TestTopIsSwept(t *testing.T) {
	s := newService(t)
	s.store.top = newTopTorrents(2)
	a, b := netip.MustParseAddrPort("192.0.2.1:1001"), netip.MustParseAddrPort("[2001:db8::1]:1001")
	fillSwarm(s, a, 300) // torrent 0
	s.announce(a, fields{hash: 1, port: 1, left: 1})
	s.announce(b, fields{hash: 1, port: 2})
	s.announce(a, fields{hash: 2, port: 1, left: 1})
	k := &maintenance{tracker: s.tracker, clock: newClock(), log: &logger.Logger{Out: io.Discard}, lastTick: s.now.mono, lastSweep: s.now.mono}
	pass := func() []topTorrent {
		t.Helper()
		for range 3 * s.store.pool.highWater() { // a page each
			k.tick(s.now)
		}
		return s.store.top.result
	}
	got := pass()
	if len(got) != 2 || got[0].hash != *testHash(0) || got[0].total() != 300 || got[1].hash != *testHash(1) {
		t.Fatalf("got %+v", got)
	}
	if want := [numSets]uint32{leechers4: 1, seeders6: 1}; got[1].peers != want {
		t.Errorf("peers by family and role: got %v, want %v", got[1].peers, want)
	}
	s.now.mono += testInterval * 12 / 5 // stamps wrap after 40 minutes
	pass()
	if got := pass(); len(got) != 0 {
		t.Errorf("after all peers have expired: got %+v", got)
	}
}

// TestRefusedTorrents checks that the table has the last refused torrents, each
// once.
func TestRefusedTorrents(t *testing.T) {
	var r refusedTorrents
	for i := range 3 * numRefused {
		r.note(testHash(i), seconds(100+i))
		r.note(testHash(i), seconds(100+i))
	}
	r.note(testHash(2*numRefused), 1000)
	r.note(testHash(99), 1001)
	got := map[bep15.InfoHash]seconds{}
	for _, e := range r.read() {
		got[e.hash] = e.last
	}
	if len(got) != numRefused || got[*testHash(2 * numRefused)] != 1000 || got[*testHash(99)] != 1001 {
		t.Errorf("got %v", got)
	}
	if _, ok := got[*testHash(2*numRefused + 1)]; ok {
		t.Error("got the oldest hash, want it forgotten")
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 1000 {
				r.note(testHash(w*1000+i), seconds(i))
			}
		}()
	}
	wg.Wait()
}

// TestReportOfTorrents checks that the report has the torrents of -top and the
// refused torrents, and that -status shows them with the names of the list.
func TestReportOfTorrents(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "torrents")
	stats := filepath.Join(dir, "tracker.prom")
	mkdir(t, list)
	text, _ := torrentText("one\x1b[1m")
	writeFile(t, filepath.Join(list, "one.torrent"), text)
	writeFile(t, filepath.Join(list, "more.list"), digits(1)+" - the first\n"+digits(2)+"\n")
	p := startProgram(t, "-whitelist", list, "-stats", stats, "-stats-interval", "1s", "-top", "5")
	c := p.dial("127.0.0.1")
	id := c.connect()
	c.announce(fields{id: id, hash: 1, port: 1, left: 1})
	c.announce(fields{id: id, hash: 1, port: 2})
	c.announce(fields{id: id, hash: 7, port: 1, left: 1})
	report := awaitReport(t, stats, func(r string) bool { return strings.Contains(r, "top_torrent_downloads") })
	for _, want := range []string{
		`pico_tracker_top_torrent_peers{info_hash="` + digits(1) + `",family="ipv4",role="leecher"} 1`,
		`pico_tracker_top_torrent_peers{info_hash="` + digits(1) + `",family="ipv4",role="seeder"} 1`,
		`pico_tracker_top_torrent_downloads{info_hash="` + digits(1) + `"} 0`,
		`pico_tracker_list_info{kind="whitelist",path="` + list + `"} 1`,
		`pico_tracker_refused_torrent_age_seconds{info_hash="` + digits(7) + `"} `,
	} {
		if !strings.Contains(report, want) {
			t.Errorf("the report lacks %s\n%s", want, report)
		}
	}
	code, shown, stderr := program([]string{"-status", stats}, nil)
	for _, want := range []string{"torrents with most peers", digits(1) + "      1      1      0      0      0  the first\n", "refused by the access list", digits(7)} {
		if code != 0 || !strings.Contains(shown, want) {
			t.Errorf("-status: exit %d, %q, lacks %q:\n%s", code, stderr, want, shown)
		}
	}
}

// TestTorrentNames checks that names from all kinds of lists are shown and
// cannot control a terminal.
func TestTorrentNames(t *testing.T) {
	dir := t.TempDir()
	text, hash := torrentText("evil\x1b[1m\nname")
	writeFile(t, filepath.Join(dir, "a.torrent"), text)
	writeFile(t, filepath.Join(dir, "b.txt"), digits(1)+" # "+strings.Repeat("\u00e9", 100)+"\nmagnet:?xt=urn:btih:"+digits(2)+"&dn=two\n"+digits(3)+"\n")
	report := fmt.Sprintf("\npico_tracker_list_info{kind=\"whitelist\",path=%q} 1\n", dir)
	for _, h := range []string{fmt.Sprintf("%x", hash), digits(1), digits(2), digits(3)} {
		report += `pico_tracker_top_torrent_downloads{info_hash="` + h + "\"} 1\n"
	}
	var w textBuilder
	new(torrentNames).show(&w, report, "\n")
	for _, want := range []string{`  "evil\x1b[1m\nname"` + "\n", "  " + strings.Repeat("\u00e9", 30) + "...\n", "  two\n", digits(3) + "      0      0      0      0      1\n"} {
		if !strings.Contains(string(w), want) {
			t.Errorf("lacks %q:\n%s", want, w)
		}
	}
	// A report of another user: only valid info hashes are shown.
	w = nil
	new(torrentNames).show(&w, "pico_tracker_top_torrent_downloads{info_hash=\"\x1b[2J\"} 1\n", "\n")
	if len(w) != 0 {
		t.Errorf("shown: %q", w)
	}
}

// TestTorrentNameLength checks that a long name is cut where a character begins. A
// name of a .torrent file can have any bytes.
func TestTorrentNameLength(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{name: "60 bytes", text: strings.Repeat("a", 60), want: strings.Repeat("a", 60)},
		{name: "61 bytes", text: strings.Repeat("a", 61), want: strings.Repeat("a", 60) + "..."},
		{name: "a character at the end", text: strings.Repeat("a", 58) + "\u00e9", want: strings.Repeat("a", 58) + "\u00e9"},
		{name: "a character across the limit", text: strings.Repeat("a", 59) + "\u00e9", want: strings.Repeat("a", 59) + "..."},
		{name: "not UTF-8", text: strings.Repeat("\x80", 61), want: "..."},
	} {
		dir := t.TempDir()
		text, hash := torrentText(tt.text)
		writeFile(t, filepath.Join(dir, "a.torrent"), text)
		writeFile(t, filepath.Join(dir, "a.csv"), fmt.Sprintf("%x # not a list\n", hash))
		for _, path := range []string{dir, filepath.Join(dir, "a.torrent")} {
			report := fmt.Sprintf("\npico_tracker_list_info{kind=\"whitelist\",path=%q} 1\n", path) +
				fmt.Sprintf("pico_tracker_top_torrent_downloads{info_hash=\"%x\"} 1\n", hash)
			var w textBuilder
			new(torrentNames).show(&w, report, "\n")
			if want := "      1  " + tt.want + "\n"; !strings.HasSuffix(string(w), want) {
				t.Errorf("%s: got %q, want %q at the end", tt.name, w, want)
			}
		}
	}
}

// BenchmarkTopConsider is what the sweep pays for a torrent that is not among
// those with most peers.
func BenchmarkTopConsider(b *testing.B) {
	top := newTopTorrents(maxTop)
	for i := range maxTop {
		top.consider(testHash(i), &[numSets]uint32{leechers4: 100}, 0)
	}
	hash, peers := testHash(maxTop), &[numSets]uint32{leechers4: 1, seeders6: 1}
	b.ResetTimer()
	for range b.N {
		top.consider(hash, peers, 0)
	}
}
