//go:build linux

// Package boards runs the tracker's own binary, as it is shipped, where it is
// meant to run: on the processors of boards under qemu-user (emulated_test.go),
// and on kernels that lack what the tracker likes to have (bare_test.go). With
// the build tag system it boots machines of qemu with kernels of Debian, where
// the tracker is the only service (system_test.go, guest_test.go).
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

// skip says what is not tested, and why. In CI that is a failure: a skipped
// test must not pass for a green one.
func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" || os.Getenv("PICO_NO_SKIP") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// build has make build the binaries of these targets, as for a release, and
// returns where they are.
func build(t *testing.T, targets ...string) []string {
	t.Helper()
	// The tracker is no import of this package. To look at its sources is
	// what keeps go test from giving an older tracker's cached result.
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
	// A make above this test has made it no part of its own jobs.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS=") })
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return paths
}
