// Package report turns measurements into medians with their spread, Markdown
// tables, CSV and charts.
package report

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"os"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// Spread is the median of a few measurements, and the lowest and highest of them.
type Spread struct{ Min, Median, Max float64 }

// NewSpread sums up measurements. Of none, all three are 0.
func NewSpread(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	v := slices.Clone(values)
	slices.Sort(v)
	middle := v[len(v)/2]
	if len(v)%2 == 0 {
		middle = (v[len(v)/2-1] + middle) / 2
	}
	return Spread{Min: v[0], Median: middle, Max: v[len(v)-1]}
}

// String gives the median and, in brackets, the spread.
func (s Spread) String() string { return fmt.Sprintf("%.2f (%.2f-%.2f)", s.Median, s.Min, s.Max) }

// Ratios divides the measurements of two subjects round by round.
func Ratios(a, b []float64) []float64 {
	n := min(len(a), len(b))
	out := make([]float64, 0, n)
	for i := range n {
		out = append(out, a[i]/b[i])
	}
	return out
}

// Table is a table with a line of names.
type Table struct {
	Names []string
	Rows  [][]string
}

// Add adds a row; values are formatted as by fmt.Sprint, floats with at most four digits.
func (t *Table) Add(values ...any) {
	row := make([]string, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case float64:
			row[i] = fmt.Sprintf("%.4g", v)
			if v >= 1000 {
				row[i] = fmt.Sprintf("%.0f", v)
			}
		default:
			row[i] = fmt.Sprint(v)
		}
	}
	t.Rows = append(t.Rows, row)
}

// Markdown writes the table with its columns aligned, so that it reads as text too.
func (t *Table) Markdown() string {
	width := make([]int, len(t.Names))
	for _, row := range append([][]string{t.Names}, t.Rows...) {
		for i, cell := range row {
			width[i] = max(width[i], len([]rune(cell)), 3)
		}
	}
	var b strings.Builder
	line := func(row []string) {
		for i, cell := range row {
			fmt.Fprintf(&b, "| %s%s ", cell, strings.Repeat(" ", width[i]-len([]rune(cell))))
		}
		b.WriteString("|\n")
	}
	line(t.Names)
	for _, w := range width {
		b.WriteString("|" + strings.Repeat("-", w+2))
	}
	b.WriteString("|\n")
	for _, row := range t.Rows {
		line(row)
	}
	return b.String()
}

// WriteCSV writes the table to a file.
func (t *Table) WriteCSV(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := csv.NewWriter(f)
	if err := w.WriteAll(append([][]string{t.Names}, t.Rows...)); err != nil {
		return err
	}
	return f.Close()
}

// Series is one row of bars of a chart; a value whose median is 0 has no bar.
type Series struct {
	Name   string
	Colour [3]uint8
	Values []Spread
}

// Chart is a bar chart: groups side by side, in each a bar of every series.
type Chart struct {
	Title, Unit string
	Groups      []string
	Series      []Series
	// Line is drawn across at this value, if it is not 0.
	Line float64
}

// WriteSVG draws the chart into a file.
func (c *Chart) WriteSVG(path string) error {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	p := plot.New()
	p.Title.Text = c.Title
	p.Y.Label.Text = c.Unit
	p.Y.Min = 0
	p.Legend.Top = true
	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	grid.Horizontal.Color = colour([3]uint8{220, 220, 220})
	p.Add(grid)

	const bar = 6 * vg.Millimeter
	for i, s := range c.Series {
		offset := vg.Length(float64(i)-float64(len(c.Series)-1)/2) * bar
		values := make(plotter.Values, len(s.Values))
		for k, v := range s.Values {
			values[k] = v.Median
		}
		bars, err := plotter.NewBarChart(values, bar)
		if err != nil {
			return err
		}
		bars.Offset = offset
		bars.Color = colour(s.Colour)
		bars.LineStyle.Width = 0
		p.Add(bars, &whiskers{values: s.Values, offset: offset})
		p.Legend.Add(s.Name, bars)
		for _, v := range s.Values {
			p.Y.Max = max(p.Y.Max, v.Max)
		}
	}
	p.Y.Max *= 1.1 + 0.1*float64(len(c.Series)) // the legend stands above the bars
	if c.Line != 0 {
		line, err := plotter.NewLine(plotter.XYs{{X: -0.6, Y: c.Line}, {X: float64(len(c.Groups)) - 0.4, Y: c.Line}})
		if err != nil {
			return err
		}
		line.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
		p.Add(line)
	}
	p.NominalX(c.Groups...)
	p.X.Min, p.X.Max = -0.6, float64(len(c.Groups))-0.4
	p.X.Padding = 0
	p.Legend.YOffs = -vg.Points(2)
	p.Legend.Left = true
	p.Legend.XOffs = vg.Points(8)
	p.Legend.Padding = vg.Points(3)

	width := vg.Length(len(c.Groups)*(len(c.Series)+1))*bar + 4*vg.Centimeter
	drawing, err := p.WriterTo(max(width, 16*vg.Centimeter), 10*vg.Centimeter, "svg")
	if err != nil {
		return err
	}
	var svg bytes.Buffer
	if _, err := drawing.WriteTo(&svg); err != nil {
		return err
	}
	return os.WriteFile(path, webFonts(svg.Bytes()), 0o644)
}

// webFonts names fonts of the same widths for where the first one is not installed.
func webFonts(svg []byte) []byte {
	return bytes.ReplaceAll(svg, []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;"))
}
