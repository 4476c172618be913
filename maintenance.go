package main

import (
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"github.com/fabricionaweb/pico-tracker/internal/logger"
	"github.com/fabricionaweb/pico-tracker/internal/procfs"
	"github.com/fabricionaweb/pico-tracker/internal/sdnotify"
	"github.com/fabricionaweb/pico-tracker/internal/sys"
	"github.com/fabricionaweb/pico-tracker/internal/textutil"
	"github.com/fabricionaweb/pico-tracker/internal/timer"
)

// This file has the maintenance loop: the sweep, the memory that goes back to
// the system, the access list, the report and the service manager's watchdog.

// maintenance does what is done by time: the sweep, the memory that goes back, the
// access list, the state of being full.
type maintenance struct {
	tracker  *tracker
	list     *accessList   // nil: none
	external *externalFile // nil: none
	port     uint16
	workers  []*worker
	clock    clock
	log      *logger.Logger
	manager  *sdnotify.Notifier

	wakeup    peerAlarm
	lastTick  seconds // when tick was called last
	lastSweep seconds // when the sweep was last in time
	woken     bool    // wakeup rang since then

	cursor            uint32 // the page to sweep next
	sweeps            uint64 // over all pages
	sweepTime         time.Duration
	reloading         bool    // the service manager waits for the end of a reload
	lastExternalCheck seconds // when the file of -external-ip was last read by time
	noHugePages       bool    // the system has no huge pages for us
	full              bool
	refusals          uint64  // new peers that were not stored because the memory is full
	lastRefusal       seconds // when the last of them was
	proxyLogged       bool    // all peers have one address, and the log says so
	lastScan          seconds // when that was last looked at

	limit            int             // -memory
	kernel           *procfs.Stats   // nil: not asked
	stats            *sys.AtomicFile // nil: none
	statsInterval    seconds         // between two reports
	lastReport       seconds         // when the last of them was
	writeFailed      bool            // it could not be written
	report           report
	throttles        [numNews]logger.Throttle
	reflectionLogged bool // textReflection was logged
	metrics          metricsWriter

	closing sync.Mutex // held while the sockets and the file of the report are used
	closed  bool
}

const (
	idleBefore   seconds = 2 * 60 // that a page waits before the system has it back
	scanInterval seconds = 60     // how often it is looked for a proxy
	fullAfter    seconds = 60     // without a refusal the tracker is no longer full
	trimPages            = 512    // system pages looked at in a second
	hugeChunks           = 8      // chunks looked at for huge pages in a tick

	sweepBatch           = 16 // so many pages are worth waking up for
	maxSweepWait seconds = 15 // the sweep of a small store waits no longer
	logWait      seconds = 60 // between two looks at what strangers do, without -stats
	maxWait      seconds = 5 * 60
	manyPeers    uint64  = 1000 // so many new peers wake the loop
)

// tick does what is due since the last tick.
func (m *maintenance) tick(now timestamp) {
	s := m.tracker.store
	elapsed := max(1, now.mono-m.lastTick)
	m.lastTick, m.woken = now.mono, false
	started := time.Now()
	end := s.pool.highWater()
	ttl := m.tracker.ttl(s.pool.fillLevel())
	used, _, resident := s.pool.usage()
	share := uint32(0)
	switch {
	case used == 0 && s.top != nil:
		s.top.clear()
	case used > 0:
		share = sweepShare(end, elapsed, m.tracker.sweepPeriod())
	}
	oldest, late := m.oldestPeer(now)
	if late = late && used > 0; late {
		// No block may move to a page that this sweep has passed.
		s.compactionPaused.Store(true)
		s.quiesce()
	}
	removed := 0
	for ; share > 0; share-- {
		if m.cursor++; m.cursor >= end {
			m.cursor = 1
			if s.top != nil {
				s.top.endPass()
			}
			m.sweeps++
		}
		if late {
			removed += s.sweepLate(m.cursor, now.mono, ttl, oldest)
		} else {
			s.sweep(m.cursor, now.mono, ttl)
		}
		// Other goroutines get the processor between two pages.
		runtime.Gosched()
	}
	if late {
		s.compactionPaused.Store(false)
		m.log.Warn("the tracker did not run for ", ageText(now.mono-m.lastSweep), ": ",
			textutil.Count(uint64(removed), "peer"), " removed that are too old or of unknown age")
	}
	m.lastSweep = now.mono
	m.sweepTime += time.Since(started)
	if resident > 0 {
		s.trim(now.mono, idleBefore, trimPages*int(min(elapsed, maxSweepWait)))
	}
	if used > 0 && !m.noHugePages && !s.pool.collapseHuge(hugeChunks) {
		m.noHugePages = true // no huge pages here
	}
	m.watchFull(now)
	m.watchAddresses(now)
	if m.list != nil && m.list.tick(now.mono, now.wall) {
		m.purge(now)
	}
	if m.external != nil && now.mono-m.lastExternalCheck >= listCheckInterval {
		m.lastExternalCheck = now.mono
		m.external.load()
	}
	if now.mono-m.lastReport >= m.reportEvery() {
		m.writeReport(now)
	}
}

