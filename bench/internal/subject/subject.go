// Package subject starts the servers that are measured. Each listens on its own
// loopback port and runs on its own processors. A measurement begins only when
// the server answers.
package subject

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fabricionaweb/pico-tracker/bench/internal/population"
	"github.com/fabricionaweb/pico-tracker/bench/internal/proc"
	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

// Names of the subjects.
const (
	Pico        = "pico-tracker"
	Opentracker = "opentracker"
	Naive       = "naive"
	Reference   = "reference"
	Aquatic     = "aquatic_udp"
	// Echo only receives and sends, with the sockets of Pico Tracker.
	Echo = "echo"
	// Base is another binary of Pico Tracker, to compare with.
	Base = "base"
)

const (
	startTime = 30 * time.Second // opentracker reads a whitelist of a million lines first
	stopTime  = 10 * time.Second
)

// Sizes are the lengths of the replies that the reference gives, in bytes.
type Sizes struct{ Connect, Announce, Scrape int }

// Options say how a server is started. A server ignores options that it does
// not need.
type Options struct {
	V6 bool
	// CPUs are the processors that the server may use.
	CPUs []int
	// Workers and Memory are flags of Pico Tracker, left out when they are zero; Args are more of them.
	Workers int
	Memory  string
	Args    []string
	// Torrents is how many torrents, from the first, must be on
	// opentracker's whitelist.
	Torrents int
	Sizes    Sizes
}

// Bench starts programs that are built, from a directory that also has what they need.
type Bench struct {
	dir      string
	pico     string
	base     string
	nextPort int
	// own are the processors of the benchmark itself.
	own []int
}

// Build builds the programs of some subjects into dir: Pico Tracker from the module at root, unless pico
// names a binary, and the naive tracker and the reference from this module, which is the working directory.
func Build(dir, root, pico string, names []string) error {
	for _, name := range names {
		var build *exec.Cmd
		switch name {
		case Pico:
			if pico != "" {
				continue
			}
			build = exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, Pico), ".")
			build.Dir = root
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
		case Naive, Echo:
			build = exec.Command("go", "build", "-o", filepath.Join(dir, name), "./cmd/"+name)
		case Reference:
			build = exec.Command("cc", "-O2", "-o", filepath.Join(dir, Reference), "reference/reference.c")
		case Opentracker, Aquatic, Base:
			continue
		default:
			return fmt.Errorf("no subject %q", name)
		}
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(build.Args, " "), err, out)
		}
	}
	return nil
}

// New uses the programs that Build has put into dir. The benchmark itself runs on its own processors.
func New(dir, pico, base string, own []int) *Bench {
	if pico == "" {
		pico = filepath.Join(dir, Pico)
	}
	return &Bench{dir: dir, pico: pico, base: base, nextPort: 7000, own: own}
}

// Available returns an error that says why a subject cannot be measured here,
// or nil.
func (b *Bench) Available(name string, v6 bool) error {
	switch name {
	case Base:
		if b.base == "" {
			return errors.New("-base names no binary")
		}
	case Opentracker:
		if v6 {
			return errors.New("built for IPv4 only by Debian")
		}
		_, err := exec.LookPath(Opentracker)
		return err
	case Aquatic:
		_, err := aquaticPath()
		return err
	}
	return nil
}

// Server is a subject that runs.
type Server struct {
	Name string
	// Address is of the family that was asked for. Pico Tracker listens on IPv6 in any case.
	Address, AddressV6 netip.AddrPort

	cmd    *exec.Cmd
	log    buffer
	exited chan struct{}
}

