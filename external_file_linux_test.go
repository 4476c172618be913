//go:build linux && !portable

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestExternalFileFollowed checks that the program follows the file without a
// signal, and that -status shows the address.
func TestExternalFileFollowed(t *testing.T) {
	dir := t.TempDir()
	path, stats := filepath.Join(dir, "run", "address"), filepath.Join(dir, "tracker.prom")
	p := startProgram(t, "-external-ip", path, "-stats", stats, "-stats-interval", "1s")
	// The directory and the file come later, as with another service.
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, ip := range []string{"203.0.113.7", "203.0.113.8"} {
		writeFile(t, path+".new", ip+":40000\n")
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		p.log.await(t, nil, "external IPv4 address: "+ip+", public port 40000")
		sample := fmt.Sprintf("pico_tracker_external_info{family=\"ipv4\",address=\"%s:40000\"} 1\n", ip)
		report := awaitReport(t, stats, func(r string) bool { return strings.Contains(r, sample) })
		if got := summaryText(report); !strings.Contains(got, "; external "+ip+":40000") {
			t.Errorf("-status: got %q, want the address in it", got)
		}
	}
}
