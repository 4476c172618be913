// Package load is a load generator for UDP trackers that speaks for many clients at once.
//
// It keeps a window of requests outstanding (closed loop) or sends at a rate of
// its own (open loop), and accounts for each one: answered, refused with an
// error, malformed, or lost. Clients get their connection IDs by connecting
// (BEP 15), and renew them before they expire.
package load

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/fabricionaweb/pico-tracker/bench/internal/hist"
	"github.com/fabricionaweb/pico-tracker/bench/internal/population"
	"github.com/fabricionaweb/pico-tracker/bench/internal/udp"
	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

const (
	// Sources is how many addresses the peers of a population share, each
	// with many ports. No address reaches the 5 % of the capacity that a
	// tracker may allow to one address.
	Sources = 1 << 16
	// Window is how many requests are outstanding in a closed loop: eight batches, so that the fastest
	// server finds a full batch in its queue and does not wait for the generator.
	Window = 8 * udp.Batch
	// SmallWindow is for servers that did not enlarge the queue of their socket: its 212,992 bytes
	// take some 250 small datagrams.
	SmallWindow = 3 * udp.Batch

	maxSources    = udp.MaxSources
	maxSlots      = 1 << 16 // a slot's number is half of a transaction ID
	receiveBuffer = 64 << 20
	lostAfter     = time.Second
	longest       = 5 * time.Minute
	tries         = 5 // a request without a reply is sent again, this often in all
	firstPort     = 1024

	// An ID is valid for two minutes (BEP 15). Early renewal keeps slow
	// runs valid.
	renewAfter = 90 * time.Second
)

// maxScrapeHashes is about how many torrents BEP 15 allows in a scrape.
const maxScrapeHashes = 74

// Generator speaks to one tracker. It keeps the connection IDs of its clients between runs. It is
// not safe for concurrent use.
type Generator struct {
	// FillWindow is how many requests Register and Count keep outstanding: SmallWindow, unless changed.
	FillWindow int

	conn   *udp.Conn
	v6     bool
	origin time.Time
	ids    []connectionID // by source, for those that announce and scrape
	slots  []slot
	free   []uint16
	window int // how many slots are in use or free; the rest lie idle
	staged int
	tries  uint8
	// patience is how long a request may wait for a reply before it counts
	// as lost.
	patience time.Duration
	hashes   [maxScrapeHashes]bep15.InfoHash
	connect  uint32
	rng      uint64
	// given gets the connection IDs of clients that are not the generator's
	// own. It may be nil.
	given func(source uint32, id uint64)
	// Once means that a request without a reply counts as lost and is not
	// sent again.
	Once bool

	w      *Workload
	result *Result
}

type connectionID struct {
	id   uint64
	from time.Duration // when it was given, since origin; 0 is never
}

// slot is an outstanding request.
type slot struct {
	request
	round      uint16 // counts the uses, so that a late reply is not mistaken for the reply to another request
	tries      uint8
	connecting bool // the client connects first
	busy       bool
	due        time.Duration // when the request was due: latency counts from here
	sent       time.Duration // when it was last sent
}

// Counts says what happened to the requests of one action.
type Counts struct {
	Answered, Refused, Malformed, Lost uint64
	// Bytes is the sum of the lengths of the answers.
	Bytes uint64
}

// Result is the result of a run.
type Result struct {
	Elapsed time.Duration
	// By action of BEP 15. A request that was answered when sent again counts as answered.
	Connect, Announce, Scrape Counts
	// Renewals is how many connects were made to get an ID for another request. They are in Connect.
	Renewals uint64
	// Resent is how many datagrams were sent again after a second without an answer.
	Resent uint64
	// Stray is how many replies came without an outstanding request.
	Stray uint64
	// Overrun is how many requests of an open loop were due while no slot was free.
	Overrun uint64
	// Peers is the number of peers in all announce replies.
	Peers uint64
	// Scraped is the sum of the peers in all scrape replies.
	Scraped uint64
	// Latency of all answered requests, from the due time until the reply
	// was read.
	Latency hist.Histogram
	// Errors counts the first few kinds of error replies by text, and of
	// malformed replies by shape.
	Errors map[string]uint64
}