// Start starts a subject and waits until it answers. The calling goroutine must
// be locked to its thread, because Start changes the processors of the thread
// for a moment.
func (b *Bench) Start(name string, o Options) (*Server, error) {
	b.nextPort++
	port := strconv.Itoa(b.nextPort)
	s := &Server{Name: name, exited: make(chan struct{})}
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	var family []string
	if o.V6 {
		loopback = netip.IPv6Loopback()
		family = []string{"-6"}
	}
	s.Address = netip.AddrPortFrom(loopback, uint16(b.nextPort))
	s.AddressV6 = netip.AddrPortFrom(netip.IPv6Loopback(), uint16(b.nextPort))

	switch name {
	case Pico, Base:
		program := b.pico
		if name == Base {
			program = b.base
		}
		args := append([]string{"-port", port}, o.Args...)
		if o.Workers != 0 {
			args = append(args, "-workers", strconv.Itoa(o.Workers))
		}
		if o.Memory != "" {
			args = append(args, "-memory", o.Memory)
		}
		s.cmd = exec.Command(program, args...)
		// Collections of the heap show on stderr. PICO_TRACKER__ variables of the caller don't matter here.
		s.cmd.Env = append(withoutPico(os.Environ()), "GODEBUG=gctrace=1")
	case Opentracker:
		dir, err := b.opentrackerDir(o.Torrents)
		if err != nil {
			return nil, err
		}
		// As root it changes to this user. It serves nothing without a
		// whitelist.
		s.cmd = exec.Command(Opentracker, "-i", "0.0.0.0", "-p", port, "-P", port, "-u", "nobody", "-d", dir, "-w", whitelist)
	case Aquatic:
		var err error
		if s.cmd, err = b.aquatic(port, o); err != nil {
			return nil, err
		}
	case Naive:
		s.cmd = exec.Command(filepath.Join(b.dir, Naive), append(family, "-p", port)...)
	case Echo:
		s.cmd = exec.Command(filepath.Join(b.dir, Echo), append(family, "-p", port, "-a", strconv.Itoa(o.Sizes.Announce))...)
	case Reference:
		s.cmd = exec.Command(filepath.Join(b.dir, Reference), append(family, "-p", port,
			"-c", strconv.Itoa(o.Sizes.Connect), "-a", strconv.Itoa(o.Sizes.Announce), "-s", strconv.Itoa(o.Sizes.Scrape))...)
	default:
		return nil, fmt.Errorf("no subject %q", name)
	}
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

	if err := proc.PinThread(o.CPUs...); err != nil {
		return nil, err
	}
	err := s.cmd.Start()
	if err := proc.PinThread(b.own...); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		// The log shows how it ended. This matters only while it should
		// run.
		_ = s.cmd.Wait()
		close(s.exited)
	}()
	err = s.awaitReply(connectProbe)
	if err == nil && name == Opentracker && o.Torrents > 0 {
		// It answers before it has read the whole whitelist.
		err = errors.Join(s.awaitReply(listProbe(o.Torrents-1, bep15.EventStarted)), s.awaitReply(listProbe(o.Torrents-1, bep15.EventStopped)))
	}
	if err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// aquaticPath finds aquatic_udp, where cargo installs it too.
func aquaticPath() (string, error) {
	path, err := exec.LookPath(Aquatic)
	if home, e := os.UserHomeDir(); err != nil && e == nil {
		return exec.LookPath(filepath.Join(home, ".cargo", "bin", Aquatic))
	}
	return path, err
}

// aquatic prepares aquatic_udp with one socket worker. All other settings are its defaults, except that
// it writes no log and that its statistics are off.
func (b *Bench) aquatic(port string, o Options) (*exec.Cmd, error) {
	path, err := aquaticPath()
	if err != nil {
		return nil, err
	}
	config := filepath.Join(b.dir, "aquatic-"+port+".toml")
	text := "socket_workers = 1\nlog_level = \"error\"\n[network]\n"
	if o.V6 {
		text += "only_ipv6 = true\naddress = \"[::]:" + port + "\"\n"
	} else {
		text += "address = \"0.0.0.0:" + port + "\"\n"
	}
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return exec.Command(path, "-c", config), nil
}

const whitelist = "whitelist.txt"

// opentrackerDir makes the directory that opentracker uses as its root, with
// the list of torrents that it will serve. An existing list is used again.
func (b *Bench) opentrackerDir(torrents int) (string, error) {
	dir := filepath.Join(b.dir, fmt.Sprint("opentracker-", torrents))
	path := filepath.Join(dir, whitelist)
	if _, err := os.Stat(path); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	// It runs as nobody.
	for _, d := range []string{b.dir, dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			return "", err
		}
	}
	return dir, WriteList(path, torrents)
}

