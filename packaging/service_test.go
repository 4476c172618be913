package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// units are the services of the package.
var units = []string{"pico-tracker", "pico-tracker-portmap"}

// unit returns a copy of a systemd unit, with a program that exists.
func unit(t *testing.T, name string) string {
	t.Helper()
	packages(t)
	text := string(read(t, "../systemd/"+name+".service"))
	program := filepath.Join(built.dir, name+"-linux-"+runtime.GOARCH)
	changed := strings.ReplaceAll(text, "/usr/bin/"+name+" ", program+" ")
	if changed == text {
		t.Fatalf("the unit does not run /usr/bin/%s", name)
	}
	path := filepath.Join(t.TempDir(), name+".service")
	if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUnitIsValid(t *testing.T) {
	need(t, "systemd-analyze")
	for _, name := range units {
		t.Run(name, func(t *testing.T) {
			if out := run(t, "systemd-analyze", "verify", "--man=no", unit(t, name)); strings.TrimSpace(out) != "" {
				t.Errorf("systemd-analyze verify: %s", out)
			}
		})
	}
}

// The exposure is below 1.5. Without the hardening it is higher.
func TestUnitIsHardened(t *testing.T) {
	need(t, "systemd-analyze")
	for _, name := range units {
		t.Run(name, func(t *testing.T) {
			path := unit(t, name)
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
			text = strings.ReplaceAll(text, "\nIPAddressDeny=", "\n#")
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if last, err := exposure(); err == nil {
				t.Errorf("without a filter of system calls it passes too: %s", last)
			}
		})
	}
}
