package main

import (
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// This file owns the loops: one for each socket that receives, answers and
// sends, and one that sweeps and looks after the access list. It is the only
// reader of the clock.

// clock tells the time since it was made, and the time of day.
type clock struct{ start time.Time }

func (c clock) now() moment {
	t := time.Now()
	return moment{mono: seconds(t.Sub(c.start) / time.Second), wall: uint32(t.Unix())}
}

// worker is a socket with the desk that answers for it.
type worker struct {
	sock  *socket
	desk  *desk
	board board
	clock clock
	log   *logger
	taken uint64 // datagrams, when the keeper last looked
	drops uint32 // by the kernel, likewise
}

// run answers until the socket is stopped. It returns an error when the socket
// fails.
func (w *worker) run() error {
	if w.sock.v6 {
		return serve[key6](w)
	}
	return serve[key4](w)
}

func serve[K peerKey](w *worker) error {
	s, d := w.sock, w.desk
	for {
		n, err := s.receive()
		if err == errStopped {
			return nil
		}
		if err != nil {
			return err
		}
		now := w.clock.now()
		if foresees && n > 1 {
			w.expect(n)
		}
		for i := 0; i < n; i++ {
			var from K
			link := s.source(i, unsafe.Slice((*byte)(unsafe.Pointer(&from)), len(from)))
			req := s.request(i)
			out, v := handle(d, s.buffer(i), req, &from, link, now)
			if len(out) > 0 {
				s.reply(i, out)
			}
			d.count.note(v, len(req), len(out))
			if w.log.debug {
				w.log.trace(source(&from), ": ", verdictInfo[v].name, ", ", strconv.Itoa(len(req)), " bytes in, ", strconv.Itoa(len(out)), " out")
			}
		}
		d.count.sendFailed += uint64(s.flush(n))
		w.board.show(&d.count)
		if n == s.batch {
			runtime.Gosched() // the other family must not starve on one processor
		}
	}
}

// expect has the processor fetch what the announces of a batch read first: all
// at once, where each would have had to wait for its own.
func (w *worker) expect(n int) {
	var hashes [maxBatch]uint64
	announces := hashes[:0]
	for i := 0; i < n; i++ {
		req := w.sock.request(i)
		if len(req) < announceSize || requestAction(req) != actionAnnounce {
			continue
		}
		w.desk.cookies.expect(requestID(req))
		announces = append(announces, w.desk.store.hash.sum(parseAnnounce(req).hash[:]))
	}
	w.desk.store.expect(announces)
}

// source is a peer key in words.
func source[K peerKey](k *K) string {
	b := unsafe.Slice((*byte)(unsafe.Pointer(k)), len(*k))
	ip, port := b[:len(b)-2], uint16(b[len(b)-2])<<8|uint16(b[len(b)-1])
	return endpoint{ipAddr{ip: string(ip)}, port}.String()
}

// keeper does what is done by time: the sweep, the memory that goes back, the
// access list, the state of being full.
type keeper struct {
	tracker *tracker
	list    *accessList // nil: none
	workers []*worker
	clock   clock
	log     *logger
	manager *notifier

	cursor   uint32 // the page to sweep next
	sweeps   uint64 // over all pages
	swept    time.Duration
	checked  seconds
	small    bool // the system has no huge pages for us
	full     bool
	refusals uint64  // newcomers turned away for lack of room
	refused  seconds // when the last of them was

	limit  int          // -memory
	kernel *kernel      // nil: not asked
	stats  *replacement // nil: none
	every  seconds      // between two reports
	shown  seconds      // when the last of them was
	failed bool         // it could not be written
	report report
	news   [numNews]news
	sheet  sheet

	closing sync.Mutex // held while the sockets and the file of the report are used
	closed  bool
}

const (
	listEvery  seconds = 5 * 60 // how often the access list is looked at
	idleBefore seconds = 2 * 60 // that a page waits before the system has it back
	fullAfter  seconds = 60     // without a refusal the tracker is no longer full
	trimPages          = 512    // system pages looked at in a tick
	hugeChunks         = 8      // chunks looked at for huge pages in a tick
)

// tick does a second's share of the work.
func (k *keeper) tick(now moment) {
	s := k.tracker.store
	started := time.Now()
	end := s.pool.end()
	ttl := k.tracker.ttl(s.pool.fill())
	for n := (end + uint32(k.tracker.pass()) - 1) / uint32(k.tracker.pass()); n > 0; n-- {
		if k.cursor++; k.cursor >= end {
			k.cursor = 1
			if end <= 1 {
				break
			}
			k.sweeps++
		}
		s.sweep(k.cursor, now.mono, ttl)
		// Who waits for the processor has it between two pages.
		runtime.Gosched()
	}
	k.swept += time.Since(started)
	s.trim(now.mono, idleBefore, trimPages)
	if !k.small && !s.pool.enlarge(hugeChunks) {
		k.small = true // no huge pages here
	}
	k.watchFull(now)
	if k.list != nil && (k.list.busy || now.mono-k.checked >= listEvery) {
		k.checked = now.mono
		if k.list.changed() {
			k.reload(now)
		}
	}
	if now.mono-k.shown >= k.every {
		k.show(now)
	}
}

// watchFull logs when newcomers begin to be turned away for lack of room, and
// when there is room again.
func (k *keeper) watchFull(now moment) {
	var refusals uint64
	for _, w := range k.workers {
		c := w.board.read()
		refusals += c.verdicts[announcedFull].datagrams
	}
	s := k.tracker.store
	if refusals != k.refusals {
		k.refusals, k.refused = refusals, now.mono
	}
	switch {
	case !k.full && refusals > 0 && k.refused == now.mono:
		k.full = true
		torrents, peers := s.totals()
		k.log.warn("full: ", strconv.Itoa(torrents), " torrents, ", strconv.Itoa(peers[0]+peers[1]+peers[2]+peers[3]),
			" peers; newcomers get peers but are not stored until there is room (-memory)")
	case k.full && now.mono-k.refused >= fullAfter:
		k.full = false
		k.log.info("no longer full: newcomers are stored again")
	}
}

// reload reads the access list and removes what it no longer allows.
func (k *keeper) reload(now moment) {
	if k.list == nil || !k.list.load() {
		return
	}
	s := k.tracker.store
	removed := 0
	s.still.Store(true)
	defer s.still.Store(false)
	s.sync()
	for i := uint32(1); i < s.pool.end(); i++ {
		removed += s.purge(i, now.mono, k.list.admits)
		runtime.Gosched()
	}
	k.list.discardOld()
	if removed > 0 {
		k.log.info(k.list.kind(), ": ", strconv.Itoa(removed), " torrents removed")
	}
}

// run ticks until quit is set. hup has the access list read, ask has a summary
// logged.
func (k *keeper) run(quit, hup, ask *atomic.Bool) {
	k.show(k.clock.now())
	for !quit.Load() {
		time.Sleep(time.Second)
		now := k.clock.now()
		if hup.Swap(false) {
			k.manager.reloading()
			k.reload(now)
			k.manager.ready()
		}
		k.tick(now)
		if ask.Swap(false) {
			k.show(now)
			k.sheet.fill(&k.report)
			k.sheet.summary(k.log.info)
		}
		k.feed()
	}
}

// feed tells the service manager's watchdog that the loops are alive, unless a
// worker leaves datagrams waiting and has taken none since the last call. One
// call left out means nothing; as many as the watchdog waits for do. The
// keeper itself must get this far.
func (k *keeper) feed() {
	alive := true
	for _, w := range k.workers {
		c := w.board.read()
		if taken := c.total().datagrams; taken != w.taken {
			w.taken = taken
		} else if waiting(w.sock) {
			alive = false
		}
	}
	if alive {
		k.manager.alive()
	}
}

// show counts, says what there is to say of it in the log, and writes the
// report.
func (k *keeper) show(now moment) {
	k.closing.Lock()
	defer k.closing.Unlock()
	if k.closed {
		return
	}
	k.shown = now.mono
	k.count(now)
	k.tell(now)
	if k.stats == nil {
		return
	}
	k.sheet.fill(&k.report)
	switch err := k.stats.write(k.sheet.text); {
	case err != nil:
		k.report.unstored++
		if !k.failed {
			k.log.warn("stats: ", err.Error(), "; it is tried again each time (-stats)")
		}
		k.failed = true
	case k.failed:
		k.failed = false
		k.log.info("stats: written again")
	}
}

// count brings the report up to date.
func (k *keeper) count(now moment) {
	r, s := &k.report, k.tracker.store
	r.uptime, r.every = now.mono, k.every
	for i := range r.families {
		f := &r.families[i]
		f.counters, f.sockets = counters{}, 0
		dropped := uint64(0)
		for _, w := range k.workers {
			if w.sock.v6 != (i == 1) {
				continue
			}
			c := w.board.read()
			f.counters.add(&c)
			f.sockets++
			if n, ok := drops(w.sock); ok {
				f.kernel = true
				if n < w.drops {
					w.drops = 0 // another socket has taken its place
				}
				dropped += uint64(n - w.drops)
				w.drops = n
			}
		}
		// Those for which there was no room are among the dropped.
		overflowed := uint64(0)
		if k.kernel != nil {
			overflowed, f.sorted = k.kernel.overflowed(i == 1, k.sheet.text[:cap(k.sheet.text)])
			overflowed = min(dropped, overflowed)
		}
		f.overflowed += overflowed
		f.filtered += dropped - overflowed
		f.expired, f.purged = s.expired[i], s.purged[i]
	}
	torrents, peers := s.totals()
	r.torrents = torrents
	r.families[0].leechers, r.families[0].seeders = peers[leechers4], peers[seeders4]
	r.families[1].leechers, r.families[1].seeders = peers[leechers6], peers[seeders6]
	used, peak, resident := s.pool.usage()
	r.poolSize, r.poolUsed = s.pool.capacity()*pageSize, used*pageSize
	r.poolPeak, r.poolResident = peak*pageSize, resident*pageSize
	r.limit, r.full = k.limit, k.full
	r.sweeps, r.sweepNanos = k.sweeps, uint64(k.swept)
	if k.kernel != nil {
		r.resident = k.kernel.resident(k.sheet.text[:cap(k.sheet.text)])
	}
	if k.list != nil {
		r.list, r.hashes, r.reads = k.list.kind(), k.list.size(), k.list.reads
	}
}

// tell logs what strangers have caused.
func (k *keeper) tell(now moment) {
	a, b := &k.report.families[0], &k.report.families[1]
	all := a.counters
	all.add(&b.counters)
	v := &all.verdicts
	filtered := a.filtered + b.filtered
	if !a.sorted {
		filtered = 0 // who knows why
	}
	for i, count := range [numNews]uint64{v[errorConnects].datagrams, v[dropConnects].datagrams, v[dropErrors].datagrams,
		v[announcedShare].datagrams, filtered, a.overflowed + b.overflowed, all.sendFailed} {
		more, in := k.news[i].due(count, uint32(now.mono))
		if more == 0 {
			continue
		}
		var w words
		w.count("", more, " ")
		w.add(newsNames[i])
		w.add(", in ")
		w.add(ageText(seconds(in)))
		if i < firstBadNews {
			k.log.info(string(w))
		} else {
			k.log.warn(string(w))
		}
	}
}

// newsNames are what strangers cause. From firstBadNews on the operator can do
// something about it.
var newsNames = [...]string{
	"connects refused: more than an address and port may make (-connect-limit)",
	"connects dropped: more than a network may make",
	"requests dropped: their network has had enough errors",
	"peers not stored: their source has its share",
	"datagrams dropped by the kernel that can be no requests",
	"datagrams dropped by the kernel for want of room in the receive buffer (net.core.rmem_max, -workers)",
	"replies that the system refused to send (a firewall? no route?)",
}

const (
	numNews      = len(newsNames)
	firstBadNews = 5
)

// close ends the reports. The file goes: figures of a tracker that has ended
// would be taken for those of one that runs.
func (k *keeper) close() {
	k.closing.Lock()
	defer k.closing.Unlock()
	k.closed = true
	if k.stats != nil {
		k.stats.remove()
	}
	if k.kernel != nil {
		k.kernel.close()
	}
}
