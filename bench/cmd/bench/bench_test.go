package main

import (
	"slices"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/bench/internal/load"
)

func TestParseMemory(t *testing.T) {
	for text, want := range map[string]int64{"8M": 8 << 20, "1G": 1 << 30} {
		if n, err := parseMemory(text); n != want || err != nil {
			t.Errorf("%s is %d, %v", text, n, err)
		}
	}
	for _, bad := range []string{"", "8", "M", "8K"} {
		if _, err := parseMemory(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestCapCases(t *testing.T) {
	b := &bench{settings: settings{caps: "8M,64M", workers: "1,2,4"}}
	want := []capCase{
		{"8M", 1, false}, {"8M", 2, false}, {"8M", 4, false}, {"8M", 4, true},
		{"64M", 1, false}, {"64M", 4, false}, {"64M", 4, true},
	}
	if got, err := b.capCases(); err != nil || !slices.Equal(got, want) {
		t.Errorf("got  %v, %v\nwant %v", got, err, want)
	}
	b.workers = "1,x"
	if _, err := b.capCases(); err == nil {
		t.Error("a number of workers that is none was taken")
	}
}

func TestGroups(t *testing.T) {
	b := &bench{}
	var names [][]string
	for _, group := range b.groups() {
		var g []string
		for _, w := range group {
			g = append(g, w.Name)
		}
		names = append(names, g)
	}
	want := [][]string{{"announce", "connect", "scrape"}, {"aquatic", "aquatic-load"}}
	if !slices.EqualFunc(names, want, slices.Equal[[]string]) {
		t.Errorf("groups %v, want %v", names, want)
	}
	b.workloads = "aquatic-load,connect"
	if g := b.groups(); len(g) != 2 || g[0][0].Name != "connect" || g[1][0].Name != "aquatic-load" {
		t.Errorf("chosen groups %v", g)
	}
}

func TestSpeedTable(t *testing.T) {
	var all []*measurement
	for round, us := range []time.Duration{2, 4, 6} {
		for name, factor := range map[string]time.Duration{"reference": 1, "pico-tracker": 2} {
			all = append(all, &measurement{
				workload: "connect", subject: name, round: round, cpu: us * factor * time.Millisecond,
				result: &load.Result{Elapsed: time.Second, Connect: load.Counts{Answered: 1000}},
			})
		}
	}
	table := speedTable(all)
	want := [][]string{
		{"connect", "IPv4", "reference", "4.00 (2.00-6.00)", "-", "250000", "0", "0"},
		{"connect", "IPv4", "pico-tracker", "8.00 (4.00-12.00)", "2.00 (2.00-2.00)", "125000", "0", "0"},
	}
	if !slices.EqualFunc(table.Rows, want, slices.Equal[[]string]) {
		t.Errorf("got  %q\nwant %q", table.Rows, want)
	}
}

func TestFloodJudges(t *testing.T) {
	served := &load.Result{Announce: load.Counts{Answered: 999, Lost: 1}, Elapsed: time.Second}
	if s := share(served); s != 99.9 {
		t.Errorf("a share of %v", s)
	}
	good := flooded{kind: "junk", subject: "pico-tracker", after: served, during: served, peak: 16 << 20}
	if err := good.judge(); err != nil {
		t.Error(err)
	}
	large, deaf := good, good
	large.peak++
	deaf.after = &load.Result{Announce: load.Counts{Answered: 998, Lost: 2}}
	for _, bad := range []flooded{large, deaf} {
		if bad.judge() == nil {
			t.Errorf("%+v passes", bad)
		}
	}
	// A connect costs 3 us: half of 2,000 are dropped before they are taken.
	connects := flooded{kind: "connects", subject: "pico-tracker", sent: 1000, dropped: 1000, during: served, cpu: 3 * time.Millisecond}
	for cpu, want := range map[time.Duration]bool{999 * time.Microsecond: true, 1100 * time.Microsecond: false} {
		junk := flooded{kind: "junk", subject: "pico-tracker", sent: 1000, dropped: 1000, during: served, cpu: cpu}
		if err := judgeJunk([]*flooded{&junk, &connects}); (err == nil) != want {
			t.Errorf("junk of %v: %v", cpu, err)
		}
	}
}
