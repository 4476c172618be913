//go:build !portable

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
)

// limited starts the program with a limit of the shell's ulimit, such as "-n 8".
func limited(t *testing.T, limit string, args ...string) *process {
	t.Helper()
	// Files that this process got from its parent would count in the limit.
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range open {
		if fd, err := strconv.Atoi(f.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
	cmd := exec.Command("sh", "-c", "ulimit "+limit+" && exec \"$0\"", os.Args[0])
	// With go test -cover the program would open files of its own when it ends.
	cmd.Env = append(os.Environ(), processArgs+"="+strings.Join(args, "\n"), "GOCOVERDIR=")
	return startCommand(t, cmd)
}

// TestFewFiles checks that the program serves with every limit of open files,
// or ends with a message that has the limit and the number it needs. The
// runtime must not crash.
func TestFewFiles(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "list")
	writeFile(t, list, digits(1))
	try := func(workers, files, enough int) {
		t.Run(fmt.Sprintf("%d workers, %d files", workers, files), func(t *testing.T) {
			p := limited(t, "-n "+strconv.Itoa(files), "-listen", "127.0.0.1,[::1]", "-port", strconv.Itoa(int(freePort(t))), "-memory", "8M",
				"-workers", strconv.Itoa(workers), "-whitelist", list, "-external-ip", "auto", "-stats", filepath.Join(dir, "a.prom"))
			if err := p.log.SetReadDeadline(time.Now().Add(deadline)); err != nil {
				t.Fatal(err)
			}
			text, buf := "", make([]byte, 4096)
			for !strings.Contains(text, "[INFO] memory ") {
				n, err := p.log.Read(buf)
				text += string(buf[:n])
				if err != nil {
					break // it has ended
				}
			}
			serves := strings.Contains(text, "[INFO] memory ")
			if serves {
				p.signal(t, syscall.SIGTERM)
				if code := p.code(t); code != exitOK {
					t.Errorf("exit code %d after SIGTERM, want %d", code, exitOK)
				}
				rest, err := io.ReadAll(p.log)
				if err != nil {
					t.Fatal(err)
				}
				text += string(rest)
			} else if code := p.code(t); code != exitFailure || !strings.Contains(text, "[ERROR] ") || !strings.Contains(text, "this configuration needs "+strconv.Itoa(enough)) {
				t.Errorf("exit code %d, want %d and an error:\n%s", code, exitFailure, text)
			}
			if strings.Contains(text, "goroutine ") || strings.Contains(text, "fatal error") {
				t.Errorf("a crash:\n%s", text)
			}
			if serves != (files >= enough) || strings.Contains(text, "too many open files") {
				t.Errorf("it serves: %v\n%s", serves, text)
			}
		})
	}
	for _, c := range []struct{ workers, least int }{{workers: 1, least: 4}, {workers: 8, least: 30}} {
		enough := (&config{workers: c.workers, listen: make([]ipaddr.Addr, 2)}).filesNeeded()
		for files := c.least; files <= enough; files++ {
			try(c.workers, files, enough)
		}
	}
}

// TestManyWorkersFewThreads checks that the maximum of workers and addresses
// stays far below TasksMax of the systemd unit, because workers wait in the
// poller of the Go runtime and not in a system call.
func TestManyWorkersFewThreads(t *testing.T) {
	unit, err := os.ReadFile("systemd/pico-tracker.service")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(unit), "\nTasksMax=")
	most, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		t.Fatal(err)
	}
	addresses := make([]string, 8)
	for i := range addresses {
		addresses[i] = "127.0.2." + strconv.Itoa(i+1)
	}
	port := freePort(t)
	p := startProcess(t, "-listen", strings.Join(addresses, ","), "-port", strconv.Itoa(int(port)), "-workers", "64", "-memory", "256M")
	p.await(t, "[INFO] memory ")
	for _, a := range addresses {
		c := dialClient(t, a, port)
		for range 50 {
			if got := c.ask(connectRequest()); len(got) != 16 {
				t.Fatalf("%s: got %x", a, got)
			}
		}
	}
	threads, err := filepath.Glob("/proc/" + strconv.Itoa(p.Process.Pid) + "/task/*")
	if err != nil {
		t.Fatal(err)
	}
	if len(threads) > most/2 {
		t.Errorf("%d threads, want at most half of TasksMax=%d", len(threads), most)
	} else {
		t.Logf("%d threads of TasksMax=%d", len(threads), most)
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.code(t); code != exitOK {
		t.Errorf("exit code %d, want %d", code, exitOK)
	}
}

// TestSuspended stops the process with SIGSTOP. After SIGCONT it answers, and
// removes the peers of unknown age. TestGap does the same with a simulated
// clock.
func TestSuspended(t *testing.T) {
	port := freePort(t)
	p := startProcess(t, "-listen", "127.0.0.1", "-port", strconv.Itoa(int(port)), "-memory", "8M")
	p.await(t, "[INFO] memory ")
	c := dialClient(t, "127.0.0.1", port)
	c.ask(connectRequest())
	for range 5 {
		if err := p.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		p.awaitState(t, "T")
		c.send(connectRequest())
		if err := p.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if got := c.receive(); len(got) != 16 {
			t.Fatalf("after SIGCONT: got %x", got)
		}
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.code(t); code != exitOK {
		t.Errorf("exit code %d, want %d", code, exitOK)
	}
}

// awaitState waits until the process is in a state of /proc/PID/stat.
func (p *process) awaitState(t *testing.T, state string) {
	t.Helper()
	for end := time.Now().Add(deadline); ; {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(p.Process.Pid) + "/stat")
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(text), ") ")
		if strings.HasPrefix(after, state) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the process is in state %.1s, want %s", after, state)
		}
	}
}
