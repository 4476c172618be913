package main

import (
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

// residentOf returns the resident memory of a process in KiB, exactly: VmRSS and
// VmHWM may be behind.
func residentOf(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "\nRss:")
	n, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestMemoryWhileLogging checks that -memory holds with a full pool while the
// program logs a lot: a summary for every SIGUSR1, or a line for every packet
// with -debug.
func TestMemoryWhileLogging(t *testing.T) {
	program := filepath.Join(t.TempDir(), "pico-tracker") // the test binary is larger
	build := exec.Command("go", "build", "-tags", "release", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	const limit = 5 << 10 // KiB: the smallest, where little is left over
	for _, c := range []struct {
		name  string
		flags []string
		work  func(t *testing.T, p *process, ask func())
	}{
		{name: "summaries", work: func(t *testing.T, p *process, ask func()) { p.signal(t, syscall.SIGUSR1) }},
		{name: "debug", flags: []string{"-debug"}, work: func(t *testing.T, p *process, ask func()) { ask() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			port := freePort(t)
			p := startCommand(t, exec.Command(program, append(c.flags, "-listen", "127.0.0.1", "-port", strconv.Itoa(int(port)), "-memory", "5M", "-workers", "1", "-scope", "off")...))
			p.await(t, "[INFO] memory ")
			if err := p.log.SetReadDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = io.Copy(io.Discard, p.log) }()
			reply := make([]byte, 2048)
			var last *net.UDPConn
			full := false
			for host := 1; host < 60 && !full; host++ {
				conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 1, byte(host))}, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(port)})
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				last = conn
				exchange := func(request []byte) []byte {
					if err := conn.SetDeadline(time.Now().Add(deadline)); err != nil {
						t.Fatal(err)
					}
					if _, err := conn.Write(request); err != nil {
						t.Fatal(err)
					}
					n, err := conn.Read(reply)
					if err != nil {
						t.Fatal(err)
					}
					return reply[:n]
				}
				f := fields{left: 1, port: 1000, id: append([]byte(nil), exchange(connectRequest())[8:]...)}
				for i := range 5000 {
					f.hash = host*10000 + i
					got := exchange(f.bytes())
					// Without room or quota the reply counts no peer.
					if counts := got[12:20]; counts[3]+counts[7] == 0 {
						full = i == 0 // not one of this host is stored
						break
					}
				}
			}
			if !full {
				t.Fatal("the pool is not full")
			}
			most := 0
			t.Logf("%d KiB are resident with a full pool", residentOf(t, p.Process.Pid))
			for range 3000 {
				c.work(t, p, func() {
					if _, err := last.Write(connectRequest()); err != nil {
						t.Fatal(err)
					}
					if _, err := last.Read(reply); err != nil {
						t.Fatal(err)
					}
				})
				most = max(most, residentOf(t, p.Process.Pid))
			}
			if most > limit {
				t.Errorf("%d KiB are resident, want at most %d", most, limit)
			} else {
				t.Logf("%d KiB of %d are resident", most, limit)
			}
		})
	}
}
