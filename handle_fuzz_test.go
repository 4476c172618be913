package main

import (
	"bytes"
	"encoding/binary"
	"math/rand"
	"net/netip"
	"slices"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

// simulation is a tracker among hosts that send it whatever the fuzzer makes up. It
// knows who can have proved what, and has announced what.
type simulation struct {
	*service
	t         *testing.T
	hosts     []host
	ids       [][]byte                          // by host: the last ID it was sent
	issued    map[netip.Addr]map[string]seconds // IDs that were sent to an address, and when
	announced map[bep15.InfoHash]map[host]bool  // peers that were announced by who they are
	replies   [][]byte                          // the last ones
	clockSet  bool                              // the wall clock was set, and IDs are dated by it
	verdicts  [numVerdicts]int
	stored    [2]uint64 // peers, IPv4 and IPv6, by the verdicts alone
}

// simulatedHosts are in four networks a family: 0 and 1, 2 and 3 share one.
func simulatedHosts() (hosts []host) {
	for _, s := range []string{
		"192.0.2.1:1000", "192.0.2.1:1001", "198.51.100.9:1000", "198.51.100.9:1001", "203.0.113.77:6881", "203.0.113.78:6881",
		"[2001:db8::1]:1000", "[2001:db8::2]:1000", "[2001:db8:1::1]:1000", "[2001:db8:1::1]:2000", "[2001:db8:2::1]:6881", "[c000:201:3e8::]:1",
		"192.168.1.5:1000", "127.0.0.1:1000", "[fd00::5]:1000", "[::1]:1000",
	} {
		hosts = append(hosts, netip.MustParseAddrPort(s))
	}
	return hosts
}

func newSimulation(t *testing.T, pages int, share uint32) *simulation {
	s := newServiceOf(t, pages, "secret")
	s.store.quota.max = share
	for _, d := range []*handler{s.v4, s.v6} {
		d.cookies = newCookies(deriveKey([]byte("secret")), 2, s.now)
		d.connects = newLimiter(64, 4, limitWindow, testKey())
		d.networks = newLimiter(64, 6, limitWindow, testKey())
		d.errors = newLimiter(64, 5, limitWindow, testKey())
		d.repeats = newLimiter(64, 2, limitWindow, testKey())
	}
	w := &simulation{
		service:   s,
		t:         t,
		hosts:     simulatedHosts(),
		issued:    map[netip.Addr]map[string]seconds{},
		announced: map[bep15.InfoHash]map[host]bool{},
	}
	w.ids = make([][]byte, len(w.hosts))
	for i := range w.ids {
		w.ids[i] = bin("6553f10001020304")
		w.issued[w.hosts[i].Addr()] = map[string]seconds{}
	}
	return w
}

// send has host i send a packet, and checks what comes back.
func (w *simulation) send(i int, req []byte) {
	w.t.Helper()
	h := w.hosts[i]
	var id string
	if len(req) >= 8 {
		id = string(req[:8])
	}
	at, proved := w.issued[h.Addr()][id]
	// An ID is good for two minutes, unless the clock that dates it was set.
	proved = proved && (w.clockSet || w.now.mono-at <= cookieLife+1)
	w.proved[h.Addr()] = proved

	reply := w.ask(h, req)
	w.verdicts[w.last]++
	family := 0
	if h.Addr().Is6() {
		family = 1
	}
	switch w.last {
	case announcedNew:
		w.stored[family]++
	case announcedStopped:
		w.stored[family]--
	}
	if reply == nil {
		return
	}
	if w.replies = append(w.replies, reply); len(w.replies) > 8 {
		w.replies = w.replies[1:]
	}
	switch action := binary.BigEndian.Uint32(reply); {
	case action == bep15.ActionConnect:
		if len(reply) != 16 || id != string(bin("0000041727101980")) || bytes.Equal(reply[8:], make([]byte, 8)) {
			w.t.Fatalf("%x connects with %x", req, reply)
		}
		w.ids[i] = reply[8:]
		w.issued[h.Addr()][string(reply[8:])] = w.now.mono
	case action != bep15.ActionError && !proved:
		w.t.Fatalf("%s was never sent the ID of %x, and gets %x", h, req, reply)
	case action == bep15.ActionAnnounce:
		w.checkAnnounce(h, req, reply)
	case action == bep15.ActionScrape:
		if n := min(102, (len(req)-16)/20); n < 1 || len(reply) != 8+12*n {
			w.t.Fatalf("%d bytes for a scrape of %d", len(reply), len(req))
		}
	}
}

// checkAnnounce: a peer that is handed out has announced itself in this
// torrent, from its own address, and is not the asker.
func (w *simulation) checkAnnounce(h host, req, reply []byte) {
	w.t.Helper()
	if len(req) < 98 {
		w.t.Fatalf("an announce of %d bytes is answered with %x", len(req), reply)
	}
	hash := bep15.InfoHash(req[16:36])
	if w.announced[hash] == nil {
		w.announced[hash] = map[host]bool{}
	}
	self := netip.AddrPortFrom(h.Addr(), binary.BigEndian.Uint16(req[96:]))
	event := binary.BigEndian.Uint32(req[80:])
	copy(reply[4:8], transaction)
	got := w.decode(h, reply)
	least := uint32(w.interval)
	if w.last == announcedFull {
		least = fullInterval
	}
	if i := uint32(w.interval); got.interval < least || got.interval > i+i/10 {
		w.t.Fatalf("interval %d, %s", got.interval, verdictInfo[w.last].name)
	}
	want := int64(int32(binary.BigEndian.Uint32(req[92:])))
	if starts := event == bep15.EventStarted && binary.BigEndian.Uint64(req[64:]) > 0; want < 0 || want == 0 && starts {
		want = 50
	}
	if int64(len(got.peers)) > want || event == bep15.EventStopped && len(got.peers) > 0 || len(slices.Compact(slices.Clone(got.peers))) != len(got.peers) {
		w.t.Fatalf("%v for an announce of %d, event %d", got.peers, want, event)
	}
	for _, p := range got.peers {
		if p == self || !w.announced[hash][p] {
			w.t.Fatalf("%s gets %s, which is itself or never announced", self, p)
		}
		inside, near := h.Addr().IsPrivate() || h.Addr().IsLoopback(), h.Addr().IsLoopback()
		if p.Addr().IsPrivate() && !inside || p.Addr().IsLoopback() && !near {
			w.t.Fatalf("%s gets %s, which it can't reach", self, p)
		}
	}
	if event == bep15.EventStopped {
		delete(w.announced[hash], self)
	} else {
		w.announced[hash][self] = true
	}
	if n := int(got.leechers + got.seeders); n > len(w.announced[hash]) || n < len(got.peers) {
		w.t.Fatalf("%+v, of %d that have announced", got, len(w.announced[hash]))
	}
}

// run turns bytes into packets and times.
func (w *simulation) run(data []byte) {
	next := func() int {
		if len(data) == 0 {
			return 0
		}
		b := data[0]
		data = data[1:]
		return int(b)
	}
	for steps := 0; len(data) > 0 && steps < 400; steps++ {
		op, i := next(), 0
		i = next() % len(w.hosts)
		switch op % 16 {
		case 0, 1:
			w.send(i, connectRequest())
		case 2, 3, 4, 5, 6:
			f := fields{id: w.ids[i], hash: next() % 4, port: uint16(next() % 8)}
			b := next()
			f.left, f.event = uint64(b&1), uint32(b>>1&3)
			f.want = int32(b>>3) - 2
			if op%16 == 6 { // with an ID of somebody else's
				f.id = w.ids[next()%len(w.hosts)]
			}
			w.send(i, f.bytes())
		case 7:
			hashes := make([]int, next()%110)
			for j := range hashes {
				hashes[j] = (j + i) % 5
			}
			w.send(i, scrapeRequest(w.ids[i], hashes...))
		case 8: // a packet as it comes
			n := min(next()/2, len(data))
			w.send(i, data[:n])
			data = data[n:]
		case 9: // the same behind a good ID
			n := min(next()/2, len(data))
			w.send(i, append(bytes.Clone(w.ids[i]), data[:n]...))
			data = data[n:]
		case 10: // cut short, or a bit changed
			req := fields{id: w.ids[i], port: 7, want: -1}.bytes()
			bit := next() * 4
			req[bit/8%len(req)] ^= 1 << (bit % 8)
			w.send(i, req[:min(len(req), next())])
		case 11: // what the tracker said to another, as if that one had sent it
			if len(w.replies) > 0 {
				reply := w.replies[next()%len(w.replies)]
				if w.send(i, reply); w.last < dropShort {
					w.t.Fatalf("the reply %x is answered", reply)
				}
			}
		case 12:
			w.pass(seconds(next() / 4))
		case 13:
			w.pass(1)
			if b := next(); b >= 0xe0 {
				w.now.wall += uint32(b)<<24 | uint32(next())
				w.clockSet = !w.v4.cookies.monotonicDates
			}
		case 14:
			now, ttl := w.now.mono, w.ttl(w.store.pool.fillLevel())
			for p := uint32(1); p < w.store.pool.highWater(); p++ {
				w.store.sweep(p, now, ttl)
			}
		case 15:
			refused := byte(next() % 16)
			w.store.admit = func(h *bep15.InfoHash) bool { return h[3] != refused }
			for p := uint32(1); p < w.store.pool.highWater(); p++ {
				w.store.purge(p, w.now.mono, w.store.admit)
			}
		}
	}
	checkInvariants(w.t, w.store)
	// The peers that came, without those that left, expired or were
	// refused, are the stored peers.
	_, n := w.store.totals()
	for family, sets := range [2][2]int{{seeders4, leechers4}, {seeders6, leechers6}} {
		left := w.store.expired[family] + w.store.purged[family]
		if is := uint64(n[sets[0]] + n[sets[1]]); is != w.stored[family]-left {
			w.t.Fatalf("family %d: %d are stored, but %d less %d ought to be", family, is, w.stored[family], left)
		}
	}
}

// handleSeeds are conversations that reach what a fuzzer would take long to
// find.
func handleSeeds() (seeds [][]byte) {
	everyone := []byte{}
	for i := byte(0); i < 12; i++ {
		everyone = append(everyone, 0, i, 2, i, 0, 1, 0xf8, 3, i, 1, 2, 0xf1, 7, i, 3, 11, i, 0)
	}
	seeds = append(seeds, everyone, append(bytes.Clone(everyone), 12, 0, 255, 12, 0, 229, 2, 0, 0, 1, 0xf8, 14, 0, 15, 0, 1))
	seeds = append(seeds, []byte{0, 0, 13, 0, 0xff, 0, 2, 0, 0, 1, 0, 0, 0, 11, 1, 0, 13, 0, 0xe0, 0, 2, 0, 0, 1, 1})
	for n := int64(0); n < 4; n++ {
		b := make([]byte, 300)
		rand.New(rand.NewSource(n)).Read(b)
		seeds = append(seeds, append(bytes.Clone(everyone), b...))
	}
	return seeds
}

// FuzzHandle sends sequences of packets, at times and from hosts that the
// fuzzer chooses, and checks the rules that hold for every packet: a source
// that has not proved its address never gets more bytes than it sent, nothing
// that the tracker sends makes a tracker answer, no reply is too large, no one
// is handed out who has not announced, and nothing panics.
func FuzzHandle(f *testing.F) {
	for i, seed := range handleSeeds() {
		f.Add(seed, uint8(i))
	}
	f.Fuzz(func(t *testing.T, data []byte, how uint8) {
		w := newSimulation(t, []int{1, 2, 8}[how%3], []uint32{1000, 4}[how/3%2])
		w.v4.cookies.monotonicDates, w.v6.cookies.monotonicDates = how/6%2 == 1, how/6%2 == 1
		w.run(data)
	})
}

// TestHandleSequences runs longer sequences than the fuzzer does, and sees that
// they meet every verdict.
func TestHandleSequences(t *testing.T) {
	rounds := 300
	if testing.Short() {
		rounds = 40
	}
	var met [numVerdicts]int
	for n := 0; n < rounds; n++ {
		data := make([]byte, 3000)
		rand.New(rand.NewSource(int64(n))).Read(data)
		w := newSimulation(t, 1+n%3, []uint32{1000, 3}[n%2])
		w.v4.cookies.monotonicDates, w.v6.cookies.monotonicDates = n%4 < 2, n%4 < 2
		w.run(data)
		for v, n := range w.verdicts {
			met[v] += n
		}
	}
	for v, n := range met {
		if n == 0 && verdict(v) != dropSource { // see TestPortZeroSource
			t.Errorf("no packet met %q", verdictInfo[v].name)
		}
	}
}
