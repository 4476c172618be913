package main

import "io"

// This file owns what the two kinds of system agree on about files.

// maxFile is the most that readFile reads.
const maxFile = 64 << 10

// readFile is the beginning of a small file.
func readFile(path string) ([]byte, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}
