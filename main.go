package main

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/buildinfo"
	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"github.com/fabricionaweb/pico-tracker/internal/logger"
	"github.com/fabricionaweb/pico-tracker/internal/procfs"
	"github.com/fabricionaweb/pico-tracker/internal/sdnotify"
	"github.com/fabricionaweb/pico-tracker/internal/siphash"
	"github.com/fabricionaweb/pico-tracker/internal/sys"
	"github.com/fabricionaweb/pico-tracker/internal/textutil"
	"github.com/fabricionaweb/pico-tracker/internal/timer"
	"github.com/fabricionaweb/pico-tracker/internal/udp"
)

// This file makes the parts and starts them, and turns signals and errors into an
// exit code.

// version is set by the linker where the Makefile, the Dockerfile or a package
// builds the tracker.
var version string

func init() {
	if version == "" {
		version = buildinfo.Version()
	}
}

const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// ownsProcess is set by main. Only then may start configure the garbage collector,
// which all tests of a process share.
var ownsProcess bool

func main() {
	ownsProcess = true
	sys.DeclineHugePages()
	signals := make(chan os.Signal, 64) // room for signals during the start
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, sys.SummarySignal)
	os.Exit(run(signals, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// filesNeeded returns how many files are open at the same time. Each socket has an
// epoll instance. The others are standard streams, the runtime's poller, a timer,
// netlink, the access list, the statistics and /proc. Without a file for the poller,
// the Go runtime crashes.
func (c *config) filesNeeded() int { return 13 + 2*c.workers*len(c.listen) }

// stopWait is how long the program may take to end after SIGTERM or SIGINT. A
// network mount that hangs or a blocked log may delay it. Tests shorten it.
var stopWait = 4 * time.Second

// run is the program. It returns the exit code.
func run(signals <-chan os.Signal, args, env []string, stdout, stderr io.Writer) int {
	log := newLogger(stdout, stderr, env)
	ended := make(chan int, 3)
	var over atomic.Bool
	defer over.Store(true)
	passed := make(chan os.Signal, cap(signals)+1)
	go func() { ended <- execute(passed, ended, log, args, env, stdout) }()
	for stopping := false; ; {
		select {
		case code := <-ended:
			return code
		case sig := <-signals:
			select {
			case passed <- sig:
			default: // nobody has read the signals before
			}
			if sig == syscall.SIGHUP || sig == sys.SummarySignal || stopping {
				continue
			}
			stopping = true
			wait := stopWait
			go func() {
				time.Sleep(wait)
				if over.Load() {
					return
				}
				go log.Error("not stopped within ", textutil.Decimal(uint64(wait/time.Second)), " seconds: ending now")
				time.Sleep(wait / 16) // a blocked log must not delay the end
				ended <- exitFailure
			}()
		}
	}
}

// execute runs the command of the command line and returns the exit code. A code
// in ended also ends the program.
func execute(signals chan os.Signal, ended chan<- int, log *logger.Logger, args, env []string, stdout io.Writer) int {
	c, err := parseConfig(args, env)
	if err == nil {
		log.Verbose = c.debug
		for _, w := range c.warnings {
			log.Warn(w)
		}
		switch {
		case c.help:
			_, err = stdout.Write(helpText())
		case c.version:
			_, err = io.WriteString(stdout, "pico-tracker "+version+"\n")
		case c.plan:
			var l memoryPlan
			if l, err = c.memoryPlan(); err == nil {
				warnMemory(c, &l, log)
				err = printPlan(c, &l, stdout)
			}
		case c.hash:
			err = printHashes(c, stdout, log)
		case c.addTracker != "":
			err = addTracker(c, stdout, log)
		case c.probe != "":
			go func() {
				<-signals // the user does not want to wait any longer
				ended <- exitFailure
			}()
			err = runProbe(c, stdout)
		case c.status != "":
			err = showStatus(signals, c.status, stdout, stdout == os.Stdout && sys.IsTerminal())
		default:
			err = start(signals, c, sdnotify.New(env), log)
		}
	}
	if err == nil {
		return exitOK
	}
	log.Error(err.Error())
	if _, mistake := err.(usageError); mistake {
		return exitUsage
	}
	return exitFailure
}

// newLogger returns a logger to stderr, with levels for the journal if stderr goes
// there.
func newLogger(stdout, stderr io.Writer, env []string) *logger.Logger {
	l := &logger.Logger{Out: stderr}
	if stdout != os.Stdout || stderr != os.Stderr {
		return l
	}
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "JOURNAL_STREAM="); ok {
			l.Journal = sys.IsJournal(v)
		}
	}
	// procd and container engines read two pipes, and take lines from stderr for
	// errors.
	if sys.SeparatePipes() {
		l.InfoOut = stdout
	}
	return l
}

