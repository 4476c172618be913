//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The soak test lets honest swarms announce while one fault after another
// happens, and ends with a verdict.

const (
	// soakEnv is how long; make soak sets it.
	soakEnv   = "PICO_SOAK_TIME"
	soakShort = 15 * time.Second

	soakMemory = 16 << 20
	soakCrowds = 3
	// soakPace is how often a member announces. soakQuiet is the time
	// between two faults.
	soakPace  = 50 * time.Millisecond
	soakQuiet = time.Second
)

// results counts the replies to honest announces, by the fault that happens at
// the time.
type results struct {
	mu    sync.Mutex
	now   string // the current fault
	lines map[string]*faultResults
	wrong []string // wrong replies
}

type faultResults struct{ answered, again, lost int }

const quiet = "nothing"

// goes records which fault begins now.
func (l *results) goes(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = what
}

// keepAnnouncing announces a member until stop is closed, and checks that each
// reply has all the others.
func (l *results) keepAnnouncing(c *probeSwarm, m *member, stop <-chan struct{}) {
	tick := time.NewTicker(soakPace)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		l.mu.Lock()
		began := l.now
		l.mu.Unlock()
		again := m.again
		peers, err := m.announce(c.hash)
		l.mu.Lock()
		// A request that was sent before a fault and answered during it
		// counts for the fault.
		if began == quiet {
			began = l.now
		}
		line := l.lines[began]
		if line == nil {
			line = &faultResults{}
			l.lines[began] = line
		}
		line.again += m.again - again
		if err != nil {
			line.lost++
			l.wrong = append(l.wrong, fmt.Sprintf("%s, while %s went wrong: %v", m.self(), began, err))
		} else {
			line.answered++
			if err := c.check(m.probe, peers); err != nil {
				l.wrong = append(l.wrong, err.Error())
			}
		}
		l.mu.Unlock()
	}
}

// usage has the resources of the tracker's process.
type usage struct {
	at               time.Duration
	resident         int
	threads, handles int
}

func (tr *tracker) usage(since time.Time) usage {
	tr.Helper()
	proc := fmt.Sprintf("/proc/%d/", tr.cmd.Process.Pid)
	threads, err := os.ReadDir(proc + "task")
	if err != nil {
		tr.Fatal(err)
	}
	handles, err := os.ReadDir(proc + "fd")
	if err != nil {
		tr.Fatal(err)
	}
	return usage{time.Since(since), tr.status("VmRSS"), len(threads), len(handles)}
}

// listFaults are the faults of the list in a soak test. Between them the list
// is correct.
var listFaults = []struct {
	name, says string
	do         func(path string) error
}{
	{name: "a list that is a device", says: "not a file or a directory", do: func(path string) error { return os.Symlink("/dev/zero", path) }},
	{name: "a list that can't be read", says: "the list that was read before stays in force", do: func(path string) error { return os.Symlink("/proc/self/mem", path) }},
	{name: "a list that is too large", says: "more info hashes than the memory set aside", do: func(path string) error {
		var text bytes.Buffer
		for i := range 200_000 {
			fmt.Fprintf(&text, "%040x\n", i)
		}
		return os.WriteFile(path, text.Bytes(), 0o644)
	}},
}

