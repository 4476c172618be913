//go:build linux

// Mutants finds changes of the program that no test notices. It runs gremlins,
// which makes one small change after another: a mutant. It runs the tests of the
// package for each mutant. A mutant survives if they pass.
//
//	mutants [-every N] [-results FILE] [-selected] [-skip PATTERN] NAME...
//
// A NAME is a directory with a package, or a file. The program fails if a
// survivor is not in accepted.txt, which has the reason for each.
//
// Gremlins alone does not suffice. It takes a mutant that does not compile for
// noticed. It knows a mutant by its line number. It always runs all tests of a
// package, and those of the root package take most of a minute. So this program
// is also the "go" that gremlins runs. As such it:
//
//   - builds the mutant, and leaves it out if it does not compile
//   - leaves out all mutants except a sample, if -every asks for that
//   - runs first the tests that are most likely to fail (related.go), and only
//     then all others
//   - writes what happened to the file of results
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func main() {
	if filepath.Base(os.Args[0]) == "go" {
		os.Exit(insteadOfGo(os.Args[1:]))
	}
	code, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

// settings are what the program tells itself as "go".
type settings struct {
	Go       string // the real one
	Pristine string // the tree without a change
	Scratch  string
	Results  string
	Progress string // where to write a line for each mutant: gremlins hides it
	Every    uint32
	Selected bool            // run only the tests of related.go
	Skip     string          // a pattern of tests that do not run
	Noticed  map[string]bool // by an earlier run
}

// settingsVariable is the environment variable with the path of the settings.
const settingsVariable = "MUTANTS_SETTINGS"

// kinds are the kinds of changes. Gremlins makes fewer by default.
// INVERT_NEGATIVES is not among them: ARITHMETIC_BASE makes the same changes.
var kinds = []string{"arithmetic-base", "conditionals-boundary", "conditionals-negation", "increment-decrement",
	"invert-assignments", "invert-bitwise", "invert-bwassign", "invert-logical", "invert-loopctrl", "remove-self-assignments"}

func run() (int, error) {
	every := flag.Uint("every", 1, "try every n-th mutant")
	results := flag.String("results", "", "add the results to this file, and do not try again what was noticed there")
	selected := flag.Bool("selected", false, "run only the tests that are most likely to fail")
	skip := flag.String("skip", "", "do not run the tests that match this pattern")
	gremlins := flag.String("gremlins", "", "package and version of gremlins")
	flag.Parse()
	if *every < 1 || flag.NArg() == 0 {
		return 2, errors.New("want names of packages or files, and -every of at least 1")
	}
	scratch, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(scratch)

	goCommand, err := exec.LookPath("go")
	if err != nil {
		return 1, err
	}
	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	s := settings{Go: goCommand, Pristine: scratch + "/tree", Scratch: scratch, Results: *results,
		Progress: fmt.Sprintf("/proc/%d/fd/2", os.Getpid()), Every: uint32(*every), Selected: *selected, Skip: *skip, Noticed: map[string]bool{}}
	if s.Results == "" {
		s.Results = scratch + "/results"
	}
	if s.Results, err = filepath.Abs(s.Results); err != nil {
		return 1, err
	}
	earlier, err := readResults(s.Results)
	if err != nil {
		return 1, err
	}
	for key, r := range earlier {
		if r.Status == noticed || r.Status == invalid {
			s.Noticed[key] = true
		}
	}
	if err := copyTree(s.Pristine); err != nil {
		return 1, err
	}
	if err := os.MkdirAll(scratch+"/bin", 0o755); err != nil {
		return 1, err
	}
	if err := os.Symlink(self, scratch+"/bin/go"); err != nil {
		return 1, err
	}
	install := command(scratch, goCommand, "install", *gremlins)
	install.Env = append(install.Environ(), "GOBIN="+scratch+"/tools")
	if err := install.Run(); err != nil {
		return 1, err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return 1, err
	}
	if err := os.WriteFile(scratch+"/settings", text, 0o644); err != nil {
		return 1, err
	}

	// The files of one package are tried together: its tests without a change
	// run once.
	only, dirs := map[string][]string{}, []string{}
	for _, name := range flag.Args() {
		dir, file := filepath.Clean(name), ""
		if strings.HasSuffix(name, ".go") {
			dir, file = filepath.Dir(dir), filepath.Base(dir)
		}
		if _, known := only[dir]; !known {
			dirs = append(dirs, dir)
		}
		only[dir] = append(only[dir], file)
	}
	files := map[string]bool{}
	for _, dir := range dirs {
		exclude := []string{"/"} // other packages
		all, err := sources(filepath.Join(s.Pristine, dir))
		if err != nil {
			return 1, err
		}
		if err := known(dir, only[dir], all); err != nil {
			return 1, err
		}
		for _, file := range all {
			if slices.Contains(only[dir], file) || slices.Contains(only[dir], "") {
				files[filepath.Join(dir, file)] = true
			} else {
				exclude = append(exclude, "^"+regexp.QuoteMeta(file)+"$")
			}
		}
		args := []string{"unleash", "--workers", "1", "--timeout-coefficient", "1000", "--invert-negatives=false"}
		for _, kind := range kinds {
			args = append(args, "--"+kind)
		}
		for _, e := range exclude {
			args = append(args, "--exclude-files", e)
		}
		c := command(s.Pristine, scratch+"/tools/gremlins", append(args, filepath.Join(s.Pristine, dir))...)
		c.Stdout = nil // it calls what does not compile "KILLED"
		c.Env = append(c.Environ(), settingsVariable+"="+scratch+"/settings", "PATH="+scratch+"/bin:"+os.Getenv("PATH"))
		if err := c.Run(); err != nil {
			return 1, fmt.Errorf("gremlins %s: %w", dir, err)
		}
		if text, err := os.ReadFile(s.errors()); err == nil {
			return 1, fmt.Errorf("%s: not all changes were tried: %s", dir, text)
		}
	}

	all, err := readResults(s.Results)
	if err != nil {
		return 1, err
	}
	return report(all, files)
}

// errors returns the path of the file with the errors of try.
func (s *settings) errors() string { return s.Scratch + "/errors" }

// known checks that the package dir has files of these names. "" stands for all.
func known(dir string, names, files []string) error {
	if len(files) == 0 {
		return fmt.Errorf("%s: no file is compiled here", dir)
	}
	for _, name := range names {
		if name != "" && !slices.Contains(files, name) {
			return fmt.Errorf("%s: not a file that is compiled here", filepath.Join(dir, name))
		}
	}
	return nil
}

func command(dir, name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Dir, c.Stdout, c.Stderr = dir, os.Stdout, os.Stderr
	return c
}

// copyTree copies the files of the project, without the packages that need
// other programs or root. So "./..." in the copy means the unit tests.
func copyTree(to string) error {
	out, err := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return err
	}
	for _, name := range strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		dir := filepath.Dir(name)
		if strings.HasSuffix(name, ".go") && dir != "." && !strings.HasPrefix(dir, "internal/") {
			continue
		}
		info, err := os.Lstat(name)
		if err != nil || !info.Mode().IsRegular() {
			continue // removed, or a link
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(to, dir), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, name), text, info.Mode().Perm()); err != nil {
			return err
		}
	}
	return nil
}

