//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
)

const (
	trackerPort = 1337

	// Clients keep a connection ID for up to a minute. With a shorter
	// interval, a client would show its old ID to a restarted tracker
	// several times. Transmission 3.00 waits for 15 minutes after the third
	// refusal.
	interval = "70s"
)

// buildTracker builds the module this package is part of, as a release is built.
func buildTracker(path string) error {
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version=e2e", "-o", path, ".")
	build.Dir = ".." // go test runs a test in its package's directory
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the tracker: %w\n%s", err, out)
	}
	return nil
}

// A tracker is the binary under test, on a host.
type tracker struct {
	*process
	flags []string
}

// tracker starts a tracker and waits until its sockets are open.
func (h *host) tracker(flags ...string) *tracker {
	h.Helper()
	return h.trackerBy(nil, flags...)
}

// trackerBy starts a tracker by a command that execs it.
func (h *host) trackerBy(command []string, flags ...string) *tracker {
	h.Helper()
	tr := &tracker{flags: append([]string{"-interval", interval}, flags...)}
	tr.process = h.start(slices.Concat(command, []string{trackerBinary}, tr.flags)...)
	tr.awaitLog("[INFO] memory ") // its last log line before it serves
	return tr
}

// address is where clients of a family reach the tracker.
func (tr *tracker) address(f family) netip.AddrPort {
	return netip.AddrPortFrom(tr.host.address(f), trackerPort)
}

func (tr *tracker) url(f family) string {
	return fmt.Sprintf("udp://%v/announce", tr.address(f))
}

// reload makes the tracker read its list, and waits for its log line.
func (tr *tracker) reload(says string) {
	tr.Helper()
	before := strings.Count(tr.read(tr.log), says)
	if err := tr.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		tr.Fatal(err)
	}
	tr.awaitLogTimes(says, before+1)
}
