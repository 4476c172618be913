package main

import (
	"encoding/binary"
	"net/netip"
	"os"
	"testing"
)

// BenchmarkCost is the work of a request without the calls to the system: an
// announce of a peer that is known, in a swarm of a thousand, that gets fifty;
// the same with an ID that must be checked again; a connect; a scrape of one
// torrent; and the signature of an ID apart. make instructions counts them on
// other processors.
func BenchmarkCost(b *testing.B) {
	const peers = 1000
	s := newServiceOf(b, 64, "secret")
	peer := func(i int) host {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), uint16(1000+i))
	}
	requests, keys := make([][]byte, peers), make([]key4, peers)
	for i := range requests {
		f := leech(peer(i))
		if i%4 == 0 {
			f = seed(peer(i))
		}
		f.id, f.want = s.id(peer(i)), 50
		requests[i], keys[i] = f.bytes(), keyOf[key4](peer(i))
		s.ask(peer(i), requests[i])
	}
	d := s.v4
	d.connects = newLimiter(1<<12, 0, limitWindow, hashKey{})
	d.networks = newLimiter(1<<12, 0, limitWindow, hashKey{})
	dst := make([]byte, 0, maxReply)
	answer := func(b *testing.B, i int, req []byte, want verdict) {
		if _, v := handle(d, dst, req, &keys[i], 0, s.now); v != want {
			b.Fatal(verdictInfo[v].name)
		}
	}

	// os.Getppid is a mark for who counts instructions: the loop is between two.
	loop := func(b *testing.B, f func(i int)) {
		os.Getppid()
		for i := 0; i < b.N; i++ {
			f(i)
		}
		os.Getppid()
	}
	b.Run("announce", func(b *testing.B) {
		s.desk(peer(7)).cookies.remember(binary.BigEndian.Uint64(requests[7]), keys[7][:4])
		loop(b, func(i int) {
			answer(b, 7, requests[7], announced)
		})
	})
	// More IDs than are remembered.
	b.Run("announce-unremembered", func(b *testing.B) {
		loop(b, func(i int) {
			answer(b, i%peers, requests[i%peers], announced)
		})
	})
	b.Run("connect", func(b *testing.B) {
		req := connectRequest()
		loop(b, func(i int) {
			answer(b, i%peers, req, connected)
		})
	})
	b.Run("scrape", func(b *testing.B) {
		req := concat(requests[7][:8], u32(actionScrape), transaction, testHash(0)[:])
		s.desk(peer(7)).cookies.remember(binary.BigEndian.Uint64(req), keys[7][:4])
		loop(b, func(i int) {
			answer(b, 7, req, scraped)
		})
	})
	b.Run("signature", func(b *testing.B) {
		loop(b, func(i int) {
			d.cookies.sign(keys[7][:4], uint32(i))
		})
	})
}
