//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
)

// Transmission tries uTP first. With a peer without uTP this takes a minute.
var transmission = &client{
	name:    "transmission",
	version: []string{"transmission-daemon", "--version"},
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
		for _, source := range p.sources() {
			p.await(p.process.name+" takes a torrent", func() error {
				_, err := p.remote("--add", source)
				return err
			})
		}
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

// remote runs Transmission's remote control on the same host.
func (p *peer) remote(args ...string) (string, error) {
	out, err := p.command(append([]string{"transmission-remote", "127.0.0.1"}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("transmission-remote %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}
