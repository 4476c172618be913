package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fabricionaweb/pico-tracker/bench/internal/load"
	"github.com/fabricionaweb/pico-tracker/bench/internal/proc"
	"github.com/fabricionaweb/pico-tracker/bench/internal/report"
	"github.com/fabricionaweb/pico-tracker/bench/internal/subject"
	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

// measurement is one run of one workload on one subject.
type measurement struct {
	v6       bool
	workload string
	subject  string
	round    int
	cpu      time.Duration
	result   *load.Result
}

// perRequest is processor time in microseconds.
func (m *measurement) perRequest() float64 {
	return float64(m.cpu.Nanoseconds()) / 1e3 / float64(max(m.result.Requests(), 1))
}

func (m *measurement) rate() float64 {
	return float64(m.result.Requests()) / m.result.Elapsed.Seconds()
}

// contestant is a server with the generator that speaks to it.
type contestant struct {
	*subject.Server
	generator *load.Generator
}

func (c *contestant) close() error { return errors.Join(c.generator.Close(), c.Stop()) }

func (b *bench) contestant(name string, o subject.Options) (*contestant, error) {
	s, err := b.programs.Start(name, o)
	if err != nil {
		return nil, err
	}
	g, err := load.New(s.Address)
	if err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return &contestant{s, g}, nil
}

// measure runs a workload and takes the server's processor time from before the first request until
// after the last reply.
func (c *contestant) measure(w load.Workload, length time.Duration) (*measurement, error) {
	if _, err := c.generator.Renew(); err != nil {
		return nil, err
	}
	window := load.Window
	if c.Name == subject.Opentracker {
		window = load.SmallWindow
	}
	return c.account(func() (*load.Result, error) { return c.generator.Run(w, window, length) })
}

func (c *contestant) account(run func() (*load.Result, error)) (*measurement, error) {
	before, err := proc.CPUTime(c.PID())
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", c.Name, err, c.Log())
	}
	r, err := run()
	if err != nil {
		return nil, err
	}
	after, err := proc.CPUTime(c.PID())
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", c.Name, err, c.Log())
	}
	return &measurement{subject: c.Name, cpu: after - before, result: r}, nil
}

// register fills a tracker with a workload's population. It returns an error if
// the tracker refuses or loses peers, even after retries.
func (b *bench) register(c *contestant, w load.Workload) error {
	r, err := c.generator.Register(w.Population)
	if err != nil {
		return err
	}
	if r.Announce.Answered != uint64(w.Population.Peers) {
		return fmt.Errorf("%s took %d of %d peers: %d refused, %d malformed, %d lost, errors %v\n%s", c.Name,
			r.Announce.Answered, w.Population.Peers, r.Announce.Refused, r.Announce.Malformed, r.Lost(), r.Errors, c.Log())
	}
	b.say("%s: %d peers registered in %.1f s", c.Name, w.Population.Peers, r.Elapsed.Seconds())
	return nil
}

// speed measures every workload on every subject.
func (b *bench) speed() error {
	start := time.Now()
	var all []*measurement
	var notes []note
	for _, v6 := range b.v6s() {
		for _, group := range b.groups() {
			m, n, err := b.compare(v6, group)
			if err != nil {
				return err
			}
			all, notes = append(all, m...), append(notes, n...)
		}
	}
	b.say("speed: done in %.0f s", time.Since(start).Seconds())
	return b.reportSpeed(all, notes)
}

// groups are the chosen workloads, those with the same population together: they are run on servers
// that are filled once.
func (b *bench) groups() [][]load.Workload {
	var groups [][]load.Workload
	for _, w := range load.Workloads() {
		if b.workloads != "" && !slices.Contains(strings.Split(b.workloads, ","), w.Name) {
			continue
		}
		last := len(groups) - 1
		if last >= 0 && groups[last][0].Population.Torrents == w.Population.Torrents {
			groups[last] = append(groups[last], w)
		} else {
			groups = append(groups, []load.Workload{w})
		}
	}
	return groups
}

