package main

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// This file tests the program in a separate process: signals and a closed log. It is for one processor only, because an emulated test binary
// cannot start itself.

// process is a process of the program, with its log.
type process struct {
	*exec.Cmd
	log   *os.File
	ended chan error
}

func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), processArgs+"="+strings.Join(args, "\n"))
	return startCommand(t, cmd)
}

// startCommand starts a command of which the test reads standard error.
func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd, r, make(chan error, 1)}
	p.Stderr = w
	err = p.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.Wait() }()
	t.Cleanup(func() {
		_ = p.Process.Kill() // if it has not ended
		r.Close()
	})
	return p
}

// await waits until the process has logged text.
func (p *process) await(t *testing.T, text string) {
	t.Helper()
	if err := p.log.SetReadDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(p.log); lines.Scan(); {
		if strings.Contains(lines.Text(), text) {
			return
		}
	}
	t.Fatalf("got no log line with %q", text)
}

// signal sends a signal and waits until it is delivered.
func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	path := "/proc/" + strconv.Itoa(p.Process.Pid) + "/status"
	for end := time.Now().Add(deadline); ; {
		text, err := os.ReadFile(path)
		if err != nil || strings.Contains(string(text), "ShdPnd:\t0000000000000000\n") {
			return // delivered, or the process has ended
		}
		if time.Now().After(end) {
			t.Fatalf("%v is still pending", s)
		}
	}
}

// code waits until the process ends, and returns its exit code.
func (p *process) code(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(deadline):
		t.Fatalf("the process still runs after %v", deadline)
	}
	return p.ProcessState.ExitCode()
}

// TestLogGone checks that the tracker runs until SIGTERM after its log was closed.
func TestLogGone(t *testing.T) {
	p := startProcess(t, "-listen", "127.0.0.1", "-port", strconv.Itoa(int(freePort(t))), "-memory", "8M")
	p.await(t, "[INFO] memory ")
	p.log.Close()
	p.signal(t, syscall.SIGTERM) // it writes a log line for this signal
	if code := p.code(t); code != exitOK {
		t.Errorf("got exit code %d (%v), want %d", code, p.ProcessState, exitOK)
	}
}

// TestSignalsWhileStarting checks that no signal is lost during the start. The
// start waits, because the access list is a pipe without a writer.
func TestSignalsWhileStarting(t *testing.T) {
	list := filepath.Join(t.TempDir(), "list")
	if err := syscall.Mkfifo(list, 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProcess(t, "-listen", "127.0.0.1", "-port", strconv.Itoa(int(freePort(t))), "-memory", "8M", "-whitelist", list)
	p.await(t, "listening on ")
	for range 10 {
		p.signal(t, syscall.SIGUSR1)
		p.signal(t, syscall.SIGHUP)
	}
	p.signal(t, syscall.SIGTERM)
	go func() { _ = os.WriteFile(list, []byte(digits(1)), 0o600) }()
	p.await(t, "stopping: terminated")
	if code := p.code(t); code != exitOK {
		t.Errorf("got exit code %d (%v), want %d", code, p.ProcessState, exitOK)
	}
}

// TestProbeBrokenOff checks that the user can interrupt a probe.
func TestProbeBrokenOff(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p := startProcess(t, "-probe", conn.LocalAddr().String())
	if _, _, err := conn.ReadFrom(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	p.signal(t, os.Interrupt)
	if code := p.code(t); code != exitFailure {
		t.Errorf("got exit code %d (%v), want %d", code, p.ProcessState, exitFailure)
	}
	if text, err := io.ReadAll(p.log); err != nil || len(text) > 0 {
		t.Errorf("got log %q, %v, want no log: the probe ended by itself", text, err)
	}
}
