// Load sends a workload to a running tracker and reports the replies.
//
// With -pid it also asks the kernel how much processor time and memory the tracker used for it.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sort"
	"time"

	"github.com/fabricionaweb/pico-tracker/bench/internal/load"
	"github.com/fabricionaweb/pico-tracker/bench/internal/population"
	"github.com/fabricionaweb/pico-tracker/bench/internal/proc"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run() error {
	server := flag.String("server", "127.0.0.1:1337", "`address` and port of the tracker, on loopback")
	name := flag.String("workload", "announce", "`name` of the workload; -list shows them")
	list := flag.Bool("list", false, "list the workloads and end")
	fill := flag.Bool("fill", false, "first register all peers of the workload's population")
	seconds := flag.Float64("seconds", 2, "how long to keep it up")
	window := flag.Int("window", load.Window, "`requests` outstanding at a time")
	rate := flag.Float64("rate", 0, "send at this many `requests` a second instead, whatever comes back")
	pid := flag.Int("pid", 0, "process `ID` of the tracker: measure its processor time and memory")
	cpu := flag.Int("cpu", -1, "pin the generator to this `processor`")
	asJSON := flag.Bool("json", false, "print JSON")
	singles := flag.Int("singles", 0, "instead of a workload, register this many torrents of one `peer`")
	swarms := flag.Int("swarms", 1, "number of swarms for -each")
	each := flag.Int("each", 0, "instead of a workload, register swarms of this many `peers`")
	zipf := flag.Int("zipf", 0, "instead of a workload, register this many `peers` over half as many torrents, by Zipf's law")
	burst := flag.Int("burst", 0, "instead of a workload, send this many `connects` at once (with -pid: to a tracker that is stopped meanwhile)")
	flood := flag.String("flood", "", "instead of a workload, flood for -seconds and read no answer; the `kind` is one of -list")
	flag.Parse()

	if *list {
		for _, w := range load.Workloads() {
			fmt.Printf("%-14s %s\n", w.Name, w.About)
		}
		fmt.Printf("floods: %q\n", load.Floods())
		return nil
	}
	address, err := netip.ParseAddrPort(*server)
	if err != nil {
		return err
	}
	if !address.Addr().IsLoopback() {
		return fmt.Errorf("%s is not a loopback address: this program is for trackers on the same machine", address.Addr())
	}
	w, err := load.Find(*name)
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if *cpu >= 0 {
		if err := proc.PinThread(*cpu); err != nil {
			return err
		}
	}
	length := time.Duration(*seconds * float64(time.Second))
	if *flood != "" {
		return runFlood(address, *flood, *cpu, length)
	}
	g, err := load.New(address)
	if err != nil {
		return err
	}
	defer g.Close()
	m := meter{pid: *pid, json: *asJSON}

	switch {
	case *singles > 0:
		return m.measure(func() (*load.Result, error) { return g.Register(population.Singles(*singles)) })
	case *each > 0:
		return m.measure(func() (*load.Result, error) { return g.Register(population.Swarms(*swarms, *each)) })
	case *zipf > 0:
		return m.measure(func() (*load.Result, error) { return g.Register(population.Zipf(*zipf, (*zipf+1)/2)) })
	case *burst > 0:
		return m.burst(g, *burst)
	}
	if *fill {
		r, err := g.Register(w.Population)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "registered %d peers in %.1f s: %d answered, %d refused, %d lost\n",
			w.Population.Peers, r.Elapsed.Seconds(), r.Announce.Answered, r.Announce.Refused, r.Announce.Lost)
	}
	if _, err := g.Renew(); err != nil {
		return err
	}
	return m.measure(func() (*load.Result, error) {
		if *rate > 0 {
			return g.RunAt(w, *rate, length)
		}
		return g.Run(w, *window, length)
	})
}

// runFlood floods a tracker and prints how many datagrams were sent.
func runFlood(address netip.AddrPort, kind string, cpu int, length time.Duration) error {
	f, err := load.NewFlood(address, kind, time.Now().UnixNano())
	if err != nil {
		return err
	}
	f.Start(cpu)
	time.Sleep(length)
	sent, err := f.Stop()
	fmt.Printf("%d datagrams, %d answers read: a flood of %s in %v\n", sent, f.Read, kind, length)
	return err
}

type meter struct {
	pid  int
	json bool
}

