package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"unsafe"
)

// TestFlagsEverywhere checks that each list of flags or variables has all of them
// and nothing else.
func TestFlagsEverywhere(t *testing.T) {
	var names, variables, settings []string
	for i := range options {
		o := &options[i]
		name := "-" + o.name
		if o.short != "" {
			name += " -" + o.short
		}
		names = append(names, name)
		if o.group == groupCommands {
			continue
		}
		variables = append(variables, variableName(o.name))
		switch o.name {
		case "secret", "secret-file": // the service's are fixed
		default:
			settings = append(settings, variableName(o.name))
		}
	}
	for _, c := range []struct {
		file, pattern string // the groups are what is listed
		want          []string
	}{
		{file: "README.md", pattern: "(?m)^\\| `(-[a-z-]+)`(?:, `(-[a-z])`)? \\|", want: names},
		{file: "README.md", pattern: "(?m)^\\| `-.*\\| `(PICO_TRACKER__[A-Z_]+)`(?:, `DEBUG`)? \\|", want: variables},
		{file: "packaging/pico-tracker.8", pattern: `(?m)^\\fB(\\-[a-z\\-]+)\\fR(?:, \\fB(\\-[a-z])\\fR)?(?: \\fI[A-Z]+\\fR)?$`, want: names},
		{file: "packaging/debian/default", pattern: `(?m)^#(PICO_TRACKER__[A-Z_]+)=.`, want: settings},
	} {
		text, err := os.ReadFile(c.file)
		if err != nil {
			t.Fatal(err)
		}
		left := map[string]bool{}
		for _, w := range c.want {
			left[w] = true
		}
		for _, m := range regexp.MustCompile(c.pattern).FindAllStringSubmatch(string(text), -1) {
			found := strings.TrimSpace(strings.ReplaceAll(strings.Join(m[1:], " "), `\-`, "-"))
			if !left[found] {
				t.Errorf("%s has %q, which is none or there twice", c.file, found)
			}
			delete(left, found)
		}
		for w := range left {
			t.Errorf("%s lacks %s", c.file, w)
		}
	}
}

// TestMemoryDocument compares the sizes in docs/memory.md with the code.
func TestMemoryDocument(t *testing.T) {
	text, err := os.ReadFile("docs/memory.md")
	if err != nil {
		t.Fatal(err)
	}
	var leaves []string
	for c := classLeaf; c <= maxLeaf; c++ {
		leaves = append(leaves, fmt.Sprint(c.units()*granule))
	}
	for what, size := range map[string]any{
		"page": pageSize, "entry of a page in the table of pages": unsafe.Sizeof(page{}),
		"record of a torrent, with up to four IPv4 peers, or one IPv6 and two IPv4": unsafe.Sizeof(torrent{}),
		"entry of a torrent in the table of torrents":                               bucketBytes,
		"leaf: peers of a larger swarm, by their number":                            strings.Join(leaves, ", "),
		"head of a leaf": unsafe.Sizeof(leaf{}),
		"IPv4 peer: address, port, age and flags": unsafe.Sizeof(peer[key4]{}),
		"IPv6 peer": unsafe.Sizeof(peer[key6]{}),
		"node above the leaves, with 8 references": unsafe.Sizeof(node{}),
	} {
		if row := fmt.Sprintf("| %s | %v |\n", what, size); !strings.Contains(string(text), row) {
			t.Errorf("docs/memory.md lacks %s", row)
		}
	}
	largest := fmt.Sprintf("The largest leaf has %d IPv4 or %d IPv6 peers.", leafCap[key4](maxLeaf), leafCap[key6](maxLeaf))
	if !strings.Contains(string(text), largest) {
		t.Errorf("docs/memory.md lacks %q", largest)
	}
}
