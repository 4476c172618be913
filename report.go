package main

import (
	"strconv"
	"strings"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/sandbox"
	"github.com/fabricionaweb/pico-tracker/internal/textutil"
)

// This file writes the statistics as text: in the text format of Prometheus for
// -stats, and as a summary for the log. It does not know where the numbers come
// from.
//
// The summary and -status read the numbers from the text of the metrics. So there
// is one list of metrics, and -status shows the file of any tracker process.
//
// It is written by hand, because a Prometheus library and package fmt are larger
// than the whole tracker.

// report is the state of the tracker at one moment.
type report struct {
	version  string
	uptime   seconds
	every    seconds // time between two reports
	families [2]familyReport
	torrents int
	external [2]string // public address and port of IPv4 and IPv6; "": not known
	sandbox  sandbox.Part

	poolSize, poolUsed, poolPeak, poolResident int // bytes
	resident                                   int // bytes of the process; 0: unknown
	limit                                      int // bytes; -memory
	full                                       bool
	sweeps                                     uint64 // completed passes over all pages
	sweepNanos                                 uint64

	list          string // whitelist or blacklist; "": there is none
	listPath      string
	hashes        int // info hashes in the access list
	reads         [numReads]uint64
	writeFailures uint64 // reports that could not be written

	top     []topTorrent // most peers first
	refused [numRefused]refusedTorrent
}

// familyReport is the part of a report for IPv4 or IPv6.
type familyReport struct {
	_       [0]func() // a function that compares values would take flash
	sockets int
	counters
	dropsKnown      bool   // the kernel reports how many datagrams it dropped
	reasonsKnown    bool   // and how many because the receive buffer was full
	filtered        uint64 // dropped for another reason, or for an unknown reason
	overflowed      uint64 // dropped because the receive buffer was full
	seeders         int
	leechers        int
	expired, purged uint64 // peers
}

var familyNames = [2]string{"ipv4", "ipv6"}

// reportBytes is more than the largest report without -top.
const reportBytes = 16 << 10

// topBytes is more than the metrics of one torrent of -top.
const topBytes = 640

// metricPrefix begins the name of every metric.
const metricPrefix = "pico_tracker_"

const (
	typeCounter = "counter"
	typeGauge   = "gauge"
)

// metricsWriter writes a report in the text format of Prometheus. It keeps its
// buffer for the next report.
type metricsWriter struct {
	text   textBuilder
	name   string // of the current metric
	family string // of the next samples; "": without a family
	digits [2 * len(bep15.InfoHash{})]byte
}

