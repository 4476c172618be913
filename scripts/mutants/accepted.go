//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"
)

// This file has the names of mutants, and reads the list of those that may
// survive.

// status is what happened to a mutant.
type status string

const (
	noticed   status = "noticed"     // a test failed, or hung
	survived  status = "survived"    // all tests passed
	uncovered status = "not covered" // no test runs the line
	invalid   status = "invalid"     // it does not compile
)

// result is what happened to a mutant.
type result struct {
	File     string
	Function string // TYPE.NAME for a method
	From, To string // the line, without and with the change
	Nth      int    // of the equal lines in the function
	Status   status
	Tests    string // selected or all
	Seconds  float64
}

// key names a mutant. It does not change when code above is changed.
func (r *result) key() string {
	return fmt.Sprintf("%s %s %d\n- %s\n+ %s\n", r.File, r.Function, r.Nth, r.From, r.To)
}

// String returns a mutant in the form of accepted.txt.
func (r *result) String() string {
	name := r.File + " " + r.Function
	if r.Nth > 1 {
		name += fmt.Sprintf(" %d", r.Nth)
	}
	return fmt.Sprintf("%s\n- %s\n+ %s\n  %s\n\n", name, r.From, r.To, r.Status)
}

const acceptedPath = "scripts/mutants/accepted.txt"

// readAccepted returns the reasons by the keys of mutants. Each entry has a line
// with the file, the function and, after the first of equal lines, its number.
// The line without and with the change, and the reason, follow.
func readAccepted(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	reasons := map[string]string{}
	for _, entry := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
		if strings.HasPrefix(entry, "#") {
			continue
		}
		lines := strings.Split(entry, "\n")
		r := result{Nth: 1}
		if len(lines) >= 4 {
			if n, _ := fmt.Sscanf(lines[0], "%s %s %d", &r.File, &r.Function, &r.Nth); n < 2 {
				lines = nil
			}
		}
		if len(lines) < 4 {
			return nil, fmt.Errorf("%s: got %q, want the mutant in three lines and the reason", path, entry)
		}
		var from, to bool
		r.From, from = strings.CutPrefix(lines[1], "- ")
		r.To, to = strings.CutPrefix(lines[2], "+ ")
		reason := strings.TrimSpace(strings.Join(lines[3:], " "))
		if !from || !to || reason == "" {
			return nil, fmt.Errorf("%s: got %q, want lines that begin with - and +, and a reason", path, entry)
		}
		if reasons[r.key()] != "" {
			return nil, fmt.Errorf("%s: has this twice: %q", path, entry)
		}
		reasons[r.key()] = reason
	}
	return reasons, nil
}