// start makes all parts and serves until a signal arrives.
func start(signals chan os.Signal, c *config, manager *sdnotify.Notifier, log *logger.Logger) error {
	if ownsProcess {
		// Do not collect the garbage of the start, because it is small.
		debug.SetGCPercent(-1)
	}
	// A closed log must not end the tracker. signal.Ignore would do the same, but
	// costs a kilobyte.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	clk := newClock()
	log.Info("pico-tracker ", version)
	var stats *sys.AtomicFile
	if c.stats != "" {
		stats = sys.NewAtomicFile(c.stats)
		if stats.Check() == sys.ErrNotRegular {
			return usageError(c.origins["stats"] + " " + stats.Name() + ": " + sys.ErrNotRegular.Error() + "; want the path of a file that may be replaced")
		}
	}
	key, err := signingKey(c, log)
	if err != nil {
		return err
	}
	var l memoryPlan
	if sig := await(signals, func() { l, err = c.memoryPlan() }); sig != nil {
		log.Info("stopping: ", sig.String())
		return nil
	}
	if err != nil {
		return err
	}
	warnMemory(c, &l, log)
	t, list, err := makeTracker(c, &l, log)
	if err != nil {
		return err
	}
	if want := c.filesNeeded(); sys.FileLimit() < uint64(want) {
		return errors.New("too few open files are allowed: " + strconv.FormatUint(sys.FileLimit(), 10) + "; this configuration needs " + strconv.Itoa(want) +
			" (ulimit -n, LimitNOFILE)")
	}
	socks, err := listen(c, l.batch, log)
	if err != nil {
		return err
	}
	now := clk.now()
	workers := make([]*worker, len(socks))
	for i, s := range socks {
		h, err := newHandler(t, c, &l, key, now)
		if err != nil {
			return err
		}
		workers[i] = &worker{sock: s, handler: h, clock: clk, log: log}
	}
	t.scopes = c.scopes
	t.store.isolated = c.isolated
	t.setExternal(c.external4, c.external6)
	ln := newLinkMonitor(socks, t, c.externalAuto, log)
	if c.externalAuto && ln == nil {
		return usageError(c.origins["external-ip"] + " \"auto\": not supported on this system; want addresses")
	}
	m := &maintenance{tracker: t, list: list, port: c.port, workers: workers, clock: clk, log: log, manager: manager,
		wakeup: peerAlarm{alarm: make(alarm, 1)}, limit: l.total, statsInterval: c.statsInterval, metrics: metricsWriter{text: make([]byte, reportBytes+c.top*topBytes)}}
	m.kernel = procfs.Open(m.metrics.text)
	for _, w := range workers {
		w.newPeers = &m.wakeup
	}
	m.report.version = version
	// From here on only the files of the list, of the external addresses and of
	// the statistics are opened, and the sockets are bound.
	if c.sandbox && ownsProcess {
		if sig := await(signals, func() { m.report.sandbox = enterSandbox(c, log) }); sig != nil {
			log.Info("stopping: ", sig.String())
			return nil
		}
	}

	if list != nil {
		list.wakeup = m.wakeup.alarm
		list.start(now.mono, now.wall)
		if sig := await(signals, list.firstLoad); sig != nil {
			log.Info("stopping: ", sig.String())
			return nil
		}
	}
	if c.externalFile != "" && c.scopes {
		if sig := await(signals, func() { m.external = newExternalFile(c.externalFile, t, log) }); sig != nil {
			log.Info("stopping: ", sig.String())
			return nil
		}
		defer m.external.close()
	}
	log.Info("memory ", sizeText(l.total), ": up to ", strconv.Itoa(t.store.maxTorrents()), " torrents or ",
		strconv.Itoa(t.store.maxPeers()), " peers; ", textutil.Count(uint64(c.workers), "worker"), ", interval ",
		ageText(c.interval))

	if ownsProcess {
		// Packets allocate nothing from here on. The collector has work only
		// after reloads of the access list.
		var ms runtime.MemStats
		runtime.ReadMemStats(&ms)
		debug.SetMemoryLimit(int64(ms.Sys-ms.HeapReleased) + 64<<10)
	}

	if stats != nil {
		m.stats = newReportFile(stats)
	}
	return serveAll(signals, m, ln, log)
}

