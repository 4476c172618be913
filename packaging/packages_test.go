package packaging

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"
)

// The packages are built with nfpm from binaries of this tree, once for all
// tests.

var built struct {
	once sync.Once
	dir  string
	err  error
}

// versions that are built: the second is an upgrade of the first.
var versions = []string{"1.0.0", "1.1.0"}

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(checkerDir)
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// packages is a directory with packages for this machine and for mipsel, of
// both versions.
func packages(t *testing.T) string {
	t.Helper()
	need(t, "go")
	built.once.Do(func() {
		built.dir, built.err = os.MkdirTemp("", "pico-tracker-packages-")
		for _, v := range versions {
			if built.err == nil {
				built.err = buildPackages(built.dir, v)
			}
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "packages")
}

func buildPackages(dir, version string) error {
	for _, target := range []string{runtime.GOARCH, "mipsle"} {
		cmd := exec.Command("go", "build", "-tags", "release", "-trimpath", "-ldflags", "-s -w -X main.version="+version,
			"-o", filepath.Join(dir, "pico-tracker-linux-"+target), ".")
		cmd.Dir = ".."
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+target, "GOMIPS=softfloat")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %v\n%s", target, err, out)
		}
		cmd = exec.Command("go", "build", "-tags", "release", "-trimpath", "-ldflags", "-s -w -X main.version="+version,
			"-o", filepath.Join(dir, "pico-tracker-portmap-linux-"+target), ".")
		cmd.Dir = "../portmap"
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+target, "GOMIPS=softfloat")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("portmap for %s: %v\n%s", target, err, out)
		}
	}
	cmd := exec.Command("./build", runtime.GOARCH, "mipsel_24kc")
	cmd.Env = append(os.Environ(), "DIST="+dir, "VERSION="+version)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %v\n%s", err, out)
	}
	return nil
}

func TestVersion(t *testing.T) {
	for _, c := range []struct{ version, plain, image, deb, openwrt string }{
		{version: "v1.2.0", plain: "1.2.0", image: "1.2.0", deb: "1.2.0", openwrt: "1.2.0"},
		{version: "1.2.0", plain: "1.2.0", image: "1.2.0", deb: "1.2.0", openwrt: "1.2.0"},
		{version: "v1.2.0-dirty", plain: "1.2.0+dirty", image: "1.2.0_dirty", deb: "1.2.0+dirty", openwrt: "1.2.0"},
		{version: "v1.2.0-rc1", plain: "1.2.0-rc1", image: "1.2.0-rc1", deb: "1.2.0~rc1", openwrt: "1.2.0_rc1"},
		{version: "v1.2.0-5-gabcdef1", plain: "1.2.0+5.gabcdef1", image: "1.2.0_5.gabcdef1", deb: "1.2.0+5.gabcdef1", openwrt: "1.2.0_p5~abcdef1"},
		{version: "v1.2.0-rc1-3-gabcdef1-dirty", plain: "1.2.0-rc1+3.gabcdef1.dirty", image: "1.2.0-rc1_3.gabcdef1.dirty", deb: "1.2.0~rc1+3.gabcdef1.dirty", openwrt: "1.2.0_rc1_p3~abcdef1"},
		{version: "devel", plain: "devel", image: "devel", deb: "0.0.0", openwrt: "0.0.0"},
	} {
		t.Run(c.version, func(t *testing.T) {
			for option, want := range map[string]string{"": c.plain, "-image": c.image, "-deb": c.deb, "-openwrt": c.openwrt} {
				if got := version(t, c.version, option); got != want {
					t.Errorf("version %s: got %s, want %s", option, got, want)
				}
			}
			// Its output is a version that it can read again.
			if got := version(t, c.plain, ""); got != c.plain {
				t.Errorf("version of %s: got %s", c.plain, got)
			}
		})
	}
	for _, bad := range []string{"1.2", "1.2.3 or so", "main", "1.2.3-beta1", "1.2.3-5-gxyz"} {
		cmd := exec.Command("./version")
		cmd.Env = append(os.Environ(), "VERSION="+bad)
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "want one like 1.2.3 or 1.2.3-rc1") {
			t.Errorf("VERSION=%q: got %v and %q, want an error that says what is valid", bad, err, out)
		}
	}
}

// version runs packaging/version with an option, or with none.
func version(t *testing.T, version string, option ...string) string {
	t.Helper()
	args := slices.DeleteFunc(option, func(s string) bool { return s == "" })
	return strings.TrimSpace(runIn(t, "", []string{"VERSION=" + version}, "./version", args...))
}

