package sys

import (
	"errors"
	"io"
	"io/fs"
)

// This file owns what the two kinds of system agree on about files.

// MaxFile is the most that readFile reads.
const MaxFile = 64 << 10

// ReadFile is the beginning of a small file.
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
// refused, because reading it may take for ever.
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