// oldestPeer returns how old a stored peer may be, and whether the sweep is so
// late that the stamp of such a peer may have wrapped: after SIGSTOP, or on a
// machine that was suspended. The sweep then looks at all pages, because it is
// later than a pass.
func (m *maintenance) oldestPeer(now timestamp) (age seconds, late bool) {
	age, unit := m.tracker.maxAge(), m.tracker.store.unit
	if since, pass := now.mono-m.lastSweep, m.tracker.sweepPeriod(); since > pass {
		age += min(since-pass, 1<<30)
	}
	return age, (age+unit-1)/unit >= stampSpan
}

// sweepShare returns how many of a store's pages, which end before end, the
// sweep looks at after that many seconds: all of them in the time of a pass.
func sweepShare(end uint32, elapsed, pass seconds) uint32 {
	return uint32((uint64(end)*uint64(min(elapsed, pass)) + uint64(pass) - 1) / uint64(pass))
}

// reportEvery returns the time between two reports. Without -stats a report only
// shows whether strangers do something that belongs into the log.
func (m *maintenance) reportEvery() seconds {
	if m.stats == nil {
		return max(m.statsInterval, logWait)
	}
	return m.statsInterval
}

// wait returns the time until something is due, in whole seconds. A tracker that
// stores nothing has nothing to do for minutes. Ticks are at least a second
// apart, however many peers arrive.
func (m *maintenance) wait(now seconds) seconds {
	wait := maxWait
	until := func(due seconds) {
		if left := int32(due - now); left < int32(wait) {
			wait = seconds(max(left, 1))
		}
	}
	pool := m.tracker.store.pool
	used, _, resident := pool.usage()
	switch {
	case used > 0:
		pass := m.tracker.sweepPeriod()
		until(m.lastTick + min(maxSweepWait, pass, pass*sweepBatch/seconds(pool.highWater())))
	case resident > 0:
		until(m.lastTick + maxSweepWait) // until the system has it back
	}
	if m.woken {
		until(m.lastTick + 1)
	}
	if m.full {
		until(m.lastRefusal + fullAfter)
	}
	if m.list != nil {
		until(m.list.due(now))
	}
	if m.external != nil {
		until(m.lastExternalCheck + listCheckInterval)
	}
	if m.stats != nil || used > 0 {
		until(m.lastReport + m.reportEvery())
	}
	if every := m.manager.WatchdogInterval(); every > 0 {
		until(m.lastTick + seconds(every/4/time.Second))
	}
	return wait
}

// watchFull logs when new peers are no longer stored because the memory is
// full, and when there is room again.
func (m *maintenance) watchFull(now timestamp) {
	var refusals uint64
	for _, w := range m.workers {
		c := w.published.load()
		refusals += c.verdicts[announcedFull].datagrams
	}
	s := m.tracker.store
	if refusals != m.refusals {
		m.refusals, m.lastRefusal = refusals, now.mono
	}
	switch {
	case !m.full && refusals > 0 && m.lastRefusal == now.mono:
		m.full = true
		torrents, peers := s.totals()
		m.log.Warn("full: ", textutil.Count(uint64(torrents), "torrent"), ", ", textutil.Count(uint64(peers[0]+peers[1]+peers[2]+peers[3]), "peer"),
			"; new peers get an answer but are not stored until there is room (-memory)")
	case m.full && now.mono-m.lastRefusal >= fullAfter:
		m.full = false
		m.log.Info("no longer full: new peers are stored again")
	}
}

// watchAddresses logs once that all peers have one address.
func (m *maintenance) watchAddresses(now timestamp) {
	if m.proxyLogged || now.mono-m.lastScan < scanInterval {
		return
	}
	m.lastScan = now.mono
	c, ok := m.tracker.store.oneAddress(now.mono)
	if !ok {
		return
	}
	m.proxyLogged = true
	text, or := "", ""
	if c.found[0] {
		text, or = addressText(&c.v4, m.tracker.store.isolated), " or "
	}
	if c.found[1] {
		text += or + addressText(&c.v6, m.tracker.store.isolated)
	}
	m.log.Warn("all announces come from one address, ", text, ", with ", strconv.Itoa(manyPorts),
		" ports or more: a proxy may replace the addresses of clients, so that they can't reach each other; run a container with --network host")
}

// addressText returns the address of a stored peer as text.
func addressText[K peerKey](k *K, iso *isolation) string {
	key := *k
	if scopeOf(&key) == scopeLink {
		stripLinkID(&key, iso)
	}
	return ipaddr.Addr{IP: string(address(&key))}.String()
}

