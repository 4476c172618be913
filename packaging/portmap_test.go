package packaging

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The port mapping program is a package of its own on OpenWrt.

func portmapFiles(t *testing.T) map[string]entry {
	return map[string]entry{
		"/usr/bin/pico-tracker-portmap":    {0o755, read(t, filepath.Join(built.dir, "pico-tracker-portmap-linux-mipsle"))},
		"/etc/init.d/pico-tracker-portmap": {0o755, read(t, "../init.d/pico-tracker-portmap")},
	}
}

func TestPortmapIPK(t *testing.T) {
	outer := untar(t, read(t, filepath.Join(packages(t), "pico-tracker-portmap_1.1.0-r1_mipsel_24kc.ipk")))
	compareEntries(t, untar(t, outer["/data.tar.gz"].data), portmapFiles(t))
	control := untar(t, outer["/control.tar.gz"].data)
	got := fields(control["/control"].data, ":")
	for name, want := range map[string]string{"Package": "pico-tracker-portmap", "Version": "1.1.0-r1", "Depends": "pico-tracker"} {
		if got[name] != want {
			t.Errorf("%s: got %q, want %q", name, got[name], want)
		}
	}
	for _, script := range []string{"postinst", "prerm"} {
		if e := control["/"+script]; !strings.Contains(string(e.data), "\ndefault_"+script+" \"$0\" \"$@\"\n") {
			t.Errorf("%s: got %q", script, e.data)
		}
	}
}

func TestPortmapAPK(t *testing.T) {
	got := untar(t, read(t, filepath.Join(packages(t), "pico-tracker-portmap_1.1.0-r1_mipsel_24kc.apk")))
	for _, name := range []string{"/.post-install", "/.post-upgrade", "/.pre-deinstall"} {
		if e := got[name]; e.mode != 0o755 || !bytes.Contains(e.data, []byte("\nexport pkgname=\"pico-tracker-portmap\"\n")) {
			t.Errorf("%s: mode %o, %q", name, e.mode, e.data)
		}
		delete(got, name)
	}
	if info := fields(got["/.PKGINFO"].data, "="); info["pkgname"] != "pico-tracker-portmap" || info["depend"] != "pico-tracker" {
		t.Errorf("package %q depends on %q", info["pkgname"], info["depend"])
	}
	delete(got, "/.PKGINFO")
	want := portmapFiles(t)
	want["/lib/apk/packages/pico-tracker-portmap.list"] = entry{0o644, []byte("/etc/init.d/pico-tracker-portmap\n/usr/bin/pico-tracker-portmap\n")}
	compareEntries(t, got, want)
}

func TestPortmapRecipe(t *testing.T) {
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
	program := read(t, filepath.Join(built.dir, "pico-tracker-portmap-linux-mipsle"))
	if err := os.WriteFile(filepath.Join(top, "portmap"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	recipe := func(target string) string {
		env := []string{"TOPDIR=" + top, "VERSION=v1.2.0", "MAKEFLAGS=", "MAKELEVEL=", "MFLAGS="}
		return runIn(t, "../openwrt/pico-tracker-portmap", env, "make", "-s", target)
	}
	shown := recipe("show")
	for _, want := range []string{
		"name pico-tracker-portmap pico-tracker-portmap\n", "version 1.2.0\n", " CGO_ENABLED=0\n", "main.version=1.2.0\n",
		" main.go ", " go.mod", " go.sum", "tags release", "+pico-tracker",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("no %q in:\n%s", want, shown)
		}
	}
	recipe("prepare")
	for name, want := range map[string]bool{"main.go": true, "go.mod": true, "go.sum": true, "LICENSE": true, "pcp_test.go": false} {
		if _, err := os.Stat(filepath.Join(top, "build", name)); (err == nil) != want {
			t.Errorf("prepared %s: got error %v, want it there: %v", name, err, want)
		}
	}
	recipe("install")
	for name, want := range portmapFiles(t) {
		if got, err := os.ReadFile(filepath.Join(top, "root", name)); err != nil || !bytes.Equal(got, want.data) {
			t.Errorf("installed %s: %d bytes, %v; want %d", name, len(got), err, len(want.data))
		}
	}
}

// The service maps the port of each section that is enabled and wants it.
func TestPortmapInitScript(t *testing.T) {
	need(t, "busybox")
	record := func(config, action string) string {
		t.Helper()
		out, err := exec.Command("busybox", "ash", "testdata/recorder.sh", "../init.d/pico-tracker-portmap", config, t.TempDir(), action).CombinedOutput()
		if err != nil {
			t.Errorf("%s, %s: %v: %s", config, action, err, out)
		}
		return string(out)
	}
	compare(t, "testdata/init/portmap_service.json", record("testdata/init/port_map.config", "start_service"))
	for _, config := range []string{"testdata/init/enabled.config", "testdata/init/bad_port_map.config", "../openwrt/pico-tracker/files/pico-tracker.config"} {
		if got := record(config, "start_service"); strings.Contains(got, "procd_open_instance") {
			t.Errorf("%s starts something, want nothing:\n%s", config, got)
		}
	}
	if got := record("testdata/init/port_map.config", "service_triggers"); !strings.Contains(got, `["procd_add_reload_trigger", "pico-tracker"]`) {
		t.Errorf("no trigger for changes of the configuration: %s", got)
	}
}

// The tracker follows the file that the port mapping program writes.
func TestPortmapFile(t *testing.T) {
	const address = "/var/run/pico-tracker-portmap/main"
	for _, path := range []string{"testdata/init/port_map.json", "testdata/init/portmap_service.json"} {
		if !strings.Contains(string(read(t, path)), `"`+address+`"`) {
			t.Errorf("%s does not name %s", path, address)
		}
	}
	const run = "/run/pico-tracker-portmap/address"
	for _, name := range units {
		if !strings.Contains(string(read(t, "../systemd/"+name+".service")), run+"\n") {
			t.Errorf("%s.service does not name %s", name, run)
		}
	}
}
