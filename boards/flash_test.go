//go:build linux

package boards

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestNoHeavyCode checks that the binary for a router has none of the code that is
// known to need much flash. The linker keeps it if only one function refers to
// it, or if a type with such a method is stored in an interface.
func TestNoHeavyCode(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "pico-tracker")
	build := exec.Command("go", "build", "-tags", "release", "-trimpath", "-buildvcs=false", "-o", binary, "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=mipsle", "GOMIPS=softfloat")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command("go", "tool", "nm", binary).Output()
	if err != nil {
		t.Fatal(err)
	}
	symbols := map[string]bool{}
	for _, line := range strings.Split(string(out), "\n") {
		if f := strings.Fields(line); len(f) == 3 {
			symbols[f[2]] = true
		}
	}
	if !symbols["main.main"] {
		t.Fatal("go tool nm lists no main.main")
	}
	for _, c := range []struct{ symbol, bytes, instead string }{
		{"fmt.Fprintf", "55,000", "strconv and a logger.Logger"},
		{"fmt.Sprint", "55,000", "strconv"},
		{"time.Time.String", "23,000", "internal/timer for time.NewTimer, time.After and time.NewTicker; no time.Time in a type that is stored in an interface"},
		{"os.(*File).Readdirnames", "4,000", "internal/sys"},
		{"errors.As", "6,500", "a type assertion"},
		{"strings.TrimSpace", "2,000", "textutil.TrimSpace"},
		{"bytes.TrimSpace", "2,000", "textutil.TrimSpace"},
		{"sync.(*WaitGroup).Wait", "1,200", "a channel"},
		{"net.Dial", "300,000", "golang.org/x/sys/unix"},
		{"log/slog.New", "125,000", "a logger.Logger"},
		{"math/big.NewInt", "30,000", "sys.Random instead of crypto/rand"},
	} {
		if symbols[c.symbol] {
			t.Errorf("got %s in the binary for mipsle: it takes %s bytes, packed; use %s", c.symbol, c.bytes, c.instead)
		}
	}
}
