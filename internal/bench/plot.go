//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Colours that stand out from white and from black alike: there is no
// background, so the page's shows through.
var (
	inkColor   = color.RGBA{0x80, 0x80, 0x80, 0xff}
	gridColor  = color.NRGBA{0x80, 0x80, 0x80, 0x40}
	floorColor = color.RGBA{0xd9, 0x5f, 0x0e, 0xff}
	barColors  = []color.Color{color.RGBA{0x2f, 0x81, 0xd6, 0xff}, color.RGBA{0xa0, 0x6c, 0xb4, 0xff}, color.RGBA{0x3a, 0x9a, 0x5c, 0xff}, color.RGBA{0xb0, 0x8a, 0x2e, 0xff}}
)

// Sizes of the plot.
const (
	plotWidth = 10 * vg.Inch
	rowHeight = 0.34 * vg.Inch
	restOf    = 1.6 * vg.Inch // title, axis, legend
	margin    = vg.Length(12)
	barsOfRow = 0.7 // share of a row that bars take
)

// chart is what is drawn: for each figure how many times better than the
// baseline each program is, so that right is better throughout.
type chart struct {
	title []string
	rows  []string // figures, from the top
	bars  []series
	floor series
}

// series is one program; NaN where a figure was not measured.
type series struct {
	name  string
	times []float64
}

// times is how many times better than the baseline a program is; NaN if that
// was not measured.
func (r *results) times(program string, f figure) float64 {
	x, ok := r.ratio(program, f.name)
	switch {
	case !ok || x <= 0:
		return math.NaN()
	case f.better == less:
		return 1 / x
	}
	return x
}

// chart gives what there is to draw.
func (r *results) chart() (c chart) {
	c.title = []string{
		fmt.Sprintf("how many times better than %s (median of %d, logarithmic)", r.Against, r.Rounds),
		fmt.Sprintf("%s; %.10s", r.Machine, r.Date),
	}
	var rows []figure
	for _, f := range figures {
		for _, p := range r.Programs {
			if !math.IsNaN(r.times(p.Name, f)) {
				rows = append(rows, f)
				c.rows = append(c.rows, f.name)
				break
			}
		}
	}
	for _, p := range r.Programs {
		if !r.compares(p.Name) {
			continue
		}
		s := series{name: p.Name}
		for _, f := range rows {
			s.times = append(s.times, r.times(p.Name, f))
		}
		if p.Floor {
			c.floor = s
		} else {
			c.bars = append(c.bars, s)
		}
	}
	return c
}

// plot draws the chart into a file; its ending says which kind, normally .svg.
func (r *results) plot(file string) error {
	c := r.chart()
	if len(c.rows) == 0 || len(c.bars) == 0 {
		return errors.New("nothing to draw: there is nothing to compare with")
	}
	b, err := c.draw(strings.TrimPrefix(filepath.Ext(file), "."))
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}

// draw gives the file: svg or png.
func (c chart) draw(format string) ([]byte, error) {
	p := c.frame()
	for i, s := range c.bars {
		if err := c.addBars(p, i, s); err != nil {
			return nil, err
		}
	}
	if err := c.addFloor(p); err != nil {
		return nil, err
	}
	canvas, err := draw.NewFormattedCanvas(plotWidth, restOf+vg.Length(len(c.rows))*rowHeight, format)
	if err != nil {
		return nil, err
	}
	p.Draw(draw.Crop(draw.New(canvas), margin, -2*margin, margin, -2*margin))
	var b bytes.Buffer
	_, err = canvas.WriteTo(&b)
	// Whoever looks at it may not have the fonts that the text was measured in.
	return bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:'Liberation Sans',Arial,Helvetica,sans-serif;")), err
}

