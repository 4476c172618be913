package report

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   Spread
	}{
		{nil, Spread{}},
		{[]float64{3}, Spread{3, 3, 3}},
		{[]float64{5, 1, 3}, Spread{1, 3, 5}},
		{[]float64{4, 1, 2, 9}, Spread{1, 3, 9}},
	} {
		if got := NewSpread(c.values); got != c.want {
			t.Errorf("%v: %v, want %v", c.values, got, c.want)
		}
	}
	if got := (Spread{1, 1.234, 2}).String(); got != "1.23 (1.00-2.00)" {
		t.Error(got)
	}
	if got := Ratios([]float64{2, 9, 7}, []float64{1, 3}); !slices.Equal(got, []float64{2, 3}) {
		t.Error(got)
	}
}

func TestTable(t *testing.T) {
	table := Table{Names: []string{"name", "n"}}
	table.Add("a", 1.23456)
	table.Add("µs", 123456.7)
	want := "" +
		"| name | n      |\n" +
		"|------|--------|\n" +
		"| a    | 1.235  |\n" +
		"| µs   | 123457 |\n"
	if got := table.Markdown(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	path := filepath.Join(t.TempDir(), "t.csv")
	if err := table.WriteCSV(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || string(text) != "name,n\na,1.235\nµs,123457\n" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestChart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.svg")
	c := Chart{
		Title: "Title", Unit: "things", Groups: []string{"first", "second"}, Line: 1,
		Series: []Series{
			{Name: "here", Values: []Spread{{1, 2, 3}, {2, 2, 2}}},
			{Name: "there", Values: []Spread{{}, {4, 5, 6}}},
		},
	}
	if err := c.WriteSVG(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"<svg", "Title", "things", "first", "second", "here", "there"} {
		if !strings.Contains(string(text), part) {
			t.Errorf("no %q in the chart", part)
		}
	}
}
