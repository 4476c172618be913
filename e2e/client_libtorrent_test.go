//go:build linux

package e2e

import (
	_ "embed"
	"strings"
	"syscall"
)

//go:embed libtorrent_peer.py
var libtorrentPeer []byte

// libtorrent is Debian's, the others are from PyPI.
var (
	libtorrent     = libtorrentAt("libtorrent", "")
	libtorrent2011 = libtorrentAt("libtorrent-2.0.11", clientsDir+"/libtorrent-2.0.11")
	libtorrent2015 = libtorrentAt("libtorrent-2.0.15", clientsDir+"/libtorrent-2.0.15")
	libtorrent211  = libtorrentAt("libtorrent-2.1.1", clientsDir+"/libtorrent-2.1.1")
)

// libtorrentAt returns a driver for the libtorrent in a directory of Python
// packages; the empty directory means Debian's.
//
// libtorrent 2.0 takes the first byte of an error reply for text, and this byte
// is 0. So its alerts never show the reason that a tracker gives.
func libtorrentAt(name, packages string) *client {
	command := []string{"env", "PYTHONPATH=" + packages, python}
	return &client{
		name:    name,
		version: append(command, "-c", "import libtorrent; print(libtorrent.version)"),
		failure: "tracker sent a failure message",
		argv: func(p *peer) []string {
			argv := append(command[:len(command):len(command)], p.write("peer.py", libtorrentPeer),
				"--dir", p.dir, "--listen", strings.Join(p.listen(), ","))
			for _, source := range p.sources() {
				argv = append(argv, "--torrent", source)
			}
			return argv
		},
		message:  func(p *peer) string { return p.read(p.log) },
		announce: func(p *peer) { p.tell("announce") },
		goodbye:  syscall.SIGTERM,
	}
}
