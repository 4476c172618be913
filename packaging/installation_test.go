//go:build installation

package packaging

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// Tests of a finished release: its files are installed with the commands of the
// README, from a web server on loopback. "make test-release" runs them.

const (
	releases = "https://github.com/fabricionaweb/pico-tracker/releases/download/v"
	pages    = "https://fabricionaweb.github.io/pico-tracker"
)

// release returns the directory with the files of a release, and its version.
func release(t *testing.T) (dir, version string) {
	t.Helper()
	dir = os.Getenv("PICO_RELEASE")
	if dir == "" {
		t.Fatal("PICO_RELEASE is not set: run make release-files, then make test-release")
	}
	names, err := filepath.Glob(filepath.Join(dir, "pico-tracker-[0-9]*.cdx.json"))
	if err != nil || len(names) != 1 {
		t.Fatalf("%s: found %v, want one bill of materials", dir, names)
	}
	return dir, strings.TrimSuffix(strings.TrimPrefix(filepath.Base(names[0]), "pico-tracker-"), ".cdx.json")
}

// commands returns the first block of commands below a heading of the README.
func commands(t *testing.T, heading string) string {
	t.Helper()
	_, text, ok := strings.Cut(string(read(t, "../README.md")), "\n### "+heading+"\n")
	if !ok {
		t.Fatalf("the README has no heading %q", heading)
	}
	m := regexp.MustCompile("(?ms)^```console\n(.*?)^```$").FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("the README has no commands below %q", heading)
	}
	return m[1]
}

// serve starts a web server for a directory and returns its address.
func serve(t *testing.T, dir string) string {
	s := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(s.Close)
	return s.URL
}

