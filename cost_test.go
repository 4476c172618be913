package main

import (
	"encoding/binary"
	"net/netip"
	"os"
	"strconv"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/siphash"
)

// BenchmarkHandle is the work of a request without the calls to the system: an
// announce of a peer that is known and gets fifty, in swarms of several sizes;
// the same with an ID that must be checked again; a connect; a scrape of one
// torrent; and the signature of an ID apart. Its names are fit for benchstat,
// and make instructions counts some of them on other processors.
func BenchmarkHandle(b *testing.B) {
	at4 := func(a, b byte) func(i int) host {
		return func(i int) host {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{a, b, byte(i >> 8), byte(i)}), uint16(1000+i%60000))
		}
	}
	at6 := func(a byte) func(i int) host {
		return func(i int) host {
			ip := [16]byte{a, 1, 0xd, 0xb8, 4: byte(i >> 8), byte(i), 15: 1}
			return netip.AddrPortFrom(netip.AddrFrom16(ip), uint16(1000+i%60000))
		}
	}
	benchmarkHandle[key4](b, "v4", at4(198, 18), at4(10, 0))
	benchmarkHandle[key6](b, "v6", at6(0x20), at6(0xfd))
}

// benchmarkHandle has peers with global addresses, and some with private ones.
func benchmarkHandle[K peerKey](b *testing.B, family string, global, inside func(int) host) {
	peer := global
	// swarm makes a service with one, and the announces of its peers.
	swarm := func(b *testing.B, peers int) (s *service, d *handler, requests [][]byte, keys []K) {
		s = newServiceOf(b, 1024, "secret")
		d = s.handlerOf(peer(0))
		requests, keys = make([][]byte, peers), make([]K, peers)
		for i := range requests {
			f := leech(peer(i))
			if i%4 == 0 {
				f = seed(peer(i))
			}
			f.id, f.want = s.id(peer(i)), 50
			requests[i], keys[i] = f.bytes(), keyOf[K](peer(i))
			s.ask(peer(i), requests[i])
		}
		d.connects = newLimiter(1<<12, 0, limitWindow, siphash.Key{})
		d.networks = newLimiter(1<<12, 0, limitWindow, siphash.Key{})
		return s, d, requests, keys
	}
	run := func(name string, peers int, f func(s *service, d *handler, requests [][]byte, keys []K) func(i int) verdict, want verdict) {
		b.Run(name, func(b *testing.B) {
			once := f(swarm(b, peers))
			b.ReportAllocs()
			b.ResetTimer()
			// os.Getppid is a mark for who counts instructions: the loop is
			// between two.
			os.Getppid()
			for i := 0; i < b.N; i++ {
				if v := once(i); v != want {
					b.Fatal(verdictInfo[v].name)
				}
			}
			os.Getppid()
		})
	}

	dst := make([]byte, 0, maxReply)
	const one = 7 // a leecher
	for _, peers := range []int{50, 1000, 50000} {
		run("action=announce/family="+family+"/peers="+strconv.Itoa(peers), peers,
			func(s *service, d *handler, requests [][]byte, keys []K) func(int) verdict {
				d.cookies.remember(binary.BigEndian.Uint64(requests[one]), address(&keys[one]))
				return func(int) verdict {
					_, v := handle(d, dst, requests[one], &keys[one], 0, s.now)
					return v
				}
			}, announcedRefreshed)
	}
	// A seeder, in a swarm like those above, and in swarms of seeders.
	for _, peers := range []int{3, 50, 50000} {
		run("action=announce-seeder/family="+family+"/peers="+strconv.Itoa(peers), peers,
			func(s *service, d *handler, requests [][]byte, keys []K) func(int) verdict {
				d.cookies.remember(binary.BigEndian.Uint64(requests[0]), address(&keys[0]))
				return func(int) verdict {
					_, v := handle(d, dst, requests[0], &keys[0], 0, s.now)
					return v
				}
			}, announcedRefreshed)
		run("action=announce-seeder-of-seeders/family="+family+"/peers="+strconv.Itoa(peers), peers,
			func(s *service, d *handler, requests [][]byte, keys []K) func(int) verdict {
				d.cookies.remember(binary.BigEndian.Uint64(requests[0]), address(&keys[0]))
				for i, req := range requests {
					clear(req[64:72]) // left
					s.ask(peer(i), req)
				}
				return func(int) verdict {
					_, v := handle(d, dst, requests[0], &keys[0], 0, s.now)
					return v
				}
			}, announcedRefreshed)
	}
	// One peer in sixteen is inside. The requester is the eighth of all peers or the
	// first of those inside.
	peer = func(i int) host {
		if i%16 == 15 {
			return inside(i)
		}
		return global(i)
	}
	for _, outside := range []bool{false, true} {
		for at, asker := range map[int]string{one: "global", 15: "private"} {
			run("action=announce-mixed/family="+family+"/peers=1000/asker="+asker+"/external="+strconv.FormatBool(outside), 1000,
				func(s *service, d *handler, requests [][]byte, keys []K) func(int) verdict {
					if outside {
						s.setExternal([4]byte{203, 0, 113, 1}, [16]byte{0x20, 1, 0xd, 0xb8, 0xff})
					}
					d.cookies.remember(binary.BigEndian.Uint64(requests[at]), address(&keys[at]))
					return func(int) verdict {
						_, v := handle(d, dst, requests[at], &keys[at], 0, s.now)
						return v
					}
				}, announcedRefreshed)
		}
	}
	peer = global
	// More IDs than are remembered.
	run("action=announce-unremembered/family="+family+"/peers=1000", 1000,
		func(s *service, d *handler, requests [][]byte, keys []K) func(int) verdict {
			return func(i int) verdict {
				_, v := handle(d, dst, requests[i%1000], &keys[i%1000], 0, s.now)
				return v
			}
		}, announcedRefreshed)
	run("action=connect/family="+family, 1000,
		func(s *service, d *handler, _ [][]byte, keys []K) func(int) verdict {
			req := connectRequest()
			return func(i int) verdict {
				_, v := handle(d, dst, req, &keys[i%1000], 0, s.now)
				return v
			}
		}, connected)
	run("action=scrape/family="+family, 1000,
		func(s *service, d *handler, requests [][]byte, keys []K) func(int) verdict {
			req := concat(requests[one][:8], u32(bep15.ActionScrape), transaction, testHash(0)[:])
			d.cookies.remember(binary.BigEndian.Uint64(req), address(&keys[one]))
			return func(int) verdict {
				_, v := handle(d, dst, req, &keys[one], 0, s.now)
				return v
			}
		}, scraped)
	run("action=sign/family="+family, 1,
		func(_ *service, d *handler, _ [][]byte, keys []K) func(int) verdict {
			return func(i int) verdict {
				d.cookies.signature(address(&keys[0]), uint32(i))
				return connected
			}
		}, connected)
}
