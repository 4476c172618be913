// Package filewatch tells the program when a file or a directory changed.
//
// On Linux it uses inotify and waits in the runtime's network poller: nothing
// runs until something changes. On other systems Watch returns
// errors.ErrUnsupported. Every caller must also look at the file by itself now
// and then (the tracker does every 5 minutes), because network file systems and
// mounts do not report all changes.
//
// The package is hand-written because fsnotify watches single directories: the
// caller would still have to follow symbolic links and directories that come and
// go. github.com/fsnotify/fsnotify adds 99,800 bytes to linux-mipsle, packed with
// xz (Go 1.26); this package has 4,900 before packing.
package filewatch

// Event says what happened to a watched path.
type Event uint8

const (
	// Changed means that something happened that may have changed the file,
	// or a file in the directory. The file may still be incomplete.
	Changed Event = iota
	// Replaced means that a file was renamed to the watched path, or a
	// directory or a symbolic link to a part of it. Its writer is done with it.
	Replaced
)
