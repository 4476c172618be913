package packaging

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// The init script for OpenWrt runs under busybox. Replacements of procd, uci
// and logger record their calls, which are compared.

var update = flag.Bool("update", false, "write the records that the tests compare with")

// record runs an action of the init script and returns what was recorded.
func record(t *testing.T, config, scratch, action string, args ...string) (string, error) {
	t.Helper()
	need(t, "busybox")
	words := append([]string{"ash", "testdata/recorder.sh", "../init.d/pico-tracker", config, scratch, action}, args...)
	cmd := exec.Command("busybox", words...)
	cmd.Env = append(os.Environ(), "TRACKER="+checker(t))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if stderr.Len() > 0 {
		t.Errorf("%s, %s: on standard error: %s", config, action, stderr.String())
	}
	return strings.ReplaceAll(string(out), scratch+"/run/", "/var/run/pico-tracker/"), err
}

// checker returns the path of a tracker that checks the options.
func checker(t *testing.T) string {
	t.Helper()
	checkerOnce.Do(func() {
		checkerDir, checkerErr = os.MkdirTemp("", "init-test")
		if checkerErr != nil {
			return
		}
		out, err := exec.Command("go", "build", "-o", checkerDir+"/pico-tracker", "..").CombinedOutput()
		if err != nil {
			checkerErr = fmt.Errorf("go build: %v: %s", err, out)
		}
	})
	if checkerErr != nil {
		t.Fatal(checkerErr)
	}
	return checkerDir + "/pico-tracker"
}

var (
	checkerOnce sync.Once
	checkerDir  string // TestMain removes it
	checkerErr  error
)

func TestInitScript(t *testing.T) {
	configs, err := filepath.Glob("testdata/init/*.config")
	if err != nil || len(configs) < 12 {
		t.Fatalf("%d configurations, %v", len(configs), err)
	}
	for _, config := range configs {
		name := strings.TrimSuffix(config, ".config")
		t.Run(filepath.Base(name), func(t *testing.T) {
			scratch := t.TempDir()
			got, _ := record(t, config, scratch, "start_service") // what it says is recorded
			compare(t, name+".json", got)
			if strings.Contains(filepath.Base(name), "bad") != strings.Contains(got, `"daemon.err"`) {
				t.Error("a bad configuration has a message in the log, a good one hasn't")
			}

			// Nothing is left for the firewall once it has stopped.
			if _, err := record(t, config, scratch, "stop_service"); err != nil {
				t.Error(err)
			}
			if left, err := filepath.Glob(scratch + "/run/*"); len(left) > 0 || err != nil {
				t.Errorf("left after stop: %v, %v", left, err)
			}
		})
	}
}

func TestInitScriptDefaultIsOff(t *testing.T) {
	got, err := record(t, "../openwrt/pico-tracker/files/pico-tracker.config", t.TempDir(), "start_service")
	if err != nil || strings.Contains(got, "procd_open_instance") {
		t.Errorf("the packaged configuration starts something: %v\n%s", err, got)
	}
}

func TestInitScriptReload(t *testing.T) {
	got, err := record(t, "testdata/init/enabled.config", t.TempDir(), "reload_service")
	if err != nil {
		t.Error(err)
	}
	compare(t, "testdata/init/reload.json", got)
	// The signal would end a tracker that has not installed its signal
	// handler yet.
	if strings.Index(got, "procd_send_signal") > strings.Index(got, "procd_open_instance") {
		t.Error("what has just been started gets a signal")
	}
}

// TestInitScriptReloadsFirewall only if a section has a zone, or had one before.
func TestInitScriptReloadsFirewall(t *testing.T) {
	const signal = `["procd_set_config_changed", "firewall"]`
	for _, c := range []struct {
		name    string
		configs []string // the service starts with each of them
		want    bool     // after the last of them
	}{
		{name: "no zone", configs: []string{"enabled"}},
		{name: "no zone, twice", configs: []string{"enabled", "enabled"}},
		{name: "a zone", configs: []string{"one_zone"}, want: true},
		{name: "a zone that is gone", configs: []string{"one_zone", "enabled"}, want: true},
		{name: "a zone that has been gone", configs: []string{"one_zone", "enabled", "enabled"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			scratch, got := t.TempDir(), ""
			for _, config := range c.configs {
				var err error
				if got, err = record(t, "testdata/init/"+config+".config", scratch, "reload_service"); err != nil {
					t.Fatal(err)
				}
			}
			if strings.Contains(got, signal) != c.want {
				t.Errorf("the firewall is reloaded: %v, want %v", !c.want, c.want)
			}
		})
	}
}

