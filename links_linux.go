//go:build linux && !portable

package main

import (
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"github.com/fabricionaweb/pico-tracker/internal/logger"
	"github.com/fabricionaweb/pico-tracker/internal/rtnetlink"
	"github.com/fabricionaweb/pico-tracker/internal/udp"
)

// This file owns what follows the machine's interfaces, as they, their
// addresses and the default routes come and go: the sockets that are meant for
// one interface, the uplinks that replies keep to, and the address that the
// world knows us by. Nothing of it is asked by time where netlink is to be had.

// links is what is followed.
type links struct {
	kernel  *rtnetlink.Conn // nil: netlink is not to be had
	socks   []*udp.Socket
	devices []device
	uplinks [2]udp.Uplinks // of IPv4, of IPv6
	tracker *tracker       // to be told the external addresses; nil: they are given
	log     *logger.Logger
	quit    atomic.Bool
	done    sync.WaitGroup

	external [2]ipaddr.Addr // the last that was found: IPv4, IPv6; ip "" is none
	known    bool           // that has been looked at
}

// device is an interface by name, with the number that it had.
type device struct {
	name  string
	index uint32
}

// lookEvery is how often interfaces are looked at without netlink.
const lookEvery = 2 * time.Second

// newLinks makes what follows the interfaces, and looks at them a first time.
// With a tracker it is told the addresses of the interface with the default
// route.
func newLinks(socks []*udp.Socket, t *tracker, log *logger.Logger) *links {
	l := &links{socks: socks, tracker: t, log: log}
	for _, s := range socks {
		if s.V6() {
			s.SetUplinks(&l.uplinks[1])
		} else {
			s.SetUplinks(&l.uplinks[0])
		}
		l.watch(s.Interface(), s.Index())
	}
	var err error
	if l.kernel, err = rtnetlink.Open(); err != nil {
		l.without(err)
	}
	l.look()
	l.known = true
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

// watch adds an interface, once.
func (l *links) watch(name string, index uint32) {
	for i := range l.devices {
		if l.devices[i].name == name {
			return
		}
	}
	if name != "" {
		l.devices = append(l.devices, device{name, index})
	}
}

// without says what can't be done for lack of netlink. That replies keep to
// their uplink is no one's express wish.
func (l *links) without(err error) {
	if len(l.devices) > 0 {
		l.log.Warn("netlink: ", err.Error(), ": the interfaces are looked at every ", strconv.Itoa(int(lookEvery/time.Second)), " s")
	}
	if l.tracker != nil {
		l.log.Warn("netlink: ", err.Error(), ": -external-ip auto finds no address; give it instead")
	}
}

// start follows until stop.
func (l *links) start() {
	if l.kernel != nil || len(l.devices) > 0 {
		l.done.Add(1)
		go l.run()
	}
}

func (l *links) stop() {
	l.quit.Store(true)
	if l.kernel != nil { // else it may be asleep
		l.kernel.Wake()
		l.done.Wait()
		l.kernel.Close()
	}
}

func (l *links) run() {
	defer l.done.Done()
	for {
		if l.kernel == nil || l.kernel.Wait() != nil {
			time.Sleep(lookEvery)
		}
		if l.quit.Load() {
			return
		}
		l.look()
	}
}

// look finds out how things are.
func (l *links) look() {
	for i := range l.devices {
		l.lookAt(&l.devices[i])
	}
	if l.kernel != nil {
		l.lookUp(0)
		l.lookUp(1)
	}
}

// lookAt has the sockets of an interface follow it.
func (l *links) lookAt(d *device) {
	index, err := rtnetlink.InterfaceIndex(d.name)
	if err != nil {
		return
	}
	switch {
	case index == d.index:
		// A socket may have missed it all the same.
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

// lookUp finds the uplinks of an address family, 1 for IPv6, and the address
// that the world knows us by if that is wanted.
func (l *links) lookUp(family int) {
	v6 := family == 1
	var indexes []uint32
	var best, least uint32
	err := l.kernel.DefaultRoutes(v6, func(index, metric uint32) {
		if len(indexes) == 0 || metric < least {
			best, least = index, metric
		}
		if !slices.Contains(indexes, index) {
			indexes = append(indexes, index)
		}
	})
	if err != nil {
		return // what was true a moment ago is the best guess
	}
	l.uplinks[family].Set(indexes)
	if l.tracker == nil {
		return
	}
	// The first that is global or else, to be named in the log, the first.
	var found ipaddr.Addr
	if err = l.kernel.Addresses(v6, best, func(ip []byte) {
		if found.IP == "" || !isGlobal(found.IP) && isGlobal(string(ip)) {
			found.IP = string(ip)
		}
	}); err != nil || l.known && found == l.external[family] {
		return
	}
	l.external[family] = found
	switch {
	case found.IP == "":
		l.log.Info("external ", ipaddr.FamilyName(v6), " address: none")
	case isGlobal(found.IP):
		l.log.Info("external ", ipaddr.FamilyName(v6), " address: ", found.String())
	default:
		l.log.Warn("external ", ipaddr.FamilyName(v6), " address: none, for ", found.String(), " is not a global one")
	}
	// What is not global counts as none.
	var ip4 [4]byte
	var ip6 [16]byte
	copy(ip4[:], l.external[0].IP)
	copy(ip6[:], l.external[1].IP)
	l.tracker.setExternal(ip4, ip6)
}