// Answered is how many requests got a well-formed answer that is not an error.
func (r *Result) Answered() uint64 {
	return r.Connect.Answered + r.Announce.Answered + r.Scrape.Answered
}

// Refused is how many requests got an error.
func (r *Result) Refused() uint64 { return r.Connect.Refused + r.Announce.Refused + r.Scrape.Refused }

// Malformed is how many requests got an answer of the wrong shape.
func (r *Result) Malformed() uint64 {
	return r.Connect.Malformed + r.Announce.Malformed + r.Scrape.Malformed
}

// Lost is how many requests got no answer at all.
func (r *Result) Lost() uint64 { return r.Connect.Lost + r.Announce.Lost + r.Scrape.Lost }

// Requests is how many datagrams the tracker received.
func (r *Result) Requests() uint64 { return r.Answered() + r.Refused() + r.Malformed() }

// PeersPerAnnounce is the mean length of the lists.
func (r *Result) PeersPerAnnounce() float64 {
	return float64(r.Peers) / float64(max(r.Announce.Answered, 1))
}

// BytesPerAnswer is the mean length of the answers of one action.
func (c *Counts) BytesPerAnswer() float64 { return float64(c.Bytes) / float64(max(c.Answered, 1)) }

// New makes a generator for the tracker at an address.
func New(server netip.AddrPort) (*Generator, error) {
	conn, err := udp.Open(server, receiveBuffer)
	if err != nil {
		return nil, err
	}
	return &Generator{
		conn: conn,
		v6:   server.Addr().Is6(),
		// Not now: a time of 0 means never.
		origin:  time.Now().Add(-time.Hour),
		ids:     make([]connectionID, Sources),
		slots:   make([]slot, maxSlots),
		free:    make([]uint16, 0, maxSlots),
		connect: Sources,

		patience:   lostAfter,
		FillWindow: SmallWindow,
	}, nil
}

// Close closes the generator's socket.
func (g *Generator) Close() error { return g.conn.Close() }

// Register announces every peer of a population once, in order, with the event
// started.
func (g *Generator) Register(p population.Population) (*Result, error) {
	return g.RegisterSome(p, 0, p.Peers)
}

// RegisterSome announces the peers with the numbers from to to-1.
func (g *Generator) RegisterSome(p population.Population, from, to int) (*Result, error) {
	peer := from
	w := Workload{Population: p, NumWant: 0}
	return g.closed(&w, g.FillWindow, func(q *request) bool {
		if peer >= to {
			return false
		}
		*q = request{
			action: bep15.ActionAnnounce, event: bep15.EventStarted,
			source: uint32(peer % Sources), peer: uint32(peer),
		}
		peer++
		return true
	})
}

// Count asks a tracker by scrapes how many peers it has in all torrents of a population: Scraped of
// the result.
func (g *Generator) Count(p population.Population) (*Result, error) {
	torrent := 0
	return g.closed(&Workload{Population: p}, g.FillWindow, func(q *request) bool {
		n := min(maxScrapeHashes, p.Torrents-torrent)
		*q = request{
			action: bep15.ActionScrape, source: uint32(torrent % Sources),
			inOrder: true, first: uint32(p.FirstTorrent + torrent), hashes: uint8(n),
		}
		torrent += n
		return n > 0
	})
}

// Renew gets new connection IDs for clients whose ID is older than a third of
// its life, so that the next short run has no connects.
func (g *Generator) Renew() (*Result, error) {
	source := 0
	oldest := g.now() - renewAfter/3
	return g.closed(&Workload{}, SmallWindow, func(q *request) bool {
		for source < Sources && g.ids[source].from > oldest {
			source++
		}
		if source == Sources {
			return false
		}
		*q = request{action: bep15.ActionConnect, source: uint32(source)}
		source++
		return true
	})
}

