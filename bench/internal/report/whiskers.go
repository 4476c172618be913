package report

import (
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// whiskers draws a line from the lowest to the highest measurement over each bar of a series, which
// stands beside the middle of its group by an offset.
type whiskers struct {
	values []Spread
	offset vg.Length
}

// Plot implements plot.Plotter.
func (w *whiskers) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	style := draw.LineStyle{Color: color.Black, Width: vg.Points(0.8)}
	for i, v := range w.values {
		if v.Median == 0 || v.Max == v.Min {
			continue
		}
		at := x(float64(i)) + w.offset
		c.StrokeLine2(style, at, y(v.Min), at, y(v.Max))
	}
}

func colour(rgb [3]uint8) color.Color {
	return color.RGBA{R: rgb[0], G: rgb[1], B: rgb[2], A: 255}
}
