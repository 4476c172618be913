//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// This file has floods: bench's load generator beside the tracker, on its host.

// loadBinary builds bench's load generator.
var loadBinary = sync.OnceValues(func() (string, error) {
	path := trackerBinary + "-load"
	build := exec.Command("go", "build", "-o", path, "./cmd/load")
	build.Dir = "../bench"
	out, err := build.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("build the load generator: %w\n%s", err, out)
	}
	return path, err
})

// flood starts a flood of one kind from 100,000 addresses of the tracker's
// host, and waits until it has begun.
func (h *host) flood(kind string, seconds float64) *process {
	h.Helper()
	load, err := loadBinary()
	if err != nil {
		h.Fatal(err)
	}
	p := h.start(load, "-server", fmt.Sprintf("127.0.0.1:%d", trackerPort), "-flood", kind, "-seconds", strconv.FormatFloat(seconds, 'f', 1, 64))
	p.wanted.Store(true)
	before := h.looped()
	h.await("a flood of "+kind, func() error {
		if n := h.looped() - before; n < 5000 {
			return fmt.Errorf("%d datagrams so far", n)
		}
		return nil
	})
	return p
}

// looped is how many packets the host has sent to itself.
func (h *host) looped() int {
	h.Helper()
	out, err := h.command("cat", "/sys/class/net/lo/statistics/rx_packets").Output()
	if err != nil {
		h.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		h.Fatal(err)
	}
	return n
}

// over waits until a flood is over. It returns how many datagrams it sent and
// how many replies it read.
func (p *process) over() (sent, read uint64) {
	p.Helper()
	<-p.ended
	if _, err := fmt.Sscanf(p.read(p.log), "%d datagrams, %d answers read", &sent, &read); err != nil || p.err != nil || sent == 0 {
		p.Fatalf("the flood: %v, %v: %s", p.err, err, p.read(p.log))
	}
	return sent, read
}

// status is a figure in kB of /proc/PID/status, in bytes.
func (p *process) status(field string) (bytes int) {
	p.Helper()
	text := p.read(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	_, rest, _ := strings.Cut(text, field+":")
	if _, err := fmt.Sscanf(rest, "%d kB", &bytes); err != nil {
		p.Fatalf("no %s in %s", field, text)
	}
	return bytes << 10
}

// memoryGroup makes a control group with a limit of memory below the test's own.
func memoryGroup(t *testing.T, limit int) (dir string, kills func() int) {
	t.Helper()
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	root, file, events := "", "memory.max", "memory.events"
	for _, line := range strings.Split(string(groups), "\n") {
		f := strings.SplitN(line, ":", 3)
		switch {
		case len(f) < 3:
		case f[1] == "" && root == "":
			root = filepath.Join("/sys/fs/cgroup", f[2])
		case strings.Contains(","+f[1]+",", ",memory,"):
			root, file, events = filepath.Join("/sys/fs/cgroup/memory", f[2]), "memory.limit_in_bytes", "memory.oom_control"
		}
	}
	dir = filepath.Join(root, namespacePrefix+"memory")
	if err := os.Mkdir(dir, 0o755); err != nil {
		skipHere(t, err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, file), []byte(strconv.Itoa(limit)), 0); err != nil {
		skipHere(t, err)
	}
	return dir, func() int {
		text, err := os.ReadFile(filepath.Join(dir, events))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "oom_kill ")
		n, err := strconv.Atoi(strings.Fields(rest + " ?")[0])
		if err != nil {
			t.Fatalf("%s: %s", events, text)
		}
		return n
	}
}

// A control group with a little more than -memory is enough for a full tracker,
// under every kind of flood. After the flood, clients get replies.
func TestFloodInMemoryLimit(t *testing.T) {
	t.Parallel()
	needLab(t)
	const memory, limit = 8 << 20, 10 << 20
	group, kills := memoryGroup(t, limit)
	l := newLab(t)
	h := l.host("tracker", dual)
	// A host has its own /sys.
	join := fmt.Sprintf("/proc/%d/root%s/cgroup.procs", os.Getpid(), group)
	tr := h.trackerBy([]string{"sh", "-c", `echo $$ >"$0" && exec "$@"`, join}, "-memory", strconv.Itoa(memory))
	c := l.host("crowd", dual).probeSwarm(tr, "flooded")
	c.impatient(100, c.members[0].timeout/5)
	for _, kind := range []string{"junk", "connects", "bad IDs", "announces"} {
		flood := h.flood(kind, 90)
		c.announce() // with enough retries every client gets a reply
		if kind == "announces" {
			tr.awaitLog("[WARN] full:")
			c.announce()
		}
		flood.kill()
		c.awaitWhole()
		t.Logf("%s: at most %.1f MiB resident", kind, float64(tr.status("VmHWM"))/(1<<20))
	}
	if n := kills(); n != 0 {
		t.Errorf("the kernel ended %d processes for want of memory", n)
	}
	if peak := tr.status("VmHWM"); peak > memory {
		t.Errorf("%d bytes resident, want at most %d", peak, memory)
	}
	tr.stop(syscall.SIGTERM)
	if tr.err != nil {
		t.Error(tr.err)
	}
}

// skipHere skips a test that this machine does not allow.
func skipHere(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("CI") == "true" || os.Getenv("PICO_NO_SKIP") == "1" {
		t.Fatal(err)
	}
	if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, os.ErrNotExist) {
		t.Skip(err)
	}
	t.Fatal(err)
}
