//go:build linux

package e2e

import (
	_ "embed"
	"strconv"
)

//go:embed java/BtPeer.java
var btPeer []byte

// bt is a library in Java, run in a program of our own.
var bt = &client{
	name:    "bt",
	version: []string{"sh", "-c", "ls " + clientsDir + "/bt/bt-core-*.jar | sed 's/.*-//'"},
	argv: func(p *peer) []string {
		address := p.ip4
		if !address.IsValid() {
			address = p.ip6
		}
		return append([]string{
			"java", "-cp", clientsDir + "/bt/*", p.write("BtPeer.java", btPeer),
			p.dir, address.String(), strconv.Itoa(p.peerPort),
		}, p.sources()...)
	},
	message: func(p *peer) string { return p.read(p.log) },
	leave:   func(p *peer) { p.stdin.Close() },
}
