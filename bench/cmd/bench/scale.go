package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/fabricionaweb/pico-tracker/bench/internal/load"
	"github.com/fabricionaweb/pico-tracker/bench/internal/population"
	"github.com/fabricionaweb/pico-tracker/bench/internal/proc"
	"github.com/fabricionaweb/pico-tracker/bench/internal/report"
	"github.com/fabricionaweb/pico-tracker/bench/internal/subject"
	"github.com/fabricionaweb/pico-tracker/bench/internal/udp"
	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

// The cluster lies in network namespaces: the generator's, the balancer's with a bridge, and one for each
// instance on a port of the bridge. The addresses are of RFC 2544's range for benchmarks.
const (
	scaleService  = "198.18.255.1" // what clients ask
	scalePlain    = "198.18.255.2" // takes the same way, but the ruleset ignores it
	scaleClients  = "198.19.0.0/16"
	scaleLoad     = "198.18.0.1"
	scaleBalancer = "198.18.0.2"
	scalePort     = 1337

	scaleInterval = "1h" // usual for such a large tracker; no peer expires while it is filled
	scaleLooks    = 50   // between two checks of the memory while it is filled
	// The balancer's work is measured this often, each time with this many
	// packets for each way.
	balanceRounds  = 7
	balancePackets = 200_000
)

func scaleInstance(i int) string { return fmt.Sprintf("198.18.0.%d", 11+i) }

// A scaled cluster runs until it is closed.
type scaled struct {
	balancer  *exec.Cmd
	instances []*exec.Cmd
	env       []string // of pico-cluster
}

// scale fills several instances through a balancer with the peers of a large
// public tracker, and measures what a packet costs the balancer.
func (b *bench) scale() (err error) {
	c, err := b.cluster()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	costs, err := b.balance(c)
	if err != nil {
		return err
	}
	p := population.Public(b.peers, b.torrents)
	curve, elapsed, err := b.fillCluster(c, p)
	if err != nil {
		return err
	}
	return b.reportScale(c, p, curve, costs, elapsed)
}

// cluster starts the instances and the balancer and joins them.
func (b *bench) cluster() (c *scaled, err error) {
	c = &scaled{}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if c.balancer, err = b.apart("sleep", "infinity"); err != nil {
		return c, err
	}
	pico := b.pico
	if pico == "" {
		pico = filepath.Join(b.dir, subject.Pico)
	}
	there := []string{
		"ip link set lo up", "ip link add br0 type bridge", "ip link set br0 up", "ip addr add " + scaleBalancer + "/24 dev br0",
		"sysctl -q -w net.ipv4.ip_forward=1", "ip route add " + scaleClients + " via " + scaleLoad,
	}
	if err := errors.Join(
		do("ip link add load type veth peer name load netns "+pid(c.balancer)),
		do("ip addr add "+scaleLoad+"/24 dev load"), do("ip link set load up"),
		do("ip route add local "+scaleClients+" dev lo"),
		do("ip route add "+scaleService+" via "+scaleBalancer), do("ip route add "+scalePlain+" via "+scaleBalancer),
		within(c.balancer, append(there, "ip link set load master br0 up")...),
	); err != nil {
		return c, err
	}
	file := "service " + scaleService + " " + strconv.Itoa(scalePort) + "\n"
	for i := range b.instances {
		instance, err := b.apart(pico, "-port", strconv.Itoa(scalePort), "-secret", "the instances have one secret of the bench",
			"-memory", b.share, "-workers", "1", "-interval", scaleInterval)
		if err != nil {
			return c, err
		}
		c.instances = append(c.instances, instance)
		port := fmt.Sprintf("port%d", i)
		if err := errors.Join(
			within(c.balancer, "ip link add "+port+" type veth peer name eth0 netns "+pid(instance), "ip link set "+port+" master br0 up"),
			within(instance, "ip link set lo up", "ip addr add "+scaleInstance(i)+"/24 dev eth0", "ip link set eth0 up",
				"ip addr add "+scaleService+"/32 dev lo", "ip route add "+scaleClients+" via "+scaleLoad),
		); err != nil {
			return c, err
		}
		file += fmt.Sprintf("instance%d 1 %s\n", i, scaleInstance(i))
	}
	dir := filepath.Join(b.dir, "cluster")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "instances"), []byte(file), 0o644)); err != nil {
		return c, err
	}
	c.env = []string{"PICO_CLUSTER_DIR=" + dir, "PICO_CLUSTER_RUN=" + dir, "PICO_CLUSTER_TEMPLATE=../cluster/pico-cluster.nft"}
	if _, err := c.control("apply"); err != nil {
		return c, err
	}
	for i := range c.instances {
		if err := answers(pico, scaleInstance(i)); err != nil {
			return c, err
		}
	}
	return c, within(c.balancer, "ip route add "+scalePlain+" via "+scaleInstance(0))
}

