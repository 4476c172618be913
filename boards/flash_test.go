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
		{symbol: "fmt.Fprintf", bytes: "55,000", instead: "strconv and a logger.Logger"},
		{symbol: "fmt.Sprint", bytes: "55,000", instead: "strconv"},
		{symbol: "time.Time.String", bytes: "23,000", instead: "internal/timer for time.NewTimer, time.After and time.NewTicker; no time.Time in a type that is stored in an interface"},
		{symbol: "os.(*File).Readdirnames", bytes: "4,000", instead: "internal/sys"},
		{symbol: "errors.As", bytes: "6,500", instead: "a type assertion"},
		{symbol: "strings.TrimSpace", bytes: "2,000", instead: "textutil.TrimSpace"},
		{symbol: "bytes.TrimSpace", bytes: "2,000", instead: "textutil.TrimSpace"},
		{symbol: "sync.(*WaitGroup).Wait", bytes: "1,200", instead: "a channel"},
		{symbol: "net.Dial", bytes: "300,000", instead: "golang.org/x/sys/unix"},
		{symbol: "log/slog.New", bytes: "125,000", instead: "a logger.Logger"},
		{symbol: "math/big.NewInt", bytes: "30,000", instead: "sys.Random instead of crypto/rand"},
	} {
		if symbols[c.symbol] {
			t.Errorf("got %s in the binary for mipsle: it takes %s bytes, packed; use %s", c.symbol, c.bytes, c.instead)
		}
	}
}