// reload asks for the access list to be read.
func (m *maintenance) reload() {
	m.manager.Reloading()
	m.reloading = true
	if m.list != nil {
		m.list.notify(noticeReload)
	}
}

// finishReload tells the service manager when the reload that it asked for has ended.
func (m *maintenance) finishReload() {
	if m.reloading && (m.list == nil || !m.list.reloadPending()) {
		m.reloading = false
		m.manager.Ready()
	}
}

// purge removes the torrents that the new access list does not allow.
func (m *maintenance) purge(now timestamp) {
	s := m.tracker.store
	removed := 0
	s.compactionPaused.Store(true)
	defer s.compactionPaused.Store(false)
	s.quiesce()
	for i := uint32(1); i < s.pool.highWater(); i++ {
		removed += s.purge(i, now.mono, m.list.admits)
		runtime.Gosched()
	}
	m.list.discardOld()
	if removed > 0 {
		m.log.Info(m.list.kind(), ": ", textutil.Count(uint64(removed), "torrent"), " removed")
	}
}

// run does what is due until quit is set. hup has the access list read, ask has
// a summary logged. Who sets one of them rings m.wakeup.
func (m *maintenance) run(quit, hup, ask *atomic.Bool) {
	now := m.clock.now()
	m.lastTick, m.lastSweep = now.mono, now.mono
	m.writeReport(now)
	next := timer.New(time.Second)
	defer next.Stop()
	for !quit.Load() {
		due := m.sleep(next)
		now := m.clock.now()
		if hup.Swap(false) {
			m.reload()
			due = true
		}
		if due {
			m.tick(now)
			m.finishReload()
			m.petWatchdog()
		}
		if ask.Swap(false) {
			m.writeReport(now)
			m.metrics.render(&m.report)
			m.metrics.summary(m.log.Info)
		}
	}
}

// sleep waits until something is due, which it reports, or until wake.
func (m *maintenance) sleep(next *timer.Timer) (due bool) {
	limit := manyPeers
	used, _, _ := m.tracker.store.pool.usage()
	if used == 0 {
		limit = 1
	}
	m.wakeup.limit.Store(limit)
	wait := m.wait(m.clock.now().mono) // after the limit is set, so that no peer is missed
	if wait == 1 {
		m.wakeup.limit.Store(0)
	}
	next.Reset(time.Duration(wait) * time.Second)
	select {
	case <-next.C:
		due = true
	case <-m.wakeup.alarm:
		m.woken = true
	}
	m.noteAwake(used == 0, m.clock.now().mono)
	return due
}

// noteAwake notes the end of a sleep. wasEmpty says that nothing was stored when
// it began: then there is no old peer.
func (m *maintenance) noteAwake(wasEmpty bool, now seconds) {
	if wasEmpty {
		m.lastSweep = now
	}
}

// petWatchdog tells the service manager's watchdog that the loops are alive,
// unless a worker has taken no datagram since the last call although some wait.
// A single missed call is harmless: the watchdog fires only after four.
func (m *maintenance) petWatchdog() {
	alive := true
	for _, w := range m.workers {
		c := w.published.load()
		if taken := c.sum().datagrams; taken != w.takenAtPing {
			w.takenAtPing = taken
		} else if w.sock.Waiting() {
			alive = false
		}
	}
	if alive {
		m.manager.Watchdog()
	}
}

// writeReport counts, says what there is to say of it in the log, and writes the
// report.
func (m *maintenance) writeReport(now timestamp) {
	m.closing.Lock()
	defer m.closing.Unlock()
	if m.closed {
		return
	}
	m.lastReport = now.mono
	m.updateReport(now)
	m.logThrottled(now)
	if m.stats == nil {
		return
	}
	m.metrics.render(&m.report)
	switch err := m.stats.Write(m.metrics.text); {
	case err != nil:
		m.report.writeFailures++
		if !m.writeFailed {
			m.log.Warn("-stats ", m.stats.Name(), ": ", err.Error(), "; trying again every ", ageText(m.statsInterval))
		}
		m.writeFailed = true
	case m.writeFailed:
		m.writeFailed = false
		m.log.Info("-stats ", m.stats.Name(), ": written again")
	}
}

