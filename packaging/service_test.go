package packaging

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
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

// The image is built for two processors; the one for this machine runs, and
// is healthy, with the port that a variable gives it.
func TestContainer(t *testing.T) {
	needRoot(t)
	t.Parallel()
	need(t, "buildah", "podman", "runc", "unshare", "ip")
	packages(t)
	dir := t.TempDir()
	for _, name := range []string{"Dockerfile", ".dockerignore", "go.mod", "go.sum"} {
		if err := os.WriteFile(filepath.Join(dir, name), read(t, "../"+name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(dir+"/dist", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{runtime.GOARCH, "mipsle"} {
		b := read(t, filepath.Join(built.dir, "pico-tracker-linux-"+target))
		if err := os.WriteFile(dir+"/dist/pico-tracker-linux-"+target, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	store := []string{"--root", dir + "/root", "--runroot", dir + "/run", "--storage-driver", "vfs"}
	for _, target := range []string{"mipsle", runtime.GOARCH} {
		run(t, "buildah", append(store, "bud", "--isolation", "chroot", "--format", "docker",
			"--platform", "linux/"+target, "--build-arg", "FROM=dist", "-t", "pico-tracker:"+target, dir)...)
	}
	var images []struct {
		Architecture string
		RootFS       struct{ Layers []string }
		HealthCheck  struct{ Test []string }
		Config       struct {
			User string
		}
	}
	podman := append([]string{"podman"}, store...)
	out, err := exec.Command(podman[0], append(podman[1:], "image", "inspect", "pico-tracker:"+runtime.GOARCH, "pico-tracker:mipsle")...).Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &images); err != nil || len(images) != 2 {
		t.Fatalf("%v: %s", err, out)
	}
	for i, arch := range []string{runtime.GOARCH, "mipsle"} {
		image := images[i]
		user, _, _ := strings.Cut(image.Config.User, ":")
		if id, err := strconv.Atoi(user); err != nil || id == 0 {
			t.Errorf("user %q: want a number that is not 0", image.Config.User)
		}
		if image.Architecture != arch || len(image.RootFS.Layers) != 1 {
			t.Errorf("%s with %d layers, want %s with one", image.Architecture, len(image.RootFS.Layers), arch)
		}
		if got := strings.Join(image.HealthCheck.Test, " "); got != "CMD /pico-tracker -probe self" {
			t.Errorf("health check: %q", got)
		}
	}

	// In a network of its own. No systemd means no timer for the health
	// check, which podman says; it is run by hand.
	script := `
		set -e
		ip link set lo up
		podman() { command podman ` + strings.Join(store, " ") + ` --cgroup-manager cgroupfs --events-backend none --runtime runc "$@"; }
		podman run -d --name pico --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --network host \
			-e PICO_TRACKER__PORT=6969 -e PICO_TRACKER__WORKERS=1 pico-tracker:` + runtime.GOARCH + ` >&2
		trap 'podman rm -f pico >&2' EXIT
		n=0
		until podman healthcheck run pico >&2; do n=$((n + 1)); [ "$n" -lt 50 ]; done
		podman inspect --format 'health {{.State.Health.Status}}' pico
		` + built.dir + `/pico-tracker-linux-` + runtime.GOARCH + ` -probe 127.0.0.1:6969
		podman kill -s STOP pico >&2
		! podman healthcheck run pico >&2 || echo 'healthy although it is frozen'
		podman kill -s CONT pico >&2
		podman stop -t 5 pico >&2
		podman inspect --format 'exit {{.State.ExitCode}}' pico
		podman logs pico 2>&1`
	cmd := exec.Command("unshare", "-n", "sh", "-c", script)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err = cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, stderr.String())
	}
	for _, want := range []string{"health healthy\n", "127.0.0.1:6969 answers the connect in ", "exit 0\n", "listening on 0.0.0.0:6969"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in:\n%s\n%s", want, out, stderr.String())
		}
	}
	if strings.Contains(string(out), "frozen") {
		t.Errorf("%s", out)
	}
}
