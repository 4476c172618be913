//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"golang.org/x/sys/unix"
)

// This file tests the statistics: in Prometheus with node_exporter, and on a
// terminal.

// reporting starts a tracker with -stats and returns the path of the file.
func (h *host) reporting(flags ...string) (*tracker, string) {
	h.Helper()
	dir := filepath.Join(h.dir, "stats")
	if err := os.Mkdir(dir, 0o755); err != nil {
		h.Fatal(err)
	}
	path := filepath.Join(dir, "pico-tracker.prom")
	return h.tracker(append([]string{"-stats", path, "-stats-interval", "1s"}, flags...)...), path
}

// figure is the sum of the samples in a report with that name and label.
func figure(report, name, label string) (n int) {
	for _, line := range strings.Split(report, "\n") {
		if rest, ok := strings.CutPrefix(line, "pico_tracker_"+name); ok && strings.IndexAny(rest, "{ ") == 0 && strings.Contains(rest, label) {
			value, err := strconv.Atoi(rest[strings.LastIndexByte(rest, ' ')+1:])
			if err != nil {
				return -1
			}
			n += value
		}
	}
	return n
}

// awaitFigures waits until a report has these figures, as
// `torrents 1` or `peers "ipv4" 2`.
func (l *lab) awaitFigures(path string, want ...string) {
	l.Helper()
	l.await("the report says "+strings.Join(want, ", "), func() error {
		report, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, w := range want {
			f := strings.Fields(w)
			label := strings.Join(f[1:len(f)-1], "")
			if got := strconv.Itoa(figure(string(report), f[0], label)); got != f[len(f)-1] {
				return fmt.Errorf("%s %s is %s", f[0], label, got)
			}
		}
		return nil
	})
}

// A report passes promtool's check. With node_exporter it gets into a
// Prometheus, which has data for every query of the dashboard.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	list := filepath.Join(l.dir, "list")
	if err := os.WriteFile(list, []byte("# empty\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h := l.host("tracker", dual)
	tr, path := h.reporting("-blacklist", list)
	client := l.host("client", dual)
	for i, f := range []family{ipv4, ipv6} {
		p := client.probe(tr.address(f))
		if _, _, err := p.announce([20]byte{byte(i)}, bep15.EventNone, 5001); err != nil {
			t.Fatal(err)
		}
	}
	l.awaitFigures(path, "torrents 2", `peers "ipv4" 1`, `peers "ipv6" 1`, `list_reads_total "ok" 1`)

	check := exec.Command("promtool", "check", "metrics")
	check.Stdin = strings.NewReader(l.read(path))
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool: %v: %s", err, out)
	}

	m := l.monitor(filepath.Dir(path))
	m.awaitValue("sum(pico_tracker_peers)", "2")
	m.awaitValue(`pico_tracker_announces_total{family="ipv6",result="new"}`, "1")
	m.awaitValue("node_textfile_scrape_error", "0")

	questions := dashboard(t)
	if len(questions) < 20 {
		t.Errorf("the dashboard has %d questions, want 20 or more", len(questions))
	}
	// Some panels leave out zeros, and here most values are zero.
	variables := strings.NewReplacer("$__rate_interval", "1m", "$instance", m.exporter, " > 0", "")
	for _, q := range questions {
		l.await(q, func() error {
			_, err := m.ask(variables.Replace(q))
			return err
		})
	}

	// A stopped tracker disappears there too.
	tr.stop(syscall.SIGTERM)
	m.awaitValue("count(pico_tracker_torrents) or vector(0)", "0")
}

// A monitor is Prometheus, which asks node_exporter for the files of a directory.
type monitor struct {
	*lab
	exporter, server string // addresses
}

