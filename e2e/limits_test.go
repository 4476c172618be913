//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
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
