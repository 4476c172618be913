package main

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/sys"
	"github.com/fabricionaweb/pico-tracker/internal/textutil"
)

// This file shows -status: it reads a -stats file and prints it for people. It
// knows the names of the metrics, and nothing else of the tracker.

// staleAfter is how many reports may be missing before the file is out of date.
const staleAfter = 3

// statsFile is the content of a -stats file, and when it was written.
type statsFile struct {
	text    string
	written sys.FileState
}

func readStatsFile(path string) (r statsFile, err error) {
	if err := sys.CheckRegular(path); err != nil {
		return r, err
	}
	f, err := sys.Open(path)
	if err != nil {
		return r, err
	}
	defer f.Close()
	if r.written, err = f.Stat(); err != nil {
		return r, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxReport))
	r.text = string(b)
	return r, err
}

// version returns the version of the tracker. It is quoted if a terminal might
// take it for more than text.
func (r *statsFile) version() string {
	_, v, _ := strings.Cut(r.text, metricPrefix+`build_info{version="`)
	v, _, _ = strings.Cut(v, `"`)
	v = v[:min(len(v), 64)]
	for i := range len(v) {
		if v[i] < ' ' || v[i] > '~' {
			return strconv.QuoteToASCII(v)
		}
	}
	return v
}

// health returns one line about the state of the tracker. Lost requests count if
// they were lost after the report before.
func (r *statsFile) health(then *statsFile) string {
	text := textutil.Count(sumSamples(r.text, "torrents"), "torrent") + ", " + textutil.Count(sumSamples(r.text, "peers"), "peer")
	lost := func(r *statsFile) uint64 { return sumSamples(r.text, "kernel_drops_total", `"buffer"`) }
	switch {
	case sumSamples(r.text, "full") > 0:
		return "full: " + text + "; new peers are not stored (-memory)"
	case then.text != "" && lost(r) > lost(then):
		return "overloaded: " + text + "; requests are lost because the receive buffer is too small (-workers)"
	}
	return "healthy: " + text
}

// age returns the age of the report, and an error if it is out of date.
func (r *statsFile) age(now int64) (seconds, error) {
	every := seconds(sumSamples(r.text, "stats_interval_seconds"))
	if every == 0 {
		return 0, errors.New("not a -stats file of pico-tracker")
	}
	age := seconds(max(0, now-r.written.Seconds)) // a clock may have been set
	if age <= staleAfter*every {
		return age, nil
	}
	return age, errors.New("out of date: written " + ageText(age) + " ago, but due every " + ageText(every) +
		"; the tracker does not run, or cannot write the file")
}

// showStatus shows a -stats file: once, or on a terminal every second until a
// signal arrives.
func showStatus(signals <-chan os.Signal, path string, stdout io.Writer, terminal bool) error {
	var last, before statsFile
	names := &torrentNames{}
	ticks := make(chan struct{})
	if terminal {
		// A timer of package time would link its time zones: 30 KB.
		go func() {
			for {
				time.Sleep(time.Second)
				ticks <- struct{}{}
			}
		}()
	}
	for {
		r, err := readStatsFile(path)
		if err == sys.ErrNoFile {
			err = errors.New("no such file; start the tracker with -stats " + strconv.Quote(path))
		}
		age := seconds(0)
		if err == nil {
			age, err = r.age(time.Now().Unix())
		}
		if err != nil {
			return errors.New("-status " + strconv.Quote(path) + ": " + err.Error())
		}
		if r.written != last.written {
			before, last = last, r
		}
		if _, err := stdout.Write(renderStatus(&last, &before, names, age, terminal)); err != nil || !terminal {
			return err
		}
		select {
		case <-signals:
			return nil
		case <-ticks:
		}
	}
}

// maxReport is more than the size of a report with -top 100.
const maxReport = 256 << 10

const (
	nameWidth  = 22
	valueWidth = 12
)

// renderStatus returns a report as text, with rates since the report before, or since
// the start if there is none. On a terminal it overwrites the previous screen.
func renderStatus(now, then *statsFile, names *torrentNames, age seconds, terminal bool) []byte {
	var w textBuilder
	end := "\n"
	if terminal {
		w.add("\x1b[H")  // move to the top
		end = "\x1b[K\n" // clear to the end of the line
	}
	up := sumSamples(now.text, "uptime_seconds")
	elapsed, of := up, "since the start"
	if before := sumSamples(then.text, "uptime_seconds"); before > 0 && before < up {
		elapsed = up - before
		of = "of the last " + ageText(seconds(elapsed))
	} else {
		then = &statsFile{}
	}
	w.add(now.health(then))
	w.add(end)
	w.add("pico-tracker ")
	w.add(now.version())
	w.add(", up ")
	w.add(ageText(seconds(up)))
	w.add("; written ")
	w.add(ageText(age))
	w.add(" ago; rates ")
	w.add(of)
	w.add(end)
	w.add(end)
	w.right("IPv4", nameWidth+valueWidth)
	w.right("a second", valueWidth)
	w.right("IPv6", valueWidth)
	w.right("a second", valueWidth)
	w.add(end)
	for _, row := range summaryRows {
		if row.title[0] == ' ' && sumSamples(now.text, row.name, row.label) == 0 {
			continue
		}
		w.add(row.title)
		width := nameWidth + valueWidth - len(row.title)
		for _, family := range [...]string{`"ipv4"`, `"ipv6"`} {
			n, was := sumSamples(now.text, row.name, family, row.label), sumSamples(then.text, row.name, family, row.label)
			w.right(formatSI(n), width)
			per := ""
			if strings.HasSuffix(row.name, "_total") {
				per = rateText(n-min(n, was), elapsed)
			}
			w.right(per, valueWidth)
			width = valueWidth
		}
		w.add(end)
	}
	w.add(end)
	w.add(summaryText(now.text))
	w.add(end)
	names.show(&w, now.text, end)
	if terminal {
		w.add("\x1b[J") // clear to the end of the screen
	}
	return w
}

// rateText returns n for each second of elapsed seconds.
func rateText(n, elapsed uint64) string {
	elapsed = max(elapsed, 1)
	if n/elapsed >= 100 || n == 0 {
		return formatSI(n / elapsed)
	}
	tenths := n * 10 / elapsed
	return textutil.Decimal(tenths/10) + "." + textutil.Decimal(tenths%10)
}
