package packaging

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// upstream runs packaging/upstream for a repository that has the tag v1.0.0.
func upstream(t *testing.T, args ...string) (out, output string, err error) {
	t.Helper()
	need(t, "git", "make")
	dir := t.TempDir()
	bare := filepath.Join(dir, "bare")
	run(t, "git", "clone", "--quiet", "--bare", "..", bare)
	run(t, "git", "-C", bare, "tag", "v1.0.0")
	if err := os.WriteFile(filepath.Join(dir, "source.tar.gz"), []byte("source"), 0o644); err != nil {
		t.Fatal(err)
	}
	for i, arg := range args {
		args[i] = strings.ReplaceAll(arg, "DIR", dir)
	}
	cmd := exec.Command("./upstream", args...)
	cmd.Env = append(os.Environ(), "GIT_DIR="+bare, "OUT="+filepath.Join(dir, "out"))
	b, err := cmd.CombinedOutput()
	return filepath.Join(dir, "out"), string(b), err
}

// checkRecipe checks what each recipe must have, and the lines of this one.
func checkRecipe(t *testing.T, recipe string, lines ...string) {
	t.Helper()
	text := string(read(t, filepath.Join(recipe, "Makefile")))
	sum := sha256.Sum256([]byte("source"))
	for _, want := range append(lines,
		"\nPKG_SOURCE_URL:=https://github.com/fabricionaweb/pico-tracker/releases/download/v$(PKG_VERSION)\n",
		"\nPKG_HASH:="+hex.EncodeToString(sum[:])+"\n",
		"\nPKG_MAINTAINER:=Jane Doe <jane@example.org>\n",
		"\ninclude ../../lang/golang/golang-package.mk\n",
	) {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the recipe:\n%s", want, text)
		}
	}
	for _, bad := range []string{"Build/Prepare", "PICO_TRACKER_DIR", "PKG_FILE_DEPENDS", "noreply", "\n\n\n"} {
		if strings.Contains(text, bad) {
			t.Errorf("%q is in the recipe:\n%s", bad, text)
		}
	}
}

func TestUpstream(t *testing.T) {
	out, output, err := upstream(t, "v1.0.0", "Jane Doe <jane@example.org>", "DIR/source.tar.gz")
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	recipe := filepath.Join(out, "packages/net/pico-tracker")
	app := filepath.Join(out, "luci/applications/luci-app-pico-tracker")

	checkRecipe(t, recipe,
		"\nPKG_NAME:=pico-tracker\nPKG_VERSION:=1.0.0\nPKG_RELEASE:=1\n",
		"\nPKG_SOURCE:=$(PKG_NAME)-$(PKG_VERSION).tar.gz\n",
		"\t$(INSTALL_BIN) ./files/pico-tracker.init $(1)/etc/init.d/pico-tracker\n",
	)

	// make reads it where openwrt/packages has it, and it installs the same files.
	top := upstreamTree(t, out)
	if err := os.WriteFile(filepath.Join(top, "pico-tracker"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	runIn(t, recipe, makeEnv(top), "make", "-s", "install")
	for installed, from := range map[string]string{
		"etc/init.d/pico-tracker":       "pico-tracker.init",
		"etc/config/pico-tracker":       "pico-tracker.config",
		"etc/uci-defaults/pico-tracker": "pico-tracker.defaults",
	} {
		if got, want := read(t, filepath.Join(top, "root", installed)), read(t, filepath.Join(recipe, "files", from)); string(got) != string(want) {
			t.Errorf("%s is not %s", installed, from)
		}
	}

	text := string(read(t, filepath.Join(app, "Makefile")))
	for _, want := range []string{
		"\nPKG_MAINTAINER:=Jane Doe <jane@example.org>\n", "\ninclude ../../luci.mk\n", "\nLUCI_DEPENDS:=+luci-base +pico-tracker\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the Makefile of the page:\n%s", want, text)
		}
	}
	for _, name := range []string{"po/templates/pico-tracker.pot", "root/usr/share/rpcd/ucode/pico-tracker.uc", "htdocs/luci-static/resources/view/pico-tracker/status.js"} {
		if _, err := os.Stat(filepath.Join(app, name)); err != nil {
			t.Error(err)
		}
	}

	// Its test runs the program as OpenWrt's CI does, and notices another version.
	packages(t)
	bin := t.TempDir()
	run(t, "cp", filepath.Join(built.dir, "pico-tracker-linux-"+runtime.GOARCH), filepath.Join(bin, "pico-tracker"))
	path := []string{"PATH=" + bin + ":" + os.Getenv("PATH")}
	runIn(t, recipe, path, "sh", "./test.sh", "pico-tracker", "1.1.0")
	cmd := exec.Command("sh", "./test.sh", "pico-tracker", "9.9.9")
	cmd.Dir, cmd.Env = recipe, append(os.Environ(), path...)
	if err := cmd.Run(); err == nil {
		t.Error("test.sh takes another version")
	}
}

