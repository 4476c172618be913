//go:build linux && !portable

package main

import (
	"slices"
	"strconv"
	"sync"
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

// linkMonitor is what is followed.
type linkMonitor struct {
	kernel  *rtnetlink.Conn // nil: netlink is not to be had
	socks   []*udp.Socket
	devices []device
	uplinks [2]udp.Uplinks // of IPv4, of IPv6
	tracker *tracker       // to be told the gateway, and the external addresses
	auto    bool           // the external addresses are wanted: they are not given
	log     *logger.Logger
	quit    chan struct{} // closed by stop
	done    sync.WaitGroup

	best        [2]uint32      // the interface of the best default route: IPv4, IPv6
	external    [2]ipaddr.Addr // its address that was found last; IP "" is none
	initialized bool           // the addresses have been looked at
	throttle    changeThrottle
}

// device is an interface by name, with the number that it had.
type device struct {
	name  string
	index uint32
}

const (
	// pollInterval is how often interfaces are looked at without netlink.
	pollInterval = 2 * time.Second
	// After a look the next one waits, so that a network that changes all the
	// time costs a twentieth of a processor at most: a router may have to list
	// all routes of the internet.
	minPause    = 200 * time.Millisecond
	pauseFactor = 20 // the time that the look took
	maxLines    = 6  // changes of an address that are logged, in
	linePeriod  = 10 * time.Minute
)

// changeThrottle limits log lines about changes that others cause: routers on the
// link can change addresses as often as they like.
type changeThrottle struct {
	since   time.Time // of the first line of a period
	lines   int       // logged in it
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

// newLinkMonitor makes what follows the interfaces, and looks at them a first time.
// The tracker is told the gateway and, with auto, the addresses of the interface
// with the default route.
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

// addInterface adds an interface, once.
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
		l.log.Warn("netlink: ", err.Error(), ": the interfaces are looked at every ", strconv.Itoa(int(pollInterval/time.Second)), " s")
	}
	if l.auto {
		l.log.Warn("netlink: ", err.Error(), ": -external-ip auto finds no address; give it instead")
	}
}

// start follows until stop.
func (l *linkMonitor) start() {
	if l.kernel != nil || len(l.devices) > 0 {
		l.done.Add(1)
		go l.run()
	}
}

func (l *linkMonitor) stop() {
	close(l.quit)
	if l.kernel != nil {
		l.kernel.Wake()
	}
	l.done.Wait()
	if l.kernel != nil {
		l.kernel.Close()
	}
}

func (l *linkMonitor) run() {
	defer l.done.Done()
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

// stopped waits, and reports whether stop was called.
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

// refresh looks at what may have changed.
func (l *linkMonitor) refresh(changes rtnetlink.Changes) {
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

// refreshInterface has the sockets of an interface follow it.
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
	if err == nil { // else what was true a moment ago is the best guess
		l.uplinks[family].Set(indexes)
		l.best[family] = best
		if family == 0 && l.tracker != nil {
			l.tracker.setGateway(gateway)
		}
	}
}

// refreshAddress finds the public address of the best uplink of an address
// family.
func (l *linkMonitor) refreshAddress(family int) {
	v6 := family == 1
	// The first that is global or else, to be named in the log, the first.
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
	// What is not global counts as none.
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
