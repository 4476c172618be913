package main

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"github.com/fabricionaweb/pico-tracker/internal/probe/probetest"
)

func TestSplitTarget(t *testing.T) {
	for _, c := range []struct {
		in, host string
		port     uint16
	}{
		{in: "127.0.0.1:6969", host: "127.0.0.1", port: 6969},
		{in: "127.0.0.1", host: "127.0.0.1", port: 1337},
		{in: "[::1]:6969", host: "::1", port: 6969},
		{in: "[::1]", host: "::1", port: 1337},
		{in: "::1", host: "::1", port: 1337},
		{in: "fe80::1%eth0", host: "fe80::1%eth0", port: 1337},
		{in: "[fe80::1%eth0]:80", host: "fe80::1%eth0", port: 80},
		{in: "tracker.example.org:80", host: "tracker.example.org", port: 80},
		{in: "tracker.example.org", host: "tracker.example.org", port: 1337},
		{in: "[localhost]:80", host: "localhost", port: 80},
		{in: "udp://tracker.example.org:80/announce", host: "tracker.example.org", port: 80},
		{in: "udp://[::1]:80", host: "::1", port: 80},
		{in: "", port: 0},
		{in: ":80", port: 0},
		{in: "[::1", port: 0},
		{in: "[]:80", port: 0},
		{in: "[::1]80", port: 0},
		{in: "[::1]:", port: 0},
		{in: "host:", port: 0},
		{in: "host:0", port: 0},
		{in: "host:65536", port: 0},
		{in: "host:http", port: 0},
		{in: "udp://", port: 0},
		{in: "tracker.example:6969/announce", host: "tracker.example", port: 6969},
		{in: "localhost:1337/", host: "localhost", port: 1337},
		{in: "UDP://tracker.example:80/announce", host: "tracker.example", port: 80},
		{in: "udp://h:81?x=1", host: "h", port: 81},
		{in: "udp://[2001:db8::1]:82#x", host: "2001:db8::1", port: 82},
		{in: "[2001:db8::1]", host: "2001:db8::1", port: 1337},
		{in: "[fe80::1%eth0]:83", host: "fe80::1%eth0", port: 83},
		{in: "http://h:80/announce", port: 0},
		{in: "wss://h", port: 0},
		{in: "h:0", port: 0},
		{in: "h:99999", port: 0},
		{in: "1337", port: 0},
		{in: "192.168.1.256", port: 0},
		{in: "a:b:c", port: 0},
		{in: "[h", port: 0},
		{in: "h]:80", port: 0},
		{in: "two words", port: 0},
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
		t.Error("probeTargets changed the listen addresses")
	}

	linkLocal, _ := ipaddr.Parse("fe80::1%eth0")
	wan, lo := []string{"wan"}, []string{"wan", "lo"}
	for _, x := range []struct {
		listen []ipaddr.Addr
		want   string
	}{
		{crossInterfaces(listen, wan), "[]"},
		{crossInterfaces(listen, lo), "[127.0.0.1 ::1 192.0.2.1]"},
		{crossInterfaces([]ipaddr.Addr{ipaddr.Any4, linkLocal}, wan), "[fe80::1%eth0]"},
	} {
		c.listen = x.listen
		if addrs, _, err := c.probeTargets(); fmt.Sprint(addrs) != x.want || (err == nil) == (len(addrs) == 0) {
			t.Errorf("listen %v: got %v, %v, want %s", x.listen, addrs, err, x.want)
		}
	}
}

// probeWith runs -probe and returns what it prints.
func probeWith(target string, port uint16, more ...string) (string, error) {
	var out strings.Builder
	c, err := parseConfig(append([]string{"-probe", target, "-port", strconv.Itoa(int(port))}, more...), nil)
	if err == nil {
		err = runProbe(c, &out)
	}
	return out.String(), err
}

func TestProbe(t *testing.T) {
	good := func(req []byte) [][]byte { return [][]byte{probetest.ConnectReply(req)} }
	for _, c := range []struct {
		name, network, addr, target string
	}{
		{name: "IPv4", network: "udp4", addr: "127.0.0.1:0", target: "127.0.0.1"},
		{name: "IPv6", network: "udp6", addr: "[::1]:0", target: "[::1]"},
		{name: "a name", network: "udp4", addr: "127.0.0.1:0", target: "localhost"},
		{name: "a name in brackets", network: "udp4", addr: "127.0.0.1:0", target: "[localhost]"},
	} {
		port := probetest.Serve(t, c.network, c.addr, good)
		out, err := probeWith(c.target, port)
		if err != nil || !regexp.MustCompile(`:\d+ answers the connect in \d+\.\d\d ms\n$`).MatchString(out) {
			t.Errorf("%s: got %q, %v, want one line", c.name, out, err)
		}
	}
}

// fakeTracker answers connects correctly and other requests as the test wants.
// It records all requests.
type fakeTracker struct {
	mu       sync.Mutex
	received [][]byte
}

// requests returns the requests that arrived until now.
func (f *fakeTracker) requests() [][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.received)
}

func (f *fakeTracker) start(t *testing.T, network, addr string, answer func(req []byte) []byte) uint16 {
	return probetest.Serve(t, network, addr, func(req []byte) [][]byte {
		f.mu.Lock()
		f.received = append(f.received, slices.Clone(req))
		f.mu.Unlock()
		if r := probetest.ConnectReply(req); r != nil {
			return [][]byte{r}
		}
		if r := answer(req); r != nil {
			return [][]byte{r}
		}
		return nil
	})
}

var probedHash = strings.Repeat("0123456789abcdef0123", 2)

