//go:build linux

package e2e

import (
	"fmt"
	"path/filepath"
	"syscall"
)

// aria2 speaks to UDP trackers only through the socket of its DHT. The DHT finds
// no other node here, so every peer comes from the tracker.
var aria2 = &client{
	name:    "aria2",
	version: []string{"aria2c", "--version"},
	argv: func(p *peer) []string {
		return append([]string{
			"aria2c", "--no-conf", "--dir=" + p.dir,
			"--enable-dht=true", "--enable-dht6=false", "--dht-file-path=" + filepath.Join(p.state(), "dht.dat"),
			fmt.Sprintf("--dht-listen-port=%d", p.peerPort), fmt.Sprintf("--listen-port=%d", p.peerPort),
			"--bt-enable-lpd=false", "--enable-peer-exchange=false", fmt.Sprintf("--max-concurrent-downloads=%d", len(p.torrents)),
			"--check-integrity=true", "--allow-overwrite=true", "--seed-ratio=0.0", "--file-allocation=none", "--force-sequential=true",
			"--console-log-level=notice", "--enable-color=false", "--summary-interval=0", "--log-level=info", "--log=" + p.state() + ".log",
		}, p.sources()...)
	},
	message: func(p *peer) string { return p.read(p.state() + ".log") },
	goodbye: syscall.SIGINT,
}
