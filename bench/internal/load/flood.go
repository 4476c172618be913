package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/fabricionaweb/pico-tracker/bench/internal/population"
	"github.com/fabricionaweb/pico-tracker/bench/internal/proc"
	"github.com/fabricionaweb/pico-tracker/bench/internal/udp"
	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

const (
	// FloodSources is how many addresses a flood comes from. None is one of the generator's.
	FloodSources = 100_000
	// FloodTorrents is how many torrents, from the first, a flood announces to.
	FloodTorrents = 100_000

	firstFloodSource = 1 << 18
	junkSize         = 64
)

// Floods are the names of the kinds of flood.
func Floods() []string { return []string{"junk", "connects", "bad IDs", "announces"} }

// Flood sends datagrams as fast as a processor can. It does not read the
// replies.
type Flood struct {
	kind string
	conn *udp.Conn
	ids  []uint64 // by source, for announces
	rng  *rand.Rand
	stop atomic.Bool
	done chan struct{}
	sent uint64
	err  error
	// Read is how many answers were read before the flood began.
	Read uint64
}

// NewFlood makes a flood of one kind. Junk: packets that are not requests.
// Connects. Announces with forged connection IDs that have a valid date.
// Announces with valid connection IDs, for peers that the tracker does not
// know.
func NewFlood(server netip.AddrPort, kind string, seed int64) (*Flood, error) {
	const unread = 1 << 12 // what the kernel may keep of the answers
	conn, err := udp.Open(server, unread)
	if err != nil {
		return nil, err
	}
	f := &Flood{kind: kind, conn: conn, rng: rand.New(rand.NewSource(seed)), done: make(chan struct{})}
	switch kind {
	case "junk", "connects", "bad IDs":
	case "announces":
		err = f.connect(server)
	default:
		err = fmt.Errorf("no flood of %q; there are %q", kind, Floods())
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return f, nil
}

// Start sends on a thread of its own, on one processor or, if that is negative, on any, until Stop.
func (f *Flood) Start(cpu int) { go f.run(cpu) }

// Stop ends a started flood and returns how many datagrams were sent.
func (f *Flood) Stop() (sent uint64, err error) {
	f.stop.Store(true)
	<-f.done
	return f.sent, errors.Join(f.err, f.conn.Close())
}

// connect gets a connection ID for every address, as a botnet can.
func (f *Flood) connect(server netip.AddrPort) error {
	g, err := New(server)
	if err != nil {
		return err
	}
	defer g.Close()
	f.ids = make([]uint64, FloodSources)
	g.given = func(source uint32, id uint64) { f.ids[source-firstFloodSource] = id }
	source := 0
	r, err := g.closed(&Workload{}, SmallWindow, func(q *request) bool {
		*q = request{action: bep15.ActionConnect, source: uint32(firstFloodSource + source)}
		source++
		return source <= FloodSources
	})
	if err == nil {
		f.Read = r.Requests() + r.Stray
	}
	if err == nil && r.Connect.Answered != FloodSources {
		err = fmt.Errorf("of %d connects before the flood %d were answered", FloodSources, r.Connect.Answered)
	}
	return err
}

func (f *Flood) run(cpu int) {
	defer close(f.done)
	runtime.LockOSThread() // and not unlocked: the thread ends with the flood
	if cpu < 0 {
		// wherever the kernel likes
	} else if f.err = proc.PinThread(cpu); f.err != nil {
		return
	}
	for !f.stop.Load() {
		for i := range udp.Batch {
			source := f.rng.Intn(FloodSources)
			f.conn.Stage(i, f.put(f.conn.Payload(i), source), firstFloodSource+source)
		}
		n, err := f.conn.Send(udp.Batch)
		f.sent += uint64(n)
		if err != nil {
			f.err = err
			return
		}
	}
}

// put writes a datagram of the flood into b and returns its length.
func (f *Flood) put(b []byte, source int) int {
	switch f.kind {
	case "junk":
		f.rng.Read(b[:junkSize])
		return junkSize
	case "connects":
		return len(bep15.AppendConnect(b[:0], f.rng.Uint32()))
	}
	r := bep15.Announce{
		TransactionID: f.rng.Uint32(),
		InfoHash:      population.InfoHash(f.rng.Intn(FloodTorrents)),
		PeerID:        population.PeerID(source),
		Left:          1,
		NumWant:       50,
		Port:          uint16(1 + f.rng.Intn(1<<16-1)),
	}
	if f.kind == "announces" {
		r.ConnectionID = f.ids[source]
	} else {
		var id [8]byte
		binary.BigEndian.PutUint32(id[:], uint32(time.Now().Unix()))
		binary.BigEndian.PutUint32(id[4:], f.rng.Uint32())
		r.ConnectionID = binary.BigEndian.Uint64(id[:])
	}
	return len(bep15.AppendAnnounce(b[:0], &r))
}
