//go:build linux

package main

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"culvert/internal/nstest"
)

// measuredResults are two rounds of three programs.
func measuredResults(tcpOurs, tcpTheirs float64) *results {
	r := &results{Rounds: 2, Against: "theirs", Machine: machine{CPU: "x", Cores: 2, Kernel: "y", Go: "z"}, Date: "2026-11-21T00:00:00Z",
		Programs: []programInfo{{Name: "ours"}, {Name: "theirs"}, {Name: "floor", Floor: true}}}
	for _, off := range []float64{-0.1, 0.1} {
		r.add("ours", values{"TCP 1 stream Gbit/s": tcpOurs + off, "TCP 1 stream CPU s/GB": 1, worstRSS: 8, "not in the table": 1})
		r.add("theirs", values{"TCP 1 stream Gbit/s": tcpTheirs + off, "TCP 1 stream CPU s/GB": 2, worstRSS: 100})
		r.add("floor", values{"TCP 1 stream Gbit/s": 8 + off})
	}
	return r
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

func TestVerdictsCompareMedians(t *testing.T) {
	for _, c := range []struct {
		ours, theirs float64
		met          bool
		line         string
	}{
		{3, 2, true, "pass TCP 1 stream Gbit/s 1.50 x theirs at least 1.40 go for 1.90"},
		{4, 2, true, "BEST TCP 1 stream Gbit/s 2.00 x theirs at least 1.40 go for 1.90"},
		{2, 2, false, "FAIL TCP 1 stream Gbit/s 1.00 x theirs at least 1.40 go for 1.90"},
	} {
		var out strings.Builder
		met := measuredResults(c.ours, c.theirs).printVerdicts(&out)
		got := squeeze(out.String())
		if met != c.met || !strings.Contains(got, c.line) {
			t.Errorf("met %v, want %v and %q:\n%s", met, c.met, c.line, out.String())
		}
		for _, line := range []string{"pass TCP 1 stream CPU s/GB 0.50 x theirs at most 0.63 go for 0.47 rounds 0.50 to 0.50", "BEST " + worstRSS + " 8.00 at most 32.0"} {
			if !strings.Contains(got, line) {
				t.Errorf("no %q in\n%s", line, out.String())
			}
		}
		if strings.Contains(got, "UDP") {
			t.Errorf("judges what was not measured:\n%s", out.String())
		}
	}
}

func TestTableHasRatios(t *testing.T) {
	var out strings.Builder
	measuredResults(3, 2).printTable(&out)
	got := squeeze(out.String())
	for _, line := range []string{
		"median of 2 ours ratio theirs floor ratio",
		"TCP 1 stream Gbit/s 3.00 x1.50 2.00 8.00 x4.00",
		"TCP 1 stream CPU s/GB 1.00 x0.50 2.00 - -",
		"x, 2 cores, Linux y, z",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("no %q in\n%s", line, out.String())
		}
	}
	if strings.Contains(got, "not in the table") {
		t.Errorf("%s", out.String())
	}
}

func TestMedian(t *testing.T) {
	r := new(results)
	if _, ok := r.median("a", "x"); ok {
		t.Error("there is a median of nothing")
	}
	for i, v := range []float64{9, 1, 5} {
		r.add("a", values{"x": v})
		if m, _ := r.median("a", "x"); m != []float64{9, 5, 5}[i] {
			t.Errorf("after %d values: %v", i+1, m)
		}
	}
}

func TestGoalsAreFigures(t *testing.T) {
	for _, g := range goals {
		f, ok := figureByName(g.figure)
		if !ok || f.better == neither {
			t.Errorf("%s is not a figure that is better or worse", g.figure)
		}
		if (f.better == more) != (g.goFor > g.bound) && g.goFor != g.bound {
			t.Errorf("%s: go for %v is not beyond %v", g.figure, g.goFor, g.bound)
		}
	}
}

func TestResultsCanBeReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.json")
	r := measuredResults(3, 2)
	r.note("something")
	if err := nstest.WriteJSON(file, r); err != nil {
		t.Fatal(err)
	}
	again, err := readResults(file)
	if err != nil || !reflect.DeepEqual(again, r) {
		t.Errorf("%v\n%+v\n%+v", err, again, r)
	}
}

func TestWorstIsOfAllTests(t *testing.T) {
	if got := worst(values{"RSS idle MiB": 3, peakRSS(test{name: "udp64"}): 9, "TCP 1 stream Gbit/s": 20}); got != 9 {
		t.Error(got)
	}
}
