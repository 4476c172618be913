//go:build linux

package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
)

// lftp is a shell. It seeds for as long as it runs, and sends no stopped event when
// it is ended. Over IPv6 it sends requests of action 4, which is not in BEP 15.
var lftp = &client{
	name:    "lftp",
	version: []string{"lftp", "--version"},
	argv: func(p *peer) []string {
		commands := p.write("commands", fmt.Appendf(nil, `
set torrent:use-dht no
set torrent:port-range %d
set torrent:stop-on-ratio 1000
set torrent:stop-min-ppr 1000
set cmd:move-background no
debug -o %s 9
torrent -O %s %s
`, p.peerPort, filepath.Join(p.lab.dir, filepath.Base(p.dir)+".state.log"), p.dir, strings.Join(quoted(p.sources()), " ")))
		return []string{"lftp", "--norc", "-e", "source " + commands}
	},
	message: func(p *peer) string { return p.read(p.state() + ".log") },
	goodbye: syscall.SIGTERM,
}

// quoted quotes strings for lftp, which treats & and ? as special.
func quoted(strings []string) []string {
	var all []string
	for _, s := range strings {
		all = append(all, `"`+s+`"`)
	}
	return all
}
