package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/logger"
	"github.com/fabricionaweb/pico-tracker/internal/procfs"
	"github.com/fabricionaweb/pico-tracker/internal/sys"
	"github.com/fabricionaweb/pico-tracker/internal/udp"
)

// awaitReport waits until the report in a file satisfies ok, and returns it.
func awaitReport(t testing.TB, path string, ok func(report string) bool) string {
	t.Helper()
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		b, err := os.ReadFile(path)
		if err == nil && ok(string(b)) {
			return string(b)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if time.Since(start) > deadline {
			t.Fatalf("%v; the report is:\n%s", err, b)
		}
	}
}

// expectedReport collects what the report of a tracker must count.
type expectedReport struct {
	t         *testing.T
	family    string         // of the next requests
	samples   map[string]int // by name and labels
	datagrams int            // requests with a reply
}

// add adds to a sample of the current family.
func (e *expectedReport) add(n int, name, labels string) {
	e.samples[fmt.Sprintf(`pico_tracker_%s{family="%s"%s}`, name, e.family, labels)] += n
}

// ask sends a request and counts it and its reply.
func (e *expectedReport) ask(c *client, req []byte, name, action, outcome, labels string) []byte {
	e.t.Helper()
	reply := c.ask(req)
	gotError, wantError := bytes.HasPrefix(reply, u32(bep15.ActionError)), outcome == outcomeError
	if gotError != wantError {
		e.t.Fatalf("%s: got reply %x, want an error %v", action, reply, wantError)
	}
	e.datagrams++
	e.add(1, name, labels)
	e.add(len(req), "received_bytes_total", `,action="`+action+`",outcome="`+outcome+`"`)
	e.add(len(reply), "sent_bytes_total", `,action="`+action+`",outcome="`+outcome+`"`)
	return reply
}

// answered sends a request that gets an answer. result is its label, or "".
func (e *expectedReport) answered(c *client, req []byte, action, result string) []byte {
	e.t.Helper()
	if result != "" {
		result = `,result="` + result + `"`
	}
	return e.ask(c, req, action+"s_total", action, outcomeAnswered, result)
}

// refused sends a request that gets an error.
func (e *expectedReport) refused(c *client, req []byte, action, reason string) {
	e.t.Helper()
	e.ask(c, req, "errors_total", action, outcomeError, `,action="`+action+`",reason="`+reason+`"`)
}

// sendAll sends requests for all verdicts of one family that a client can cause.
func (e *expectedReport) sendAll(p *instance, addr string) {
	e.t.Helper()
	a, b := p.dial(addr), p.dial(addr)
	id := e.answered(a, connectRequest(), "connect", "")[8:]
	for i := 0; i < 9; i++ {
		e.answered(a, connectRequest(), "connect", "")
	}
	for i := 0; i < 2; i++ {
		e.refused(a, connectRequest(), "connect", "connect_limit")
	}
	for port := uint16(1); port <= 5; port++ {
		e.answered(a, fields{id: id, port: port, left: uint64(port / 3)}.bytes(), "announce", "new")
	}
	for port := uint16(1); port <= 3; port++ {
		e.answered(a, fields{id: id, port: port, left: uint64(port / 3), want: -1}.bytes(), "announce", "refreshed")
	}
	e.answered(b, fields{id: id, port: 2, event: 3}.bytes(), "announce", "stopped")
	e.answered(b, fields{id: id, port: 2, event: 3}.bytes(), "announce", "absent")
	e.answered(b, fields{id: id, port: 2, event: 3, hash: 7}.bytes(), "announce", "absent")
	e.answered(b, scrapeRequest(id, 0, 1, 2), "scrape", "")
	bad := bin("6553f10001020304")
	e.refused(a, fields{id: bad, port: 1}.bytes(), "announce", "connection_id")
	e.refused(a, scrapeRequest(bad, 1), "scrape", "connection_id")
	e.refused(a, scrapeRequest(bad, 1), "scrape", "connection_id")
	e.refused(a, fields{id: id}.bytes(), "announce", "malformed")
	e.refused(a, fields{id: id, port: 1}.bytes()[:90], "announce", "malformed")
	e.refused(a, scrapeRequest(id), "scrape", "malformed")
	e.refused(a, fields{id: id, port: 1, hash: 99}.bytes(), "announce", "access_list")
	for _, notRequest := range [notRequests][]byte{
		[]byte("short"),
		bin("00000003 00c0ffee 0000000000000000"),
		bin("6553f10001020304 00000009 00c0ffee"),
		bin("0000041727101981 00000000 00c0ffee"),
	} {
		a.send(notRequest)
	}
	e.add(1, "peers", `,role="seeder"`)
	e.add(3, "peers", `,role="leecher"`)
	e.add(1, "removed_peers_total", `,reason="stopped"`)
}