// Run keeps a window of requests outstanding for a time, then waits for the last answers.
func (g *Generator) Run(w Workload, window int, length time.Duration) (*Result, error) {
	if window < 1 || window > maxSlots {
		return nil, fmt.Errorf("a window has 1 to %d requests", maxSlots)
	}
	r := g.requests(w)
	defer g.keep(r)
	end := g.now() + length
	return g.closed(&w, window, func(q *request) bool { return g.now() < end && r.next(q) })
}

// RunAt sends at a fixed rate, in requests a second, for a time. Latency counts
// from the moment when a request was due, so that a late sender hides nothing.
func (g *Generator) RunAt(w Workload, rate float64, length time.Duration) (*Result, error) {
	if rate <= 0 {
		return nil, errors.New("a rate is more than 0 requests a second")
	}
	r := g.requests(w)
	defer g.keep(r)
	g.begin(&w, maxSlots)
	start := g.now()
	looked := start
	for due, done := int64(0), false; !done; {
		now := g.now()
		if now-looked > g.patience/10 {
			looked = now
			if err := g.expire(); err != nil {
				return nil, err
			}
		}
		for g.staged < udp.Batch {
			at := start + time.Duration(float64(due)/rate*1e9)
			if done = at >= start+length; done || at > now {
				break
			}
			due++
			var q request
			if !r.next(&q) {
				break
			}
			if len(g.free) == 0 {
				g.result.Overrun++
				continue
			}
			g.start(q, at, now)
		}
		if err := g.flush(); err != nil {
			return nil, err
		}
		if _, err := g.receive(false); err != nil {
			return nil, err
		}
	}
	return g.finish(start)
}

// Burst sends many connects at once, each from another client, without waiting
// for replies. It calls sent when all are in the tracker's queue or lost. No
// connect is sent again.
func (g *Generator) Burst(connects int, sent func() error) (*Result, error) {
	if connects > maxSlots {
		return nil, fmt.Errorf("a burst has at most %d requests", maxSlots)
	}
	w := Workload{Connects: 1}
	r := g.requests(w)
	defer g.keep(r)
	g.begin(&w, maxSlots)
	g.tries = 1
	start := g.now()
	for range connects {
		var q request
		r.next(&q)
		g.start(q, g.now(), g.now())
		if g.staged == udp.Batch {
			if err := g.flush(); err != nil {
				return nil, err
			}
		}
	}
	if err := g.flush(); err != nil {
		return nil, err
	}
	if err := sent(); err != nil {
		return nil, err
	}
	return g.finish(start)
}

// Flood sends datagrams that no tracker should answer, and returns how long it
// took.
func (g *Generator) Flood(datagrams int, datagram []byte) (time.Duration, error) {
	start := time.Now()
	for sent := 0; sent < datagrams; {
		n := min(udp.Batch, datagrams-sent)
		for i := range n {
			g.conn.Stage(i, copy(g.conn.Payload(i), datagram), (sent+i)%Sources)
		}
		if _, err := g.conn.Send(n); err != nil {
			return 0, err
		}
		sent += n
	}
	return time.Since(start), nil
}

func (g *Generator) now() time.Duration { return time.Since(g.origin) }

func (g *Generator) requests(w Workload) *requests {
	return &requests{w: w, rng: g.rng, connect: g.connect, sources: Sources}
}

// keep stores the position in a sequence, so that the next run does not repeat
// it.
func (g *Generator) keep(r *requests) { g.rng, g.connect = r.rng, r.connect }

func (g *Generator) begin(w *Workload, window int) {
	g.w, g.window, g.result = w, window, &Result{Errors: map[string]uint64{}}
	g.free = g.free[:0]
	for i := range window {
		g.free = append(g.free, uint16(window-1-i))
	}
	for i := range g.slots {
		g.slots[i].busy = false
	}
	g.staged, g.tries = 0, tries
	if g.Once {
		g.tries = 1
	}
}

