//go:build linux && !portable

package main

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/udp"
)

// loopbacks are an address of each family with the wildcard that includes it.
var loopbacks = []struct{ addr, wildcard string }{{"127.0.0.1", "0.0.0.0"}, {"::1", "::"}}

// serveEcho answers each datagram with its own bytes until the test ends. It
// returns the datagrams.
func serveEcho(t testing.TB, s *udp.Socket) <-chan []byte {
	t.Helper()
	requests := make(chan []byte, 100)
	stopped := make(chan error, 1)
	go func() {
		stopped <- s.Serve(func(n int) {
			for i := range n {
				requests <- bytes.Clone(s.Request(i))
				s.Reply(i, append(s.Buffer(i), s.Request(i)...))
			}
			s.Flush(n)
		})
	}()
	t.Cleanup(func() {
		s.Stop()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		s.Close()
	})
	return requests
}

// numbered is a request that gets through the kernel's filter.
func numbered(n int) []byte {
	req := connectRequest()
	binary.BigEndian.PutUint32(req[12:], uint32(n))
	return req
}

// TestFilter checks that the kernel drops exactly the datagrams that the
// tracker drops because of their form.
func TestFilter(t *testing.T) {
	good := fields{id: bin("6553f10001020304"), port: 1}.bytes()
	with := func(req []byte, at int, b ...byte) []byte {
		req = bytes.Clone(req)
		copy(req[at:], b)
		return req
	}
	packets := [][]byte{
		connectRequest(), connectRequest()[:15], connectRequest()[:1], append(connectRequest(), 0),
		with(connectRequest(), 3, 0x16), with(connectRequest(), 7, 0x81), with(connectRequest(), 0, 1), with(connectRequest(), 11, 3),
		with(connectRequest(), 11, 1), with(connectRequest(), 11, 2), with(connectRequest(), 8, 1),
		good, good[:97], good[:16], good[:15], append(bytes.Clone(good), 0, 0), with(good, 11, 0), with(good, 11, 2), with(good, 11, 3), with(good, 11, 4),
		with(good, 8, 1), with(good, 10, 1), scrapeRequest(good[:8]), scrapeRequest(good[:8], make([]int, 102)...), scrapeRequest(good[:8], make([]int, 110)...),
		errorReply(textID), concat(u32(2), transaction, u32(1), u32(0), u32(0)), concat(u32(0), transaction, u32(2), u32(9)),
		with(good, 0, 0, 0, 0, 0), with(good, 0, 0, 0, 0, 3), with(good, 0, 0, 0, 0, 4), with(good, 0, 0xff, 0xff, 0xff, 0xff), with(good, 0, 0x80, 0, 0, 0),
		with(make([]byte, 1200), 0, 4), make([]byte, 16), bytes.Repeat([]byte{0xff}, 16),
	}
	rng := splitMix64{state: 5}
	for i := 0; i < 200; i++ {
		req := make([]byte, rng.below(40))
		for j := range req {
			req[j] = byte(rng.below(4))
		}
		if len(req) >= 16 && i%2 == 0 {
			copy(req, connectRequest()[:8+i%5])
		}
		packets = append(packets, req)
	}
	d := newTestHandler(newService(t).tracker, nil, timestamp{})
	for _, l := range loopbacks {
		for _, ip := range []string{l.addr, l.wildcard} {
			s, port := openFree(t, ip, 8)
			requests := serveEcho(t, s)
			c := dialClient(t, l.addr, port)
			for i, req := range packets {
				d.errors.rows[0], d.connects.rows[0] = limitRow{}, limitRow{}
				_, v := handle(d, make([]byte, 0, maxReply), req[:min(len(req), maxRequest)], testKey4(i), 0, timestamp{mono: 1, wall: testWall})
				pass := v != dropShort && v != dropReply && v != dropAction && v != dropMagic
				var want [][]byte
				if pass {
					want = append(want, req[:min(len(req), maxRequest)])
				}
				// What comes after has come through: it marks the end.
				want = append(want, numbered(i))
				c.send(req)
				c.send(numbered(i))
				var got [][]byte
				for range want {
					c.receive()
					got = append(got, <-requests)
				}
				if !slices.EqualFunc(got, want, bytes.Equal) {
					t.Fatalf("%x (%s) on %s: received %x, want %x", req, verdictInfo[v].name, ip, got, want)
				}
			}
		}
	}
}