// notRequests is the number of datagrams of a family that are no requests.
const notRequests = 4

// TestReportAddsUp compares the report with the requests that clients sent, in
// datagrams and bytes.
func TestReportAddsUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tracker.prom")
	list := filepath.Join(t.TempDir(), "list")
	writeFile(t, list, digits(99)+"\n")
	p := startProgram(t, "-stats", path, "-stats-interval", "1s", "-blacklist", list, "-connect-limit", "10")
	e := &expectedReport{t: t, samples: map[string]int{
		"pico_tracker_torrents":                      1,
		"pico_tracker_list_hashes":                   1,
		`pico_tracker_list_reads_total{result="ok"}`: 1,
	}}
	for _, family := range []struct{ name, addr string }{{name: "ipv4", addr: "127.0.0.1"}, {name: "ipv6", addr: "::1"}} {
		e.family = family.name
		e.sendAll(p, family.addr)
		settle(t)
	}
	// Either the tracker or the kernel's filter drops a datagram that is no
	// request. Under emulation the kernel has no count of them.
	dropped := func(report string, labels ...string) int {
		return int(sumSamples(report, "drops_total", labels...) + sumSamples(report, "kernel_drops_total", labels...))
	}
	kernelCounts := func(r string) bool { return strings.Contains(r, "\npico_tracker_kernel_drops_total{") }
	report := awaitReport(t, path, func(r string) bool {
		return int(sumSamples(r, "received_datagrams_total")-sumSamples(r, "drops_total")) == e.datagrams &&
			(dropped(r) == 2*notRequests || !kernelCounts(r))
	})
	for sample, n := range e.samples {
		if !strings.Contains(report, fmt.Sprintf("\n%s %d\n", sample, n)) {
			t.Errorf("got no sample %s %d", sample, n)
		}
	}
	for _, family := range []string{`family="ipv4"`, `family="ipv6"`} {
		if n := dropped(report, family); kernelCounts(report) && n != notRequests {
			t.Errorf("%s: got %d dropped datagrams, want %d", family, n, notRequests)
		}
		e.checkSums(report, family)
	}
	e.checkTotals(report)

	// The file is written again, and removed at the end.
	up := sumSamples(report, "uptime_seconds")
	awaitReport(t, path, func(r string) bool { return sumSamples(r, "uptime_seconds") > up })
	p.stop(syscall.SIGTERM)
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 0 {
		t.Errorf("after the end: got files %v, %v, want none", left, err)
	}
}

// checkSums checks that the counters of one family agree with each other.
func (e *expectedReport) checkSums(report, family string) {
	e.t.Helper()
	of := func(name string, labels ...string) uint64 { return sumSamples(report, name, append(labels, family)...) }
	parts := of("connects_total") + of("announces_total") + of("scrapes_total") + of("errors_total") + of("drops_total")
	if got := of("received_datagrams_total"); got != parts {
		e.t.Errorf("%s: got %d datagrams received, want %d, the sum of all verdicts", family, got, parts)
	}
	if got, want := of("peers"), of("announces_total", `"new"`)-of("removed_peers_total"); got != want {
		e.t.Errorf("%s: got %d peers, want %d, the new peers without the removed ones", family, got, want)
	}
}

// checkTotals checks that a report has no other samples and no wrong sums.
func (e *expectedReport) checkTotals(report string) {
	e.t.Helper()
	for _, name := range []string{"connects_total", "announces_total", "scrapes_total", "errors_total", "received_bytes_total", "sent_bytes_total"} {
		want := 0
		for sample, n := range e.samples {
			if strings.HasPrefix(sample, metricPrefix+name+"{") {
				want += n
			}
		}
		got := sumSamples(report, name)
		if name == "received_bytes_total" {
			got -= sumSamples(report, name, `outcome="dropped"`)
		}
		if int(got) != want {
			e.t.Errorf("%s: got %d in all, want %d", name, got, want)
		}
	}
}

