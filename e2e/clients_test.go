//go:build linux

package e2e

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// python is Debian's, which its libtorrent belongs to; another one may come
// first in the PATH.
const python = "/usr/bin/python3"

// peerPort is where the clients of a host listen that has no other.
const peerPort = 6881

//go:embed libtorrent_peer.py
var libtorrentPeer []byte

// A client is a BitTorrent program that we know how to run.
type client struct {
	name string

	// argv prepares a peer and is the command line that runs it.
	argv func(p *peer) []string

	// started does what is left to do once the program runs; may be nil.
	started func(p *peer)

	// message is where its user finds what a tracker answered, and maybe more.
	message func(p *peer) string

	// failure is what it shows where others show the tracker's reason; empty if it
	// shows the reason.
	failure string

	// announce is how a user makes it ask the tracker again now; may be nil.
	announce func(p *peer)

	// goodbye is the signal that makes it leave its swarms and end.
	goodbye syscall.Signal
}

// A peer is a client with one torrent.
type peer struct {
	*process
	*client
	torrent *torrent
	dir     string // where its file is; its state is in dir+".state"
}

func (p *peer) state() string { return p.dir + ".state" }
func (p *peer) file() string  { return filepath.Join(p.dir, p.torrent.name) }

// seed runs a client that has the torrent's file; options go to its command line.
func (h *host) seed(c *client, tor *torrent, options ...string) *peer {
	h.Helper()
	return h.peer(c, tor, true, options)
}

// leech runs a client that lacks the torrent's file.
func (h *host) leech(c *client, tor *torrent, options ...string) *peer {
	h.Helper()
	return h.peer(c, tor, false, options)
}

func (h *host) peer(c *client, tor *torrent, seed bool, options []string) *peer {
	h.Helper()
	p := &peer{
		process: &process{host: h},
		client:  c,
		torrent: tor,
		dir:     filepath.Join(h.dir, h.name+"-"+tor.name),
	}
	for _, dir := range []string{p.dir, p.state()} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			h.Fatal(err)
		}
	}
	if seed {
		if err := os.WriteFile(p.file(), tor.content, 0o644); err != nil {
			h.Fatal(err)
		}
	}
	p.process = h.start(append(c.argv(p), options...)...)
	if c.started != nil {
		c.started(p)
	}
	return p
}

// complete says what the peer's file lacks.
func (p *peer) complete() error {
	content, err := os.ReadFile(p.file())
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("no file yet")
	}
	if err != nil {
		return err
	}
	if sha256.Sum256(content) != p.torrent.sum {
		return fmt.Errorf("%d bytes of another SHA-256", len(content))
	}
	return nil
}

func (p *peer) awaitFile() {
	p.Helper()
	p.await(p.process.name+" has the file", p.complete)
}

func (p *peer) leave() {
	p.Helper()
	p.stop(p.goodbye)
}

// address is where the others find the peer.
func (p *peer) address(f family) netip.AddrPort {
	return netip.AddrPortFrom(p.host.address(f), uint16(p.peerPort))
}

// write makes a file for the peer's state and returns its path.
func (p *peer) write(name string, content []byte) string {
	p.Helper()
	path := filepath.Join(p.state(), name)
	if err := os.WriteFile(path, content, 0o644); err != nil {
		p.Fatal(err)
	}
	return path
}

// aria2 speaks to UDP trackers only through the socket of its DHT. The DHT has
// no way in and the torrent is private, so it stays on its own.
var aria2 = &client{
	name: "aria2",
	argv: func(p *peer) []string {
		return []string{
			"aria2c", "--no-conf", "--dir=" + p.dir,
			"--enable-dht=true", "--enable-dht6=false", "--dht-file-path=" + filepath.Join(p.state(), "dht.dat"),
			fmt.Sprintf("--dht-listen-port=%d", p.peerPort), fmt.Sprintf("--listen-port=%d", p.peerPort),
			"--bt-enable-lpd=false", "--enable-peer-exchange=false",
			"--check-integrity=true", "--allow-overwrite=true", "--seed-ratio=0.0", "--file-allocation=none",
			"--console-log-level=notice", "--enable-color=false", "--summary-interval=0", "--log-level=info", "--log=" + p.state() + ".log",
			p.torrent.path,
		}
	},
	message: func(p *peer) string { return p.read(p.state() + ".log") },
	goodbye: syscall.SIGINT,
}

