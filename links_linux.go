//go:build linux && !portable

package main

import (
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"github.com/fabricionaweb/pico-tracker/internal/logger"
	"github.com/fabricionaweb/pico-tracker/internal/rtnetlink"
	"github.com/fabricionaweb/pico-tracker/internal/timer"
	"github.com/fabricionaweb/pico-tracker/internal/udp"
)

// This file follows changes of interfaces, addresses and default routes. Then
// it updates the sockets that are bound to an interface, the uplinks for
// replies, and the public address. With netlink it does not poll.

// linkMonitor follows interfaces, addresses and routes in its own goroutine.
type linkMonitor struct {
	kernel  *rtnetlink.Conn // nil: netlink is not available
	socks   []*udp.Socket
	devices []device
	uplinks [2]udp.Uplinks // for IPv4 and IPv6
	tracker *tracker       // gets the gateway and the external addresses
	auto    bool           // -external-ip auto: find the external addresses
	log     *logger.Logger
	quit    chan struct{} // closed by stop
	done    chan struct{} // closed when the goroutine ends; nil: there is none

	best        [2]uint32      // the interface of the best default route: IPv4, IPv6
	external    [2]ipaddr.Addr // the last address of this interface; IP "": none
	initialized bool           // the first refresh is done
	refreshes   atomic.Uint32  // how many there were; only tests ask
	throttle    changeThrottle
}

// device is an interface with its last known number.
type device struct {
	name  string
	index uint32
}

const (
	// pollInterval is the time between two refreshes without netlink.
	pollInterval = 2 * time.Second
	// After a refresh the next one waits, so that a network with permanent
	// changes uses at most a twentieth of a processor. A router may have to
	// list all routes of the internet.
	minPause    = 200 * time.Millisecond
	pauseFactor = 20 // times the duration of the refresh
	maxLines    = 6  // logged changes of addresses in a linePeriod
	linePeriod  = 10 * time.Minute
)

// changeThrottle limits log lines about changes of addresses, because a router on
// the link can change them as often as it likes.
type changeThrottle struct {
	since   time.Time // time of the first line of this period
	lines   int       // logged in this period
	skipped int
}

// next reports whether to log a change, and how many were skipped before it.
func (c *changeThrottle) next(now time.Time) (skipped int, ok bool) {
	if c.since.IsZero() || now.Sub(c.since) >= linePeriod {
		c.since, c.lines = now, 0
	}
	if c.lines++; c.lines > maxLines {
		c.skipped++
		return 0, false
	}
	skipped, c.skipped = c.skipped, 0
	return skipped, true
}

// newLinkMonitor makes a linkMonitor and does the first refresh. The tracker gets
// the gateway and, with auto, the addresses of the interface with the default
// route.
func newLinkMonitor(socks []*udp.Socket, t *tracker, auto bool, log *logger.Logger) *linkMonitor {
	l := &linkMonitor{socks: socks, tracker: t, auto: auto, log: log, quit: make(chan struct{})}
	for _, s := range socks {
		if s.V6() {
			s.SetUplinks(&l.uplinks[1])
		} else {
			s.SetUplinks(&l.uplinks[0])
		}
		l.addInterface(s.Interface(), s.Index())
	}
	var err error
	if l.kernel, err = rtnetlink.Open(); err != nil {
		l.logUnavailable(err)
	}
	l.refresh(allChanges)
	l.initialized = true
	return l
}

// interfaceNumber returns the number of an interface by name, 0 if it is missing
// or the name is "".
func interfaceNumber(name string) (uint32, error) {
	if name == "" {
		return 0, nil
	}
	return rtnetlink.InterfaceIndex(name)
}

// addInterface adds an interface if it is new.
func (l *linkMonitor) addInterface(name string, index uint32) {
	for i := range l.devices {
		if l.devices[i].name == name {
			return
		}
	}
	if name != "" {
		l.devices = append(l.devices, device{name, index})
	}
}

// logUnavailable logs what does not work without netlink. It does not mention
// the uplinks of replies, because no flag asks for them.
func (l *linkMonitor) logUnavailable(err error) {
	if len(l.devices) > 0 {
		l.log.Warn("netlink: ", err.Error(), ": the interfaces are checked every ", strconv.Itoa(int(pollInterval/time.Second)), " s")
	}
	if l.auto {
		l.log.Warn("netlink: ", err.Error(), ": -external-ip auto finds no address; give it instead")
	}
}

// start starts the goroutine, which runs until stop.
func (l *linkMonitor) start() {
	if l.kernel != nil || len(l.devices) > 0 {
		l.done = make(chan struct{})
		go l.run()
	}
}

