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

// reading is the content of a -stats file, and when it was written.
type reading struct {
	text    string
	written sys.FileState
}

func readReport(path string) (r reading, err error) {
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
func (r *reading) version() string {
	_, v, _ := strings.Cut(r.text, prefix+`build_info{version="`)
	v, _, _ = strings.Cut(v, `"`)
	v = v[:min(len(v), 64)]
	for i := range len(v) {
		if v[i] < ' ' || v[i] > '~' {
			return strconv.QuoteToASCII(v)
		}
	}
	return v
}

// health says in plain words whether the tracker is well: now, or since the
// report before.
func (r *reading) health(then *reading) string {
	text := textutil.Count(sum(r.text, "torrents"), "torrent") + ", " + textutil.Count(sum(r.text, "peers"), "peer")
	lost := func(r *reading) uint64 { return sum(r.text, "kernel_drops_total", `"buffer"`) }
	switch {
	case sum(r.text, "full") > 0:
		return "full: " + text + "; new peers are not stored (-memory)"
	case then.text != "" && lost(r) > lost(then):
		return "overloaded: " + text + "; requests are lost because the receive buffer is too small (-workers)"
	}
	return "healthy: " + text
}

// age returns the age of the report, and an error if it is out of date.
func (r *reading) age(now int64) (seconds, error) {
	every := seconds(sum(r.text, "stats_interval_seconds"))
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

// status shows a -stats file: on a terminal every second until a signal comes,
// else once.
func status(signals <-chan os.Signal, path string, stdout io.Writer, terminal bool) error {
	var last, before reading
	names := &torrentNames{}
	ticks := make(chan struct{})
	if terminal {
		// A timer of package time would bring its time zones along: 30 KB.
		go func() {
			for {
				time.Sleep(time.Second)
				ticks <- struct{}{}
			}
		}()
	}
	for {
		r, err := readReport(path)
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
		if _, err := stdout.Write(screen(&last, &before, names, age, terminal)); err != nil || !terminal {
			return err
		}
		select {
		case <-signals:
			return nil
		case <-ticks:
		}
	}
}

// maxReport is more than a report of -top 100 takes.
const maxReport = 256 << 10

const (
	nameWidth  = 22
	valueWidth = 12
)

// screen returns a report as text, with rates since the report before, or since
// the start without one. On a terminal it overwrites the screen before.
func screen(now, then *reading, names *torrentNames, age seconds, terminal bool) []byte {
	var w words
	end := "\n"
	if terminal {
		w.add("\x1b[H")  // to the top
		end = "\x1b[K\n" // nothing behind the line
	}
	up := sum(now.text, "uptime_seconds")
	elapsed, of := up, "since the start"
	if before := sum(then.text, "uptime_seconds"); before > 0 && before < up {
		elapsed = up - before
		of = "of the last " + ageText(seconds(elapsed))
	} else {
		then = &reading{}
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
	for _, row := range rows {
		if row.title[0] == ' ' && sum(now.text, row.name, row.label) == 0 {
			continue
		}
		w.add(row.title)
		width := nameWidth + valueWidth - len(row.title)
		for _, family := range [...]string{`"ipv4"`, `"ipv6"`} {
			n, was := sum(now.text, row.name, family, row.label), sum(then.text, row.name, family, row.label)
			w.right(short(n), width)
			per := ""
			if strings.HasSuffix(row.name, "_total") {
				per = rate(n-min(n, was), elapsed)
			}
			w.right(per, valueWidth)
			width = valueWidth
		}
		w.add(end)
	}
	w.add(end)
	w.add(state(now.text))
	w.add(end)
	names.show(&w, now.text, end)
	if terminal {
		w.add("\x1b[J") // nothing below
	}
	return w
}

// rate returns n for each second of elapsed seconds.
func rate(n, elapsed uint64) string {
	elapsed = max(elapsed, 1)
	if n/elapsed >= 100 || n == 0 {
		return short(n / elapsed)
	}
	tenths := n * 10 / elapsed
	return textutil.Decimal(tenths/10) + "." + textutil.Decimal(tenths%10)
}