// compare measures workloads that share a population, all subjects in turn, round after round.
func (b *bench) compare(v6 bool, group []load.Workload) (all []*measurement, notes []note, err error) {
	names := b.chosen(v6)
	var servers []*contestant
	defer func() {
		for _, c := range servers {
			err = errors.Join(err, c.close())
		}
	}()
	options := subject.Options{
		V6: v6, CPUs: []int{b.serverCPU}, Workers: 1, Memory: b.memory,
		Torrents: group[0].Population.Torrents,
	}
	for _, name := range names {
		if name == subject.Reference {
			continue // it stores nothing, and is started for each workload with its sizes
		}
		if name == subject.Naive && (v6 || group[0].Name != "announce") {
			continue // one comparison is enough, because filling it takes longer than measuring all others
		}
		c, err := b.contestant(name, options)
		if err != nil {
			return nil, nil, err
		}
		servers = append(servers, c)
		if err := b.register(c, group[0]); err != nil {
			return nil, nil, err
		}
	}

	var announce subject.Sizes // of the first workload, announces
	for _, w := range group {
		line := servers
		// A first run of each warms up; the first subject's says what the reference has to send.
		options.Sizes = subject.Sizes{Connect: bep15.ConnectSize, Announce: bep15.AnnounceReplySize + int(w.NumWant)*bep15.PeerSize(v6),
			Scrape: bep15.ScrapeReplySize + w.Hashes*bep15.ScrapeEntrySize}
		for i, c := range servers {
			m, err := c.measure(w, b.seconds/4)
			if err != nil {
				return nil, nil, err
			}
			if i > 0 {
				continue
			}
			if m.result.Announce.Answered > 0 {
				options.Sizes.Announce = int(m.result.Announce.BytesPerAnswer() + 0.5)
			}
			if m.result.Scrape.Answered > 0 {
				options.Sizes.Scrape = int(m.result.Scrape.BytesPerAnswer() + 0.5)
			}
		}
		if announce == (subject.Sizes{}) {
			announce = options.Sizes
		}
		if slices.Contains(names, subject.Reference) {
			c, err := b.contestant(subject.Reference, options)
			if err != nil {
				return nil, nil, err
			}
			line = append(slices.Clone(servers), c)
			if _, err := c.measure(w, b.seconds/4); err != nil {
				return nil, nil, errors.Join(err, c.close())
			}
		}
		measured, err := b.repeat(v6, w, line)
		if len(line) > len(servers) {
			err = errors.Join(err, line[len(line)-1].close())
		}
		if err != nil {
			return nil, nil, err
		}
		all = append(all, measured...)
	}

	if !b.extras || group[0].Name != "announce" {
		return all, nil, nil
	}
	saturated := func(name string) float64 {
		return report.NewSpread(values(all, v6, group[0].Name, name, (*measurement).rate)).Median
	}
	for _, c := range servers {
		more, err := b.details(c, group[0], saturated(c.Name))
		if err != nil && c.Name != subject.Pico && !c.Running() {
			more, err = append(more, b.ended(c)), nil
		}
		if err != nil {
			return nil, nil, err
		}
		notes = append(notes, more...)
	}
	if b.latency > 0 && slices.Contains(names, subject.Pico) && slices.Contains(names, subject.Reference) {
		// How much of the tracker's latency comes from the machine and
		// the generator.
		options.Sizes = announce
		c, err := b.contestant(subject.Reference, options)
		if err != nil {
			return nil, nil, err
		}
		n, err := b.latencyAt(c, group[0], saturated(subject.Pico)/2, min(b.latency, shortLatency))
		if err = errors.Join(err, c.close()); err != nil {
			return nil, nil, err
		}
		notes = append(notes, n)
	}
	if slices.Contains(names, subject.Pico) {
		note, err := b.twoWorkers(group[0], options)
		if err != nil {
			return nil, nil, err
		}
		notes = append(notes, note)
	}
	return all, notes, nil
}

// repeat measures one workload on all subjects in turn, and again. Each round begins with another
// subject, so that none is always the first after a pause.
func (b *bench) repeat(v6 bool, w load.Workload, line []*contestant) ([]*measurement, error) {
	var all []*measurement
	for round := range b.rounds {
		for i := range line {
			c := line[(i+round)%len(line)]
			m, err := c.measure(w, b.seconds)
			if err != nil {
				return nil, err
			}
			m.v6, m.workload, m.round = v6, w.Name, round
			all = append(all, m)
		}
	}
	for _, c := range line {
		b.say("%s %s, %s: %s us", family(v6), w.Name, c.Name, report.NewSpread(times(all, v6, w.Name, c.Name)))
	}
	return all, nil
}

// times are the measured microseconds a request, by round.
func times(all []*measurement, v6 bool, workload, subject string) []float64 {
	return values(all, v6, workload, subject, (*measurement).perRequest)
}

func values(all []*measurement, v6 bool, workload, subject string, value func(*measurement) float64) []float64 {
	var v []float64
	for _, m := range all {
		if m.v6 == v6 && m.workload == workload && m.subject == subject {
			v = append(v, value(m))
		}
	}
	return v
}
