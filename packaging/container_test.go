package packaging

import (
	"debug/elf"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// The container images: the Dockerfile compiles the tracker, or takes the
// binaries of make dist.

// buildahStore returns the options that keep the images of a test apart.
func buildahStore(t *testing.T) []string {
	dir := t.TempDir()
	return []string{"--root", dir + "/root", "--runroot", dir + "/run", "--storage-driver", "vfs"}
}

// goImage builds an image with busybox and the Go of this machine. It stands
// for the image of Go that the Dockerfile asks for, and has the same name.
func goImage(t *testing.T, store []string) {
	t.Helper()
	m := regexp.MustCompile(`(?m)^FROM --platform=\$BUILDPLATFORM (\S+) AS compiled$`).FindSubmatch(read(t, "../Dockerfile"))
	if m == nil {
		t.Fatal("the Dockerfile has no stage that compiles")
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	runIn(t, "", []string{"DIR=" + dir, "BUSYBOX=" + busybox}, "sh", "-euc", `
		goroot=$(go env GOROOT)
		modules=$(go env GOMODCACHE)/cache/download
		mkdir -p "$DIR/image/bin" "$DIR/image/tmp" "$DIR/image/go" "$DIR/image/proxy"
		cp "$BUSYBOX" "$DIR/image/bin/busybox"
		ln -s busybox "$DIR/image/bin/sh"
		tools=pkg/tool/$(go env GOHOSTOS)_$(go env GOHOSTARCH)
		tar -C "$goroot" -cf - --exclude testdata --exclude '*_test.go' --exclude src/cmd \
			VERSION go.env bin/go pkg/include "$tools" src | tar -C "$DIR/image/go" -xf -
		(cd "$modules" && tar -cf - golang.org/x/sys/@v) | tar -C "$DIR/image/proxy" -xf -
		cat >"$DIR/Dockerfile" <<-'END'
			FROM scratch
			COPY . /
			ENV PATH=/go/bin:/bin GOPROXY=file:///proxy GOTOOLCHAIN=local
		END`)
	runIn(t, dir, nil, "buildah", append(store, "bud", "--isolation", "chroot", "-f", "Dockerfile", "-t", string(m[1]), "image")...)
}

// TestDockerfileCompiles runs "docker build ." with the sources as they are
// now, for this processor and for another.
func TestDockerfileCompiles(t *testing.T) {
	needRoot(t)
	t.Parallel()
	need(t, "buildah", "busybox", "go")
	store := buildahStore(t)
	goImage(t, store)
	for _, c := range []struct{ platform, machine string }{
		{"linux/" + runtime.GOARCH, ""},
		{"linux/arm/v5", "ARM"},
	} {
		t.Run(c.platform, func(t *testing.T) {
			image := "pico-tracker:" + strings.ReplaceAll(c.platform, "/", "-")
			// The buildah of Debian 12 does not set BUILDPLATFORM.
			run(t, "buildah", append(store, "bud", "--isolation", "chroot", "--format", "docker", "--pull-never",
				"--platform", c.platform, "--build-arg", "BUILDPLATFORM=linux/"+runtime.GOARCH,
				"--build-arg", "VERSION=1.2.3", "-t", image, "..")...)
			// It warns on standard error that the processor is another.
			out, err := exec.Command("buildah", append(store, "from", "--pull-never", image)...).Output()
			if err != nil {
				t.Fatal(err)
			}
			container := strings.TrimSpace(string(out))
			root := strings.TrimSpace(run(t, "buildah", append(store, "mount", container)...))
			files, err := os.ReadDir(root)
			if err != nil {
				t.Fatal(err)
			}
			if len(files) != 1 || files[0].Name() != "pico-tracker" {
				t.Errorf("the image has %v, want pico-tracker alone", files)
			}
			binary := filepath.Join(root, "pico-tracker")
			if c.machine == "" {
				if got, want := run(t, binary, "-version"), "pico-tracker 1.2.3\n"; got != want {
					t.Errorf("-version: got %q, want %q", got, want)
				}
				return
			}
			if got := elfMachine(t, binary); got != c.machine {
				t.Errorf("machine: got %s, want %s", got, c.machine)
			}
		})
	}
}

// elfMachine returns the processor that a binary is for.
func elfMachine(t *testing.T, path string) string {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return strings.TrimPrefix(f.Machine.String(), "EM_")
}

// The image is built for two processors; the one for this machine runs, and
// is healthy, with the port that a variable gives it.
func TestContainer(t *testing.T) {
	needRoot(t)
	t.Parallel()
	need(t, "buildah", "podman", "runc", "unshare", "ip")
	packages(t)
	dir := t.TempDir()
	for _, name := range []string{"Dockerfile", ".dockerignore"} {
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
	store := buildahStore(t)
	for _, target := range []string{"mipsle", runtime.GOARCH} {
		run(t, "buildah", append(store, "bud", "--isolation", "chroot", "--format", "docker",
			"--platform", "linux/"+target, "--squash", "--target", "dist", "-t", "pico-tracker:"+target, dir)...)
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
