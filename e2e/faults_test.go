//go:build linux

package e2e

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"golang.org/x/sys/unix"
)

// A probeSwarm consists of probes instead of clients, half of them over IPv4, half
// over IPv6. They have no timers, so all effects come from the tracker.
type probeSwarm struct {
	*lab
	tracker  *tracker
	hash     [20]byte
	members  []*member
	stranger [2]*probe // one a family
}

// A member is a probe that announces the port of a peer.
type member struct {
	*probe
	port uint16
}

const membersEach = 3 // of a family

// probeSwarm makes a swarm with a name on a host. Each member announces.
func (h *host) probeSwarm(tr *tracker, name string) *probeSwarm {
	h.Helper()
	c := &probeSwarm{lab: h.lab, tracker: tr, hash: sha1.Sum([]byte(name))}
	for i, f := range []family{ipv4, ipv6} {
		for n := range membersEach {
			c.members = append(c.members, &member{h.probe(tr.address(f)), uint16(5001 + n)})
		}
		c.stranger[i] = h.probe(tr.address(f))
	}
	c.announce()
	c.awaitWhole()
	return c
}

// self returns the address under which others get a member.
func (m *member) self() netip.AddrPort {
	if m.tracker.Addr().Is6() {
		return netip.AddrPortFrom(m.ip6, m.port)
	}
	return netip.AddrPortFrom(m.ip4, m.port)
}

// announce makes every member announce once, and checks that each gets a reply.
func (c *probeSwarm) announce() {
	c.Helper()
	for _, m := range c.members {
		if _, err := m.announce(c.hash); err != nil {
			c.Fatalf("%s: %v", m.self(), err)
		}
	}
}

// announce announces a member and returns the peers that it gets.
func (m *member) announce(hash [20]byte) ([]netip.AddrPort, error) {
	peers, _, err := m.probe.announce(hash, bep15.EventNone, m.port)
	return peers, err
}

// look returns an error if a new peer does not see the complete swarm.
func (c *probeSwarm) look() error {
	for _, p := range c.stranger {
		got, err := p.peers(c.hash)
		if err != nil {
			return err
		}
		if err := c.check(p, got); err != nil {
			return err
		}
	}
	return nil
}

// check compares the peers in a reply with the expected ones: all other members
// of its family.
func (c *probeSwarm) check(p *probe, got []netip.AddrPort) error {
	var want []netip.AddrPort
	for _, m := range c.members {
		if m.tracker == p.tracker && m.probe != p {
			want = append(want, m.self())
		}
	}
	slices.SortFunc(got, netip.AddrPort.Compare)
	if !slices.Equal(got, want) {
		return fmt.Errorf("%v has %v, want %v", p.tracker, got, want)
	}
	return nil
}

// awaitWhole waits until a new peer sees the whole swarm, without help.
func (c *probeSwarm) awaitWhole() {
	c.Helper()
	c.await("the swarm is whole", c.look)
}

// impatient makes every member retry quickly, for networks that lose many
// packets.
func (c *probeSwarm) impatient(tries int, timeout time.Duration) {
	for _, m := range c.members {
		m.tries, m.timeout = tries, timeout
	}
	for _, p := range c.stranger {
		p.tries, p.timeout = tries, timeout
	}
}

// move makes every member ask the tracker at another IPv4 address.
func (c *probeSwarm) move(to netip.Addr) {
	for _, m := range c.members[:membersEach] {
		m.tracker = netip.AddrPortFrom(to, trackerPort)
	}
	c.stranger[0].tracker = netip.AddrPortFrom(to, trackerPort)
}

