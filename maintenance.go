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
	"github.com/fabricionaweb/pico-tracker/internal/sandbox"
	"github.com/fabricionaweb/pico-tracker/internal/sdnotify"
	"github.com/fabricionaweb/pico-tracker/internal/textutil"
	"github.com/fabricionaweb/pico-tracker/internal/timer"
)

// This file has the maintenance loop: it removes expired peers, returns memory to
// the system, reloads the access list, writes the statistics and pings the
// watchdog of the service manager.

// maintenance is the state of the maintenance loop. It runs in one goroutine.
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
	lastTick  seconds // time of the last tick
	lastSweep seconds // time of the last sweep, or of the last sleep without peers
	woken     bool    // wakeup rang since the last tick
	wokenAt   seconds // time of the first ring

	cursor            uint32 // the next page to sweep
	sweeps            uint64 // completed passes over all pages
	sweepTime         time.Duration
	reloading         bool    // the service manager waits until the reload ends
	lastExternalCheck seconds // when the file of -external-ip was last checked without a notice
	noHugePages       bool    // the system gives no huge pages
	full              bool
	refusals          uint64  // new peers that were not stored because the memory is full
	lastRefusal       seconds // time of the last refusal
	proxyLogged       bool    // the log has the warning that all peers have one address
	lastScan          seconds // when the addresses were last checked

	limit            int           // -memory
	kernel           *procfs.Stats // nil: not available
	stats            *reportFile   // nil: none
	statsInterval    seconds       // time between two reports
	lastReport       seconds       // time of the last report
	writeFailed      bool          // the last report could not be written
	report           report
	throttles        [numEvents]logger.Throttle
	reflectionLogged bool // textReflection was logged
	metrics          metricsWriter

	closing sync.Mutex // held while the sockets and the statistics file are in use
	closed  bool
}

const (
	idleBefore   seconds = 2 * 60 // a free page returns to the system after this time
	scanInterval seconds = 60     // time between two checks for a proxy
	fullAfter    seconds = 60     // after this time without a refusal the tracker is no longer full
	trimPages            = 512    // system pages that trim checks in a second
	hugeChunks           = 8      // chunks that a tick checks for huge pages

	sweepBatch           = 16 // a wake-up is for at least this number of pages
	maxSweepWait seconds = 15 // longest wait of the sweep of a small store
	logWait      seconds = 60 // time between two checks of the counters without -stats
	maxWait      seconds = 5 * 60
	manyPeers    uint64  = 1000 // this number of new peers wakes the loop

	minPing = 50 * time.Millisecond // shortest time between two pings of the watchdog
)

// tick does everything that is due.
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
		// Let the workers run between two pages.
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
		m.noHugePages = true // do not try again
	}
	m.watchFull(now)
	m.watchAddresses(now)
	if m.list != nil && m.list.tick(now.mono, now.wall) {
		m.purge(now)
	}
	if m.external != nil && now.mono-m.lastExternalCheck >= listCheckInterval {
		m.lastExternalCheck = now.mono
		m.external.check()
	}
	if now.mono-m.lastReport >= m.reportEvery() {
		m.writeReport(now)
	}
}

// oldestPeer returns the greatest possible age of a stored peer. late reports
// whether its stamp may have wrapped, because the process was stopped or the
// machine was suspended. The next sweep then visits all pages.
func (m *maintenance) oldestPeer(now timestamp) (age seconds, late bool) {
	age, unit := m.tracker.maxAge(), m.tracker.store.unit
	if since, pass := now.mono-m.lastSweep, m.tracker.sweepPeriod(); since > pass {
		age += min(since-pass, 1<<30)
	}
	return age, (age+unit-1)/unit >= stampSpan
}

// sweepShare returns how many of the pages before end the sweep visits after
// elapsed seconds. After a whole pass it has visited all of them.
func sweepShare(end uint32, elapsed, pass seconds) uint32 {
	return uint32((uint64(end)*uint64(min(elapsed, pass)) + uint64(pass) - 1) / uint64(pass))
}

