package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fabricionaweb/pico-tracker/bench/internal/load"
	"github.com/fabricionaweb/pico-tracker/bench/internal/report"
	"github.com/fabricionaweb/pico-tracker/bench/internal/subject"
)

// reportSpeed writes every run as CSV, and medians with their spread as Markdown and as a chart.
func (b *bench) reportSpeed(all []*measurement, notes []note) error {
	if path := b.path("speed.csv"); path != "" {
		if err := speedCSV(all).WriteCSV(path); err != nil {
			return err
		}
	}
	var text strings.Builder
	fmt.Fprintf(&text, "# Speed\n\n%s.\n\n", machine())
	text.WriteString("Processor time of the server for one request, in microseconds, compared with the\n" +
		"reference: a loop in C that answers the same datagrams with as many bytes and does nothing else. One\n" +
		"worker pinned to one processor, the load generator on another, all subjects in turn. The median of the\n" +
		"rounds and, in brackets, the lowest and the highest; ratios are taken within a round.\n\n")
	text.WriteString(speedTable(all).Markdown())
	text.WriteString("\n")
	for _, w := range load.Workloads() {
		fmt.Fprintf(&text, "- `%s`: %s\n", w.Name, w.About)
	}
	if len(notes) > 0 {
		text.WriteString("\n")
	}
	for _, n := range notes {
		fmt.Fprintf(&text, "- %s, %s: %s\n", n.About, n.Subject, n.Figure)
	}
	if err := b.publish("speed.md", text.String()); err != nil {
		return err
	}
	if path := b.path("speed.svg"); path != "" {
		return speedChart(all).WriteSVG(path)
	}
	return nil
}

func speedTable(all []*measurement) *report.Table {
	t := &report.Table{Names: []string{"workload", "family", "subject", "us a request", "times the reference", "requests a processor-second", "lost", "refused"}}
	for _, w := range load.Workloads() {
		for _, v6 := range []bool{false, true} {
			for _, name := range []string{subject.Reference, subject.Pico, subject.Base, subject.Opentracker, subject.Aquatic, subject.Naive} {
				us := times(all, v6, w.Name, name)
				if len(us) == 0 {
					continue
				}
				ratio := "-"
				if reference := times(all, v6, w.Name, subject.Reference); len(reference) > 0 && name != subject.Reference {
					ratio = report.NewSpread(report.Ratios(us, reference)).String()
				}
				lost := sum(values(all, v6, w.Name, name, func(m *measurement) float64 { return float64(m.result.Resent) }))
				refused := sum(values(all, v6, w.Name, name, func(m *measurement) float64 { return float64(m.result.Refused() + m.result.Malformed()) }))
				if name == subject.Reference {
					refused = 0 // its replies have the right length on average only
				}
				t.Add(w.Name, family(v6), name, report.NewSpread(us), ratio, 1e6/report.NewSpread(us).Median, lost, refused)
			}
		}
	}
	return t
}

func sum(values []float64) (s float64) {
	for _, v := range values {
		s += v
	}
	return s
}

func speedCSV(all []*measurement) *report.Table {
	t := &report.Table{Names: []string{
		"family", "workload", "subject", "round", "requests", "seconds", "cpu_us_per_request", "requests_per_second", "busy",
		"peers_per_announce", "announce_bytes", "scrape_bytes", "refused", "malformed", "resent", "lost",
		"p50_us", "p99_us", "p999_us",
	}}
	for _, m := range all {
		r := m.result
		t.Add(family(m.v6), m.workload, m.subject, m.round, r.Requests(), r.Elapsed.Seconds(), m.perRequest(), m.rate(),
			m.cpu.Seconds()/r.Elapsed.Seconds(), r.PeersPerAnnounce(), r.Announce.BytesPerAnswer(), r.Scrape.BytesPerAnswer(),
			r.Refused(), r.Malformed(), r.Resent, r.Lost(),
			r.Latency.Quantile(0.5).Microseconds(), r.Latency.Quantile(0.99).Microseconds(), r.Latency.Quantile(0.999).Microseconds())
	}
	return t
}

// speedChart shows how many times the reference each subject takes. The naive tracker would dwarf
// the others; it is in the table.
func speedChart(all []*measurement) *report.Chart {
	c := &report.Chart{
		Title: "Processor time a request (lower is better)", Unit: "times the reference", Line: 1,
	}
	for _, s := range []struct {
		name   string
		v6     bool
		colour [3]uint8
	}{
		{subject.Pico, false, [3]uint8{31, 119, 180}},
		{subject.Pico, true, [3]uint8{140, 190, 225}},
		{subject.Opentracker, false, [3]uint8{200, 120, 60}},
		{subject.Aquatic, false, [3]uint8{90, 160, 90}},
	} {
		if !slices.ContainsFunc(all, func(m *measurement) bool { return m.subject == s.name && m.v6 == s.v6 }) {
			continue // not installed, or left out
		}
		series := report.Series{Name: s.name + ", " + family(s.v6), Colour: s.colour}
		for _, w := range load.Workloads() {
			ratios := report.Ratios(times(all, s.v6, w.Name, s.name), times(all, s.v6, w.Name, subject.Reference))
			series.Values = append(series.Values, report.NewSpread(ratios))
			if !slices.Contains(c.Groups, w.Name) {
				c.Groups = append(c.Groups, w.Name)
			}
		}
		c.Series = append(c.Series, series)
	}
	return c
}
