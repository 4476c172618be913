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
