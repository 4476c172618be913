package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fabricionaweb/pico-tracker/bench/internal/load"
	"github.com/fabricionaweb/pico-tracker/bench/internal/population"
	"github.com/fabricionaweb/pico-tracker/bench/internal/proc"
	"github.com/fabricionaweb/pico-tracker/bench/internal/report"
	"github.com/fabricionaweb/pico-tracker/bench/internal/subject"
	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

// homeRates are the announces a second of a home, a club and a company. A measurement takes long enough
// for some hundred requests.
var homeRates = []struct {
	rate   float64
	length time.Duration
}{{20, 5 * time.Second}, {200, 3 * time.Second}, {1000, 2 * time.Second}}

// idleTime is how long context switches are counted.
const idleTime = 10 * time.Second

// homeMemory is the smallest usual size on a router.
const homeMemory = "8M"

// homeLoad announces for 50 peers, in the largest swarms of a home.
func homeLoad() load.Workload {
	return load.Workload{Name: "home", Population: population.Swarms(40, 100), Announces: 1, NumWant: 50}
}

// paced is one measurement: a subject at a rate.
type paced struct {
	*measurement
	rate float64
}

// resting is what a server without requests does.
type resting struct {
	subject  string
	state    string // "empty" or "4,000 peers"
	switches int    // context switches of all threads in idleTime
	threads  int
	resident int64
}

// home measures all subjects at the rates of a home, in turn, round after round. The servers may use
// all processors, with the settings that they have by default.
func (b *bench) home() error {
	start := time.Now()
	var all []paced
	var still []resting
	for _, v6 := range b.v6s() {
		m, s, err := b.homeFamily(v6)
		if err != nil {
			return err
		}
		all, still = append(all, m...), append(still, s...)
	}
	b.say("home: done in %.0f s", time.Since(start).Seconds())
	return b.reportHome(all, still)
}

func (b *bench) homeFamily(v6 bool) (all []paced, still []resting, err error) {
	w := homeLoad()
	cpus, err := b.allProcessors()
	if err != nil {
		return nil, nil, err
	}
	options := subject.Options{V6: v6, CPUs: cpus, Memory: homeMemory, Torrents: w.Population.Torrents,
		Sizes: subject.Sizes{Connect: bep15.ConnectSize, Announce: bep15.AnnounceReplySize + int(w.NumWant)*bep15.PeerSize(v6),
			Scrape: bep15.ScrapeReplySize + bep15.ScrapeEntrySize}}
	var servers []*contestant
	defer func() {
		for _, c := range servers {
			err = errors.Join(err, c.close())
		}
	}()
	for _, name := range b.chosen(v6) {
		if name == subject.Naive {
			continue
		}
		c, err := b.contestant(name, options)
		if err != nil {
			return nil, nil, err
		}
		servers = append(servers, c)
	}
	if !v6 {
		if still, err = b.rest(servers, "empty"); err != nil {
			return nil, nil, err
		}
	}
	for _, c := range servers {
		if c.Name != subject.Reference && c.Name != subject.Echo { // these store nothing
			if err := b.register(c, w); err != nil {
				return nil, nil, err
			}
		}
	}
	for round := range b.rounds {
		for _, r := range homeRates {
			for i := range servers {
				c := servers[(i+round)%len(servers)]
				if _, err := c.generator.Renew(); err != nil {
					return nil, nil, err
				}
				m, err := c.account(func() (*load.Result, error) { return c.generator.RunPaced(w, r.rate, r.length) })
				if err != nil {
					return nil, nil, err
				}
				if lost := m.result.Lost() + m.result.Refused() + m.result.Malformed(); lost > 0 {
					return nil, nil, fmt.Errorf("%s: %d of %d requests were not answered: %v", c.Name, lost, m.result.Requests(), m.result.Errors)
				}
				m.v6, m.round = v6, round
				all = append(all, paced{m, r.rate})
			}
		}
	}
	if !v6 {
		more, err := b.rest(servers, fmt.Sprint(w.Population.Peers, " peers"))
		if err != nil {
			return nil, nil, err
		}
		still = append(still, more...)
	}
	return all, still, nil
}