// await runs f, which may hang, for example on a network file system. It returns
// the signal that stops the tracker before f ends, or nil. After a signal f has
// another second, because an error in the configuration matters more. If f ends in
// this time, the signal goes back to signals.
func await(signals chan os.Signal, f func()) os.Signal {
	done := make(chan struct{})
	go func() {
		f()
		close(done)
	}()
	for {
		var sig os.Signal
		select {
		case <-done:
			return nil
		case sig = <-signals:
		}
		if sig == syscall.SIGHUP || sig == sys.SummarySignal {
			continue
		}
		grace := timer.New(time.Second)
		defer grace.Stop()
		select {
		case <-done:
		case <-grace.C:
			return sig
		}
		select {
		case signals <- sig:
		default: // others wait already
		}
		return nil
	}
}

// serveAll runs the workers and the maintenance loop until a signal arrives or a
// socket fails.
func serveAll(signals <-chan os.Signal, m *maintenance, ln *linkMonitor, log *logger.Logger) error {
	running := len(m.workers)
	ended := make(chan error, running) // each worker sends when it ends
	for _, w := range m.workers {
		go func() {
			err := w.run()
			if err != nil {
				err = errors.New("receive on " + ipaddr.Addr{IP: w.sock.IP(), Zone: w.sock.Interface()}.String() + ": " + err.Error())
			}
			ended <- err
		}()
	}
	var quit, hup, ask atomic.Bool
	go m.run(&quit, &hup, &ask)
	ln.start()

	var err error
	for done := false; !done; {
		select {
		case sig := <-signals:
			switch sig {
			case syscall.SIGHUP:
				if m.list == nil {
					log.Info("SIGHUP: nothing to reload, because there is no -whitelist or -blacklist")
				}
				hup.Store(true)
				m.wakeup.ring()
			case sys.SummarySignal:
				ask.Store(true)
				m.wakeup.ring()
			default:
				log.Info("stopping: ", sig.String())
				done = true
			}
		case err = <-ended:
			running--
			done = true
		}
	}
	quit.Store(true)
	m.manager.Stopping()
	m.close()
	m.wakeup.ring() // do not wait for it: it may be in a long tick
	ln.stop()
	for _, w := range m.workers {
		w.sock.Stop()
	}
	for ; running > 0; running-- {
		<-ended
	}
	var total counters
	for _, w := range m.workers {
		w.sock.Close()
		c := w.published.load()
		total.add(&c)
	}
	sum := total.sum()
	log.Info("stopped: ", textutil.Decimal(sum.datagrams), " datagrams, ", textutil.Decimal(sum.in), " bytes in, ",
		textutil.Decimal(sum.out), " out, ", textutil.Decimal(total.sendFailed), " replies that the system refused to send")
	return err
}

// minSecret is the number of characters of a good secret. A shorter one gets a
// warning, because the tracker that this one replaces accepts it.
const minSecret = 32

// signingKey returns the key of the connection IDs.
func signingKey(c *config, log *logger.Logger) ([]byte, error) {
	secret, err := c.readSecret()
	if err != nil {
		return nil, err
	}
	switch {
	case secret == nil:
		secret = make([]byte, 32)
		if err := sys.Random(secret); err != nil {
			return nil, err
		}
		log.Info("no -secret: made a random one; set -secret-file to keep clients connected over a restart")
	case len(secret) < minSecret:
		origin := c.origins["secret"]
		if origin == "" {
			origin = c.origins["secret-file"]
		}
		log.Warn(origin, ": the secret has ", textutil.Count(uint64(len(secret)), "character"), " and is easy to guess; use ", strconv.Itoa(minSecret), " or more")
	}
	return deriveKey(secret), nil
}

// makeTracker makes the tracker and the access list. The list is nil if there is
// none.
func makeTracker(c *config, l *memoryPlan, log *logger.Logger) (*tracker, *accessList, error) {
	seed := make([]byte, 48)
	if err := sys.Random(seed); err != nil {
		return nil, nil, err
	}
	s, err := newStore(l.pages, l.shards, l.quota(), stampUnit(c.interval), seed)
	if err != nil {
		return nil, nil, noMemory(c, l, err)
	}
	t := newTracker(s, c.interval)
	if c.top > 0 {
		s.top = newTopTorrents(c.top)
	}
	t.scrapeLimit = c.scrapeLimit
	if c.whitelist+c.blacklist == "" {
		return t, nil, nil
	}
	list, err := newAccessList(c.whitelist+c.blacklist, c.blacklist != "", l.listMax, l.listFiles, log)
	if err != nil {
		return nil, nil, noMemory(c, l, err)
	}
	s.admit = list.admits
	return t, list, nil
}

