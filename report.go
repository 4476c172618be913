package main

import (
	"strconv"
	"strings"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/textutil"
)

// This file owns what the tracker tells of itself: the figures in Prometheus'
// text format, and a summary for the log. It makes words of numbers and knows
// nothing of where they come from.

// report is the state of the tracker at one moment.
type report struct {
	version  string
	uptime   seconds
	every    seconds // between two reports
	families [2]familyReport
	torrents int
	external [2]string // public address and port of IPv4 and IPv6; "": not known

	poolSize, poolUsed, poolPeak, poolResident int // bytes
	resident                                   int // bytes of the process; 0: unknown
	limit                                      int // -memory
	full                                       bool
	sweeps                                     uint64 // passes over all pages
	sweepNanos                                 uint64

	list     string // what the access list is called; "": there is none
	listPath string
	hashes   int // in force
	reads    [numReads]uint64
	unstored uint64 // files of these figures that could not be written

	top     []topTorrent // most peers first
	refused [numRefused]refusedTorrent
}

// familyReport is what there is of IPv4 or IPv6.
type familyReport struct {
	_       [0]func() // never compared: that it could be takes flash
	sockets int
	counters
	kernel          bool   // the kernel tells how many datagrams it dropped
	sorted          bool   // and which for want of room in the receive buffer
	filtered        uint64 // not for that, or not known why
	overflowed      uint64 // for want of room
	seeders         int
	leechers        int
	expired, purged uint64 // peers
}

var familyNames = [2]string{"ipv4", "ipv6"}

// reportBytes is more than a report ever takes.
const reportBytes = 16 << 10

// topBytes is more than one torrent of -top takes.
const topBytes = 640

// prefix begins every name.
const prefix = "pico_tracker_"

const (
	counter = "counter"
	gauge   = "gauge"
)

// sheet is a report as it grows in Prometheus' text format. Its memory serves
// again and again.
type sheet struct {
	text   words
	name   string // of the metric in hand
	family string // of the samples in hand; "": none
	digits [2 * len(bep15.InfoHash{})]byte
}