// updateReport brings the report up to date.
func (m *maintenance) updateReport(now timestamp) {
	r, s := &m.report, m.tracker.store
	r.uptime, r.every = now.mono, m.statsInterval
	for i := range r.families {
		f := &r.families[i]
		f.counters, f.sockets = counters{}, 0
		dropped := uint64(0)
		for _, w := range m.workers {
			if w.sock.V6() != (i == 1) {
				continue
			}
			c := w.published.load()
			f.counters.add(&c)
			f.sockets++
			if n, ok := w.sock.Drops(); ok {
				f.dropsKnown = true
				dropped += n - w.dropsCounted
				w.dropsCounted = n
			}
		}
		// Those for which there was no room are among the dropped.
		overflowed := uint64(0)
		if m.kernel != nil {
			overflowed, f.reasonsKnown = m.kernel.Overflowed(i == 1, m.metrics.text[:cap(m.metrics.text)])
			overflowed = min(dropped, overflowed)
		}
		f.overflowed += overflowed
		f.filtered += dropped - overflowed
		f.expired, f.purged = s.expired[i], s.purged[i]
	}
	for i := range r.external {
		r.external[i] = m.externalAddress(i == 1)
	}
	torrents, peers := s.totals()
	r.torrents = torrents
	r.families[0].leechers, r.families[0].seeders = peers[leechers4], peers[seeders4]
	r.families[1].leechers, r.families[1].seeders = peers[leechers6], peers[seeders6]
	used, peak, resident := s.pool.usage()
	r.poolSize, r.poolUsed = s.pool.capacity()*pageSize, used*pageSize
	r.poolPeak, r.poolResident = peak*pageSize, resident*pageSize
	r.limit, r.full = m.limit, m.full
	r.sweeps, r.sweepNanos = m.sweeps, uint64(m.sweepTime)
	if m.kernel != nil {
		r.resident = m.kernel.Resident(m.metrics.text[:cap(m.metrics.text)])
	}
	if s.top != nil {
		r.top = s.top.result
	}
	r.refused = m.tracker.refused.read()
	if m.list != nil {
		r.listPath = m.list.path
		r.list, r.hashes, r.reads = m.list.kind(), m.list.size(), m.list.reads
	}
}

// externalAddress is the public address and port of the tracker in a family, ""
// if it is not known.
func (m *maintenance) externalAddress(v6 bool) string {
	e := m.tracker.external.Load()
	if e == nil {
		return ""
	}
	ip, i := string(e.v4[:4]), 0
	if v6 {
		ip, i = string(e.v6[:16]), 1
	}
	a := ipaddr.Endpoint{Addr: ipaddr.Addr{IP: ip}, Port: m.port}
	if a.Addr.IsUnspecified() {
		return ""
	}
	if m.external != nil {
		if port := m.external.ports[i].Load(); port != 0 {
			a.Port = uint16(port)
		}
	}
	return a.String()
}

// logThrottled logs what strangers have caused.
func (m *maintenance) logThrottled(now timestamp) {
	a, b := &m.report.families[0], &m.report.families[1]
	all := a.counters
	all.add(&b.counters)
	v := &all.verdicts
	filtered := a.filtered + b.filtered
	if !a.reasonsKnown {
		filtered = 0 // without /proc the reason is unknown
	}
	if all.reflected > 0 && !m.reflectionLogged {
		m.reflectionLogged = true
		m.log.Warn(textReflection)
	}
	for i, count := range [numNews]uint64{v[errorConnects].datagrams, v[dropConnects].datagrams, v[dropErrors].datagrams,
		v[announcedQuota].datagrams, filtered, a.overflowed + b.overflowed, all.sendFailed} {
		more, in := m.throttles[i].Next(count, uint32(now.mono))
		if more == 0 {
			continue
		}
		var w textBuilder
		w.count("", more, " ")
		w.add(newsNames[i])
		w.add(", in ")
		w.add(ageText(seconds(in)))
		if i < firstBadNews {
			m.log.Info(string(w))
		} else {
			m.log.Warn(string(w))
		}
	}
}

// textReflection is logged once.
const textReflection = "LAN clients come from the address of the router in front (NAT reflection): others get them under the public address" +
	" (-external-ip). To see their own addresses, use a name for the tracker that has its LAN address on the LAN," +
	" or set reflection_src 'external' in the router's firewall (OpenWrt)"

// newsNames are what strangers cause. From firstBadNews on the operator can do
// something about it.
var newsNames = [...]string{
	"connects refused: one address and port sent more than -connect-limit",
	"connects dropped: one network sent too many",
	"requests dropped: their network already got many errors",
	"peers not stored: their address has the most peers that it may have",
	"datagrams dropped by the kernel: they cannot be requests",
	"datagrams dropped by the kernel: the receive buffer was full (net.core.rmem_max, -workers)",
	"replies that the system refused to send (firewall? no route?)",
}

const (
	numNews      = len(newsNames)
	firstBadNews = 5
)

// close ends the reports. The file goes: figures of a tracker that has ended
// would be taken for those of one that runs.
func (m *maintenance) close() {
	m.closing.Lock()
	defer m.closing.Unlock()
	m.closed = true
	if m.list != nil {
		m.list.close()
	}
	if m.stats != nil {
		m.stats.Remove()
	}
	if m.kernel != nil {
		m.kernel.Close()
	}
}
