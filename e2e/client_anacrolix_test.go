//go:build linux

package e2e

import (
	"strconv"
	"syscall"
)

// anacrolix runs github.com/anacrolix/torrent, a library, in a program of our own.
var anacrolix = &client{
	name:    "anacrolix",
	version: []string{clientsDir + "/bin/anacrolix", "-version"},
	argv: func(p *peer) []string {
		return append([]string{clientsDir + "/bin/anacrolix", "-dir", p.dir, "-port", strconv.Itoa(p.peerPort)}, p.sources()...)
	},
	message: func(p *peer) string { return p.read(p.log) },
	goodbye: syscall.SIGTERM,
}
