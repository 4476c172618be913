//go:build linux

// Package boards runs the released binary on the processors of boards under
// qemu-user (emulated_test.go), and on kernels that lack features
// (bare_test.go). With the build tag system it boots machines of qemu with
// kernels of Debian, where the tracker is the only service (system_test.go,
// guest_test.go).
package boards

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv(bareEnv) != "" {
		fmt.Fprintln(os.Stderr, becomeBare())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// skip skips the test with a reason. In CI it fails the test, because a skipped
// test must not look like a passed one.
func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" || os.Getenv("PICO_NO_SKIP") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// build runs make to build the binaries of these targets, as for a release, and
// returns their paths.
func build(t *testing.T, targets ...string) []string {
	t.Helper()
	// This package does not import the tracker. go test sees that the test
	// reads its sources here, so it does not use the cached result of an
	// older tracker.
	if _, err := os.ReadDir(".."); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("make"); err != nil {
		skip(t, "make is not installed")
	}
	cmd := exec.Command("make", "-s", "-C", "..")
	var paths []string
	for _, target := range targets {
		cmd.Args = append(cmd.Args, "binary-"+target)
		path, err := filepath.Abs("../dist/pico-tracker-" + target)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	// If make runs this test, this make is not a part of its jobs.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS=") })
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return paths
}
