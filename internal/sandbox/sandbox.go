// Package sandbox takes rights away from the process that it does not need while
// it serves: system calls, files and capabilities. It is the second wall: an
// attacker who makes the process run code of his own finds little to do.
//
// Each part is independent. A kernel without one of them serves as before.
//
//	system calls   a seccomp filter (Linux 3.17) with the calls of the tracker
//	               and of the Go runtime
//	files          Landlock (Linux 5.13): reads below the directories of the
//	               lists, writes below the directory of the statistics, no TCP
//	capabilities   all are dropped, except those that a later bind needs
//
// A forbidden call returns ENOSYS, and an allowed call with a forbidden argument
// returns EPERM. The process does not end, because a newer Go runtime may try
// calls that the list lacks. After ENOSYS it falls back to older calls, as on an
// older kernel. Where it cannot, it prints its own error and ends. The kernel
// does not log forbidden calls, because some are harmless and frequent.
//
// There is no process without root rights to which the tracker could pass its
// sockets, because a second process would need memory of its own.
//
// The package is hand-written because libraries for seccomp need cgo or have
// tables for all processors in the binary.
package sandbox

import (
	"errors"
	"io/fs"
)

// Part is a set of rights that are taken away.
type Part uint8

const (
	SystemCalls Part = 1 << iota
	Files
	Capabilities

	numParts = iota
)

// Names are the names of the parts, by bit.
var Names = [numParts]string{"system calls", "files", "capabilities"}

// Config is what the process needs in the sandbox.
type Config struct {
	Read   [2]string // files or directories that it reads; "": none; they may be replaced
	Write  string    // the file that it replaces; "": none
	Rebind bool      // it binds sockets to interfaces
	Port   uint16    // of these sockets
	Strict bool      // for tests: a system call that is not listed ends the process
}

// Result says what is in force.
type Result struct {
	In      Part
	Kept    string // capabilities that were kept, with a space before each
	Missing string // why parts are not in force
}

// String returns the result for the log.
//
//go:noinline
func (r Result) String() string {
	text := ""
	for i, name := range Names {
		if r.In&(1<<i) != 0 {
			text += ", " + name
		}
	}
	if r.Kept != "" {
		text += " except" + r.Kept
	}
	if text == "" {
		text = ", none"
	}
	if r.Missing != "" {
		text += " (" + r.Missing + ")"
	}
	return text[2:]
}

// filesRestricted is set by Enter when it has restricted the files.
var filesRestricted bool

// Hint returns what the sandbox may have to do with an error about a file.
func Hint(err error) string {
	if filesRestricted && errors.Is(err, fs.ErrPermission) {
		return " (sandbox: if the directory was replaced, restart the tracker)"
	}
	return ""
}
