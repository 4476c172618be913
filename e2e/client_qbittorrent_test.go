//go:build linux

package e2e

import (
	"fmt"
	"syscall"
)

// qBittorrent runs without a window. Its queue, which would hold back most of many
// torrents, is off.
var qbittorrent = &client{
	name:    "qbittorrent",
	version: []string{"qbittorrent-nox", "--version"},
	argv: func(p *peer) []string {
		p.write("qBittorrent/config/qBittorrent.conf", fmt.Appendf(nil, `
[LegalNotice]
Accepted=true

[BitTorrent]
Session\BTProtocol=TCP
Session\DHTEnabled=false
Session\DefaultSavePath=%[1]s
Session\LSDEnabled=false
Session\PeXEnabled=false
Session\Port=%[2]d
Session\Preallocation=false
Session\QueueingSystemEnabled=false

[Network]
PortForwardingEnabled=false

[Preferences]
WebUI\Address=127.0.0.1
WebUI\LocalHostAuth=false
WebUI\UseUPnP=false
`, p.dir, p.peerPort))
		argv := []string{"qbittorrent-nox", "--profile=" + p.state(), "--save-path=" + p.dir, "--skip-dialog=true"}
		if p.seed {
			// It checks one file a second. Without checks it announces all torrents at once.
			argv = append(argv, "--skip-hash-check")
		}
		return append(argv, p.sources()...)
	},
	message: func(p *peer) string {
		out, err := p.command("curl", "-sS", fmt.Sprintf("http://127.0.0.1:8080/api/v2/torrents/trackers?hash=%x", p.torrent.infoHash)).CombinedOutput()
		if err != nil {
			p.Fatalf("%v: %s", err, out)
		}
		return string(out)
	},
	goodbye: syscall.SIGTERM,
}
