//go:build linux && instructions

package boards

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// costs are the instructions that a request of BenchmarkHandle may take on each
// processor, measured with Go 1.26.8. A change that needs 5 % more on one of them
// fails. If a change needs less, lower the number here.
var costs = map[string][5]int{
	// announce, announce with a forgotten ID, connect, scrape, signature
	"linux-mips":    {7010, 20620, 13330, 1750, 12750},
	"linux-mipsle":  {7090, 20700, 13490, 1760, 12760},
	"linux-armv5":   {5930, 15050, 9090, 1560, 8490},
	"linux-armv7":   {5900, 15020, 9070, 1560, 8490},
	"linux-arm64":   {3680, 5610, 1620, 670, 1390},
	"linux-riscv64": {4550, 15530, 10860, 1060, 10500},
	"linux-s390x":   {3240, 14140, 10830, 690, 10540},
}

var requests = [5]string{
	"action=announce/family=v4/peers=1000", "action=announce-unremembered/family=v4/peers=1000",
	"action=connect/family=v4", "action=scrape/family=v4", "action=sign/family=v4",
}

// TestInstructions counts the instructions of requests on each processor.
func TestInstructions(t *testing.T) {
	dir := t.TempDir()
	plugin := filepath.Join(dir, "count.so")
	if _, err := exec.LookPath("gcc"); err != nil {
		skip(t, "gcc is not installed")
	}
	output(t, exec.Command("gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", plugin, "plugin/count.c"))
	for _, p := range processors {
		t.Run(p.target, func(t *testing.T) {
			t.Parallel()
			// A static qemu-user has no plugins.
			qemu, err := exec.LookPath("qemu-" + p.qemu)
			if err != nil {
				skip(t, "no qemu-"+p.qemu)
			}
			binary := filepath.Join(dir, p.target)
			compile := exec.Command("go", "test", "-c", "-o", binary, "..")
			compile.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux"), p.env...)
			output(t, compile)
			for i, request := range requests {
				const times = 10000
				got := 1 << 30
				most := costs[p.target][i] * 21 / 20
				// The Go runtime sometimes does other work at the
				// same time.
				for try := 0; try < 3 && got > most; try++ {
					cmd := exec.Command(qemu, "-plugin", fmt.Sprintf("%s,mark=%d", plugin, p.getppid), binary, "-test.run", "^$",
						"-test.bench", "^BenchmarkHandle$/^"+strings.ReplaceAll(request, "/", "$/^")+"$", "-test.benchtime", fmt.Sprint(times)+"x")
					// One thread and no garbage collector, so that
					// only the request is counted.
					cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=off")
					if p.cpu != "" {
						cmd.Env = append(cmd.Env, "QEMU_CPU="+p.cpu)
					}
					// The benchmark runs once, and then as often as
					// the flag says. The last number is for the
					// second run.
					counted := strings.Split(output(t, cmd), "instructions: ")
					number, _, _ := strings.Cut(counted[len(counted)-1], "\n")
					n, err := strconv.Atoi(number)
					if err != nil || len(counted) != 5 {
						t.Fatalf("the plugin counts %q", counted)
					}
					got = min(got, n/times)
				}
				t.Logf("%-54s %6d", request, got)
				if got > most {
					t.Errorf("%s: %d instructions, want at most %d", request, got, most)
				}
			}
		})
	}
}

// output returns what a command prints. The command must succeed.
func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return string(out)
}
