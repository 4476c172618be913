//go:build !portable && !cgo

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/sandbox"
	"github.com/fabricionaweb/pico-tracker/internal/sandbox/sandboxtest"
	"github.com/fabricionaweb/pico-tracker/internal/sdnotify/notifytest"
)

// This file tests the program in its sandbox. It runs in a separate process,
// because a sandbox cannot be left.

// Environment variables of such a process.
const (
	strictEnv = "PICO_TEST_STRICT" // a system call that is not listed ends it
	attackEnv = "PICO_TEST_ATTACK" // after SIGUSR2 it tries what the sandbox must refuse
)

func init() {
	beforeMain = func() {
		strictSandbox = os.Getenv(strictEnv) != ""
		if os.Getenv(attackEnv) == "" {
			return
		}
		attack := make(chan os.Signal, 1)
		signal.Notify(attack, syscall.SIGUSR2)
		go func() {
			<-attack
			fmt.Fprintf(os.Stderr, "attack: %v\n", sandboxtest.Try(sandbox.SystemCalls|sandbox.Files|sandbox.Capabilities))
		}()
	}
}

// sandboxed is a process of the program in its sandbox.
type sandboxed struct {
	*exec.Cmd
	t     *testing.T
	log   *logLines
	port  string
	ended chan struct{}
}

// startSandboxed starts the program. It skips the test if the kernel cannot do
// everything.
func startSandboxed(t *testing.T, env []string, args ...string) *sandboxed {
	t.Helper()
	p := &sandboxed{Cmd: exec.Command(os.Args[0]), t: t, log: &logLines{}, port: strconv.Itoa(int(freePort(t))), ended: make(chan struct{})}
	args = append([]string{"-listen", "127.0.0.1,[::1]", "-memory", "16M", "-workers", "2", "-port", p.port}, args...)
	p.Env = append(append(os.Environ(), processArgs+"="+strings.Join(args, "\n")), env...)
	p.Stderr = p.log
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.Wait() // the test looks at ProcessState
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill() // if it has not ended
		<-p.ended
		if t.Failed() {
			t.Log(p.log.String())
		}
	})
	p.await("[INFO] memory ")
	return p
}

// await waits until the log has text.
func (p *sandboxed) await(text string) {
	p.t.Helper()
	if !p.log.await(p.t, p.ended, text) {
		p.t.Fatalf("it ended (%v) before the log had %q", p.ProcessState, text)
	}
}

// requireAll skips the test if the kernel lacks a part of the sandbox. A program with
// cgo, as the race detector needs it, has no sandbox.
func (p *sandboxed) requireAll() {
	p.t.Helper()
	if !strings.Contains(p.log.String(), "[INFO] sandbox: system calls, files, capabilities") {
		p.t.Skip("not everything is in force")
	}
}

// signal sends a signal.
func (p *sandboxed) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// serves checks that the program answers.
func (p *sandboxed) serves(hash string) {
	p.t.Helper()
	for _, address := range []string{"127.0.0.1:", "[::1]:"} {
		out := &logLines{}
		if code := run(make(chan os.Signal), []string{"-probe", address + p.port, "-probe-scrape", hash, "-probe-announce", hash}, nil, out, out); code != 0 {
			p.t.Errorf("-probe %s%s: exit code %d\n%s", address, p.port, code, out)
		}
	}
}

// stop ends the program and checks its exit code.
func (p *sandboxed) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	<-p.ended
	if code := p.ProcessState.ExitCode(); code != exitOK {
		p.t.Errorf("got exit code %d (%v), want %d", code, p.ProcessState, exitOK)
	}
}

// replace puts a file in the place of another one.
func replace(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path+"~", []byte(text), 0o644), os.Rename(path+"~", path)); err != nil {
		t.Fatal(err)
	}
}

