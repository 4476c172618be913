package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// This file keeps one mapping: it asks the protocols one after another, renews
// the mapping, and decides when to try again.

// A protocol asks one router for one mapping. One goroutine calls its methods.
type protocol interface {
	// request creates or renews the mapping. want is the public port to ask for.
	request(ctx context.Context, want uint16) (lease, error)
	// remove deletes the mapping that request created.
	remove(ctx context.Context) error
}

// A lease is a mapping that the router confirmed.
type lease struct {
	public    netip.AddrPort
	lifetime  time.Duration
	restarted bool // the router had lost the mapping since the last request
}

// A refusal is a router's answer that is not a yes.
type refusal string

func (r refusal) Error() string { return "refused: " + string(r) }

const (
	// Pauses after failures, when there is no mapping: 10 s, 20 s, and so on.
	firstPause = 10 * time.Second
	longPause  = 15 * time.Minute
	// Without a default route nothing is sent, so tries are cheap. A router
	// that boots later than this machine is found soon.
	noRoutePause = time.Minute
	// Pauses after failures while the mapping lasts.
	renewPause = 5 * time.Second
	// No router makes the program ask more often than this.
	minPause = time.Second

	// removeTime limits how long a stop takes.
	removeTime = 3 * time.Second

	minLifetime = 2 * time.Minute
	maxLifetime = 24 * time.Hour

	// minOtherPort is the lowest public port that is chosen at random.
	minOtherPort = 20000
)

// protocolNames are the protocols in the order in which they are tried. PCP
// names the address, the port and the lifetime in one reply, so it is the first.
var protocolNames = []string{"pcp", "nat-pmp", "upnp"}

// titles are the names of the protocols in messages.
var titles = map[string]string{"pcp": "PCP", "nat-pmp": "NAT-PMP", "upnp": "UPnP"}

// A mapper keeps the mapping of one port.
type mapper struct {
	config *config
	log    *logger
	now    func() time.Time
	find   func(netip.Addr) (router, error)
	dial   func(name string, r router) protocol

	router    router // the zero value: none found
	protocols map[string]protocol
	current   string // the protocol of the mapping; "": no mapping
	public    netip.AddrPort
	expires   time.Time
	failures  int    // since the last success
	told      string // the failure that was logged last
}

func newMapper(c *config, l *logger, n nonce) *mapper {
	m := &mapper{config: c, log: l, now: time.Now, find: findRouter}
	m.dial = func(name string, r router) protocol {
		switch name {
		case "pcp":
			return &pcp{router: r, port: c.port, lifetime: c.lifetime, nonce: n, now: m.now}
		case "nat-pmp":
			return &natPMP{router: r, port: c.port, lifetime: c.lifetime, now: m.now}
		}
		return newUPnP(r, c.port, c.lifetime, m.now)
	}
	return m
}

// step tries once to create or renew the mapping, and returns how long to wait
// until the next try.
func (m *mapper) step(ctx context.Context) time.Duration {
	r, err := m.find(m.config.gateway)
	if err != nil {
		return m.failed(err, noRoutePause)
	}
	if r != m.router {
		m.change(r)
	}
	l, name, err := m.ask(ctx)
	if ctx.Err() != nil {
		return 0
	}
	if err != nil {
		return m.failed(err, longPause)
	}
	m.succeeded(name, l)
	return max(min(m.config.check, l.lifetime/2), minPause)
}

// change starts again with another router, or with another address of this host.
func (m *mapper) change(r router) {
	if m.router.gateway.IsValid() {
		m.log.info("the router is now %v, and this host is %v", r.gateway, r.local)
	} else {
		m.log.debug("router %v, this host %v", r.gateway, r.local)
	}
	m.router = r
	m.forget()
	m.protocols = map[string]protocol{}
	for _, name := range m.config.protocols {
		m.protocols[name] = m.dial(name, r)
	}
}

// forget drops the mapping, which the router has no more or will let expire.
func (m *mapper) forget() {
	m.current, m.public = "", netip.AddrPort{}
	m.publish()
}

// ask tries the protocols one after another, beginning with that of the mapping.
func (m *mapper) ask(ctx context.Context) (lease, string, error) {
	var failures []string
	answered := false
	for _, name := range m.order() {
		l, err := m.protocols[name].request(ctx, m.want())
		if ctx.Err() != nil {
			return lease{}, "", ctx.Err()
		}
		if err == nil {
			err = l.check()
			if err == nil {
				return l, name, nil
			}
			// The mapping leads nowhere. An error would change nothing.
			_ = m.protocols[name].remove(ctx)
		}
		m.log.debug("%s: %v", titles[name], err)
		answered = answered || !errors.Is(err, errNoAnswer)
		failures = append(failures, titles[name]+": "+err.Error())
	}
	if !answered {
		return lease{}, "", fmt.Errorf("the router %v does not answer by %s: turn on port mapping (UPnP, NAT-PMP or PCP) in its settings",
			m.router.gateway, join(m.config.protocols))
	}
	return lease{}, "", fmt.Errorf("the router %v does not forward the port (%s)", m.router.gateway, strings.Join(failures, "; "))
}