// sources returns the names of the files of a package that are compiled here.
// Mutants of the others would not be in the program.
func sources(dir string) ([]string, error) {
	c := exec.Command("go", "list", "-f", "{{range .GoFiles}}{{.}}\n{{end}}", ".")
	c.Dir, c.Stderr = dir, os.Stderr
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("go list in %s: %w", dir, err)
	}
	return strings.Fields(string(out)), nil
}

// report prints the results for these files, and returns the exit code.
func report(all map[string]result, files map[string]bool) (code int, err error) {
	accepted, err := readAccepted(acceptedPath)
	if err != nil {
		return 1, err
	}
	type figures struct{ noticed, survived, uncovered, invalid int }
	byFile, total := map[string]*figures{}, figures{}
	var unknown []string
	for key, r := range all {
		if !files[r.File] {
			continue
		}
		f := byFile[r.File]
		if f == nil {
			f = &figures{}
			byFile[r.File] = f
		}
		for _, f := range []*figures{f, &total} {
			switch r.Status {
			case noticed:
				f.noticed++
			case survived:
				f.survived++
			case uncovered:
				f.uncovered++
			case invalid:
				f.invalid++
			}
		}
		if (r.Status == survived || r.Status == uncovered) && accepted[key] == "" {
			unknown = append(unknown, r.String())
		}
	}
	slices.Sort(unknown)
	_, _ = os.Stdout.Seek(0, io.SeekEnd) // behind the progress, if both are one file
	fmt.Printf("%-40s %8s %8s %11s %8s\n", "file", "noticed", "survived", "not covered", "share")
	line := func(name string, f figures) {
		share := "-"
		if n := f.noticed + f.survived + f.uncovered; n > 0 {
			share = strconv.Itoa(100*f.noticed/n) + " %"
		}
		fmt.Printf("%-40s %8d %8d %11d %8s\n", name, f.noticed, f.survived, f.uncovered, share)
	}
	names := []string{}
	for name := range byFile {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		line(name, *byFile[name])
	}
	line("all", total)
	fmt.Printf("%d did not compile\n", total.invalid)
	if len(unknown) == 0 {
		return 0, nil
	}
	fmt.Printf("\n%d are not noticed and not in %s:\n\n%s", len(unknown), acceptedPath, strings.Join(unknown, ""))
	return 1, nil
}

// readResults returns the results of a file by the key of the mutant. The last
// result of a mutant is valid. A file that is missing has none.
func readResults(path string) (map[string]result, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	all := map[string]result{}
	for _, line := range bytes.Split(text, []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		var r result
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all[r.key()] = r
	}
	return all, err
}
