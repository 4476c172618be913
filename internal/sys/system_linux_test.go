//go:build linux && !portable

package sys

import (
	"os"
	"path/filepath"
	"testing"
)

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