// most is a report in which every number is as long as it can be.
func most() *report {
	r := &report{version: "v10.20.30-400-g0123456789ab-dirty", uptime: math.MaxUint32, every: 3600, torrents: math.MaxInt,
		poolSize: math.MaxInt, poolUsed: math.MaxInt / 2, poolPeak: math.MaxInt, poolResident: math.MaxInt, resident: math.MaxInt,
		limit: math.MaxInt, full: true, sweeps: math.MaxUint64, sweepNanos: math.MaxUint64, list: "blacklist", hashes: math.MaxInt}
	for i := range r.reads {
		r.reads[i] = math.MaxUint64
	}
	r.listPath = strings.Repeat("/directory", 51)
	for i := range r.refused {
		r.refused[i] = refusedTorrent{hash: *testHash(i), set: true}
	}
	for i := range maxTop {
		t := topTorrent{hash: *testHash(i), downloads: math.MaxUint32}
		for set := range t.peers {
			t.peers[set] = math.MaxUint32
		}
		r.top = append(r.top, t)
	}
	for i := range r.families {
		f := &r.families[i]
		*f = familyReport{sockets: 64, dropsKnown: true, reasonsKnown: true, filtered: math.MaxUint64, overflowed: math.MaxUint64,
			seeders: math.MaxInt, leechers: math.MaxInt, expired: math.MaxUint64, purged: math.MaxUint64}
		f.sendFailed = math.MaxUint64
		for v := range f.verdicts {
			f.verdicts[v] = traffic{math.MaxUint64, math.MaxUint64, math.MaxUint64}
		}
	}
	return r
}

// TestReportFits into the memory that is set aside for it, and the summary into
// ten lines.
func TestReportFits(t *testing.T) {
	p := &metricsWriter{text: make([]byte, 0, reportBytes)}
	p.render(most())
	if n := len(p.text); n > reportBytes+maxTop*topBytes || n > maxReport {
		t.Errorf("%d bytes, over %d", n, reportBytes+maxTop*topBytes)
	}
	r := most()
	r.top = nil
	if p.render(r); len(p.text) > reportBytes {
		t.Errorf("without torrents: %d bytes, over %d", len(p.text), reportBytes)
	}
	lines := 0
	p.summary(func(parts ...string) { lines++ })
	if lines < 5 || lines > 10 {
		t.Errorf("%d lines of summary", lines)
	}
}

// TestReportOfOneFamily checks that a report has nothing about a family that is
// not served, or about a list if there is none.
func TestReportOfOneFamily(t *testing.T) {
	r := &report{every: 15}
	r.families[1].sockets = 1
	p := &metricsWriter{}
	p.render(r)
	for text, want := range map[string]bool{"ipv4": false, "list_": false, "kernel_drops_total{": false, "resident_memory": false,
		`peers{family="ipv6",role="seeder"} 0`: true, "pico_tracker_full 0": true, "sweep_seconds_total 0.000000": true} {
		if strings.Contains(string(p.text), text) != want {
			t.Errorf("%q is there: %v\n%s", text, !want, p.text)
		}
	}
}

// showKeeper returns a maintenance loop that only writes a report to path.
func showKeeper(t *testing.T, path string) (*maintenance, *logLines) {
	lines := &logLines{}
	k := &maintenance{tracker: newTracker(newTestStore(t, 1, 1), 15*60), log: &logger.Logger{Out: lines}, stats: newReportFile(sys.NewAtomicFile(path)), statsInterval: 15,
		metrics: metricsWriter{text: make([]byte, 0, reportBytes)}}
	k.kernel = procfs.Open(k.metrics.text[:reportBytes])
	t.Cleanup(k.close)
	return k, lines
}

