package main

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A fakeProtocol answers with what its fields say.
type fakeProtocol struct {
	lease   lease
	err     error
	asked   []uint16
	removed int
}

func (p *fakeProtocol) request(_ context.Context, want uint16) (lease, error) {
	p.asked = append(p.asked, want)
	return p.lease, p.err
}

func (p *fakeProtocol) remove(context.Context) error {
	p.removed++
	return nil
}

// A fixture is a mapper with a fake router and a clock of its own.
type fixture struct {
	*testing.T
	*mapper
	pcp, upnp *fakeProtocol
	log       bytes.Buffer
	clock     time.Time
	findErr   error
	found     router
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{T: t, clock: time.Unix(1e9, 0), found: testRouter}
	f.pcp = &fakeProtocol{lease: lease{public: netip.MustParseAddrPort("203.0.113.7:1337"), lifetime: time.Hour}}
	f.upnp = &fakeProtocol{err: errNoAnswer}
	c := &config{port: 1337, publicPort: 1337, protocols: []string{"pcp", "upnp"}, check: time.Minute, file: filepath.Join(t.TempDir(), "address")}
	f.mapper = newMapper(c, &logger{out: &f.log, err: &f.log}, testNonce)
	f.now = func() time.Time { return f.clock }
	f.find = func(netip.Addr) (router, error) { return f.found, f.findErr }
	f.dial = func(name string, _ router) protocol {
		if name == "pcp" {
			return f.pcp
		}
		return f.upnp
	}
	return f
}

// expect makes a step and compares the pause after it, the published address
// ("": none) and a part of what it logged ("": nothing is logged).
func (f *fixture) expect(pause time.Duration, published, logged string) {
	f.Helper()
	f.log.Reset()
	if got := f.step(context.Background()); got != pause {
		f.Errorf("pause: got %v, want %v", got, pause)
	}
	text, err := os.ReadFile(f.config.file)
	if err != nil {
		f.Fatal(err)
	}
	_, address, _ := strings.Cut(string(text), "\n")
	if got := strings.TrimSpace(address); got != published {
		f.Errorf("published: got %q, want %q", got, published)
	}
	if got := f.log.String(); !strings.Contains(got, logged) || logged == "" && got != "" {
		f.Errorf("log: got %q, want %q", got, logged)
	}
	f.clock = f.clock.Add(pause)
}

func TestMapperKeepsMapping(t *testing.T) {
	f := newFixture(t)
	f.expect(time.Minute, "203.0.113.7:1337", "use udp://203.0.113.7:1337/announce")
	f.expect(time.Minute, "203.0.113.7:1337", "")
	if len(f.upnp.asked) != 0 {
		t.Errorf("UPnP was asked %d times, want 0: PCP works", len(f.upnp.asked))
	}

	f.pcp.lease.public = netip.MustParseAddrPort("198.51.100.9:1337")
	f.expect(time.Minute, "198.51.100.9:1337", "public address 198.51.100.9:1337 by PCP")

	f.pcp.lease.restarted = true
	f.expect(time.Minute, "198.51.100.9:1337", "restarted or lost the mapping")
	f.pcp.lease.restarted = false

	f.pcp.lease.lifetime = 20 * time.Second
	f.expect(10*time.Second, "198.51.100.9:1337", "")

	f.stop()
	if _, err := os.Stat(f.config.file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the address file after a stop: %v; want none", err)
	}
	if f.pcp.removed != 1 {
		t.Errorf("the mapping was removed %d times, want 1", f.pcp.removed)
	}
}

func TestMapperOtherPort(t *testing.T) {
	f := newFixture(t)
	f.pcp.lease.public = netip.MustParseAddrPort("203.0.113.7:40000")
	f.expect(time.Minute, "203.0.113.7:40000", "public port 1337 is not available: the router gave port 40000")
	f.expect(time.Minute, "203.0.113.7:40000", "")
	if got := f.pcp.asked[1]; got != 40000 {
		t.Errorf("the renewal asks for port %d, want 40000", got)
	}
}