// TestProbeScrapeAndAnnounce checks the requests, and that the output has what
// the tracker answered.
func TestProbeScrapeAndAnnounce(t *testing.T) {
	for _, c := range []struct {
		network, addr, target string
		peerSize              int
		unspecified           string // the address of the peers
	}{
		{network: "udp4", addr: "127.0.0.1:0", target: "127.0.0.1", peerSize: 6, unspecified: "0.0.0.0"},
		{network: "udp6", addr: "[::1]:0", target: "[::1]", peerSize: 18, unspecified: "[::]"},
	} {
		var tracker fakeTracker
		port := tracker.start(t, c.network, c.addr, func(req []byte) []byte {
			switch {
			case req[11] == bep15.ActionScrape:
				return probetest.Reply(req, bep15.ActionScrape, 3, 12, 4)
			case req[83] == bep15.EventStopped:
				return probetest.Reply(req, bep15.ActionAnnounce, 900, 3, 4)
			}
			peers := make([]byte, 7*c.peerSize)
			for i := range 7 {
				peers[(i+1)*c.peerSize-1] = byte(i) // the port
			}
			return append(probetest.Reply(req, bep15.ActionAnnounce, 905, 5, 3), peers...)
		})
		out, err := probeWith(c.target, port, "-probe-scrape", probedHash, "-probe-announce", probedHash)
		to := regexp.QuoteMeta(c.target) + `:\d+`
		given := ""
		for i := range 7 {
			given += "  " + regexp.QuoteMeta(c.unspecified+":") + strconv.Itoa(i) + "\n"
		}
		want := `^` + to + ` answers the connect in \d+\.\d\d ms
` + to + ` answers the scrape in \d+\.\d\d ms: 3 seeders, 4 leechers, 12 downloads
` + to + ` answers the announce in \d+\.\d\d ms: 3 seeders, 5 leechers, 7 peers given, again in 15m5s
` + given + to + ` answers the stop in \d+\.\d\d ms
$`
		if err != nil || !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("%s: got %v, %q, want %s", c.network, err, out, want)
			continue
		}
		asked := tracker.requests()
		if len(asked) != 4 {
			t.Fatalf("got %d requests, want 4", len(asked))
		}
		for i, action := range []byte{bep15.ActionConnect, bep15.ActionScrape, bep15.ActionAnnounce, bep15.ActionAnnounce} {
			req := asked[i]
			if req[11] != action || i > 0 && (string(req[:8]) != probetest.ConnectionID || hex.EncodeToString(req[16:36]) != probedHash) {
				t.Errorf("request %d: got %x, want action %d, connection ID %s and hash %s", i, req, action, probetest.ConnectionID, probedHash)
			}
		}
		if len(asked[1]) != 36 || len(asked[2]) != bep15.AnnounceSize || len(asked[3]) != bep15.AnnounceSize {
			t.Errorf("got %d, %d and %d bytes, want 36, 98 and 98", len(asked[1]), len(asked[2]), len(asked[3]))
		}
		first, last := bep15.ParseAnnounce(asked[2]), bep15.ParseAnnounce(asked[3])
		if first.Event != bep15.EventStarted || first.Left != 1 || first.NumWant != -1 || first.Port != [2]byte{0, 9} ||
			last.Event != bep15.EventStopped || last.NumWant != 0 || last.Port != first.Port ||
			string(asked[2][36:56]) != string(asked[3][36:56]) || asked[2][36] == 0 {
			t.Errorf("got announces %+v, then %+v, want the same peer started and stopped", first, last)
		}
	}
}

// TestProbeAlwaysStops checks that -probe leaves the swarm after an announce
// that failed.
func TestProbeAlwaysStops(t *testing.T) {
	for name, answer := range map[string]func([]byte) []byte{
		"an error": func(req []byte) []byte { return probetest.Reply(req, bep15.ActionError) },
		"short":    func(req []byte) []byte { return probetest.Reply(req, bep15.ActionAnnounce, 1) },
	} {
		var tracker fakeTracker
		port := tracker.start(t, "udp4", "127.0.0.1:0", func(req []byte) []byte {
			if req[83] == bep15.EventStopped {
				return probetest.Reply(req, bep15.ActionAnnounce, 900, 0, 0)
			}
			return answer(req)
		})
		out, err := probeWith("127.0.0.1", port, "-probe-announce", probedHash)
		requests := tracker.requests()
		last := requests[len(requests)-1]
		if err == nil || !strings.Contains(out, "answers the stop") || len(last) != bep15.AnnounceSize || last[83] != bep15.EventStopped {
			t.Errorf("%s: got %q, %v and the last request %x, want an error and a stop", name, out, err, last)
		}
	}
}

// TestProbeSecondAddress checks that one address of a name is enough.
func TestProbeSecondAddress(t *testing.T) {
	port := probetest.Serve(t, "udp6", "[::1]:0", func(req []byte) [][]byte { return [][]byte{probetest.ConnectReply(req)} })
	var out strings.Builder
	c := &config{probe: "self", port: port, listen: []ipaddr.Addr{ipaddr.Any4, ipaddr.Any6}}
	if err := runProbe(c, &out); err != nil || !strings.HasPrefix(out.String(), "[::1]:") {
		t.Errorf("got %q, %v, want an answer from [::1]", out.String(), err)
	}
}

// TestProbeExitCode checks the exit code, which a health check uses.
func TestProbeExitCode(t *testing.T) {
	port := probetest.Serve(t, "udp4", "127.0.0.1:0", func(req []byte) [][]byte { return [][]byte{probetest.ConnectReply(req)} })
	target := ipaddr.Endpoint{Addr: ipaddr.Loopback4, Port: port}.String()
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
