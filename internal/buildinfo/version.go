//go:build !release

// Package buildinfo tells the version of a binary that "go install" or a plain
// "go build" made. The Makefile, the Dockerfile and the packages build with the
// tag release and set main.version instead: runtime/debug.ReadBuildInfo needs
// package fmt, which takes 55,000 bytes of flash (linux-mipsle, packed).
package buildinfo

import (
	"runtime/debug"
	"strings"
)

// Version returns the version that the go command recorded in this binary.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return unknown
	}
	return version(info)
}

// version returns the version of the main module without its "v". For a
// checkout, Go 1.24 and later derive it from git. Go 1.23 records the commit.
func version(info *debug.BuildInfo) string {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return strings.TrimPrefix(v, "v")
	}
	var commit, dirty string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 7:
			commit = "+g" + s.Value[:7]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = ".dirty"
		}
	}
	if commit == "" {
		return unknown
	}
	return unknown + commit + dirty
}