// apart starts a program in its own network namespace, on the server's
// processor.
func (b *bench) apart(name string, args ...string) (*exec.Cmd, error) {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := proc.PinThread(b.serverCPU); err != nil {
		return nil, err
	}
	err := cmd.Start()
	if err := proc.PinThread(b.loadCPU); err != nil {
		return nil, err
	}
	return cmd, err
}

func pid(c *exec.Cmd) string { return strconv.Itoa(c.Process.Pid) }

// do runs a command, given as a line.
func do(line string) error {
	if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %v: %s", line, err, out)
	}
	return nil
}

// within runs lines in the namespace of a process.
func within(c *exec.Cmd, lines ...string) error {
	for _, line := range lines {
		if err := do("nsenter -n -t " + pid(c) + " " + line); err != nil {
			return err
		}
	}
	return nil
}

func (c *scaled) control(command string) (string, error) {
	cmd := exec.Command("nsenter", "-n", "-t", pid(c.balancer), "../cluster/pico-cluster", command)
	cmd.Env = append(os.Environ(), c.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("pico-cluster %s: %v: %s", command, err, out)
	}
	return string(out), nil
}

func (c *scaled) close() error {
	var errs []error
	for _, cmd := range append(c.instances, c.balancer) {
		if cmd == nil {
			continue
		}
		errs = append(errs, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
	}
	return errors.Join(errs...)
}

// answers waits until a tracker answers. Its socket may be ready before its
// network.
func answers(pico, address string) error {
	for deadline := time.Now().Add(10 * time.Second); ; {
		out, err := exec.Command(pico, "-probe", netip.AddrPortFrom(netip.MustParseAddr(address), scalePort).String()).CombinedOutput()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: %s", err, out)
		}
	}
}

// memory returns the memory of all instances: now, and the sum of their peaks.
func (c *scaled) memory() (resident, peak int64, err error) {
	for _, instance := range c.instances {
		m, err := proc.ReadMemory(instance.Process.Pid)
		if err != nil {
			return 0, 0, err
		}
		resident += m.Resident
		peak += m.Peak
	}
	return resident, peak, nil
}

// fillCluster registers the population at the service, and asks each instance
// for every torrent. Together they must have each peer exactly once.
func (b *bench) fillCluster(c *scaled, p population.Population) (curve []report.Point, elapsed time.Duration, err error) {
	g, err := load.New(netip.AddrPortFrom(netip.MustParseAddr(scaleService), scalePort))
	if err != nil {
		return nil, 0, err
	}
	defer g.Close()
	g.FillWindow = load.Window // each instance finds several in its queue
	start := time.Now()
	for done := 0; ; {
		resident, _, err := c.memory()
		if err != nil {
			return nil, 0, err
		}
		curve = append(curve, report.Point{X: float64(done) / 1e6, Y: mib(resident)})
		b.say("%d of %d peers, %.0f MiB in all", done, p.Peers, mib(resident))
		if done == p.Peers {
			break
		}
		next := min(done+(p.Peers+scaleLooks-1)/scaleLooks, p.Peers)
		r, err := g.RegisterSome(p, done, next)
		if err != nil {
			return nil, 0, err
		}
		if r.Announce.Answered != uint64(next-done) {
			return nil, 0, fmt.Errorf("%d of %d peers were taken; errors %v", r.Announce.Answered, next-done, r.Errors)
		}
		done = next
	}
	elapsed = time.Since(start)

	stored := uint64(0)
	for i := range c.instances {
		g, err := load.New(netip.AddrPortFrom(netip.MustParseAddr(scaleInstance(i)), scalePort))
		if err != nil {
			return nil, 0, err
		}
		r, err := g.Count(p)
		if err := errors.Join(err, g.Close()); err != nil {
			return nil, 0, err
		}
		b.say("instance %d has %d peers", i, r.Scraped)
		stored += r.Scraped
	}
	if stored != uint64(p.Peers) {
		return nil, 0, fmt.Errorf("%d of %d peers are stored", stored, p.Peers)
	}
	return curve, elapsed, nil
}

// A way is how a packet gets to an instance, and what it costs on all of it, in microseconds.
type way struct {
	about string
	to    string
	cost  []float64
}

