//go:build !linux || portable

package sys

import (
	"encoding/binary"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fabricionaweb/pico-tracker/internal/siphash"
)

// IsRegular reports whether it is a regular file.
func (s *FileState) IsRegular() bool { return s.mode.IsRegular() }

// IsDirectory reports whether it is a directory.
func (s *FileState) IsDirectory() bool { return s.mode.IsDir() }

// IsPipe reports whether it is a pipe, with or without a name.
func (s *FileState) IsPipe() bool { return s.mode&fs.ModeNamedPipe != 0 }

// Replaced is not known on this system.
func (s *FileState) Replaced(*FileState) bool { return false }

// Directory is a FileState of a directory that is the same for all directories.
func (s *FileState) Directory() FileState { return FileState{mode: fs.ModeDir} }

// Key returns a number that differs between files, and when the time or the size
// of one changes. name is the name of the file.
func (s *FileState) Key(name string) uint64 {
	var b [24]byte
	for i, v := range [...]uint64{uint64(s.Seconds), uint64(s.Nanoseconds), uint64(s.Size)} {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}
	return siphash.Key{}.Sum(append(b[:], name...))
}

// OpenAtOnce opens a file for reading.
func OpenAtOnce(path string) (File, error) { return Open(path) }

// EachEntry calls f with the name of each file in a directory.
func EachEntry(path string, f func(name string) error) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(100)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
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
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Chmod(like.mode.Perm())
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
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
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	return path
}

// Rename renames a file, over another one if there is one.
func Rename(from, to string) error { return os.Rename(from, to) }

// Remove removes a file.
func Remove(path string) { _ = os.Remove(path) }
