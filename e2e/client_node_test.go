//go:build linux

package e2e

import (
	_ "embed"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

//go:embed node/webtorrent_peer.mjs
var webtorrentPeer []byte

//go:embed node/torrent_stream_peer.cjs
var torrentStreamPeer []byte

// webtorrent and torrent-stream are libraries, run in programs of our own.
var (
	webtorrent    = nodeClient("webtorrent", "webtorrent_peer.mjs", webtorrentPeer)
	torrentStream = nodeClient("torrent-stream", "torrent_stream_peer.cjs", torrentStreamPeer)
)

func nodeClient(name, file string, program []byte) *client {
	modules := clientsDir + "/node/node_modules"
	return &client{
		name:    name,
		version: []string{"node", "-p", "require('" + modules + "/" + name + "/package.json').version"},
		argv: func(p *peer) []string {
			// Node looks for packages beside the program.
			path := p.write(file, program)
			if err := os.Symlink(modules, filepath.Join(p.state(), "node_modules")); err != nil {
				p.Fatal(err)
			}
			return append([]string{"node", path, p.dir, strconv.Itoa(p.peerPort)}, p.sources()...)
		},
		message: func(p *peer) string { return p.read(p.log) },
		goodbye: syscall.SIGTERM,
	}
}
