package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/siphash"
)

// This file has what the tests of the tracker share:
//
//	service   a tracker without sockets, whose clock the test sets
//	fields    an announce, built by hand and not with package bep15
//	instance  the whole program in this process, through real sockets
//	client    a UDP client of an instance
//	logLines  a log that a test can read while it is written

// processArgs is the environment variable with the arguments of the program.
const processArgs = "PICO_TEST_ARGS"

// beforeMain runs before the program in such a process.
var beforeMain = func() {}

// TestMain runs the program instead of the tests in a process that startProcess
// has started.
func TestMain(m *testing.M) {
	if args := os.Getenv(processArgs); args != "" {
		os.Args = append(os.Args[:1], strings.Split(args, "\n")...)
		beforeMain()
		main()
	}
	os.Exit(m.Run())
}

// host is a client's address and UDP port.
type host = netip.AddrPort

// service is a tracker with a desk for each family and a clock that is set by
// hand. Whatever it is asked, it checks the rules that hold for every packet.
type service struct {
	*tracker
	t      testing.TB
	v4, v6 *handler
	now    timestamp
	proved map[netip.Addr]bool // has been sent an ID
	last   verdict
	link   uint32 // that the requests of link-local hosts come from
}

const testInterval seconds = 900

const testWall = 1_700_000_000

func newTestHandler(tr *tracker, key []byte, now timestamp) *handler {
	seed := bytes.Repeat([]byte{0x3d, 0x91}, 8)
	return &handler{
		tracker:  tr,
		cookies:  newCookies(key, 6, now),
		connects: newLimiter(1<<12, defaultConnects, limitWindow, siphash.NewKey(seed)),
		networks: newLimiter(1<<12, networkConnects, limitWindow, siphash.NewKey(seed)),
		errors:   newLimiter(1<<12, networkErrors, limitWindow, siphash.NewKey(seed)),
		repeats:  newLimiter(1<<12, repeatedErrors, limitWindow, siphash.NewKey(seed)),
	}
}

// newServiceOf makes a service over a store of that many pages.
func newServiceOf(t testing.TB, pages int, secret string) *service {
	t.Helper()
	st, err := newStore(pages, min(pages, 2), math.MaxUint32, stampUnit(testInterval), testSeed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(st) })
	tr := newTracker(st, testInterval)
	now := timestamp{mono: 1000, wall: testWall}
	key := deriveKey([]byte(secret))
	return &service{
		tracker: tr,
		t:       t,
		v4:      newTestHandler(tr, key, now),
		v6:      newTestHandler(tr, key, now),
		now:     now,
		proved:  map[netip.Addr]bool{},
	}
}

func newService(t testing.TB) *service { return newServiceOf(t, 64, "secret") }

// pass lets time go by, on both clocks.
func (s *service) pass(n seconds) {
	s.now.mono += n
	s.now.wall += uint32(n)
}

func (s *service) handlerOf(h host) *handler {
	if h.Addr().Is6() {
		return s.v6
	}
	return s.v4
}

// ask returns the reply to a request from h, or nil if there is none.
func (s *service) ask(h host, req []byte) []byte {
	s.t.Helper()
	before := "in front"
	dst := append(make([]byte, 0, len(before)+maxReply), before...)
	sent := bytes.Clone(req)
	d := s.handlerOf(h)
	var out []byte
	if h.Addr().Is6() {
		key := keyOf[key6](h)
		out, s.last = handle(d, dst, req, &key, s.link, s.now)
	} else {
		key := keyOf[key4](h)
		out, s.last = handle(d, dst, req, &key, s.link, s.now)
	}
	if !bytes.Equal(sent, req) {
		s.t.Fatalf("the request was written to: %x, was %x", req, sent)
	}
	if &out[0] != &dst[0] || string(out[:len(before)]) != before {
		s.t.Fatalf("the reply was not appended: %x", out)
	}
	reply := out[len(before):]
	if (len(reply) > 0) != (s.last < dropShort) {
		s.t.Fatalf("verdict %q with %d bytes", verdictInfo[s.last].name, len(reply))
	}
	if len(reply) == 0 {
		return nil
	}
	s.checkReply(h, req, reply)
	return reply
}