// run runs a command on the host to its end and returns what it printed.
func (h *host) run(argv ...string) string {
	h.Helper()
	out, err := h.command(argv...).CombinedOutput()
	if err != nil {
		h.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// A fault happens to the host of a tracker and ends again.
type fault struct {
	name   string
	do     func(*fixture)
	during func(*fixture) // checks that must succeed during the fault
	undo   func(*fixture)
}

// fixture is a tracker on a host with an impaired link, and a swarm that uses it.
type fixture struct {
	*probeSwarm
	host *host // the tracker's
	link *impairedLink
}

// bad is a fault of the network. During it the members announce, and each gets
// a reply in the end.
func bad(name string, b impairment, count func(impairmentCounts) int) fault {
	return fault{
		name: name,
		do: func(s *fixture) {
			s.impatient(60, 200*time.Millisecond)
			s.link.turn(b)
		},
		during: func(s *fixture) { s.announce(); s.awaitWhole() },
		undo: func(s *fixture) {
			if told := s.link.turn(impairment{}); count(told) == 0 {
				s.Errorf("got no impaired frame of %d, want at least one", told.carried)
			}
			s.impatient(3, time.Second)
		},
	}
}

var faults = []fault{
	bad("loss of 20 %", impairment{loss: 0.2}, func(t impairmentCounts) int { return t.lost }),
	bad("duplicates", impairment{duplicate: 0.5}, func(t impairmentCounts) int { return t.doubled }),
	bad("reordering", impairment{reorder: 0.3}, func(t impairmentCounts) int { return t.overtaken }),
	bad("delay", impairment{delay: 60 * time.Millisecond}, func(t impairmentCounts) int { return t.carried }),
	bad("all of these", impairment{loss: 0.2, duplicate: 0.3, reorder: 0.3, delay: 20 * time.Millisecond}, func(t impairmentCounts) int { return t.lost }),
	{
		name: "interface down and up",
		do:   func(s *fixture) { s.ip("-n", s.host.namespace, "link", "set", "eth0", "down") },
		during: func(s *fixture) {
			s.impatient(1, 50*time.Millisecond)
			if err := s.look(); err == nil {
				s.Error("answered through an interface that is down")
			}
			s.impatient(3, time.Second)
		},
		undo: func(s *fixture) {
			s.ip("-n", s.host.namespace, "link", "set", "eth0", "up")
			s.giveIPv6()
		},
	},
	{
		name: "address removed and another added",
		do: func(s *fixture) {
			s.ip("-n", s.host.namespace, "addr", "del", s.host.ip4.String()+"/24", "dev", "eth0")
			s.ip("-n", s.host.namespace, "addr", "add", "198.18.0.99/24", "dev", "eth0")
			s.move(netip.MustParseAddr("198.18.0.99"))
		},
		during: func(s *fixture) { s.awaitWhole(); s.announce() },
		undo: func(s *fixture) {
			s.ip("-n", s.host.namespace, "addr", "del", "198.18.0.99/24", "dev", "eth0")
			s.ip("-n", s.host.namespace, "addr", "add", s.host.ip4.String()+"/24", "dev", "eth0")
			s.move(s.host.ip4)
		},
	},
	{
		name: "IPv6 off and on",
		do:   func(s *fixture) { s.host.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1") },
		during: func(s *fixture) {
			for _, m := range s.members[:membersEach] {
				if _, err := m.announce(s.hash); err != nil {
					s.Errorf("over IPv4: %v", err)
				}
			}
		},
		undo: func(s *fixture) {
			s.host.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0")
			s.giveIPv6()
		},
	},
	{
		// The replies to one client are refused, with EPERM from
		// sendmmsg. The other replies of the batch are sent.
		name: "a firewall that refuses replies",
		do: func(s *fixture) {
			s.host.run("nft", fmt.Sprintf("add table inet fault; add chain inet fault out { type filter hook output priority 0; }; "+
				"add rule inet fault out udp sport %d udp dport %d drop", trackerPort, s.refused().local()))
		},
		during: func(s *fixture) {
			m := s.refused()
			m.tries, m.timeout = 3, 30*time.Millisecond
			if _, err := m.announce(s.hash); err == nil {
				s.Error("answered through a firewall that refuses it")
			}
			m.tries, m.timeout = 3, time.Second
			for _, m := range s.members[1:] {
				if _, err := m.announce(s.hash); err != nil {
					s.Errorf("%s, which is not refused: %v", m.self(), err)
				}
			}
		},
		undo: func(s *fixture) { s.host.run("nft", "delete table inet fault") },
	},
	{
		// Requests of this time are answered afterwards.
		name: "stopped and continued",
		do: func(s *fixture) {
			if err := s.tracker.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				s.Fatal(err)
			}
			s.await("no thread runs", s.stopped)
		},
		during: func(s *fixture) {
			answered := make(chan error, len(s.members))
			for _, m := range s.members {
				m.tries, m.timeout = 1, patience
				go func() {
					_, err := m.announce(s.hash)
					answered <- err
				}()
			}
			s.await("requests wait in the queues of both families", func() error {
				for _, file := range []string{"udp", "udp6"} {
					if n := s.waiting(file); n == 0 {
						return errors.New(file + " has none")
					}
				}
				return nil
			})
			if err := s.tracker.cmd.Process.Signal(syscall.SIGCONT); err != nil {
				s.Fatal(err)
			}
			for range s.members {
				if err := <-answered; err != nil {
					s.Error(err)
				}
			}
			s.impatient(3, time.Second)
		},
		undo: func(*fixture) {},
	},
}

// refused is the member that the firewall refuses.
func (s *fixture) refused() *member { return s.members[0] }

// local is the UDP port that a probe asks from.
func (p *probe) local() uint16 {
	return netip.MustParseAddrPort(p.conn.LocalAddr().String()).Port()
}

// giveIPv6 gives the tracker's host its IPv6 address again. Linux removes it
// when the interface goes down.
func (s *fixture) giveIPv6() {
	s.ip("-n", s.host.namespace, "addr", "replace", s.host.ip6.String()+"/64", "dev", "eth0", "nodad")
}

// waiting returns how many bytes wait in the tracker's sockets of a family.
func (s *fixture) waiting(file string) (n uint64) {
	s.Helper()
	for _, line := range strings.Split(s.read(fmt.Sprintf("/proc/%d/net/%s", s.tracker.cmd.Process.Pid, file)), "\n") {
		f := strings.Fields(line)
		if len(f) > 4 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", trackerPort)) {
			_, queue, _ := strings.Cut(f[4], ":")
			bytes, err := strconv.ParseUint(queue, 16, 64)
			if err != nil {
				s.Fatal(err)
			}
			n += bytes
		}
	}
	return n
}

// stopped returns an error if a thread of the tracker is not stopped.
func (s *fixture) stopped() error {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", s.tracker.cmd.Process.Pid))
	for _, path := range threads {
		text := s.read(path)
		if _, state, _ := strings.Cut(text[strings.LastIndexByte(text, ')'):], " "); !strings.HasPrefix(state, "T") {
			err = errors.Join(err, errors.New(text))
		}
	}
	return err
}

// After each fault of the network a swarm is whole again, without help.
func TestFaults(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	h := l.host("tracker", dual)
	tr := h.tracker()
	s := &fixture{probeSwarm: l.host("crowd", dual).probeSwarm(tr, "faults"), host: h, link: h.impair()}
	s.awaitWhole()
	for _, f := range faults {
		t.Log(f.name)
		f.do(s)
		f.during(s)
		f.undo(s)
		s.awaitWhole()
		s.announce()
		s.awaitWhole()
	}
	tr.stop(syscall.SIGTERM)
	if tr.err != nil {
		t.Errorf("the tracker, told to stop: %v", tr.err)
	}
	last := lastLine(tr.read(tr.log))
	if strings.Contains(last, " 0 replies that the system refused") || !strings.Contains(last, "replies that the system refused") {
		t.Errorf("the replies that the firewall refused are not counted: %s", last)
	}
}

func lastLine(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return lines[len(lines)-1]
}

// Real clients find each other through a tracker behind a bad network. It loses
// no packets, because each loss takes libtorrent ten seconds.
func TestSwarmOverBadWire(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	h := l.host("tracker", ipv4)
	tr := h.tracker()
	h.impair().turn(impairment{duplicate: 0.3, reorder: 0.3, delay: 20 * time.Millisecond})
	tor := l.torrent("bad-wire", tr.url(ipv4))
	probe := l.host("probe", ipv4).probe(tr.address(ipv4))
	l.host("seeder", ipv4).seed(libtorrent, tor)
	probe.awaitCounts(tor, counts{seeders: 1})
	l.host("leecher", ipv4).leech(aria2, tor).awaitFile()
	probe.awaitCounts(tor, counts{seeders: 2, completed: 1})
}

// Whatever happens to the access list, the tracker logs what it does with it
// and continues.
func TestListFaults(t *testing.T) {
	t.Parallel()
	f := newListFixture(t)
	for _, c := range f.faults() {
		t.Log(c.name)
		c.do()
		f.tracker.reload(c.says)
		f.expectInForce()
	}

	t.Log("gone, and back")
	f.remove()
	f.tracker.reload("every torrent is refused until it is there")
	f.probe.awaitNobody(f.listed)
	f.expectRefused()
	f.write(f.good())
	f.tracker.reload("list: 1 torrent")
	if _, _, err := f.probe.announce(f.listed, bep15.EventNone, f.port); err != nil {
		t.Error(err)
	}
	f.expectInForce()
	f.tracker.stop(syscall.SIGTERM)
}

// listFixture is a tracker with a list of one torrent, which has one peer.
type listFixture struct {
	*lab
	tracker *tracker
	probe   *probe
	path    string // of the list
	listed  [20]byte
	port    uint16 // of the peer
}

func newListFixture(t *testing.T) *listFixture {
	t.Helper()
	l := newLab(t)
	f := &listFixture{lab: l, path: filepath.Join(l.dir, "list"), listed: sha1.Sum([]byte("listed")), port: 5001}
	f.write(f.good())
	h := l.host("tracker", ipv4)
	// Root may read all files, except with this option.
	f.tracker = h.trackerBy([]string{"setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"},
		"-whitelist", f.path, "-memory", "8M")
	f.probe = l.host("probe", ipv4).probe(f.tracker.address(ipv4))
	if _, _, err := f.probe.announce(f.listed, bep15.EventNone, f.port); err != nil {
		t.Fatal(err)
	}
	return f
}

// good returns the content of a list with the torrent.
func (f *listFixture) good() []byte { return fmt.Appendf(nil, "%x\n", f.listed) }

// check ends the test if a change of the list fails.
func (f *listFixture) check(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *listFixture) write(content []byte) {
	f.Helper()
	f.check(os.WriteFile(f.path, content, 0o644))
}

func (f *listFixture) remove() {
	f.Helper()
	f.check(os.RemoveAll(f.path))
}

// link makes the list a symbolic link.
func (f *listFixture) link(target string) {
	f.Helper()
	f.remove()
	f.check(os.Symlink(target, f.path))
}

// expectInForce checks that the torrent is allowed and its peer is still there,
// and that another torrent is refused.
func (f *listFixture) expectInForce() {
	f.Helper()
	if c, err := f.probe.scrape(f.listed); err != nil || c.leechers != 1 {
		f.Errorf("a swarm of one, listed: got %+v, %v", c, err)
	}
	f.expectRefused()
}

// expectRefused checks that a torrent is refused that was never listed.
func (f *listFixture) expectRefused() {
	f.Helper()
	var refusal trackerError
	if _, _, err := f.probe.announce(sha1.Sum([]byte("other")), bep15.EventNone, f.port); !errors.As(err, &refusal) {
		f.Errorf("a torrent that was never listed: got %v, want an error of the tracker", err)
	}
}

// listFault is a fault that leaves the list in force, or another list with the
// same torrent.
type listFault struct {
	name string
	do   func()
	says string // in the log
}

func (f *listFixture) faults() []listFault {
	const kept = "the list that was read before stays in force"
	unreadable := "input/output error"
	if strings.Contains(f.read(f.tracker.log), "sandbox: system calls, files") {
		unreadable = "permission denied" // the link leads out of the sandbox
	}
	noise := func(junk []byte, times int) []byte {
		return slices.Concat(bytes.Repeat(junk, times), []byte{'\n'}, f.good())
	}
	return []listFault{
		{name: "unreadable", do: func() { f.check(os.Chmod(f.path, 0)) }, says: "permission denied; " + kept},
		{name: "a pipe", do: func() { f.remove(); f.check(syscall.Mkfifo(f.path, 0o644)) }, says: "a pipe is read only once, at the start; " + kept},
		{name: "a device", do: func() { f.link("/dev/zero") }, says: "not a file or a directory; " + kept},
		{name: "a device that fails", do: func() { f.link("/proc/self/mem") }, says: unreadable + "; " + kept},
		{name: "a loop", do: func() { f.link(f.path) }, says: "too many levels of symbolic links; " + kept},
		{name: "huge", do: func() {
			f.remove()
			var text bytes.Buffer
			for i := range 200_000 {
				fmt.Fprintf(&text, "%x\n", sha1.Sum(strconv.AppendInt(nil, int64(i), 10)))
			}
			f.write(text.Bytes())
		}, says: "more info hashes than the memory set aside for the list holds"},
		{name: "huge and no list", do: func() { f.write(noise([]byte{'x'}, 4<<20)) }, says: "list: 1 torrent"},
		{name: "binary", do: func() { f.write(noise([]byte{0, 0xff, '\n'}, 1000)) }, says: "list: 1 torrent"},
		{name: "replaced by rename", do: func() {
			f.write(f.good())
			f.check(os.Rename(f.path, f.path+".old"))
			f.write(f.good())
		}, says: "list: 1 torrent"},
	}
}

// A tracker without a free file descriptor continues to serve. It reloads its
// list when a descriptor is free again.
func TestNoDescriptors(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	path := filepath.Join(l.dir, "list")
	hash := sha1.Sum([]byte("listed"))
	if err := os.WriteFile(path, fmt.Appendf(nil, "%x\n", hash), 0o644); err != nil {
		t.Fatal(err)
	}
	tr := l.host("tracker", ipv4).tracker("-whitelist", path)
	p := l.host("probe", ipv4).probe(tr.address(ipv4))
	pid := tr.cmd.Process.Pid
	var before unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: 1024}, &before); err != nil {
		t.Fatal(err)
	}
	hangUp := func() {
		if err := tr.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	hangUp()
	tr.awaitLog("too many open files; the list that was read before stays in force")
	if _, _, err := p.announce(hash, bep15.EventNone, 5001); err != nil {
		t.Error(err)
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1024, Max: 1024}, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	hangUp()
	tr.awaitLog("no info hash in it")
	p.awaitNobody(hash)

	// A tracker without a descriptor at the start says so and ends.
	p2 := l.host("starved", ipv4).start("prlimit", "--nofile=3:3", trackerBinary)
	p2.wanted.Store(true)
	<-p2.ended
	if text := p2.read(p2.log); !strings.Contains(text, "too few open files are allowed") || p2.cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("without descriptors: %v, %s", p2.err, text)
	}
}