// fill makes the sheet that of r.
func (p *sheet) fill(r *report) {
	p.text = p.text[:0]
	p.metric("build_info", gauge, "Version of the tracker.")
	p.sample(1, "version", r.version)
	p.single("uptime_seconds", gauge, "Seconds since the start, by the monotonic clock.", uint64(r.uptime))
	p.single("stats_interval_seconds", gauge, "Seconds between two reports (-stats-interval).", uint64(r.every))

	if r.external[0]+r.external[1] != "" {
		p.metric("external_info", gauge, "Public address and port of the tracker (-external-ip).")
		for i, a := range r.external {
			if a != "" {
				p.family = familyNames[i]
				p.sample(1, "address", a)
			}
		}
	}

	p.metric("received_datagrams_total", counter,
		"Datagrams received: the sum of connects, announces, scrapes, errors and drops.")
	for i := range r.families {
		if f := p.of(r, i); f != nil {
			p.sample(f.sum().datagrams)
		}
	}
	p.verdicts(r, "connects_total", "Connects answered.", "connect", outcomeAnswered, "result")
	p.verdicts(r, "announces_total", "Announces answered. With result full or share the peer is not stored: no room, or too many peers from its address.",
		"announce", outcomeAnswered, "result")
	p.verdicts(r, "scrapes_total", "Scrapes answered.", "scrape", outcomeAnswered, "result")
	p.verdicts(r, "errors_total", "Requests answered with an error.", "", outcomeError, "reason")
	p.verdicts(r, "drops_total", "Datagrams without a reply.", "", outcomeDropped, "reason")
	p.metric("received_bytes_total", counter, "Bytes of UDP payload received. Of a datagram longer than any request, only the first part counts.")
	p.bytes(r, false)
	p.metric("sent_bytes_total", counter, "Bytes of UDP payload in replies.")
	p.bytes(r, true)
	p.metric("send_failures_total", counter, "Replies that the kernel refused to send. They also count as connects, announces, scrapes or errors.")
	for i := range r.families {
		if f := p.of(r, i); f != nil {
			p.sample(f.sendFailed)
		}
	}
	p.metric("kernel_drops_total", counter, "Datagrams that the kernel dropped before the tracker received them. "+
		"buffer: the receive buffer was full. filter: not a request, or a wrong checksum. "+
		"The kernel has one number for both. buffer is estimated from the number of full receive buffers "+
		"in the network namespace. unknown: the tracker cannot read /proc.")
	for i := range r.families {
		switch f := p.of(r, i); {
		case f == nil || !f.kernel:
		case f.sorted:
			p.sample(f.filtered, "reason", "filter")
			p.sample(f.overflowed, "reason", "buffer")
		default:
			p.sample(f.filtered, "reason", "unknown")
		}
	}

	p.metric("peers", gauge, "Peers stored.")
	for i := range r.families {
		if f := p.of(r, i); f != nil {
			p.sample(uint64(f.leechers), "role", "leecher")
			p.sample(uint64(f.seeders), "role", "seeder")
		}
	}
	p.metric("removed_peers_total", counter, "Peers removed. announces_total with result new counts the peers added.")
	for i := range r.families {
		if f := p.of(r, i); f != nil {
			p.sample(f.verdicts[announcedStop].datagrams, "reason", "stopped")
			p.sample(f.expired, "reason", "expired")
			p.sample(f.purged, "reason", "access_list")
		}
	}
	p.single("torrents", gauge, "Torrents stored.", uint64(r.torrents))
	full := uint64(0)
	if r.full {
		full = 1
	}
	p.single("full", gauge, "1 while new peers are not stored because the memory is full.", full)

	p.metric("pool_bytes", gauge, "Memory for torrents and peers, in pages of 4 KiB.")
	p.sample(uint64(r.poolUsed), "state", "used")
	p.sample(uint64(r.poolSize-r.poolUsed), "state", "free")
	p.single("pool_peak_bytes", gauge, "Highest pool_bytes with state used since the start.", uint64(r.poolPeak))
	p.single("pool_resident_bytes", gauge, "Memory for torrents and peers that is resident.", uint64(r.poolResident))
	if r.resident > 0 {
		p.single("resident_memory_bytes", gauge, "Resident memory of the process.", uint64(r.resident))
	}
	p.single("memory_limit_bytes", gauge, "Limit of the resident memory (-memory).", uint64(r.limit))
	p.single("sweeps_total", counter, "Completed passes over all peers to remove expired ones.", r.sweeps)
	p.metric("sweep_seconds_total", counter, "Seconds that these passes took, with the time that they waited for a processor.")
	p.begin()
	p.text.number(r.sweepNanos / 1e9)
	p.text.add(".")
	for unit := uint64(1e8); unit >= 1e3; unit /= 10 {
		p.text.number(r.sweepNanos / unit % 10)
	}
	p.text.add("\n")

	if r.list != "" {
		p.single("list_hashes", gauge, "Info hashes in the access list.", uint64(r.hashes))
		p.metric("list_reads_total", counter, "Reloads of the access list, by result.")
		for i, n := range r.reads {
			p.sample(n, "result", readNames[i])
		}
		// -status reads the names of torrents there. The label is left out if
		// it would need escapes, or room that is not there.
		if len(r.listPath) < 512 && textutil.Printable(r.listPath) == r.listPath {
			p.metric("list_info", gauge, "The access list.")
			p.sample(1, "kind", r.list, "path", r.listPath)
		}
	}
	p.torrents(r)
	p.refused(r)
	p.single("stats_write_failures_total", counter, "Reports that could not be written (-stats).", r.unstored)
}

