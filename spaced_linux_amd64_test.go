//go:build !portable

package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// contextSwitches returns how often the threads of the process have waited. It
// does not count preemption by other programs.
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

// TestSpacedRequests checks that a request wakes one thread of an idle tracker,
// and that the thread then waits again. If it returned from a blocking system
// call, the monitor thread of the Go runtime would wake up too and poll fifty
// times. Sending a reply wakes no thread.
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

// epollTimeouts returns the timeouts of the threads that wait in epoll_pwait, in
// milliseconds. -1 is none.
func (p *process) epollTimeouts(t *testing.T) (all []int32) {
	t.Helper()
	tasks, err := filepath.Glob("/proc/" + strconv.Itoa(p.Process.Pid) + "/task/*/syscall")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range tasks {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrPermission) {
			t.Fatal(err)
		}
		// The number of the call, and its arguments.
		if call := strings.Fields(string(text)); err == nil && len(call) > 4 && call[0] == strconv.Itoa(unix.SYS_EPOLL_PWAIT) {
			n, err := strconv.ParseUint(call[4], 0, 64)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, int32(n))
		}
	}
	return all
}

// TestIdleWaitsWithoutTimeout checks that the next sweep of a few peers is no timer
// of the Go runtime. The kernel ends a long epoll_pwait up to 0.1 % late, and
// meanwhile the monitor thread of the runtime looks every 20 us.
func TestIdleWaitsWithoutTimeout(t *testing.T) {
	port := freePort(t)
	p := startProcess(t, "-listen", "127.0.0.1", "-port", strconv.Itoa(int(port)), "-memory", "8M")
	p.await(t, "[INFO] memory ")
	dialClient(t, "127.0.0.1", port).announce(fields{})
	var got []int32
	for end := time.Now().Add(deadline); !slices.Equal(got, []int32{-1}); got = p.epollTimeouts(t) {
		if time.Now().After(end) {
			t.Fatalf("got the timeouts %v, want one thread that waits without", got)
		}
	}
}
