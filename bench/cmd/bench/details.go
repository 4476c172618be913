package main

import (
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"time"

	"github.com/fabricionaweb/pico-tracker/bench/internal/load"
	"github.com/fabricionaweb/pico-tracker/bench/internal/proc"
	"github.com/fabricionaweb/pico-tracker/bench/internal/report"
	"github.com/fabricionaweb/pico-tracker/bench/internal/subject"
)

const (
	// burst is how many connects arrive at once if the tracker becomes
	// popular suddenly, or returns after a pause.
	burst = 4000
	// junk is how many datagrams of a flood are sent, and of how many random bytes.
	junk      = 500_000
	junkBytes = 64
	// shortLatency is how long latency is measured for other servers and
	// for IPv6.
	shortLatency = 10 * time.Second
)

// note is a line of the report that has no place in the table of workloads.
type note struct{ About, Subject, Figure string }

// details measures other things than the cost of a request: latency below
// saturation, the size of the queue, and the cost of packets that are not
// requests. With an error it also returns what it measured before.
func (b *bench) details(c *contestant, w load.Workload, saturated float64) ([]note, error) {
	if c.Name == subject.Naive {
		return nil, nil
	}
	var notes []note
	where := family(c.Address.Addr().Is6())
	add := func(about, format string, args ...any) {
		notes = append(notes, note{where + " " + about, c.Name, fmt.Sprintf(format, args...)})
		b.say("%s %s: %s: %s", where, c.Name, about, notes[len(notes)-1].Figure)
	}

	if b.latency > 0 {
		length := b.latency
		if c.Name != subject.Pico || c.Address.Addr().Is6() {
			length = min(length, shortLatency)
		}
		collections := c.Collections()
		n, err := b.latencyAt(c, w, saturated/2, length)
		if err != nil {
			return notes, err
		}
		notes = append(notes, n)
		if c.Name == subject.Pico {
			add("garbage collections", "%d in these %v, %d since the start", c.Collections()-collections, length, c.Collections())
		}
	}

	if err := proc.Freeze(c.PID()); err != nil {
		return notes, err
	}
	r, err := c.generator.Burst(burst, func() error { return proc.Thaw(c.PID()) })
	if err != nil {
		return notes, errors.Join(err, proc.Thaw(c.PID()))
	}
	add("burst", "of %d connects while the tracker did not run, %d were lost", burst, r.Lost())

	random := make([]byte, junkBytes)
	rand.New(rand.NewSource(1)).Read(random)
	m, err := c.account(func() (*load.Result, error) {
		d, err := c.generator.Flood(junk, random)
		return &load.Result{Elapsed: d}, err
	})
	if err != nil {
		return notes, err
	}
	add("flood", "%.3f us of processor time for each of %d datagrams of %d random bytes, %.0f a second",
		float64(m.cpu.Nanoseconds())/1e3/junk, junk, junkBytes, junk/m.result.Elapsed.Seconds())

	for _, line := range strings.Split(c.Log(), "\n") {
		if strings.Contains(line, "buffer") {
			add("log", "%s", line)
		}
	}
	return notes, nil
}

// ended notes that another server than ours ended during its measurements.
func (b *bench) ended(c *contestant) note {
	lines := strings.Split(strings.TrimSpace(c.Log()), "\n")
	n := note{family(c.Address.Addr().Is6()) + " end", c.Name, "it ended by itself: " + lines[len(lines)-1]}
	b.say("%s, %s: %s", n.About, n.Subject, n.Figure)
	return n
}

// latencyAt measures how long replies take at a rate that the server is not filled by.
func (b *bench) latencyAt(c *contestant, w load.Workload, rate float64, length time.Duration) (n note, err error) {
	if _, err := c.generator.Renew(); err != nil {
		return n, err
	}
	r, err := c.generator.RunAt(w, rate, length)
	if err != nil {
		return n, err
	}
	n = note{
		About: family(c.Address.Addr().Is6()) + " latency", Subject: c.Name,
		Figure: fmt.Sprintf("%.0f announces a second for %v: p50 %v, p99 %v, p99.9 %v, max %v; %d lost, %d sent late or again",
			rate, length, round(r.Latency.Quantile(0.5)), round(r.Latency.Quantile(0.99)), round(r.Latency.Quantile(0.999)),
			round(r.Latency.Max()), r.Lost(), r.Overrun+r.Resent),
	}
	b.say("%s, %s: %s", n.About, n.Subject, n.Figure)
	return n, nil
}

// twoWorkers compares the processor time for a request with one worker and with
// two. Both use both processors, so the difference is the time that two workers
// wait for each other.
func (b *bench) twoWorkers(w load.Workload, o subject.Options) (n note, err error) {
	o.CPUs = []int{b.serverCPU, b.loadCPU}
	var line []*contestant
	defer func() {
		for _, c := range line {
			err = errors.Join(err, c.close())
		}
	}()
	for workers := 1; workers <= 2; workers++ {
		o.Workers = workers
		c, err := b.contestant(subject.Pico, o)
		if err != nil {
			return n, err
		}
		line = append(line, c)
		if err := b.register(c, w); err != nil {
			return n, err
		}
	}
	var times [2][]float64
	for range b.rounds {
		for i, c := range line {
			m, err := c.measure(w, b.seconds)
			if err != nil {
				return n, err
			}
			times[i] = append(times[i], m.perRequest())
		}
	}
	n = note{
		About: family(o.V6) + " two workers", Subject: subject.Pico,
		Figure: fmt.Sprintf("%s us an announce, %s times one worker's, on two processors that the load generator shares",
			report.NewSpread(times[1]), report.NewSpread(report.Ratios(times[1], times[0]))),
	}
	b.say("%s: %s", n.About, n.Figure)
	return n, nil
}

func round(d time.Duration) time.Duration {
	if d > time.Millisecond {
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}