func TestSoak(t *testing.T) {
	length := soakShort
	if text := os.Getenv(soakEnv); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("%s: %v", soakEnv, err)
		}
	} else {
		t.Parallel()
	}
	l := newLab(t)
	list := filepath.Join(l.dir, "list")
	if err := os.WriteFile(list, []byte(strings.Repeat("f", 40)), 0o644); err != nil {
		t.Fatal(err)
	}
	h := l.host("tracker", dual)
	stats := filepath.Join(l.dir, "stats.prom")
	tr := h.tracker("-memory", strconv.Itoa(soakMemory), "-blacklist", list, "-stats", stats, "-stats-interval", "1s")
	s := &fixture{probeSwarm: l.host("strangers", dual).probeSwarm(tr, "strangers"), host: h, link: h.impair()}

	book := &results{now: quiet, lines: map[string]*faultResults{}}
	stop := make(chan struct{})
	var honest sync.WaitGroup
	for i := range soakCrowds {
		c := l.host(fmt.Sprintf("honest%d", i), dual).probeSwarm(tr, fmt.Sprintf("honest %d", i))
		c.impatient(180, 500*time.Millisecond)
		for _, m := range c.members {
			honest.Add(1)
			go func() {
				defer honest.Done()
				book.keepAnnouncing(c, m, stop)
			}()
		}
	}
	stopHonest := sync.OnceFunc(func() { close(stop); honest.Wait() })
	defer stopHonest()

	// The faults of each round come in another order.
	var floodReplies uint64
	all := soakFaults(s, list, length, &floodReplies)

	start := time.Now()
	samples := []usage{tr.usage(start)}
	rng := rand.New(rand.NewPCG(uint64(start.UnixNano()), 0))
	rounds := 0
	for ; rounds == 0 || time.Since(start) < length; rounds++ {
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, m := range all {
			if rounds > 0 && time.Since(start) > length {
				break
			}
			book.goes(m.name)
			m.do()
			s.impatient(8, time.Second)
			s.awaitWhole()
			book.goes(quiet)
			peace := time.NewTimer(min(soakQuiet, length/100))
			<-peace.C
			samples = append(samples, tr.usage(start))
		}
	}
	stopHonest()
	s.awaitWhole()
	l.awaitSums(stats)
	l.await("as many descriptors as in the beginning", func() error {
		samples = append(samples, tr.usage(start))
		if first, last := samples[0].handles, samples[len(samples)-1].handles; last != first {
			return fmt.Errorf("%d, not %d", last, first)
		}
		return nil
	})
	peak := tr.status("VmHWM")
	tr.stop(syscall.SIGTERM)
	if tr.err != nil {
		t.Errorf("the tracker, told to stop: %v", tr.err)
	}

	t.Logf("%v, %d rounds of %d faults", time.Since(start).Round(time.Second), rounds, len(all))
	book.judge(t)
	judgeUsage(t, samples, peak)
	h.judgeCounters(lastLine(tr.read(tr.log)), floodReplies)
}

// soakFault is a fault from its begin to its end.
type soakFault struct {
	name string
	do   func()
}

// soakFaults returns the faults of a round: those of the network, floods, bad
// access lists and, in a long test, a tracker that is stopped. The floods add the
// replies that they got to floodReplies.
func soakFaults(s *fixture, list string, length time.Duration, floodReplies *uint64) (all []soakFault) {
	for _, f := range faults {
		all = append(all, soakFault{f.name, func() { f.do(s); f.during(s); f.undo(s) }})
	}
	floodTime := min(5, length.Seconds()/20)
	for _, kind := range []string{"junk", "connects", "bad IDs", "announces"} {
		all = append(all, soakFault{"a flood of " + kind, func() {
			_, n := s.host.flood(kind, floodTime).over()
			*floodReplies += n
		}})
	}
	for _, f := range listFaults {
		all = append(all, soakFault{f.name, func() {
			err := os.Remove(list)
			if err == nil {
				err = f.do(list)
			}
			if err == nil {
				s.tracker.reload(f.says)
				err = os.RemoveAll(list)
			}
			if err == nil {
				err = os.WriteFile(list, []byte(strings.Repeat("f", 40)), 0o644)
			}
			if err != nil {
				s.Fatal(err)
			}
			s.tracker.reload("list: 1 torrent")
		}})
	}
	if length >= 5*time.Minute {
		all = append(all, soakFault{"stopped for a minute", func() {
			s.host.run("sh", "-c",
				fmt.Sprintf("kill -STOP %[1]d; sleep 60; kill -CONT %[1]d", s.tracker.cmd.Process.Pid))
		}})
	}
	return all
}

// judge reports what happened to the honest announces.
func (l *results) judge(t *testing.T) {
	t.Helper()
	var names []string
	for name := range l.lines {
		names = append(names, name)
	}
	slices.Sort(names)
	total := faultResults{}
	for _, name := range names {
		line := l.lines[name]
		t.Logf("%-34s %6d announces answered, %5d sent again, %d lost", name+":", line.answered, line.again, line.lost)
		total.answered += line.answered
	}
	if total.answered == 0 {
		t.Error("no announce was answered")
	}
	if line := l.lines[quiet]; line == nil || line.again > 2+line.answered/50 {
		t.Errorf("where nothing went wrong: %+v", line)
	}
	for i, text := range l.wrong {
		if i == 10 {
			t.Errorf("and %d more", len(l.wrong)-i)
			break
		}
		t.Error(text)
	}
}

