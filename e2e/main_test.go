//go:build linux

// Package e2e runs the tracker's binary and BitTorrent clients in
// network namespaces, one a host, and checks that swarms form through nothing
// but the tracker.
//
// A lab (lab_test.go) is a bridge and the hosts on it. Its hosts run processes
// (process_test.go): the tracker (tracker_test.go) and the clients
// (clients_test.go, and client_NAME_test.go for each of them), which are given
// torrents (torrent_test.go). A probe
// (probe_test.go) is a BEP 15 client of our own, which asks the tracker whom it
// knows; its socket is opened on its host (namespace_test.go). A host may have a
// bad wire (wire_test.go).
//
// Each client is tested in compatibility_test.go, with what the tracker's host
// sees of it (capture_test.go). Swarms of clients are tested in swarm_test.go, what befalls the network and the
// tracker's host in faults_test.go, floods in flood_test.go, forged packets in
// loop_test.go, trackers that share the torrents in cluster_test.go, and all that
// goes wrong at once and for long in soak_test.go. A tracker behind a router that
// maps ports is in portmap_test.go.
//
// The clients have DHT, peer exchange and local discovery off, and nearly every
// torrent is private, so a client knows no peer that the tracker did not name.
package e2e

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The tests wait far more than they compute. So more of them run in parallel
// than there are processors, unless -parallel is given.
const parallelTests = "8"

// trackerBinary is the tracker under test, built by TestMain.
var trackerBinary string

// unfit is the reason why labs cannot run here, or nil.
var unfit error

func TestMain(m *testing.M) {
	if family := os.Getenv(passSocketEnv); family != "" {
		if err := passSocket(family); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	flag.Parse()
	parallelSet := false
	flag.Visit(func(f *flag.Flag) { parallelSet = parallelSet || f.Name == "test.parallel" })
	if !parallelSet {
		if err := flag.Set("test.parallel", parallelTests); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}

	if unfit = checkMachine(); unfit == nil {
		dir, err := os.MkdirTemp("", "pico-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		trackerBinary = filepath.Join(dir, "pico-tracker")
		if err := buildTracker(trackerBinary); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// checkMachine returns an error that says what labs need and this machine
// lacks.
func checkMachine() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	var missing []string
	for _, tool := range []string{"ip", "nft", "miniupnpd", "natpmpc", "prometheus", "prometheus-node-exporter", "promtool", "aria2c", "lftp", "qbittorrent-nox", "rtorrent", "transmission-daemon", "transmission-remote"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, tool)
		}
	}
	if err := exec.Command(python, "-c", "import libtorrent").Run(); err != nil {
		missing = append(missing, "libtorrent for "+python)
	}
	if len(missing) > 0 {
		return fmt.Errorf("not installed: %s (see e2e/packages.txt)", strings.Join(missing, ", "))
	}
	if err := sweepNamespaces(); err != nil {
		return err
	}
	// A container's root may lack the right to make namespaces.
	name := namespacePrefix + "check"
	if err := ip("netns", "add", name); err != nil {
		return err
	}
	return ip("netns", "del", name)
}

// needLab skips the test if labs cannot run here. In CI it fails the test,
// because a skipped test must not look like a passed one.
func needLab(t *testing.T) {
	t.Helper()
	// This package does not import the tracker. go test sees that the test
	// reads its sources here, so it does not use the cached result of an
	// older tracker.
	if _, err := os.ReadDir(".."); err != nil {
		t.Fatal(err)
	}
	if unfit == nil {
		return
	}
	if os.Getenv("CI") == "true" || os.Getenv("PICO_NO_SKIP") == "1" {
		t.Fatal(unfit)
	}
	t.Skip(unfit)
}
