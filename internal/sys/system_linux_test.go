//go:build linux && !portable

package sys

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestMemoryLimit compares with what the kernel shows as text.
func TestMemoryLimit(t *testing.T) {
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(meminfo), "MemTotal:")
	var machine uint64
	if _, err := fmt.Sscanf(after, "%d kB", &machine); err != nil {
		t.Fatal(err)
	}
	machine <<= 10
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil && !os.IsNotExist(err) { // a kernel may have no control groups
		t.Fatal(err)
	}
	got, want := MemoryLimit(), leastLimit(machine, string(groups), "/sys/fs/cgroup")
	if strconv.IntSize == 32 && got < want {
		want &= 1<<32 - 1 // an emulator cuts what the kernel would count in larger units
	}
	if got != want {
		t.Errorf("got %d, want %d", got, want)
	}
}

// TestAtomicFileName checks that the name can stand in a log line.
func TestAtomicFileName(t *testing.T) {
	if got, want := NewAtomicFile("/a/b\n.prom").Name(), `"/a/b\n.prom"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestLeastLimit reads trees of control groups as the kernel mounts them.
func TestLeastLimit(t *testing.T) {
	const machine = 64 << 20
	v1 := "5:cpu,cpuacct:/a/b\n4:hugetlb,memory:/a/b\n1:name=systemd:/a/b\n"
	for _, c := range []struct {
		name    string
		machine uint64
		groups  string
		files   map[string]string
		want    uint64
	}{
		{name: "nothing is known"},
		{name: "the machine", machine: machine, groups: "0::/\n", want: machine},
		{name: "v2", machine: machine, groups: "0::/a/b\n", files: map[string]string{"a/b/memory.max": "33554432\n"}, want: 32 << 20},
		{name: "v2, no limit", machine: machine, groups: "0::/a/b\n", files: map[string]string{"a/b/memory.max": "max\n"}, want: machine},
		{name: "v2, more than the machine", machine: machine, groups: "0::/a\n", files: map[string]string{"a/memory.max": "134217728\n"}, want: machine},
		{name: "v2, the machine is unknown", groups: "0::/a\n", files: map[string]string{"a/memory.max": "134217728\n"}, want: 128 << 20},
		{name: "v2, a group above", machine: machine, groups: "0::/a/b/c\n",
			files: map[string]string{"a/b/c/memory.max": "max\n", "a/b/memory.max": "20971520\n", "a/memory.max": "33554432\n"}, want: 20 << 20},
		{name: "v2, in a container", machine: machine, groups: "0::/\n", files: map[string]string{"memory.max": "33554432\n"}, want: 32 << 20},
		{name: "v2, another group", machine: machine, groups: "0::/a\n", files: map[string]string{"b/memory.max": "33554432\n"}, want: machine},
		{name: "v1", machine: machine, groups: v1, files: map[string]string{"memory/a/b/memory.limit_in_bytes": "33554432\n"}, want: 32 << 20},
		{name: "v1, no limit", machine: machine, groups: v1, files: map[string]string{"memory/a/b/memory.limit_in_bytes": "9223372036854771712\n"}, want: machine},
		{name: "v1, a group above", machine: machine, groups: v1,
			files: map[string]string{"memory/a/b/memory.limit_in_bytes": "33554432\n", "memory/a/memory.limit_in_bytes": "20971520\n"}, want: 20 << 20},
		{name: "v1, in a container that shows its group as the root", machine: machine, groups: "4:memory:/docker/0123\n",
			files: map[string]string{"memory/memory.limit_in_bytes": "33554432\n"}, want: 32 << 20},
		{name: "v1 and an empty v2", machine: machine, groups: v1 + "0::/\n",
			files: map[string]string{"memory/a/b/memory.limit_in_bytes": "33554432\n", "unified/memory.max": "4096\n"}, want: 32 << 20},
		{name: "v1 without memory", machine: machine, groups: "5:cpu:/a\n", files: map[string]string{"memory/a/memory.limit_in_bytes": "33554432\n"}, want: machine},
		{name: "not a number", machine: machine, groups: "0::/a\n", files: map[string]string{"a/memory.max": "-1\n"}, want: machine},
		{name: "a number and more", machine: machine, groups: "0::/a\n", files: map[string]string{"a/memory.max": "33554432 \n"}, want: machine},
		{name: "without a newline", machine: machine, groups: "0::/a\n", files: map[string]string{"a/memory.max": "30910987"}, want: 30910987},
		{name: "empty", machine: machine, groups: "0::/a\n", files: map[string]string{"a/memory.max": ""}, want: machine},
		{name: "zero", machine: machine, groups: "0::/a\n", files: map[string]string{"a/memory.max": "0\n"}, want: machine},
		{name: "not the format", machine: machine, groups: "memory\n\n::\n", want: machine},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range c.files {
				path := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got := leastLimit(c.machine, c.groups, root); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}
