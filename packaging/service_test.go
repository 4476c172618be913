package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// unit is a copy of the systemd unit whose program is one that is there.
func unit(t *testing.T) string {
	t.Helper()
	packages(t)
	text := string(read(t, "../systemd/pico-tracker.service"))
	program := filepath.Join(built.dir, "pico-tracker-linux-"+runtime.GOARCH)
	changed := strings.ReplaceAll(text, "/usr/bin/pico-tracker", program)
	if changed == text {
		t.Fatal("the unit does not run /usr/bin/pico-tracker")
	}
	path := filepath.Join(t.TempDir(), "pico-tracker.service")
	if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUnitIsValid(t *testing.T) {
	need(t, "systemd-analyze")
	path := unit(t)
	if out := run(t, "systemd-analyze", "verify", "--man=no", path); strings.TrimSpace(out) != "" {
		t.Errorf("systemd-analyze verify: %s", out)
	}
}

// The exposure is below 1.5; without its hardening it isn't.
func TestUnitIsHardened(t *testing.T) {
	need(t, "systemd-analyze")
	path := unit(t)
	exposure := func() (string, error) {
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=14", path).CombinedOutput()
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return lines[len(lines)-1], err
	}
	if last, err := exposure(); err != nil {
		t.Errorf("%v: %s", err, last)
	} else {
		t.Log(last)
	}
	text := strings.ReplaceAll(string(read(t, path)), "\nSystemCallFilter=", "\n#")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if last, err := exposure(); err == nil {
		t.Errorf("without a filter of system calls it passes too: %s", last)
	}
}
