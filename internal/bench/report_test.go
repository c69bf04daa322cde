//go:build linux

package main

import (
	"strings"
	"testing"

	"culvert/internal/nstest"
)

// twoDaemons are results of two rounds with what the table and the verdicts
// need.
func twoDaemons(tcpOurs, tcpTheirs float64) *results {
	r := newResults(options{rounds: 2, programs: []nstest.Program{{Name: "ours"}, {Name: "theirs"}}})
	for _, off := range []float64{-0.1, 0.1} {
		r.add("ours", values{"tcp1 Gbit/s": tcpOurs + off, "idle RSS MiB": 10})
		r.add("theirs", values{"tcp1 Gbit/s": tcpTheirs + off, "idle RSS MiB": 7})
	}
	return r
}

func TestVerdictsCompareMedians(t *testing.T) {
	for _, c := range []struct {
		ours, theirs float64
		met          bool
		line         string
	}{
		{3, 2, true, "PASS  TCP rate: 1.50 x theirs (target >= 1.2)"},
		{2, 2, false, "FAIL  TCP rate: 1.00 x theirs (target >= 1.2)"},
	} {
		var out strings.Builder
		if met := twoDaemons(c.ours, c.theirs).printVerdicts(&out); met != c.met || !strings.Contains(out.String(), c.line) {
			t.Errorf("met %v, want %v and %q:\n%s", met, c.met, c.line, out.String())
		}
		if strings.Contains(out.String(), "UDP") {
			t.Errorf("judges what was not measured:\n%s", out.String())
		}
	}
}

func TestTableHasRatios(t *testing.T) {
	var out strings.Builder
	twoDaemons(3, 2).printTable(&out)
	if got := strings.Join(strings.Fields(out.String()), " "); !strings.HasSuffix(got, "idle RSS MiB 10.00 7.00 x1.43 tcp1 Gbit/s 3.00 2.00 x1.50") {
		t.Errorf("%s", out.String())
	}
}

func TestMedian(t *testing.T) {
	r := newResults(options{programs: []nstest.Program{{Name: "a"}}})
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

func TestChoose(t *testing.T) {
	var o options
	if err := o.choose("tcp1,udp", []string{"a=/bin/a -x", "b=b"}); err != nil || len(o.tests) != 2 || len(o.programs) != 2 || len(o.programs[0].Args) != 2 {
		t.Errorf("%v, %+v", err, o)
	}
	for _, bad := range []struct {
		tests   string
		daemons []string
	}{{"nonsense", nil}, {"tcp1", []string{"nocommand"}}, {"tcp1", []string{"a="}}, {"tcp1", []string{"=b"}}} {
		if err := new(options).choose(bad.tests, bad.daemons); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}
