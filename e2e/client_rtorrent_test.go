//go:build linux

package e2e

import (
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Unless it is told not to, rTorrent checks a finished file again and sends the
// completed event only with its next announce.
var rtorrent = &client{
	name:    "rtorrent",
	version: []string{"rtorrent", "-h"},
	argv: func(p *peer) []string {
		rc := p.write("rtorrent.rc", []byte(fmt.Sprintf(`
system.daemon.set = true
directory.default.set = %[1]s
session.path.set = %[2]s
network.port_range.set = %[3]d-%[3]d
network.port_random.set = no
dht.mode.set = disable
protocol.pex.set = no
protocol.encryption.set = allow_incoming,try_outgoing,enable_retry
trackers.use_udp.set = yes
pieces.hash.on_completion.set = no
network.scgi.open_local = %[2]s/scgi
log.open_file = log, %[2]s.log
log.add_output = info, log
log.add_output = tracker_debug, log
`, p.dir, p.state(), p.peerPort)))
		return append([]string{"rtorrent", "-n", "-o", "import=" + rc}, p.sources()...)
	},
	message: func(p *peer) string { return p.read(p.state() + ".log") },
	announce: func(p *peer) {
		hash := strings.ToUpper(hex.EncodeToString(p.torrent.infoHash[:]))
		reply, err := scgi(filepath.Join(p.state(), "scgi"), "d.tracker_announce", hash)
		if err != nil {
			p.Fatal(err)
		}
		if !strings.Contains(reply, "<params>") {
			p.Fatalf("rtorrent refuses to announce: %s", reply)
		}
	},
	goodbye: syscall.SIGINT,
}

// scgi calls a method of rTorrent with one string and returns the raw reply.
func scgi(socket, method, argument string) (string, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	body := fmt.Sprintf("<?xml version=\"1.0\"?><methodCall><methodName>%s</methodName><params><param><value>"+
		"<string>%s</string></value></param></params></methodCall>", method, argument)
	headers := fmt.Sprintf("CONTENT_LENGTH\x00%d\x00SCGI\x001\x00", len(body))
	if _, err := fmt.Fprintf(conn, "%d:%s,%s", len(headers), headers, body); err != nil {
		return "", err
	}
	reply, err := io.ReadAll(conn)
	return string(reply), err
}
