//go:build linux

package boards

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// processors are the processors that the binary runs on under qemu-user. cpu is
// a model without the features that the target must not use. env is the
// environment of the build.
var processors = []struct {
	target, qemu, cpu string
	env               []string
	getppid           int // the number of that system call
}{
	{target: "linux-mips", qemu: "mips", cpu: "24Kc", env: []string{"GOARCH=mips", "GOMIPS=softfloat"}, getppid: 4064},
	{target: "linux-mipsle", qemu: "mipsel", cpu: "24Kc", env: []string{"GOARCH=mipsle", "GOMIPS=softfloat"}, getppid: 4064},
	{target: "linux-armv5", qemu: "arm", cpu: "arm926", env: []string{"GOARCH=arm", "GOARM=5"}, getppid: 64},
	{target: "linux-armv7", qemu: "arm", cpu: "cortex-a7", env: []string{"GOARCH=arm", "GOARM=7"}, getppid: 64},
	{target: "linux-arm64", qemu: "aarch64", cpu: "cortex-a53", env: []string{"GOARCH=arm64"}, getppid: 173},
	{target: "linux-riscv64", qemu: "riscv64", env: []string{"GOARCH=riscv64"}, getppid: 173},
	{target: "linux-s390x", qemu: "s390x", env: []string{"GOARCH=s390x"}, getppid: 64},
}

// emulator returns the path of the qemu-user of a processor, or "".
func emulator(name string) string {
	for _, name := range []string{"qemu-" + name + "-static", "qemu-" + name} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// emulated is a command that runs a binary.
func emulated(qemu, cpu, binary string, args ...string) *exec.Cmd {
	cmd := exec.Command(qemu, append([]string{binary}, args...)...)
	if cpu != "" {
		cmd.Env = append(cmd.Environ(), "QEMU_CPU="+cpu)
	}
	return cmd
}

// TestEmulated checks that the released binary serves on each processor: both
// families, a reload of the access list, and a clean exit.
func TestEmulated(t *testing.T) {
	var targets []string
	for _, p := range processors {
		targets = append(targets, p.target)
	}
	binaries := build(t, targets...)
	for i, p := range processors {
		t.Run(p.target, func(t *testing.T) {
			t.Parallel()
			qemu := emulator(p.qemu)
			if qemu == "" {
				skip(t, "no qemu-"+p.qemu)
			}
			path := filepath.Join(t.TempDir(), "list")
			four, six, later := randomHash(), randomHash(), randomHash()
			if err := writeList(path, four, six); err != nil {
				t.Fatal(err)
			}
			tracker, err := launch(emulated(qemu, p.cpu, binaries[i],
				"-listen", "127.0.0.1,[::1]", "-workers", "2", "-memory", "16M", "-whitelist", path))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(tracker.kill)
			if err := converse(pair4, tracker.port, four); err != nil {
				t.Errorf("IPv4: %v\n%s", err, tracker.log())
			}
			if err := converse(pair6, tracker.port, six); err != nil {
				t.Errorf("IPv6: %v\n%s", err, tracker.log())
			}
			if err := tracker.checkReload(path, four, later); err != nil {
				t.Errorf("SIGHUP: %v\n%s", err, tracker.log())
			}
			if err := tracker.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestEmulatedWildcard checks that a reply leaves from the address that was
// asked. It does not run on big-endian MIPS, where the emulator swaps the bytes
// of the interface number.
func TestEmulatedWildcard(t *testing.T) {
	binaries := build(t, "linux-mipsle", "linux-armv5", "linux-arm64")
	for i, p := range []struct{ qemu, cpu string }{{"mipsel", "24Kc"}, {"arm", "arm926"}, {"aarch64", "cortex-a53"}} {
		t.Run(p.qemu, func(t *testing.T) {
			t.Parallel()
			qemu := emulator(p.qemu)
			if qemu == "" {
				skip(t, "no qemu-"+p.qemu)
			}
			tracker, err := launch(emulated(qemu, p.cpu, binaries[i], "-memory", "16M"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(tracker.kill)
			if err := converse(pair4, tracker.port, randomHash()); err != nil {
				t.Errorf("IPv4: %v", err)
			}
			if err := converse(pair6, tracker.port, randomHash()); err != nil {
				t.Errorf("IPv6: %v", err)
			}
			if err := tracker.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestMemoryBeyond32Bits checks that a -memory that 32 bits cannot address is a
// usage error.
func TestMemoryBeyond32Bits(t *testing.T) {
	binaries := build(t, "linux-mipsle", "linux-armv7")
	for i, p := range []struct{ qemu, cpu string }{{"mipsel", "24Kc"}, {"arm", "cortex-a7"}} {
		qemu := emulator(p.qemu)
		if qemu == "" {
			skip(t, "no qemu-"+p.qemu)
		}
		for _, size := range []string{"3G", "1025M", "4294967297", "1000000G"} {
			out, err := emulated(qemu, p.cpu, binaries[i], "-listen", "127.0.0.1", "-memory", size).CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), "-memory") || !strings.Contains(string(out), size) {
				t.Errorf("%s, -memory %s: %v, %q; want a usage error", p.qemu, size, err, out)
			}
		}
	}
}
