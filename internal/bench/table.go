//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// printTable shows medians, and each program as a multiple of the one compared
// with.
func (r *results) printTable(w io.Writer) {
	fmt.Fprintf(w, "%s\n%s, commit %s\n", r.Machine, r.Date, r.Commit)
	for _, p := range r.Programs {
		fmt.Fprintf(w, "%s: %s\n", p.Name, p.Version)
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "median of %d", r.Rounds)
	for _, p := range r.Programs {
		fmt.Fprint(t, "\t", p.Name)
		if r.compares(p.Name) {
			fmt.Fprint(t, "\tratio")
		}
	}
	fmt.Fprintln(t)
	for _, f := range figures {
		if r.measured(f.name) {
			r.printRow(t, f.name)
		}
	}
	t.Flush()
	for _, n := range r.Notes {
		fmt.Fprintln(w, "note:", n)
	}
}

// compares reports whether the program has a column of ratios.
func (r *results) compares(program string) bool { return r.Against != "" && program != r.Against }

func (r *results) printRow(w io.Writer, name string) {
	fmt.Fprint(w, name)
	for _, p := range r.Programs {
		if m, ok := r.median(p.Name, name); ok {
			fmt.Fprint(w, "\t", number(m))
		} else {
			fmt.Fprint(w, "\t-")
		}
		if x, ok := r.ratio(p.Name, name); ok {
			fmt.Fprint(w, "\tx", number(x))
		} else if r.compares(p.Name) {
			fmt.Fprint(w, "\t-")
		}
	}
	fmt.Fprintln(w)
}

// verdict of a goal for a program; ok is false if it was not measured.
func (g goal) verdict(r *results, program string) (value float64, pass, best, ok bool) {
	f, _ := figureByName(g.figure)
	if g.ratio {
		value, ok = r.ratio(program, g.figure)
	} else {
		value, ok = r.median(program, g.figure)
	}
	reached := func(bound float64) bool {
		if f.better == more {
			return value >= bound
		}
		return value <= bound
	}
	return value, reached(g.bound), reached(g.goFor), ok
}

// spread says between which values the rounds lay; "" for a single round, or
// where one gave no value.
func (g goal) spread(r *results, program string) string {
	each := slices.Clone(r.Values[program][g.figure])
	base := r.Values[r.Against][g.figure]
	for i := range each {
		if g.ratio {
			if len(base) != len(each) || base[i] == 0 {
				return ""
			}
			each[i] /= base[i]
		}
	}
	if len(each) < 2 {
		return ""
	}
	return fmt.Sprintf("rounds %s to %s", number(slices.Min(each)), number(slices.Max(each)))
}

// printVerdicts judges the first program; what was not measured is not judged.
func (r *results) printVerdicts(w io.Writer) (met bool) {
	met = true
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, g := range goals {
		value, pass, best, ok := g.verdict(r, r.Programs[0].Name)
		if !ok {
			continue
		}
		f, _ := figureByName(g.figure)
		word, relation, unit := "FAIL", "at most", ""
		if pass {
			word = "pass"
		}
		if best {
			word = "BEST"
		}
		if f.better == more {
			relation = "at least"
		}
		if g.ratio {
			unit = "x " + r.Against
		}
		met = met && pass
		fmt.Fprintf(t, "%s\t%s\t%s %s\t%s %s\tgo for %s\t%s\n", word, g.figure, number(value), unit, relation, number(g.bound), number(g.goFor), g.spread(r, r.Programs[0].Name))
	}
	t.Flush()
	return met
}
