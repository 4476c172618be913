package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/logger"
)

// TestOneAddressIsLoggedOnce: if all peers have one address and many ports, the
// log says so once. A home with one client, also with many torrents and both
// families, is nothing to report, nor are two clients with an address each.
func TestOneAddressIsLoggedOnce(t *testing.T) {
	gateway, other := key4{172, 17, 0, 1}, key4{172, 17, 0, 2}
	gateway6 := key6{0: 0xfd, 15: 1}
	for _, c := range []struct {
		name     string
		torrents int
		keys     func(port byte) []any // *key4 or *key6
		ports    int
		want     string // in the log
	}{
		{name: "one client with many torrents", torrents: 200, ports: 1,
			keys: func(p byte) []any { return []any{at4(gateway, p), at6(gateway6, p)} }},
		{name: "some clients on one host", torrents: 20, ports: manyPorts - 1,
			keys: func(p byte) []any { return []any{at4(gateway, p)} }},
		{name: "two hosts", torrents: 1, ports: 50,
			keys: func(p byte) []any { return []any{at4(gateway, p), at4(other, p)} }},
		{name: "two hosts in small swarms", torrents: 50, ports: 1,
			keys: func(p byte) []any { return []any{at4(gateway, p), at4(other, p)} }},
		{name: "a proxy", torrents: 1, ports: manyPorts, want: "172.17.0.1, with 8 ports",
			keys: func(p byte) []any { return []any{at4(gateway, p)} }},
		{name: "a proxy, large swarms", torrents: 3, ports: 200, want: "172.17.0.1, with 8 ports",
			keys: func(p byte) []any { return []any{at4(gateway, p)} }},
		{name: "a proxy for IPv6", torrents: 3, ports: 200, want: "fd00::1, with 8 ports",
			keys: func(p byte) []any { return []any{at6(gateway6, p)} }},
		{name: "a proxy on a link", torrents: 1, ports: 9, want: "169.254.3.4, with 8 ports",
			keys: func(p byte) []any { return []any{at4(key4{0xe0, 2, 3, 4}, p)} }},
		{name: "a proxy for both", torrents: 1, ports: 100, want: "172.17.0.1 or fd00::1, with 8 ports",
			keys: func(p byte) []any { return []any{at4(gateway, p), at6(gateway6, p)} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			st := newTestStore(t, 200, 2)
			m := &maintenance{tracker: newTracker(st, 15*60), log: &logger.Logger{Out: &out}}
			for i := range c.torrents {
				for p := range c.ports {
					for _, key := range c.keys(byte(p)) {
						v := announceParams{hash: testHash(i), flags: meta(p & 1)}
						switch k := key.(type) {
						case *key4:
							announce(st, &v, k, &splitMix64{}, nil)
						case *key6:
							announce(st, &v, k, &splitMix64{}, nil)
						}
					}
				}
			}
			for now := seconds(0); now < 5*scanEvery; now++ {
				m.watchAddresses(timestamp{mono: now})
				if now < scanEvery && out.Len() > 0 {
					t.Fatalf("at %d s the log says %q", now, out.String())
				}
			}
			got := out.String()
			if c.want == "" && got != "" || c.want != "" && (!strings.HasPrefix(got, "[WARN] all announces come from one address, "+c.want) || strings.Count(got, "\n") != 1) {
				t.Errorf("the log says %q, want one line with %q", got, c.want)
			}
			checkInvariants(t, st)
		})
	}
}

// at4 and at6 are an address with a port.
func at4(k key4, port byte) *key4 { k[4], k[5] = 1, port; return &k }
func at6(k key6, port byte) *key6 { k[16], k[17] = 1, port; return &k }

// TestFullIsLoggedOnce: once when newcomers begin to be turned away, once when
// none has been for a minute, whatever happens in between.
func TestFullIsLoggedOnce(t *testing.T) {
	var out bytes.Buffer
	w := &worker{}
	k := &maintenance{
		tracker: newTracker(newTestStore(t, 1, 1), 15*60),
		workers: []*worker{w},
		log:     &logger.Logger{Out: &out},
	}
	var c counters
	for now := seconds(0); now < 300; now++ {
		if now >= 50 && now < 100 && now%3 == 0 {
			c.verdicts[announcedFull].datagrams += 1000
			w.published.publish(&c)
		}
		k.watchFull(timestamp{mono: now})
		got, want := out.String(), ""
		if now >= 51 {
			want = "[WARN] full: 0 torrents, 0 peers; new peers"
		}
		if !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Fatalf("at %d s the log says %q", now, got)
		}
		lines := strings.Count(got, "\n")
		if now >= 51 && now < 99+fullAfter && lines != 1 || now >= 99+fullAfter && (lines != 2 || !strings.HasSuffix(got, "[INFO] no longer full: new peers are stored again\n")) {
			t.Fatalf("at %d s the log says %q", now, got)
		}
	}
}