// judgeUsage checks that memory, threads and descriptors do not grow: the last
// third must not have more than the second.
func judgeUsage(t *testing.T, samples []usage, peak int) {
	t.Helper()
	end := samples[len(samples)-1].at
	var most [3]usage
	for _, u := range samples {
		third := &most[min(2, int(3*u.at/(end+1)))]
		third.resident = max(third.resident, u.resident)
		third.threads = max(third.threads, u.threads)
		third.handles = max(third.handles, u.handles)
	}
	t.Logf("at most, by thirds of the time: %+v; resident ever: %d", most, peak)
	if peak > soakMemory {
		t.Errorf("%d bytes resident, want at most %d", peak, soakMemory)
	}
	const noise = 512 << 10
	before, after := most[1], most[2]
	if after.resident > max(before.resident, most[0].resident)+noise && end > time.Minute {
		t.Errorf("resident memory grows: %+v", most)
	}
	// The runtime adds a thread where one is stuck in a call.
	if after.threads > max(before.threads, most[0].threads)+2 {
		t.Errorf("threads: %+v", most)
	}
}

// awaitSums waits for a new report and checks its sums: each datagram was
// answered, refused or dropped, and each new peer is stored or was removed.
func (l *lab) awaitSums(path string) {
	l.Helper()
	var uptime uint64
	l.await("a report that adds up", func() error {
		f := l.figures(path)
		if uptime == 0 {
			uptime = f["uptime_seconds"]
		}
		if f["uptime_seconds"] <= uptime {
			return fmt.Errorf("of %d s after the start", f["uptime_seconds"])
		}
		received := f["received_datagrams_total"]
		if sum := f["connects_total"] + f["announces_total"] + f["scrapes_total"] + f["errors_total"] + f["drops_total"]; sum != received || sum == 0 {
			l.Fatalf("%d datagrams received, in all %d answered, refused or dropped: %v", received, sum, f)
		}
		if came, left := f[`announces_total new`], f["removed_peers_total"]; came-left != f["peers"] {
			l.Fatalf("%d peers came, %d left, %d are there: %v", came, left, f["peers"], f)
		}
		l.Logf("%d datagrams received: %d connects, %d announces and %d scrapes answered, %d refused, %d dropped; %d dropped by the kernel before",
			received, f["connects_total"], f["announces_total"], f["scrapes_total"], f["errors_total"], f["drops_total"], f["kernel_drops_total"])
		return nil
	})
}

// figures are the sums of each metric in a report, and of the announces with
// the result new.
func (l *lab) figures(path string) map[string]uint64 {
	l.Helper()
	sums := map[string]uint64{}
	for _, line := range strings.Split(l.read(path), "\n") {
		sample, value, ok := strings.Cut(line, " ")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		name, labels, _ := strings.Cut(strings.TrimPrefix(sample, "pico_tracker_"), "{")
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			continue // seconds, with a point
		}
		sums[name] += n
		if strings.Contains(labels, `result="new"`) {
			sums[name+" new"] += n
		}
	}
	return sums
}

// judgeCounters compares the tracker's count of received datagrams with the
// kernel's count on its host, without the datagrams of other programs.
func (h *host) judgeCounters(stopped string, othersRead uint64) {
	h.Helper()
	out, err := h.command("sh", "-c", "cat /proc/net/snmp /proc/net/snmp6").Output()
	if err != nil {
		h.Fatal(err)
	}
	handed := uint64(0)
	lines := strings.Split(string(out), "\n")
	for i, line := range lines {
		f := strings.Fields(line)
		switch {
		case len(f) == 2 && f[0] == "Udp6InDatagrams":
			handed += parse(h.T, f[1])
		case len(f) > 1 && f[0] == "Udp:" && f[1] == "InDatagrams":
			handed += parse(h.T, strings.Fields(lines[i+1])[1])
		}
	}
	_, text, _ := strings.Cut(stopped, "stopped: ")
	text, _, _ = strings.Cut(text, " ")
	if received := parse(h.T, text); received+othersRead != handed {
		h.Errorf("the tracker counts %d datagrams, others on its host %d; the kernel %d", received, othersRead, handed)
	} else {
		h.Logf("%d datagrams received, as the kernel says", received)
	}
}

func parse(t *testing.T, text string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
