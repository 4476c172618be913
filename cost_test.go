package main

import (
	"encoding/binary"
	"net/netip"
	"os"
	"strconv"
	"strings"
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
	(&handleBenchmark[key4]{family: "v4", global: at4(198, 18), inside: at4(10, 0)}).run(b)
	(&handleBenchmark[key6]{family: "v6", global: at6(0x20), inside: at6(0xfd)}).run(b)
}

// handleBenchmark has the benchmarks of a family.
type handleBenchmark[K peerKey] struct {
	family         string
	global, inside func(i int) host // the i-th peer with a global address, and with a private one
}

// benchmarkSwarm is a service with one swarm, and the announces of its peers.
type benchmarkSwarm[K peerKey] struct {
	*service
	handler  *handler
	requests [][]byte
	keys     []K
	dst      []byte // for a reply
}

// swarm makes a swarm of peers. Every fourth is a seeder.
func (h *handleBenchmark[K]) swarm(b *testing.B, peers int, peer func(int) host) *benchmarkSwarm[K] {
	s := newServiceOf(b, 1024, "secret")
	w := &benchmarkSwarm[K]{service: s, handler: s.handlerOf(peer(0)), requests: make([][]byte, peers), keys: make([]K, peers), dst: make([]byte, 0, maxReply)}
	for i := range w.requests {
		f := leech(peer(i))
		if i%4 == 0 {
			f = seed(peer(i))
		}
		f.id, f.want = s.id(peer(i)), 50
		w.requests[i], w.keys[i] = f.bytes(), keyOf[K](peer(i))
		s.ask(peer(i), w.requests[i])
	}
	w.handler.connects = newLimiter(1<<12, 0, limitWindow, siphash.Key{})
	w.handler.networks = newLimiter(1<<12, 0, limitWindow, siphash.Key{})
	return w
}

// handle handles a request of the i-th peer.
func (w *benchmarkSwarm[K]) handle(request []byte, i int) verdict {
	_, v := handle(w.handler, w.dst, request, &w.keys[i], 0, w.now)
	return v
}

// announce returns a function that announces the i-th peer again, whose ID is
// remembered.
func (w *benchmarkSwarm[K]) announce(i int) func(int) verdict {
	w.handler.cookies.remember(binary.BigEndian.Uint64(w.requests[i]), address(&w.keys[i]))
	return func(int) verdict { return w.handle(w.requests[i], i) }
}

// measure runs a benchmark of what prepare returns, which gets the number of the
// run and must return want.
func (h *handleBenchmark[K]) measure(b *testing.B, name string, peers int, peer func(int) host, want verdict, prepare func(w *benchmarkSwarm[K]) func(i int) verdict) {
	action, rest, _ := strings.Cut(name, "/")
	b.Run(strings.TrimSuffix("action="+action+"/family="+h.family+"/"+rest, "/"), func(b *testing.B) {
		once := prepare(h.swarm(b, peers, peer))
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

// leecher is a peer of a swarm that is none of the seeders.
const leecher = 7

// run runs all benchmarks.
func (h *handleBenchmark[K]) run(b *testing.B) {
	h.announces(b)
	h.mixedAnnounces(b)
	h.others(b)
}

// announces has the announces of peers with global addresses: a leecher, a seeder
// in a swarm of both, and a seeder among seeders.
func (h *handleBenchmark[K]) announces(b *testing.B) {
	for _, peers := range []int{50, 1000, 50000} {
		h.measure(b, "announce/peers="+strconv.Itoa(peers), peers, h.global, announcedRefreshed,
			func(w *benchmarkSwarm[K]) func(int) verdict { return w.announce(leecher) })
	}
	for _, peers := range []int{3, 50, 50000} {
		h.measure(b, "announce-seeder/peers="+strconv.Itoa(peers), peers, h.global, announcedRefreshed,
			func(w *benchmarkSwarm[K]) func(int) verdict { return w.announce(0) })
		h.measure(b, "announce-seeder-of-seeders/peers="+strconv.Itoa(peers), peers, h.global, announcedRefreshed,
			func(w *benchmarkSwarm[K]) func(int) verdict {
				for i, req := range w.requests {
					clear(req[64:72]) // left
					w.ask(h.global(i), req)
				}
				return w.announce(0)
			})
	}
}

// mixedAnnounces has the announces in a swarm in which one peer in sixteen is
// inside. The requester is the eighth of all peers, or the first of those inside.
func (h *handleBenchmark[K]) mixedAnnounces(b *testing.B) {
	mixed := func(i int) host {
		if i%16 == 15 {
			return h.inside(i)
		}
		return h.global(i)
	}
	for _, external := range []bool{false, true} {
		for _, asker := range []struct {
			name string
			peer int
		}{{name: "global", peer: leecher}, {name: "private", peer: 15}} {
			h.measure(b, "announce-mixed/peers=1000/asker="+asker.name+"/external="+strconv.FormatBool(external), 1000, mixed, announcedRefreshed,
				func(w *benchmarkSwarm[K]) func(int) verdict {
					if external {
						w.setExternal([4]byte{203, 0, 113, 1}, [16]byte{0x20, 1, 0xd, 0xb8, 0xff})
					}
					return w.announce(asker.peer)
				})
		}
	}
}

// others has the other requests, and announces with more IDs than are remembered.
func (h *handleBenchmark[K]) others(b *testing.B) {
	h.measure(b, "announce-unremembered/peers=1000", 1000, h.global, announcedRefreshed,
		func(w *benchmarkSwarm[K]) func(int) verdict {
			return func(i int) verdict { return w.handle(w.requests[i%1000], i%1000) }
		})
	h.measure(b, "connect", 1000, h.global, connected,
		func(w *benchmarkSwarm[K]) func(int) verdict {
			req := connectRequest()
			return func(i int) verdict { return w.handle(req, i%1000) }
		})
	h.measure(b, "scrape", 1000, h.global, scraped,
		func(w *benchmarkSwarm[K]) func(int) verdict {
			req := concat(w.requests[leecher][:8], u32(bep15.ActionScrape), transaction, testHash(0)[:])
			w.handler.cookies.remember(binary.BigEndian.Uint64(req), address(&w.keys[leecher]))
			return func(int) verdict { return w.handle(req, leecher) }
		})
	h.measure(b, "sign", 1, h.global, connected,
		func(w *benchmarkSwarm[K]) func(int) verdict {
			return func(i int) verdict {
				w.handler.cookies.signature(address(&w.keys[0]), uint32(i))
				return connected
			}
		})
}
