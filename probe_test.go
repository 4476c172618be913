package main

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
)

func TestSplitTarget(t *testing.T) {
	for _, c := range []struct {
		in, host string
		port     uint16
	}{
		{"127.0.0.1:6969", "127.0.0.1", 6969},
		{"127.0.0.1", "127.0.0.1", 1337},
		{"[::1]:6969", "::1", 6969},
		{"[::1]", "::1", 1337},
		{"::1", "::1", 1337},
		{"fe80::1%eth0", "fe80::1%eth0", 1337},
		{"[fe80::1%eth0]:80", "fe80::1%eth0", 80},
		{"tracker.example.org:80", "tracker.example.org", 80},
		{"tracker.example.org", "tracker.example.org", 1337},
		{"[localhost]:80", "localhost", 80},
		{"udp://tracker.example.org:80/announce", "tracker.example.org", 80},
		{"udp://[::1]:80", "::1", 80},
		{"", "", 0},
		{":80", "", 0},
		{"[::1", "", 0},
		{"[]:80", "", 0},
		{"[::1]80", "", 0},
		{"[::1]:", "", 0},
		{"host:", "", 0},
		{"host:0", "", 0},
		{"host:65536", "", 0},
		{"host:http", "", 0},
		{"udp://", "", 0},
		{"tracker.example:6969/announce", "tracker.example", 6969},
		{"localhost:1337/", "localhost", 1337},
		{"UDP://tracker.example:80/announce", "tracker.example", 80},
		{"udp://h:81?x=1", "h", 81},
		{"udp://[2001:db8::1]:82#x", "2001:db8::1", 82},
		{"[2001:db8::1]", "2001:db8::1", 1337},
		{"[fe80::1%eth0]:83", "fe80::1%eth0", 83},
		{"http://h:80/announce", "", 0},
		{"wss://h", "", 0},
		{"h:0", "", 0},
		{"h:99999", "", 0},
		{"1337", "", 0},
		{"192.168.1.256", "", 0},
		{"a:b:c", "", 0},
		{"[h", "", 0},
		{"h]:80", "", 0},
		{"two words", "", 0},
	} {
		host, port, err := splitTarget(c.in, 1337)
		if host != c.host || port != c.port || (err == nil) != (c.host != "") {
			t.Errorf("%q: got %q, %d, %v; want %q, %d", c.in, host, port, err, c.host, c.port)
		}
	}
}

func TestProbeSelf(t *testing.T) {
	listen := []ipaddr.Addr{ipaddr.Any4, ipaddr.Any6, {IP: "\xc0\x00\x02\x01"}}
	c := &config{probe: "self", listen: listen, port: 6969}
	addrs, port, err := c.probeTargets()
	want := "[127.0.0.1 ::1 192.0.2.1]"
	var got []string
	for _, a := range addrs {
		got = append(got, a.String())
	}
	if err != nil || port != 6969 || "["+strings.Join(got, " ")+"]" != want {
		t.Errorf("got %v port %d, %v; want %s port 6969", got, port, err, want)
	}
	if !listen[0].IsUnspecified() {
		t.Error("it changed what the tracker listens on")
	}

	linkLocal, _ := ipaddr.Parse("fe80::1%eth0")
	wan, lo := []string{"wan"}, []string{"wan", "lo"}
	for _, x := range []struct {
		listen []ipaddr.Addr
		want   string
	}{
		{byInterface(listen, wan), "[]"},
		{byInterface(listen, lo), "[127.0.0.1 ::1 192.0.2.1]"},
		{byInterface([]ipaddr.Addr{ipaddr.Any4, linkLocal}, wan), "[fe80::1%eth0]"},
	} {
		c.listen = x.listen
		if addrs, _, err := c.probeTargets(); fmt.Sprint(addrs) != x.want || (err == nil) == (len(addrs) == 0) {
			t.Errorf("%v: got %v, %v; want %s", x.listen, addrs, err, x.want)
		}
	}
}

// hurry shortens the wait for an answer that won't come.
func hurry(t *testing.T) {
	old := probeWait
	probeWait = 100 * time.Millisecond
	t.Cleanup(func() { probeWait = old })
}

// replyTo starts a tracker that answers every datagram with what answer
// returns of it; nil is silence. It returns its port.
func replyTo(t *testing.T, network, addr string, answer func([]byte) [][]byte) uint16 {
	t.Helper()
	conn, err := net.ListenPacket(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			for _, reply := range answer(b[:n]) {
				_, _ = conn.WriteTo(reply, from)
			}
		}
	}()
	return uint16(conn.LocalAddr().(*net.UDPAddr).Port)
}

