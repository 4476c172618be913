package main

import (
	"encoding/binary"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

// TestConcurrent has workers of both families, the sweep and reloads of the
// access list at work on one store at once, in little memory and in much. Under
// the race detector it shows that the locks suffice; in the end every count
// must be right.
func TestConcurrent(t *testing.T) {
	requests := 20000
	if testing.Short() {
		requests = 2000
	}
	for name, pages := range map[string]int{"little": 16, "much": 2000} {
		t.Run(name, func(t *testing.T) {
			st, err := newStore(pages, 8, 4000, stampUnit(testInterval), testSeed)
			if err != nil {
				t.Fatal(err)
			}
			defer closeStore(st)
			tr := newTracker(st, testInterval)
			list, _ := testList(t, false, 1000)
			st.admit = list.admits
			k := &maintenance{tracker: tr, list: list, log: list.log}
			// Nothing serves the list's requests here, so its check is not due.
			sweep := &maintenance{tracker: tr, log: list.log}
			// Two lists of 600 torrents, which have 200 in common.
			text := [2]string{}
			for i := range text {
				for j := 0; j < 600; j++ {
					text[i] += digits(400*i+j) + "\n"
				}
			}
			writeFile(t, list.path, text[0])
			reload(k, timestamp{})

			var clock atomic.Uint32
			var running sync.WaitGroup
			met := [4][numVerdicts]int{}
			for n := range met {
				running.Add(1)
				go func() {
					defer running.Done()
					if n&1 == 0 {
						converse[key4](tr, n, requests, &clock, &met[n])
					} else {
						converse[key6](tr, n, requests, &clock, &met[n])
					}
				}()
			}
			finished := make(chan struct{})
			go func() {
				running.Wait()
				close(finished)
			}()
			for i := 0; ; i++ {
				sweep.tick(timestamp{mono: seconds(clock.Add(2))})
				if i%50 == 0 {
					writeFile(t, list.path, text[i/50&1]+strings.Repeat("#", i/50+1))
					reload(k, timestamp{mono: seconds(clock.Load())})
				}
				select {
				case <-finished:
				default:
					continue
				}
				break
			}
			var all [numVerdicts]int
			for n := range met {
				for v, c := range met[n] {
					all[v] += c
				}
			}
			if all[announcedRefreshed]+all[announcedNew] == 0 || all[announcedStopped]+all[announcedAbsent] == 0 || all[scraped] == 0 || all[errorDenied] == 0 || (all[announcedFull] > 0) != (name == "little") {
				t.Errorf("verdicts: %v", all)
			}
			checkInvariants(t, st)
			// With everything refused, everything is given back.
			writeFile(t, list.path, "# none")
			reload(k, timestamp{mono: seconds(clock.Load())})
			checkInvariants(t, st)
			if n, _ := st.totals(); n != 0 || st.pool.used != 0 {
				t.Errorf("%d torrents, %d pages are left", n, st.pool.used)
			}
		})
	}
}

// converse sends requests of a thousand clients about a thousand torrents, one
// of which is large.
func converse[K peerKey](tr *tracker, n, requests int, clock *atomic.Uint32, met *[numVerdicts]int) {
	d := newTestHandler(tr, nil, timestamp{})
	rng := splitMix64{state: uint64(n)}
	dst := make([]byte, 0, maxReply)
	var key K
	for i := 0; i < requests; i++ {
		now := timestamp{mono: seconds(clock.Load()), wall: testWall}
		for j := range 4 {
			key[j] = byte(rng.below(6)) // networks
		}
		key[0], key[len(key)-1] = byte(n+1), 1
		torrent := 0
		if rng.below(3) > 0 {
			torrent = int(rng.below(1000))
		}
		id := binary.BigEndian.AppendUint64(nil, d.cookies.issue(address(&key), now))
		req := scrapeRequest(id, torrent, torrent+1, 0)
		if op := rng.below(10); op > 0 {
			f := fields{id: id, hash: torrent, left: uint64(op & 1), want: int32(rng.below(220)), port: uint16(1 + rng.below(300))}
			if op > 7 {
				f.event = 3
			} else if op == 1 {
				f.event = 1
			}
			req = f.bytes()
		}
		hash := testHash(torrent)
		tr.store.prefetchTorrents([]uint64{tr.store.hash.sum(hash[:]), rng.next()})
		d.cookies.prefetch(rng.next())
		out, v := handle(d, dst, req, &key, 0, now)
		met[v]++
		if (v == announcedRefreshed || v == announcedNew) && (len(out)-bep15.AnnounceReplySize)%len(key) != 0 {
			panic("half a peer")
		}
	}
}
