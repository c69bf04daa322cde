//go:build linux

package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"
)

// table is one of Markdown, aligned for people: docs/performance.md has them as they are
// printed.
type table [][]string

func (t *table) row(cells ...string) { *t = append(*t, cells) }

// print writes it, and a blank line; nothing if there is only the head.
func (t table) print(w io.Writer) (err error) {
	if len(t) < 2 {
		return nil
	}
	width := make([]int, len(t[0]))
	for _, cells := range t {
		for i, c := range cells {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	line := func(cells []string, pad string) {
		for i := range width {
			c := ""
			if i < len(cells) {
				c = cells[i]
			}
			c = pad + c + strings.Repeat(pad, width[i]-utf8.RuneCountInString(c)) + pad
			if _, e := fmt.Fprint(w, "|", c); e != nil {
				err = e
			}
		}
		fmt.Fprintln(w, "|")
	}
	line(t[0], " ")
	line(nil, "-")
	for _, cells := range t[1:] {
		line(cells, " ")
	}
	fmt.Fprintln(w)
	return err
}

// number has about three digits that count.
func number(x float64) string {
	switch {
	case x >= 100 || x <= -100:
		return thousands(int64(math.Round(x)))
	case x >= 10 || x <= -10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

// thousands has a comma before every three digits.
func thousands(n int64) string {
	if n < 0 {
		return "-" + thousands(-n)
	}
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
