//go:build linux && !portable

package filewatch

import (
	"encoding/binary"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fabricionaweb/pico-tracker/internal/textutil"
)

// This file watches a path with inotify. It watches the directory of each part
// of the path, because a file that is renamed to the path has another inode than
// the file before it.

const (
	// entryMask are the events of a directory that create, remove or replace
	// a name in it.
	entryMask = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO |
		unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
	// contentMask are the events of a file whose writer has closed it, or whose
	// owner or mode changed. There is no IN_MODIFY: it would report every
	// single write.
	contentMask = unix.IN_CLOSE_WRITE | unix.IN_ATTRIB

	// maxSteps limits how many parts of a path, including those of symbolic
	// links, are followed. The kernel follows 40 links.
	maxSteps = 64

	eventHeader = 16      // struct inotify_event without the name
	bufferSize  = 4 << 10 // holds at least 15 events with the longest name
	anyName     = "\x00"  // no file has this name
)

// watcher is one watched path.
type watcher struct {
	path  string
	fd    int
	file  *os.File
	names map[int32]names // by watch descriptor
}

// names says which entries of a watched directory matter.
type names struct {
	parts []string // parts of the path; after a change all must be watched again
	last  string   // the file itself, or anyName in a watched directory
}

// Watch calls changed after path changed, was created, removed or replaced, or
// if path is a directory, after a file in it did. Symbolic links in path are
// followed and watched. The path does not have to exist. changed runs in a
// goroutine of Watch: it must return quickly. It may be called without a change.
// stop ends it.
func Watch(path string, changed func(Event)) (stop func(), err error) {
	if !strings.HasPrefix(path, "/") {
		// os.Getwd would keep more of package os in the binary: 4 KB of flash.
		dir, err := unix.Getwd()
		if err != nil {
			return nil, err
		}
		path = dir + "/" + path
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	w := &watcher{path: path, fd: fd, file: os.NewFile(uintptr(fd), "inotify")}
	w.arm()
	go w.run(changed)
	return func() { _ = w.file.Close() }, nil
}

// run reports events until the file is closed.
func (w *watcher) run(changed func(Event)) {
	buf := make([]byte, bufferSize)
	for {
		n, err := w.file.Read(buf)
		if err != nil {
			return
		}
		matched, replaced, rearm := w.match(buf[:n])
		if rearm {
			w.arm()
		}
		switch {
		case replaced:
			changed(Replaced)
		case matched || rearm:
			changed(Changed)
		}
	}
}

// match reads events. rearm reports whether a part of the path changed.
func (w *watcher) match(b []byte) (matched, replaced, rearm bool) {
	for len(b) >= eventHeader {
		wd := int32(binary.NativeEndian.Uint32(b))
		mask := binary.NativeEndian.Uint32(b[4:])
		size := int(binary.NativeEndian.Uint32(b[12:]))
		if size > len(b)-eventHeader {
			return
		}
		name, _, _ := strings.Cut(string(b[eventHeader:eventHeader+size]), "\x00")
		b = b[eventHeader+size:]
		n, ok := w.names[wd]
		switch {
		case mask&unix.IN_Q_OVERFLOW != 0: // events are lost
			rearm = true
		case !ok || mask&unix.IN_IGNORED != 0: // an event of a watch that is gone
		case mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_UNMOUNT) != 0:
			rearm = true
		case n.last == anyName && name != "":
			matched = true
		case n.last == name && name != "":
			// It may have become a directory or a symbolic link.
			rearm = rearm || mask&entryMask != 0
			replaced = replaced || mask&unix.IN_MOVED_TO != 0
			matched = true
		case mask&entryMask != 0:
			for _, part := range n.parts {
				if part == name {
					rearm = true
					replaced = replaced || mask&unix.IN_MOVED_TO != 0
				}
			}
		}
	}
	return
}

// arm watches every directory on the way to the path. Directories that cannot
// be watched are left out.
func (w *watcher) arm() {
	before := w.names
	w.names = map[int32]names{}
	w.walk()
	for wd := range before {
		if _, ok := w.names[wd]; !ok {
			_, _ = unix.InotifyRmWatch(w.fd, uint32(wd)) // fails if the directory is gone
		}
	}
}

// walk follows the path from the root directory.
func (w *watcher) walk() {
	dir, rest := "/", w.path
	for step := 0; step < maxSteps; step++ {
		rest = textutil.TrimLeft(rest, "/")
		part, after, _ := strings.Cut(rest, "/")
		after = textutil.TrimLeft(after, "/")
		if part == "." {
			rest = after
			continue
		}
		if part == "" {
			w.add(dir, "", anyName)
			return
		}
		here := strings.TrimSuffix(dir, "/") + "/" + part
		if part == ".." {
			dir, rest = here, after
			continue
		}
		// Watch before looking: a change after the look is then reported.
		w.add(dir, part, "")
		target := make([]byte, unix.PathMax)
		n, err := unix.Readlink(here, target)
		if err == nil {
			rest = string(target[:n]) + "/" + after
			if target[0] == '/' {
				dir = "/"
			}
			continue
		}
		var st unix.Stat_t
		if unix.Stat(here, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if after == "" {
				w.add(dir, "", part) // a file, or nothing yet
			}
			return
		}
		dir, rest = here, after
	}
}

// add watches a directory for a part of the path, or for its last part.
func (w *watcher) add(dir, part, last string) {
	mask := uint32(entryMask | unix.IN_ONLYDIR | unix.IN_MASK_ADD)
	if last != "" {
		mask |= contentMask
	}
	wd, err := unix.InotifyAddWatch(w.fd, dir, mask)
	if err != nil {
		return
	}
	n := w.names[int32(wd)]
	if part != "" {
		n.parts = append(n.parts, part)
	}
	if last != "" { // the end of the walk
		n.last = last
	}
	w.names[int32(wd)] = n
}