// TestReportWarnsOnce where it can't be written, and says when it can again.
func TestReportWarnsOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	path := filepath.Join(dir, "tracker.prom")
	k, lines := showKeeper(t, path)
	for round := 0; round < 2; round++ {
		for i := 0; i < 3; i++ {
			k.writeReport(timestamp{})
		}
		lines.expectLines(t, "[WARN] -stats "+strconv.Quote(path)+": no such file or directory; trying again every ")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for i := 0; i < 3; i++ {
			k.writeReport(timestamp{})
		}
		lines.expectLines(t, "[INFO] -stats "+strconv.Quote(path)+": written again")
		b, err := os.ReadFile(path)
		if err != nil || sumSamples(string(b), "stats_write_failures_total") != uint64(3*(round+1)) {
			t.Errorf("%v:\n%s", err, b)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	// What is written after the end would be left behind.
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	k.writeReport(timestamp{})
	k.close()
	k.writeReport(timestamp{})
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestOverflowOfAnotherProgram checks that datagrams which the kernel dropped for
// another program are not counted. The kernel counts full receive buffers for all
// programs together.
func TestOverflowOfAnotherProgram(t *testing.T) {
	k, _ := showKeeper(t, filepath.Join(t.TempDir(), "tracker.prom"))
	k.updateReport(timestamp{})
	buf := make([]byte, reportBytes)
	kernel := procfs.Open(buf)
	if kernel != nil {
		defer kernel.Close()
	}
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadBuffer(1); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		if _, err := conn.WriteTo(make([]byte, 1000), conn.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	if kernel != nil {
		if n, ok := kernel.Overflowed(false, buf); ok && n == 0 {
			t.Fatal("no receive buffer was full")
		}
	}
	k.updateReport(timestamp{})
	if f := &k.report.families[0]; f.overflowed != 0 || f.filtered != 0 {
		t.Errorf("got %d overflowed and %d filtered datagrams, want 0 and 0", f.overflowed, f.filtered)
	}
}

// TestProgramSummary checks that SIGUSR1 logs a summary.
func TestProgramSummary(t *testing.T) {
	p := startProgram(t)
	c := p.dial("127.0.0.1")
	c.announce(fields{left: 1})
	// A worker publishes its counters after it has sent the replies: the first
	// summary may miss them.
	for end := time.Now().Add(deadline); ; {
		p.log.take()
		p.signals <- sys.SummarySignal
		p.await("[INFO] up ", "seeders ")
		if strings.Contains(p.log.String(), "datagrams received 2 + 0") || time.Now().After(end) {
			break
		}
	}
	p.await("[INFO] up ", "; 1 torrent; memory ", "[INFO] datagrams received 2 + 0", "connects 1 + 0", "announces 1 + 0", "leechers 1 + 0", "seeders 0 + 0")
	if n := len(p.log.take()); n > 10 {
		t.Errorf("%d lines", n)
	}
}

// TestStrangersDontFillTheLog causes all events that anyone on the internet can
// cause, for a day, and counts the log lines.
func TestStrangersDontFillTheLog(t *testing.T) {
	k, lines := showKeeper(t, filepath.Join(t.TempDir(), "a.prom"))
	w := &worker{sock: &udp.Socket{}, clock: newClock(), log: k.log}
	k.workers = []*worker{w}
	var c counters
	for now := seconds(0); now < 24*3600; now += 15 {
		for v := range c.verdicts {
			c.verdicts[v].datagrams += 1e6
		}
		c.sendFailed += 1e6
		w.published.publish(&c)
		// What the kernel drops, as count adds it.
		f := &k.report.families[0]
		f.reasonsKnown = true
		f.filtered += 1e6
		f.overflowed += 1e6
		k.writeReport(timestamp{mono: now})
	}
	got := lines.take()
	if n := len(events); len(got) > 32*n || len(got) < 24*n {
		t.Errorf("got %d lines, want %d to %d:\n%s", len(got), 24*n, 32*n, strings.Join(got[:min(len(got), 20)], "\n"))
	}
	for i, e := range events {
		if i == eventFiltered && !k.report.families[0].reasonsKnown {
			continue // only Linux tells why the kernel dropped a datagram
		}
		logged, warned := false, false
		for _, l := range got {
			if strings.Contains(l, e.text) {
				logged, warned = true, strings.HasPrefix(l, "[WARN]")
			}
		}
		wantWarned := i == eventReceiveBuffer || i == eventReplyNotSent
		if !logged || warned != wantWarned {
			t.Errorf("%q: got logged %v, as a warning %v, want true, %v", e.text, logged, warned, wantWarned)
		}
	}
}

// TestReportIsWhatDocumentsName checks that the documents and the dashboard
// name exactly the metrics of a report.
func TestReportIsWhatDocumentsName(t *testing.T) {
	p := &metricsWriter{}
	p.render(most())
	names := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE pico_tracker_(\w+)`).FindAllStringSubmatch(string(p.text), -1) {
		names[m[1]] = true
	}
	text := map[string]string{}
	for _, path := range []string{"docs/monitoring.md", "docs/grafana.json"} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text[path] = string(b)
		named := regexp.MustCompile(`pico_tracker_(\w+)`).FindAllStringSubmatch(text[path], -1)
		if len(named) < 3 {
			t.Errorf("%s names %d metrics", path, len(named))
		}
		for _, m := range named {
			if !names[m[1]] {
				t.Errorf("%s names pico_tracker_%s, which is in no report", path, m[1])
			}
		}
	}
	for name := range names {
		if !strings.Contains(text["docs/monitoring.md"], "`"+name+"`") {
			t.Errorf("docs/monitoring.md does not explain %s", name)
		}
	}
}
