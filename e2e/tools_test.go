//go:build linux

package e2e

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// libtorrentTool makes a torrent with libtorrent: v1, v2 or hybrid.
const libtorrentTool = `
import sys, libtorrent as lt
kind, content, path, url = sys.argv[1:]
files = lt.file_storage()
lt.add_files(files, content)
v2_only, v1_only = 1 << 5, 1 << 6
t = lt.create_torrent(files, flags={"v1": v1_only, "v2": v2_only, "hybrid": 0}[kind])
t.add_tracker(url)
lt.set_piece_hashes(t, content[:content.rindex("/")])
open(path, "wb").write(lt.bencode(t.generate()))
`

// libtorrentHashes prints the info hashes of a torrent as libtorrent has them.
const libtorrentHashes = `
import sys, libtorrent as lt
h = lt.torrent_info(sys.argv[1]).info_hashes()
if h.has_v1(): print(h.v1)
if h.has_v2(): print(h.v2)
`

// torfTool makes a torrent with torf, a library of PyPI.
const torfTool = `
import sys, torf
t = torf.Torrent(sys.argv[1], trackers=[sys.argv[3]])
t.generate()
t.write(sys.argv[2])
`

// torrentTools make a .torrent file of content.
var torrentTools = []struct {
	name    string
	command func(content, path, url string) []string
}{
	{"mktorrent", func(content, path, url string) []string {
		return []string{"mktorrent", "-a", url, "-o", path, content}
	}},
	{"transmission-create", func(content, path, url string) []string {
		return []string{"transmission-create", "-t", url, "-o", path, content}
	}},
	{"libtorrent v1", func(content, path, url string) []string {
		return []string{"/usr/bin/python3", "-c", libtorrentTool, "v1", content, path, url}
	}},
	{"libtorrent v2", func(content, path, url string) []string {
		return []string{"/usr/bin/python3", "-c", libtorrentTool, "v2", content, path, url}
	}},
	{"libtorrent hybrid", func(content, path, url string) []string {
		return []string{"/usr/bin/python3", "-c", libtorrentTool, "hybrid", content, path, url}
	}},
	{"torf", func(content, path, url string) []string {
		return []string{"python3", "-c", torfTool, content, path, url}
	}},
}

// TestTorrentsOfTools: a directory of torrents that common tools made is served,
// and nothing else. The info hashes of -hash are those of libtorrent. A torrent
// that -add-tracker changed has the same info hash. Clients download each of them.
func TestTorrentsOfTools(t *testing.T) {
	needLab(t)
	t.Parallel()
	l := newLab(t)
	host := l.host("tracker", ipv4)
	url := fmt.Sprintf("udp://%s:%d", host.ip4, trackerPort)
	dir := filepath.Join(l.dir, "torrents")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tr := host.tracker("-whitelist", dir)
	probe := l.host("probe", ipv4).probe(tr.address(ipv4))
	run := func(argv ...string) string {
		t.Helper()
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v: %s", argv, err, out)
		}
		return string(out)
	}
	var leechers []*peer
	for i, tool := range torrentTools {
		if tool.name == "torf" && exec.Command("python3", "-c", "import torf").Run() != nil {
			t.Log("torf is not installed (pip install torf): its torrents are not tried")
			continue
		}
		tor := l.torrent(fmt.Sprintf("tool%d", i), url)
		content := filepath.Join(l.dir, tor.name)
		err := errors.Join(os.WriteFile(content, tor.content, 0o644), os.Remove(tor.path))
		if err != nil {
			t.Fatal(err)
		}
		// It has another tracker at first.
		run(tool.command(content, tor.path, "udp://tracker.invalid:1")...)
		hashes := func() (hashes []string) {
			for _, line := range strings.Split(strings.TrimSpace(run(trackerBinary, "-hash", tor.path)), "\n") {
				hash, name, _ := strings.Cut(line, " # ")
				if !strings.HasPrefix(name, tor.name+", ") {
					t.Errorf("%s: -hash prints %q, want the name %s", tool.name, line, tor.name)
				}
				hashes = append(hashes, hash)
			}
			return hashes
		}
		want := strings.Fields(run("/usr/bin/python3", "-c", libtorrentHashes, tor.path))
		if got := hashes(); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Fatalf("%s: -hash prints %q, libtorrent says %q", tool.name, got, want)
		}
		run(trackerBinary, "-add-tracker", url, "-i", tor.path)
		if got := strings.Fields(run("/usr/bin/python3", "-c", libtorrentHashes, tor.path)); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Fatalf("%s: after -add-tracker libtorrent says %q, before %q", tool.name, got, want)
		}
		if _, err := hex.Decode(tor.infoHash[:], []byte(want[0][:40])); err != nil {
			t.Fatal(err)
		}
		var refusal trackerError
		if _, err := probe.peers(tor.infoHash); !errors.As(err, &refusal) {
			t.Errorf("%s: before its torrent is in the directory: %v, want a refusal", tool.name, err)
		}
		// Dropped in: served at once, without a signal.
		run("cp", tor.path, dir)
		for _, hash := range want {
			var h [20]byte
			if _, err := hex.Decode(h[:], []byte(hash[:40])); err != nil {
				t.Fatal(err)
			}
			l.await(tool.name+" is served", func() error { _, err := probe.peers(h); return err })
		}
		l.host(fmt.Sprintf("seeder%d", i), ipv4).seed(libtorrent, tor)
		leechers = append(leechers, l.host(fmt.Sprintf("leecher%d", i), ipv4).leech(libtorrent, tor))
	}
	for _, p := range leechers {
		p.awaitFile()
	}
	// Removed: refused, and its peers are gone.
	gone := leechers[0].torrent
	if err := os.Remove(filepath.Join(dir, filepath.Base(gone.path))); err != nil {
		t.Fatal(err)
	}
	l.await("the torrent that was removed is refused", func() error {
		var refusal trackerError
		if _, err := probe.peers(gone.infoHash); !errors.As(err, &refusal) {
			return fmt.Errorf("%v, want a refusal", err)
		}
		return nil
	})
}
