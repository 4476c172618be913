//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAcceptedList checks that the list can be read, and that each mutant in it
// changes a line that its function still has.
func TestAcceptedList(t *testing.T) {
	if err := os.Chdir("../.."); err != nil {
		t.Fatal(err)
	}
	accepted, err := readAccepted(acceptedPath)
	if err != nil {
		t.Fatal(err)
	}
	for key, reason := range accepted {
		head, change, _ := strings.Cut(key, "\n- ")
		from, _, _ := strings.Cut(change, "\n")
		text, err := os.ReadFile(strings.Fields(head)[0])
		if err != nil {
			t.Error(err)
			continue
		}
		found := false
		lines := strings.Split(string(text), "\n")
		for i, line := range lines {
			if strings.TrimSpace(line) == from {
				name, nth := place(text, lines, i)
				found = found || head == fmt.Sprintf("%s %s %d", strings.Fields(head)[0], name, nth)
			}
		}
		if !found {
			t.Errorf("%s has no line %q, which may be changed because: %s", head, from, reason)
		}
	}
}

// TestAcceptedErrors checks that an entry without a reason is refused.
func TestAcceptedErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list")
	for text, want := range map[string]string{
		"a.go f\n- x\n+ y\n  because\n":                              "",
		"# comment\n\na.go f 2\n- x\n+ y\n  because\n":               "",
		"a.go f\n- x\n+ y\n  because\n\na.go f\n- x\n+ y\n  again\n": "twice",
		"a.go f\n- x\n+ y\n":                                         "reason",
		"a.go\n- x\n+ y\n  because\n":                                "reason",
		"a.go f\n+ x\n- y\n  because\n":                              "begin with",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := readAccepted(path)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: got %v, want an error with %q", text, err, want)
		}
	}
}

// TestChange checks that a mutant is known by its function and line, wherever
// they are in the file. The layout of the changed file does not matter.
func TestChange(t *testing.T) {
	const before = "package p\n\nfunc f(a int) bool {\n\tif a > 1 {\n\t\treturn true\n\t}\n\tif a > 1 {\n\t\treturn true\n\t}\n\treturn false\n}\n"
	second := strings.Replace(strings.Replace(strings.Replace(before, "> 1", ">= 1", 2), ">= 1", "> 1", 1), "\t", "  ", 1)
	pristine, tree := t.TempDir(), t.TempDir()
	for path, text := range map[string]string{
		pristine + "/a.go": before, pristine + "/b.go": "package p\n",
		tree + "/a.go": second, tree + "/b.go": "package p\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, line, err := changeIn(pristine, tree, ".")
	want := result{File: "a.go", Function: "f", From: "if a > 1 {", To: "if a >= 1 {", Nth: 2}
	if err != nil || got != want || line != 7 {
		t.Errorf("got %+v in line %d, %v, want %+v in line 7", got, line, err, want)
	}
	if _, _, err := changeIn(pristine, pristine, "."); err == nil {
		t.Error("nothing is changed: got no error")
	}

	// Gremlins also makes changes that cannot be parsed.
	broken := strings.Replace(second, "a >= 1", "a > | 1", 1)
	if err := os.WriteFile(tree+"/a.go", []byte(broken), 0o644); err != nil {
		t.Fatal(err)
	}
	want.To = "if a > | 1 {"
	if got, line, err := changeIn(pristine, tree, "."); err != nil || got != want || line != 7 {
		t.Errorf("not Go: got %+v in line %d, %v, want %+v in line 7", got, line, err, want)
	}
}

// TestPlace checks that methods with the same name differ, and how equal lines are
// counted.
func TestPlace(t *testing.T) {
	const text = `package p

var v = 1 + 1

func (a *a) next() {
	x++
	x++
}

func (b b[K]) next() {
	x++
}

func next() {
	x++
}
`
	lines := strings.Split(text, "\n")
	for _, c := range []struct {
		line int
		name string
		nth  int
	}{
		{line: 3, name: "-", nth: 1},
		{line: 6, name: "a.next", nth: 1},
		{line: 7, name: "a.next", nth: 2},
		{line: 11, name: "b.next", nth: 1},
		{line: 15, name: "next", nth: 1},
	} {
		if name, nth := place([]byte(text), lines, c.line-1); name != c.name || nth != c.nth {
			t.Errorf("line %d: got %s %d, want %s %d", c.line, name, nth, c.name, c.nth)
		}
	}
}

// TestKnown checks that a misspelled name is an error: nothing would be tried.
func TestKnown(t *testing.T) {
	for _, c := range []struct {
		name         string
		names, files []string
		want         string
	}{
		{name: "the package", names: []string{""}, files: []string{"a.go"}},
		{name: "a file", names: []string{"a.go"}, files: []string{"a.go", "b.go"}},
		{name: "misspelled", names: []string{"a.go", "c.go"}, files: []string{"a.go", "b.go"}, want: "p/c.go: not a file"},
		{name: "no package", names: []string{""}, want: "p: no file"},
	} {
		err := known("p", c.names, c.files)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want an error with %q", c.name, err, c.want)
		}
	}
}

// TestErrorsAreKept checks that an error of a try is kept. Here, nothing is changed.
func TestErrorsAreKept(t *testing.T) {
	scratch := t.TempDir()
	s := settings{Pristine: t.TempDir(), Scratch: scratch}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(scratch, "settings")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv(settingsVariable, path)
	if code := insteadOfGo([]string{"test"}); code != 1 {
		t.Errorf("got exit code %d, want 1", code)
	}
	if text, err := os.ReadFile(s.errors()); err != nil || !strings.Contains(string(text), "changed nothing") {
		t.Errorf("got %q, %v, want the error", text, err)
	}
}

// TestCovered checks which lines a profile covers. A line that no profile has is
// tried.
func TestCovered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "profile")
	profile := "mode: set\nexample.org/m/a.go:3.5,6.2 2 0\nexample.org/m/a.go:5.5,5.9 1 1\nexample.org/m/b/a.go:3.5,9.2 1 1\n"
	if err := os.WriteFile(path, []byte(profile), 0o644); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[int]bool{2: true, 3: false, 4: false, 5: true, 6: false, 7: true} {
		if got := covered(path, "m/a.go", line); got != want {
			t.Errorf("line %d: got %v, want %v", line, got, want)
		}
	}
}
