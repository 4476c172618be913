package main

import (
	"strconv"
	"time"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"github.com/fabricionaweb/pico-tracker/internal/logger"
	"github.com/fabricionaweb/pico-tracker/internal/prefetch"
	"github.com/fabricionaweb/pico-tracker/internal/udp"
)

// This file has the loop of a worker: receive, answer, send.

// processStart is when the process started. It is not a field of clock, because a
// time.Time in a type that is stored in an interface keeps time.Time.String in
// the binary, and with it time zones: 35 KB of a router's flash.
var processStart = time.Now()

// clock returns the time since it was made, and the time of day.
type clock struct{ start time.Duration }

func newClock() clock { return clock{time.Since(processStart)} }

func (c clock) now() timestamp {
	t := time.Now()
	return timestamp{mono: seconds((t.Sub(processStart) - c.start) / time.Second), wall: uint32(t.Unix())}
}

// worker is a socket with the handler that answers for it.
type worker struct {
	sock          *udp.Socket
	handler       *handler
	published     counterSnapshot
	clock         clock
	log           *logger.Logger
	newPeers      *peerAlarm // nil: no alarm
	storedAtAlarm uint64     // new peers at the last alarm
	takenAtPing   uint64     // datagrams at the last ping of the watchdog
	dropsCounted  uint64     // drops by the kernel that the report has counted
}

// run answers requests until the socket is stopped. It returns an error if the
// socket fails.
func (w *worker) run() error {
	if w.sock.V6() {
		return w.sock.Serve(func(n int) { answer[key6](w, n) })
	}
	return w.sock.Serve(func(n int) { answer[key4](w, n) })
}

// answer answers the n datagrams of a batch.
func answer[K peerKey](w *worker, n int) {
	s, h := w.sock, w.handler
	now := w.clock.now()
	if prefetch.Enabled && n > 1 {
		w.prefetchBatch(n)
	}
	for i := 0; i < n; i++ {
		var from K
		link := s.Source(i, unsafe.Slice((*byte)(unsafe.Pointer(&from)), len(from)))
		req := s.Request(i)
		out, v := handle(h, s.Buffer(i), req, &from, link, now)
		if len(out) > 0 {
			s.Reply(i, out)
		}
		h.count.record(v, len(req), len(out))
		if w.log.Verbose {
			w.log.Debug(sourceText(&from), ": ", verdictInfo[v].name, ", ", strconv.Itoa(len(req)), " bytes in, ", strconv.Itoa(len(out)), " out", describe(req))
		}
	}
	h.count.sendFailed += uint64(s.Flush(n))
	w.published.publish(&h.count)
	if w.newPeers != nil {
		w.newPeers.check(&h.count, &w.storedAtAlarm)
	}
}

// prefetchBatch loads the memory that the announces of a batch read first. The
// processor loads all of it at the same time, instead of one line after another.
func (w *worker) prefetchBatch(n int) {
	var hashes [udp.MaxBatch]uint64
	announces := hashes[:0]
	for i := 0; i < n; i++ {
		req := w.sock.Request(i)
		if len(req) < bep15.AnnounceSize || bep15.Action(req) != bep15.ActionAnnounce {
			continue
		}
		w.handler.cookies.prefetch(bep15.ConnectionID(req))
		announces = append(announces, w.handler.store.hash.sum(bep15.ParseAnnounce(req).InfoHash[:]))
	}
	w.handler.store.prefetchTorrents(announces)
}

// datagramSizes are the sizes of requests and replies.
var datagramSizes = udp.Sizes{MaxRequest: maxRequest, MaxReply: maxReply}

// describe returns the info hash, the role and the port of an announce, for
// -debug. For other requests it returns "".
func describe(req []byte) string {
	if len(req) < bep15.AnnounceSize || bep15.Action(req) != bep15.ActionAnnounce {
		return ""
	}
	a := bep15.ParseAnnounce(req)
	role := " leecher"
	switch {
	case a.Event == bep15.EventStopped:
		role = " stopped"
	case a.Left == 0:
		role = " seeder"
	}
	w := textBuilder("; ")
	w.hex(a.InfoHash[:])
	w.add(role)
	w.count(", port ", uint64(a.Port[0])<<8|uint64(a.Port[1]), "")
	return string(w)
}

// sourceText returns a peer key as text.
func sourceText[K peerKey](k *K) string {
	b := unsafe.Slice((*byte)(unsafe.Pointer(k)), len(*k))
	ip, port := b[:len(b)-2], uint16(b[len(b)-2])<<8|uint16(b[len(b)-1])
	return ipaddr.Endpoint{Addr: ipaddr.Addr{IP: string(ip)}, Port: port}.String()
}