func (l *lab) monitor(directory string) *monitor {
	l.Helper()
	// Use own loopback addresses, so that the ports are free.
	pid := os.Getpid()
	address := func(port int) string { return fmt.Sprintf("127.%d.%d.%d:%d", 64+pid>>16, pid>>8&255, pid&255, port) }
	m := &monitor{lab: l, exporter: address(9100), server: address(9090)}
	config := filepath.Join(l.dir, "prometheus.yml")
	if err := os.WriteFile(config, []byte("scrape_configs: [{job_name: node, scrape_interval: 1s, static_configs: [{targets: ['"+m.exporter+"']}]}]\n"), 0o644); err != nil {
		l.Fatal(err)
	}
	m.startHere("prometheus-node-exporter", "--web.listen-address="+m.exporter, "--collector.disable-defaults", "--collector.textfile",
		"--collector.textfile.directory="+directory)
	m.startHere("prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(l.dir, "tsdb"), "--web.listen-address="+m.server)
	return m
}

// startHere starts a program in the test's own namespace. It ends with the test.
func (m *monitor) startHere(program string, args ...string) {
	m.Helper()
	cmd := exec.Command(program, args...)
	log, err := os.Create(filepath.Join(m.dir, program+".log"))
	if err != nil {
		m.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// ask returns the first value of an expression.
func (m *monitor) ask(expression string) (value string, err error) {
	reply, err := http.Get("http://" + m.server + "/api/v1/query?query=" + url.QueryEscape(expression))
	if err != nil {
		return "", err
	}
	defer reply.Body.Close()
	var answer struct {
		Error string
		Data  struct{ Result []struct{ Value [2]any } }
	}
	if err := json.NewDecoder(reply.Body).Decode(&answer); err != nil {
		return "", err
	}
	if answer.Error != "" || len(answer.Data.Result) == 0 {
		return "", errors.New("no answer to " + expression + " " + answer.Error)
	}
	return fmt.Sprint(answer.Data.Result[0].Value[1]), nil
}

// awaitValue waits until an expression has a value.
func (m *monitor) awaitValue(expression, want string) {
	m.Helper()
	m.await(expression, func() error {
		got, err := m.ask(expression)
		if err == nil && got != want {
			err = errors.New("it is " + got)
		}
		return err
	})
}

// dashboard is what the dashboard asks Prometheus.
func dashboard(t *testing.T) (questions []string) {
	t.Helper()
	text, err := os.ReadFile("../docs/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			questions = append(questions, target.Expr)
		}
		if len(p.Targets) == 0 {
			t.Errorf("%q asks nothing", p.Title)
		}
	}
	return questions
}

// Packets that the kernel drops are counted by reason: refused by the filter,
// or the queue was full.
func TestKernelDrops(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	h := l.host("tracker", dual)
	tr, path := h.reporting("-workers", "1")
	client := l.host("client", dual)
	send := func(f family, datagram []byte, n int) {
		t.Helper()
		p := client.probe(tr.address(f))
		for range n {
			if _, err := p.conn.WriteTo(datagram, net.UDPAddrFromAddrPort(p.tracker)); err != nil {
				t.Fatal(err)
			}
		}
	}
	const junk, flood = 1000, 20000
	send(ipv4, []byte("no request at all"), junk)
	send(ipv6, []byte("no request at all"), 2*junk)
	l.awaitFigures(path, fmt.Sprintf(`kernel_drops_total "ipv4",reason="filter" %d`, junk), fmt.Sprintf(`kernel_drops_total "ipv6",reason="filter" %d`, 2*junk),
		`kernel_drops_total "buffer" 0`, "received_datagrams_total 0")

	if err := tr.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	connect := append([]byte("\x00\x00\x04\x17\x27\x10\x19\x80"), make([]byte, 8)...)
	send(ipv4, connect, flood)
	send(ipv6, connect, flood)
	if err := tr.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for _, family := range []string{`"ipv4"`, `"ipv6"`} {
		l.await("the flood is received or dropped, "+family, func() error {
			report := l.read(path)
			received, dropped := figure(report, "received_datagrams_total", family), figure(report, "kernel_drops_total", family+`,reason="buffer"`)
			if received+dropped != flood || received == 0 || dropped == 0 {
				return fmt.Errorf("%d received, %d dropped", received, dropped)
			}
			return nil
		})
	}
	l.awaitFigures(path, `kernel_drops_total "filter" `+strconv.Itoa(3*junk))
}

// On a full disk the report stays complete and unchanged, and the log says so
// once. When there is room again, the next report is written.
func TestReportOnFullDisk(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	dir := filepath.Join(l.dir, "disk")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tr := l.host("tracker", ipv4).trackerBy([]string{"unshare", "-m", "sh", "-c", `mount -t tmpfs -o size=64k none "$0" && exec "$@"`, dir},
		"-stats", filepath.Join(dir, "a.prom"), "-stats-interval", "1s")
	const warning = ": no space left on device"
	disk := fmt.Sprintf("/proc/%d/root%s", tr.cmd.Process.Pid, dir)
	path, filler := filepath.Join(disk, "a.prom"), filepath.Join(disk, "filler")
	l.awaitFigures(path, "torrents 0")
	for round := 1; round <= 2; round++ {
		if err := os.WriteFile(filler, make([]byte, 1<<20), 0o644); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		tr.awaitLogTimes(warning, round)
		before := l.read(path)
		// A try makes a temporary file and removes it, which changes the directory.
		var last time.Time
		tries := 0
		l.await("it is tried again", func() error {
			st, err := os.Stat(disk)
			if err != nil {
				return err
			}
			if !st.ModTime().Equal(last) {
				last = st.ModTime()
				tries++
			}
			if tries < 4 {
				return fmt.Errorf("%d tries", tries-1)
			}
			return nil
		})
		if now := l.read(path); !strings.HasPrefix(now, "# HELP") || !strings.HasSuffix(now, "\n") || now != before {
			t.Errorf("half a report:\n%s", now)
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		tr.awaitLogTimes(": written again", round)
	}
	const rounds = 2
	if n := figure(l.read(path), "stats_write_failures_total", ""); n < 2*rounds {
		t.Errorf("%d failures counted, want %d or more", n, 2*rounds)
	}
	if got := strings.Count(l.read(tr.log), "[WARN] -stats "); got != rounds {
		t.Errorf("the log has %d warnings, want %d: one each time that the disk is full", got, rounds)
	}
}

// On a terminal the figures are shown as they change, until Ctrl-C.
func TestStatusOnTerminal(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	h := l.host("tracker", dual)
	tr, path := h.reporting()
	l.awaitFigures(path, "torrents 0")

	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(trackerBinary, "-status", path)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }() // it has ended if all went well
	terminal.Close()
	if _, _, err := h.probe(tr.address(ipv4)).announce([20]byte{1}, bep15.EventNone, 5001); err != nil {
		t.Fatal(err)
	}
	// Each update begins at the top of the terminal.
	pictures := make(chan string, 1000)
	go func() {
		defer close(pictures)
		var text []byte
		for buffer := make([]byte, 4096); ; {
			n, err := master.Read(buffer)
			text = append(text, buffer[:n]...)
			for {
				i := bytes.Index(text, []byte("\x1b[J"))
				if i < 0 {
					break
				}
				pictures <- string(text[:i])
				text = text[i+3:]
			}
			if err != nil {
				return // it has ended
			}
		}
	}()
	want := regexp.MustCompile(`(?s)^\x1b\[Hhealthy: 1 torrent, .*\npico-tracker e2e, up .*rates of the last [1-9].*\nannounces +1 .*1 torrent; memory `)
	late := time.After(patience)
	for shown := ""; !want.MatchString(shown); {
		select {
		case picture, ok := <-pictures:
			if !ok {
				t.Fatalf("it has ended: %q", shown)
			}
			shown = picture
		case <-late:
			t.Fatalf("it shows %q", shown)
		}
	}
	if _, err := master.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("Ctrl-C: %v", err)
	}
}

// If standard output and standard error are two pipes, as with procd and
// container engines, warnings and errors are in one and all other lines in the
// other.
func TestTwoPipes(t *testing.T) {
	t.Parallel()
	h := newLab(t).host("tracker", ipv4)
	cmd := h.command(trackerBinary, "-debug", "-interface", "absent")
	var calm, grave bytes.Buffer
	cmd.Stderr = &grave
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for buffer := make([]byte, 4096); !strings.Contains(calm.String(), "[INFO] memory "); {
		n, err := out.Read(buffer)
		calm.Write(buffer[:n])
		if err != nil {
			t.Fatalf("%v: %s%s", err, calm.String(), grave.String())
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := calm.ReadFrom(out); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	for _, line := range strings.SplitAfter(calm.String(), "\n") {
		if line != "" && !strings.HasPrefix(line, "[INFO] ") && !strings.HasPrefix(line, "[DEBUG] ") {
			t.Errorf("on standard output: %q", line)
		}
	}
	for _, line := range strings.SplitAfter(grave.String(), "\n") {
		if line != "" && !strings.HasPrefix(line, "[WARN] ") {
			t.Errorf("on standard error: %q", line)
		}
	}
	if !strings.Contains(calm.String(), "[INFO] stopped") || !strings.Contains(grave.String(), "waiting for the interface absent") {
		t.Errorf("%q and %q", calm.String(), grave.String())
	}
}