// procd names the lines of an instance by the name of its program. So each
// section has its own tag in the log, for what the service says too.
func TestInitScriptTags(t *testing.T) {
	for _, c := range []struct {
		name, config string
		programs     []string // of the instances
		tags         []string // of the errors
		links        []string
	}{
		{name: "one section", config: "enabled", programs: []string{"/usr/bin/pico-tracker"}},
		{name: "two sections", config: "two", programs: []string{"/usr/bin/pico-tracker", "/var/run/pico-tracker/pico-tracker-open"},
			links: []string{"pico-tracker-open /usr/bin/pico-tracker"}},
		{name: "the first cannot start", config: "bad_port", programs: []string{"/var/run/pico-tracker/pico-tracker-good"},
			tags: []string{"pico-tracker"}, links: []string{"pico-tracker-good /usr/bin/pico-tracker"}},
		{name: "none can start", config: "bad_path", tags: []string{"pico-tracker", "pico-tracker-root", "pico-tracker-up"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, _ := record(t, "testdata/init/"+c.config+".config", t.TempDir(), "start_service")
			find := func(expression string) (found []string) {
				for _, m := range regexp.MustCompile(`(?m)^`+expression).FindAllStringSubmatch(out, -1) {
					found = append(found, strings.Join(m[1:], " "))
				}
				return slices.Compact(found)
			}
			if got := find(`\["procd_set_param", "command", "([^"]*)"`); !slices.Equal(got, c.programs) {
				t.Errorf("programs: got %q, want %q", got, c.programs)
			}
			if got := find(`\["logger", "-t", "([^"]*)"`); !slices.Equal(got, c.tags) {
				t.Errorf("tags: got %q, want %q", got, c.tags)
			}
			if got := find(`\["link", "([^"]*)", "([^"]*)"`); !slices.Equal(got, c.links) {
				t.Errorf("links: got %q, want %q", got, c.links)
			}
		})
	}
}

