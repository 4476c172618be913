//go:build linux && system

package boards

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// machines are boards of qemu with Debian's kernels for them.
var machines = []struct {
	name, target string
	arch, kernel string // Debian's architecture and package
	env          []string
	qemu         []string
	console      string
}{
	{
		name: "malta-24Kc", target: "linux-mipsle", arch: "mipsel", kernel: "linux-image-4kc-malta",
		env:     []string{"GOARCH=mipsle", "GOMIPS=softfloat"},
		qemu:    []string{"qemu-system-mipsel", "-M", "malta", "-cpu", "24Kc", "-m", "64", "-vga", "none"},
		console: "ttyS0",
	},
	{
		name: "virt-cortex-a53", target: "linux-arm64", arch: "arm64", kernel: "linux-image-cloud-arm64",
		env:     []string{"GOARCH=arm64"},
		qemu:    []string{"qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a53", "-m", "256"},
		console: "ttyAMA0",
	},
	{
		name: "virt-cortex-a7", target: "linux-armv7", arch: "armhf", kernel: "linux-image-armmp",
		env:     []string{"GOARCH=arm", "GOARM=7"},
		qemu:    []string{"qemu-system-arm", "-M", "virt", "-cpu", "cortex-a7", "-m", "128"},
		console: "ttyAMA0",
	},
}

// TestSystem boots real kernels with the released binary as their only service,
// and checks it.
func TestSystem(t *testing.T) {
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range machines {
		t.Run(m.name, func(t *testing.T) {
			for _, tool := range []string{m.qemu[0], "cpio", "apt-get", "dpkg-deb"} {
				if _, err := exec.LookPath(tool); err != nil {
					skip(t, tool+" is not installed")
				}
			}
			kernel := filepath.Join(cache, "pico-tracker-boards", m.arch)
			if out, err := exec.Command("./kernel", m.arch, m.kernel, kernel).CombinedOutput(); err != nil {
				skip(t, m.kernel+" can't be had: "+string(out))
			}
			dir := t.TempDir()
			binary := build(t, m.target)[0]
			copyFile(t, binary, filepath.Join(dir, "pico-tracker"))
			compile := exec.Command("go", "test", "-c", "-tags", "system", "-ldflags", "-s -w", "-o", filepath.Join(dir, "init"), ".")
			compile.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux"), m.env...)
			run(t, compile)
			// The kernel needs /dev/console for its first process.
			pack := exec.Command("sh", "-c", "mkdir dev && mknod dev/console c 5 1 && find dev init pico-tracker | cpio --quiet -o -H newc >initramfs")
			pack.Dir = dir
			run(t, pack)

			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
			defer cancel()
			began := time.Now()
			boot := exec.CommandContext(ctx, m.qemu[0], append(m.qemu[1:], "-nographic", "-nic", "none", "-no-reboot",
				// An instruction takes 2 ns of the machine's
				// time, as on a processor with 500 MHz. So
				// processor times are the same on each host.
				"-icount", "shift=1,sleep=off",
				"-kernel", filepath.Join(kernel, "vmlinuz"), "-initrd", filepath.Join(dir, "initramfs"),
				"-append", "console="+m.console+" rdinit=/init panic=-1 nokaslr")...)
			out, err := boot.CombinedOutput()
			var said []string
			for _, line := range strings.Split(string(out), "\n") {
				if _, v, ok := strings.Cut(strings.TrimSpace(line), verdict); ok {
					said = append(said, v)
				}
			}
			t.Logf("%.1f s\n%s", time.Since(began).Seconds(), strings.Join(said, "\n"))
			if err != nil || len(said) == 0 || said[len(said)-1] != "all is well" {
				t.Fatalf("%v, %v\n%s", err, ctx.Err(), out)
			}
		})
	}
}

func run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}
