package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Tests of the Makefile: what it says without a usable Go, and what it installs.

// TestMakeNeedsGo runs make with a go command of another version.
func TestMakeNeedsGo(t *testing.T) {
	need(t, "make")
	for _, c := range []struct{ name, command, want string }{
		{name: "Debian 12", command: "echo go version go1.19.8 linux/amd64", want: "Go 1.23 or later is needed, this is 1.19.8 ("},
		{name: "one version too old", command: "echo go version go1.22.12 linux/amd64", want: "Go 1.23 or later is needed, this is 1.22.12 ("},
		{name: "it may not fetch another", command: `echo "go: go.mod requires go >= 1.23.0" >&2; [ "$GOTOOLCHAIN" != local ] || echo go version go1.21.5 linux/arm64`,
			want: "Go 1.23 or later is needed, this is 1.21.5 ("},
		{name: "broken", command: "exit 1", want: "Go 1.23 or later is needed, this is an unknown version ("},
		{name: "the oldest", command: "echo go version go1.23 linux/amd64"},
		{name: "a later one", command: "echo go version go1.100.1 linux/amd64"},
		{name: "a candidate", command: "echo go version go1.28rc1 linux/amd64"},
		{name: "with an experiment", command: "echo go version go1.26.8 X:nodwarf5 linux/amd64"},
		{name: "from git", command: "echo go version devel go1.28-abcdef1234 linux/amd64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bin := t.TempDir()
			if err := os.WriteFile(filepath.Join(bin, "go"), []byte("#!/bin/sh\n"+c.command+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("make", "-n", "build", "VERSION=1.2.3")
			cmd.Dir = ".."
			cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "MAKEFLAGS=", "MAKELEVEL=")
			out, err := cmd.CombinedOutput()
			if c.want == "" {
				if err != nil || !strings.Contains(string(out), "-X main.version=1.2.3") {
					t.Errorf("got %v and %s, want the commands that build", err, out)
				}
				return
			}
			if err == nil || !strings.HasPrefix(string(out), c.want) || !strings.Contains(string(out), "https://go.dev/dl/") {
				t.Errorf("got %v and %s, want %q and where Go is", err, out, c.want)
			}
		})
	}
}

func TestMakeWithoutGo(t *testing.T) {
	need(t, "make")
	bin := t.TempDir()
	for _, program := range []string{"make", "sh", "awk", "cat", "getconf", "git", "sed", "dirname"} {
		path, err := exec.LookPath(program)
		if err != nil {
			t.Skip(program + " is not installed")
		}
		if err := os.Symlink(path, filepath.Join(bin, program)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ target, want string }{
		{"build", "Go 1.23 or later is needed, there is no go command.\n"},
		{"help", "make build"},
	} {
		cmd := exec.Command("make", c.target)
		cmd.Dir = ".."
		cmd.Env = []string{"PATH=" + bin}
		out, err := cmd.CombinedOutput()
		if (err == nil) != (c.target == "help") || !strings.Contains(string(out), c.want) {
			t.Errorf("make %s: got %v and %s, want %q", c.target, err, out, c.want)
		}
	}
}

// TestMakeInstall installs a program into a directory, as a packager does.
func TestMakeInstall(t *testing.T) {
	need(t, "make", "install")
	tree := t.TempDir()
	for name, from := range map[string]string{
		"Makefile": "../Makefile", "LICENSE": "../LICENSE", "README.md": "../README.md", "packaging/pico-tracker.8": "pico-tracker.8",
		"packaging/manual": "manual", "packaging/version": "version", "packaging/epoch": "epoch",
		"packaging/completion/pico-tracker.bash": "completion/pico-tracker.bash", "packaging/completion/_pico-tracker": "completion/_pico-tracker",
	} {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, read(t, from), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	install := func(args ...string) (string, error) {
		cmd := exec.Command("make", append([]string{"install"}, args...)...)
		cmd.Dir = tree
		cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=", "VERSION=1.2.3", "SOURCE_DATE_EPOCH=1764200000")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := install(); err == nil || !strings.Contains(out, "there is no ./pico-tracker: run make first") {
		t.Errorf("before make: got %v and %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(tree, "pico-tracker"), []byte("program"), 0o700); err != nil {
		t.Fatal(err)
	}
	page := strings.SplitN(string(read(t, "pico-tracker.8")), "\n", 2)
	manual := []byte(".TH PICO-TRACKER 8 2025-11-26 \"pico-tracker 1.2.3\"\n" + page[1])
	for _, c := range []struct{ prefix, want string }{
		{"", "/usr/local"},
		{"PREFIX=/usr", "/usr"},
		{"PREFIX=/opt/pico tracker", "/opt/pico tracker"},
	} {
		dest := t.TempDir()
		args := []string{"DESTDIR=" + dest}
		if c.prefix != "" {
			args = append(args, c.prefix)
		}
		if out, err := install(args...); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		got := map[string]entry{}
		err := filepath.WalkDir(dest, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			st, err := d.Info()
			if err != nil {
				return err
			}
			got[strings.TrimPrefix(path, dest)] = entry{int64(st.Mode().Perm()), read(t, path)}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		compareEntries(t, got, map[string]entry{
			c.want + "/bin/pico-tracker":                               {0o755, []byte("program")},
			c.want + "/share/man/man8/pico-tracker.8":                  {0o644, manual},
			c.want + "/share/bash-completion/completions/pico-tracker": {0o644, read(t, "completion/pico-tracker.bash")},
			c.want + "/share/zsh/site-functions/_pico-tracker":         {0o644, read(t, "completion/_pico-tracker")},
			c.want + "/share/doc/pico-tracker/LICENSE":                 {0o644, read(t, "../LICENSE")},
			c.want + "/share/doc/pico-tracker/README.md":               {0o644, read(t, "../README.md")},
		})
	}
}
