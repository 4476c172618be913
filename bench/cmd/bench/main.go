// Bench measures Pico Tracker beside the reference, the opentracker of Debian and a naive
// tracker, in a network namespace of its own. It is run from the bench directory:
//
//	go run ./cmd/bench                      # speed, printed
//	go run ./cmd/bench -run memory,caps     # memory, printed
//	go run ./cmd/bench -out results         # what make bench does
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/fabricionaweb/pico-tracker/bench/internal/proc"
	"github.com/fabricionaweb/pico-tracker/bench/internal/subject"
)

type settings struct {
	run       string
	out       string
	pico      string
	base      string
	families  string
	workloads string
	subjects  string
	rounds    int
	seconds   time.Duration
	latency   time.Duration
	extras    bool
	memory    string
	caps      string
	workers   string
	load      string
	instances int
	share     string
	peers     int
	torrents  int
	serverCPU int
	loadCPU   int
}

func main() {
	var s settings
	flag.StringVar(&s.run, "run", "speed", "what to measure, of `speed,home,memory,caps,flood,scale`")
	flag.StringVar(&s.out, "out", "", "also write CSV, Markdown and charts into this `directory`")
	flag.StringVar(&s.pico, "pico", "", "measure this `binary` of Pico Tracker; it is built when not given")
	flag.StringVar(&s.base, "base", "", "also measure this `binary` of Pico Tracker: the subject base")
	flag.StringVar(&s.families, "families", "v4,v6", "address `families`")
	flag.StringVar(&s.workloads, "workloads", "", "speed: `names` of workloads; all when not given (go run ./cmd/load -list)")
	flag.StringVar(&s.subjects, "subjects", "pico-tracker,reference,opentracker,aquatic_udp,naive", "`names` of what is measured")
	flag.IntVar(&s.rounds, "rounds", 5, "speed, flood: how often each measurement is repeated")
	flag.DurationVar(&s.seconds, "length", time.Second, "speed: `time` that each measurement takes")
	flag.DurationVar(&s.latency, "latency", time.Minute, "speed: `time` at half of the saturating rate, 0 for none")
	flag.BoolVar(&s.extras, "extras", true, "speed: also two workers, a burst and a flood of junk")
	flag.StringVar(&s.memory, "memory", "512M", "speed, memory: -memory of Pico Tracker")
	flag.StringVar(&s.caps, "caps", "8M,16M,64M,512M", "caps: `values` of -memory that must hold")
	flag.StringVar(&s.workers, "workers", "1,2,3,4", "caps: `values` of -workers")
	flag.StringVar(&s.load, "load", "", "memory: `names` of loads; all when not given")
	flag.IntVar(&s.instances, "instances", 8, "scale: `number` of instances behind one balancer")
	flag.StringVar(&s.share, "share", "128M", "scale: -memory of each")
	flag.IntVar(&s.peers, "peers", 50_000_000, "scale: `number` of peers")
	flag.IntVar(&s.torrents, "torrents", 5_000_000, "scale: `number` of torrents")
	flag.IntVar(&s.serverCPU, "server-cpu", 0, "`processor` of the server")
	flag.IntVar(&s.loadCPU, "load-cpu", 1, "`processor` of the load generator")
	flag.Parse()

	var err error
	if dir := os.Getenv(insideNamespace); dir == "" {
		err = outside(s)
	} else {
		err = inside(s, dir)
	}
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		os.Exit(ended.ExitCode()) // it has said why
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// insideNamespace is the variable that tells the second run of this program where the programs lie.
const insideNamespace = "PICO_BENCH_DIR"

// outside builds the programs while there is a network, and runs itself in a
// network namespace that ends with it. No port, route or address of the machine
// changes.
func outside(s settings) error {
	if cpus := runtime.NumCPU(); cpus < 2 {
		return errors.New("a server and a load generator need a processor each; this machine has one")
	}
	dir, err := os.MkdirTemp("", "pico-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := subject.Build(dir, "..", s.pico, strings.Split(s.subjects, ",")); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	again := exec.Command(self, os.Args[1:]...)
	again.Env = append(os.Environ(), insideNamespace+"="+dir)
	again.Stdin, again.Stdout, again.Stderr = os.Stdin, os.Stdout, os.Stderr
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		// Root in a new user namespace may do the same, except change
		// to another user.
		again.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		again.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		again.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	runtime.LockOSThread() // the thread that Pdeathsig means
	if err := again.Start(); err != nil {
		return fmt.Errorf("a network namespace (root makes one, or a user where the system lets users): %w", err)
	}
	// An interrupt ends the inner program with its servers, and the
	// directory is removed.
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	ended := make(chan struct{})
	go func() {
		select {
		case <-interrupted:
			_ = again.Process.Kill() // it may have ended by itself
		case <-ended:
		}
	}()
	err = again.Wait()
	close(ended)
	return err
}

func inside(s settings, dir string) error {
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"-6", "route", "add", "local", "2001:db8::/32", "dev", "lo"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	// One thread generates the load and starts the servers; the others of the Go runtime have
	// nothing to do.
	runtime.LockOSThread()
	if err := proc.PinThread(s.loadCPU); err != nil {
		return err
	}
	if s.out != "" {
		if err := os.MkdirAll(s.out, 0o755); err != nil {
			return err
		}
	}
	b := &bench{settings: s, programs: subject.New(dir, s.pico, s.base, []int{s.loadCPU}), dir: dir}
	for _, what := range strings.Split(s.run, ",") {
		var err error
		switch what {
		case "speed":
			err = b.speed()
		case "home":
			err = b.home()
		case "memory":
			err = b.memoryTable()
		case "caps":
			err = b.capTable()
		case "flood":
			err = b.floodTable()
		case "scale":
			err = b.scale()
		default:
			err = fmt.Errorf("-run has no %q", what)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bench is one run of this program.
type bench struct {
	settings
	programs *subject.Bench
	dir      string
}

// families are the address families to measure: v6 or not.
func (b *bench) v6s() []bool {
	var v6s []bool
	for _, f := range strings.Split(b.families, ",") {
		v6s = append(v6s, f == "v6")
	}
	return v6s
}

func family(v6 bool) string {
	if v6 {
		return "IPv6"
	}
	return "IPv4"
}

// chosen returns the subjects to measure over one family, without the ones that
// are not available.
func (b *bench) chosen(v6 bool) []string {
	var names []string
	for _, name := range strings.Split(b.subjects, ",") {
		if err := b.programs.Available(name, v6); err != nil {
			b.say("%s is left out: %v", name, err)
			continue
		}
		names = append(names, name)
	}
	return names
}

// say prints the progress for the person who waits.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// machine returns where and when the figures were measured.
func machine() string {
	return fmt.Sprintf("%s, %d processors, %s, %s", proc.Machine(), runtime.NumCPU(), runtime.Version(),
		time.Now().UTC().Format("2006-01-02"))
}

// path returns where a result is written, or "" if no results are written.
func (b *bench) path(name string) string {
	if b.out == "" {
		return ""
	}
	return filepath.Join(b.out, name)
}

// publish prints a text and writes it to a file.
func (b *bench) publish(name, text string) error {
	fmt.Println(text)
	if path := b.path(name); path != "" {
		return os.WriteFile(path, []byte(text), 0o644)
	}
	return nil
}
