// Naive is a simple UDP tracker in Go. It has a goroutine for each datagram, a
// map for each swarm that every announce walks, an allocation for every reply
// and a new HMAC for every ID. The benchmarks compare Pico Tracker with it. Do
// not use it for anything else.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"log"
	"net"
	"net/netip"
	"sync"
	"time"
)

type hash [20]byte

type peer struct {
	seeder bool
	seen   time.Time
}

type swarm struct {
	mu        sync.Mutex
	peers     map[netip.AddrPort]peer
	completed uint32
}

type tracker struct {
	conn   *net.UDPConn
	secret []byte

	mu     sync.RWMutex
	swarms map[hash]*swarm
}

func main() {
	port := flag.Int("p", 1337, "port")
	v6 := flag.Bool("6", false, "listen on IPv6 instead of IPv4")
	flag.Parse()

	network, address := "udp4", netip.IPv4Unspecified()
	if *v6 {
		network, address = "udp6", netip.IPv6Unspecified()
	}
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(address, uint16(*port))))
	if err != nil {
		log.Fatal(err)
	}
	if err := conn.SetReadBuffer(4 << 20); err != nil {
		log.Print(err)
	}
	t := &tracker{conn: conn, secret: []byte("naive"), swarms: map[hash]*swarm{}}
	for {
		b := make([]byte, 2048)
		n, from, err := conn.ReadFromUDPAddrPort(b)
		if err != nil {
			log.Fatal(err)
		}
		go t.handle(b[:n], from)
	}
}

func (t *tracker) handle(b []byte, from netip.AddrPort) {
	if len(b) < 16 {
		return
	}
	action, transaction := binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])
	id := binary.BigEndian.Uint64(b)
	reply := binary.BigEndian.AppendUint32(nil, action)
	reply = binary.BigEndian.AppendUint32(reply, transaction)
	switch {
	case action == 0 && id == 0x41727101980:
		reply = binary.BigEndian.AppendUint64(reply, t.connectionID(from, uint32(time.Now().Unix())))
	case action == 1 && len(b) >= 98 && t.valid(id, from):
		reply = t.announce(reply, b, from)
	case action == 2 && t.valid(id, from):
		reply = t.scrape(reply, b)
	default:
		return
	}
	if _, err := t.conn.WriteToUDPAddrPort(reply, from); err != nil {
		log.Print(err)
	}
}

func (t *tracker) connectionID(from netip.AddrPort, now uint32) uint64 {
	mac := hmac.New(sha256.New, t.secret)
	mac.Write(from.Addr().AsSlice())
	mac.Write(binary.BigEndian.AppendUint32(nil, now))
	return uint64(now)<<32 | uint64(binary.BigEndian.Uint32(mac.Sum(nil)))
}

func (t *tracker) valid(id uint64, from netip.AddrPort) bool {
	made := uint32(id >> 32)
	return uint32(time.Now().Unix())-made <= 120 && t.connectionID(from, made) == id
}

func (t *tracker) swarm(h hash, create bool) *swarm {
	t.mu.RLock()
	s := t.swarms[h]
	t.mu.RUnlock()
	if s != nil || !create {
		return s
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if s = t.swarms[h]; s == nil {
		s = &swarm{peers: map[netip.AddrPort]peer{}}
		t.swarms[h] = s
	}
	return s
}

func (t *tracker) announce(reply, b []byte, from netip.AddrPort) []byte {
	s := t.swarm(hash(b[16:36]), true)
	s.mu.Lock()
	defer s.mu.Unlock()
	seeder := binary.BigEndian.Uint64(b[64:]) == 0
	key := netip.AddrPortFrom(from.Addr(), binary.BigEndian.Uint16(b[96:]))
	switch binary.BigEndian.Uint32(b[80:]) {
	case 3:
		delete(s.peers, key)
	case 1:
		s.completed++
		fallthrough
	default:
		s.peers[key] = peer{seeder: seeder, seen: time.Now()}
	}
	wanted := int(int32(binary.BigEndian.Uint32(b[92:])))
	if wanted < 0 {
		wanted = 50
	}

	var seeders, leechers uint32
	var list []netip.AddrPort
	for k, p := range s.peers {
		if p.seeder {
			seeders++
		} else {
			leechers++
		}
		if k != key && !(seeder && p.seeder) {
			list = append(list, k)
		}
	}
	reply = binary.BigEndian.AppendUint32(reply, 900)
	reply = binary.BigEndian.AppendUint32(reply, leechers)
	reply = binary.BigEndian.AppendUint32(reply, seeders)
	for _, k := range list[:min(wanted, len(list))] {
		reply = append(reply, k.Addr().AsSlice()...)
		reply = binary.BigEndian.AppendUint16(reply, k.Port())
	}
	return reply
}

func (t *tracker) scrape(reply, b []byte) []byte {
	for b = b[16:]; len(b) >= 20; b = b[20:] {
		var seeders, completed, leechers uint32
		if s := t.swarm(hash(b[:20]), false); s != nil {
			s.mu.Lock()
			for _, p := range s.peers {
				if p.seeder {
					seeders++
				} else {
					leechers++
				}
			}
			completed = s.completed
			s.mu.Unlock()
		}
		reply = binary.BigEndian.AppendUint32(reply, seeders)
		reply = binary.BigEndian.AppendUint32(reply, completed)
		reply = binary.BigEndian.AppendUint32(reply, leechers)
	}
	return reply
}