// TestVersionOfRepository asks for the version of trees with and without git.
func TestVersionOfRepository(t *testing.T) {
	need(t, "git")
	dir := t.TempDir()
	script := func(commands string) string {
		t.Helper()
		env := []string{"VERSION=", "GIT_COMMITTER_DATE=2026-11-22T23:30:00 -0500", "GIT_CONFIG_GLOBAL=/dev/null",
			"GIT_AUTHOR_NAME=test", "GIT_AUTHOR_EMAIL=test@example.invalid", "GIT_COMMITTER_NAME=test", "GIT_COMMITTER_EMAIL=test@example.invalid"}
		return strings.TrimSpace(runIn(t, dir, env, "sh", "-euc", commands))
	}
	if err := os.Mkdir(filepath.Join(dir, "packaging"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "packaging/version"), read(t, "version"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ name, commands, want string }{
		{name: "no git", commands: "packaging/version; packaging/version -deb", want: `^devel\n0\.0\.0$`},
		{name: "no tag", commands: "git init -q; git add .; git commit -qm one; packaging/version; packaging/version -openwrt",
			want: `^0\.0\.0\+20261123\.g[0-9a-f]{7}\n0\.0\.0_p20261123~[0-9a-f]{7}$`},
		{name: "a tag", commands: "git tag v1.2.0; packaging/version", want: `^1\.2\.0$`},
		{name: "a changed file", commands: "echo >>packaging/version; packaging/version", want: `^1\.2\.0\+dirty$`},
		{name: "a commit after the tag", commands: "git commit -qam two; packaging/version", want: `^1\.2\.0\+1\.g[0-9a-f]{7}$`},
		{name: "an archive of the sources", commands: "echo 1.3.0 >packaging/released; packaging/version", want: `^1\.3\.0$`},
	} {
		if got := script(step.commands); !regexp.MustCompile(step.want).MatchString(got) {
			t.Errorf("%s: got %q, want %s", step.name, got, step.want)
		}
	}
}

func TestVersionsSort(t *testing.T) {
	need(t, "dpkg")
	for _, pair := range [][2]string{
		{"0.0.0+20261122.gabcdef1", "0.1.0~rc1"}, {"1.2.0~rc1", "1.2.0"}, {"1.2.0", "1.2.0+5.gabcdef1"}, {"1.2.0+5.gabcdef1", "1.2.1"},
		// opkg compares like dpkg. (It takes a candidate for later than its release: apk does not.)
		{"1.2.0", "1.2.0_p5~abcdef1"}, {"1.2.0_p5~abcdef1", "1.2.1"},
	} {
		run(t, "dpkg", "--compare-versions", pair[0], "lt", pair[1])
	}
}

// entry is a file of a package: its mode and its content.
type entry struct {
	mode int64
	data []byte
}

// untar reads one or more tar archives in gzip members, as an .apk is.
func untar(t *testing.T, b []byte) map[string]entry {
	t.Helper()
	entries := map[string]entry{}
	in := bufio.NewReader(bytes.NewReader(b))
	for {
		z, err := gzip.NewReader(in)
		if err == io.EOF {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		z.Multistream(false)
		raw, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		// Only the last member of an .apk has an end of archive.
		for r := tar.NewReader(bytes.NewReader(raw)); ; {
			h, err := r.Next()
			if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if h.Typeflag == tar.TypeDir {
				continue
			}
			if h.Uid != 0 || h.Gid != 0 {
				t.Errorf("%s belongs to %d:%d", h.Name, h.Uid, h.Gid)
			}
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			entries["/"+strings.TrimPrefix(strings.TrimPrefix(h.Name, "./"), "/")] = entry{h.Mode & 0o7777, data}
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// openwrtFiles has the files of a package for OpenWrt, with their source file
// in this repository if there is one.
func openwrtFiles(t *testing.T) map[string]entry {
	return map[string]entry{
		"/usr/bin/pico-tracker":                                       {0o755, read(t, filepath.Join(built.dir, "pico-tracker-linux-mipsle"))},
		"/etc/init.d/pico-tracker":                                    {0o755, read(t, "../init.d/pico-tracker")},
		"/etc/config/pico-tracker":                                    {0o600, read(t, "../openwrt/pico-tracker/files/pico-tracker.config")},
		"/etc/uci-defaults/pico-tracker":                              {0o755, read(t, "../openwrt/pico-tracker/files/pico-tracker.defaults")},
		"/etc/capabilities/pico-tracker.json":                         {0o644, read(t, "../openwrt/pico-tracker/files/pico-tracker.json")},
		"/lib/upgrade/keep.d/pico-tracker":                            {0o644, []byte("/etc/pico-tracker/\n")},
		"/usr/share/nftables.d/chain-pre/raw_output/pico-tracker.nft": {0o644, read(t, "../openwrt/pico-tracker/files/pico-tracker.nft")},
	}
}

func compareEntries(t *testing.T, got, want map[string]entry) {
	t.Helper()
	for name, w := range want {
		g, ok := got[name]
		switch {
		case !ok:
			t.Errorf("%s is missing", name)
		case g.mode != w.mode:
			t.Errorf("%s: mode %o, want %o", name, g.mode, w.mode)
		case !bytes.Equal(g.data, w.data):
			t.Errorf("%s: %d bytes, want other %d bytes", name, len(g.data), len(w.data))
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is not expected", name)
		}
	}
}

// fields are the lines "name: value" or "name = value".
func fields(b []byte, separator string) map[string]string {
	m := map[string]string{}
	for _, line := range strings.Split(string(b), "\n") {
		if name, v, ok := strings.Cut(line, separator); ok {
			m[strings.TrimSpace(name)] = strings.TrimSpace(v)
		}
	}
	return m
}

func TestIPK(t *testing.T) {
	ipk := read(t, filepath.Join(packages(t), "pico-tracker_1.1.0-r1_mipsel_24kc.ipk"))
	outer := untar(t, ipk)
	if len(outer) != 3 || string(outer["/debian-binary"].data) != "2.0\n" {
		t.Fatalf("%d members", len(outer))
	}
	compareEntries(t, untar(t, outer["/data.tar.gz"].data), openwrtFiles(t))

	control := untar(t, outer["/control.tar.gz"].data)
	for _, script := range []string{"postinst", "prerm"} {
		e := control["/"+script]
		if e.mode != 0o755 || !strings.Contains(string(e.data), "\ndefault_"+script+" \"$0\" \"$@\"\n") {
			t.Errorf("%s: mode %o: %s", script, e.mode, e.data)
		}
	}
	if got := string(control["/conffiles"].data); got != "/etc/config/pico-tracker\n" {
		t.Errorf("conffiles: %q", got)
	}
	got := fields(control["/control"].data, ":")
	for name, want := range map[string]string{
		"Package": "pico-tracker", "Version": "1.1.0-r1", "Architecture": "mipsel_24kc", "Section": "net",
		"License": "MIT", "Require-User": "pico-tracker=6969:pico-tracker=6969", "Depends": "",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
}

// luciFiles has the files of the LuCI package: every file of htdocs and root.
func luciFiles(t *testing.T) map[string]entry {
	t.Helper()
	files := map[string]entry{}
	for from, to := range map[string]string{"htdocs": "/www", "root": ""} {
		top := filepath.Join("../openwrt/luci-app-pico-tracker", from)
		err := filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				files[to+strings.TrimPrefix(path, top)] = entry{0o644, read(t, path)}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	translations, err := filepath.Glob("../openwrt/luci-app-pico-tracker/po/*/pico-tracker.po")
	if err != nil || len(translations) < 5 || len(files) < 10 {
		t.Fatalf("%d files and %d translations in the LuCI app, %v", len(files), len(translations), err)
	}
	for _, po := range translations {
		language := filepath.Base(filepath.Dir(po))
		if language == "zh_Hans" {
			language = "zh-cn"
		}
		lmo := filepath.Join(t.TempDir(), "lmo")
		run(t, "go", "run", "./lmo", po, lmo)
		files["/usr/lib/lua/luci/i18n/pico-tracker."+language+".lmo"] = entry{0o644, read(t, lmo)}
	}
	return files
}

func TestLuCIPackages(t *testing.T) {
	dir := packages(t)
	want := luciFiles(t)
	var list []string
	for name := range want {
		list = append(list, name)
	}
	sort.Strings(list)

	t.Run("ipk", func(t *testing.T) {
		outer := untar(t, read(t, filepath.Join(dir, "luci-app-pico-tracker_1.1.0-r1_all.ipk")))
		compareEntries(t, untar(t, outer["/data.tar.gz"].data), want)
		control := untar(t, outer["/control.tar.gz"].data)
		for _, script := range []string{"postinst", "postrm"} {
			if e := control["/"+script]; e.mode != 0o755 || !bytes.Contains(e.data, []byte("rpcd reload")) {
				t.Errorf("%s: mode %o: %s", script, e.mode, e.data)
			}
		}
		got := fields(control["/control"].data, ":")
		for name, want := range map[string]string{
			"Package": "luci-app-pico-tracker", "Version": "1.1.0-r1", "Architecture": "all", "Section": "luci",
			"License": "MIT", "Depends": "luci-base, pico-tracker",
		} {
			if got[name] != want {
				t.Errorf("%s: %q, want %q", name, got[name], want)
			}
		}
	})
	t.Run("apk", func(t *testing.T) {
		got := untar(t, read(t, filepath.Join(dir, "luci-app-pico-tracker_1.1.0-r1_noarch.apk")))
		want := luciFiles(t)
		want["/lib/apk/packages/luci-app-pico-tracker.list"] = entry{0o644, []byte(strings.Join(list, "\n") + "\n")}
		for _, name := range []string{"/.post-install", "/.post-upgrade", "/.post-deinstall"} {
			if e := got[name]; e.mode != 0o755 || !bytes.Contains(e.data, []byte("rpcd reload")) {
				t.Errorf("%s: mode %o: %s", name, e.mode, e.data)
			}
			delete(got, name)
		}
		info := string(got["/.PKGINFO"].data)
		for _, line := range []string{"pkgname = luci-app-pico-tracker", "pkgver = 1.1.0-r1", "arch = noarch", "depend = luci-base", "depend = pico-tracker"} {
			if !strings.Contains(info, line+"\n") {
				t.Errorf("no line %q in\n%s", line, info)
			}
		}
		delete(got, "/.PKGINFO")
		compareEntries(t, got, want)
	})
}

func TestAPK(t *testing.T) {
	got := untar(t, read(t, filepath.Join(packages(t), "pico-tracker_1.1.0-r1_mipsel_24kc.apk")))
	want := openwrtFiles(t)
	var list []string
	for name := range want {
		list = append(list, name)
	}
	list = append(list, "/lib/apk/packages/pico-tracker.rusers")
	sort.Strings(list)
	sum := sha256.Sum256(want["/etc/config/pico-tracker"].data)
	for name, data := range map[string]string{
		"list":             strings.Join(list, "\n") + "\n",
		"rusers":           "pico-tracker=6969:pico-tracker=6969\n",
		"conffiles":        "/etc/config/pico-tracker\n/etc/pico-tracker/\n",
		"conffiles_static": "/etc/config/pico-tracker " + hex.EncodeToString(sum[:]) + "\n",
	} {
		want["/lib/apk/packages/pico-tracker."+name] = entry{0o644, []byte(data)}
	}
	for name, calls := range map[string][]string{
		".post-install":  {"add_group_and_user\n", "default_postinst\n"},
		".post-upgrade":  {"PKG_UPGRADE=1\n", "add_group_and_user\n", "default_postinst\n"},
		".pre-deinstall": {"default_prerm\n"},
	} {
		e := got["/"+name]
		delete(got, "/"+name)
		if e.mode != 0o755 {
			t.Errorf("%s: mode %o", name, e.mode)
		}
		for _, call := range append(calls, "export pkgname=\"pico-tracker\"\n") {
			if !strings.Contains(string(e.data), call) {
				t.Errorf("%s lacks %q", name, call)
			}
		}
	}
	info := fields(got["/.PKGINFO"].data, "=")
	delete(got, "/.PKGINFO")
	for name, want := range map[string]string{
		"pkgname": "pico-tracker", "pkgver": "1.1.0-r1", "arch": "mipsel_24kc", "license": "MIT", "depend": "",
	} {
		if info[name] != want {
			t.Errorf("%s: %q, want %q", name, info[name], want)
		}
	}
	compareEntries(t, got, want)
}

// TestPackagesAreReproducible builds the packages again, from a copy of the
// files that only their owner may read, with other times, in another time zone.
func TestPackagesAreReproducible(t *testing.T) {
	dir := packages(t)
	names, err := filepath.Glob(dir + "/*1.1.0*")
	if err != nil || len(names) != 7 {
		t.Fatalf("%v, %v", names, err)
	}
	again := t.TempDir()
	runIn(t, "..", []string{"AGAIN=" + again, "DIST=" + again + "/dist", "VERSION=1.1.0", "TZ=Pacific/Kiritimati", "ARCH=" + runtime.GOARCH, "BUILT=" + built.dir}, "sh", "-euc", `
		umask 077
		SOURCE_DATE_EPOCH=$(packaging/epoch)
		export SOURCE_DATE_EPOCH
		mkdir "$AGAIN/tree" "$AGAIN/dist"
		tar -cf - init.d openwrt packaging systemd LICENSE | tar -xf - -C "$AGAIN/tree" --no-same-permissions
		chmod -R go= "$AGAIN/tree"
		find "$AGAIN/tree" -exec touch -d 2001-02-03 {} +
		cp -r "$BUILT"/tools "$BUILT"/pico-tracker-* "$AGAIN/dist"
		"$AGAIN/tree/packaging/build" "$ARCH" mipsel_24kc`)
	for _, name := range names {
		if !bytes.Equal(read(t, name), read(t, filepath.Join(again, "dist/packages", filepath.Base(name)))) {
			t.Errorf("%s differs", filepath.Base(name))
		}
	}
}

// OpenWrt's review runs installed programs with these flags, and expects the
// version.
func TestVersionSwitches(t *testing.T) {
	packages(t)
	binary := filepath.Join(built.dir, "pico-tracker-linux-"+runtime.GOARCH)
	told := false
	for _, arg := range []string{"--version", "-version", "version", "-v", "-V", "--help", "-help", "-?"} {
		cmd := exec.Command(binary, arg)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		err := cmd.Wait()
		if !timer.Stop() {
			t.Errorf("%s hangs", arg)
		}
		if strings.Contains(out.String(), "listening") {
			t.Errorf("%s starts the tracker", arg)
		}
		if strings.HasSuffix(arg, "-version") && (err != nil || !strings.Contains(out.String(), "1.1.0")) {
			t.Errorf("%s: %v: %s", arg, err, out.String())
		}
		told = told || strings.Contains(out.String(), "1.1.0")
	}
	if !told {
		t.Error("none tells the version")
	}
}

func debPath(t *testing.T, version string) string {
	return filepath.Join(packages(t), "pico-tracker_"+version+"_"+runtime.GOARCH+".deb")
}

func TestLintian(t *testing.T) {
	t.Parallel()
	need(t, "lintian")
	cmd := exec.Command("lintian", "--allow-root", "--fail-on", "error", debPath(t, "1.1.0"))
	if out, err := cmd.CombinedOutput(); err != nil || bytes.Contains(out, []byte("E: ")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// tree returns every file of a system, except dpkg's own files.
func tree(t *testing.T, root string) string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, root)
		switch name {
		case "/var/lib/dpkg", "/var/log", "/var/cache", "/proc", "/tmp":
			return filepath.SkipDir
		}
		files = append(files, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(files, "\n")
}

// runInside runs the installed tracker in a Debian system with its settings, until
// it answers.
func runInside(t *testing.T, root string) {
	t.Helper()
	run(t, "unshare", "-n", "sh", "-c", `
		ip link set lo up
		chroot "$1" /bin/sh -c '
			set -a
			. /etc/default/pico-tracker
			exec /usr/bin/pico-tracker -secret-file /etc/pico-tracker/secret' &
		pid=$!
		trap "kill $pid; wait $pid" EXIT
		n=0
		until chroot "$1" /usr/bin/pico-tracker -probe 127.0.0.1:1337 && chroot "$1" /usr/bin/pico-tracker -probe "[::1]:1337"; do
			n=$((n + 1))
			[ "$n" -lt 500 ] || exit 1
		done`, "sh", root)
}

// The .deb in a fresh Debian: installed, run, upgraded, removed, purged, and
// run by the systemd of this Debian.
func TestDebian(t *testing.T) {
	needRoot(t)
	t.Parallel()
	need(t, "debootstrap", "unshare", "ip", "systemd-nspawn")
	root := t.TempDir()
	suite := fields(read(t, "/etc/os-release"), "=")["VERSION_CODENAME"]
	if suite == "" {
		suite = "stable"
	}
	began := time.Now()
	run(t, "debootstrap", "--variant=minbase", "--include=systemd", suite, root)
	t.Logf("debootstrap took %v", time.Since(began))
	before := tree(t, root)
	for _, v := range versions {
		if err := os.WriteFile(root+"/tmp/"+v+".deb", read(t, debPath(t, v)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	inside := func(args ...string) string {
		t.Helper()
		return run(t, "chroot", append([]string{root}, args...)...)
	}
	exists := func(name string, want bool) {
		t.Helper()
		if _, err := os.Lstat(root + name); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %v", name, err, want)
		}
	}
	const (
		secret   = "/etc/pico-tracker/secret"
		settings = "/etc/default/pico-tracker"
		list     = "/etc/pico-tracker/list.txt"
		enabled  = "/etc/systemd/system/multi-user.target.wants/pico-tracker.service"
	)

	inside("dpkg", "-i", "/tmp/1.0.0.deb")
	key := string(read(t, root+secret))
	if !regexp.MustCompile(`^[0-9a-f]{64}\n$`).MatchString(key) {
		t.Errorf("the secret: %q", key)
	}
	if st, err := os.Stat(root + secret); err != nil || st.Mode() != 0o600 {
		t.Errorf("the secret has mode %v, %v", st.Mode(), err)
	}
	exists(enabled, true)
	if got := inside("/usr/bin/pico-tracker", "-version"); !strings.Contains(got, "1.0.0") {
		t.Errorf("version: %s", got)
	}
	runInside(t, root)

	changed := string(read(t, root+settings)) + "PICO_TRACKER__PORT=6969\n"
	if err := os.WriteFile(root+settings, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	own := strings.Repeat("0123456789", 4) + "\n"
	if err := os.WriteFile(root+list, []byte(own), 0o644); err != nil {
		t.Fatal(err)
	}
	inside("dpkg", "-i", "/tmp/1.1.0.deb")
	if got := inside("/usr/bin/pico-tracker", "-version"); !strings.Contains(got, "1.1.0") {
		t.Errorf("version after the upgrade: %s", got)
	}
	kept := func(when string) {
		t.Helper()
		for name, want := range map[string]string{settings: changed, list: own, secret: key} {
			if got := string(read(t, root+name)); got != want {
				t.Errorf("%s: %s is now %q", when, name, got)
			}
		}
	}
	kept("after the upgrade")
	exists(enabled, true)

	inside("dpkg", "-r", "pico-tracker")
	kept("after the removal")
	exists("/usr/bin/pico-tracker", false)

	inside("dpkg", "-i", "/tmp/1.1.0.deb")
	kept("installed again")
	exists(enabled, true)

	inside("dpkg", "-P", "pico-tracker")
	if after := tree(t, root); after != before {
		t.Errorf("purged, but the system is not what it was:\n%s", difference(before, after))
	}

	inside("dpkg", "-i", "/tmp/1.1.0.deb")
	boot(t, root)
}

// boot starts a Debian with its systemd in its own namespaces, and tests the
// service there.
func boot(t *testing.T, root string) {
	t.Helper()
	const unit = "[Service]\nExecStart=/root/trial.sh\n[Unit]\nAfter=pico-tracker.service\n"
	wants := root + "/etc/systemd/system/default.target.wants"
	if err := os.MkdirAll(wants, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+"/etc/systemd/system/trial.service", []byte(unit), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/systemd/system/trial.service", wants+"/trial.service"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+"/root/trial.sh", read(t, "testdata/trial.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	// The README's commands for a private tracker, which root runs here.
	_, text, _ := strings.Cut(string(read(t, "../README.md")), "\nWith the Debian package:\n\n```console\n")
	private, _, found := strings.Cut(text, "```")
	if !found {
		t.Fatal("the README has no commands for a private tracker with the Debian package")
	}
	if err := os.WriteFile(root+"/root/private.sh", []byte(strings.ReplaceAll(private, "sudo ", "")), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "systemd-nspawn", "--register=no", "--keep-unit", "-D", root,
		// The filter of this systemd-nspawn lacks calls that a real machine allows.
		"--system-call-filter=seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self",
		"--private-network", "--boot", "--console=pipe")
	cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1")
	out, _ := cmd.CombinedOutput() // it may complain about its own cleanup; only the test counts

	result, err := os.ReadFile(root + "/root/result")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	errors, _ := os.ReadFile(root + "/root/errors")
	ok := strings.Count(string(result), "\nok ")
	if strings.Contains(string(result), "FAILED") || !strings.HasSuffix(string(result), "end\n") || ok < 20 {
		t.Errorf("%s\n%s\n%s", result, errors, out)
	}
}

// difference returns the lines of one text that the other lacks.
func difference(a, b string) string {
	var out []string
	in := func(s string) map[string]bool {
		m := map[string]bool{}
		for _, line := range strings.Split(s, "\n") {
			m[line] = true
		}
		return m
	}
	ma, mb := in(a), in(b)
	for line := range ma {
		if !mb[line] {
			out = append(out, "- "+line)
		}
	}
	for line := range mb {
		if !ma[line] {
			out = append(out, "+ "+line)
		}
	}
	sort.Strings(out)
	return strings.Join(out, "\n")
}
