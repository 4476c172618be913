//go:build !linux || portable

package main

import (
	"crypto/rand"
	"os"
)

// memoryLimit is how many bytes the process may use; here it is unknown.
func memoryLimit() uint64 { return 0 }

// declineHugePages does nothing here.
func declineHugePages() {}

// randomBytes fills b from the system's random source.
func randomBytes(b []byte) error {
	_, err := rand.Read(b)
	return err
}

// file is a file open for reading.
type file struct{ *os.File }

func openFile(path string) (file, error) {
	f, err := os.Open(path)
	return file{f}, err
}

// fileState tells a file from what it was before. Inodes are not to be had
// everywhere: time and size have to do.
type fileState struct {
	seconds, nanoseconds int64 // of its last change
	size                 int64
}

func (f file) stat() (fileState, error) {
	return stateOf(f.Stat())
}

func statFile(path string) (fileState, error) {
	return stateOf(os.Stat(path))
}

func stateOf(fi os.FileInfo, err error) (fileState, error) {
	if err != nil {
		return fileState{}, err
	}
	t := fi.ModTime()
	return fileState{seconds: t.Unix(), nanoseconds: int64(t.Nanosecond()), size: fi.Size()}, nil
}

// replacement is a file that is written under another name and then takes the
// place of the one that was there.
type replacement struct{ path string }

func newReplacement(path string) *replacement { return &replacement{path} }

func (r *replacement) write(b []byte) error {
	temporary := r.path + ".new"
	os.Remove(temporary) // what a power cut left, or a stranger put in the way
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

// remove removes the file.
func (r *replacement) remove() { os.Remove(r.path) }

// What standard output and standard error are is not known here.
func isTerminal() bool      { return false }
func isJournal(string) bool { return false }
func twoPipes() bool        { return false }
