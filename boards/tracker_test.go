//go:build linux

package boards

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

// This file starts trackers, reads their logs and ends them. Like
// client_test.go, it does not use package testing.

const (
	startWait = 60 * time.Second // an emulated start on a busy machine
	stopWait  = 10 * time.Second
)

// tracker is a process that serves.
type tracker struct {
	cmd  *exec.Cmd
	port int

	mu      sync.Mutex
	lines   []string
	written chan struct{} // closed with each line, and at the end
	ended   bool
}

// launch starts a tracker with this command line and -port. It waits for the
// log line about the memory, because the sockets are open then.
func launch(cmd *exec.Cmd) (*tracker, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	cmd.Args = append(cmd.Args, "-port", strconv.Itoa(port))
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	// Variables for other trackers on this machine must not count here.
	for i := len(cmd.Env) - 1; i >= 0; i-- {
		if name, _, _ := strings.Cut(cmd.Env[i], "="); strings.HasPrefix(name, "PICO_TRACKER__") || name == "DEBUG" {
			cmd.Env = append(cmd.Env[:i:i], cmd.Env[i+1:]...)
		}
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	t := &tracker{cmd: cmd, port: port, written: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go t.read(stderr)
	if err := t.waitFor("] memory ", 1, startWait); err != nil {
		t.kill()
		return nil, err
	}
	return t, nil
}

func (t *tracker) read(stderr io.Reader) {
	for s := bufio.NewScanner(stderr); s.Scan(); {
		t.note(func() { t.lines = append(t.lines, s.Text()) })
	}
	t.note(func() { t.ended = true })
}

func (t *tracker) note(change func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change()
	close(t.written)
	t.written = make(chan struct{})
}

// log is what the tracker has written.
func (t *tracker) log() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, "\n")
}

// waitFor waits until n lines of the log have text in them.
func (t *tracker) waitFor(text string, n int, wait time.Duration) error {
	deadline := time.After(wait)
	for {
		t.mu.Lock()
		seen, ended, written := 0, t.ended, t.written
		for _, line := range t.lines {
			if strings.Contains(line, text) {
				seen++
			}
		}
		t.mu.Unlock()
		switch {
		case seen >= n:
			return nil
		case ended:
			return fmt.Errorf("the tracker ended without %q:\n%s", text, t.log())
		}
		select {
		case <-written:
		case <-deadline:
			return fmt.Errorf("no %q after %v:\n%s", text, wait, t.log())
		}
	}
}

// stop sends SIGTERM and expects the exit code 0.
func (t *tracker) stop() error {
	if err := t.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := t.waitFor("stopping", 1, stopWait); err != nil {
		t.kill()
		return err
	}
	late := time.AfterFunc(stopWait, func() { _ = t.cmd.Process.Kill() })
	defer late.Stop()
	if err := t.waitEnd(); err != nil {
		return fmt.Errorf("after SIGTERM: %w\n%s", err, t.log())
	}
	return nil
}

func (t *tracker) kill() {
	_ = t.cmd.Process.Kill() // it may be gone
	_ = t.waitEnd()
}

// waitEnd waits for the end of the log first, or Wait would close the pipe.
func (t *tracker) waitEnd() error {
	for {
		t.mu.Lock()
		ended, written := t.ended, t.written
		t.mu.Unlock()
		if ended {
			return t.cmd.Wait()
		}
		<-written
	}
}

// reload writes a new whitelist, sends SIGHUP, and waits until it is read and a
// torrent that is no longer on it is removed.
func (t *tracker) reload(path string, hashes ...bep15.InfoHash) error {
	before := strings.Count(t.log(), path+": ")
	if err := writeList(path, hashes...); err != nil {
		return err
	}
	if err := t.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	if err := t.waitFor(path+": ", before+1, startWait); err != nil {
		return err
	}
	return t.waitFor(" removed", 1, startWait)
}

func writeList(path string, hashes ...bep15.InfoHash) error {
	var b []byte
	for _, h := range hashes {
		b = fmt.Appendf(b, "%x\n", h)
	}
	return os.WriteFile(path, b, 0o644)
}

// checkReload checks a change of the whitelist: it has only first, and after
// SIGHUP only second.
func (t *tracker) checkReload(path string, first, second bep15.InfoHash) error {
	c, err := dial(pair4[0], t.port)
	if err != nil {
		return err
	}
	defer c.close()
	var r refusal
	if _, err := c.announce(first, 0); err != nil {
		return fmt.Errorf("announce of what is on the list: %w", err)
	}
	if _, err := c.announce(second, 0); !errors.As(err, &r) {
		return fmt.Errorf("announce of what is not on the list: %v, want a refusal", err)
	}
	if err := t.reload(path, second); err != nil {
		return err
	}
	if _, err := c.announce(second, 0); err != nil {
		return fmt.Errorf("announce of what is on the list now: %w", err)
	}
	if _, err := c.announce(first, 0); !errors.As(err, &r) {
		return fmt.Errorf("announce of what is no longer on the list: %v, want a refusal", err)
	}
	return nil
}
