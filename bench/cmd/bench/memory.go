package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fabricionaweb/pico-tracker/bench/internal/population"
	"github.com/fabricionaweb/pico-tracker/bench/internal/proc"
	"github.com/fabricionaweb/pico-tracker/bench/internal/report"
	"github.com/fabricionaweb/pico-tracker/bench/internal/subject"
)

// fill is a population that a tracker stores, and the number that its memory is
// divided by.
type fill struct {
	name  string
	about string
	per   string
	p     population.Population
}

func fills() []fill {
	return []fill{
		{"singles", "1,000,000 torrents of one peer", "torrent", population.Singles(1_000_000)},
		{"swarm", "one swarm of 500,000 peers", "peer", population.Swarms(1, 500_000)},
		{"swarms", "1,000 swarms of 1,000 peers", "peer", population.Swarms(1000, 1000)},
	}
}

// idle is a tracker before its first request. What it reserves at the start
// depends on -memory.
type idle struct {
	subject, memory string
	proc.Memory
}

// idles starts each tracker with default settings, and Pico Tracker also with
// the memory of a small router.
func (b *bench) idles() ([]idle, error) {
	cases := []idle{{subject: subject.Pico}, {subject: subject.Pico, memory: "16M"}, {subject: subject.Opentracker}}
	var all []idle
	for _, c := range cases {
		if !slices.Contains(b.chosen(false), c.subject) {
			continue
		}
		s, err := b.programs.Start(c.subject, subject.Options{CPUs: []int{b.serverCPU, b.loadCPU}, Memory: c.memory})
		if err != nil {
			return nil, err
		}
		c.Memory, err = settled(s.PID())
		if err := errors.Join(err, s.Stop()); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// footprint is the memory of one tracker with one fill.
type footprint struct {
	fill
	v6                 bool
	subject            string
	idle, filled, peak int64
}

func (f *footprint) each() float64 { return float64(f.filled-f.idle) / float64(f.p.Peers) }

// memoryTable fills each tracker through its socket, a fresh process each time, and divides the
// resident memory that it gained.
func (b *bench) memoryTable() error {
	var all []*footprint
	idles, err := b.idles()
	if err != nil {
		return err
	}
	for _, v6 := range b.v6s() {
		for _, f := range fills() {
			if b.load != "" && !slices.Contains(strings.Split(b.load, ","), f.name) {
				continue
			}
			for _, name := range b.chosen(v6) {
				if name == subject.Reference || name == subject.Naive {
					continue
				}
				m, err := b.footprint(name, f, v6)
				if err != nil {
					return err
				}
				all = append(all, m)
				b.say("%s %s, %s: %.1f bytes a %s, %.2f MiB idle, %.1f MiB filled", family(v6), f.name, name, m.each(), f.per,
					mib(m.idle), mib(m.filled))
			}
		}
	}
	return b.reportMemory(idles, all)
}

func (b *bench) footprint(name string, f fill, v6 bool) (m *footprint, err error) {
	c, err := b.contestant(name, subject.Options{
		V6: v6, CPUs: []int{b.serverCPU}, Workers: 1, Memory: b.memory, Torrents: f.p.Torrents,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()

	m = &footprint{fill: f, v6: v6, subject: name}
	idle, err := settled(c.PID())
	if err != nil {
		return nil, err
	}
	r, err := c.generator.Register(f.p)
	if err != nil {
		return nil, err
	}
	if r.Announce.Answered != uint64(f.p.Peers) {
		return nil, fmt.Errorf("%s took %d of %d peers; errors %v", name, r.Announce.Answered, f.p.Peers, r.Errors)
	}
	// A reply does not mean that the peer is stored: ask.
	stored, err := c.generator.Count(f.p)
	if err != nil {
		return nil, err
	}
	if stored.Scraped != uint64(f.p.Peers) {
		return nil, fmt.Errorf("%s stored %d of %d peers", name, stored.Scraped, f.p.Peers)
	}
	filled, err := settled(c.PID())
	if err != nil {
		return nil, err
	}
	m.idle, m.filled, m.peak = idle.Resident, filled.Resident, filled.Peak
	return m, nil
}

// settled reads the memory of a process when it no longer changes.
func settled(pid int) (proc.Memory, error) {
	last, err := proc.ReadMemory(pid)
	for deadline := time.Now().Add(5 * time.Second); err == nil && time.Now().Before(deadline); {
		time.Sleep(200 * time.Millisecond)
		var m proc.Memory
		if m, err = proc.ReadMemory(pid); m == last {
			return m, err
		}
		last = m
	}
	return last, err
}

func (b *bench) reportMemory(idles []idle, all []*footprint) error {
	t := report.Table{Names: []string{"load", "family", "subject", "bytes", "per", "idle MiB", "filled MiB", "peak MiB"}}
	raw := report.Table{Names: []string{"load", "family", "subject", "peers", "torrents", "idle_bytes", "filled_bytes", "peak_bytes", "bytes_each"}}
	chart := report.Chart{Title: "Resident memory gained (lower is better)", Unit: "bytes a torrent or peer"}
	series := map[string]*report.Series{}
	for _, s := range []struct {
		name   string
		colour [3]uint8
	}{{subject.Pico, [3]uint8{31, 119, 180}}, {subject.Opentracker, [3]uint8{200, 120, 60}}} {
		chart.Series = append(chart.Series, report.Series{Name: s.name, Colour: s.colour})
	}
	for i := range chart.Series {
		series[chart.Series[i].Name] = &chart.Series[i]
	}
	for _, i := range idles {
		about := "idle, default flags"
		if i.memory != "" {
			about = "idle, -memory " + i.memory
		}
		t.Add(about, "-", i.subject, "-", "-", mib(i.Resident), "-", mib(i.Peak))
		raw.Add(about, "-", i.subject, 0, 0, i.Resident, i.Resident, i.Peak, 0)
	}
	for _, m := range all {
		t.Add(m.about, family(m.v6), m.subject, m.each(), m.per, mib(m.idle), mib(m.filled), mib(m.peak))
		raw.Add(m.name, family(m.v6), m.subject, m.p.Peers, m.p.Torrents, m.idle, m.filled, m.peak, m.each())
		group := m.name + " " + family(m.v6)
		if !slices.Contains(chart.Groups, group) {
			chart.Groups = append(chart.Groups, group)
			for i := range chart.Series {
				chart.Series[i].Values = append(chart.Series[i].Values, report.Spread{})
			}
		}
		v := m.each()
		values := series[m.subject].Values
		values[len(values)-1] = report.Spread{Min: v, Median: v, Max: v}
	}
	var text strings.Builder
	fmt.Fprintf(&text, "# Memory\n\n%s.\n\n", machine())
	text.WriteString("Resident memory that a tracker gains while a load generator fills it through its socket, divided by what\n" +
		"it stores then. Each line is a fresh process. Counted page by page (smaps_rollup); the peak is VmHWM.\n" +
		"Debian's opentracker serves only what its whitelist names: that list is in its idle memory.\n\n")
	text.WriteString(t.Markdown())
	if path := b.path("memory.csv"); path != "" {
		if err := errors.Join(raw.WriteCSV(path), chart.WriteSVG(b.path("memory.svg"))); err != nil {
			return err
		}
	}
	return b.publish("memory.md", text.String())
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