func (m meter) measure(run func() (*load.Result, error)) error {
	var before, after time.Duration
	var memory [2]proc.Memory
	var err error
	if m.pid != 0 {
		if before, err = proc.CPUTime(m.pid); err != nil {
			return err
		}
		if memory[0], err = proc.ReadMemory(m.pid); err != nil {
			return err
		}
	}
	r, err := run()
	if err != nil {
		return err
	}
	if m.pid != 0 {
		if after, err = proc.CPUTime(m.pid); err != nil {
			return err
		}
		if memory[1], err = proc.ReadMemory(m.pid); err != nil {
			return err
		}
	}
	if m.json {
		return m.printJSON(r, after-before, memory)
	}
	m.print(r, after-before, memory)
	return nil
}

func (m meter) print(r *load.Result, cpu time.Duration, memory [2]proc.Memory) {
	requests := r.Requests()
	fmt.Printf("%d requests in %.2f s, %.0f a second: %d answered, %d refused, %d malformed, %d lost, %d sent again, %d stray, %d overrun\n",
		requests, r.Elapsed.Seconds(), float64(requests)/r.Elapsed.Seconds(),
		r.Answered(), r.Refused(), r.Malformed(), r.Lost(), r.Resent, r.Stray, r.Overrun)
	if r.Announce.Answered > 0 {
		fmt.Printf("announce: %d answered, %.1f peers and %.1f bytes each\n",
			r.Announce.Answered, r.PeersPerAnnounce(), r.Announce.BytesPerAnswer())
	}
	if r.Scrape.Answered > 0 {
		fmt.Printf("scrape: %d answered, %.1f bytes each\n", r.Scrape.Answered, r.Scrape.BytesPerAnswer())
	}
	fmt.Printf("latency: p50 %v, p99 %v, p99.9 %v, max %v\n",
		r.Latency.Quantile(0.5), r.Latency.Quantile(0.99), r.Latency.Quantile(0.999), r.Latency.Max())
	for _, text := range sortedKeys(r.Errors) {
		fmt.Printf("error %q: %d times\n", text, r.Errors[text])
	}
	if m.pid != 0 {
		fmt.Printf("tracker: %.3f us of processor time a request, busy %.0f %%; resident %.1f -> %.1f MiB (peak %.1f)\n",
			float64(cpu.Nanoseconds())/1e3/float64(max(requests, 1)), 100*cpu.Seconds()/r.Elapsed.Seconds(),
			mib(memory[0].Resident), mib(memory[1].Resident), mib(memory[1].Peak))
	}
}

func (m meter) printJSON(r *load.Result, cpu time.Duration, memory [2]proc.Memory) error {
	out := map[string]any{
		"seconds": r.Elapsed.Seconds(), "requests": r.Requests(), "answered": r.Answered(), "refused": r.Refused(),
		"malformed": r.Malformed(), "lost": r.Lost(), "resent": r.Resent, "stray": r.Stray, "overrun": r.Overrun,
		"connect": r.Connect, "announce": r.Announce, "scrape": r.Scrape,
		"peers_per_announce": r.PeersPerAnnounce(), "errors": r.Errors,
		"p50_us": micro(r.Latency.Quantile(0.5)), "p99_us": micro(r.Latency.Quantile(0.99)),
		"p999_us": micro(r.Latency.Quantile(0.999)), "max_us": micro(r.Latency.Max()),
	}
	if m.pid != 0 {
		out["cpu_us_per_request"] = micro(cpu) / float64(max(r.Requests(), 1))
		out["resident_before"], out["resident_after"] = memory[0].Resident, memory[1].Resident
		out["resident_peak"] = memory[1].Peak
	}
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

// burst sends connects while the tracker is stopped, so that only the size of
// its receive buffer counts.
func (m meter) burst(g *load.Generator, connects int) error {
	resume := func() error { return nil }
	if m.pid != 0 {
		if err := proc.Freeze(m.pid); err != nil {
			return err
		}
		resume = func() error { return proc.Thaw(m.pid) }
	}
	r, err := g.Burst(connects, resume)
	if err != nil {
		return errors.Join(err, resume())
	}
	fmt.Printf("%d connects at once: %d answered, %d refused, %d lost\n", connects, r.Connect.Answered, r.Refused(), r.Lost())
	return nil
}

func sortedKeys(m map[string]uint64) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func mib(bytes int64) float64       { return float64(bytes) / (1 << 20) }
func micro(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
