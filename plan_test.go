package main

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// planRows are the numbers in each row of a plan.
func planRows(text string) map[string][]int {
	rows := map[string][]int{}
	for _, m := range regexp.MustCompile(`(?m)^  (\S.*?)((?: {2,}\d+)+)$`).FindAllStringSubmatch(text, -1) {
		for _, s := range strings.Fields(m[2]) {
			n, _ := strconv.Atoi(s)
			rows[m[1]] = append(rows[m[1]], n)
		}
	}
	return rows
}

// TestPlan checks that the parts add up to the whole, and that a full store of
// this layout holds what the plan says. It may hold up to 7 % more, or a few
// pages less, because the last page of each size may be partly free.
func TestPlan(t *testing.T) {
	args := []string{"-memory=6M", "-workers=1", "-listen=0.0.0.0", "-interval=10m", "-plan"}
	code, stdout, stderr := program(args, nil)
	rows := planRows(stdout)
	if code != 0 || stderr != "" || len(rows) != 7+len(populations) {
		t.Fatalf("exit %d, %q, %q", code, stdout, stderr)
	}
	l, err := planMemory(6<<20, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for name, n := range rows {
		if len(n) == 1 && name != "total" {
			sum += n[0]
		}
	}
	if all := rows["total"][0]; all != 6<<20 || sum > all || sum <= all-pageCost {
		t.Errorf("the parts are %d bytes of %d", sum, all)
	}
	line := fmt.Sprintf("\nOne IPv4 address can have %d peers, one IPv6 /64 %d.\n", l.quota()/peerCost4, l.quota()/peerCost6)
	if !strings.Contains(stdout, line) {
		t.Errorf("no line %q in %q", line, stdout)
	}
	for i, p := range populations {
		if testing.Short() && i%3 != 0 {
			continue
		}
		name := strconv.Itoa(p.peers) + " IPv4 each"
		if p.v6 {
			name = strconv.Itoa(p.peers) + " IPv6 each"
		}
		n := rows[name]
		if len(n) != 3 || n[1] != n[0]*p.peers || n[2] != n[1]/600 {
			t.Errorf("%s: %d", name, n)
			continue
		}
		got := fill(t, &l, p)
		if float64(got) < 0.98*float64(n[1]) || float64(got) > 1.07*float64(n[1]) {
			t.Errorf("%s: %d peers fit, %.3f times the plan's %d", name, got, float64(got)/float64(n[1]), n[1])
		}
	}
}

// fill stores torrents of that kind, one after the other, until there is no
// room, and says how many peers.
func fill(t *testing.T, l *memoryPlan, p population) int {
	t.Helper()
	s := newTestStore(t, l.pages, l.shards)
	var rng splitMix64
	for n := 0; ; n++ {
		v := announceParams{hash: testHash(n / p.peers), now: 5, flags: meta(n%2) * metaSeeder}
		var o announceResult
		if p.v6 {
			_, _, o = announce(s, &v, testKey6(n), &rng, nil)
		} else {
			key := key4{4: 0x1a, 5: 0xe1}
			binary.BigEndian.PutUint32(key[:], uint32(n))
			_, _, o = announce(s, &v, &key, &rng, nil)
		}
		switch o {
		case resultAdded:
		case resultFull:
			return n
		default:
			t.Fatalf("peer %d: outcome %d", n, o)
		}
	}
}

// TestPlanNeedsNoTracker checks that -plan opens no socket and needs nothing
// else of a start, but counts the list.
func TestPlanNeedsNoTracker(t *testing.T) {
	list := t.TempDir() + "/list"
	writeFile(t, list, strings.Repeat(probedHash+"\n", 100_000))
	without := planRows(planOf(t, "-memory=64M", "-workers=1", "-listen=192.0.2.1"))
	with := planRows(planOf(t, "-memory=64M", "-workers=1", "-listen=192.0.2.1", "-whitelist", list, "-secret-file=/nowhere"))
	a, b := without["torrents and peers"][0], with["torrents and peers"][0]
	if b >= a || len(with) != len(without)+1 {
		t.Errorf("with a list %v, without %v", with, without)
	}
	expectUsageError(t, []string{"-plan", "-memory=1M", "-workers=1"}, nil, `-memory "1M": too small; want at least `)
}

func planOf(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := program(append(args, "-plan"), nil)
	if code != 0 || stderr != "" {
		t.Fatalf("%q: exit %d, %q", args, code, stderr)
	}
	return stdout
}

// TestLimitWarning checks when the log has a warning because the system allows less
// memory than the plan uses, and which sizes it names.
func TestLimitWarning(t *testing.T) {
	const reason = ": this process may use only "
	for _, c := range []struct {
		name    string
		memory  string // "": auto
		total   int
		allowed uint64
		want    []string // parts; nil: no warning
	}{
		{name: "unknown", memory: "16M", total: 16 << 20, allowed: 0},
		{name: "much more", memory: "16M", total: 16 << 20, allowed: 1 << 30},
		{name: "enough", memory: "16M", total: 16 << 20, allowed: 18 << 20},
		{name: "a little less", memory: "16M", total: 16 << 20, allowed: 18<<20 - 1,
			want: []string{`-memory "16M"` + reason + "17M (", "so the kernel may end it; allow 18M, or set 15M"}},
		{name: "half", memory: "16M", total: 16 << 20, allowed: 8 << 20, want: []string{reason + "8M (", "; allow 18M, or set 6M"}},
		{name: "the smallest", memory: "16M", total: 16 << 20, allowed: 7 << 20, want: []string{"; allow 18M, or set 5M"}},
		{name: "too little for any", memory: "16M", total: 16 << 20, allowed: 7<<20 - 1, want: []string{reason + "7167K (", "; allow 18M"}},
		{name: "next to nothing", memory: "16M", total: 16 << 20, allowed: 4096, want: []string{reason + "4K (", "; allow 18M"}},
		{name: "auto", total: 8 << 20, allowed: 8 << 20, want: []string{"-memory auto" + reason + "8M (", "; allow 10M, or set 6M"}},
		{name: "the largest", memory: "1G", total: 1 << 30, allowed: 1 << 30, want: []string{"; allow 1026M, or set 1022M"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := &config{origins: map[string]string{"memory": "-memory"}}
			if c.memory != "" {
				conf.memory, conf.memoryText = c.total, c.memory
			}
			got := conf.limitWarning(&memoryPlan{total: c.total}, c.allowed)
			if c.want == nil && got != "" {
				t.Errorf("got %q, want no warning", got)
			}
			for _, part := range c.want {
				if !strings.Contains(got, part) {
					t.Errorf("got %q, want %q in it", got, part)
				}
			}
			if n := len(c.want); n > 0 && !strings.HasSuffix(got, c.want[n-1]) {
				t.Errorf("got %q, want %q at its end", got, c.want[n-1])
			}
		})
	}
}
