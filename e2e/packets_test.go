//go:build linux

package e2e

import (
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// This file sends the packets of clients that cannot be run here, because no
// package registry has them: BiglyBT, rTorrent 0.16 and µTorrent. The bytes are
// written by hand, from what is known about these clients. They show that the
// tracker answers such packets, not that the clients work.

// A packetClient is how a client announces.
type packetClient struct {
	name     string
	program  string
	peerID   string // its first bytes
	connects bool   // it connects before each announce, and not once for all torrents
	counts   bool   // its transaction IDs count up, instead of being random
	left     string // hexadecimal, as the fields below
	numWant  string
	ownIP    string // the field "IP address"
	options  string // after the 98 bytes of BEP 15
	peers    int    // how many of two peers the reply has
}

var packetClients = []packetClient{
	{
		// It writes its own address into the announce and asks for the default number.
		name: "rTorrent 0.16", program: "rTorrent 0.16", peerID: "-lt0G00-", connects: true,
		left: "0000000000010000", numWant: "ffffffff", ownIP: "c6120003", peers: 2,
	},
	{
		// A magnet link: it takes 64 MiB for the size that it does not know.
		name: "BiglyBT", program: "BiglyBT", peerID: "-BI3900-", connects: true, counts: true,
		left: "0000000004000000", numWant: "00000064", ownIP: "00000000", peers: 2,
	},
	{
		// Some users' BiglyBT asks for no peers when it starts.
		name: "BiglyBT with num_want 0", program: "BiglyBT", peerID: "-BI3900-", connects: true, counts: true,
		left: "0000000000010000", numWant: "00000000", ownIP: "00000000", peers: 2,
	},
	{
		// BEP 41: option 2 with the path /announce, and the end.
		name: "µTorrent", program: "µTorrent", peerID: "-UT355S-",
		left: "0000000000010000", numWant: "000000c8", ownIP: "00000000", options: "0209" + "2f616e6e6f756e6365" + "00", peers: 2,
	},
}

// A packetPeer is a packetClient on a host, with one socket.
type packetPeer struct {
	*host
	packetClient
	conn        net.PacketConn
	tracker     net.Addr
	transaction uint32
}

func (h *host) packets(c packetClient, tr *tracker) *packetPeer {
	h.Helper()
	conn, err := h.socket("udp4")
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { conn.Close() })
	return &packetPeer{host: h, packetClient: c, conn: conn, tracker: net.UDPAddrFromAddrPort(tr.address(ipv4)), transaction: 0x7a3c}
}

// exchange sends requests, which lack their transaction IDs, in one burst and
// returns the replies in the order of the requests. A request is in hexadecimal,
// and TTTTTTTT stands for the transaction ID.
func (p *packetPeer) exchange(requests []string) [][]byte {
	p.Helper()
	replies := make([][]byte, len(requests))
	order := map[uint32]int{}
	for i, request := range requests {
		if p.counts {
			p.transaction++
		} else {
			p.transaction = p.transaction*1664525 + 1013904223
		}
		order[p.transaction] = i
		b, err := hex.DecodeString(strings.Replace(request, "TTTTTTTT", fmt.Sprintf("%08x", p.transaction), 1))
		if err != nil {
			p.Fatal(err)
		}
		if _, err := p.conn.WriteTo(b, p.tracker); err != nil {
			p.Fatal(err)
		}
	}
	if err := p.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		p.Fatal(err)
	}
	buffer := make([]byte, 1<<11)
	for got := range requests {
		n, _, err := p.conn.ReadFrom(buffer)
		if err != nil {
			p.Fatalf("got %d replies, want %d: %v", got, len(requests), err)
		}
		i, ok := order[binary.BigEndian.Uint32(buffer[4:])]
		if !ok || n < 8 {
			p.Fatalf("got a reply to nothing: %x", buffer[:n])
		}
		replies[i] = append([]byte(nil), buffer[:n]...)
	}
	return replies
}

// connect returns connection IDs in hexadecimal, one for each of n requests.
func (p *packetPeer) connect(n int) []string {
	p.Helper()
	requests := make([]string, n)
	for i := range requests {
		//                 magic            connect
		requests[i] = "0000041727101980" + "00000000" + "TTTTTTTT"
	}
	var ids []string
	for _, reply := range p.exchange(requests) {
		if len(reply) != 16 || binary.BigEndian.Uint32(reply) != 0 {
			p.Fatalf("got the connect reply %x, want 16 bytes with action 0", reply)
		}
		ids = append(ids, hex.EncodeToString(reply[8:]))
	}
	return ids
}