// balance sends announces that the kernels of the instances drop, by the three
// ways in turn. The kernel does all work in the system call of the sender or in
// ksoftirqd. The cost is the processor time of both, divided by the packets.
func (b *bench) balance(c *scaled) ([]way, error) {
	ways := []way{
		{about: "straight to an instance, through the bridge", to: scaleInstance(0)},
		{about: "through the balancer, forwarded by a plain route", to: scalePlain},
		{about: "through the balancer, to who has the torrent", to: scaleService},
	}
	for _, instance := range c.instances {
		if err := within(instance, "nft add table ip sink",
			"nft 'add chain ip sink entry { type filter hook prerouting priority raw; policy accept; }'",
			"nft add rule ip sink entry udp dport "+strconv.Itoa(scalePort)+" drop"); err != nil {
			return nil, err
		}
	}
	for range balanceRounds {
		for i := range ways {
			cost, err := sendingCost(ways[i].to)
			if err != nil {
				return nil, err
			}
			ways[i].cost = append(ways[i].cost, cost)
		}
	}
	for _, w := range ways {
		b.say("%s: %s us a packet", w.about, report.NewSpread(w.cost))
	}
	for _, instance := range c.instances {
		if err := within(instance, "nft delete table ip sink"); err != nil {
			return nil, err
		}
	}
	return ways, nil
}

func sendingCost(to string) (float64, error) {
	conn, err := udp.Open(netip.AddrPortFrom(netip.MustParseAddr(to), scalePort), 1<<16)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	before, err := used()
	if err != nil {
		return 0, err
	}
	for sent := 0; sent < balancePackets; sent += udp.Batch {
		for i := range udp.Batch {
			b := bep15.AppendAnnounce(conn.Payload(i)[:0], &bep15.Announce{
				ConnectionID: 1 << 32, InfoHash: population.InfoHash(sent + i), Port: 6881,
			})
			conn.Stage(i, len(b), (sent+i)%load.Sources)
		}
		if _, err := conn.Send(udp.Batch); err != nil {
			return 0, err
		}
	}
	after, err := used()
	return (after - before).Seconds() * 1e6 / balancePackets, err
}

// used returns the processor time of this process and of the kernel's threads
// for packets.
func used() (time.Duration, error) {
	total, err := proc.CPUTime(os.Getpid())
	if err != nil {
		return 0, err
	}
	threads, err := proc.Named("ksoftirqd/")
	if err != nil {
		return 0, err
	}
	for _, pid := range threads {
		t, err := proc.Scheduled(pid)
		if err != nil {
			return 0, err
		}
		total += t
	}
	return total, nil
}

func (b *bench) reportScale(c *scaled, p population.Population, curve []report.Point, ways []way, elapsed time.Duration) error {
	resident, peak, err := c.memory()
	if err != nil {
		return err
	}
	status, err := c.control("status")
	if err != nil {
		return err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "# Scale\n\n%s.\n\n", machine())
	fmt.Fprintf(&text, "%d instances with `-memory %s` behind one balancer. %d peers in %d torrents, announced through it:\n"+
		"%.0f MiB resident in all, %.0f MiB the sum of the peaks, %.1f bytes a peer. %.0f announces a second with one\n"+
		"generator, one processor for it and the balancer and one for all instances.\n\n",
		len(c.instances), b.share, p.Peers, p.Torrents, mib(resident), mib(peak), float64(resident)/float64(p.Peers),
		float64(p.Peers)/elapsed.Seconds())
	t := report.Table{Names: []string{"way of a packet", "us", "lowest", "highest", "over straight"}}
	raw := report.Table{Names: []string{"way", "us", "lowest", "highest", "over_straight"}}
	for _, w := range ways {
		s, over := report.NewSpread(w.cost), make([]float64, len(w.cost))
		for i := range over {
			over[i] = w.cost[i] - ways[0].cost[i]
		}
		t.Add(w.about, s.Median, s.Min, s.Max, report.NewSpread(over).Median)
		raw.Add(w.about, s.Median, s.Min, s.Max, report.NewSpread(over).Median)
	}
	text.WriteString("Processor time of sending a packet and all that the kernel does for it until an instance's kernel drops it:\n\n")
	text.WriteString(t.Markdown())
	fmt.Fprintf(&text, "\n```\n%s```\n", status)
	if path := b.path("scale.csv"); path != "" {
		memory := report.Table{Names: []string{"peers", "MiB"}}
		for _, at := range curve {
			memory.Add(int(at.X*1e6+0.5), at.Y)
		}
		graph := report.Graph{
			Title: "Memory of all instances while they are filled", X: "million peers", Y: "MiB",
			Curves: []report.Curve{
				{Name: fmt.Sprintf("%d instances of Pico Tracker", len(c.instances)), Colour: [3]uint8{31, 119, 180}, Points: curve},
			},
		}
		if err := errors.Join(raw.WriteCSV(path), memory.WriteCSV(b.path("scale-memory.csv")), graph.WriteSVG(b.path("scale.svg"))); err != nil {
			return err
		}
	}
	return b.publish("scale.md", text.String())
}
