//go:build linux

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// This file knows which tests are most likely to notice a change of a file.

// related has the test files for a file of the root package, besides those with
// the same name. Without an entry, all tests run at once. It makes no difference
// to the result, except with -selected.
var related = map[string]string{
	"alarm":            "maintenance notify",
	"choice":           "scope reflection isolation tracker",
	"config":           "main",
	"cookie":           "tracker",
	"external_file":    "",
	"help":             "config docs",
	"isolation":        "scope",
	"links":            "",
	"listfile":         "whitelist",
	"main":             "startup notify process limits",
	"maintenance":      "report notify store_aging spaced",
	"memory_plan":      "plan config memory_limit limits",
	"one_address":      "maintenance report tracker",
	"peers":            "store choice scope",
	"plan":             "",
	"pool":             "store maintenance huge_pages slab",
	"probe":            "process",
	"rand":             "choice",
	"ratelimit":        "tracker",
	"report":           "maintenance top_torrents status",
	"sandbox":          "main",
	"scope":            "isolation reflection",
	"source_quota":     "store tracker",
	"stats":            "report",
	"status":           "",
	"status_torrents":  "status top_torrents",
	"store":            "concurrent top_torrents source_quota maintenance slab",
	"top_torrents":     "status",
	"torrent_commands": "",
	"tracker":          "scope isolation",
	"whitelist":        "disk startup",
	"worker":           "filter process main",
}

var testFunction = regexp.MustCompile(`(?m)^func (Test\w+|Fuzz\w+)\(`)

// relatedTests returns a pattern for the tests that are most likely to notice a
// change of a file, or "" for all tests.
func relatedTests(dir, file string) string {
	name := strings.TrimSuffix(strings.TrimSuffix(file, ".go"), "_linux")
	others, known := related[name]
	if !known {
		return ""
	}
	var tests []string
	for _, prefix := range append(strings.Fields(others), name) {
		matches, _ := filepath.Glob(filepath.Join(dir, prefix+"*_test.go"))
		for _, path := range matches {
			text, err := os.ReadFile(path)
			if err != nil || regexp.MustCompile(`_bench_`).MatchString(path) {
				continue
			}
			for _, m := range testFunction.FindAllSubmatch(text, -1) {
				if string(m[1]) != "TestMain" {
					tests = append(tests, string(m[1]))
				}
			}
		}
	}
	if len(tests) == 0 {
		return ""
	}
	return "^(" + strings.Join(tests, "|") + ")$"
}