// ids returns a connection ID for each of n announces.
func (p *packetPeer) ids(n int) []string {
	p.Helper()
	if p.connects {
		return p.connect(n)
	}
	id := p.connect(1)[0]
	ids := make([]string, n)
	for i := range ids {
		ids[i] = id
	}
	return ids
}

// announce announces torrents with an event, and returns the replies.
func (p *packetPeer) announce(ids []string, torrents [][20]byte, event string) [][]byte {
	p.Helper()
	var requests []string
	for i, hash := range torrents {
		requests = append(requests, ids[i]+"00000001"+"TTTTTTTT"+
			hex.EncodeToString(hash[:])+
			hex.EncodeToString([]byte(p.peerID+"by hand 1234"))+
			"0000000000000000"+ // downloaded
			p.left+
			"0000000000000000"+ // uploaded
			event+
			p.ownIP+
			"5eed0001"+ // key
			p.numWant+
			"1ae1"+ // port 6881
			p.options)
	}
	return p.exchange(requests)
}

// Each client starts 40 torrents at once, is told of the two peers that are there,
// and reports all torrents as stopped at its end.
func TestPacketClients(t *testing.T) {
	needLab(t)
	t.Parallel()
	const started, stopped = "00000002", "00000003"
	for _, c := range packetClients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			tr := l.host("tracker", ipv4).tracker()
			probe := l.host("probe", ipv4).probe(tr.address(ipv4))
			p := l.host("client", ipv4).packets(c, tr)
			var torrents []*torrent
			var hashes [][20]byte
			for i := range manyTorrents {
				tor := &torrent{infoHash: sha1.Sum(fmt.Appendf(nil, "%s %d", c.name, i))}
				torrents, hashes = append(torrents, tor), append(hashes, tor.infoHash)
			}
			for _, port := range []uint16{7001, 7002} {
				if _, _, err := probe.announce(hashes[0], 0, port); err != nil {
					t.Fatal(err)
				}
			}

			for i, reply := range p.announce(p.ids(len(hashes)), hashes, started) {
				peers := 0
				if i == 0 {
					peers = c.peers
				}
				if want := 20 + 6*peers; len(reply) != want || binary.BigEndian.Uint32(reply) != 1 {
					t.Errorf("torrent %d: got the reply %x, want an announce reply of %d bytes", i, reply, want)
				}
			}
			probe.awaitKnown(torrents[1:], len(torrents)-1)
			for i, reply := range p.announce(p.ids(len(hashes)), hashes, stopped) {
				if len(reply) != 20 || binary.BigEndian.Uint32(reply) != 1 {
					t.Errorf("torrent %d: got the reply %x to stopped, want an announce reply of 20 bytes", i, reply)
				}
			}
			probe.awaitKnown(torrents[1:], 0)
		})
	}
}

// µTorrent uses connection IDs that are minutes old. Here it is an ID from before
// the tracker's restart, which the tracker cannot tell from an expired one. The
// error is no longer than the request, and a new connect helps at once.
func TestPacketClientOldID(t *testing.T) {
	needLab(t)
	t.Parallel()
	l := newLab(t)
	tr := l.host("tracker", ipv4).tracker()
	var utorrent packetClient
	for _, c := range packetClients {
		if c.name == "µTorrent" {
			utorrent = c
		}
	}
	p := l.host("client", ipv4).packets(utorrent, tr)
	hashes := [][20]byte{sha1.Sum([]byte("old ID"))}
	old := p.ids(1)
	tr.kill()
	tr.host.tracker(tr.flags...)

	reply := p.announce(old, hashes, "00000000")[0]
	if request := 98 + len(utorrent.options)/2; binary.BigEndian.Uint32(reply) != 3 || len(reply) > request {
		t.Errorf("got the reply %x to an old ID, want an error of at most %d bytes", reply, request)
	}
	if reply := p.announce(p.ids(1), hashes, "00000000")[0]; binary.BigEndian.Uint32(reply) != 1 {
		t.Errorf("got the reply %x after a new connect, want an announce reply", reply)
	}
}