// reportEvery returns the time between two reports. Without -stats a report is
// only for the throttled log lines.
func (m *maintenance) reportEvery() seconds {
	if m.stats == nil {
		return max(m.statsInterval, logWait)
	}
	return m.statsInterval
}

// wait returns the time until something is due, in whole seconds. A tracker
// without peers sleeps for minutes. Ticks are at least a second apart, even if
// many peers arrive. It is 0 if wakeup has kept on ringing for a second: each ring
// ends a sleep.
func (m *maintenance) wait(now seconds) seconds {
	if m.woken && now-m.wokenAt > 1 {
		return 0
	}
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
		until(m.lastTick + maxSweepWait) // until the memory returns to the system
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
	return wait
}

// watchFull logs when the tracker stops storing new peers because the memory is
// full, and when it stores them again.
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

// watchAddresses logs once if all peers have one address.
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

// reload requests a reload of the access list.
func (m *maintenance) reload() {
	m.manager.Reloading()
	m.reloading = true
	if m.list != nil {
		m.list.notify(noticeReload)
	}
}

// finishReload tells the service manager that the reload has ended.
func (m *maintenance) finishReload() {
	if m.reloading && (m.list == nil || !m.list.reloadPending()) {
		m.reloading = false
		m.manager.Ready()
	}
}

// purge removes the torrents that the new access list refuses.
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

// run is the maintenance loop. It ends when quit is set. hup requests a reload,
// and ask requests a summary in the log. Ring m.wakeup after setting one of them.
func (m *maintenance) run(quit, hup, ask *atomic.Bool) {
	now := m.clock.now()
	m.lastTick, m.lastSweep = now.mono, now.mono
	m.writeReport(now)
	if !quit.Load() { // the manager knows that the tracker stops
		m.manager.Ready() // after the first report, so that -status works at once
	}
	next := timer.NewLong()
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
			// On a busy machine the collector may start late, and the lines of
			// many summaries take more memory than the plan has for them.
			runtime.GC()
		}
	}
}

// sleep waits until something is due or until wakeup rings. It reports whether
// something is due. The watchdog may want more pings than there are ticks.
func (m *maintenance) sleep(next *timer.Long) (due bool) {
	limit := manyPeers
	used, _, _ := m.tracker.store.pool.usage()
	if used == 0 {
		limit = 1
	}
	m.wakeup.limit.Store(limit)
	wait := m.wait(m.clock.now().mono) // after the limit is set, so that no peer is missed
	if wait <= 1 {
		m.wakeup.limit.Store(0)
	}
	ping, rang := m.pingInterval(), false
	due = wait == 0
	for left := time.Duration(wait) * time.Second; left > 0 && !rang; {
		part := min(left, ping)
		next.Reset(part)
		select {
		case <-next.C:
			left -= part
			due = left == 0
			m.petWatchdog()
		case <-m.wakeup.alarm:
			rang = true
		}
	}
	now := m.clock.now().mono
	if rang && !m.woken {
		m.woken, m.wokenAt = true, now
	}
	m.noteAwake(used == 0, now)
	return due
}

// pingInterval returns the time between two pings of the watchdog.
func (m *maintenance) pingInterval() time.Duration {
	every := m.manager.WatchdogInterval()
	if every == 0 {
		return time.Duration(maxWait) * time.Second
	}
	return max(every/4, minPing)
}

// noteAwake notes the end of a sleep. If nothing was stored when the sleep began,
// no peer is older than now.
func (m *maintenance) noteAwake(wasEmpty bool, now seconds) {
	if wasEmpty {
		m.lastSweep = now
	}
}

// petWatchdog pings the watchdog of the service manager, except if a worker has
// received nothing since the last call although datagrams wait. A single missed
// ping is harmless: the watchdog fires after four.
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

