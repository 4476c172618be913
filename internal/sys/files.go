// Package sys has what the tracker needs from the operating system: files,
// memory, random bytes and facts about the process. On Linux it uses system calls
// directly, because package os brings deadlines, time zones and their parser:
// 40 KB of a router's flash. On other systems it uses package os.
package sys

import (
	"errors"
	"io"
	"io/fs"
)

// MaxFile is how many bytes ReadFile reads at most.
const MaxFile = 64 << 10

// ReadFile returns the beginning of a file.
func ReadFile(path string) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxFile))
}

var (
	ErrNoFile     = errors.New("no such file")
	ErrNotRegular = errors.New("this is not a regular file")
)

// ReadRegularFile returns the beginning of a small file. A pipe or a device is
// refused, because reading it may never end.
func ReadRegularFile(path string) ([]byte, error) {
	if err := CheckRegular(path); err != nil {
		return nil, err
	}
	return ReadFile(path)
}

// CheckRegular returns ErrNoFile or ErrNotRegular if path is not a regular file.
func CheckRegular(path string) error {
	regular, err := IsRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNoFile
	}
	if err == nil && !regular {
		return ErrNotRegular
	}
	return err
}
