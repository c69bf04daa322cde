//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// values are what one run of a test measured, by the name of the figure.
type values map[string]float64

// String is for progress lines.
func (v values) String() string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(v)) {
		parts = append(parts, k+" "+number(v[k]))
	}
	return strings.Join(parts, ", ")
}

// number has about three digits that count.
func number(x float64) string {
	switch {
	case x >= 100 || x <= -100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	case x != 0 && x < 0.1:
		return fmt.Sprintf("%.3f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

// results are all that was measured, as it stands in the JSON.
type results struct {
	Date     string        `json:"date"` // RFC 3339
	Commit   string        `json:"commit"`
	Machine  machine       `json:"machine"`
	Rounds   int           `json:"rounds"`
	Seconds  int           `json:"seconds"`
	Programs []programInfo `json:"programs"`
	Against  string        `json:"against"` // the program the others are compared with; "" if there is none
	// Values holds one value a round, by program and figure.
	Values map[string]map[string][]float64 `json:"values"`
	// Notes are what readers of the values have to know, such as where the
	// sender and not the tunnel was the limit.
	Notes []string `json:"notes,omitempty"`
	// Failures are the runs that gave no values.
	Failures []string `json:"failures,omitempty"`
}

// programInfo describes one daemon.
type programInfo struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Command string `json:"command"`
	Floor   bool   `json:"floor,omitempty"` // does no cryptography: a bound, not a rival
}

// add keeps the values of one round.
func (r *results) add(program string, v values) {
	if r.Values == nil {
		r.Values = make(map[string]map[string][]float64)
	}
	if r.Values[program] == nil {
		r.Values[program] = make(map[string][]float64)
	}
	for name, x := range v {
		r.Values[program][name] = append(r.Values[program][name], x)
	}
}

// note keeps a remark once.
func (r *results) note(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(r.Notes, s) {
		r.Notes = append(r.Notes, s)
	}
}

// median of a figure over the rounds; false if it was not measured.
func (r *results) median(program, name string) (float64, bool) {
	v := slices.Sorted(slices.Values(r.Values[program][name]))
	if len(v) == 0 {
		return 0, false
	}
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2, true
}

// ratio of the medians of a program and of the one compared with; false if
// there is none.
func (r *results) ratio(program, name string) (float64, bool) {
	x, ok := r.median(program, name)
	base, measured := r.median(r.Against, name)
	if !ok || !measured || base == 0 || program == r.Against {
		return 0, false
	}
	return x / base, true
}

// measured reports whether any program has the figure.
func (r *results) measured(name string) bool {
	return slices.ContainsFunc(r.Programs, func(p programInfo) bool { return len(r.Values[p.Name][name]) > 0 })
}

// readResults reads what write has written.
func readResults(file string) (*results, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := new(results)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(r.Programs) == 0 {
		return nil, fmt.Errorf("%s: %w", file, errors.New("no results"))
	}
	return r, nil
}
