package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Tests of what make release checks and writes before it builds.

// repository makes a git repository with the scripts of a release and this
// CHANGELOG.md, and returns a function that runs a command in it.
func repository(t *testing.T, changelog string) func(command ...string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "packaging"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"release-check", "notes"} {
		if err := os.WriteFile(filepath.Join(dir, "packaging", name), read(t, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "CHANGELOG.md"), []byte(changelog), 0o644); err != nil {
		t.Fatal(err)
	}
	runs := func(command ...string) (string, error) {
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=test", "GIT_AUTHOR_EMAIL=test@example.invalid",
			"GIT_COMMITTER_NAME=test", "GIT_COMMITTER_EMAIL=test@example.invalid")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := runs("sh", "-euc", "git init -q; git add .; git commit -qm one"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return runs
}

const changelog = `# Changes

## [Unreleased]

- Not yet.

## [1.2.0] - 2026-11-25

Text.

### Added

- A feature.

## [1.1.0] - 2026-10-01

## [1.0.0]

- No date.

[1.0.0]: https://example.invalid
`

func TestReleaseCheck(t *testing.T) {
	need(t, "git", "zip")
	for _, c := range []struct{ name, before, version, want string }{
		{name: "good", version: "1.2.0"},
		{name: "a candidate", version: "1.2.0-rc1"},
		{name: "the tag is there", before: "git tag v1.2.0", version: "1.2.0"},
		{name: "no version", version: "", want: `VERSION="": want one like VERSION=1.2.3`},
		{name: "a tag for a version", version: "v1.2.0", want: `VERSION="v1.2.0": want one like VERSION=1.2.3`},
		{name: "a changed file", before: "echo >>CHANGELOG.md", version: "1.2.0", want: "files are changed or new; commit them first:\n M CHANGELOG.md"},
		{name: "a new file", before: "echo >new", version: "1.2.0", want: "?? new"},
		{name: "no section", version: "1.3.0", want: `CHANGELOG.md has no text below "## [1.3.0]"`},
		{name: "an empty section", version: "1.1.0", want: `CHANGELOG.md has no text below "## [1.1.0]"`},
		{name: "a section without a date", version: "1.0.0", want: "the heading of 1.0.0 has no date"},
		{name: "the tag is elsewhere", before: "git tag v1.2.0; git commit -q --allow-empty -m two", version: "1.2.0", want: "the tag v1.2.0 exists, and is another commit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			runs := repository(t, changelog)
			if out, err := runs("sh", "-euc", c.before); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			out, err := runs("packaging/release-check", c.version)
			if (err == nil) != (c.want == "") || !strings.Contains(out, c.want) {
				t.Errorf("got %v and %q, want %q", err, out, c.want)
			}
		})
	}
}

func TestReleaseNotes(t *testing.T) {
	runs := repository(t, changelog)
	for _, c := range []struct{ version, want string }{
		{"1.2.0", "Text.\n\n### Added\n\n- A feature.\n"},
		{"1.0.0", "- No date.\n"},
	} {
		if got, err := runs("packaging/notes", c.version); err != nil || got != c.want {
			t.Errorf("%s: got %v and %q, want %q", c.version, err, got, c.want)
		}
	}
}

// TestLicenses: each module of a binary is in the report with its licence.
func TestLicenses(t *testing.T) {
	need(t, "go")
	report := run(t, "./licenses")
	// The package for Debian names the same.
	copyright := string(read(t, "debian/copyright"))
	for _, m := range regexp.MustCompile(`(?m)^(\S+/\S+) v\S+ \(`).FindAllStringSubmatch(report, -1) {
		if !strings.Contains(copyright, m[1]) {
			t.Errorf("debian/copyright lacks %s", m[1])
		}
	}
	for _, want := range []string{"\nThe Go programming language go1.", "\ngolang.org/x/sys v0.", "(BSD-3-Clause)", "Copyright 2009 The Go Authors.",
		"\ngithub.com/huin/goupnp v1.", "(BSD-2-Clause)", "\ngithub.com/jackpal/go-nat-pmp v1.", "(Apache-2.0)"} {
		if !strings.Contains(report, want) {
			t.Errorf("the report lacks %q", want)
		}
	}
}