// writeReport updates the report, writes the throttled log lines and writes the
// -stats file.
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
	switch err := m.stats.write(m.metrics.text); {
	case err != nil:
		m.report.writeFailures++
		if !m.writeFailed {
			m.log.Warn("-stats ", m.stats.file.Name(), ": ", err.Error(), "; trying again every ", ageText(m.statsInterval), sandbox.Hint(err))
		}
		m.writeFailed = true
	case m.writeFailed:
		m.writeFailed = false
		m.log.Info("-stats ", m.stats.file.Name(), ": written again")
	}
}

// updateReport updates the report.
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
		// The dropped datagrams include the overflowed ones.
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

// externalAddress returns the public address and port of the tracker in a family, ""
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

// logThrottled logs events that anyone on the internet can cause.
func (m *maintenance) logThrottled(now timestamp) {
	a, b := &m.report.families[0], &m.report.families[1]
	all := a.counters
	all.add(&b.counters)
	v := &all.verdicts
	filtered := a.filtered + b.filtered
	if !a.reasonsKnown {
		filtered = 0 // without /proc the reason is unknown: do not report it as filtered
	}
	if all.reflected > 0 && !m.reflectionLogged {
		m.reflectionLogged = true
		m.log.Warn(textReflection)
	}
	counts := [numEvents]uint64{
		eventConnectLimit:  v[errorConnects].datagrams,
		eventNetworkLimit:  v[dropConnects].datagrams,
		eventErrorLimit:    v[dropErrors].datagrams,
		eventQuota:         v[announcedQuota].datagrams,
		eventFiltered:      filtered,
		eventReceiveBuffer: a.overflowed + b.overflowed,
		eventReplyNotSent:  all.sendFailed,
	}
	for i, count := range counts {
		more, in := m.throttles[i].Next(count, uint32(now.mono))
		if more == 0 {
			continue
		}
		var w textBuilder
		w.count("", more, " ")
		w.add(events[i].text)
		w.add(", in ")
		w.add(ageText(seconds(in)))
		if events[i].warn {
			m.log.Warn(string(w))
		} else {
			m.log.Info(string(w))
		}
	}
}

// textReflection is logged once.
const textReflection = "LAN clients come from the address of the router in front (NAT reflection): others get them under the public address" +
	" (-external-ip). To see their own addresses, use a name for the tracker that has its LAN address on the LAN," +
	" or set reflection_src 'external' in the router's firewall (OpenWrt)"

// Events that anyone on the internet can cause. The log counts them, with a
// throttle for each.
const (
	eventConnectLimit = iota
	eventNetworkLimit
	eventErrorLimit
	eventQuota
	eventFiltered
	eventReceiveBuffer
	eventReplyNotSent
	numEvents
)

// events has the log line of each event. It is a warning if the operator can do
// something about it.
var events = [numEvents]struct {
	text string
	warn bool
}{
	eventConnectLimit:  {text: "connects refused: one address and port sent more than -connect-limit"},
	eventNetworkLimit:  {text: "connects dropped: one network sent too many"},
	eventErrorLimit:    {text: "requests dropped: their network already got many errors"},
	eventQuota:         {text: "peers not stored: their address has the most peers that it may have"},
	eventFiltered:      {text: "datagrams dropped by the kernel: they cannot be requests"},
	eventReceiveBuffer: {text: "datagrams dropped by the kernel: the receive buffer was full (net.core.rmem_max, -workers)", warn: true},
	eventReplyNotSent:  {text: "replies that the system refused to send (firewall? no route?)", warn: true},
}

// close stops the reports and removes the -stats file.
func (m *maintenance) close() {
	m.closing.Lock()
	defer m.closing.Unlock()
	if m.closed {
		return
	}
	m.closed = true
	if m.list != nil {
		m.list.close()
	}
	if m.stats != nil {
		m.stats.remove()
	}
	if m.kernel != nil {
		m.kernel.Close()
	}
}