// render replaces the text by the text of a report.
func (p *metricsWriter) render(r *report) {
	p.text = p.text[:0]
	p.beginMetric("build_info", typeGauge, "Version of the tracker.")
	p.writeSample(1, "version", r.version)
	p.writeSingle("uptime_seconds", typeGauge, "Seconds since the start, by the monotonic clock.", uint64(r.uptime))
	p.writeSingle("stats_interval_seconds", typeGauge, "Seconds between two reports (-stats-interval).", uint64(r.every))

	p.beginMetric("sandbox", typeGauge, "1 if the tracker has dropped these rights (-sandbox).")
	for i, name := range sandbox.Names {
		p.writeSample(uint64(r.sandbox>>i&1), "part", name)
	}
	if r.external[0]+r.external[1] != "" {
		p.beginMetric("external_info", typeGauge, "Public address and port of the tracker (-external-ip).")
		for i, a := range r.external {
			if a != "" {
				p.family = familyNames[i]
				p.writeSample(1, "address", a)
			}
		}
	}

	p.beginMetric("received_datagrams_total", typeCounter,
		"Datagrams received: the sum of connects, announces, scrapes, errors and drops.")
	for i := range r.families {
		if f := p.familyOf(r, i); f != nil {
			p.writeSample(f.sum().datagrams)
		}
	}
	p.writeVerdicts(r, "connects_total", "Connects answered.", "connect", outcomeAnswered, "result")
	p.writeVerdicts(r, "announces_total", "Announces answered. With result full or share the peer is not stored: no room, or too many peers from its address.",
		"announce", outcomeAnswered, "result")
	p.writeVerdicts(r, "scrapes_total", "Scrapes answered.", "scrape", outcomeAnswered, "result")
	p.writeVerdicts(r, "errors_total", "Requests answered with an error.", "", outcomeError, "reason")
	p.writeVerdicts(r, "drops_total", "Datagrams without a reply.", "", outcomeDropped, "reason")
	p.beginMetric("received_bytes_total", typeCounter, "Bytes of UDP payload received. Of a datagram longer than any request, only the first part counts.")
	p.writeBytes(r, false)
	p.beginMetric("sent_bytes_total", typeCounter, "Bytes of UDP payload in replies.")
	p.writeBytes(r, true)
	p.beginMetric("send_failures_total", typeCounter, "Replies that the kernel refused to send. They also count as connects, announces, scrapes or errors.")
	for i := range r.families {
		if f := p.familyOf(r, i); f != nil {
			p.writeSample(f.sendFailed)
		}
	}
	p.beginMetric("kernel_drops_total", typeCounter, "Datagrams that the kernel dropped before the tracker received them. "+
		"buffer: the receive buffer was full. filter: not a request, or a wrong checksum. "+
		"The kernel has one number for both. buffer is estimated from the number of full receive buffers "+
		"in the network namespace. unknown: the tracker cannot read /proc.")
	for i := range r.families {
		switch f := p.familyOf(r, i); {
		case f == nil || !f.dropsKnown:
		case f.reasonsKnown:
			p.writeSample(f.filtered, "reason", "filter")
			p.writeSample(f.overflowed, "reason", "buffer")
		default:
			p.writeSample(f.filtered, "reason", "unknown")
		}
	}

	p.beginMetric("peers", typeGauge, "Peers stored.")
	for i := range r.families {
		if f := p.familyOf(r, i); f != nil {
			p.writeSample(uint64(f.leechers), "role", "leecher")
			p.writeSample(uint64(f.seeders), "role", "seeder")
		}
	}
	p.beginMetric("removed_peers_total", typeCounter, "Peers removed. announces_total with result new counts the peers added.")
	for i := range r.families {
		if f := p.familyOf(r, i); f != nil {
			p.writeSample(f.verdicts[announcedStopped].datagrams, "reason", "stopped")
			p.writeSample(f.expired, "reason", "expired")
			p.writeSample(f.purged, "reason", "access_list")
		}
	}
	p.writeSingle("torrents", typeGauge, "Torrents stored.", uint64(r.torrents))
	full := uint64(0)
	if r.full {
		full = 1
	}
	p.writeSingle("full", typeGauge, "1 while new peers are not stored because the memory is full.", full)

	p.beginMetric("pool_bytes", typeGauge, "Memory for torrents and peers, in pages of 4 KiB.")
	p.writeSample(uint64(r.poolUsed), "state", "used")
	p.writeSample(uint64(r.poolSize-r.poolUsed), "state", "free")
	p.writeSingle("pool_peak_bytes", typeGauge, "Highest pool_bytes with state used since the start.", uint64(r.poolPeak))
	p.writeSingle("pool_resident_bytes", typeGauge, "Memory for torrents and peers that is resident.", uint64(r.poolResident))
	if r.resident > 0 {
		p.writeSingle("resident_memory_bytes", typeGauge, "Resident memory of the process.", uint64(r.resident))
	}
	p.writeSingle("memory_limit_bytes", typeGauge, "Limit of the resident memory (-memory).", uint64(r.limit))
	p.writeSingle("sweeps_total", typeCounter, "Completed passes over all peers to remove expired ones.", r.sweeps)
	p.beginMetric("sweep_seconds_total", typeCounter, "Seconds that these passes took, with the time that they waited for a processor.")
	p.beginSample()
	p.text.number(r.sweepNanos / 1e9)
	p.text.add(".")
	for unit := uint64(1e8); unit >= 1e3; unit /= 10 {
		p.text.number(r.sweepNanos / unit % 10)
	}
	p.text.add("\n")

	if r.list != "" {
		p.writeSingle("list_hashes", typeGauge, "Info hashes in the access list.", uint64(r.hashes))
		p.beginMetric("list_reads_total", typeCounter, "Reloads of the access list, by result.")
		for i, n := range r.reads {
			p.writeSample(n, "result", readNames[i])
		}
		// -status reads the names of torrents there. The label is left out if
		// it would need escapes, or room that is not there.
		if len(r.listPath) < 512 && textutil.Printable(r.listPath) == r.listPath {
			p.beginMetric("list_info", typeGauge, "The access list.")
			p.writeSample(1, "kind", r.list, "path", r.listPath)
		}
	}
	p.writeTopTorrents(r)
	p.writeRefused(r)
	p.writeSingle("stats_write_failures_total", typeCounter, "Reports that could not be written (-stats).", r.writeFailures)
}