// libtorrent 2.0 takes an error reply from its first byte on for text, and that
// byte is 0. So no tracker's reason gets through to its alerts.
var libtorrent = &client{
	name:    "libtorrent",
	failure: "tracker sent a failure message",
	argv: func(p *peer) []string {
		var listen []string
		for _, ip := range []netip.Addr{p.ip4, p.ip6} {
			if ip.IsValid() {
				listen = append(listen, netip.AddrPortFrom(ip, uint16(p.peerPort)).String())
			}
		}
		return []string{
			python, p.write("peer.py", libtorrentPeer),
			"--torrent", p.torrent.path, "--dir", p.dir, "--listen", strings.Join(listen, ","),
		}
	},
	message:  func(p *peer) string { return p.read(p.log) },
	announce: func(p *peer) { p.tell("announce") },
	goodbye:  syscall.SIGTERM,
}

// rTorrent checks a finished file once more unless told not to, and then keeps
// the completed event to itself until its next announce.
var rtorrent = &client{
	name: "rtorrent",
	argv: func(p *peer) []string {
		rc := p.write("rtorrent.rc", []byte(fmt.Sprintf(`
system.daemon.set = true
directory.default.set = %[1]s
session.path.set = %[2]s
network.port_range.set = %[3]d-%[3]d
network.port_random.set = no
dht.mode.set = disable
protocol.pex.set = no
protocol.encryption.set = allow_incoming,try_outgoing,enable_retry
trackers.use_udp.set = yes
pieces.hash.on_completion.set = no
network.scgi.open_local = %[2]s/scgi
log.open_file = log, %[2]s.log
log.add_output = info, log
log.add_output = tracker_debug, log
`, p.dir, p.state(), p.peerPort)))
		return []string{"rtorrent", "-n", "-o", "import=" + rc, p.torrent.path}
	},
	message: func(p *peer) string { return p.read(p.state() + ".log") },
	announce: func(p *peer) {
		hash := strings.ToUpper(hex.EncodeToString(p.torrent.infoHash[:]))
		reply, err := scgi(filepath.Join(p.state(), "scgi"), "d.tracker_announce", hash)
		if err != nil {
			p.Fatal(err)
		}
		if !strings.Contains(reply, "<params>") {
			p.Fatalf("rtorrent refuses to announce: %s", reply)
		}
	},
	goodbye: syscall.SIGINT,
}

// scgi calls a method of rTorrent's, with one string, and returns the reply as it
// comes.
func scgi(socket, method, argument string) (string, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	body := fmt.Sprintf("<?xml version=\"1.0\"?><methodCall><methodName>%s</methodName><params><param><value>"+
		"<string>%s</string></value></param></params></methodCall>", method, argument)
	headers := fmt.Sprintf("CONTENT_LENGTH\x00%d\x00SCGI\x001\x00", len(body))
	if _, err := fmt.Fprintf(conn, "%d:%s,%s", len(headers), headers, body); err != nil {
		return "", err
	}
	reply, err := io.ReadAll(conn)
	return string(reply), err
}

// Transmission tries uTP first, and a peer that has none costs it a minute.
var transmission = &client{
	name: "transmission",
	argv: func(p *peer) []string {
		settings, err := json.Marshal(map[string]any{
			"dht-enabled": false, "pex-enabled": false, "lpd-enabled": false, "utp-enabled": false,
			"port-forwarding-enabled": false, "peer-port": p.peerPort, "download-dir": p.dir,
			"rpc-bind-address": "127.0.0.1", "rpc-whitelist-enabled": false, "rpc-authentication-required": false,
		})
		if err != nil {
			p.Fatal(err)
		}
		p.write("settings.json", settings)
		return []string{"transmission-daemon", "--foreground", "--config-dir", p.state(), "--log-debug"}
	},
	started: func(p *peer) {
		p.await(p.process.name+" takes the torrent", func() error {
			_, err := p.remote("--add", p.torrent.path)
			return err
		})
	},
	message: func(p *peer) string {
		out, err := p.remote("--torrent", "1", "--info-trackers")
		if err != nil {
			p.Fatal(err)
		}
		return out
	},
	announce: func(p *peer) {
		if _, err := p.remote("--torrent", "1", "--reannounce"); err != nil {
			p.Fatal(err)
		}
	},
	goodbye: syscall.SIGTERM,
}

// remote runs Transmission's remote control beside it.
func (p *peer) remote(args ...string) (string, error) {
	out, err := p.command(append([]string{"transmission-remote", "127.0.0.1"}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("transmission-remote %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}