// upstreamTree makes what the recipes in out/packages include, and returns TOPDIR.
func upstreamTree(t *testing.T, out string) string {
	t.Helper()
	top := t.TempDir()
	for name, data := range buildSystem {
		name = strings.TrimPrefix(name, "feeds/packages/")
		if strings.HasPrefix(name, "lang/") {
			name = filepath.Join(out, "packages", name)
		} else {
			name = filepath.Join(top, name)
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return top
}

// makeEnv is without the variables of a make that runs this test.
func makeEnv(top string) []string {
	return []string{"TOPDIR=" + top, "MAKEFLAGS=", "MAKELEVEL=", "MFLAGS="}
}

// The recipe of the port mapping program builds a module in a directory of the
// same source.
func TestUpstreamPortmap(t *testing.T) {
	need(t, "gzip", "tar")
	out, output, err := upstream(t, "v1.0.0", "Jane Doe <jane@example.org>", "DIR/source.tar.gz")
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	recipe := filepath.Join(out, "packages/net/pico-tracker-portmap")
	checkRecipe(t, recipe,
		"\nPKG_NAME:=pico-tracker-portmap\nPKG_VERSION:=1.0.0\nPKG_RELEASE:=1\n",
		"\nPKG_SOURCE:=pico-tracker-$(PKG_VERSION).tar.gz\n",
		"DEPENDS:=$(GO_ARCH_DEPENDS) +pico-tracker\n",
	)

	// The source of the release is unpacked, built and installed as OpenWrt
	// does it.
	top := upstreamTree(t, out)
	source := filepath.Join(top, "dl", "pico-tracker-1.0.0.tar")
	if err := os.MkdirAll(filepath.Dir(source), 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "git", "-C", filepath.Join(filepath.Dir(out), "bare"), "archive", "--prefix=pico-tracker-1.0.0/", "-o", source, "v1.0.0")
	run(t, "gzip", source)
	runIn(t, recipe, makeEnv(top), "make", "-s", "unpack", "compile", "install")
	if got, want := read(t, filepath.Join(top, "root/etc/init.d/pico-tracker-portmap")), read(t, "../init.d/pico-tracker-portmap"); string(got) != string(want) {
		t.Error("the service is not init.d/pico-tracker-portmap")
	}
	if _, err := os.Stat(filepath.Join(top, "build_dir/pico-tracker-portmap-1.0.0/LICENSE")); err != nil {
		t.Error(err)
	}

	// Its test runs the program, and notices another version.
	path := []string{"PATH=" + filepath.Join(top, "root/usr/bin") + ":" + os.Getenv("PATH")}
	runIn(t, recipe, path, "sh", "./test.sh", "pico-tracker-portmap", "1.0.0")
	cmd := exec.Command("sh", "./test.sh", "pico-tracker-portmap", "9.9.9")
	cmd.Dir, cmd.Env = recipe, append(os.Environ(), path...)
	if err := cmd.Run(); err == nil {
		t.Error("test.sh takes another version")
	}
}

func TestUpstreamRefuses(t *testing.T) {
	for _, c := range []struct{ name, tag, maintainer, tarball, want string }{
		{name: "candidate", tag: "v1.0.0-rc1", maintainer: "J <j@example.org>", tarball: "DIR/source.tar.gz", want: "want a release such as v1.0.0"},
		{name: "no tag", maintainer: "J <j@example.org>", tarball: "DIR/source.tar.gz", want: "want a release such as v1.0.0"},
		{name: "no maintainer", tag: "v1.0.0", tarball: "DIR/source.tar.gz", want: "want a name and an address"},
		{name: "noreply", tag: "v1.0.0", maintainer: "J <j@users.noreply.github.com>", tarball: "DIR/source.tar.gz", want: "an address that can be reached"},
		{name: "no tarball", tag: "v1.0.0", maintainer: "J <j@example.org>", tarball: "DIR/none.tar.gz", want: "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, output, err := upstream(t, c.tag, c.maintainer, c.tarball)
			if err == nil || !strings.Contains(output, c.want) {
				t.Errorf("got %v and %q, want %q", err, output, c.want)
			}
		})
	}
}
