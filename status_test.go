package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// statusReport writes a report that is so old.
func statusReport(t *testing.T, path string, r *report, age time.Duration) {
	t.Helper()
	p := &metricsWriter{}
	p.render(r)
	writeFile(t, path, string(p.text))
	at := time.Now().Add(-age)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func testReport() *report {
	r := &report{version: "v1.2.3", uptime: 90061, every: 15, torrents: 12, limit: 64 << 20, poolSize: 40 << 20, poolUsed: 1 << 20}
	r.families[0].sockets, r.families[1].sockets = 1, 1
	r.families[0].verdicts[announcedNew] = traffic{900610, 9006100, 100}
	r.families[1].verdicts[connected] = traffic{7, 112, 112}
	r.families[1].seeders = 123456789
	return r
}

// squeeze makes one of many spaces.
func squeeze(s string) string { return regexp.MustCompile(" +").ReplaceAllString(s, " ") }

// TestStatus shows a report once where there is no terminal.
func TestStatus(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.prom")
	statusReport(t, path, testReport(), 7*time.Second)
	var out, log bytes.Buffer
	if code := run(nil, []string{"-status", path}, nil, &out, &log); code != 0 || log.Len() > 0 {
		t.Fatalf("exit %d: %s", code, log.String())
	}
	got := squeeze(out.String())
	for _, want := range []string{
		"pico-tracker v1.2.3, up 1d1h; written ", "s ago; rates since the start\n",
		"\n IPv4 a second IPv6 a second\n",
		"\nannounces 900k 10.0 0 0\n",
		"\n new peers 900k 10.0 0 0\n",
		"\nconnects 0 0 7 0.0\n",
		"\nseeders 0 123M \n",
		"\n12 torrents; memory 0K of 64M; pool 1M of 40M, peak 0K\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	table := strings.Split(strings.Split(out.String(), "\n\n")[1], "\n")
	for _, line := range table {
		if len(line) != len(table[0]) {
			t.Errorf("the columns don't stand below each other:\n%s", out.String())
		}
	}
	if strings.Contains(got, "\x1b") || strings.Contains(got, "known peers") || strings.Contains(got, "FULL") {
		t.Errorf("%q", got)
	}
}

// TestStatusRates checks the rates between two reports, and the rates since the
// start after a restart of the tracker.
func TestStatusRates(t *testing.T) {
	p, r := &metricsWriter{}, testReport()
	read := func() *statsFile {
		p.render(r)
		return &statsFile{text: string(p.text)}
	}
	before := read()
	r.uptime += 15
	r.full = true
	r.families[0].verdicts[announcedNew].datagrams += 150150
	after := read()
	shown := string(renderStatus(after, before, &torrentNames{}, 0, true))
	got := squeeze(shown)
	for _, want := range []string{"rates of the last 15s\x1b[K\n", "\nannounces 1050k 10010 0 0\x1b[K\n",
		"FULL: new peers are not stored"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	if !strings.HasPrefix(shown, "\x1b[H") || !strings.HasSuffix(shown, "\x1b[J") {
		t.Errorf("%q does not take the place of what was there", got)
	}
	if got = string(renderStatus(before, after, &torrentNames{}, 0, false)); !strings.Contains(got, "rates since the start\n") || !strings.Contains(got, " 10.0 ") {
		t.Errorf("started anew:\n%s", got)
	}
}

// TestStatusHealth checks that the first line says in plain words whether the
// tracker works.
func TestStatusHealth(t *testing.T) {
	text := func(r *report) *statsFile {
		p := &metricsWriter{}
		p.render(r)
		return &statsFile{text: string(p.text)}
	}
	for _, c := range []struct {
		name   string
		change func(before, now *report)
		want   string
	}{
		{name: "healthy", change: func(_, _ *report) {}, want: "healthy: 12 torrents, 3 peers"},
		{name: "one of each", change: func(_, now *report) { now.torrents, now.families[1].seeders = 1, 1 }, want: "healthy: 1 torrent, 1 peer"},
		{name: "full", change: func(_, now *report) { now.full = true }, want: "full: 12 torrents, 3 peers; new peers are not stored (-memory)"},
		{name: "losing requests", change: func(before, now *report) { now.families[0].overflowed = before.families[0].overflowed + 1 },
			want: "overloaded: 12 torrents, 3 peers; requests are lost because the receive buffer is too small (-workers)"},
		{name: "lost requests before", change: func(before, now *report) { before.families[0].overflowed, now.families[0].overflowed = 5, 5 },
			want: "healthy: 12 torrents, 3 peers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, now := testReport(), testReport()
			for _, r := range []*report{before, now} {
				r.families[1].seeders = 3
				r.families[0].dropsKnown, r.families[0].reasonsKnown = true, true
			}
			now.uptime += 15
			c.change(before, now)
			shown := string(renderStatus(text(now), text(before), &torrentNames{}, 0, false))
			if got, _, _ := strings.Cut(shown, "\n"); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestStatusQuotes what a terminal would obey.
func TestStatusQuotes(t *testing.T) {
	for _, c := range []struct{ version, want string }{
		{version: "v1.2.3-4-g0123456789ab+dirty", want: "v1.2.3-4-g0123456789ab+dirty"},
		{version: "\x1b[2J\x1b]0;title\a", want: `"\x1b[2J\x1b]0;title\a"`},
		{version: "v1 ~", want: "v1 ~"},
		{version: "v1\x7f", want: `"v1\x7f"`},
		{version: "\u009b2J", want: `"\u009b2J"`},
		{version: strings.Repeat("x", 60000), want: strings.Repeat("x", 64)},
	} {
		r := testReport()
		r.version = c.version
		p := &metricsWriter{}
		p.render(r)
		shown := string(renderStatus(&statsFile{text: string(p.text)}, &statsFile{}, &torrentNames{}, 0, false))
		if !strings.Contains(shown, "\npico-tracker "+c.want+", up ") || strings.ContainsAny(shown, "\x1b\a") || strings.Contains(shown, "\u009b") {
			t.Errorf("version %q: got %q, want %q in it", c.version[:min(20, len(c.version))], shown[:min(300, len(shown))], c.want)
		}
	}
}

// TestStatusFails with words and an exit code for each reason.
func TestStatusFails(t *testing.T) {
	dir := t.TempDir()
	path, junk := filepath.Join(dir, "a.prom"), filepath.Join(dir, "junk")
	writeFile(t, junk, "node_load1 0.3\n")
	fails := func(want string, args ...string) {
		t.Helper()
		var out, log bytes.Buffer
		code := 1
		if strings.Contains(want, "value is missing") || strings.Contains(want, ": want") {
			code = 2
		}
		if got := run(nil, args, nil, &out, &log); got != code || !strings.Contains(log.String(), want) || out.Len() > 0 {
			t.Errorf("%q: exit %d, %s%s", args, got, log.String(), out.String())
		}
	}
	fails(`-status "`+path+`": no such file; start the tracker with -stats "`+path+`"`, "-status", path)
	fails(`junk": not a -stats file of pico-tracker`, "-status", junk)
	fails("-status: the value is missing", "-status")
	fails(`-status "": want`, "-status=")
	statusReport(t, path, testReport(), 2*time.Hour)
	fails(path+`": out of date: written 2h0m ago, but due every 15s`, "-status", path)
	statusReport(t, path, testReport(), 50*time.Second)
	fails("ago, but due every 15s", "-status", path)
}

func TestShort(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 99999: "99999", 100000: "100k", 99999999: "99999k", 100000000: "100M",
		1 << 40: "1099G", 1<<64 - 1: "18446P"} {
		if got := formatSI(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	for s, want := range map[seconds]string{0: "0s", 59: "59s", 60: "1m0s", 3599: "59m59s", 3600: "1h0m", 86399: "23h59m", 90061: "1d1h"} {
		if got := ageText(s); got != want {
			t.Errorf("%d: %s, want %s", s, got, want)
		}
	}
}
