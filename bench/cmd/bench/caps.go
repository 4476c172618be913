package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/fabricionaweb/pico-tracker/bench/internal/load"
	"github.com/fabricionaweb/pico-tracker/bench/internal/population"
	"github.com/fabricionaweb/pico-tracker/bench/internal/proc"
	"github.com/fabricionaweb/pico-tracker/bench/internal/report"
	"github.com/fabricionaweb/pico-tracker/bench/internal/subject"
)

const (
	listLines = 50_000
	// chunk is how many peers are announced between two checks of the
	// tracker, or two reloads.
	chunk = 125_000
	// mixed is how many peers of each population the last phase offers, over each family.
	mixed = 250_000
)

// capCase is a tracker that gets more peers than it can store.
type capCase struct {
	memory  string
	workers int
	list    bool
}

// phase is one kind of offer, over one family or, when both is set, over both in turn.
type phase struct {
	name string
	v6   bool
}

var phases = []phase{
	{"torrents", false}, {"torrents", true}, {"swarm", false}, {"swarm", true}, {"zipf", false}, {"zipf", true},
}

// offer is what a phase announces: a million peers. All begin at the first torrent, as the access list does.
func offer(name string) population.Population {
	switch name {
	case "torrents":
		return population.Singles(1_000_000)
	case "swarm":
		return population.Swarms(1, 1_000_000)
	}
	return population.Zipf(1_000_000, 500_000)
}

// capTable announces far more peers than fit into each tracker, in swarms of
// each kind, and reads the peak of its memory.
func (b *bench) capTable() error {
	t := report.Table{Names: []string{"-memory", "-workers", "whitelist"}}
	for _, p := range phases {
		t.Names = append(t.Names, p.name+" "+family(p.v6))
	}
	t.Names = append(t.Names, "mixed", "answered", "lost", "result")
	cases, err := b.capCases()
	if err != nil {
		return err
	}
	held := true
	for _, c := range cases {
		row, ok, err := b.offerAll(c)
		if err != nil {
			return err
		}
		held = held && ok
		t.Rows = append(t.Rows, row)
		b.say("caps: %s", strings.Join(row, " | "))
	}
	var text strings.Builder
	fmt.Fprintf(&text, "# The cap on memory\n\n%s.\n\n", machine())
	fmt.Fprintf(&text, "The most that the process ever had in memory (VmHWM, or what was counted if that is more), in MiB, after each phase. A phase offers 1,000,000\n"+
		"torrents of one peer, 1,000,000 peers in one swarm, or 1,000,000 peers on 500,000 torrents by Zipf's law; the\n"+
		"last offers %d of each, over both families in turn. A whitelist names %d torrents and is\n"+
		"reloaded (SIGHUP) after every %d announces.\n\n", mixed, listLines, chunk)
	text.WriteString(t.Markdown())
	if path := b.path("caps.csv"); path != "" {
		if err := t.WriteCSV(path); err != nil {
			return err
		}
	}
	if err := b.publish("caps.md", text.String()); err != nil {
		return err
	}
	if !held {
		return errors.New("a cap did not hold")
	}
	return nil
}

// capCases are all values of -memory with the fewest and the most workers and
// with a list. The smallest value, where a worker's memory counts most, has
// every number of workers.
func (b *bench) capCases() (cases []capCase, err error) {
	var workers []int
	for _, text := range strings.Split(b.workers, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("-workers: %w", err)
		}
		workers = append(workers, n)
	}
	for i, memory := range strings.Split(b.caps, ",") {
		for k, n := range workers {
			if i == 0 || k == 0 || k == len(workers)-1 {
				cases = append(cases, capCase{memory, n, false})
			}
		}
		cases = append(cases, capCase{memory, workers[len(workers)-1], true})
	}
	return cases, nil
}

// visitor is the tracker under a cap with a generator for each family.
type visitor struct {
	*subject.Server
	generators [2]*load.Generator
	list       string
	reloads    int
	answered   uint64
	lost       uint64
	// peak is the largest resident memory that was seen, in bytes.
	peak int64
}

func (v *visitor) close() error {
	var err error
	for _, g := range v.generators {
		if g != nil {
			err = errors.Join(err, g.Close())
		}
	}
	return errors.Join(err, v.Stop())
}

func (b *bench) offerAll(c capCase) (row []string, held bool, err error) {
	row = []string{c.memory, strconv.Itoa(c.workers), "no"}
	v := &visitor{}
	var args []string
	if c.list {
		row[2] = "yes"
		v.list = filepath.Join(b.dir, "access.txt")
		if err := subject.WriteList(v.list, listLines); err != nil {
			return nil, false, err
		}
		args = []string{"-whitelist", v.list}
	}
	limit, err := parseMemory(c.memory)
	if err != nil {
		return nil, false, err
	}
	v.Server, err = b.programs.Start(subject.Pico, subject.Options{
		CPUs: []int{b.serverCPU}, Workers: c.workers, Memory: c.memory, Args: args,
	})
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	for i := range v.generators {
		address := v.Address
		if i == 1 {
			address = v.AddressV6
		}
		if v.generators[i], err = load.New(address); err != nil {
			return nil, false, err
		}
	}

	for _, p := range phases {
		if err := v.offer(p, 0, 1_000_000); err != nil {
			return nil, false, err
		}
		row = append(row, fmt.Sprintf("%.2f", mib(v.peak)))
	}
	for from := 0; from < mixed; from += chunk / 5 {
		for _, p := range phases {
			if err := v.offer(p, from, from+chunk/5); err != nil {
				return nil, false, err
			}
		}
	}
	held = v.peak <= limit
	result := "holds"
	if !held {
		result = "EXCEEDED"
	}
	row = append(row, fmt.Sprintf("%.2f", mib(v.peak)), fmt.Sprint(v.answered), fmt.Sprint(v.lost), result)
	return row, held, nil
}

// offer registers some peers of a phase's population, a chunk at a time.
func (v *visitor) offer(p phase, from, to int) error {
	g := v.generators[0]
	if p.v6 {
		g = v.generators[1]
	}
	for ; from < to; from += chunk {
		r, err := g.RegisterSome(offer(p.name), from, min(from+chunk, to))
		if err != nil {
			return err
		}
		v.answered += r.Announce.Answered + r.Announce.Refused
		v.lost += r.Lost()
		m, err := proc.ReadMemory(v.PID())
		if err != nil {
			return fmt.Errorf("%w\n%s", err, v.Log())
		}
		v.peak = max(v.peak, m.Peak)
		if v.list == "" {
			continue
		}
		// Another file each time: a tracker need not read again what has not changed.
		v.reloads++
		next := v.list + ".next"
		if err := errors.Join(subject.WriteList(next, listLines-v.reloads%2), os.Rename(next, v.list), v.Signal(syscall.SIGHUP)); err != nil {
			return err
		}
	}
	return nil
}

// parseMemory reads a number of MiB or GiB, as in 16M.
func parseMemory(text string) (int64, error) {
	for suffix, unit := range map[string]int64{"M": 1 << 20, "G": 1 << 30} {
		if number, found := strings.CutSuffix(text, suffix); found {
			n, err := strconv.ParseInt(number, 10, 64)
			return n * unit, err
		}
	}
	return 0, fmt.Errorf("-caps has %q, want MiB or GiB as in 16M", text)
}