// shell runs commands without sudo in an empty directory, which it returns.
func shell(t *testing.T, script string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	sudo := filepath.Join(t.TempDir(), "sudo")
	if err := os.WriteFile(sudo, []byte("#!/bin/sh\nexec \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	runIn(t, dir, []string{"PATH=" + filepath.Dir(sudo) + ":" + os.Getenv("PATH")}, "bash", "-euo", "pipefail", "-c", script)
	return dir
}

// TestInstallFiles checks that the release is complete.
func TestInstallFiles(t *testing.T) {
	dir, version := release(t)
	runIn(t, dir, nil, "sha256sum", "--quiet", "-c", "SHA256SUMS")
	prefix := "pico-tracker-" + version
	want := []string{"SHA256SUMS", "pico-tracker-portmap-" + version + ".cdx.json", "pico-tracker-portmap-" + version + "-oci.tar"}
	for _, suffix := range []string{".cdx.json", "-licenses.txt", "-notes.md", "-oci.tar", ".tar.gz"} {
		want = append(want, prefix+suffix)
	}
	targets := strings.Fields(run(t, "make", "-s", "-C", "..", "list-targets"))
	if len(targets) != 20 {
		t.Errorf("%d targets, want 20", len(targets))
	}
	for _, target := range targets {
		suffix := ".tar.gz"
		if strings.HasPrefix(target, "windows-") {
			suffix = ".zip"
		}
		want = append(want, prefix+"-"+target+suffix)
	}
	sums := string(read(t, filepath.Join(dir, "SHA256SUMS")))
	for _, name := range want {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
		if name != "SHA256SUMS" && !strings.Contains(sums, "  "+name+"\n") {
			t.Errorf("SHA256SUMS lacks %s", name)
		}
	}
	for _, pattern := range []string{"*_amd64.deb", "*_mipsel_24kc.ipk", "*_mipsel_24kc.apk"} {
		if names, _ := filepath.Glob(filepath.Join(dir, pattern)); len(names) == 0 {
			t.Errorf("no %s", pattern)
		}
	}

	r, err := zip.OpenReader(filepath.Join(dir, prefix+"-windows-amd64.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var files []string
	for _, f := range r.File {
		files = append(files, strings.TrimPrefix(f.Name, prefix+"-windows-amd64/"))
	}
	slices.Sort(files)
	if want := []string{"CHANGELOG.md", "LICENSE", "README.md", "licenses.txt", "pico-tracker.exe"}; !slices.Equal(files, want) {
		t.Errorf("the archive for Windows has %v, want %v", files, want)
	}
}

// TestInstallArchive downloads an archive, verifies and unpacks it, and runs
// what is in it.
func TestInstallArchive(t *testing.T) {
	dir, version := release(t)
	server := serve(t, filepath.Dir(linkRelease(t, dir, version)))
	script := commands(t, "Any other system: a static binary")
	script = regexp.MustCompile(`(?m)^version=\S+ target=\S+$`).ReplaceAllString(script, "version="+version+" target=linux-"+runtime.GOARCH)
	script = strings.ReplaceAll(script, releases, server+"/v")
	script = strings.ReplaceAll(script, "/usr/local/bin", "bin")
	if !strings.Contains(script, server) || !strings.Contains(script, "version="+version) {
		t.Fatalf("the commands are other than expected:\n%s", script)
	}
	where := shell(t, "mkdir bin\n"+script)
	if got, want := run(t, where+"/bin/pico-tracker", "-version"), "pico-tracker "+version+"\n"; got != want {
		t.Errorf("-version: got %q, want %q", got, want)
	}
	top := filepath.Join(where, "pico-tracker-"+version+"-linux-"+runtime.GOARCH)
	for name, want := range map[string]string{
		"LICENSE": "MIT License", "licenses.txt": "golang.org/x/sys", "README.md": "# Pico Tracker", "CHANGELOG.md": "## [" + version + "]",
		"pico-tracker.8": `"pico-tracker ` + version + `"`, "completion/pico-tracker.bash": "complete ", "completion/_pico-tracker": "#compdef",
		"systemd/pico-tracker.service": "ExecStart=/usr/bin/pico-tracker", "systemd/default": "PICO_TRACKER__",
	} {
		if !strings.Contains(string(read(t, filepath.Join(top, name))), want) {
			t.Errorf("%s lacks %q", name, want)
		}
	}
	if out := run(t, "mandoc", "-Tlint", "-Wbase", top+"/pico-tracker.8"); out != "" {
		t.Error(out)
	}

	// A changed file is refused.
	broken := strings.Replace(script, "sha256sum", "echo >>pico-tracker-"+version+"-linux-"+runtime.GOARCH+".tar.gz; sha256sum", 1)
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", broken)
	cmd.Dir = t.TempDir()
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "FAILED") {
		t.Errorf("a changed archive: got %v and %s", err, out)
	}
}

// linkRelease returns a link to the release with the name of its tag.
func linkRelease(t *testing.T, dir, version string) string {
	t.Helper()
	link := filepath.Join(t.TempDir(), "v"+version)
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	return link
}

// TestInstallApt installs the package from a signed repository in a fresh
// Debian, and upgrades from the previous release if there is one.
func TestInstallApt(t *testing.T) {
	needRoot(t)
	need(t, "debootstrap", "apt-ftparchive", "gpg")
	dir, version := release(t)
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(debs) == 0 {
		t.Fatalf("%v, %v", debs, err)
	}
	site, gnupg := t.TempDir(), t.TempDir()
	env := []string{"GNUPGHOME=" + gnupg}
	runIn(t, "", env, "gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "", "--quick-gen-key", "test@example.invalid", "ed25519", "sign", "1d")
	t.Cleanup(func() { _ = exec.Command("gpgconf", "--homedir", gnupg, "--kill", "all").Run() })
	publish := func(debs ...string) {
		runIn(t, "", env, "./apt-repository", append([]string{"test@example.invalid", site + "/apt"}, debs...)...)
	}

	root := t.TempDir()
	run(t, "debootstrap", "--variant=minbase", "--include=curl,ca-certificates", fields(read(t, "/etc/os-release"), "=")["VERSION_CODENAME"], root)
	for name, text := range map[string]string{
		"/usr/local/bin/sudo": "#!/bin/sh\nexec \"$@\"\n",
		// Only the repository under test: the network is not needed.
		"/etc/apt/sources.list": "",
		// apt would ask.
		"/etc/apt/apt.conf.d/yes": "APT::Get::Assume-Yes \"true\";\n",
	} {
		if err := os.WriteFile(root+name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script := strings.ReplaceAll(commands(t, "Debian, Raspberry Pi OS, Ubuntu"), pages, serve(t, site))
	script = script[:strings.Index(script, "apt install pico-tracker")+len("apt install pico-tracker")]
	inside := func(script string) (string, error) {
		out, err := exec.Command("chroot", root, "bash", "-euo", "pipefail", "-c", script).CombinedOutput()
		return string(out), err
	}

	before := previousDeb(t)
	if before != "" {
		publish(before)
		if out, err := inside(script); err != nil {
			t.Fatalf("the release before: %v\n%s", err, out)
		}
		if err := os.WriteFile(root+"/etc/default/pico-tracker", []byte("PICO_TRACKER__PORT=6969\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	publish(debs...)
	if out, err := inside(script); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got, err := inside("pico-tracker -version"); err != nil || got != "pico-tracker "+version+"\n" {
		t.Errorf("-version: got %v and %q, want %s", err, got, version)
	}
	if before != "" && string(read(t, root+"/etc/default/pico-tracker")) != "PICO_TRACKER__PORT=6969\n" {
		t.Error("the upgrade lost the settings")
	}
	t.Logf("the release before: %q", before)

	// Without a valid signature there is nothing to install.
	if out, err := inside("apt purge pico-tracker; rm -rf /var/lib/apt/lists/*"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	release := site + "/apt/dists/stable/InRelease"
	if err := os.WriteFile(release, bytes.Replace(read(t, release), []byte("Pico Tracker"), []byte("Nano Tracker"), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := inside(script); err == nil || !strings.Contains(out, "BADSIG") {
		t.Errorf("a repository with a wrong signature: got %v and %s", err, out)
	}
}

// previousDeb builds the package of the tag before this commit, and returns its
// path. Without such a tag it returns "".
func previousDeb(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("git", "describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "HEAD^").Output()
	if err != nil {
		return ""
	}
	tag := strings.TrimSpace(string(out))
	dir := t.TempDir()
	runIn(t, "..", []string{"MAKEFLAGS=", "MAKELEVEL="}, "sh", "-euc", `
		git archive "$1" | tar -xf - -C "$2"
		cd "$2"
		make --no-print-directory binary-linux-"$3" binary-portmap-linux-"$3" VERSION="$1"
		VERSION="$1" packaging/build "$3"`, "sh", tag, dir, runtime.GOARCH)
	debs, err := filepath.Glob(dir + "/dist/packages/*.deb")
	if err != nil || len(debs) != 1 {
		t.Fatalf("%s: %v, %v", tag, debs, err)
	}
	return debs[0]
}

// TestInstallImage loads the image and runs it as the README does.
func TestInstallImage(t *testing.T) {
	needRoot(t)
	need(t, "podman", "runc", "unshare", "ip")
	dir, version := release(t)
	const name = "ghcr.io/fabricionaweb/pico-tracker"
	podman := "podman " + strings.Join(buildahStore(t), " ") + " --cgroup-manager cgroupfs --events-backend none --runtime runc"
	run(t, "sh", "-euc", podman+" load -i "+dir+"/pico-tracker-"+version+"-oci.tar && "+podman+" tag "+name+":"+version+" "+name)
	command := strings.TrimSpace(strings.Split(commands(t, "Container"), "\n")[0])
	if !strings.HasPrefix(command, "docker run -d --name pico-tracker ") || !strings.HasSuffix(command, name) {
		t.Fatalf("the command is other than expected: %s", command)
	}
	// This machine may be a sandbox, in which podman cannot set some
	// limits.
	command = strings.Replace(command, "docker run", podman+" run --ulimit nofile=1024:1024 --ulimit nproc=1024:1024", 1)
	command = strings.Replace(command, "--restart unless-stopped ", "", 1)
	out := run(t, "unshare", "-n", "sh", "-euc", `
		ip link set lo up
		`+command+`
		trap '`+podman+` rm -f pico-tracker' EXIT
		n=0
		until `+podman+` exec pico-tracker /pico-tracker -probe self; do n=$((n + 1)); [ "$n" -lt 50 ]; done`)
	if !strings.Contains(out, "answers the connect in") {
		t.Error(out)
	}
}

// TestInstallGo installs the module as "go install ...@latest" does, from a
// module proxy with this version alone.
func TestInstallGo(t *testing.T) {
	need(t, "go", "zip")
	dir, version := release(t)
	proxy, bin := t.TempDir(), t.TempDir()
	const module = "github.com/fabricionaweb/pico-tracker"
	runIn(t, "", []string{"PROXY=" + proxy + "/" + module + "/@v", "SOURCE=" + dir + "/pico-tracker-" + version + ".tar.gz", "MODULE=" + module + "@v" + version,
		"V=v" + version, "DEPENDENCIES=" + proxy}, "sh", "-euc", `
		mkdir -p "$PROXY" "$PROXY/tree/$MODULE"
		tar -xzf "$SOURCE" -C "$PROXY/tree/$MODULE" --strip-components 1
		cd "$PROXY/tree"
		cp "$MODULE/go.mod" "$PROXY/$V.mod"
		# A module in a directory below is not part of this one.
		find "$MODULE" -mindepth 2 -name go.mod | while read -r other; do rm -r "${other%/go.mod}"; done
		zip -q -r "$PROXY/$V.zip" "$MODULE"
		echo '{"Version":"'"$V"'","Time":"2026-11-25T00:00:00Z"}' >"$PROXY/$V.info"
		echo "$V" >"$PROXY/list"
		(cd "$(go env GOMODCACHE)/cache/download" && tar -cf - golang.org/x/sys/@v) | tar -xf - -C "$DEPENDENCIES"`)
	cache := t.TempDir()
	command := "go install github.com/fabricionaweb/pico-tracker@latest"
	if !strings.Contains(commands(t, "With Go"), command) {
		t.Fatalf("the README lacks %q", command)
	}
	runIn(t, "/", []string{"GOPROXY=file://" + proxy, "GONOSUMDB=*", "GOFLAGS=-modcacherw", "GOMODCACHE=" + cache, "GOBIN=" + bin, "CGO_ENABLED=0"}, "sh", "-euc", command)
	if got, want := run(t, bin+"/pico-tracker", "-version"), "pico-tracker "+version+"\n"; got != want {
		t.Errorf("-version: got %q, want %q", got, want)
	}
}

// TestInstallSource builds the archive of the sources, and installs it.
func TestInstallSource(t *testing.T) {
	need(t, "go", "make")
	dir, version := release(t)
	top := t.TempDir()
	run(t, "tar", "-xzf", dir+"/pico-tracker-"+version+".tar.gz", "-C", top, "--strip-components", "1")
	env := []string{"MAKEFLAGS=", "MAKELEVEL=", "VERSION="}
	runIn(t, top, env, "make", "build")
	runIn(t, top, env, "make", "install", "DESTDIR="+top+"/root")
	if got, want := run(t, top+"/root/usr/local/bin/pico-tracker", "-version"), "pico-tracker "+version+"\n"; got != want {
		t.Errorf("-version: got %q, want %q", got, want)
	}
	for option, want := range map[string]string{"-deb": version, "-openwrt": version} {
		if got := strings.TrimSpace(runIn(t, top, env, "packaging/version", option)); got != strings.ReplaceAll(want, "-rc", map[string]string{"-deb": "~rc", "-openwrt": "_rc"}[option]) {
			t.Errorf("version %s: got %s, want %s", option, got, want)
		}
	}
}

// TestInstallSBOM: the bill of materials names the version and each dependency.
func TestInstallSBOM(t *testing.T) {
	dir, version := release(t)
	var sbom struct {
		BomFormat string
		Metadata  struct {
			Component struct{ Name, Version string }
		}
		// Modules, and Go's library by the name std.
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal(read(t, dir+"/pico-tracker-"+version+".cdx.json"), &sbom); err != nil {
		t.Fatal(err)
	}
	if c := sbom.Metadata.Component; sbom.BomFormat != "CycloneDX" || c.Name != "github.com/fabricionaweb/pico-tracker" || c.Version != "v"+version {
		t.Errorf("%+v", sbom.Metadata)
	}
	got := map[string]string{}
	for _, c := range sbom.Components {
		got[c.Name] = c.Version
	}
	want := map[string]string{"std": strings.TrimSpace(run(t, "make", "-s", "-C", "..", "list-release-go"))}
	for _, target := range strings.Fields(run(t, "make", "-s", "-C", "..", "list-targets")) {
		os_, arch, _ := strings.Cut(target, "-")
		if strings.HasPrefix(arch, "armv") {
			arch = "arm"
		}
		for _, line := range strings.Split(runIn(t, "..", []string{"GOOS=" + os_, "GOARCH=" + arch, "CGO_ENABLED=0"}, "go", "list", "-tags", "release", "-deps",
			"-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}", "."), "\n") {
			if path, v, ok := strings.Cut(line, " "); ok {
				want[path] = v
			}
		}
	}
	for name, v := range want {
		if got[name] != v {
			t.Errorf("%s: got version %q, want %q", name, got[name], v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