// connectReply is a good answer to a connect, or nothing for what is no
// connect.
func connectReply(req []byte) []byte {
	if len(req) != 16 || binary.BigEndian.Uint64(req) != bep15.ProtocolID || binary.BigEndian.Uint32(req[8:]) != 0 {
		return nil
	}
	return append([]byte{0, 0, 0, 0, req[12], req[13], req[14], req[15]}, "12345678"...)
}

func runProbe(target string, port uint16, more ...string) (string, error) {
	var out strings.Builder
	c, err := parseConfig(append([]string{"-probe", target, "-port", strconv.Itoa(int(port))}, more...), nil)
	if err == nil {
		err = probe(c, &out)
	}
	return out.String(), err
}

func TestProbe(t *testing.T) {
	good := func(req []byte) [][]byte { return [][]byte{connectReply(req)} }
	for _, c := range []struct {
		name, network, addr, target string
	}{
		{"IPv4", "udp4", "127.0.0.1:0", "127.0.0.1"},
		{"IPv6", "udp6", "[::1]:0", "[::1]"},
		{"a name", "udp4", "127.0.0.1:0", "localhost"},
		{"a name in brackets", "udp4", "127.0.0.1:0", "[localhost]"},
	} {
		port := replyTo(t, c.network, c.addr, good)
		out, err := runProbe(c.target, port)
		if err != nil || !regexp.MustCompile(`:\d+ answers the connect in \d+\.\d\d ms\n$`).MatchString(out) {
			t.Errorf("%s: %q, %v", c.name, out, err)
		}
	}
}

// mischief is a tracker that answers connects well and what else it is asked
// as the test likes. It keeps what it was asked.
type mischief struct {
	mu    sync.Mutex
	asked [][]byte
}

// requests is what it was asked so far.
func (m *mischief) requests() [][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.asked)
}

func (m *mischief) start(t *testing.T, network, addr string, answer func(req []byte) []byte) uint16 {
	return replyTo(t, network, addr, func(req []byte) [][]byte {
		m.mu.Lock()
		m.asked = append(m.asked, append([]byte(nil), req...))
		m.mu.Unlock()
		if r := connectReply(req); r != nil {
			return [][]byte{r}
		}
		if r := answer(req); r != nil {
			return [][]byte{r}
		}
		return nil
	})
}

// reply is a reply to req of that action and these words.
func reply(req []byte, action uint32, words ...uint32) []byte {
	b := append(binary.BigEndian.AppendUint32(nil, action), req[12:16]...)
	for _, w := range words {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return b
}

var probedHash = strings.Repeat("0123456789abcdef0123", 2)

// TestProbeScrapeAndAnnounce: what is sent is what BEP 15 has, what is told is
// what the tracker said, and the announce is taken back.
func TestProbeScrapeAndAnnounce(t *testing.T) {
	for _, c := range []struct {
		network, addr, target string
		peers                 int // bytes
	}{{"udp4", "127.0.0.1:0", "127.0.0.1", 6}, {"udp6", "[::1]:0", "[::1]", 18}} {
		var m mischief
		port := m.start(t, c.network, c.addr, func(req []byte) []byte {
			switch {
			case req[11] == bep15.ActionScrape:
				return reply(req, bep15.ActionScrape, 3, 12, 4)
			case req[83] == bep15.EventStopped:
				return reply(req, bep15.ActionAnnounce, 900, 3, 4)
			}
			peers := make([]byte, 7*c.peers)
			for i := range 7 {
				peers[(i+1)*c.peers-1] = byte(i) // the port
			}
			return append(reply(req, bep15.ActionAnnounce, 905, 5, 3), peers...)
		})
		out, err := runProbe(c.target, port, "-probe-scrape", probedHash, "-probe-announce", probedHash)
		to := regexp.QuoteMeta(c.target) + `:\d+`
		given := ""
		for i := range 7 {
			given += "  " + regexp.QuoteMeta(map[int]string{6: "0.0.0.0:", 18: "[::]:"}[c.peers]) + strconv.Itoa(i) + "\n"
		}
		want := `^` + to + ` answers the connect in \d+\.\d\d ms
` + to + ` answers the scrape in \d+\.\d\d ms: 3 seeders, 4 leechers, 12 downloads
` + to + ` answers the announce in \d+\.\d\d ms: 3 seeders, 5 leechers, 7 peers given, again in 15m5s
` + given + to + ` answers the stop in \d+\.\d\d ms
$`
		if err != nil || !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("%s: %v, %q", c.network, err, out)
			continue
		}
		asked := m.requests()
		if len(asked) != 4 {
			t.Fatalf("%d requests", len(asked))
		}
		for i, action := range []byte{bep15.ActionConnect, bep15.ActionScrape, bep15.ActionAnnounce, bep15.ActionAnnounce} {
			req := asked[i]
			if req[11] != action || i > 0 && (string(req[:8]) != "12345678" || hex.EncodeToString(req[16:36]) != probedHash) {
				t.Errorf("request %d: %x", i, req)
			}
		}
		if len(asked[1]) != 36 || len(asked[2]) != bep15.AnnounceSize || len(asked[3]) != bep15.AnnounceSize {
			t.Errorf("lengths: %q", asked)
		}
		first, last := bep15.ParseAnnounce(asked[2]), bep15.ParseAnnounce(asked[3])
		if first.Event != bep15.EventStarted || first.Left != 1 || first.NumWant != -1 || first.Port != [2]byte{0, 9} ||
			last.Event != bep15.EventStopped || last.NumWant != 0 || last.Port != first.Port ||
			string(asked[2][36:56]) != string(asked[3][36:56]) || asked[2][36] == 0 {
			t.Errorf("announced %+v, then %+v", first, last)
		}
	}
}

