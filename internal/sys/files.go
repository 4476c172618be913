package sys

import "io"

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