func (l *linkMonitor) stop() {
	close(l.quit)
	if l.kernel != nil {
		l.kernel.Wake()
	}
	if l.done != nil {
		<-l.done
	}
	if l.kernel != nil {
		l.kernel.Close()
	}
}

func (l *linkMonitor) run() {
	defer close(l.done)
	for {
		changes, pause := allChanges, pollInterval
		if l.kernel != nil {
			var err error
			if changes, err = l.kernel.Wait(); err == nil {
				pause = 0
			} else {
				changes = allChanges
			}
		}
		if l.stopped(pause) {
			return
		}
		began := time.Now()
		l.refresh(changes)
		if l.kernel != nil && l.stopped(max(minPause, pauseFactor*time.Since(began))) {
			return
		}
	}
}

// stopped waits. It returns true as soon as stop is called.
func (l *linkMonitor) stopped(wait time.Duration) bool {
	pause := timer.New(wait)
	defer pause.Stop()
	select {
	case <-l.quit:
		return true
	case <-pause.C:
		return false
	}
}

const allChanges = rtnetlink.LinksChanged | rtnetlink.AddressesChanged | rtnetlink.RoutesChanged

// refresh reads again everything that may have changed.
func (l *linkMonitor) refresh(changes rtnetlink.Changes) {
	l.refreshes.Add(1)
	for i := range l.devices {
		l.refreshInterface(&l.devices[i])
	}
	if l.kernel == nil {
		return
	}
	for family := range l.uplinks {
		if changes&rtnetlink.RoutesChanged != 0 {
			l.refreshUplinks(family)
		}
		if l.auto {
			l.refreshAddress(family)
		}
	}
}

// refreshInterface tells the sockets of an interface its current number.
func (l *linkMonitor) refreshInterface(d *device) {
	index, err := rtnetlink.InterfaceIndex(d.name)
	if err != nil {
		return
	}
	switch {
	case index == d.index:
		// A socket may still have missed the change.
	case index == 0:
		l.log.Warn("interface ", d.name, " is gone: waiting for it")
	default:
		l.log.Info("interface ", d.name, " is there")
	}
	d.index = index
	for _, s := range l.socks {
		if s.Interface() == d.name {
			s.SetInterface(index)
		}
	}
}

// refreshUplinks finds the uplinks of an address family, 1 for IPv6.
func (l *linkMonitor) refreshUplinks(family int) {
	var indexes []uint32
	var best, least uint32
	var gateway [4]byte // of IPv4
	err := l.kernel.DefaultRoutes(family == 1, func(index, metric uint32, via []byte) {
		if len(indexes) == 0 || metric < least {
			best, least = index, metric
			gateway = [4]byte{}
			if len(via) == len(gateway) {
				copy(gateway[:], via)
			}
		}
		if !slices.Contains(indexes, index) {
			indexes = append(indexes, index)
		}
	})
	if err == nil { // after an error the old uplinks stay
		l.uplinks[family].Set(indexes)
		l.best[family] = best
		if family == 0 && l.tracker != nil {
			l.tracker.setGateway(gateway)
		}
	}
}

// refreshAddress finds the public address of the best uplink of a family.
func (l *linkMonitor) refreshAddress(family int) {
	v6 := family == 1
	// Take the first global address. If there is none, the log shows the first
	// address.
	var found ipaddr.Addr
	if best := l.best[family]; best != 0 {
		if l.kernel.Addresses(v6, best, func(ip []byte) {
			if found.IP == "" || !isGlobal(found.IP) && isGlobal(string(ip)) {
				found.IP = string(ip)
			}
		}) != nil {
			return
		}
	}
	if l.initialized && found == l.external[family] {
		return
	}
	l.external[family] = found
	l.logAddress(v6, found)
	// An address that is not global counts as none.
	var ip4 [4]byte
	var ip6 [16]byte
	copy(ip4[:], l.external[0].IP)
	copy(ip6[:], l.external[1].IP)
	l.tracker.setExternal(ip4, ip6)
}

// logAddress logs that the public address has changed.
func (l *linkMonitor) logAddress(v6 bool, found ipaddr.Addr) {
	skipped, ok := l.throttle.next(time.Now())
	if !ok {
		return
	}
	more := ""
	if skipped > 0 {
		more = " (" + strconv.Itoa(skipped) + " changes before were not logged)"
	}
	name := "external " + ipaddr.FamilyName(v6) + " address: "
	switch {
	case found.IP == "":
		l.log.Info(name, "none", more)
	case isGlobal(found.IP):
		l.log.Info(name, found.String(), more)
	default:
		l.log.Warn(name, "none, because ", found.String(), " is not a public one", more)
	}
}
