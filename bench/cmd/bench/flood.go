package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/fabricionaweb/pico-tracker/bench/internal/load"
	"github.com/fabricionaweb/pico-tracker/bench/internal/population"
	"github.com/fabricionaweb/pico-tracker/bench/internal/proc"
	"github.com/fabricionaweb/pico-tracker/bench/internal/report"
	"github.com/fabricionaweb/pico-tracker/bench/internal/subject"
)

const (
	floodLength = 5 * time.Second
	afterFlood  = 2 * time.Second
	floodMemory = "16M" // full within a second of a flood of announces
	// honestRate is how many announces a second honest clients make.
	honestRate = 2000
	// junkShare is how much junk may cost as a share of a connect, because
	// the kernel drops it.
	junkShare = 1.0 / 3
)

// honest are the clients that announce during the flood.
func honest() load.Workload {
	return load.Workload{Population: population.Swarms(100, 100), Announces: 1, NumWant: 50}
}

// flooded is what a tracker did under a flood.
type flooded struct {
	kind, subject string
	sent          uint64 // datagrams of the flood
	dropped       uint64 // by the kernel, the honest among them
	cpu           time.Duration
	during, after *load.Result
	drained       time.Duration // from the end of the flood until nothing waits any more
	before, peak  int64         // memory, bytes
}

// taken is how many datagrams reached the tracker.
func (f *flooded) taken() uint64 {
	all := f.sent + f.during.Requests() + f.during.Lost()
	return all - min(all, f.dropped)
}

func share(r *load.Result) float64 {
	return 100 * float64(r.Announce.Answered) / float64(max(1, r.Requests()+r.Lost()+r.Overrun))
}

// floodTable floods each tracker with each kind of flood, from both processors,
// while honest clients announce. It takes the trackers in turn, in several
// rounds.
func (b *bench) floodTable() error {
	t := report.Table{Names: []string{"flood", "subject", "sent a second", "taken a second", "us a datagram sent",
		"% of honest answered", "latency p99, ms", "queue empty after, ms", "% answered afterwards", "MiB before", "MiB at most"}}
	var all []*flooded
	var wrong []error
	for _, kind := range load.Floods() {
		var names []string
		for _, name := range b.chosen(false) {
			if name != subject.Reference && name != subject.Naive { // nothing is asked of these but speed
				names = append(names, name)
			}
		}
		for range b.rounds {
			for _, name := range names {
				f, err := b.flood(kind, name)
				if err != nil {
					return err
				}
				all = append(all, f)
				if name == subject.Pico {
					wrong = append(wrong, f.judge())
				}
			}
		}
		for _, name := range names {
			t.Rows = append(t.Rows, floodRow(kind, name, all))
			b.say("flood: %s", strings.Join(t.Rows[len(t.Rows)-1], " | "))
		}
	}
	wrong = append(wrong, judgeJunk(all))
	var text strings.Builder
	fmt.Fprintf(&text, "# Floods\n\n%s.\n\n", machine())
	fmt.Fprintf(&text, "A flood comes from %d addresses for %v, as fast as a thread on each processor sends it, one of them the tracker's own, while honest clients\n"+
		"make %d announces a second, none of them twice. What is taken is what the kernel has not dropped, by its counter of the socket (which has what the\n"+
		"filter drops too); microseconds are the tracker's. Bad IDs have the date of today; announces have good IDs and fill the tracker. -memory is %s.\n"+
		"Medians of %d rounds, and the spread of what is answered.\n\n",
		load.FloodSources, floodLength, honestRate, floodMemory, b.rounds)
	text.WriteString(t.Markdown())
	if path := b.path("flood.csv"); path != "" {
		if err := t.WriteCSV(path); err != nil {
			return err
		}
	}
	return errors.Join(b.publish("flood.md", text.String()), errors.Join(wrong...))
}