// TestSandboxedProgram checks that everything works in the sandbox. A system call
// that the list lacks would end the program.
func TestSandboxedProgram(t *testing.T) {
	for _, stats := range []bool{true, false} {
		t.Run("stats "+strconv.FormatBool(stats), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for _, name := range []string{"lists", "run"} {
				if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			next, state := notifytest.Listen(t, filepath.Join(dir, "notify"))
			list, external, report := filepath.Join(dir, "lists/list"), filepath.Join(dir, "run/later/address"), filepath.Join(dir, "run/statistics/x.prom")
			replace(t, list, digits(1))
			args := []string{"-whitelist", list, "-external-ip", external, "-debug"}
			if stats {
				args = append(args, "-stats", report, "-stats-interval", "1s", "-top", "5")
			}
			p := startSandboxed(t, []string{strictEnv + "=1", "NOTIFY_SOCKET=" + filepath.Join(dir, "notify"), "WATCHDOG_USEC=4000000"}, args...)
			if got := state(); got != "READY=1" {
				t.Errorf("got state %q, want READY=1", got)
			}
			p.requireAll()
			p.serves(digits(1))

			replace(t, list, digits(1)+"\n"+digits(2))
			p.await("whitelist " + list + ": 2 torrents")
			p.serves(digits(2))
			p.signal(syscall.SIGHUP)
			for got := ""; got != "RELOADING=1"; {
				got = state()
			}
			if err := os.Remove(list); err != nil {
				t.Fatal(err)
			}
			p.await("no such file; every torrent is refused")
			replace(t, list, digits(3)+"\n"+digits(4)+"\n"+digits(5))
			p.await("whitelist " + list + ": 3 torrents")

			// Directories that appear later.
			if err := os.Mkdir(filepath.Join(dir, "run/later"), 0o755); err != nil {
				t.Fatal(err)
			}
			replace(t, external, "203.0.113.7\n")
			p.await("external IPv4 address: 203.0.113.7")
			if stats {
				p.await("-stats " + strconv.Quote(report) + ": no such file or directory")
				if err := os.Mkdir(filepath.Join(dir, "run/statistics"), 0o755); err != nil {
					t.Fatal(err)
				}
				r := awaitReport(t, report, func(r string) bool { return sumSamples(r, "sandbox", "") == 3 })
				up := sumSamples(r, "uptime_seconds")
				awaitReport(t, report, func(r string) bool { return sumSamples(r, "uptime_seconds") > up })
			}
			// System calls that go on after a stop.
			p.signal(syscall.SIGSTOP)
			p.signal(syscall.SIGCONT)
			p.signal(syscall.SIGUSR1)
			p.await("] up ")
			p.serves(digits(3))
			if err := sandboxtest.Check(p.Process.Pid, sandbox.SystemCalls|sandbox.Files|sandbox.Capabilities); err != nil {
				t.Error(err)
			}
			for next() != "" {
				// The manager reads the states of the watchdog, so that the tracker need not wait.
			}
			p.stop()
			if _, err := os.Stat(report); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the report is left: %v", err)
			}
		})
	}
}

// TestSandboxListDirectory checks that a directory of lists may be removed and
// made again, and replaced by another one.
func TestSandboxListDirectory(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "torrents")
	fill := func(name string, hashes ...string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		replace(t, filepath.Join(dir, name, "a.list"), strings.Join(hashes, "\n"))
	}
	fill("torrents", digits(1))
	p := startSandboxed(t, []string{strictEnv + "=1"}, "-whitelist", list+"/")
	p.requireAll()
	if err := os.RemoveAll(list); err != nil {
		t.Fatal(err)
	}
	p.await("no such file; every torrent is refused")
	fill("torrents", digits(1), digits(2))
	p.await(": 2 torrents")
	fill("other", digits(1), digits(2), digits(3))
	if err := errors.Join(os.Rename(list, list+".old"), os.Rename(filepath.Join(dir, "other"), list)); err != nil {
		t.Fatal(err)
	}
	p.await(": 3 torrents")
	p.serves(digits(3))
	p.stop()
}

// TestSandboxLostDirectory checks the message if the directory of a list file is
// replaced, which the sandbox does not allow.
func TestSandboxLostDirectory(t *testing.T) {
	dir := t.TempDir()
	lists := filepath.Join(dir, "lists")
	list := filepath.Join(lists, "list")
	if err := os.Mkdir(lists, 0o755); err != nil {
		t.Fatal(err)
	}
	replace(t, list, digits(1))
	p := startSandboxed(t, nil, "-whitelist", list)
	p.requireAll()
	if err := errors.Join(os.Rename(lists, lists+".old"), os.Mkdir(lists, 0o755)); err != nil {
		t.Fatal(err)
	}
	replace(t, list, digits(1)+"\n"+digits(2))
	p.await("permission denied; the list that was read before stays in force (sandbox: if the directory was replaced, restart the tracker)")
	p.serves(digits(1))
	p.stop()
}

// TestSandboxRefuses checks, from inside a running tracker, that an attacker
// cannot do more than the tracker, and that the tracker goes on.
func TestSandboxRefuses(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "list")
	replace(t, list, digits(1))
	p := startSandboxed(t, []string{attackEnv + "=1"}, "-whitelist", list)
	p.requireAll()
	p.serves(digits(1))
	p.signal(syscall.SIGUSR2)
	p.await("attack: ")
	p.await("attack: <nil>\n")
	p.serves(digits(1))
	p.stop()
}