// A network that is down has the device that it had when the service started.
func TestInitScriptRemembersDevices(t *testing.T) {
	scratch := t.TempDir()
	if err := os.MkdirAll(scratch+"/run", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(scratch+"/run/tun0.device", []byte("ppp3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := record(t, "testdata/init/everything.config", scratch, "start_service")
	if err != nil || !strings.Contains(got, `"-interface", "br-lan,pppoe-wan,ppp3"`) {
		t.Errorf("%v: %s", err, got)
	}
}

// If one instance is stopped, the others keep their rule for replies and their
// devices.
func TestInitScriptStopsOne(t *testing.T) {
	scratch := t.TempDir()
	if err := os.MkdirAll(scratch+"/run", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one.nft", "two.nft", "wan.device"} {
		if err := os.WriteFile(scratch+"/run/"+name, []byte("x\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := record(t, "testdata/init/two.config", scratch, "stop_service", "one")
	if err != nil || strings.Contains(got, `"one.nft"`) || !strings.Contains(got, `"two.nft"`) || !strings.Contains(got, `"wan.device"`) {
		t.Errorf("%v: left: %s", err, got)
	}
}

func TestInitScriptTriggers(t *testing.T) {
	got, err := record(t, "testdata/init/everything.config", t.TempDir(), "service_triggers")
	if err != nil {
		t.Error(err)
	}
	compare(t, "testdata/init/triggers.json", got)
}

// Every flag has an option, except the commands and the secret, which must not
// be on a command line.
func TestInitScriptKnowsEveryFlag(t *testing.T) {
	usage, err := os.ReadFile("../config.go")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("../init.d/pico-tracker")
	if err != nil {
		t.Fatal(err)
	}
	settings, err := os.ReadFile("../openwrt/pico-tracker/files/pico-tracker.config")
	if err != nil {
		t.Fatal(err)
	}
	flags := regexp.MustCompile(`(?m)^\t\{name: "([a-z-]+)".* group: ([A-Za-z]+)`).FindAllSubmatch(usage, -1)
	if len(flags) < 10 {
		t.Fatalf("found %d flags", len(flags))
	}
	for _, f := range flags {
		name := strings.ReplaceAll(string(f[1]), "-", "_")
		if string(f[2]) == "groupCommands" || name == "secret" {
			continue
		}
		if !strings.Contains(string(script), "'"+name+":") {
			t.Errorf("the script has no option %s", name)
		}
		if !regexp.MustCompile(`(?m)^#?\t(option|list) ` + name + ` '`).Match(settings) {
			t.Errorf("the packaged configuration does not show option %s", name)
		}
	}
}

// Each worker has a socket for each address and interface. The largest possible
// number must fit into the limit of open files.
func TestInitScriptFiles(t *testing.T) {
	script, err := os.ReadFile("../init.d/pico-tracker")
	if err != nil {
		t.Fatal(err)
	}
	number := func(expression string) int {
		m := regexp.MustCompile(expression).FindSubmatch(script)
		if m == nil {
			t.Fatalf("no %s in the script", expression)
		}
		n, err := strconv.Atoi(string(m[1]))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	workers, files := number(`'workers:range\(1,(\d+)\)'`), number(`nofile="(\d+) `)
	const families, interfaces, others = 2, 16, 64
	if want := workers*families*interfaces + others; files < want {
		t.Errorf("%d files, want %d for %d workers", files, want, workers)
	}
}

func TestMakeSecret(t *testing.T) {
	scratch := t.TempDir()
	first := ""
	for _, c := range []struct{ arg, file string }{
		{"", scratch + "/etc/secret"},
		{scratch + "/keys/a", scratch + "/keys/a"},
		{"", scratch + "/etc/secret"}, // kept
	} {
		var args []string
		if c.arg != "" {
			args = append(args, c.arg)
		}
		out, err := record(t, "/dev/null", scratch, "make_secret", args...)
		if err != nil || strings.Contains(out, "logger") {
			t.Fatalf("%s: %v: %s", c.file, err, out)
		}
		secret, err := os.ReadFile(c.file)
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^[0-9a-f]{64}\n$`).Match(secret) {
			t.Errorf("%s: %q", c.file, secret)
		}
		st, err := os.Stat(c.file)
		if err != nil || st.Mode() != 0o400 {
			t.Errorf("%s: mode %v, %v; want 0400", c.file, st.Mode(), err)
		}
		switch {
		case first == "":
			first = string(secret)
		case c.arg != "" && string(secret) == first:
			t.Error("two secrets are the same")
		case c.arg == "" && string(secret) != first:
			t.Error("a secret that was there has been replaced")
		}
	}
	// If the secret cannot be written, no file is left, and the log says
	// so.
	if err := os.WriteFile(scratch+"/plain", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("busybox", "ash", "testdata/recorder.sh", "../init.d/pico-tracker", "/dev/null", scratch,
		"make_secret", scratch+"/plain/secret")
	out, err := cmd.Output()
	if err == nil || !strings.Contains(string(out), "can't be made") {
		t.Errorf("%v: %s", err, out)
	}
}

// compare compares with a golden file, which -update writes.
func compare(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s (go test ./packaging -update writes it):\n%s", path, got)
	}
}

// TestDefaultsShowConfiguration to reload_config: it reports only files whose
// checksum it has, and a package may be installed after its last run.
func TestDefaultsShowConfiguration(t *testing.T) {
	need(t, "busybox")
	const other = "0123456789abcdef0123456789abcdef  /var/run/config.check/network\n"
	for _, c := range []struct {
		name, before string
		changed      bool // the file is changed after the installation
	}{
		{name: "the first boot of an image"}, // reload_config was not run yet
		{name: "installed", before: other},
		{name: "installed, then changed", before: other, changed: true},
		{name: "installed again", before: other + "00000000000000000000000000000000  /var/run/config.check/pico-tracker\n", changed: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			script := string(read(t, "../openwrt/pico-tracker/files/pico-tracker.defaults"))
			for path, here := range map[string]string{"/var/run": dir, "/etc/init.d/pico-tracker": "init", "uci ": "fake_uci "} {
				if !strings.Contains(script, path) {
					t.Fatalf("the script has no %s", path)
				}
				script = strings.ReplaceAll(script, path, here)
			}
			if c.before != "" {
				if err := os.WriteFile(dir+"/config.md5", []byte(strings.ReplaceAll(c.before, "/var/run", dir)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			// As functions.sh does, in a subshell. Afterwards, as reload_config does.
			out, err := exec.Command("busybox", "ash", "-euc", `
				cd "$1"
				mkdir config.check
				fake_uci() { echo "$*: port=1337"; }
				init() { echo "$1"; }
				( `+script+` )
				fake_uci show pico-tracker >config.check/pico-tracker
				[ "$2" = false ] || echo port=1338 >>config.check/pico-tracker
				[ ! -e config.md5 ] || md5sum -c config.md5 2>/dev/null | grep /pico-tracker
				`, "-", dir, strconv.FormatBool(c.changed)).CombinedOutput()
			want := "make_secret\n"
			switch {
			case c.changed:
				want += dir + "/config.check/pico-tracker: FAILED\n"
			case c.before != "":
				want += dir + "/config.check/pico-tracker: OK\n"
			}
			if err != nil || string(out) != want {
				t.Errorf("%v: %q, want %q", err, out, want)
			}
			sums, _ := os.ReadFile(dir + "/config.md5")
			if n := strings.Count(string(sums), "/pico-tracker\n"); c.before != "" && n != 1 {
				t.Errorf("%d checksums: %s", n, sums)
			}
		})
	}
}