// torrents are the samples of -top.
func (p *sheet) torrents(r *report) {
	if len(r.top) == 0 {
		return
	}
	p.metric("top_torrent_peers", gauge, "Peers of the torrents with most peers (-top).")
	for i := range r.top {
		t := &r.top[i]
		hash := p.hash(&t.hash)
		for set, n := range t.peers {
			if v6 := set >= leechers6; r.families[b2i(v6)].sockets > 0 {
				p.sample(uint64(n), "info_hash", hash, "family", familyNames[b2i(v6)], "role", roleNames[b2i(set == seeders4 || set == seeders6)])
			}
		}
	}
	p.metric("top_torrent_downloads", gauge, "Completed downloads of the torrents with most peers (-top).")
	for i := range r.top {
		p.sample(uint64(r.top[i].downloads), "info_hash", p.hash(&r.top[i].hash))
	}
}

// refused are the samples of the torrents that the access list refused last.
func (p *sheet) refused(r *report) {
	if r.refused == [numRefused]refusedTorrent{} {
		return
	}
	p.metric("refused_torrent_age_seconds", gauge, "Seconds since the access list refused this torrent, for the torrents refused last.")
	for i := range r.refused {
		if t := &r.refused[i]; t.set {
			p.sample(uint64(r.uptime-min(t.last, r.uptime)), "info_hash", p.hash(&t.hash))
		}
	}
}

var roleNames = [...]string{"leecher", "seeder"}

// hash returns the text of an info hash, until the next call.
func (p *sheet) hash(h *bep15.InfoHash) string {
	w := words(p.digits[:0])
	w.hex(h[:])
	return unsafe.String(&p.digits[0], len(p.digits))
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// metric begins the samples of a name.
func (p *sheet) metric(name, kind, help string) {
	t := &p.text
	p.name, p.family = name, ""
	t.add("# HELP " + prefix)
	t.add(name)
	t.add(" ")
	t.add(help)
	t.add("\n# TYPE " + prefix)
	t.add(name)
	t.add(" ")
	t.add(kind)
	t.add("\n")
}

// single is a metric with one sample.
func (p *sheet) single(name, kind, help string, n uint64) {
	p.metric(name, kind, help)
	p.sample(n)
}

// of has the samples that follow be of that family; nil when it is not served.
func (p *sheet) of(r *report, family int) *familyReport {
	p.family = familyNames[family]
	if f := &r.families[family]; f.sockets > 0 {
		return f
	}
	return nil
}

// sample is a line: labels are names and values in turn. One without a value is
// left out.
func (p *sheet) sample(n uint64, labels ...string) {
	p.begin(labels...)
	p.text.number(n)
	p.text.add("\n")
}

// begin is a sample up to its value.
func (p *sheet) begin(labels ...string) {
	t := &p.text
	t.add(prefix)
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

// verdicts is a metric with samples of the verdicts with that action ("": any)
// and outcome. why is the name of the label that tells the reason.
func (p *sheet) verdicts(r *report, name, help, action, outcome, why string) {
	p.metric(name, counter, help)
	for i := range r.families {
		f := p.of(r, i)
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
			p.sample(f.verdicts[v].datagrams, "action", of, why, info.reason)
		}
	}
}

var (
	actionNames  = [...]string{"connect", "announce", "scrape", "other"}
	outcomeNames = [...]string{outcomeAnswered, outcomeError, outcomeDropped}
)

// bytes are the samples of the bytes received, or sent, by action and outcome.
func (p *sheet) bytes(r *report, sent bool) {
	for i := range r.families {
		f := p.of(r, i)
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
					p.sample(n, "action", action, "outcome", outcome)
				}
			}
		}
	}
}