// TestSandboxFatalError checks that the Go runtime can say why it ends.
func TestSandboxFatalError(t *testing.T) {
	p := startSandboxed(t, []string{strictEnv + "=1", "GOTRACEBACK=all"})
	p.requireAll()
	p.signal(syscall.SIGQUIT)
	p.await("SIGQUIT: quit")
	<-p.ended
	if got := p.ProcessState.ExitCode(); got != 2 {
		t.Errorf("got exit code %d (%v), want 2", got, p.ProcessState)
	}
	if !strings.Contains(p.log.String(), "goroutine 1 ") {
		t.Error("the log has no goroutines")
	}
}

// TestSandboxOff checks that -sandbox off leaves everything as it is.
func TestSandboxOff(t *testing.T) {
	before, err := sandboxtest.Threads(os.Getpid(), "Seccomp")
	if err != nil {
		t.Fatal(err)
	}
	p := startSandboxed(t, nil, "-sandbox", "off")
	got, err := sandboxtest.Threads(p.Process.Pid, "Seccomp")
	if err != nil || len(got) == 0 {
		t.Fatalf("Seccomp: got %q, %v", got, err)
	}
	for _, mode := range got { // a thread of another test may have a filter
		if !slices.Contains(before, mode) {
			t.Errorf("Seccomp: got %q, want only those of %q", got, before)
		}
	}
	if text := p.log.String(); strings.Contains(text, "sandbox") {
		t.Error("the log mentions the sandbox")
	}
	p.stop()
}

// lowPort returns a free UDP port below 1024.
func lowPort(t *testing.T) string {
	t.Helper()
	for port := 1023; port > 1; port-- {
		conn, err := net.ListenPacket("udp", ":"+strconv.Itoa(port))
		if err == nil {
			conn.Close()
			return strconv.Itoa(port)
		}
	}
	t.Fatal("no port below 1024 is free")
	return ""
}

// TestSandboxCapabilities checks which capabilities root keeps, and that it reads a
// list that another user has put there meanwhile.
func TestSandboxCapabilities(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has capabilities")
	}
	const stranger = 12345
	mine, other, shared, shelf, closed := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	var errs []error
	for _, d := range []struct {
		path string
		uid  int
		mode os.FileMode
	}{{mine, 0, 0o755}, {other, stranger, 0o700}, {shared, 0, 0o777 | os.ModeSticky}, {shelf, 0, 0o755}, {closed, 0, 0o555}} {
		list := filepath.Join(d.path, "a.list")
		replace(t, list, digits(1))
		errs = append(errs, os.Chmod(list, 0o600), os.Chown(list, d.uid, d.uid), os.Chmod(d.path, d.mode), os.Chown(d.path, d.uid, d.uid))
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		want string
		uid  int // of the next list
	}{
		{name: "none", want: "0000000000000000"},
		{name: "files of root", args: []string{"-whitelist", mine + "/a.list", "-stats", mine + "/x.prom"}, want: "0000000000000000"},
		{name: "a list of another user", args: []string{"-whitelist", other + "/a.list"}, want: "0000000000000004", uid: stranger},
		{name: "a list that others may replace", args: []string{"-whitelist", shared + "/a.list"}, want: "0000000000000004", uid: stranger},
		{name: "a directory of lists", args: []string{"-whitelist", shelf}, want: "0000000000000004", uid: stranger},
		{name: "a directory of another user", args: []string{"-stats", other + "/x.prom"}, want: "0000000000000002"},
		{name: "a directory without the right to write", args: []string{"-stats", closed + "/x.prom"}, want: "0000000000000002"},
		{name: "an interface", args: []string{"-interface", "lo"}, want: "0000000000000000"},
		{name: "a low port", args: []string{"-port", lowPort(t)}, want: "0000000000000000"},
		{name: "an interface and a low port", args: []string{"-interface", "lo", "-port", lowPort(t)}, want: "0000000000000400"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := startSandboxed(t, []string{strictEnv + "=1"}, append(c.args, "-stats-interval", "1s")...)
			p.requireAll()
			for _, set := range []string{"CapEff", "CapPrm"} {
				if got, err := sandboxtest.Threads(p.Process.Pid, set); err != nil || strings.Join(got, ",") != c.want {
					t.Errorf("%s: got %q, %v, want %q", set, got, err, c.want)
				}
			}
			if len(c.args) > 0 && c.args[0] == "-whitelist" {
				list := strings.TrimSuffix(c.args[1], "/a.list") + "/a.list"
				next := list + "~"
				if err := errors.Join(os.WriteFile(next, []byte(digits(1)+"\n"+digits(2)), 0o600), os.Chown(next, c.uid, c.uid), os.Rename(next, list)); err != nil {
					t.Fatal(err)
				}
				p.await(": 2 torrents")
			}
			if strings.HasPrefix(strings.Join(c.args, " "), "-stats ") {
				awaitReport(t, c.args[1], func(r string) bool { return sumSamples(r, "uptime_seconds") > 0 })
			}
			p.stop()
		})
	}
}
