//go:build linux && system

package boards

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/sandbox"
	"github.com/fabricionaweb/pico-tracker/internal/sandbox/sandboxtest"
	"golang.org/x/sys/unix"
)

// This file runs inside a machine, as its first process and in this test's own
// binary, because the machine has no other program. It starts the tracker as
// the only service, checks it, prints the results and ends the machine.

const verdict = "VERDICT "

// maxIdle is the largest allowed resident memory before the first request, in
// KiB, with the pages of the program.
const maxIdle = 3300

// sandboxEnv is set in a process of this binary that tries what a sandbox must
// refuse.
const sandboxEnv = "PICO_BOARDS_SANDBOX"

func init() {
	if os.Getenv(sandboxEnv) != "" {
		r := sandbox.Enter(&sandbox.Config{})
		fmt.Println(r.String())
		if err := sandboxtest.Try(r.In); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getpid() == 1 {
		if err := guest(); err != nil {
			fmt.Println(verdict+"failed:", err)
		} else {
			fmt.Println(verdict + "all is well")
		}
		unix.Sync()
		_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
		select {} // the first process must not end
	}
}

func guest() error {
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := os.MkdirAll(m[1], 0o755); err != nil {
			return err
		}
		if err := unix.Mount("none", m[1], m[0], 0, ""); err != nil && err != unix.EBUSY {
			return fmt.Errorf("mount %s: %w", m[1], err)
		}
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	list := "/lists/list" // everybody may write to the root directory of some kernels
	if err := os.MkdirAll(filepath.Dir(list), 0o755); err != nil {
		return err
	}
	four, six, later := randomHash(), randomHash(), randomHash()
	if err := writeList(list, four, six); err != nil {
		return err
	}
	t, err := launch(exec.Command("/pico-tracker", "-memory", "16M", "-whitelist", list))
	if err != nil {
		return err
	}
	text, kib, err := resident(t.cmd.Process.Pid)
	if err != nil {
		return err
	}
	fmt.Println(verdict+"idle:", text)
	if kib > maxIdle {
		return fmt.Errorf("idle with %d KiB, want at most %d", kib, maxIdle)
	}
	if err := checkSandbox(t); err != nil {
		return fmt.Errorf("sandbox: %w\n%s", err, t.log())
	}
	if err := converse(pair4, t.port, four); err != nil {
		return fmt.Errorf("IPv4: %w\n%s", err, t.log())
	}
	fmt.Println(verdict + "IPv4 serves")
	if err := converse(pair6, t.port, six); err != nil {
		return fmt.Errorf("IPv6: %w\n%s", err, t.log())
	}
	fmt.Println(verdict + "IPv6 serves")
	if err := spacedAnnounces(t, four); err != nil {
		return fmt.Errorf("spaced announces: %w\n%s", err, t.log())
	}
	if err := countDrops(t.port); err != nil {
		return err
	}
	if err := t.checkReload(list, four, later); err != nil {
		return fmt.Errorf("SIGHUP: %w\n%s", err, t.log())
	}
	fmt.Println(verdict + "SIGHUP changes the list")
	for _, args := range [][]string{nil, {"-secret", strings.Repeat("s", 32)}} {
		if err := checkClock(args...); err != nil {
			return fmt.Errorf("the clock is set, %q: %w", args, err)
		}
	}
	fmt.Println(verdict + "nobody minds when the clock is set")
	if err := checkGroups(); err != nil {
		return fmt.Errorf("control groups: %w", err)
	}
	fmt.Println(verdict + "control groups of version 2 limit it, and it says so")
	if text, _, err = resident(t.cmd.Process.Pid); err != nil {
		return err
	}
	fmt.Println(verdict+"after:", text)
	if err := t.stop(); err != nil {
		return err
	}
	fmt.Println(verdict + "SIGTERM ends it with 0")
	return nil
}

// checkSandbox checks that the threads of the tracker are in its sandbox, and that
// another process finds nothing that the sandbox does not refuse.
func checkSandbox(t *tracker) error {
	_, found, ok := strings.Cut(t.log(), "] sandbox: ")
	if !ok {
		return errors.New("the log does not mention it")
	}
	found, _, _ = strings.Cut(found, "\n")
	in := sandbox.SystemCalls | sandbox.Capabilities
	if strings.Contains(found, "system calls, files, capabilities") {
		in |= sandbox.Files
	}
	if err := sandboxtest.Check(t.cmd.Process.Pid, in); err != nil {
		return err
	}
	// Files that it must not reach.
	if err := errors.Join(os.MkdirAll("/etc", 0o755), os.MkdirAll("/tmp", 0o755), os.WriteFile("/etc/passwd", nil, 0o644)); err != nil {
		return err
	}
	attack := exec.Command("/proc/self/exe")
	attack.Env = append(os.Environ(), sandboxEnv+"=1")
	out, err := attack.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != found {
		return fmt.Errorf("%w: got %q, want %q", err, out, found)
	}
	fmt.Println(verdict + "sandbox: " + found)
	return nil
}

// spacedAnnounces measures the processor time of an announce with 50 peers, at
// 20 announces a second. It includes all threads, the kernel and the runtime.
func spacedAnnounces(t *tracker, h bep15.InfoHash) error {
	const announces, rate = 1000, 20
	var clients []*client
	for range 60 {
		c, err := dial(pair4[0], t.port)
		if err != nil {
			return err
		}
		defer c.close()
		if _, err := c.announce(h, 1); err != nil {
			return err
		}
		clients = append(clients, c)
	}
	before, err := processorTime(t.cmd.Process.Pid)
	if err != nil {
		return err
	}
	for i := range announces {
		// At random times, because malta's clock has steps of 4 ms: a
		// step counts for the thread that runs at this moment, so only
		// averages are right.
		time.Sleep(time.Second/rate/2 + time.Duration(rand.Int64N(int64(time.Second/rate))))
		c := clients[i%len(clients)]
		if time.Since(c.connected) > time.Minute { // on a busy host
			if err := c.connect(); err != nil {
				return err
			}
		}
		if a, err := c.announce(h, 1); err != nil || len(a.peers) != 50 {
			return fmt.Errorf("announce %d: %d peers, %w", i, len(a.peers), err)
		}
	}
	after, err := processorTime(t.cmd.Process.Pid)
	if err != nil {
		return err
	}
	fmt.Printf("%s%d announces a second cost %.0f us each\n", verdict, rate, float64((after-before).Microseconds())/announces)
	return nil
}

// processorTime returns the processor time of all threads of a process.
func processorTime(pid int) (sum time.Duration, err error) {
	threads, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/schedstat")
	if err != nil {
		return 0, err
	}
	for _, path := range threads {
		b, err := os.ReadFile(path)
		if err != nil {
			return 0, err
		}
		first, _, _ := strings.Cut(string(b), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %q", path, b)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// checkClock sets the clock of the machine forward and back, as it happens on
// boards without a battery. Connection IDs must stay valid, and peers must
// stay.
func checkClock(args ...string) error {
	t, err := launch(exec.Command("/pico-tracker", append(args, "-memory", "16M")...))
	if err != nil {
		return err
	}
	h := randomHash()
	c, err := dial(pair4[0], t.port)
	if err != nil {
		return err
	}
	defer c.close()
	if _, err := c.announce(h, 1); err != nil {
		return err
	}
	const day = 24 * 60 * 60 // Linux does not accept a time before the start of the machine
	for _, to := range []int64{day, 1_800_000_000, 1_800_000_000 - 3600, 2_000_000_000, day} {
		now := unix.NsecToTimeval(to * 1e9)
		if err := unix.Settimeofday(&now); err != nil {
			return err
		}
		counts, err := c.scrape(h)
		if err == nil && counts != [3]uint32{0, 0, 1} {
			err = fmt.Errorf("counts %v of one leecher", counts)
		}
		if err != nil {
			return fmt.Errorf("to %d, an ID from before: %w\n%s", to, err, t.log())
		}
		fresh, err := dial(pair4[0], t.port)
		if err != nil {
			return fmt.Errorf("to %d, connect: %w", to, err)
		}
		c.id = fresh.id
		fresh.close()
		if a, err := c.announce(h, 1); err != nil || a.leechers != 1 {
			return fmt.Errorf("to %d, an ID from after: %+v, %w", to, a, err)
		}
	}
	return t.stop()
}

// checkGroups runs the tracker in control groups of version 2. A group that allows
// less than -memory gets a warning. With the size in the warning it serves in the
// group, which has the fewest threads that docs/boards.md names.
func checkGroups() error {
	const root = "/sys/fs/cgroup"
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("none", root, "cgroup2", 0, ""); err != nil {
		return err
	}
	group := root + "/outer/inner"
	if err := os.MkdirAll(group, 0o755); err != nil {
		return err
	}
	for _, f := range []struct{ name, text string }{
		{"/cgroup.subtree_control", "+memory +pids"}, {"/outer/cgroup.subtree_control", "+memory +pids"},
		{"/outer/memory.max", strconv.Itoa(20 << 20)}, {"/outer/inner/pids.max", "10"},
	} {
		if err := os.WriteFile(root+f.name, []byte(f.text), 0); err != nil {
			return err
		}
	}
	dir, err := os.Open(group)
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, c := range []struct{ memory, want string }{
		{memory: "32M", want: "this process may use only 20M (its control group, or the machine), so the kernel may end it; allow 34M, or set 18M"},
		{memory: "18M"},
	} {
		cmd := exec.Command("/pico-tracker", "-memory", c.memory)
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
		t, err := launch(cmd)
		if err != nil {
			return err
		}
		log := t.log()
		if warns := strings.Contains(log, "this process may use only"); warns != (c.want != "") || !strings.Contains(log, c.want) {
			return fmt.Errorf("-memory %s: got the log\n%s\nwant %q in it", c.memory, log, c.want)
		}
		if err := converse(pair4, t.port, randomHash()); err != nil {
			return err
		}
		if err := t.stop(); err != nil {
			return err
		}
	}
	return nil
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return err
	}
	// The IPv6 address is ready a moment later.
	for deadline := time.Now().Add(10 * time.Second); ; {
		c, err := net.ListenPacket("udp6", "[::1]:0")
		if err == nil {
			return c.Close()
		}
		if time.Now().After(deadline) {
			return err
		}
	}
}

// resident returns the resident memory of a process, by kind.
func resident(pid int) (text string, kib int, err error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return "", 0, err
	}
	var found []string
	for _, line := range strings.Split(string(b), "\n") {
		for _, name := range []string{"VmRSS:", "RssAnon:", "RssFile:", "RssShmem:"} {
			if strings.HasPrefix(line, name) {
				found = append(found, strings.Join(strings.Fields(line), " "))
			}
		}
	}
	text = strings.Join(found, ", ")
	_, err = fmt.Sscanf(text, "VmRSS: %d kB", &kib)
	return text, kib, err
}

// countDrops sends packets that are not requests, and checks that the kernel
// counts them as dropped. So the socket's filter works.
func countDrops(port int) error {
	const junk = 7
	for _, to := range []struct {
		file string
		addr netip.Addr
	}{{"/proc/net/udp", netip.MustParseAddr("127.0.0.1")}, {"/proc/net/udp6", netip.IPv6Loopback()}} {
		before, err := drops(to.file, port)
		if err != nil {
			return err
		}
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to.addr, uint16(port))))
		if err != nil {
			return err
		}
		for range junk {
			// Loopback delivers, or drops, before the call returns.
			if _, err := conn.Write(bytes.Repeat([]byte{0xff}, 40)); err != nil {
				return err
			}
		}
		conn.Close()
		after, err := drops(to.file, port)
		if err != nil {
			return err
		}
		if after-before != junk {
			return fmt.Errorf("%s counts %d drops, want %d", to.file, after-before, junk)
		}
	}
	fmt.Println(verdict + "the kernel drops what can be no request, and counts it")
	return nil
}

// drops returns the sum of the last column for a port in /proc/net/udp.
func drops(file string, port int) (n int, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	lines := 0
	for _, line := range strings.Split(string(b), "\n") {
		f := strings.Fields(line)
		if len(f) > 2 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
			d, err := strconv.Atoi(f[len(f)-1])
			if err != nil {
				return 0, err
			}
			n += d
			lines++
		}
	}
	if lines == 0 {
		return 0, fmt.Errorf("%s has no socket of port %d", file, port)
	}
	return n, nil
}
