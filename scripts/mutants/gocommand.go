//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// This file is the "go" that gremlins runs.

const (
	// minTime is what the tests of a mutant may take at least.
	minTime = 15 * time.Second
	// slowness is how many times longer they may take than a build and the tests
	// without a change.
	slowness = 3
	// maxData is how much memory they may take.
	maxData = 8 << 30
)

// insteadOfGo does what gremlins asks of go, and returns the exit code.
func insteadOfGo(args []string) int {
	var s settings
	text, err := os.ReadFile(os.Getenv(settingsVariable))
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	code := 0
	switch {
	case err != nil:
	case args[0] == "test" && slices.Contains(args, "-coverprofile"):
		code, err = cover(&s, args)
	case args[0] == "test":
		if code, err = try(&s); err != nil {
			s.keep(err)
		}
	default:
		err = command("", s.Go, args...).Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		return 1
	}
	return code
}

// keep writes an error to the file of errors: gremlins hides it, and takes it for a
// test that failed.
func (s *settings) keep(problem error) {
	if f, err := os.OpenFile(s.errors(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err == nil {
		fmt.Fprintln(f, problem)
		f.Close()
	}
}

// cover runs the tests without a change, and keeps the coverage and the time.
// Gremlins gets a profile in which everything is covered: so it tries all
// mutants, and this program knows each by its line.
func cover(s *settings, args []string) (int, error) {
	profile := args[slices.Index(args, "-coverprofile")+1]
	dir := strings.TrimSuffix(args[len(args)-1], "/...")
	start := time.Now()
	c := command("", s.Go, "test", "-short", "-count=1", "-skip", s.Skip, "-coverprofile", profile, dir)
	if err := c.Run(); err != nil {
		return 1, fmt.Errorf("the tests of %s fail without a change: %w", dir, err)
	}
	took := time.Since(start)
	if err := os.WriteFile(s.Scratch+"/took", []byte(took.String()), 0o644); err != nil {
		return 1, err
	}
	text, err := os.ReadFile(profile)
	if err != nil {
		return 1, err
	}
	if err := os.WriteFile(s.Scratch+"/coverage", text, 0o644); err != nil {
		return 1, err
	}
	text = bytes.ReplaceAll(text, []byte(" 0\n"), []byte(" 1\n"))
	return 0, os.WriteFile(profile, text, 0o644)
}

// Exit codes that gremlins knows.
const (
	codeLived     = 0
	codeKilled    = 1
	codeNotViable = 2
)

// try runs the tests of the mutant whose copy of the tree gremlins has prepared.
// The working directory is the package.
func try(s *settings) (int, error) {
	here, err := os.Getwd()
	if err != nil {
		return 1, err
	}
	root := here
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		root = filepath.Dir(root)
	}
	dir, err := filepath.Rel(root, here)
	if err != nil {
		return 1, err
	}
	r, line, err := changeIn(s.Pristine, root, dir)
	if err != nil {
		return 1, err
	}
	hash := fnv.New32a()
	hash.Write([]byte(r.key()))
	if hash.Sum32()%s.Every != 0 || s.Noticed[r.key()] {
		return codeNotViable, nil
	}
	start := time.Now()
	binary := s.Scratch + "/mutant.test"
	// go vet would refuse some changes, for example "a && !a".
	build := exec.Command(s.Go, "test", "-c", "-vet=off", "-o", binary, ".")
	var code int
	switch err := build.Run(); {
	case err != nil:
		r.Status, code = invalid, codeNotViable
	case !covered(s.Scratch+"/coverage", r.File, line):
		r.Status, code = uncovered, codeLived
	default:
		r.Status, r.Tests, code = survived, "selected", codeLived
		pattern := relatedTests(".", filepath.Base(r.File))
		limit := slowness * usual(s)
		if pattern != "" {
			limit = usual(s) // a part of the tests is faster than all of them
		}
		ok, err := runTests(binary, pattern, s.Skip, max(minTime, limit))
		if ok && pattern != "" && !s.Selected {
			r.Tests = "all"
			ok, err = runTests(binary, "", s.Skip, max(minTime, slowness*usual(s)))
		}
		if err != nil {
			return 1, err
		}
		if pattern == "" {
			r.Tests = "all"
		}
		if !ok {
			r.Status, code = noticed, codeKilled
		}
	}
	r.Seconds = time.Since(start).Round(100 * time.Millisecond).Seconds()
	if f, err := os.OpenFile(s.Progress, os.O_WRONLY|os.O_APPEND, 0); err == nil {
		fmt.Fprintf(f, "%-11s %5.1f s  %s:%d: %s  ->  %s\n", r.Status, r.Seconds, r.File, line, r.From, r.To)
		f.Close()
	}
	text, err := json.Marshal(r)
	if err != nil {
		return 1, err
	}
	f, err := os.OpenFile(s.Results, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return 1, err
	}
	_, err = f.Write(append(text, '\n'))
	return code, errors.Join(err, f.Close())
}

// usual returns how long the tests take without a change.
func usual(s *settings) time.Duration {
	text, _ := os.ReadFile(s.Scratch + "/took")
	took, _ := time.ParseDuration(string(text))
	return took
}

// runTests runs a test binary, and reports whether the tests passed in time.
func runTests(binary, pattern, skip string, limit time.Duration) (bool, error) {
	args := []string{"-test.short", "-test.failfast", "-test.skip", skip}
	if pattern != "" {
		args = append(args, "-test.run", pattern)
	}
	c := exec.Command(binary, args...)
	// The group and the death signal: no process of a mutant stays.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	data := syscall.Rlimit{Cur: maxData, Max: maxData}
	const rlimitData = 2
	if err := syscall.Setrlimit(rlimitData, &data); err != nil {
		return false, err
	}
	if err := c.Start(); err != nil {
		return false, err
	}
	kill := func() { _ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	t := time.AfterFunc(limit, kill)
	err := c.Wait()
	t.Stop()
	kill()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return false, nil
	}
	return err == nil, err
}

// changeIn finds the change in the package dir of a tree, and its line.
func changeIn(pristine, tree, dir string) (result, int, error) {
	names, err := filepath.Glob(filepath.Join(pristine, dir, "*.go"))
	if err != nil {
		return result{}, 0, err
	}
	for _, name := range names {
		before, err := os.ReadFile(name)
		if err != nil {
			return result{}, 0, err
		}
		file := filepath.Join(dir, filepath.Base(name))
		after, err := os.ReadFile(filepath.Join(tree, file))
		if err != nil {
			return result{}, 0, err
		}
		if bytes.Equal(before, after) {
			continue
		}
		// Some changes cannot be parsed: "a | | b". They do not compile either.
		if formatted, err := format.Source(after); err == nil {
			after = formatted
		}
		was, is := strings.Split(string(before), "\n"), strings.Split(string(after), "\n")
		for i := range min(len(was), len(is)) {
			if !slices.Equal(strings.Fields(was[i]), strings.Fields(is[i])) {
				r := result{File: file, From: strings.TrimSpace(was[i]), To: strings.TrimSpace(is[i])}
				r.Function, r.Nth = place(before, was, i)
				return r, i + 1, nil
			}
		}
	}
	return result{}, 0, errors.New("gremlins has changed nothing in " + dir)
}

// place returns the function around line i, and how many lines of the function
// up to it are equal. A method has the name of its type before its own.
func place(text []byte, lines []string, i int) (name string, nth int) {
	name, first := "-", 0
	set := token.NewFileSet()
	if f, err := parser.ParseFile(set, "", text, parser.SkipObjectResolution); err == nil {
		for _, d := range f.Decls {
			from, to := set.Position(d.Pos()).Line-1, set.Position(d.End()).Line-1
			if fn, ok := d.(*ast.FuncDecl); ok && from <= i && i <= to {
				name, first = fn.Name.Name, from
				if fn.Recv != nil && len(fn.Recv.List) == 1 {
					name = typeName(fn.Recv.List[0].Type) + "." + name
				}
			}
		}
	}
	for _, l := range lines[first : i+1] {
		if l == lines[i] {
			nth++
		}
	}
	return name, nth
}

// typeName returns the name of the type of a receiver.
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.IndexExpr:
		return typeName(e.X)
	case *ast.IndexListExpr:
		return typeName(e.X)
	case *ast.Ident:
		return e.Name
	}
	return "?"
}

// covered reports whether a test runs a line, or whether that is unknown.
func covered(profile, file string, line int) bool {
	text, err := os.ReadFile(profile)
	if err != nil {
		return true
	}
	known := false
	for _, l := range strings.Split(string(text), "\n") {
		// NAME:LINE.COLUMN,LINE.COLUMN STATEMENTS COUNT
		name, block, _ := strings.Cut(l, ":")
		if !strings.HasSuffix(name, "/"+file) {
			continue
		}
		var from, fromColumn, to, toColumn, statements, count int
		if n, _ := fmt.Sscanf(block, "%d.%d,%d.%d %d %d", &from, &fromColumn, &to, &toColumn, &statements, &count); n != 6 || line < from || line > to {
			continue
		}
		if known = true; count > 0 {
			return true
		}
	}
	return !known
}