// closed sends the requests of next, a window at a time, until next has no
// more.
func (g *Generator) closed(w *Workload, window int, next func(*request) bool) (*Result, error) {
	g.begin(w, window)
	start := g.now()
	batch := min(udp.Batch, window)
	for more := true; more; {
		// Whole batches only: a datagram sent alone costs as much as ten sent together, and a
		// generator that trickles makes a tracker look slow.
		if len(g.free) >= batch {
			now := g.now()
			for more && g.staged < batch {
				var q request
				if more = next(&q); more {
					g.start(q, now, now)
				}
			}
			if err := g.flush(); err != nil {
				return nil, err
			}
		}
		if err := g.collect(len(g.free) < batch); err != nil {
			return nil, err
		}
		if g.now()-start > longest {
			return nil, fmt.Errorf("not done after %v: %d answered, %d sent again, %d lost",
				longest, g.result.Answered(), g.result.Resent, g.result.Lost())
		}
	}
	return g.finish(start)
}

// collect reads what has arrived; with wait it blocks for something first.
func (g *Generator) collect(wait bool) error {
	n, err := g.receive(false)
	if err == nil && n == 0 && wait {
		n, err = g.receive(true)
	}
	if err == nil && n == 0 && wait {
		err = g.expire()
	}
	return err
}

// finish waits until no request is outstanding.
func (g *Generator) finish(start time.Duration) (*Result, error) {
	for len(g.free) < g.window {
		if err := g.collect(true); err != nil {
			return nil, err
		}
	}
	g.result.Elapsed = g.now() - start
	return g.result, nil
}

// start takes a slot for a request and stages its first datagram.
func (g *Generator) start(q request, due, now time.Duration) {
	i := g.free[len(g.free)-1]
	g.free = g.free[:len(g.free)-1]
	s := &g.slots[i]
	s.request, s.busy, s.due, s.tries = q, true, due, 0
	g.stage(i, now)
}

// stage writes the datagram that a slot needs next. The buffer has room: see room.
func (g *Generator) stage(i uint16, now time.Duration) {
	s := &g.slots[i]
	s.sent = now
	s.round++
	s.tries++
	transaction := uint32(s.round)<<16 | uint32(i)
	b, n := g.conn.Payload(g.staged), 0
	var id connectionID
	if s.connecting = false; s.action != bep15.ActionConnect {
		id = g.ids[s.source]
		s.connecting = id.from == 0 || now-id.from > renewAfter
	}
	switch {
	case s.connecting || s.action == bep15.ActionConnect:
		n = len(bep15.AppendConnect(b[:0], transaction))
	case s.action == bep15.ActionAnnounce:
		peer := int(s.peer)
		r := bep15.Announce{
			ConnectionID:  id.id,
			TransactionID: transaction,
			InfoHash:      population.InfoHash(g.w.Population.Torrent(peer)),
			PeerID:        population.PeerID(peer),
			Event:         s.event,
			Key:           s.peer,
			NumWant:       g.w.NumWant,
			Port:          uint16(firstPort + peer/Sources),
		}
		if !g.w.Population.Seeder(peer) {
			r.Left = 1 << 20
		}
		n = len(bep15.AppendAnnounce(b[:0], &r))
	case s.action == bep15.ActionScrape:
		seed := s.seed
		for k := range s.hashes {
			torrent := int(s.first) + int(k)
			if !s.inOrder {
				// Torrents are asked about as often as they are announced to.
				seed = population.Hash64(seed)
				torrent = g.w.Population.Torrent(int(seed % uint64(g.w.Population.Peers)))
			}
			g.hashes[k] = population.InfoHash(torrent)
		}
		n = len(bep15.AppendScrape(b[:0], id.id, transaction, g.hashes[:s.hashes]...))
	}
	g.conn.Stage(g.staged, n, int(s.source))
	g.staged++
}