// writeTopTorrents writes the metrics of -top.
func (p *metricsWriter) writeTopTorrents(r *report) {
	if len(r.top) == 0 {
		return
	}
	p.beginMetric("top_torrent_peers", typeGauge, "Peers of the torrents with most peers (-top).")
	for i := range r.top {
		t := &r.top[i]
		hash := p.hash(&t.hash)
		for set, n := range t.peers {
			if v6 := set >= leechers6; r.families[b2i(v6)].sockets > 0 {
				p.writeSample(uint64(n), "info_hash", hash, "family", familyNames[b2i(v6)], "role", roleNames[b2i(set == seeders4 || set == seeders6)])
			}
		}
	}
	p.beginMetric("top_torrent_downloads", typeGauge, "Completed downloads of the torrents with most peers (-top).")
	for i := range r.top {
		p.writeSample(uint64(r.top[i].downloads), "info_hash", p.hash(&r.top[i].hash))
	}
}

// writeRefused writes the torrents that the access list refused last. It does
// not compare with the zero value: on mips64 the comparison that Go 1.27.2 makes
// for such an array reads 8 bytes at an address that is not a multiple of 8.
func (p *metricsWriter) writeRefused(r *report) {
	begun := false
	for i := range r.refused {
		t := &r.refused[i]
		if !t.set {
			continue
		}
		if !begun {
			begun = true
			p.beginMetric("refused_torrent_age_seconds", typeGauge, "Seconds since the access list refused this torrent, for the torrents refused last.")
		}
		p.writeSample(uint64(r.uptime-min(t.last, r.uptime)), "info_hash", p.hash(&t.hash))
	}
}

var roleNames = [...]string{"leecher", "seeder"}