// check returns an error if a router's answer is useless.
func (l lease) check() error {
	switch {
	case l.public.Port() == 0 || l.lifetime <= 0:
		return errors.New("the answer makes no sense: port or lifetime is 0")
	case l.public.Addr().IsUnspecified():
		return errors.New("the router has no public address now")
	case !isPublic(l.public.Addr()):
		return fmt.Errorf("the router's own address %v is not public: another router or the provider's NAT is in front of it", l.public.Addr())
	}
	return nil
}

// order is the protocols to try, that of the mapping first.
func (m *mapper) order() []string {
	if m.current == "" {
		return m.config.protocols
	}
	names := []string{m.current}
	for _, name := range m.config.protocols {
		if name != m.current {
			names = append(names, name)
		}
	}
	return names
}

// want is the public port to ask for. A port that was named in the log is in
// torrents now, so it is kept.
func (m *mapper) want() uint16 {
	if m.public.IsValid() {
		return m.public.Port()
	}
	return m.config.publicPort
}

func (m *mapper) succeeded(name string, l lease) {
	m.expires = m.now().Add(l.lifetime)
	recovered := m.told != ""
	m.failures, m.told = 0, ""
	if l.restarted {
		m.log.info("the router %v restarted or lost the mapping: the mapping is there again", m.router.gateway)
	}
	if m.current == name && m.public == l.public {
		if recovered {
			m.log.info("the router %v answers again", m.router.gateway)
		}
		m.log.debug("%s: %v renewed for %v", titles[name], l.public, l.lifetime.Round(time.Second))
		return
	}
	m.current, m.public = name, l.public
	m.log.info("public address %v by %s: the router %v forwards it to %v", l.public, titles[name], m.router.gateway,
		netip.AddrPortFrom(m.router.local, m.config.port))
	if want := m.config.publicPort; l.public.Port() != want {
		m.log.warn("public port %d is not available: the router gave port %d", want, l.public.Port())
	}
	m.log.info("use udp://%v/announce in torrents", l.public)
	m.publish()
}

// failed notes a failure and returns the pause after it. longest limits the
// pause if there is no mapping.
func (m *mapper) failed(err error, longest time.Duration) time.Duration {
	lasts := m.current != "" && m.now().Before(m.expires)
	if m.current != "" && !lasts {
		m.log.warn("the mapping of %v has expired", m.public)
		m.forget()
	}
	first, most := firstPause, longest
	if lasts {
		first, most = renewPause, m.config.check
	}
	pause := first << min(m.failures, 16)
	pause = max(min(pause, most), minPause)
	m.failures++
	text := err.Error()
	if text == m.told {
		m.log.debug("%s; next try in %v", text, pause)
		return pause
	}
	m.told = text
	if lasts {
		m.log.warn("%s; %v stays published until %s", text, m.public, m.expires.UTC().Format(time.DateTime))
	} else {
		m.log.warn("%s; tries go on, with pauses up to %v", text, longest)
	}
	return pause
}

// publish writes the address for the tracker.
func (m *mapper) publish() {
	if m.config.file == "" {
		return
	}
	if err := writeAddress(m.config.file, m.public); err != nil {
		m.log.error("%v", err)
	}
}

// stop removes the mapping from the router and the address from the file.
func (m *mapper) stop() {
	removed := true
	if m.current != "" {
		ctx, cancel := context.WithTimeout(context.Background(), removeTime)
		defer cancel()
		if err := m.protocols[m.current].remove(ctx); err != nil {
			m.log.warn("the mapping of %v stays until it expires: %v", m.public, err)
			removed = false
		} else {
			m.log.info("removed the mapping of %v", m.public)
		}
	}
	if m.config.file != "" {
		if err := removeFiles(m.config.file, removed); err != nil {
			m.log.error("%v", err)
		}
	}
}

// run keeps the mapping until ctx is done. hints ask for a try at once.
func (m *mapper) run(ctx context.Context, hints <-chan string) {
	defer m.stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case why := <-hints:
			m.log.debug("%s: asking the router now", why)
			m.failures = 0
		case <-timer.C:
		}
		timer.Reset(m.step(ctx))
	}
}

// join writes names of protocols as a list: "PCP, NAT-PMP or UPnP".
func join(names []string) string {
	var all strings.Builder
	for i, name := range names {
		switch {
		case i == 0:
		case i == len(names)-1:
			all.WriteString(" or ")
		default:
			all.WriteString(", ")
		}
		all.WriteString(titles[name])
	}
	return all.String()
}