// room makes sure that one more datagram can be staged.
func (g *Generator) room() error {
	if g.staged < udp.Batch {
		return nil
	}
	return g.flush()
}

func (g *Generator) flush() error {
	n := g.staged
	g.staged = 0
	_, err := g.conn.Send(n)
	return err
}

// receive reads a batch and gives each reply to its slot.
func (g *Generator) receive(wait bool) (int, error) {
	n, err := g.conn.Receive(wait)
	if err != nil || n == 0 {
		return n, err
	}
	now := g.now()
	for i := range n {
		if err := g.room(); err != nil {
			return n, err
		}
		g.reply(g.conn.Received(i), now)
	}
	return n, g.flush()
}

// reply counts one reply. After the reply to a connect, the client sends the
// request that it connected for.
func (g *Generator) reply(b []byte, now time.Duration) {
	action, transaction, ok := bep15.ParseReplyHeader(b)
	s := &g.slots[uint16(transaction)]
	if !ok || !s.busy || s.round != uint16(transaction>>16) {
		g.result.Stray++
		return
	}
	counts, peers := g.counts(s), 0
	asked := uint32(s.action)
	if s.connecting {
		asked = bep15.ActionConnect
	}
	switch {
	case action == bep15.ActionError:
		counts.Refused++
		g.errorText(bep15.ErrorText(b))
		g.release(uint16(transaction))
		return
	case action != asked:
		ok = false
	case asked == bep15.ActionConnect:
		var id uint64
		if id, ok = bep15.ParseConnectReply(b); ok && s.source < Sources {
			g.ids[s.source] = connectionID{id: id, from: now}
		} else if ok && g.given != nil {
			g.given(s.source, id)
		}
	case asked == bep15.ActionAnnounce:
		var r bep15.AnnounceReply
		r, ok = bep15.ParseAnnounceReply(b, g.v6)
		peers = len(r.Peers) / bep15.PeerSize(g.v6)
	case asked == bep15.ActionScrape:
		ok = bep15.ParseScrapeReply(b, int(s.hashes), func(_ int, c bep15.Counts) {
			g.result.Scraped += uint64(c.Seeders) + uint64(c.Leechers)
		})
	}
	if !ok {
		counts.Malformed++
		g.errorText(fmt.Sprintf("malformed: action %d and %d bytes for action %d", action, len(b), asked))
		g.release(uint16(transaction))
		return
	}
	counts.Answered++
	counts.Bytes += uint64(len(b))
	g.result.Peers += uint64(peers)
	if s.connecting {
		g.result.Renewals++
		s.tries = 0
		g.stage(uint16(transaction), now)
		return
	}
	g.result.Latency.Add(now - s.due)
	g.release(uint16(transaction))
}

// expire sends requests without a reply again, and gives up after too many
// tries.
func (g *Generator) expire() error {
	now := g.now()
	for i := range g.slots {
		s := &g.slots[i]
		if !s.busy || now-s.sent < g.patience {
			continue
		}
		if s.tries >= g.tries {
			g.counts(s).Lost++
			g.release(uint16(i))
			continue
		}
		g.result.Resent++
		if err := g.room(); err != nil {
			return err
		}
		g.stage(uint16(i), now)
	}
	return g.flush()
}

func (g *Generator) release(i uint16) {
	g.slots[i].busy = false
	g.free = append(g.free, i)
}

func (g *Generator) counts(s *slot) *Counts {
	switch {
	case s.connecting || s.action == bep15.ActionConnect:
		return &g.result.Connect
	case s.action == bep15.ActionAnnounce:
		return &g.result.Announce
	}
	return &g.result.Scrape
}

func (g *Generator) errorText(text string) {
	const kinds = 8
	if _, known := g.result.Errors[text]; known || len(g.result.Errors) < kinds {
		g.result.Errors[text]++
	}
}