// checkReply holds a reply against the rules for every packet.
func (s *service) checkReply(h host, req, reply []byte) {
	s.t.Helper()
	if len(reply) < 8 || len(reply) > 1232 { // what every IPv6 link carries
		s.t.Fatalf("a reply of %d bytes to %x", len(reply), req)
	}
	if !bytes.Equal(reply[4:8], req[12:16]) {
		s.t.Fatalf("transaction %x, want %x", reply[4:8], req[12:16])
	}
	if !s.proved[h.Addr()] && len(reply) > len(req) {
		s.t.Fatalf("%d bytes to a source that has proved nothing and sent %d: %x", len(reply), len(req), reply)
	}
	action := binary.BigEndian.Uint32(reply)
	if want := binary.BigEndian.Uint32(req[8:]); action != want && action != 3 {
		s.t.Fatalf("action %d in the reply to action %d", action, want)
	}
	if action == 0 {
		s.proved[h.Addr()] = true
	}
	s.silentTo(h, reply)
}

// silentTo fails where the tracker answers what it, or another, has sent.
func (s *service) silentTo(h host, reply []byte) {
	s.t.Helper()
	now, errors := s.now, *s.handlerOf(h).errors
	rows := slices.Clone(errors.rows)
	var out []byte
	if h.Addr().Is6() {
		key := keyOf[key6](h)
		out, _ = handle(s.v6, nil, reply, &key, 0, now)
	} else {
		key := keyOf[key4](h)
		out, _ = handle(s.v4, nil, reply, &key, 0, now)
	}
	if len(out) > 0 {
		s.t.Fatalf("the reply %x makes a tracker answer %x", reply, out)
	}
	copy(errors.rows, rows)
}

// keyOf is an address and port in wire form.
func keyOf[K peerKey](h host) (key K) {
	b := binary.BigEndian.AppendUint16(h.Addr().AsSlice(), h.Port())
	for i := range b {
		key[i] = b[i]
	}
	return key
}

// families runs a test for IPv4 and IPv6 with a service and three hosts, each
// on a network of its own.
func families(t *testing.T, f func(t *testing.T, s *service, a, b, c host)) {
	t.Helper()
	t.Run("IPv4", func(t *testing.T) {
		f(t, newService(t), netip.MustParseAddrPort("192.0.2.1:1001"),
			netip.MustParseAddrPort("198.51.100.2:1002"), netip.MustParseAddrPort("203.0.113.3:1003"))
	})
	t.Run("IPv6", func(t *testing.T) {
		f(t, newService(t), netip.MustParseAddrPort("[2001:db8:1::a]:1001"),
			netip.MustParseAddrPort("[2001:db8:2::b]:1002"), netip.MustParseAddrPort("[2001:db8:3::c]:1003"))
	})
}