// hash returns the text of an info hash, until the next call.
func (p *metricsWriter) hash(h *bep15.InfoHash) string {
	w := textBuilder(p.digits[:0])
	w.hex(h[:])
	return unsafe.String(&p.digits[0], len(p.digits))
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// beginMetric begins a metric. Its samples follow.
func (p *metricsWriter) beginMetric(name, kind, help string) {
	t := &p.text
	p.name, p.family = name, ""
	t.add("# HELP " + metricPrefix)
	t.add(name)
	t.add(" ")
	t.add(help)
	t.add("\n# TYPE " + metricPrefix)
	t.add(name)
	t.add(" ")
	t.add(kind)
	t.add("\n")
}

// writeSingle writes a metric with one sample.
func (p *metricsWriter) writeSingle(name, kind, help string, n uint64) {
	p.beginMetric(name, kind, help)
	p.writeSample(n)
}

// familyOf selects the family of the next samples and returns its counters. It
// returns nil if the tracker does not serve this family.
//
//go:noinline
func (p *metricsWriter) familyOf(r *report, family int) *familyReport {
	p.family = familyNames[family]
	if f := &r.families[family]; f.sockets > 0 {
		return f
	}
	return nil
}

// writeSample writes a line. Labels are pairs of name and value. A label with an
// empty value is left out.
func (p *metricsWriter) writeSample(n uint64, labels ...string) {
	p.beginSample(labels...)
	p.text.number(n)
	p.text.add("\n")
}

// beginSample writes a line up to its value.
func (p *metricsWriter) beginSample(labels ...string) {
	t := &p.text
	t.add(metricPrefix)
	t.add(p.name)
	sep := "{"
	label := func(name, value string) {
		if value != "" {
			t.add(sep)
			t.add(name)
			t.add(`="`)
			t.add(value)
			t.add(`"`)
			sep = ","
		}
	}
	label("family", p.family)
	for i := 0; i < len(labels); i += 2 {
		label(labels[i], labels[i+1])
	}
	if sep == "," {
		t.add("}")
	}
	t.add(" ")
}

// writeVerdicts writes a metric of all verdicts with an action ("": any) and an
// outcome. why is the name of the label for the reason.
func (p *metricsWriter) writeVerdicts(r *report, name, help, action, outcome, why string) {
	p.beginMetric(name, typeCounter, help)
	for i := range r.families {
		f := p.familyOf(r, i)
		if f == nil {
			continue
		}
		for v := range verdictInfo {
			info := &verdictInfo[v]
			if info.outcome != outcome || action != "" && info.action != action {
				continue
			}
			of := ""
			if outcome == outcomeError {
				of = info.action
			}
			p.writeSample(f.verdicts[v].datagrams, "action", of, why, info.reason)
		}
	}
}

var (
	actionNames  = [...]string{"connect", "announce", "scrape", "other"}
	outcomeNames = [...]string{outcomeAnswered, outcomeError, outcomeDropped}
)

// writeBytes writes the bytes received or sent, by action and outcome.
func (p *metricsWriter) writeBytes(r *report, sent bool) {
	for i := range r.families {
		f := p.familyOf(r, i)
		if f == nil {
			continue
		}
		for _, action := range actionNames {
			for _, outcome := range outcomeNames {
				n, met := uint64(0), false
				for v := range verdictInfo {
					if info := &verdictInfo[v]; info.action == action && info.outcome == outcome {
						met = true
						if sent {
							n += f.verdicts[v].out
						} else {
							n += f.verdicts[v].in
						}
					}
				}
				if met && !(sent && outcome == outcomeDropped) {
					p.writeSample(n, "action", action, "outcome", outcome)
				}
			}
		}
	}
}

// sumSamples adds up the samples of a metric in a report that have all labels, for
// example `family="ipv4"`. It ignores fractions.
func sumSamples(report, name string, labels ...string) (n uint64) {
	for rest := report; rest != ""; {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		line, ok := strings.CutPrefix(line, metricPrefix+name)
		if !ok || line == "" || line[0] != '{' && line[0] != ' ' {
			continue
		}
		for _, l := range labels {
			ok = ok && strings.Contains(line, l)
		}
		if ok {
			n += lineValue(line)
		}
	}
	return n
}

// lineValue returns the value of a sample, without its fraction.
func lineValue(line string) uint64 {
	value, _, _ := strings.Cut(line[strings.LastIndexByte(line, ' ')+1:], ".")
	n, _ := strconv.ParseUint(value, 10, 64)
	return n
}

// summaryRows are the lines of -status and of the summary. Each is the sum of the
// samples with a label. An indented row is left out while its sum is 0.
var summaryRows = [...]struct{ title, name, label string }{
	{"datagrams received", "received_datagrams_total", ""},
	{"bytes received", "received_bytes_total", ""},
	{"bytes sent", "sent_bytes_total", ""},
	{"connects", "connects_total", ""},
	{"announces", "announces_total", ""},
	{"  new peers", "announces_total", `"new"`},
	{"  known peers", "announces_total", `"refreshed"`},
	{"  stopped", "announces_total", `"stopped"`},
	{"  stopped, unknown", "announces_total", `"absent"`},
	{"  not stored: full", "announces_total", `"full"`},
	{"  not stored: quota", "announces_total", `"share"`},
	{"scrapes", "scrapes_total", ""},
	{"errors", "errors_total", ""},
	{"  connection ID", "errors_total", `"connection_id"`},
	{"  malformed", "errors_total", `"malformed"`},
	{"  access list", "errors_total", `"access_list"`},
	{"  connect limit", "errors_total", `"connect_limit"`},
	{"dropped", "drops_total", ""},
	{"  network limits", "drops_total", `"network_`},
	{"dropped by the kernel", "kernel_drops_total", ""},
	{"  receive buffer full", "kernel_drops_total", `"buffer"`},
	{"  replies not sent", "send_failures_total", ""},
	{"peers removed", "removed_peers_total", ""},
	{"  expired", "removed_peers_total", `"expired"`},
	{"leechers", "peers", `"leecher"`},
	{"seeders", "peers", `"seeder"`},
}

// summaryText returns the numbers of a report that do not depend on the family.
func summaryText(report string) string {
	var w textBuilder
	w.add(textutil.Count(sumSamples(report, "torrents"), "torrent"))
	w.add("; memory ")
	size := func(name, label, after string) {
		w.add(sizeText(int(sumSamples(report, name, label))))
		w.add(after)
	}
	size("resident_memory_bytes", "", " of ")
	size("memory_limit_bytes", "", "; pool ")
	size("pool_bytes", `"used"`, " of ")
	size("pool_bytes", "", ", peak ")
	size("pool_peak_bytes", "", "")
	for rest := report; ; {
		var ok bool
		if _, rest, ok = strings.Cut(rest, "\n"+metricPrefix+`external_info{family="`); !ok {
			break
		}
		_, rest, _ = strings.Cut(rest, `address="`)
		a, _, _ := strings.Cut(rest, `"`)
		w.add("; external ")
		w.add(a)
	}
	before := "; sandbox: "
	for _, name := range sandbox.Names {
		if sumSamples(report, "sandbox", name) > 0 {
			w.add(before)
			w.add(name)
			before = ", "
		}
	}
	if sumSamples(report, "full") > 0 {
		w.add("; FULL: new peers are not stored")
	}
	return string(w)
}

// summary calls line for each line of the summary, at most ten times.
func (p *metricsWriter) summary(line func(parts ...string)) {
	report := string(p.text)
	line("up ", ageText(seconds(sumSamples(report, "uptime_seconds"))), "; ", summaryText(report), "; IPv4 + IPv6:")
	var w textBuilder
	const most = (len(summaryRows) + 8) / 9 // in a line
	n := 0
	for i, row := range summaryRows {
		if row.title[0] != ' ' || sumSamples(report, row.name, row.label) > 0 {
			if n > 0 {
				w.add(", ")
			}
			w.add(strings.TrimPrefix(row.title, "  "))
			w.count(" ", sumSamples(report, row.name, `"ipv4"`, row.label), " + ")
			w.number(sumSamples(report, row.name, `"ipv6"`, row.label))
			n++
		}
		if n == most || n > 0 && i == len(summaryRows)-1 {
			line(string(w))
			w, n = w[:0], 0
		}
	}
}

// textBuilder is a text to append to.
type textBuilder []byte

// add and number are not inlined, because that would take 5 KB of flash. They
// have many callers and are not on the packet path.
//
//go:noinline
func (w *textBuilder) add(s string) { *w = append(*w, s...) }

//go:noinline
func (w *textBuilder) number(n uint64) { *w = strconv.AppendUint(*w, n, 10) }

//go:noinline
func (w *textBuilder) count(before string, n uint64, after string) {
	w.add(before)
	w.number(n)
	w.add(after)
}

// hex appends bytes as hexadecimal digits.
//
//go:noinline
func (w *textBuilder) hex(b []byte) {
	const digits = "0123456789abcdef"
	for _, c := range b {
		*w = append(*w, digits[c>>4], digits[c&15])
	}
}

// right appends s, aligned to the right in a column.
func (w *textBuilder) right(s string, width int) {
	for ; width > len(s); width-- {
		w.add(" ")
	}
	w.add(s)
}

// ageText returns a time in its two largest units: 3d4h or 5m6s.
func ageText(s seconds) string {
	units := [...]struct {
		size seconds
		name string
	}{{86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}}
	var w textBuilder
	for i, u := range units {
		if s >= u.size || u.size == 1 {
			w.count("", uint64(s/u.size), u.name)
			if u.size > 1 {
				w.count("", uint64(s%u.size/units[i+1].size), units[i+1].name)
			}
			break
		}
	}
	return string(w)
}

// formatSI returns a number with at most five digits and a unit: k, M, G, T or P
// stand for powers of 1000.
func formatSI(n uint64) string {
	unit := 0
	for ; n >= 100000; n /= 1000 {
		unit++
	}
	return textutil.Decimal(n) + " kMGTP"[unit : unit+1][:min(unit, 1)]
}

// sizeText returns a rounded number of bytes in the format of -memory.
func sizeText(n int) string {
	switch {
	case n >= 1<<30 && n%(1<<30) == 0:
		return strconv.Itoa(n>>30) + "G"
	case n >= 10<<20 || n >= 1<<20 && n%(1<<20) == 0:
		return strconv.Itoa(n>>20) + "M"
	}
	return strconv.Itoa(n>>10) + "K"
}