// floodRow sums up the rounds of one flood of one tracker.
func floodRow(kind, name string, all []*flooded) []string {
	of := func(value func(*flooded) float64) report.Spread {
		var values []float64
		for _, f := range all {
			if f.kind == kind && f.subject == name {
				values = append(values, value(f))
			}
		}
		return report.NewSpread(values)
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
	t := report.Table{}
	t.Add(kind, name,
		of(func(f *flooded) float64 { return float64(f.sent) / f.during.Elapsed.Seconds() }).Median,
		of(func(f *flooded) float64 { return float64(f.taken()) / f.during.Elapsed.Seconds() }).Median,
		of((*flooded).perSent).Median,
		of(func(f *flooded) float64 { return share(f.during) }),
		of(func(f *flooded) float64 { return ms(f.during.Latency.Quantile(0.99)) }).Median,
		of(func(f *flooded) float64 { return ms(f.drained) }).Median,
		of(func(f *flooded) float64 { return share(f.after) }),
		of(func(f *flooded) float64 { return mib(f.before) }).Median,
		of(func(f *flooded) float64 { return mib(f.peak) }).Max)
	return t.Rows[0]
}

func (f *flooded) perSent() float64 {
	return float64(f.cpu.Nanoseconds()) / 1e3 / float64(max(1, f.sent))
}

// judge returns an error if a result is not acceptable.
func (f *flooded) judge() error {
	limit, err := parseMemory(floodMemory)
	if err != nil {
		return err
	}
	if f.peak > limit {
		return fmt.Errorf("a flood of %s took %.2f MiB", f.kind, mib(f.peak))
	}
	if share(f.after) < 99.9 {
		return fmt.Errorf("after a flood of %s %.1f %% of the honest are answered", f.kind, share(f.after))
	}
	return nil
}

// judgeJunk compares the cost of junk with the cost of a connect.
func judgeJunk(all []*flooded) error {
	var junk, connects []float64
	for _, f := range all {
		switch {
		case f.subject != subject.Pico:
		case f.kind == "junk":
			junk = append(junk, f.perSent())
		case f.kind == "connects":
			connects = append(connects, float64(f.cpu.Nanoseconds())/1e3/float64(max(1, f.taken())))
		}
	}
	if j, c := report.NewSpread(junk).Median, report.NewSpread(connects).Median; j > c*junkShare {
		return fmt.Errorf("a datagram of junk costs %.3f us, a connect %.3f", j, c)
	}
	return nil
}

func (b *bench) flood(kind, name string) (f *flooded, err error) {
	c, err := b.contestant(name, subject.Options{CPUs: []int{b.serverCPU}, Workers: 1, Memory: floodMemory, Torrents: load.FloodTorrents})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	w := honest()
	if err := b.register(c, w); err != nil {
		return nil, err
	}
	if _, err := c.generator.Renew(); err != nil {
		return nil, err
	}
	f = &flooded{kind: kind, subject: name}
	memory, err := proc.ReadMemory(c.PID())
	if err != nil {
		return nil, err
	}
	f.before = memory.Resident

	var floods []*load.Flood
	for _, cpu := range []int{b.serverCPU, b.loadCPU} {
		one, err := load.NewFlood(c.Address, kind, int64(cpu))
		if err != nil {
			return nil, err
		}
		floods = append(floods, one)
	}
	_, dropped, err := sockets(c)
	if err != nil {
		return nil, err
	}
	for i, cpu := range []int{b.serverCPU, b.loadCPU} {
		floods[i].Start(cpu)
	}
	c.generator.Once = true
	m, err := c.account(func() (*load.Result, error) {
		r, err := c.generator.RunAt(w, honestRate, floodLength)
		for _, one := range floods {
			sent, stopped := one.Stop()
			f.sent += sent
			err = errors.Join(err, stopped)
		}
		return r, err
	})
	if err != nil {
		return nil, err
	}
	f.during, f.cpu = m.result, m.cpu
	if f.drained, err = drain(c); err != nil {
		return nil, err
	}
	if f.after, err = c.generator.RunAt(w, honestRate, afterFlood); err != nil {
		return nil, err
	}
	if _, f.dropped, err = sockets(c); err != nil {
		return nil, err
	}
	f.dropped -= dropped
	if memory, err = proc.ReadMemory(c.PID()); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, c.Log())
	}
	f.peak = memory.Peak
	return f, nil
}

// drain waits until a server has taken what is in its queue, and returns how long that took.
func drain(c *contestant) (time.Duration, error) {
	const patience = 10 * time.Second
	start := time.Now()
	for {
		queue, _, err := sockets(c)
		if err != nil {
			return 0, err
		}
		if since := time.Since(start); queue == 0 || since > patience {
			return since, nil
		}
		time.Sleep(time.Millisecond)
	}
}

// sockets asks the kernel about a server's sockets: the bytes that wait in
// them, and the datagrams that were dropped.
func sockets(c *contestant) (queue, dropped uint64, err error) {
	text, err := os.ReadFile("/proc/net/udp")
	if err != nil {
		return 0, 0, err
	}
	port := fmt.Sprintf(":%04X", c.Address.Port())
	for _, line := range strings.Split(string(text), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 5 || !strings.HasSuffix(fields[1], port) {
			continue
		}
		_, waiting, _ := strings.Cut(fields[4], ":") // tx_queue:rx_queue
		n, err := strconv.ParseUint(waiting, 16, 64)
		if err != nil {
			return 0, 0, err
		}
		queue += n
		if n, err = strconv.ParseUint(fields[len(fields)-1], 10, 64); err != nil {
			return 0, 0, err
		}
		dropped += n
	}
	return queue, dropped, nil
}
