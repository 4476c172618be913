package report

import (
	"bytes"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// Point is a place on a Graph.
type Point struct{ X, Y float64 }

// Curve is what was measured: its points are joined by a line.
type Curve struct {
	Name   string
	Colour [3]uint8
	Points []Point
}

// Graph is curves over one axis.
type Graph struct {
	Title, X, Y string
	Curves      []Curve
}

// WriteSVG draws the graph into a file.
func (g *Graph) WriteSVG(path string) error {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	p := plot.New()
	p.Title.Text = g.Title
	p.X.Label.Text, p.Y.Label.Text = g.X, g.Y
	p.X.Min, p.Y.Min = 0, 0
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.XOffs, p.Legend.YOffs = vg.Points(8), -vg.Points(2)
	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	grid.Horizontal.Color = colour([3]uint8{220, 220, 220})
	p.Add(grid)
	for _, c := range g.Curves {
		points := make(plotter.XYs, len(c.Points))
		for i, at := range c.Points {
			points[i] = plotter.XY{X: at.X, Y: at.Y}
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return err
		}
		line.Color, line.Width = colour(c.Colour), vg.Points(1.5)
		p.Add(line)
		p.Legend.Add(c.Name, line)
	}
	p.X.Max *= 1.02
	p.Y.Max *= 1.1
	drawing, err := p.WriterTo(16*vg.Centimeter, 10*vg.Centimeter, "svg")
	if err != nil {
		return err
	}
	var svg bytes.Buffer
	if _, err := drawing.WriteTo(&svg); err != nil {
		return err
	}
	return os.WriteFile(path, webFonts(svg.Bytes()), 0o644)
}
