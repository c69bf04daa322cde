//go:build linux

package main

import (
	"encoding/xml"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
)

func TestChartIsTimesBetter(t *testing.T) {
	c := measuredResults(3, 2).chart()
	if want := []string{"TCP 1 stream Gbit/s", "TCP 1 stream CPU s/GB", worstRSS}; !reflect.DeepEqual(c.rows, want) {
		t.Errorf("rows %q, want %q", c.rows, want)
	}
	if want := []series{{"ours", []float64{1.5, 2, 12.5}}}; !reflect.DeepEqual(c.bars, want) {
		t.Errorf("bars %v, want %v", c.bars, want)
	}
	if f := c.floor.times; c.floor.name != "floor" || len(f) != 3 || f[0] != 4 || !math.IsNaN(f[1]) || !math.IsNaN(f[2]) {
		t.Errorf("floor %v", c.floor)
	}
}

// What is drawn is found again in the file: elements by what they are filled
// or stroked with, and the text.
func TestPlotHasTheBars(t *testing.T) {
	svg, err := measuredResults(3, 2).chart().draw("svg")
	if err != nil {
		t.Fatal(err)
	}
	colors := map[string]int{}
	var texts []string
	for d := xml.NewDecoder(strings.NewReader(string(svg))); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			for _, a := range token.Attr {
				for _, color := range []string{"fill:#2F81D6", "stroke:#D95F0E", "NaN", "-80000000"} {
					if a.Name.Local == "style" && strings.Contains(a.Value, color) {
						colors[color]++
					}
				}
			}
		case xml.CharData:
			if s := strings.TrimSpace(string(token)); s != "" {
				texts = append(texts, s)
			}
		}
	}
	// Three bars and one floor; each is once more in the legend.
	if want := map[string]int{"fill:#2F81D6": 3 + 1, "stroke:#D95F0E": 1 + 1}; !reflect.DeepEqual(colors, want) {
		t.Errorf("%v, want %v", colors, want)
	}
	all := strings.Join(texts, "|")
	for _, want := range []string{"TCP 1 stream Gbit/s", "1.50x", "2.00x", "12.5x", "ours", "floor (no cryptography)", "1x", "2x", "2026-11-21"} {
		if !strings.Contains("|"+all+"|", want) {
			t.Errorf("no %q in %s", want, all)
		}
	}
}

func TestNothingToDraw(t *testing.T) {
	r := measuredResults(3, 2)
	r.Against = ""
	if err := r.plot(t.TempDir() + "/x.svg"); err == nil {
		t.Error("drew a comparison with nothing")
	}
}
