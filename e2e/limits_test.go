//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// processGroup makes a control group, of version 1 or 2, that allows so many
// processes and threads.
func processGroup(t *testing.T, limit int) string {
	t.Helper()
	var err error
	for _, root := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup"} {
		dir := filepath.Join(root, namespacePrefix+"pids")
		if err = os.Mkdir(dir, 0o755); err != nil {
			continue
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
		if err = os.WriteFile(filepath.Join(dir, "pids.max"), []byte(strconv.Itoa(limit)), 0); err == nil {
			return dir
		}
	}
	skipHere(t, err)
	return ""
}

// A control group with the number of threads that docs/boards.md names is enough
// for a tracker that serves, reads its list again and is suspended.
func TestFewThreads(t *testing.T) {
	t.Parallel()
	needLab(t)
	group := processGroup(t, 10)
	l := newLab(t)
	list := filepath.Join(l.dir, "list")
	if err := os.WriteFile(list, []byte("0123456789012345678901234567890123456789\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	join := fmt.Sprintf("/proc/%d/root%s/cgroup.procs", os.Getpid(), group)
	h := l.host("tracker", dual)
	tr := h.trackerBy([]string{"sh", "-c", `echo $$ >"$0" && exec "$@"`, join}, "-whitelist", list, "-workers", "4")
	probe := func() {
		t.Helper()
		for _, f := range []family{ipv4, ipv6} {
			h.run(trackerBinary, "-probe", tr.address(f).String())
		}
	}
	probe()
	tr.reload("torrent")
	for _, signal := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
		if err := tr.cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
	}
	probe()
	tr.stop(syscall.SIGTERM)
}

// -memory holds while the memory is full and addresses and default routes change
// thousands of times. The log has few lines about it.
func TestAddressChangesInMemory(t *testing.T) {
	t.Parallel()
	needLab(t)
	const limit, changes = 5 << 20, 4000 // the smallest -memory: little is left over
	l := newLab(t)
	h := l.host("tracker", dual)
	stats := filepath.Join(l.dir, "tracker.prom")
	tr := h.tracker("-memory", strconv.Itoa(limit), "-workers", "1", "-listen", "0.0.0.0", "-external-ip", "auto", "-stats", stats, "-stats-interval", "1s")
	flood := h.flood("announces", 90)
	tr.awaitLog("[WARN] full:")
	flood.kill()

	h.plug("wan", firstSegment)
	var batch strings.Builder
	for i := range changes / 4 {
		address := fmt.Sprintf("11.%d.%d.1", i/250, i%250)
		fmt.Fprintf(&batch, "addr add %s/24 dev wan\nroute replace default dev wan src %s\n", address, address)
		fmt.Fprintf(&batch, "route del default\naddr del %s/24 dev wan\n", address)
	}
	// The last change must be noticed.
	const last = "12.0.0.1"
	fmt.Fprintf(&batch, "addr add %s/24 dev wan\nroute replace default dev wan src %s\n", last, last)
	file := filepath.Join(l.dir, "changes")
	if err := os.WriteFile(file, []byte(batch.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	lines := strings.Count(tr.read(tr.log), "\n")
	p := h.start("ip", "-batch", file)
	p.wanted.Store(true)
	most, measured := 0, 0
	for running := true; running; measured++ {
		select {
		case <-p.ended:
			running = false
		default:
		}
		most = max(most, tr.resident())
	}
	if p.err != nil {
		t.Fatalf("ip -batch: %v\n%s", p.err, p.read(p.log))
	}
	l.await("the last address", func() error {
		if !strings.Contains(tr.read(stats), `external_info{family="ipv4",address="`+last) {
			return errors.New("not in the statistics")
		}
		return nil
	})
	most = max(most, tr.resident())
	t.Logf("at most %d KiB of %d are resident, measured %d times", most>>10, limit>>10, measured)
	if most > limit {
		t.Errorf("got %d bytes resident, want at most %d", most, limit)
	}
	if n := strings.Count(tr.read(tr.log), "\n") - lines; n > 100 {
		t.Errorf("got %d lines for %d changes, want at most 100", n, changes)
	}
	h.run(trackerBinary, "-probe", tr.address(ipv4).String())
	tr.stop(syscall.SIGTERM)
}

// resident returns the resident memory of the process in bytes. The kernel counts
// it now, because VmRSS in /proc/PID/status may be behind.
func (p *process) resident() (bytes int) {
	p.Helper()
	text := p.read(fmt.Sprintf("/proc/%d/smaps_rollup", p.cmd.Process.Pid))
	_, rest, _ := strings.Cut(text, "\nRss:")
	if _, err := fmt.Sscanf(rest, "%d kB", &bytes); err != nil {
		p.Fatalf("no Rss in %s", text)
	}
	return bytes << 10
}

// A host whose IPv6 is off from the start, as net.ipv6.conf.all.disable_ipv6 has
// it: the tracker serves IPv4, and IPv6 when it is on.
func TestIPv6OffAtStart(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	h := l.host("tracker", dual)
	h.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
	tr := h.tracker()
	h.run(trackerBinary, "-probe", tr.address(ipv4).String())
	h.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0")
	h.give("eth0", h.address(ipv6).String()+"/64")
	h.run(trackerBinary, "-probe", tr.address(ipv6).String())
	tr.stop(syscall.SIGTERM)
}