// Failures while the mapping lasts keep the address. Later they take it away.
func TestMapperFailure(t *testing.T) {
	f := newFixture(t)
	f.pcp.lease.lifetime = 2 * time.Minute
	f.expect(time.Minute, "203.0.113.7:1337", "use udp://")
	f.pcp.err = errNoAnswer
	f.expect(5*time.Second, "203.0.113.7:1337", "stays published until")
	f.expect(10*time.Second, "203.0.113.7:1337", "")
	f.expect(20*time.Second, "203.0.113.7:1337", "")
	f.expect(40*time.Second, "203.0.113.7:1337", "")
	f.expect(160*time.Second, "", "has expired")
	f.expect(320*time.Second, "", "")
	f.expect(640*time.Second, "", "")
	f.expect(15*time.Minute, "", "")
	f.expect(15*time.Minute, "", "")
	f.pcp.err = nil
	f.expect(time.Minute, "203.0.113.7:1337", "use udp://")
}

// With no router at all the log says so once, and the pauses grow.
func TestMapperNoRouter(t *testing.T) {
	f := newFixture(t)
	f.pcp.err = errNoAnswer
	f.publish()
	f.expect(10*time.Second, "", "the router 192.168.1.1 does not answer by PCP or UPnP")
	f.expect(20*time.Second, "", "")
	f.findErr = errNoDefaultRoute
	f.expect(40*time.Second, "", "no default route")
	f.expect(time.Minute, "", "")
	f.expect(time.Minute, "", "")
}

func TestMapperUselessAnswers(t *testing.T) {
	tests := []struct {
		name  string
		lease lease
		want  string
	}{
		{name: "private", lease: lease{public: netip.MustParseAddrPort("10.1.2.3:1337"), lifetime: time.Hour}, want: "10.1.2.3 is not public"},
		{name: "carrier", lease: lease{public: netip.MustParseAddrPort("100.64.0.9:1337"), lifetime: time.Hour}, want: "100.64.0.9 is not public"},
		{name: "offline", lease: lease{public: netip.MustParseAddrPort("0.0.0.0:1337"), lifetime: time.Hour}, want: "no public address now"},
		{name: "multicast", lease: lease{public: netip.MustParseAddrPort("224.0.0.1:1337"), lifetime: time.Hour}, want: "not public"},
		{name: "IPv6", lease: lease{public: netip.MustParseAddrPort("[2001:db8::1]:1337"), lifetime: time.Hour}, want: "not public"},
		{name: "port 0", lease: lease{public: netip.MustParseAddrPort("203.0.113.7:0"), lifetime: time.Hour}, want: "makes no sense"},
		{name: "lifetime 0", lease: lease{public: netip.MustParseAddrPort("203.0.113.7:1337")}, want: "makes no sense"},
		{name: "nothing", lease: lease{}, want: "makes no sense"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			f.pcp.lease = test.lease
			f.publish()
			f.expect(10*time.Second, "", test.want)
			if f.pcp.removed != 1 {
				t.Errorf("the mapping was removed %d times, want 1", f.pcp.removed)
			}
		})
	}
}

// The next protocol takes over if the first one fails.
func TestMapperNextProtocol(t *testing.T) {
	f := newFixture(t)
	f.expect(time.Minute, "203.0.113.7:1337", "by PCP")
	f.pcp.err = refusal("not authorized")
	f.upnp.lease, f.upnp.err = f.pcp.lease, nil
	f.expect(time.Minute, "203.0.113.7:1337", "by UPnP")
	before := len(f.pcp.asked)
	f.expect(time.Minute, "203.0.113.7:1337", "")
	if len(f.pcp.asked) != before {
		t.Error("PCP was asked although UPnP has the mapping")
	}
	f.upnp.err = refusal("no more mappings")
	f.expect(5*time.Second, "203.0.113.7:1337", "(UPnP: refused: no more mappings; PCP: refused: not authorized)")
}

// Another router knows nothing of the mapping.
func TestMapperOtherRouter(t *testing.T) {
	f := newFixture(t)
	f.expect(time.Minute, "203.0.113.7:1337", "use udp://")
	f.found.gateway = netip.MustParseAddr("192.168.2.1")
	f.pcp.err = errNoAnswer
	f.expect(10*time.Second, "", "the router is now 192.168.2.1")
}