// frame is a plot with title, axes, grid and legend.
func (c chart) frame() *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	p.Title.Text = strings.Join(c.title, "\n")
	p.Title.Padding = vg.Points(8)
	for _, style := range []*text.Style{&p.Title.TextStyle, &p.X.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label, &p.Legend.TextStyle} {
		style.Color = inkColor
		style.Font = font.Font{Typeface: "Liberation", Variant: "Sans", Size: 11}
	}
	p.X.Color, p.X.Tick.Color = inkColor, inkColor
	p.Y.LineStyle.Width, p.Y.Tick.LineStyle.Width = 0, 0
	p.X.Tick.Marker = plot.ConstantTicks(c.ticks())
	p.X.Min, p.X.Max = c.bounds()
	p.Y.Min, p.Y.Max = -0.5, float64(len(c.rows))-0.5
	var rows plot.ConstantTicks
	for i, name := range c.rows {
		rows = append(rows, plot.Tick{Value: c.y(i), Label: name})
	}
	p.Y.Tick.Marker = rows
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Width = gridColor, 0
	p.Add(grid)
	p.Legend.Top, p.Legend.YOffs, p.Legend.Padding = true, vg.Points(40), vg.Points(2) // beside the title
	return p
}

// y is where row i is.
func (c chart) y(i int) float64 { return float64(len(c.rows) - 1 - i) }

// bounds of the axis, in powers of two.
func (c chart) bounds() (low, high float64) {
	low, high = -1, 1
	for _, s := range append([]series{c.floor}, c.bars...) {
		for _, x := range s.times {
			if !math.IsNaN(x) {
				low, high = min(low, math.Floor(math.Log2(x))), max(high, math.Ceil(math.Log2(x)+0.3))
			}
		}
	}
	return low, high
}

// ticks are at the powers of two.
func (c chart) ticks() (t []plot.Tick) {
	low, high := c.bounds()
	for e := low; e <= high; e++ {
		label := fmt.Sprintf("%gx", math.Exp2(e))
		if e < 0 {
			label = fmt.Sprintf("1/%gx", math.Exp2(-e))
		}
		t = append(t, plot.Tick{Value: e, Label: label})
	}
	return t
}

// addBars draws series i, and its numbers.
func (c chart) addBars(p *plot.Plot, i int, s series) error {
	width := barsOfRow * rowHeight / vg.Length(len(c.bars))
	offset := (float64(len(c.bars)-1)/2 - float64(i)) * barsOfRow / float64(len(c.bars)) // in rows
	logs := make(plotter.Values, len(s.times))
	var labels plotter.XYLabels
	for row, x := range s.times {
		at := len(s.times) - 1 - row
		if math.IsNaN(x) {
			continue // the bar stays without length
		}
		logs[at] = math.Log2(x)
		labels.XYs = append(labels.XYs, plotter.XY{X: c.besideFloor(row, max(0, logs[at])), Y: float64(at) + offset})
		labels.Labels = append(labels.Labels, number(x)+"x")
	}
	bars, err := plotter.NewBarChart(logs, width)
	if err != nil {
		return err
	}
	bars.Horizontal, bars.XMin, bars.Color, bars.LineStyle.Width = true, offset, barColors[i%len(barColors)], 0
	numbers, err := plotter.NewLabels(labels)
	if err != nil {
		return err
	}
	for j := range numbers.TextStyle {
		style := &numbers.TextStyle[j]
		style.Color, style.YAlign = inkColor, text.YCenter
		style.Font = font.Font{Typeface: "Liberation", Variant: "Sans", Size: font.Length(min(9, width.Points()+1))}
	}
	numbers.Offset.X = vg.Points(3)
	p.Add(bars, numbers)
	p.Legend.Add(s.name, bars)
	return nil
}

// besideFloor is where the number of a bar that ends at x is written: behind
// the line of the floor, if that would cross it.
func (c chart) besideFloor(row int, x float64) float64 {
	const room = 0.6 // of a number
	if row < len(c.floor.times) {
		if at := math.Log2(c.floor.times[row]); at > x-0.05 && at < x+room {
			return at + 0.03
		}
	}
	return x
}

// addFloor draws a line across each row where the floor is.
func (c chart) addFloor(p *plot.Plot) error {
	var legend *plotter.Line
	for row, x := range c.floor.times {
		if math.IsNaN(x) {
			continue
		}
		at, y := math.Log2(x), c.y(row)
		line, err := plotter.NewLine(plotter.XYs{{X: at, Y: y - barsOfRow/2 - 0.1}, {X: at, Y: y + barsOfRow/2 + 0.1}})
		if err != nil {
			return err
		}
		line.LineStyle = draw.LineStyle{Color: floorColor, Width: vg.Points(2.5)}
		p.Add(line)
		legend = line
	}
	if legend != nil {
		p.Legend.Add(c.floor.name+" (no cryptography)", legend)
	}
	return nil
}
