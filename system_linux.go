//go:build linux && !portable

package main

import (
	"bytes"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// This file owns what the tracker asks the system about itself.

// memoryLimit is how many bytes the process may use: the least of the limits
// of its control groups, v1 or v2, and of the machine's memory. 0 is unknown.
func memoryLimit() uint64 {
	limit := uint64(0)
	least := func(n uint64) {
		if n > 0 && (limit == 0 || n < limit) {
			limit = n
		}
	}
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) == nil {
		least(uint64(si.Totalram) * uint64(max(si.Unit, 1)))
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return limit
	}
	for _, line := range strings.Split(string(groups), "\n") {
		// hierarchy:controllers:path, with no controllers for v2
		f := strings.SplitN(line, ":", 3)
		if len(f) != 3 {
			continue
		}
		root, file := "/sys/fs/cgroup", "/memory.max"
		if f[1] != "" {
			if !strings.Contains(","+f[1]+",", ",memory,") {
				continue
			}
			root, file = "/sys/fs/cgroup/memory", "/memory.limit_in_bytes"
		}
		for path := f[2]; ; path = path[:strings.LastIndexByte(path, '/')] {
			if b, err := os.ReadFile(root + path + file); err == nil {
				n, err := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 64)
				if err == nil { // "max" is no number, and no limit
					least(n)
				}
			}
			if !strings.Contains(path, "/") {
				break
			}
		}
	}
	return limit
}
