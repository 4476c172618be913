package packaging

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// make reads the recipe for OpenWrt. The included files of the build system are
// replaced by small ones.

var buildSystem = map[string]string{
	"rules.mk": `INCLUDE_DIR:=$(TOPDIR)/include
BUILD_DIR:=$(TOPDIR)/build_dir
HOST_TAR:=tar
TAR_OPTIONS:=-xf -
TAR_CMD=$(HOST_TAR) -C $(1)/.. $(TAR_OPTIONS)
INSTALL_DIR:=install -d -m0755
INSTALL_BIN:=install -m0755
INSTALL_DATA:=install -m0644
INSTALL_CONF:=install -m0600
`,
	"include/package.mk": `PKG_BUILD_DIR?=$(TOPDIR)/build
define BuildPackage
prepare:
	$$(call Build/Prepare)
unpack:
	mkdir -p $(PKG_BUILD_DIR)
	gzip -dc $(TOPDIR)/dl/$(PKG_SOURCE) | $$(call TAR_CMD,$(PKG_BUILD_DIR))
# As golang-build.sh: from a directory below PKG_BUILD_DIR, in which Go finds the
# module. GOARCH is that of this machine.
compile:
	mkdir -p $(PKG_BUILD_DIR)/.go_work/build
	cd $(PKG_BUILD_DIR)/.go_work/build && GOTOOLCHAIN=local CGO_ENABLED=0 GOBIN=$(TOPDIR) GOWORK= \
		go install -buildvcs=false -trimpath -ldflags "$$(GO_PKG_LDFLAGS) $$(patsubst %,-X %,$$(GO_PKG_LDFLAGS_X))" -tags "$$(GO_PKG_TAGS)" $$(GO_PKG_BUILD_PKG)
install:
	$$(call Package/$(1)/install,$(TOPDIR)/root)
show:
	@echo 'name $(PKG_NAME) $(1)'
	@echo 'version $(PKG_VERSION)'
	@echo 'vars $$(GO_PKG_TARGET_VARS)'
	@echo 'ldflags $$(GO_PKG_DEFAULT_LDFLAGS) $$(GO_PKG_LDFLAGS_X)'
	@echo 'tags $$(GO_PKG_TAGS)'
	@echo 'sources $$(notdir $$(PKG_FILE_DEPENDS))'
	@$$(info conffiles $$(Package/$(1)/conffiles))
	@$$(info $$(Package/$(1)))
endef
`,
	"feeds/packages/lang/golang/golang-package.mk": `GO_ARCH_DEPENDS:=@(aarch64||arm||mips||mipsel||x86_64)
GO_PKG_TARGET_VARS= \
	GOARCH="mipsle" GOMIPS="softfloat" \
	CGO_ENABLED=1 \
	CC="mipsel-gcc" CGO_CFLAGS="-Os -pipe"
GO_PKG_BUILD_BIN_DIR:=$(TOPDIR)
GO_PKG_DEFAULT_LDFLAGS= -linkmode external -extldflags '-Wl,-z,now'
define GoBinPackage
endef
define GoPackage/Package/Install/Bin
	install -d -m0755 $(1)/usr/bin
	install -m0755 $(TOPDIR)/pico-tracker $(1)/usr/bin/pico-tracker
endef
`,
}

func TestRecipe(t *testing.T) {
	need(t, "make", "tar")
	packages(t)
	top := t.TempDir()
	for name, text := range buildSystem {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(top, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(top, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	program := read(t, filepath.Join(built.dir, "pico-tracker-linux-mipsle"))
	if err := os.WriteFile(filepath.Join(top, "pico-tracker"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	recipe := func(target string) string {
		// Without the variables of a make that runs this test.
		env := []string{"TOPDIR=" + top, "VERSION=v1.2.0-5-gabcdef1", "MAKEFLAGS=", "MAKELEVEL=", "MFLAGS="}
		return runIn(t, "../openwrt/pico-tracker", env, "make", "-s", target)
	}

	shown := recipe("show")
	for _, want := range []string{
		"name pico-tracker pico-tracker\n", "version 1.2.0_p5~abcdef1\n",
		`vars GOARCH="mipsle" GOMIPS="softfloat" CC="mipsel-gcc" CGO_CFLAGS="-Os -pipe" CGO_ENABLED=0` + "\n",
		"ldflags  main.version=1.2.0_p5~abcdef1\n", " main.go ", " go.mod", " go.sum", " version.go", "tags release",
		"conffiles /etc/config/pico-tracker /etc/pico-tracker/\n",
		"DEPENDS:=@(aarch64||", "USERID:=pico-tracker=6969:pico-tracker=6969",
	} {
		if !strings.Contains(strings.ReplaceAll(shown, "\n/", " /"), want) {
			t.Errorf("no %q in:\n%s", want, shown)
		}
	}

	// The sources arrive, and no other files.
	recipe("prepare")
	for name, want := range map[string]bool{
		"main.go": true, "internal/buildinfo/version.go": true, "internal/prefetch/prefetch_arm64.s": true, "go.mod": true, "go.sum": true, "LICENSE": true, "packet_test.go": false, ".git": false, "openwrt": false, "dist": false,
	} {
		if _, err := os.Stat(filepath.Join(top, "build", name)); (err == nil) != want {
			t.Errorf("prepared %s: %v", name, err)
		}
	}

	// It installs the files of the packages of packaging/build, except the
	// files that the build system adds.
	recipe("install")
	got := map[string]entry{}
	err := filepath.WalkDir(filepath.Join(top, "root"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		got[strings.TrimPrefix(path, filepath.Join(top, "root"))] = entry{int64(st.Mode().Perm()), read(t, path)}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := openwrtFiles(t)
	delete(want, "/lib/upgrade/keep.d/pico-tracker")
	compareEntries(t, got, want)
}

// OpenWrt searches a feed, five levels deep, for two words that mark a package.
// In the Makefile of another directory these words break the feed, even in a
// comment. The page in LuCI has them in a comment, as all its pages do.
func TestRecipesOfTheFeed(t *testing.T) {
	words := []byte("call " + "BuildPackage")
	var found []string
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == ".git" {
			return filepath.SkipDir
		}
		if d.Name() == "Makefile" && bytes.Contains(read(t, path), words) {
			found = append(found, filepath.ToSlash(path))
		}
		return nil
	})
	want := []string{"../openwrt/luci-app-pico-tracker/Makefile", "../openwrt/pico-tracker/Makefile", "../openwrt/pico-tracker-portmap/Makefile"}
	if err != nil || !slices.Equal(found, want) {
		t.Errorf("found in %v, want %v; %v", found, want, err)
	}
	app := read(t, want[0])
	if last := "\n# " + string(words) + " - OpenWrt buildroot signature\n"; !bytes.HasSuffix(app, []byte(last)) {
		t.Errorf("the last line of %s is not %q", want[0], last)
	}
}