// bin reads hexadecimal digits, with spaces for the eye.
func bin(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

func u32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func concat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

var transaction = bin("00c0ffee")

func connectRequest() []byte { return concat(bin("0000041727101980 00000000"), transaction) }

// connectID has h connect and returns its connection ID in bytes.
func (s *service) connectID(h host) []byte {
	s.t.Helper()
	reply := s.ask(h, connectRequest())
	if len(reply) != 16 || !bytes.Equal(reply[:8], concat(u32(0), transaction)) || bytes.Equal(reply[8:], make([]byte, 8)) {
		s.t.Fatalf("connect: %x", reply)
	}
	return reply[8:]
}

// fields are those of an announce which the tracker looks at, or might.
type fields struct {
	id      []byte
	hash    int
	peerID  byte
	left    uint64
	event   uint32
	ip      uint32
	want    int32
	port    uint16
	options []byte
}

func (f fields) bytes() []byte {
	return concat(f.id, u32(1), transaction, testHash(f.hash)[:],
		bytes.Repeat([]byte{f.peerID}, 20),
		binary.BigEndian.AppendUint64(nil, 4711), // downloaded
		binary.BigEndian.AppendUint64(nil, f.left),
		binary.BigEndian.AppendUint64(nil, 4712), // uploaded
		u32(f.event), u32(f.ip), u32(0x5eed) /* key */, u32(uint32(f.want)),
		binary.BigEndian.AppendUint16(nil, f.port), f.options)
}

// leech and seed are what a client says that has, or lacks, nothing.
func leech(h host) fields { return fields{port: h.Port(), left: 1, want: -1} }
func seed(h host) fields  { return fields{port: h.Port(), want: -1} }

// announcement is a decoded reply.
type announcement struct {
	interval, leechers, seeders uint32
	peers                       []host
}

// announce connects, announces, and decodes the reply.
func (s *service) announce(h host, f fields) announcement {
	s.t.Helper()
	if f.id == nil {
		f.id = s.id(h)
	}
	return s.decode(h, s.ask(h, f.bytes()))
}

// id is an ID for h without a connect.
func (s *service) id(h host) []byte {
	s.proved[h.Addr()] = true
	var addr []byte
	if h.Addr().Is6() {
		key := keyOf[key6](h)
		if s.scopes {
			normalizeSource(&key, s.link, s.store.isolated)
		}
		addr = address(&key)
	} else {
		key := keyOf[key4](h)
		if s.scopes {
			normalizeSource(&key, s.link, s.store.isolated)
		}
		addr = address(&key)
	}
	return binary.BigEndian.AppendUint64(nil, s.handlerOf(h).cookies.issue(addr, s.now))
}

func (s *service) decode(h host, reply []byte) announcement {
	s.t.Helper()
	if len(reply) < 20 || !bytes.Equal(reply[:8], concat(u32(1), transaction)) {
		s.t.Fatalf("announce: %x (%s)", reply, verdictInfo[s.last].name)
	}
	a := announcement{
		interval: binary.BigEndian.Uint32(reply[8:]),
		leechers: binary.BigEndian.Uint32(reply[12:]),
		seeders:  binary.BigEndian.Uint32(reply[16:]),
	}
	n := len(h.Addr().AsSlice())
	rest := reply[20:]
	if len(rest)%(n+2) != 0 {
		s.t.Fatalf("%d bytes of peers", len(rest))
	}
	for ; len(rest) > 0; rest = rest[n+2:] {
		addr, _ := netip.AddrFromSlice(rest[:n])
		a.peers = append(a.peers, netip.AddrPortFrom(addr, binary.BigEndian.Uint16(rest[n:])))
	}
	slices.SortFunc(a.peers, host.Compare)
	return a
}

// expect compares counts and peers.
func (a announcement) expect(t testing.TB, leechers, seeders uint32, peers ...host) {
	t.Helper()
	slices.SortFunc(peers, host.Compare)
	if a.leechers != leechers || a.seeders != seeders || !slices.Equal(a.peers, peers) {
		t.Fatalf("%d leechers, %d seeders, %v; want %d, %d, %v", a.leechers, a.seeders, a.peers, leechers, seeders, peers)
	}
}

func scrapeRequest(id []byte, hashes ...int) []byte {
	req := concat(id, u32(2), transaction)
	for _, h := range hashes {
		req = append(req, testHash(h)[:]...)
	}
	return req
}

// scraped has a scrape of one torrent answered: seeders, completed, leechers.
func (s *service) scraped(h host, hash int) [3]uint32 {
	s.t.Helper()
	reply := s.ask(h, scrapeRequest(s.id(h), hash))
	if len(reply) != 20 || !bytes.Equal(reply[:8], concat(u32(2), transaction)) {
		s.t.Fatalf("scrape: %x", reply)
	}
	return [3]uint32{binary.BigEndian.Uint32(reply[8:]), binary.BigEndian.Uint32(reply[12:]), binary.BigEndian.Uint32(reply[16:])}
}

func errorReply(text string) []byte { return concat(u32(3), transaction, []byte(text)) }

func (s *service) expectReply(h host, req, want []byte) {
	s.t.Helper()
	if got := s.ask(h, req); !bytes.Equal(got, want) {
		s.t.Fatalf("%s asks %x\n got %x %q\nwant %x %q", h, req, got, got, want, want)
	}
}

func (s *service) expectSilence(h host, req []byte) {
	s.t.Helper()
	if got := s.ask(h, req); got != nil {
		s.t.Fatalf("%s asks %x: got %x, want nothing", h, req, got)
	}
}

// deadline is how long a test waits for what must come at once.
const deadline = 20 * time.Second

// instance is a program that is running.
type instance struct {
	t       testing.TB
	port    uint16
	signals chan os.Signal
	log     *logLines
	done    chan int
	code    int
}

// freePort is a UDP port that no one uses on either loopback address.
func freePort(t testing.TB) uint16 {
	t.Helper()
	for try := 0; try < 100; try++ {
		a, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		port := a.LocalAddr().(*net.UDPAddr).Port
		b, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback, Port: port})
		a.Close()
		if err == nil {
			b.Close()
			return uint16(port)
		}
	}
	t.Fatal("no port is free on 127.0.0.1 and [::1] (is there no IPv6?)")
	return 0
}

// startProgram runs the program with a port of its own until the test ends.
func startProgram(t testing.TB, args ...string) *instance {
	t.Helper()
	for {
		p := &instance{t: t, port: freePort(t), signals: make(chan os.Signal, 4), log: &logLines{}, done: make(chan int, 1)}
		all := append([]string{"-port", strconv.Itoa(int(p.port)), "-listen", "127.0.0.1,[::1]", "-memory", "32M", "-workers", "1"}, args...)
		ended := make(chan struct{})
		go func() {
			p.done <- run(p.signals, all, nil, p.log, p.log)
			close(ended)
		}()
		if p.log.await(t, ended, "[INFO] memory ") {
			t.Cleanup(func() { p.stop(syscall.SIGTERM) })
			return p
		}
		// Somebody else may have taken the port in between.
		if !strings.Contains(p.log.String(), "in use") {
			t.Fatalf("it does not start:\n%s", p.log)
		}
	}
}

