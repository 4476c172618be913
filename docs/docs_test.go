//go:build linux

// Package docs tests the documents: the commands run, the links are valid, and
// the language is plain.
package docs

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// documents returns the text of each document by its path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"../*.md", "*.md", "../bench/*.md", "../cluster/*.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			texts[name] = string(b)
		}
	}
	if texts["../README.md"] == "" {
		t.Fatal("no README.md")
	}
	return texts
}

// TestLinks checks that the files, headings and targets of make in documents
// exist.
func TestLinks(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range documents(t) {
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(text, -1) {
			file, heading, _ := strings.Cut(m[1], "#")
			switch {
			case strings.Contains(m[1], "://"):
			case file == "":
				if !hasHeading(text, heading) {
					t.Errorf("%s: no heading for #%s", name, heading)
				}
			default:
				if _, err := os.Stat(filepath.Join(filepath.Dir(name), file)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		for _, m := range regexp.MustCompile("(?m)(?:`|^)make ([a-z][a-z0-9-]*)(?:[^/a-z0-9-]|$)").FindAllStringSubmatch(text, -1) {
			target := `(?m)^` + m[1] + `:|^\$\(addprefix binary-,`
			if !strings.HasPrefix(m[1], "binary-") {
				target = `(?m)^` + m[1] + `:`
			}
			if !regexp.MustCompile(target).Match(makefile) && m[1] != "defconfig" { // OpenWrt's
				t.Errorf("%s: make has no target %s", name, m[1])
			}
		}
	}
}

// TestTables checks that each table has its header and no gap. Lines after a
// gap would be shown as plain text.
func TestTables(t *testing.T) {
	for name, text := range documents(t) {
		before, code := "", false
		lines := strings.Split(text, "\n")
		for n, line := range lines {
			if strings.HasPrefix(line, "```") {
				code = !code
			}
			if !code && strings.HasPrefix(line, "|") && !strings.HasPrefix(before, "|") &&
				(n+1 == len(lines) || !strings.HasPrefix(lines[n+1], "|--")) {
				t.Errorf("%s:%d: a line of a table without its head", name, n+1)
			}
			before = line
		}
	}
}

// hasHeading reports whether text has a heading with this anchor on GitHub.
func hasHeading(text, anchor string) bool {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		if strings.ReplaceAll(strings.ToLower(m[1]), " ", "-") == anchor {
			return true
		}
	}
	return false
}

var shBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// TestCommands runs every block that is marked sh, in its own network and
// process namespaces. The first block of the README starts the tracker in a
// fresh clone; all others run beside it. Blocks for another machine are marked
// console, and docs/packaging.md says where they were run.
func TestCommands(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root, for a namespace")
	}
	for _, p := range []string{"git", "make", "unshare", "ip"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip(p + " is not installed")
		}
	}
	scratch := t.TempDir()
	const home = "https://github.com/fabricionaweb/pico-tracker"
	snapshot(t, scratch+"/origin")

	blocks := shBlock.FindAllStringSubmatch(documents(t)["../README.md"], -1)
	if len(blocks) < 3 || !strings.Contains(blocks[0][1], "make run") {
		t.Fatalf("the README's first block starts no tracker: %q", blocks)
	}
	var script strings.Builder
	privateTracker := ""
	script.WriteString("set -eux\nip link set lo up\ncd " + scratch + "\n" +
		"(\n" + blocks[0][1] + ") &\n" +
		// Wait until it answers, because the build may be slow.
		"until pico-tracker/pico-tracker -probe 127.0.0.1; do sleep 0.1; done 2>/dev/null\n" +
		"cd pico-tracker\n")
	for _, b := range blocks[1:] {
		if strings.Contains(b[1], "-add-tracker") {
			// The private tracker uses the same port, and needs a torrent.
			privateTracker = b[1]
			continue
		}
		script.WriteString(b[1])
	}
	for name, text := range documents(t) {
		for _, b := range shBlock.FindAllStringSubmatch(text, -1) {
			if name != "../README.md" {
				script.WriteString(b[1])
			}
		}
	}
	out := runCommands(t, scratch, home, script.String())
	// docs/memory.md shows the plan of a 64-bit processor.
	if m := regexp.MustCompile("(?ms)^```text\n(.*?)^```$").FindStringSubmatch(documents(t)["memory.md"]); m == nil {
		t.Error("memory.md shows no plan")
	} else if strconv.IntSize == 64 && !strings.Contains(out, m[1]) {
		t.Errorf("memory.md shows another plan:\n%s", out)
	}
	for _, want := range []string{"listening on 0.0.0.0:1337", "answers the connect", "answers the scrape", "answers the stop", "what fits"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in what was printed:\n%s", want, out)
		}
	}

	if privateTracker == "" {
		t.Fatal("the README has no block of commands with -add-tracker")
	}
	// A person starts -status when the tracker has written its first report.
	privateTracker = strings.Replace(privateTracker, "&\n", "&\nuntil [ -s stats.prom ]; do sleep 0.1; done\n", 1)
	out = runCommands(t, scratch, home, "set -eux\nip link set lo up\ncd "+scratch+"/pico-tracker\n"+
		"printf 'd4:infod6:lengthi5e4:name5:hello12:piece lengthi16384e6:pieces20:01234567890123456789ee' >my.torrent\n"+privateTracker)
	for _, want := range []string{"whitelist torrents: 1 torrent\n", "; external 203.0.113.7:1337", "healthy: "} {
		if !strings.Contains(out, want) {
			t.Errorf("got no %q from the commands for a private tracker:\n%s", want, out)
		}
	}
}

// TestPrivateTrackerForFriends: without a public address, the tracker does not
// give a client on the LAN to friends on the internet.
func TestPrivateTrackerForFriends(t *testing.T) {
	_, section, _ := strings.Cut(documents(t)["../README.md"], "\n## A private tracker in five minutes\n")
	section, _, ok := strings.Cut(section, "\n## ")
	blocks := regexp.MustCompile("(?ms)^```(?:sh|console)\n(.*?)^```$").FindAllStringSubmatch(section, -1)
	if !ok || len(blocks) != 3 {
		t.Fatalf("%d blocks, want one for a PC, for Debian and for OpenWrt", len(blocks))
	}
	for _, b := range blocks {
		if !regexp.MustCompile(`(?i)\bexternal.ip[ =]|__EXTERNAL_IP=`).MatchString(b[1]) {
			t.Errorf("these commands set no public address:\n%s", b[1])
		}
	}
}

// runCommands runs a script in namespaces of its own and returns its output.
func runCommands(t *testing.T, scratch, home, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", script)
	cmd.Env = append(os.Environ(), "GOPROXY=off", "HOME="+scratch,
		"GOMODCACHE="+goEnv(t, "GOMODCACHE"), "GOCACHE="+goEnv(t, "GOCACHE"),
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=url."+scratch+"/origin.insteadOf", "GIT_CONFIG_VALUE_0="+home)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return out.String()
}

// snapshot makes a repository with the present files.
func snapshot(t *testing.T, dir string) {
	t.Helper()
	out, err := exec.Command("sh", "-ec", `
		mkdir "$0"; cd ..
		git ls-files -co --exclude-standard | tar -c -T - | tar -x -C "$0"
		cd "$0"; git init -q; git add -A
		git -c user.name=test -c user.email=test@example.invalid commit -qm snapshot`, dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
