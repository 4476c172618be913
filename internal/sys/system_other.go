//go:build !linux || portable

package sys

import (
	"crypto/rand"
	"errors"
	"os"
	"strconv"
)

// MemoryLimit is how many bytes the process may use; here it is unknown.
func MemoryLimit() uint64 { return 0 }

// DeclineHugePages does nothing here.
func DeclineHugePages() {}

// Random fills b from the system's random source.
func Random(b []byte) error {
	_, err := rand.Read(b)
	return err
}

// File is a file open for reading.
type File struct{ *os.File }

func Open(path string) (File, error) {
	f, err := os.Open(path)
	return File{f}, err
}

// FileState tells a file from what it was before. Inodes are not to be had
// everywhere: time and size have to do.
type FileState struct {
	Seconds, Nanoseconds int64 // of its last change
	Size                 int64

	mode os.FileMode
}

func (f File) Stat() (FileState, error) {
	return stateOf(f.File.Stat())
}

func Stat(path string) (FileState, error) {
	return stateOf(os.Stat(path))
}

// IsRegular reports whether path, or the file that it links to, is a regular
// file.
func IsRegular(path string) (bool, error) {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular(), err
}

func stateOf(fi os.FileInfo, err error) (FileState, error) {
	if err != nil {
		return FileState{}, err
	}
	t := fi.ModTime()
	return FileState{Seconds: t.Unix(), Nanoseconds: int64(t.Nanosecond()), Size: fi.Size(), mode: fi.Mode()}, nil
}

// AtomicFile is a file that is written under another name and then renamed over
// the old file.
type AtomicFile struct{ path string }

func NewAtomicFile(path string) *AtomicFile { return &AtomicFile{path} }

// Write replaces the content of the file. Its errors do not name a path, because
// that would be the path of the temporary file.
func (r *AtomicFile) Write(b []byte) error {
	err := r.replace(b)
	if cause := errors.Unwrap(err); cause != nil {
		return cause
	}
	return err
}

func (r *AtomicFile) replace(b []byte) error {
	if err := r.Check(); err != nil {
		return err
	}
	temporary := r.path + ".new"
	os.Remove(temporary) // a file from before a power cut, or of another user
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Chmod(temporary, 0o644) // whatever the umask
	}
	if err == nil {
		err = os.Rename(temporary, r.path)
	}
	if err != nil {
		os.Remove(temporary)
	}
	return err
}

// Remove removes the file.
func (r *AtomicFile) Remove() {
	if r.Check() == nil {
		os.Remove(r.path)
	}
}

// Check returns ErrNotRegular if the path is something else than a regular file
// or nothing: to replace a device would destroy it.
func (r *AtomicFile) Check() error {
	fi, err := os.Lstat(r.path)
	if err == nil && !fi.Mode().IsRegular() {
		return ErrNotRegular
	}
	return nil
}

// Name returns the path of the file, quoted.
func (r *AtomicFile) Name() string { return strconv.Quote(r.path) }

// FileLimit is not known here.
func FileLimit() uint64 { return 1 << 63 }

// What standard output and standard error are is not known here.
func IsTerminal() bool      { return false }
func IsJournal(string) bool { return false }
func SeparatePipes() bool   { return false }