// stop ends the program, if it has not ended, and returns its exit code.
func (p *instance) stop(sig os.Signal) int {
	p.t.Helper()
	if p.done != nil {
		p.signals <- sig
		select {
		case p.code = <-p.done:
		case <-time.After(deadline):
			p.t.Fatalf("it does not stop:\n%s", p.log)
		}
		p.done = nil
	}
	return p.code
}

// await waits until the program has logged all the parts.
func (p *instance) await(parts ...string) {
	p.t.Helper()
	p.log.await(p.t, nil, parts...)
}

// client is a connected socket: it gets only what comes from the address that
// it asks.
type client struct {
	t    testing.TB
	conn *net.UDPConn
	self host
}

// dial makes a client for a tracker at addr.
func (p *instance) dial(addr string) *client { return dialClient(p.t, addr, p.port) }

func dialClient(t testing.TB, addr string, port uint16) *client {
	t.Helper()
	to := netip.AddrPortFrom(netip.MustParseAddr(addr), port)
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{t, conn, conn.LocalAddr().(*net.UDPAddr).AddrPort()}
}

func (c *client) send(req []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(req); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) receive() []byte {
	c.t.Helper()
	b := make([]byte, 4096)
	if err := c.conn.SetReadDeadline(time.Now().Add(deadline)); err != nil {
		c.t.Fatal(err)
	}
	n, err := c.conn.Read(b)
	if err != nil {
		c.t.Fatalf("no reply: %v", err)
	}
	return b[:n]
}

func (c *client) ask(req []byte) []byte {
	c.t.Helper()
	c.send(req)
	return c.receive()
}

// settle returns when what was sent before lies in the queue where it belongs:
// what is sent to oneself goes the same way, and comes after. There is a way for
// each processor.
func settle(t testing.TB) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := dialClient(t, "127.0.0.1", conn.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	onEachProcessor(t, func() {
		c.send([]byte("x"))
		if err := conn.SetReadDeadline(time.Now().Add(deadline)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	})
}

// connect returns the connection ID.
func (c *client) connect() []byte {
	c.t.Helper()
	reply := c.ask(connectRequest())
	if len(reply) != 16 || !bytes.Equal(reply[:8], concat(u32(0), transaction)) {
		c.t.Fatalf("connect: %x", reply)
	}
	return reply[8:]
}

// announce connects and announces, and returns the reply.
func (c *client) announce(f fields) []byte {
	c.t.Helper()
	if f.id == nil {
		f.id = c.connect()
	}
	if f.port == 0 {
		f.port = c.self.Port()
	}
	return c.ask(f.bytes())
}

// logLines is a log that a test can read while it is written.
type logLines struct {
	mu     sync.Mutex
	b      bytes.Buffer
	writes chan struct{} // closed by the next write, if someone waits for it
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.writes != nil {
		close(l.writes)
		l.writes = nil
	}
	return l.b.Write(b)
}

// await waits until all parts have been logged, or until ended is closed: then
// it returns false.
func (l *logLines) await(t testing.TB, ended <-chan struct{}, parts ...string) bool {
	t.Helper()
	late := time.After(deadline)
	for {
		l.mu.Lock()
		if l.writes == nil {
			l.writes = make(chan struct{})
		}
		next, text := l.writes, l.b.String()
		l.mu.Unlock()
		missing := slices.IndexFunc(parts, func(p string) bool { return !strings.Contains(text, p) })
		if missing < 0 {
			return true
		}
		select {
		case <-next:
		case <-ended:
			return false
		case <-late:
			t.Fatalf("%q was not logged, but:\n%s", parts[missing], text)
		}
	}
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// take returns the lines so far and forgets them.
func (l *logLines) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := strings.TrimSuffix(l.b.String(), "\n")
	l.b.Reset()
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

// expectLines compares the lines that were logged: each must contain what is
// wanted at its place.
func (l *logLines) expectLines(t testing.TB, want ...string) {
	t.Helper()
	got := l.take()
	ok := len(got) == len(want)
	for i := 0; ok && i < len(got); i++ {
		ok = strings.Contains(got[i], want[i])
	}
	if !ok {
		t.Errorf("logged:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
