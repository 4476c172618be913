//go:build linux && !portable

package sys

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fabricionaweb/pico-tracker/internal/siphash"
)

// This file has what the access list asks of files and directories.

// IsRegular reports whether it is a regular file.
func (s *FileState) IsRegular() bool { return s.mode&unix.S_IFMT == unix.S_IFREG }

// IsDirectory reports whether it is a directory.
func (s *FileState) IsDirectory() bool { return s.mode&unix.S_IFMT == unix.S_IFDIR }

// IsPipe reports whether it is a pipe, with or without a name.
func (s *FileState) IsPipe() bool { return s.mode&unix.S_IFMT == unix.S_IFIFO }

// Replaced reports whether another file was moved to the place of the file
// before, after its content was complete. A false result means nothing.
func (s *FileState) Replaced(before *FileState) bool {
	return (s.Inode != before.Inode || s.Device != before.Device) &&
		(s.changedSeconds != s.Seconds || s.changedNanosecond != s.Nanoseconds)
}

// Directory is a FileState of a directory that is the same for all directories.
func (s *FileState) Directory() FileState { return FileState{mode: s.mode & unix.S_IFMT} }

// Key returns a number that differs between files, and when one changes. name is
// the name of the file.
func (s *FileState) Key(name string) uint64 {
	var b [56]byte
	for i, v := range [...]uint64{uint64(s.Seconds), uint64(s.Nanoseconds), uint64(s.Size), s.Device, s.Inode,
		uint64(s.changedSeconds), uint64(s.changedNanosecond)} {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}
	return siphash.Key{}.Sum(append(b[:], name...))
}

// OpenAtOnce opens a file for reading. It does not wait for the writer of a pipe.
func OpenAtOnce(path string) (File, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		if err != unix.EINTR {
			return File(fd), err
		}
	}
}

// EachEntry calls f with the name of each file in a directory. It holds 4 KiB of
// names at once, so that a directory may have any number of files.
func EachEntry(path string, f func(name string) error) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	buf := make([]byte, 4<<10)
	var names []string
	for {
		n, err := unix.ReadDirent(fd, buf)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n <= 0:
			return nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names[:0])
		for _, name := range names {
			if err := f(name); err != nil {
				return err
			}
		}
	}
}

// Create writes a new file with the mode of another one. It returns when the disk
// has the file.
func Create(path string, b []byte, like *FileState) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	err = writeAll(fd, b)
	if err == nil {
		err = unix.Fchmod(fd, like.mode&0o777)
	}
	if err == nil {
		err = unix.Fsync(fd)
	}
	if e := unix.Close(fd); err == nil {
		err = e
	}
	if err != nil {
		Remove(path)
	}
	return err
}

// FollowLinks returns the path of the file that path links to, or path itself if it
// is no symbolic link.
func FollowLinks(path string) string {
	target := make([]byte, 4096)
	for range 40 { // the kernel follows no more
		n, err := unix.Readlink(path, target)
		if err != nil || n == 0 || n == len(target) {
			break
		}
		if target[0] == '/' {
			path = ""
		}
		path = path[:strings.LastIndexByte(path, '/')+1] + string(target[:n])
	}
	return path
}

// Rename renames a file, over another one if there is one.
func Rename(from, to string) error { return unix.Rename(from, to) }

// Remove removes a file.
func Remove(path string) { _ = unix.Unlink(path) }