// WriteList writes the info hashes of the first torrents as an access list.
func WriteList(path string, torrents int) error {
	var text bytes.Buffer
	for i := range torrents {
		fmt.Fprintf(&text, "%x\n", population.InfoHash(i))
	}
	return os.WriteFile(path, text.Bytes(), 0o644)
}

func withoutPico(env []string) []string {
	var kept []string
	for _, v := range env {
		if !strings.HasPrefix(v, "PICO_TRACKER__") && !strings.HasPrefix(v, "DEBUG=") && !strings.HasPrefix(v, "GOGC=") &&
			!strings.HasPrefix(v, "GOMAXPROCS=") && !strings.HasPrefix(v, "GOMEMLIMIT=") {
			kept = append(kept, v)
		}
	}
	return kept
}

// A probe makes a request with the connection ID of the last connect, and
// reports whether the reply is the reply of a ready server.
type probe struct {
	put   func(b []byte, connectionID uint64) int
	ready func(reply []byte) bool
}

var connectProbe = probe{
	put: func(b []byte, _ uint64) int { return len(bep15.AppendConnect(b[:0], 1)) },
	ready: func(reply []byte) bool {
		_, ok := bep15.ParseConnectReply(reply)
		return ok
	},
}

// listProbe announces to a torrent. The reply is complete only if the torrent
// is on the list. With Stopped it removes the peer again.
func listProbe(torrent int, event uint32) probe {
	return probe{
		put: func(b []byte, id uint64) int {
			return len(bep15.AppendAnnounce(b[:0], &bep15.Announce{
				ConnectionID: id, TransactionID: 1, InfoHash: population.InfoHash(torrent), Event: event, Port: 1,
			}))
		},
		ready: func(reply []byte) bool {
			action, _, _ := bep15.ParseReplyHeader(reply)
			_, ok := bep15.ParseAnnounceReply(reply, false)
			return ok && action == bep15.ActionAnnounce
		},
	}
}

// awaitReply sends requests until one is answered as it should be.
func (s *Server) awaitReply(p probe) error {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.Address))
	if err != nil {
		return err
	}
	defer conn.Close()
	for deadline := time.Now().Add(startTime); time.Now().Before(deadline); {
		select {
		case <-s.exited:
			return fmt.Errorf("%s ended at once: %v\n%s", s.Name, s.cmd.ProcessState, s.Log())
		default:
		}
		reply, err := exchange(conn, connectProbe, 0)
		if id, ok := bep15.ParseConnectReply(reply); err == nil && ok {
			reply, err = exchange(conn, p, id)
			if err == nil && p.ready(reply) {
				return nil
			}
		}
		if err != nil && !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		// Not ready yet: nothing listens, or the request was ignored.
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("%s is not ready at %s:\n%s", s.Name, s.Address, s.Log())
}

func exchange(conn *net.UDPConn, p probe, id uint64) (reply []byte, err error) {
	b := make([]byte, 2048)
	if _, err := conn.Write(b[:p.put(b, id)]); err != nil {
		return nil, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		return nil, err
	}
	n, err := conn.Read(b)
	return b[:n], err
}

// PID is the server's process ID.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Log is what the server has written so far.
func (s *Server) Log() string { return s.log.String() }

// Collections is how often Pico Tracker's heap was collected so far.
func (s *Server) Collections() int {
	n := 0
	for _, line := range strings.Split(s.Log(), "\n") {
		if strings.HasPrefix(line, "gc ") {
			n++
		}
	}
	return n
}

// Running reports whether the server still runs.
func (s *Server) Running() bool {
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// Signal sends a signal to the server.
func (s *Server) Signal(sig os.Signal) error { return s.cmd.Process.Signal(sig) }

// Stop ends the server, with SIGKILL if it does not react.
func (s *Server) Stop() error {
	if !s.Running() {
		return nil
	}
	if err := s.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.exited:
		return nil
	case <-time.After(stopTime):
	}
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-s.exited
	return fmt.Errorf("%s did not end within %v of SIGTERM", s.Name, stopTime)
}

// buffer is a bytes.Buffer that a process writes while others read.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
