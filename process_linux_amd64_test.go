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

// The program as a process of its own, for what befalls one. Other processors'
// tests run under an emulator, which does not start itself.

const processArgs = "PICO_TEST_ARGS"

// TestMain is the program itself where a test has started it.
func TestMain(m *testing.M) {
	if args := os.Getenv(processArgs); args != "" {
		os.Args = append(os.Args[:1], strings.Split(args, "\n")...)
		main()
	}
	os.Exit(m.Run())
}

// process is the program, and what it logs.
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
	t.Fatalf("it doesn't log %q", text)
}

// signal sends a signal, and waits until the process has taken it.
func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	path := "/proc/" + strconv.Itoa(p.Process.Pid) + "/status"
	for end := time.Now().Add(deadline); ; {
		text, err := os.ReadFile(path)
		if err != nil || strings.Contains(string(text), "ShdPnd:\t0000000000000000\n") {
			return // taken, or ended by it
		}
		if time.Now().After(end) {
			t.Fatalf("%v is not taken", s)
		}
	}
}

// code waits until the process ends, and returns its exit code.
func (p *process) code(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(deadline):
		t.Fatal("it goes on")
	}
	return p.ProcessState.ExitCode()
}

// TestLogGone: the tracker goes on when nobody reads its log any more, until it
// is told to stop.
func TestLogGone(t *testing.T) {
	p := startProcess(t, "-listen", "127.0.0.1", "-port", strconv.Itoa(int(freePort(t))), "-memory", "8M")
	p.await(t, "[INFO] memory ")
	p.log.Close()
	p.signal(t, syscall.SIGTERM) // which it logs
	if code := p.code(t); code != exitOK {
		t.Errorf("exit %d: %v", code, p.ProcessState)
	}
}

// TestSignalsWhileStarting: none is lost, and the last is not the least. A list
// that nobody writes yet has it start for long.
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
		t.Errorf("exit %d: %v", code, p.ProcessState)
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
		t.Errorf("exit %d: %v", code, p.ProcessState)
	}
	if text, err := io.ReadAll(p.log); err != nil || len(text) > 0 {
		t.Errorf("it has waited to the end: %s, %v", text, err)
	}
}

// contextSwitches returns how often the threads of the process have waited. What
// other programs take from them does not count.
func (p *process) contextSwitches(t *testing.T) (n int) {
	t.Helper()
	tasks, err := filepath.Glob("/proc/" + strconv.Itoa(p.Process.Pid) + "/task/*/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range tasks {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		for _, line := range strings.Split(string(text), "\n") {
			if key, value, ok := strings.Cut(line, ":"); ok && key == "voluntary_ctxt_switches" {
				k, err := strconv.Atoi(strings.TrimSpace(value))
				if err != nil {
					t.Fatal(err)
				}
				n += k
			}
		}
	}
	return n
}

// TestSpacedRequests holds the mechanism of an idle tracker: a request wakes one
// thread, which waits again when it has answered. A thread that returns from a
// blocking system call would also wake the runtime's monitor thread, which then
// polls fifty times. The reply that has left wakes nobody.
func TestSpacedRequests(t *testing.T) {
	port := freePort(t)
	p := startProcess(t, "-listen", "127.0.0.1,[::1]", "-port", strconv.Itoa(int(port)), "-memory", "8M")
	p.await(t, "[INFO] memory ")
	for _, addr := range []string{"127.0.0.1", "::1"} {
		t.Run(addr, func(t *testing.T) {
			c := dialClient(t, addr, port)
			c.ask(connectRequest())
			const requests = 500
			pace := time.NewTicker(2 * time.Millisecond)
			defer pace.Stop()
			before := p.contextSwitches(t)
			for range requests {
				<-pace.C
				c.ask(connectRequest())
			}
			if each := float64(p.contextSwitches(t)-before) / requests; each > 2 {
				t.Errorf("a request costs %.1f context switches, want at most 2", each)
			} else {
				t.Logf("a request costs %.2f context switches", each)
			}
		})
	}
}