// TestProbeFailures: each way to fail has its words.
func TestProbeFailures(t *testing.T) {
	hurry(t)
	good := func(req []byte) []byte {
		switch {
		case req[11] == bep15.ActionConnect:
			return connectReply(req)
		case req[11] == bep15.ActionScrape:
			return reply(req, bep15.ActionScrape, 3, 12, 4)
		}
		return reply(req, bep15.ActionAnnounce, 900, 3, 4)
	}
	for _, c := range []struct {
		name  string
		spoil byte // the action that is not answered well
		with  func(req []byte) []byte
		want  string // the end of the error; "": there is none
	}{
		{"nothing spoilt", 9, nil, ""},
		{"silence to the connect", bep15.ActionConnect, func([]byte) []byte { return nil }, "connect: no answer in 2 tries of 2 seconds"},
		{"silence to the scrape", bep15.ActionScrape, func([]byte) []byte { return nil }, "scrape: no answer in 2 tries of 2 seconds"},
		{"silence to the announce", bep15.ActionAnnounce, func([]byte) []byte { return nil }, "announce: no answer in 2 tries of 2 seconds"},
		{"silence to the stop", bep15.ActionAnnounce, func(req []byte) []byte {
			if req[83] == bep15.EventStopped {
				return nil
			}
			return good(req)
		}, "stop: no answer in 2 tries of 2 seconds"},
		{"an error", bep15.ActionConnect, func(req []byte) []byte { return append(reply(req, bep15.ActionError), "go\x1baway"...) }, `connect: the tracker says: "go\x1baway"`},
		{"an error without text", bep15.ActionScrape, func(req []byte) []byte { return reply(req, bep15.ActionError) }, `scrape: the tracker says: ""`},
		{"an error to the announce", bep15.ActionAnnounce, func(req []byte) []byte { return append(reply(req, bep15.ActionError), "no"...) }, `announce: the tracker says: "no"`},
		{"a byte", bep15.ActionConnect, func([]byte) []byte { return []byte("x") }, "connect: malformed reply: no room for an action and a transaction ID"},
		{"another transaction", bep15.ActionScrape, func(req []byte) []byte {
			r := good(req)
			r[7] ^= 1
			return r
		}, "scrape: malformed reply: the transaction ID is not that of the request"},
		{"another action", bep15.ActionConnect, func(req []byte) []byte { return reply(req, bep15.ActionAnnounce, 1, 2) }, "connect: malformed reply: the action is 1, not 0"},
		{"half a connection ID", bep15.ActionConnect, func(req []byte) []byte { return connectReply(req)[:15] }, "connect: malformed reply: 15 bytes, which must be at least 16"},
		{"two counts of three", bep15.ActionScrape, func(req []byte) []byte { return reply(req, bep15.ActionScrape, 1, 2) }, "scrape: malformed reply: 16 bytes, which must be at least 20"},
		{"no counts of peers", bep15.ActionAnnounce, func(req []byte) []byte { return reply(req, bep15.ActionAnnounce, 900) }, "announce: malformed reply: 12 bytes, which must be at least 20"},
		{"no interval", bep15.ActionAnnounce, func(req []byte) []byte { return reply(req, bep15.ActionAnnounce, 0, 1, 1) }, "announce: malformed reply: the interval is 0"},
		{"peers of 4 bytes", bep15.ActionAnnounce, func(req []byte) []byte { return reply(req, bep15.ActionAnnounce, 900, 1, 1, 0x7f000001) }, "announce: malformed reply: 4 bytes of peers, which take 6 each"},
	} {
		port := replyTo(t, "udp4", "127.0.0.1:0", func(req []byte) [][]byte {
			r := good
			if req[11] == c.spoil {
				r = c.with
			}
			if b := r(req); b != nil {
				return [][]byte{b}
			}
			return nil
		})
		out, err := runProbe("127.0.0.1", port, "-probe-scrape", probedHash, "-probe-announce", probedHash)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err == nil || !strings.HasSuffix(err.Error(), ": "+c.want) || strings.Contains(out, "answers the "+c.want[:3]) {
			t.Errorf("%s: %q, %v; want %q", c.name, out, err, c.want)
		}
	}
}

