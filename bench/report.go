package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// column is one thing that a table shows of each contender.
type column struct {
	title string
	of    func(sample) float64
}

// columns are those of the case's table.
func (tc testCase) columns() []column {
	memory := column{"memory, MiB", func(s sample) float64 { return s.memory }}
	if tc.idle {
		return []column{{"KiB per connection", func(s sample) float64 { return s.idle }}, memory}
	}
	return []column{
		{"CPU per request, µs", sample.cost},
		{"user", func(s sample) float64 { return s.user }},
		{"system", func(s sample) float64 { return s.system }},
		{"requests per s", func(s sample) float64 { return s.rate }},
		{"p50, µs", func(s sample) float64 { return s.p50 }},
		{"p99, µs", func(s sample) float64 { return s.p99 }},
		memory,
	}
}

// line shows one sample.
func (tc testCase) line(s sample) string {
	var parts []string
	for _, c := range tc.columns() {
		parts = append(parts, c.title+" "+number(c.of(s)))
	}
	return strings.Join(parts, "; ")
}

// ratio is a contender of ours, and who it is compared with.
type ratio struct{ of, to string }

// ratios compares each of ours with nginx and HAProxy, and the second of ours with the
// first.
func (c comparison) ratios() []ratio {
	var all []ratio
	var first string
	for _, who := range c.contenders {
		if !who.segue {
			continue
		}
		if first != "" {
			all = append(all, ratio{who.name, first})
		} else {
			first = who.name
		}
		for _, other := range []string{"nginx", "haproxy"} {
			if slices.ContainsFunc(c.contenders, func(c contender) bool { return c.name == other }) {
				all = append(all, ratio{who.name, other})
			}
		}
	}
	return all
}

// report writes a table for each case, in Markdown: the medians of all rounds, and
// below them their ratios.
func (c comparison) report(w io.Writer, all results) {
	for _, tc := range c.cases {
		columns := tc.columns()
		head := []string{"proxy"}
		for _, col := range columns {
			head = append(head, col.title)
		}
		rows := [][]string{head}
		for _, who := range c.contenders {
			row := []string{who.name}
			for _, col := range columns {
				row = append(row, number(median(all[tc.name][who.name], col.of)))
			}
			rows = append(rows, row)
		}
		for _, r := range c.ratios() {
			row := []string{r.of + " ÷ " + r.to}
			for _, col := range columns {
				row = append(row, fmt.Sprintf("%.2f", r.in(all[tc.name], col.of)))
			}
			rows = append(rows, row)
		}
		fmt.Fprintf(w, "\n**%s**\n\n", tc.title)
		writeTable(w, rows)
	}
}

// in returns the ratio of two medians.
func (r ratio) in(samples map[string][]sample, of func(sample) float64) float64 {
	return median(samples[r.of], of) / median(samples[r.to], of)
}

// summary is the last line: what a request of the basic case costs the last of ours, in
// terms of the others. It is empty if that wasn't measured.
func (c comparison) summary(all results) string {
	ratios := c.ratios()
	if len(ratios) == 0 || len(all[basic]) == 0 {
		return ""
	}
	last := ratios[len(ratios)-1].of
	var parts []string
	for _, r := range ratios {
		if r.of == last {
			parts = append(parts, fmt.Sprintf("%.2f of %s", r.in(all[basic], sample.cost), r.to))
		}
	}
	return "cpu per request: " + strings.Join(parts, ", ")
}

// median returns the middle of what of says of the samples, or between the two of the
// middle; NaN without samples.
func median(samples []sample, of func(sample) float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	var values []float64
	for _, s := range samples {
		values = append(values, of(s))
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// number writes a number with three digits that say something, or all before the
// point.
func number(x float64) string {
	digits := 0
	switch size := math.Abs(x); {
	case size < 10:
		digits = 2
	case size < 100:
		digits = 1
	}
	return strconv.FormatFloat(x, 'f', digits, 64)
}

// writeTable writes rows as a table in Markdown whose columns are in line in plain
// text, too. The first row is the head.
func writeTable(w io.Writer, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for n, row := range rows {
		line := "|"
		for i, cell := range row {
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				line += " " + cell + space + " |"
			} else {
				line += " " + space + cell + " |"
			}
		}
		fmt.Fprintln(w, line)
		if n == 0 {
			line = "|" + strings.Repeat("-", widths[0]+2) + "|"
			for _, width := range widths[1:] {
				line += strings.Repeat("-", width+1) + ":|"
			}
			fmt.Fprintln(w, line)
		}
	}
}
