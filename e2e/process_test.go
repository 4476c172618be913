//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// A process runs on a host, in its own process group. Its output goes to a log
// in the lab's directory.
type process struct {
	*host
	name   string
	log    string // path
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	ended  chan struct{} // closed once the process has been waited for
	err    error         // how it ended; to be read after that
	wanted atomic.Bool   // we told it to end
}

// command is argv, to be run on the host.
func (h *host) command(argv ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", h.namespace}, argv...)...)
}

// start runs argv on the host until it is stopped or the test ends.
func (h *host) start(argv ...string) *process {
	h.Helper()
	name := fmt.Sprintf("%02d-%s-%s", len(h.processes), h.name, filepath.Base(argv[0]))
	p := &process{host: h, name: name, log: filepath.Join(h.dir, name+".log"), ended: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		h.Fatal(err)
	}
	defer log.Close()
	p.cmd = h.command(argv...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Dir = h.dir
	// A client must not find the configuration of the user. It must end
	// with the test process, however that ends.
	p.cmd.Env = append(os.Environ(), "HOME="+h.dir, "XDG_CONFIG_HOME="+h.dir, "LC_ALL=C", "TERM=dumb")
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		h.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		h.Fatal(err)
	}
	h.lab.processes = append(h.lab.processes, p)
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p
}

// kill ends the process and its children at once.
func (p *process) kill() {
	p.wanted.Store(true)
	select {
	case <-p.ended:
		return
	default:
	}
	if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		p.Errorf("kill %s: %v", p.name, err)
		return
	}
	<-p.ended
}

// stop asks the process to end and waits until it has.
func (p *process) stop(signal syscall.Signal) {
	p.Helper()
	p.wanted.Store(true)
	if err := p.cmd.Process.Signal(signal); err != nil {
		p.Fatalf("stop %s: %v", p.name, err)
	}
	p.awaitEnd(signal.String())
}

// awaitEnd waits until the process has ended; why is what it was told.
func (p *process) awaitEnd(why string) {
	p.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case <-p.ended:
	case <-timeout.C:
		p.Fatalf("%s still runs %v after: %s", p.name, patience, why)
	}
}

func (p *process) endedByItself() (bool, error) {
	if p.wanted.Load() {
		return false, nil
	}
	select {
	case <-p.ended:
		return true, p.err
	default:
		return false, nil
	}
}

// tell writes a line to the process's standard input.
func (p *process) tell(line string) {
	p.Helper()
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		p.Fatalf("tell %s: %v", p.name, err)
	}
}

// read is what a log holds so far.
func (l *lab) read(path string) string {
	l.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		l.Fatal(err)
	}
	return string(text)
}

// awaitLog waits until the process has printed text.
func (p *process) awaitLog(text string) {
	p.Helper()
	p.awaitLogTimes(text, 1)
}

// awaitLogTimes waits until the process has printed text that often.
func (p *process) awaitLogTimes(text string, times int) {
	p.Helper()
	p.await(fmt.Sprintf("%s says %q", p.name, text), func() error {
		if n := strings.Count(p.read(p.log), text); n < times {
			return fmt.Errorf("%d times in its log, want %d", n, times)
		}
		return nil
	})
}
