// Command analysis simulates rollouts with fixed seeds, and shows how often the tests of
// internal/analysis are wrong and how soon they find what is bad, beside what others do. It
// writes its tables to docs/analysis-figures.md, and a plot beside it.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

func main() {
	quick := flag.Bool("quick", false, "a part of it, in less than a minute, which writes nothing")
	docs := flag.String("docs", "docs", "the directory to write to")
	scale := flag.Float64("scale", 1, "how many runs of each, by those of a whole one")
	only := flag.String("only", "", "write nothing, and do only one part: alarms, stresses, medians, margins, late, promotions or latencies")
	flag.Parse()
	if err := run(*quick, *docs, *only, *scale); err != nil {
		fmt.Fprintln(os.Stderr, "bench/analysis:", err)
		os.Exit(1)
	}
}

// bench is one run of everything.
type bench struct {
	quick bool
	scale float64
	text  strings.Builder
	// worstAlarm is the highest share of false alarms, worstMedian the highest median by
	// its reference.
	worstAlarm, worstMedian float64
	misses                  []string
}

func run(quick bool, docs, only string, scale float64) error {
	b := &bench{quick: quick, scale: scale}
	if quick {
		b.scale = min(scale, 0.06)
	}
	for _, part := range parts() {
		if only == "" || only == part.name {
			part.do(b)
		}
	}
	b.summary()
	b.printf("\n## Evidence over time\n\nA run each, weight 5 %%, no margin.\n\n![Evidence over the requests of four rollouts](analysis-evidence.svg)\n")
	if !quick && only == "" {
		if err := os.WriteFile(filepath.Join(docs, "analysis-figures.md"), []byte(b.text.String()), 0o644); err != nil { //nolint:gosec // a page for all to read
			return err
		}
		if err := os.WriteFile(filepath.Join(docs, "analysis-evidence.svg"), []byte(plot()), 0o644); err != nil { //nolint:gosec // a picture for all to see
			return err
		}
	}
	fmt.Printf("worst false alarm %.2f %%, worst median %.2f of reference\n", 100*b.worstAlarm, b.worstMedian)
	return nil
}

// part is a section of the page.
type part struct {
	name string
	do   func(*bench)
}

func parts() []part {
	return []part{
		{"alarms", (*bench).alarms},
		{"stresses", (*bench).stresses},
		{"medians", (*bench).medians},
		{"margins", (*bench).margins},
		{"late", (*bench).late},
		{"promotions", (*bench).promotions},
		{"latencies", (*bench).latencies},
	}
}

// printf writes to the page and to the terminal.
func (b *bench) printf(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	b.text.WriteString(s)
	fmt.Print(s)
}

// runs is how many runs a cell gets that has so many in a whole run.
func (b *bench) runs(whole int) int {
	return max(20, int(float64(whole)*b.scale))
}

// others is how many runs the tests of others get, which nothing is held to.
func (b *bench) others() int { return b.runs(100) }

// many does the same run with so many seeds, two at once, and returns how each ended.
func many(runs int, once func(rng *rand.Rand) end) []end {
	ends := make([]end, runs)
	var wg sync.WaitGroup
	for part := range 2 {
		wg.Go(func() {
			for i := part; i < runs; i += 2 {
				ends[i] = once(rand.New(rand.NewPCG(20261126, uint64(i)))) //nolint:gosec // seeds are to be known
			}
		})
	}
	wg.Wait()
	return ends
}

// fired is the share of runs that fired.
func fired(ends []end) float64 {
	n := 0
	for _, e := range ends {
		if e.fired {
			n++
		}
	}
	return float64(n) / float64(len(ends))
}

// middle returns the medians of the candidate's requests and of its failed ones; ok is false
// if less than half of the runs fired, so that there are none.
func middle(ends []end) (requests, failed uint64, ok bool) {
	var all, bad []uint64
	for _, e := range ends {
		if e.fired {
			all, bad = append(all, e.requests), append(bad, e.failed)
		} else {
			all = append(all, ^uint64(0))
		}
	}
	if 2*len(bad) <= len(ends) {
		return 0, 0, false
	}
	slices.Sort(all)
	slices.Sort(bad)
	return all[(len(all)-1)/2], bad[(len(bad)-1)/2], true
}