// allProcessors are the processors of the machine: the benchmark itself is pinned to one.
func (b *bench) allProcessors() ([]int, error) {
	if err := proc.PinThread(b.serverCPU, b.loadCPU); err != nil {
		return nil, err
	}
	cpus, err := proc.Processors()
	return cpus, errors.Join(err, proc.PinThread(b.loadCPU))
}

// rest counts the context switches of all servers at the same time, without
// requests.
func (b *bench) rest(servers []*contestant, state string) ([]resting, error) {
	time.Sleep(2 * time.Second) // until what the last requests caused is over
	var before []int
	for _, c := range servers {
		n, _, err := proc.ContextSwitches(c.PID())
		if err != nil {
			return nil, err
		}
		before = append(before, n)
	}
	time.Sleep(idleTime)
	var all []resting
	for i, c := range servers {
		n, threads, err := proc.ContextSwitches(c.PID())
		if err != nil {
			return nil, err
		}
		memory, err := proc.ReadMemory(c.PID())
		if err != nil {
			return nil, err
		}
		all = append(all, resting{c.Name, state, n - before[i], threads, memory.Resident})
		b.say("idle, %s, %s: %d context switches in %v, %d threads, %.2f MiB", state, c.Name, n-before[i], idleTime, threads, mib(memory.Resident))
	}
	return all, nil
}

func (b *bench) reportHome(all []paced, still []resting) error {
	var text strings.Builder
	fmt.Fprintf(&text, "# The load of a home\n\n%s.\n\n", machine())
	fmt.Fprintf(&text, "Processor time of all threads for an announce of 50 peers at an even pace, in microseconds: the median of %d rounds, and in brackets the\n"+
		"lowest and the highest. In each round all servers are measured in turn. The ratios are taken within a round. All servers have their default\n"+
		"settings and may use all processors; `-memory` of the tracker is %s. The reference is a C program that only receives and sends (`reference/reference.c`).\n\n",
		b.rounds, homeMemory)
	csv := report.Table{Names: []string{"family", "announces a second", "subject", "round", "us a request"}}
	for _, m := range all {
		csv.Add(family(m.v6), m.rate, m.subject, m.round, m.perRequest())
	}
	t := report.Table{Names: []string{"family", "announces a second", "subject", "us a request", "times the reference", "% of a processor"}}
	for _, v6 := range b.v6s() {
		for _, r := range homeRates {
			of := func(name string) (v []float64) {
				for _, m := range all {
					if m.v6 == v6 && m.rate == r.rate && m.subject == name {
						v = append(v, m.perRequest())
					}
				}
				return v
			}
			for _, name := range b.chosen(v6) {
				v := of(name)
				if len(v) == 0 {
					continue
				}
				s := report.NewSpread(v)
				ratio := ""
				if reference := of(subject.Reference); len(reference) == len(v) {
					ratio = report.NewSpread(report.Ratios(v, reference)).String()
				}
				t.Add(family(v6), r.rate, name, fmt.Sprintf("%.1f (%.1f-%.1f)", s.Median, s.Min, s.Max), ratio,
					fmt.Sprintf("%.2f", s.Median*r.rate/1e4))
			}
		}
	}
	text.WriteString(t.Markdown())
	fmt.Fprintf(&text, "\nWithout requests, for %v: context switches of all threads together.\n\n", idleTime)
	t = report.Table{Names: []string{"subject", "store", "context switches", "threads", "resident, MiB"}}
	for _, s := range still {
		t.Add(s.subject, s.state, s.switches, s.threads, fmt.Sprintf("%.2f", mib(s.resident)))
	}
	text.WriteString(t.Markdown())
	if path := b.path("home.csv"); path != "" {
		if err := csv.WriteCSV(path); err != nil {
			return err
		}
	}
	return b.publish("home.md", text.String())
}