// warnMemory logs a warning if the system allows less memory than the plan uses.
func warnMemory(c *config, l *memoryPlan, log *logger.Logger) {
	if text := c.limitWarning(l, sys.MemoryLimit()); text != "" {
		log.Warn(text)
	}
}

func noMemory(c *config, l *memoryPlan, err error) error {
	return errors.New("-memory " + sizeText(l.total) + ": " + err.Error() + " (no room in the address space; a smaller size may fit)")
}

// newHandler makes a worker's handler.
func newHandler(t *tracker, c *config, l *memoryPlan, key []byte, now timestamp) (*handler, error) {
	seed := make([]byte, 80)
	if err := sys.Random(seed); err != nil {
		return nil, err
	}
	h := &handler{
		tracker:  t,
		cookies:  newCookies(key, l.idBits, now),
		connects: newLimiter(l.limits, c.connectLimit, limitWindow, siphash.NewKey(seed)),
		networks: newLimiter(l.limits, max(networkConnects, c.connectLimit), limitWindow, siphash.NewKey(seed[16:])),
		errors:   newLimiter(l.limits, networkErrors, limitWindow, siphash.NewKey(seed[32:])),
		repeats:  newLimiter(l.limits, repeatedErrors, limitWindow, siphash.NewKey(seed[48:])),
		rng:      splitMix64{binary.LittleEndian.Uint64(seed[64:])},
	}
	h.cookies.monotonicDates = c.secret == nil && c.secretFile == ""
	return h, nil
}

// listen opens the sockets. It skips a family that the kernel lacks, if there is
// another address.
func listen(c *config, batch int, log *logger.Logger) ([]*udp.Socket, error) {
	var socks []*udp.Socket
	fail := func(err error) ([]*udp.Socket, error) {
		for _, s := range socks {
			s.Close()
		}
		return nil, err
	}
	for i, addr := range c.listen {
		name := ipaddr.Endpoint{Addr: addr, Port: c.port}.String()
		index, err := interfaceNumber(addr.Zone)
		if err != nil {
			return fail(errors.New("listen " + name + ": " + err.Error()))
		}
		config := func(batch int, shared bool) udp.Config {
			return udp.Config{IP: addr.IP, Port: c.port, Interface: addr.Zone, Index: index, Batch: batch, Shared: shared, Sizes: datagramSizes,
				Failed: func(err error) {
					log.Warn("listen ", name, ": ", err.Error(), udp.Hint(err), "; trying again")
				}}
		}
		if c.workers > 1 {
			// Sockets that share an address would also share it
			// with another tracker, without any error.
			s, err := udp.Open(config(1, false))
			if err == nil {
				s.Close()
			} else if !udp.NoFamily(err) {
				return fail(errors.New("listen " + name + ": " + err.Error() + udp.Hint(err)))
			}
		}
		for n := 0; n < c.workers; n++ {
			s, err := udp.Open(config(batch, c.workers > 1))
			if err == udp.ErrNoSharing {
				log.Warn("no SO_REUSEPORT on this system: one worker for each address")
				c.workers = 1
				s, err = udp.Open(config(batch, false))
			}
			if udp.NoFamily(err) && (len(socks) > 0 || i+1 < len(c.listen)) {
				log.Warn("no ", ipaddr.FamilyName(addr.Is6()), " on this system: not listening on ", name)
				break
			}
			if err != nil {
				return fail(errors.New("listen " + name + ": " + err.Error() + udp.Hint(err)))
			}
			socks = append(socks, s)
			switch {
			case n > 0:
			case s.InterfaceMissing():
				log.Warn("waiting for the interface ", addr.Zone, ": not listening on ", name, " yet")
			case s.Freebound():
				log.Warn("waiting for the address ", addr.String(), ": no interface has it, not listening on ", name, " yet")
			case addr.Is6() && addr.IsUnspecified():
				log.Info("listening on ", name, " (IPv6 only), receive buffer ", sizeText(s.ReceiveBuffer()))
			default:
				log.Info("listening on ", name, ", receive buffer ", sizeText(s.ReceiveBuffer()))
			}
		}
	}
	return socks, nil
}
