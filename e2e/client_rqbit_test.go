//go:build linux

package e2e

import (
	"fmt"
	"syscall"
)

// rqbit sends no stopped event.
var rqbit = &client{
	name:    "rqbit",
	version: []string{clientsDir + "/bin/rqbit", "--version"},
	argv: func(p *peer) []string {
		return append([]string{
			clientsDir + "/bin/rqbit", "--disable-dht", "--disable-lsd", "--disable-upnp-port-forward", fmt.Sprintf("--listen-port=%d", p.peerPort),
			"download", "--disable-http-api", "--overwrite", "--output-folder", p.dir,
		}, p.sources()...)
	},
	message: func(p *peer) string { return p.read(p.log) },
	goodbye: syscall.SIGINT,
}
