package packaging

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/json"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
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
		# The libraries of busybox, if it is not a static one.
		{ ldd "$BUSYBOX" 2>/dev/null || true; } | grep -o '/[^ ]*' | while read -r library; do
			cp -L --parents "$library" "$DIR/image"
		done
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
			// It warns on standard error that this is another
			// processor.
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

// TestImage compares the image of a release with the one that the Dockerfile
// describes, and runs it.
func TestImage(t *testing.T) {
	needRoot(t)
	t.Parallel()
	need(t, "buildah", "podman", "runc", "go")
	packages(t)
	dir := t.TempDir()
	const name = "example.test/pico-tracker:1.1.0"
	build := func(file string) []byte {
		run(t, "go", "run", "./image", "-dockerfile", "../Dockerfile", "-dist", built.dir, "-name", name, "-version", "1.1.0",
			"-revision", "abcdef", "-created", "1764200000", "-o", filepath.Join(dir, file), "linux/"+runtime.GOARCH, "linux/mipsle")
		return read(t, filepath.Join(dir, file))
	}
	if !bytes.Equal(build("first.tar"), build("second.tar")) {
		t.Error("the image differs when it is made again")
	}

	podman := append([]string{"--cgroup-manager", "cgroupfs", "--events-backend", "none"}, buildahStore(t)...)
	run(t, "podman", append(podman, "load", "-i", dir+"/first.tar")...)
	got := run(t, "podman", append(podman, "run", "--rm", "--runtime", "runc", "--network", "none",
		"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", name, "-version")...)
	if want := "pico-tracker 1.1.0\n"; got != want {
		t.Errorf("-version: got %q, want %q", got, want)
	}

	// The settings are those of the Dockerfile. podman drops the health check
	// of an OCI image, so it is read from the archive.
	want := inspectImage(t, buildFromDist(t, dir, buildahStore(t)), "pico-tracker:mipsle")
	made := inspectImage(t, podman, name)
	made.HealthCheck = layoutConfig(t, filepath.Join(dir, "first.tar")).Config.Healthcheck
	if made.Config.User != want.Config.User || !slices.Equal(made.Config.Entrypoint, want.Config.Entrypoint) ||
		!maps.Equal(made.Config.ExposedPorts, want.Config.ExposedPorts) {
		t.Errorf("settings: got %+v, want %+v", made.Config, want.Config)
	}
	if !reflect.DeepEqual(made.HealthCheck, want.HealthCheck) {
		t.Errorf("health check: got %+v, want %+v", made.HealthCheck, want.HealthCheck)
	}
	if got := made.Config.Labels["org.opencontainers.image.version"]; got != "1.1.0" {
		t.Errorf("label version: got %q, want 1.1.0", got)
	}
}

// imageSettings is what podman tells of an image.
type imageSettings struct {
	Architecture string
	RootFS       struct{ Layers []string }
	HealthCheck  *healthcheck
	Config       struct {
		User         string
		Entrypoint   []string
		ExposedPorts map[string]struct{}
		Labels       map[string]string
	}
}

type healthcheck struct {
	Test                           []string
	Interval, Timeout, StartPeriod time.Duration
}

// inspectImage asks podman for an image, with these options before the command.
func inspectImage(t *testing.T, options []string, name string) imageSettings {
	t.Helper()
	out, err := exec.Command("podman", append(options, "image", "inspect", name)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	var images []imageSettings
	if err := json.Unmarshal(out, &images); err != nil || len(images) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	return images[0]
}

// layoutConfig returns the configuration of the first image in an archive.
func layoutConfig(t *testing.T, path string) (config struct {
	Config struct{ Healthcheck *healthcheck }
}) {
	t.Helper()
	files := map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(read(t, path)))
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	type descriptor struct{ Digest string }
	var node struct {
		Manifests []descriptor
		Config    descriptor
	}
	blob := files["index.json"]
	for node.Config.Digest == "" {
		if err := json.Unmarshal(blob, &node); err != nil {
			t.Fatal(err)
		}
		next := node.Config.Digest
		if next == "" {
			next = node.Manifests[0].Digest
		}
		blob = files["blobs/"+strings.Replace(next, ":", "/", 1)]
	}
	if err := json.Unmarshal(blob, &config); err != nil {
		t.Fatal(err)
	}
	return config
}

// buildFromDist runs buildah to build the stage dist of the Dockerfile for this
// machine and for mipsle, and returns the options of the store.
func buildFromDist(t *testing.T, dir string, store []string) []string {
	t.Helper()
	if err := os.MkdirAll(dir+"/dist", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Dockerfile", ".dockerignore"} {
		if err := os.WriteFile(filepath.Join(dir, name), read(t, "../"+name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, target := range []string{"mipsle", runtime.GOARCH} {
		b := read(t, filepath.Join(built.dir, "pico-tracker-linux-"+target))
		if err := os.WriteFile(dir+"/dist/pico-tracker-linux-"+target, b, 0o755); err != nil {
			t.Fatal(err)
		}
		run(t, "buildah", append(store, "bud", "--isolation", "chroot", "--format", "docker", "--squash",
			"--platform", "linux/"+target, "--target", "dist", "-t", "pico-tracker:"+target, dir)...)
	}
	return store
}

// The image is built for two processors; the one for this machine runs, and
// is healthy, with the port that a variable gives it.
func TestContainer(t *testing.T) {
	needRoot(t)
	t.Parallel()
	need(t, "buildah", "podman", "runc", "unshare", "ip")
	packages(t)
	dir := t.TempDir()
	store := buildFromDist(t, dir, buildahStore(t))

	// The port mapping program is an image of its own.
	program := "pico-tracker-portmap-linux-" + runtime.GOARCH
	if err := os.WriteFile(filepath.Join(dir, "dist", program), read(t, filepath.Join(built.dir, program)), 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "buildah", append(store, "bud", "--isolation", "chroot", "--format", "docker", "--squash",
		"--platform", "linux/"+runtime.GOARCH, "--target", "portmap-dist", "-t", "portmap", dir)...)
	container := strings.TrimSpace(run(t, "buildah", append(store, "from", "--pull-never", "portmap")...))
	root := strings.TrimSpace(run(t, "buildah", append(store, "mount", container)...))
	if got := run(t, filepath.Join(root, "pico-tracker-portmap"), "-version"); !strings.HasPrefix(got, "pico-tracker-portmap 1.") {
		t.Errorf("the image of the port mapping program: -version: got %q", got)
	}
	for _, arch := range []string{runtime.GOARCH, "mipsle"} {
		image := inspectImage(t, store, "pico-tracker:"+arch)
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

	// In its own network. Without systemd there is no timer for the health
	// check, so it is run by hand.
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
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, stderr.String())
	}
	for _, want := range []string{"health healthy\n", "127.0.0.1:6969 answers the connect in ", "exit 0\n", "listening on 0.0.0.0:6969", "sandbox: system calls, files, capabilities"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in:\n%s\n%s", want, out, stderr.String())
		}
	}
	if strings.Contains(string(out), "frozen") {
		t.Errorf("%s", out)
	}
}
