//go:build linux

package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// This file runs BitTorrent clients. Each client is described in a file of its
// own, client_NAME_test.go. TestClients (compatibility_test.go) holds the list
// and the expected results of all clients.

// python is Debian's interpreter, because python3-libtorrent belongs to it.
// Another interpreter may come first in the PATH.
const python = "/usr/bin/python3"

// peerPort is where a client listens, except on hosts with another peerPort.
const peerPort = 6881

// clientsDir has the clients that scripts/install-clients installs.
var clientsDir = clientsDirectory()

func clientsDirectory() string {
	if dir := os.Getenv("PICO_CLIENTS_DIR"); dir != "" {
		return dir
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	return filepath.Join(cache, "pico-tracker-clients")
}

// A client is a driver for one BitTorrent program: it tells how to start the
// program with the torrents of a peer, and how to stop it.
type client struct {
	name string

	// version is a command that prints the version of the installed program.
	version []string

	// argv prepares the state of a peer and returns the command line that runs it.
	argv func(p *peer) []string

	// started finishes the start when the program runs, for example through the
	// program's remote control; may be nil.
	started func(p *peer)

	// message returns the text where a user finds the reply of a tracker, which
	// may contain more.
	message func(p *peer) string

	// failure is the text that the program shows instead of the tracker's reason;
	// empty if it shows the reason.
	failure string

	// announce makes the program announce now, as a user can; may be nil.
	announce func(p *peer)

	// goodbye is the signal that makes the program leave its swarms and end.
	goodbye syscall.Signal

	// leave replaces goodbye for a program that is not ended by a signal; may be
	// nil.
	leave func(p *peer)
}

// installed returns the version of the installed program.
func (c *client) installed() (string, error) {
	out, err := exec.Command(c.version[0], c.version[1:]...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(c.version, " "), err, bytes.TrimSpace(out))
	}
	version := versionNumber.FindString(string(out))
	if version == "" {
		return "", fmt.Errorf("%s: no version in %q", strings.Join(c.version, " "), out)
	}
	return version, nil
}

// A task is what a client is asked to do.
type task struct {
	torrents []*torrent
	seed     bool     // the client has the files
	magnet   bool     // the client gets magnet links, not .torrent files
	options  []string // added to the command line
}

// A peer is a client with its torrents, on a host.
type peer struct {
	*process
	*client
	task
	torrent *torrent // the first of torrents
	dir     string   // the directory of the files; the state is in dir+".state"
}

func (p *peer) state() string              { return p.dir + ".state" }
func (p *peer) fileOf(tor *torrent) string { return filepath.Join(p.dir, tor.name) }

// seed runs a client that has the torrent's file; options go to its command line.
func (h *host) seed(c *client, tor *torrent, options ...string) *peer {
	h.Helper()
	return h.join(c, task{torrents: []*torrent{tor}, seed: true, options: options})
}

// leech runs a client that lacks the torrent's file.
func (h *host) leech(c *client, tor *torrent, options ...string) *peer {
	h.Helper()
	return h.join(c, task{torrents: []*torrent{tor}, options: options})
}

// join runs a client on the host.
func (h *host) join(c *client, t task) *peer {
	h.Helper()
	p := &peer{
		process: &process{host: h},
		client:  c,
		task:    t,
		torrent: t.torrents[0],
		dir:     filepath.Join(h.dir, h.name+"-"+t.torrents[0].name),
	}
	for _, dir := range []string{p.dir, p.state()} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			h.Fatal(err)
		}
	}
	if t.seed {
		for _, tor := range t.torrents {
			if err := os.WriteFile(p.fileOf(tor), tor.content, 0o644); err != nil {
				h.Fatal(err)
			}
		}
	}
	p.process = h.start(append(c.argv(p), t.options...)...)
	if c.started != nil {
		c.started(p)
	}
	return p
}

// sources returns what the client gets: paths of .torrent files, or magnet links
// that name nothing but the info hash and the trackers.
func (p *peer) sources() []string {
	var sources []string
	for _, tor := range p.torrents {
		if p.magnet {
			sources = append(sources, tor.magnet())
		} else {
			sources = append(sources, tor.path)
		}
	}
	return sources
}

// magnet returns the torrent's magnet link (BEP 9), without a name or a size.
func (tor *torrent) magnet() string {
	link := "magnet:?xt=urn:btih:" + hex.EncodeToString(tor.infoHash[:])
	for _, tracker := range tor.trackers {
		link += "&tr=" + url.QueryEscape(tracker)
	}
	return link
}

// complete returns an error that says what the peer's files lack.
func (p *peer) complete() error {
	for _, tor := range p.torrents {
		content, err := os.ReadFile(p.fileOf(tor))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: no file yet", tor.name)
		}
		if err != nil {
			return err
		}
		if sha256.Sum256(content) != tor.sum {
			return fmt.Errorf("%s: %d bytes of another SHA-256", tor.name, len(content))
		}
	}
	return nil
}

func (p *peer) awaitFile() {
	p.Helper()
	p.await(p.process.name+" has the file", p.complete)
}

// leave makes the client leave its swarms and waits for its end.
func (p *peer) leave() {
	p.Helper()
	if p.client.leave == nil {
		p.stop(p.goodbye)
		return
	}
	p.wanted.Store(true)
	p.client.leave(p)
	p.awaitEnd("told to leave")
}

// address is where the others find the peer.
func (p *peer) address(f family) netip.AddrPort {
	return netip.AddrPortFrom(p.host.address(f), uint16(p.peerPort))
}

// listen returns the addresses and the port that the peer listens on.
func (p *peer) listen() []string {
	var listen []string
	for _, ip := range []netip.Addr{p.ip4, p.ip6} {
		if ip.IsValid() {
			listen = append(listen, netip.AddrPortFrom(ip, uint16(p.peerPort)).String())
		}
	}
	return listen
}

// write makes a file for the peer's state and returns its path.
func (p *peer) write(name string, content []byte) string {
	p.Helper()
	path := filepath.Join(p.state(), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		p.Fatal(err)
	}
	return path
}

// versionNumber is the first version in what a program prints.
var versionNumber = regexp.MustCompile(`\d+(\.\d+)+`)