// On a full disk, the tracker's log and its list may be cut. The tracker
// continues.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	h := l.host("tracker", ipv4)
	dir := filepath.Join(l.dir, "disk")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// A private file system with the tracker's log and its list.
	const size = 256 << 10
	tr := &tracker{process: h.start("unshare", "-m", "sh", "-c",
		fmt.Sprintf(`mount -t tmpfs -o size=%d none "$0" && cd "$0" && exec "$@" 2>log`, size),
		dir, trackerBinary, "-whitelist", "list")}
	disk := fmt.Sprintf("/proc/%d/root%s", tr.cmd.Process.Pid, dir)
	list := filepath.Join(disk, "list")
	awaitDisk := func(text string) {
		t.Helper()
		l.await(fmt.Sprintf("the log says %q", text), func() error {
			b, err := os.ReadFile(filepath.Join(disk, "log"))
			if err == nil && !strings.Contains(string(b), text) {
				err = fmt.Errorf("it says %q", b)
			}
			return err
		})
	}
	hangUp := func() {
		t.Helper()
		if err := tr.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	awaitDisk("workers, interval")
	p := l.host("probe", ipv4).probe(tr.address(ipv4))
	hash := sha1.Sum([]byte("listed"))
	var refusal trackerError
	if _, _, err := p.announce(hash, bep15.EventNone, 5001); !errors.As(err, &refusal) {
		t.Fatalf("without a list: %v", err)
	}

	// The list is cut off where the disk is full, in the middle of a line.
	content := bytes.Repeat(fmt.Appendf(nil, "%x\n", hash), size/41+1)
	if err := os.WriteFile(list, content, 0o644); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("%d bytes on a disk of %d: %v", len(content), size, err)
	}
	log := l.read(filepath.Join(disk, "log"))
	hangUp()
	l.await("what is there of the list is in force", func() error {
		_, _, err := p.announce(hash, bep15.EventNone, 5001)
		return err
	})
	if now := l.read(filepath.Join(disk, "log")); len(now) > len(log)+4096 {
		t.Errorf("a full disk took %d bytes of log", len(now)-len(log))
	}

	// When the disk has room again, the log continues.
	if err := os.Remove(list); err != nil {
		t.Fatal(err)
	}
	hangUp()
	awaitDisk("no such file; every torrent is refused until it is there")
	p.awaitNobody(hash)
}