// sum adds up the samples of a metric in a report that have all of these labels, as
// `family="ipv4"`. Fractions are left out.
func sum(report, name string, labels ...string) (n uint64) {
	for rest := report; rest != ""; {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		line, ok := strings.CutPrefix(line, prefix+name)
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

// rows are what people want to see: a metric's samples with that label. One that is
// indented is left out while it is 0.
var rows = [...]struct{ title, name, label string }{
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

// state is what does not go by family, in a report.
func state(report string) string {
	var w words
	w.add(textutil.Count(sum(report, "torrents"), "torrent"))
	w.add("; memory ")
	size := func(name, label, after string) {
		w.add(sizeText(int(sum(report, name, label))))
		w.add(after)
	}
	size("resident_memory_bytes", "", " of ")
	size("memory_limit_bytes", "", "; pool ")
	size("pool_bytes", `"used"`, " of ")
	size("pool_bytes", "", ", peak ")
	size("pool_peak_bytes", "", "")
	for rest := report; ; {
		var ok bool
		if _, rest, ok = strings.Cut(rest, "\n"+prefix+`external_info{family="`); !ok {
			break
		}
		_, rest, _ = strings.Cut(rest, `address="`)
		a, _, _ := strings.Cut(rest, `"`)
		w.add("; external ")
		w.add(a)
	}
	if sum(report, "full") > 0 {
		w.add("; FULL: new peers are not stored")
	}
	return string(w)
}

// summary calls line with the lines of a report for the log: ten at most.
func (p *sheet) summary(line func(parts ...string)) {
	report := string(p.text)
	line("up ", ageText(seconds(sum(report, "uptime_seconds"))), "; ", state(report), "; IPv4 + IPv6:")
	var w words
	const most = (len(rows) + 8) / 9 // in a line
	n := 0
	for i, row := range rows {
		if row.title[0] != ' ' || sum(report, row.name, row.label) > 0 {
			if n > 0 {
				w.add(", ")
			}
			w.add(strings.TrimPrefix(row.title, "  "))
			w.count(" ", sum(report, row.name, `"ipv4"`, row.label), " + ")
			w.number(sum(report, row.name, `"ipv6"`, row.label))
			n++
		}
		if n == most || n > 0 && i == len(rows)-1 {
			line(string(w))
			w, n = w[:0], 0
		}
	}
}

// words is a text that grows.
type words []byte

// add and number are called from many places and seldom: in line they would
// take 5 KB of a router's flash.
//
//go:noinline
func (w *words) add(s string) { *w = append(*w, s...) }

//go:noinline
func (w *words) number(n uint64) { *w = strconv.AppendUint(*w, n, 10) }

//go:noinline
func (w *words) count(before string, n uint64, after string) {
	w.add(before)
	w.number(n)
	w.add(after)
}

// hex adds bytes as hexadecimal digits.
func (w *words) hex(b []byte) {
	const digits = "0123456789abcdef"
	for _, c := range b {
		*w = append(*w, digits[c>>4], digits[c&15])
	}
}

// right adds s at the right of a column.
func (w *words) right(s string, width int) {
	for ; width > len(s); width-- {
		w.add(" ")
	}
	w.add(s)
}

// ageText is a time in its two largest units, as 3d4h or 5m6s.
func ageText(s seconds) string {
	units := [...]struct {
		size seconds
		name string
	}{{86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}}
	var w words
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

// short is a number, with five digits at the most and a k, M, G, T, P or E of
// 1000.
func short(n uint64) string {
	unit := 0
	for ; n >= 100000; n /= 1000 {
		unit++
	}
	return textutil.Decimal(n) + " kMGTP"[unit : unit+1][:min(unit, 1)]
}

// sizeText is a number of bytes as -memory takes it, rounded.
func sizeText(n int) string {
	switch {
	case n >= 1<<30 && n%(1<<30) == 0:
		return strconv.Itoa(n>>30) + "G"
	case n >= 10<<20 || n >= 1<<20 && n%(1<<20) == 0:
		return strconv.Itoa(n>>20) + "M"
	}
	return strconv.Itoa(n>>10) + "K"
}
