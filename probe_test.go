package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
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
	} {
		host, port, err := splitTarget(c.in, 1337)
		if host != c.host || port != c.port || (err == nil) != (c.host != "") {
			t.Errorf("%q: got %q, %d, %v; want %q, %d", c.in, host, port, err, c.host, c.port)
		}
	}
}

func TestProbeSelf(t *testing.T) {
	listen := []ipAddr{anyIPv4, anyIPv6, {ip: "\xc0\x00\x02\x01"}}
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
	if !listen[0].isUnspecified() {
		t.Error("it changed what the tracker listens on")
	}

	linkLocal, _ := parseAddress("fe80::1%eth0")
	wan, lo := []string{"wan"}, []string{"wan", "lo"}
	for _, x := range []struct {
		listen []ipAddr
		want   string
	}{
		{byInterface(listen, wan), "[]"},
		{byInterface(listen, lo), "[127.0.0.1 ::1 192.0.2.1]"},
		{byInterface([]ipAddr{anyIPv4, linkLocal}, wan), "[fe80::1%eth0]"},
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
	if len(req) != 16 || binary.BigEndian.Uint64(req) != protocolID || binary.BigEndian.Uint32(req[8:]) != 0 {
		return nil
	}
	return append([]byte{0, 0, 0, 0, req[12], req[13], req[14], req[15]}, "12345678"...)
}

func runProbe(target string, port uint16) (string, error) {
	var out strings.Builder
	err := probe(&config{probe: target, port: port}, &out)
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
		if err != nil || !strings.HasSuffix(out, " answers\n") {
			t.Errorf("%s: %q, %v", c.name, out, err)
		}
	}
}

func TestProbeOtherAnswers(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(req []byte) [][]byte
		want   string // in the error; "": none
	}{
		{"strays first", func(req []byte) [][]byte {
			other := connectReply(req)
			other[7] ^= 1
			return [][]byte{[]byte("x"), other, connectReply(req)}
		}, ""},
		{"an error", func(req []byte) [][]byte {
			return [][]byte{append([]byte{0, 0, 0, 3, req[12], req[13], req[14], req[15]}, "go\x1baway"...)}
		}, `refused: "go\x1baway"`},
		{"no ID", func(req []byte) [][]byte { return [][]byte{connectReply(req)[:15]} }, "no tracker"},
		{"another action", func(req []byte) [][]byte {
			r := connectReply(req)
			r[3] = 1
			return [][]byte{r}
		}, "no tracker"},
	} {
		port := replyTo(t, "udp4", "127.0.0.1:0", c.answer)
		out, err := runProbe("127.0.0.1", port)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || out != "" {
			t.Errorf("%s: %q, %v; want %q", c.name, out, err, c.want)
		}
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
	if _, err := runProbe("127.0.0.1", port); err == nil {
		t.Error("a port that is closed answers")
	}
}

// One of a name's addresses is enough.
func TestProbeSecondAddress(t *testing.T) {
	port := replyTo(t, "udp6", "[::1]:0", func(req []byte) [][]byte { return [][]byte{connectReply(req)} })
	var out strings.Builder
	c := &config{probe: "self", port: port, listen: []ipAddr{anyIPv4, anyIPv6}}
	if err := probe(c, &out); err != nil || !strings.HasPrefix(out.String(), "[::1]:") {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// The exit code is what a health check sees.
func TestProbeExitCode(t *testing.T) {
	port := replyTo(t, "udp4", "127.0.0.1:0", func(req []byte) [][]byte { return [][]byte{connectReply(req)} })
	target := endpoint{loopback(false), port}.String()
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"-probe", target}, exitOK},
		{[]string{"-probe=" + target}, exitOK},
		{[]string{"-probe", "127.0.0.1:"}, exitFailure},
		{[]string{"-probe"}, exitUsage},
		{[]string{"-probe", ""}, exitUsage},
	} {
		var out, log strings.Builder
		// The variable is not the flag's: a container's settings must not
		// turn its tracker into a probe.
		env := []string{"PICO_TRACKER__PROBE=192.0.2.1"}
		if got := run(nil, c.args, env, &out, &log); got != c.want {
			t.Errorf("%q: exit %d, want %d: %s", c.args, got, c.want, log.String())
		}
	}
}