// TestProbeAlwaysLeaves: an announce whose answer is lost or bad is taken back
// too.
func TestProbeAlwaysLeaves(t *testing.T) {
	hurry(t)
	for name, answer := range map[string]func([]byte) []byte{
		"lost": func([]byte) []byte { return nil },
		"bad":  func(req []byte) []byte { return reply(req, bep15.ActionAnnounce, 1) },
	} {
		var m mischief
		port := m.start(t, "udp4", "127.0.0.1:0", func(req []byte) []byte {
			if req[83] == bep15.EventStopped {
				return reply(req, bep15.ActionAnnounce, 900, 0, 0)
			}
			return answer(req)
		})
		out, err := runProbe("127.0.0.1", port, "-probe-announce", probedHash)
		asked := m.requests()
		last := asked[len(asked)-1]
		if err == nil || !strings.Contains(out, "answers the stop") || len(last) != bep15.AnnounceSize || last[83] != bep15.EventStopped {
			t.Errorf("%s: %q, %v; the last request was %x", name, out, err, last)
		}
	}
}

// TestProbeStrays: what comes first and is not the reply is passed over.
func TestProbeStrays(t *testing.T) {
	port := replyTo(t, "udp4", "127.0.0.1:0", func(req []byte) [][]byte {
		other := connectReply(req)
		other[7] ^= 1
		return [][]byte{[]byte("x"), other, connectReply(req)}
	})
	if out, err := runProbe("127.0.0.1", port); err != nil || out == "" {
		t.Errorf("%q, %v", out, err)
	}
}

// The first datagram is lost: the second try finds the tracker.
func TestProbeTriesAgain(t *testing.T) {
	hurry(t)
	n := 0 // of the server alone
	port := replyTo(t, "udp4", "127.0.0.1:0", func(req []byte) [][]byte {
		if n++; n == 1 {
			return nil
		}
		return [][]byte{connectReply(req)}
	})
	if out, err := runProbe("127.0.0.1", port); err != nil || out == "" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestProbeNothing(t *testing.T) {
	hurry(t)
	port := replyTo(t, "udp4", "127.0.0.1:0", func([]byte) [][]byte { return nil })
	if _, err := runProbe("127.0.0.1", port); err == nil || !strings.Contains(err.Error(), errNoAnswer.Error()) {
		t.Errorf("silence: %v", err)
	}
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port = uint16(conn.LocalAddr().(*net.UDPAddr).Port)
	conn.Close()
	if _, err := runProbe("127.0.0.1", port); err == nil || !strings.HasSuffix(err.Error(), "connect: refused: nothing listens there") {
		t.Errorf("a port that is closed: %v", err)
	}
}

// One of a name's addresses is enough.
func TestProbeSecondAddress(t *testing.T) {
	port := replyTo(t, "udp6", "[::1]:0", func(req []byte) [][]byte { return [][]byte{connectReply(req)} })
	var out strings.Builder
	c := &config{probe: "self", port: port, listen: []ipaddr.Addr{ipaddr.Any4, ipaddr.Any6}}
	if err := probe(c, &out); err != nil || !strings.HasPrefix(out.String(), "[::1]:") {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// The exit code is what a health check sees.
func TestProbeExitCode(t *testing.T) {
	port := replyTo(t, "udp4", "127.0.0.1:0", func(req []byte) [][]byte { return [][]byte{connectReply(req)} })
	target := ipaddr.Endpoint{Addr: loopback(false), Port: port}.String()
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"-probe", target}, exitOK},
		{[]string{"-probe=" + target}, exitOK},
		{[]string{"-probe", "127.0.0.1:"}, exitUsage},
		{[]string{"-probe"}, exitUsage},
		{[]string{"-probe", ""}, exitUsage},
		{[]string{"-probe", target, "-probe-scrape", "abc"}, exitUsage},
		{[]string{"-probe", target, "-probe-announce", ""}, exitUsage},
		{[]string{"-probe-scrape", probedHash}, exitUsage},
		{[]string{"-probe-announce", probedHash}, exitUsage},
	} {
		var out, log strings.Builder
		if got := run(nil, c.args, nil, &out, &log); got != c.want {
			t.Errorf("%q: exit %d, want %d: %s", c.args, got, c.want, log.String())
		}
	}
}
