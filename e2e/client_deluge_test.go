//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
)

// Deluge has a daemon and a console that adds torrents.
var deluge = &client{
	name:    "deluge",
	version: []string{"deluged", "--version"},
	argv: func(p *peer) []string {
		settings, err := json.Marshal(map[string]any{
			"dht": false, "lsd": false, "natpmp": false, "upnp": false, "utpex": false, "new_release_check": false,
			"random_port": false, "listen_ports": []int{p.peerPort, p.peerPort}, "download_location": p.dir,
			"max_active_downloading": -1, "max_active_limit": -1, "max_active_seeding": -1,
		})
		if err != nil {
			p.Fatal(err)
		}
		p.write("core.conf", append([]byte(`{"file": 1, "format": 1}`), settings...))
		return []string{"deluged", "--do-not-daemonize", "--config", p.state(), "--loglevel", "info"}
	},
	started: func(p *peer) {
		// The daemon makes the console's password when it starts. A console that finds
		// no daemon ends with 0 and says so.
		p.await(p.process.name+" takes the torrents", func() error {
			argv := []string{"deluge-console", "--config", p.state(), "add --path " + p.dir + " " + strings.Join(p.sources(), " ")}
			out, err := p.command(argv...).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			if n := strings.Count(string(out), "Torrent added"); n != len(p.torrents) {
				return fmt.Errorf("%d torrents added: %s", n, out)
			}
			return nil
		})
	},
	message: func(p *peer) string {
		out, err := p.command("deluge-console", "--config", p.state(), "info --verbose").CombinedOutput()
		if err != nil {
			p.Fatalf("%v: %s", err, out)
		}
		return string(out)
	},
	goodbye: syscall.SIGTERM,
}
