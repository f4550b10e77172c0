package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/segue-deploy/segue/internal/analysis"
)

const alpha = analysis.DefaultAlpha

// allowed is how many false alarms of so many runs are within two standard errors of alpha.
func allowed(runs int) float64 { return alpha + 2*math.Sqrt(alpha*(1-alpha)/float64(runs)) }

// alarm notes a share of false alarms of ours, and returns it as a cell.
func (b *bench) alarm(what string, ends []end) string {
	share := fired(ends)
	b.worstAlarm = max(b.worstAlarm, share)
	if share > allowed(len(ends)) {
		b.misses = append(b.misses, fmt.Sprintf("%s: %.2f %% false alarms", what, 100*share))
	}
	return percent(share)
}

// reached notes a median of ours by its reference, and returns it as a cell.
func (b *bench) reached(what string, ends []end, reference float64) string {
	requests, _, ok := middle(ends)
	if !ok {
		b.misses = append(b.misses, what+": not found by half of the runs")
		b.worstMedian = math.Inf(1)
		return "none"
	}
	ratio := float64(requests) / reference
	// A whole number of requests can't be nearer to a small reference than one.
	if small := math.Abs(float64(requests)-reference) <= 1; small {
		ratio = min(ratio, 1.1)
	}
	b.worstMedian = max(b.worstMedian, ratio)
	if ratio > 1.1 {
		b.misses = append(b.misses, fmt.Sprintf("%s: %d requests, %.2f times the reference of %.0f", what, requests, ratio, reference))
	}
	return fmt.Sprintf("%d (%.0f)", requests, reference)
}

func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }

// fails is a run of ours until a fail.
func fails(t traffic, margin float64) func(rng *rand.Rand) end {
	return func(rng *rand.Rand) end { return segue(rng, t, margin, false, 1/alpha) }
}

func (b *bench) alarms() {
	runs := b.runs(2000)
	b.printf("# Figures of the analysis\n\nWritten by `make bench-analysis`, with fixed seeds. α is 1 %%. The service gets %d requests a second.\n\n", perTick)
	b.printf("## False alarms\n\nBoth releases are healthy, 100,000 requests, no margin; %d runs a cell (the others: %d). Up to %s is within two standard errors of α.\n\n", runs, b.others(), percent(allowed(runs)))
	b.printf("| failures | weight | Segue, looked at after every request |")
	for _, r := range rivals() {
		b.printf(" %s |", r.name)
	}
	b.printf("\n|---|---|---|%s\n", dashes(len(rivals())))
	for _, p := range []float64{0.001, 0.01, 0.05} {
		for _, w := range []float64{0.01, 0.05, 0.25, 0.5} {
			t := healthy(p, w, 100_000)
			b.printf("| %s | %.0f %% | %s |", percent(p), 100*w, b.alarm(fmt.Sprintf("%v at %v", p, w), many(runs, fails(t, 0))))
			for _, r := range rivals() {
				if b.quick {
					b.printf(" |")
					continue
				}
				b.printf(" %s |", percent(fired(many(b.others(), func(rng *rand.Rand) end { return r.run(rng, t) }))))
			}
			b.printf("\n")
		}
	}
}

func dashes(n int) string {
	s := ""
	for range n {
		s += "---|"
	}
	return s
}

// stresses are what breaks tests that take requests for independent and alike.
func (b *bench) stresses() {
	ramp := func(i int) float64 { return []float64{0.05, 0.25, 0.5}[min(i/40_000, 2)] }
	burst := func(i int) float64 {
		if i >= 90_000 && i < 96_000 {
			return 0.2
		}
		return 0.01
	}
	drift := func(i int) float64 { return 0.01 * (1 + 0.9*math.Sin(float64(i)/5000)) }
	rising := func(i int) float64 { return 0.001 + 0.03*float64(i)/120_000 }
	cases := []struct {
		name string
		t    traffic
	}{
		{"ramp 5, 25, 50 % with a burst of errors of both in the last stage", traffic{120_000, ramp, burst, burst, 1}},
		{"rates that go up and down, ramp", traffic{120_000, ramp, drift, drift, 1}},
		{"rates that rise from 0.1 to 3 %, ramp", traffic{120_000, ramp, rising, rising, 1}},
		{"sticky: 50 requests each of clients of whom 1 % always fail, by client", traffic{100_000, always(0.25), always(0.01), always(0.01), 50}},
		{"the same, by request (not how it is used)", traffic{100_000, always(0.25), always(0.01), always(0.01), -50}},
	}
	runs := b.runs(1000)
	b.printf("\n## What breaks other tests\n\n%d runs each, both releases alike, no margin.\n\n| traffic | Segue | z-test each minute |\n|---|---|---|\n", runs)
	for _, c := range cases {
		ends := many(runs, fails(c.t, 0))
		ours := percent(fired(ends))
		if c.t.each >= 0 {
			ours = b.alarm(c.name, ends)
		}
		pooled := "–"
		if c.t.each == 1 {
			pooled = percent(fired(many(b.others(), func(rng *rand.Rand) end { return rivals()[1].run(rng, c.t) })))
		}
		b.printf("| %s | %s | %s |\n", c.name, ours, pooled)
	}
}

// change is a stable rate, that of a bad candidate, and how many requests of the candidate
// it should take to find it, by weight.
type change struct {
	stable, candidate float64
	references        map[float64]float64
}

func (c change) String() string {
	return fmt.Sprintf("%g → %g %%", 100*c.stable, 100*c.candidate)
}

func (c change) traffic(w float64) traffic {
	return traffic{2_000_000, always(w), always(c.stable), always(c.candidate), 1}
}

func (b *bench) medians() {
	changes := []change{
		{0.01, 0.02, map[float64]float64{0.05: 1567, 0.25: 2297, 0.5: 3583}},
		{0.001, 0.01, map[float64]float64{0.05: 448, 0.25: 713, 0.5: 1212}},
		{0.001, 0.05, map[float64]float64{0.05: 50, 0.25: 89, 0.5: 172}},
		{0.001, 0.5, map[float64]float64{0.05: 3, 0.25: 7, 0.5: 13}},
		{0.0001, 0.002, map[float64]float64{0.05: 1945, 0.25: 2687, 0.5: 4847}},
	}
	b.printf("\n## Requests of the candidate until a fail\n\nMedians, no margin; the reference in parentheses. The others: at 5 %%, and what share of the runs they find within 400,000 requests.\n\n")
	b.printf("| change | 5 %% | 25 %% | 50 %% | failed at 5 %% | Mann-Whitney every 10 min | 99 %% success, 1 min, 5 failures |\n|---|---|---|---|---|---|---|\n")
	for _, c := range changes {
		b.printf("| %s |", c)
		var failed uint64
		for _, w := range []float64{0.05, 0.25, 0.5} {
			ends := many(b.runs(2000), fails(c.traffic(w), 0))
			b.printf(" %s |", b.reached(fmt.Sprintf("%s at %.0f %%", c, 100*w), ends, c.references[w]))
			if w == 0.05 {
				_, failed, _ = middle(ends)
			}
		}
		b.printf(" %d |", failed)
		for _, i := range []int{4, 3} {
			b.printf(" %s |", b.rival(rivals()[i], c))
		}
		b.printf("\n")
	}
}

func (b *bench) rival(r rival, c change) string {
	if b.quick {
		return ""
	}
	t := c.traffic(0.05)
	t.requests = 400_000
	ends := many(b.others(), func(rng *rand.Rand) end { return r.run(rng, t) })
	requests, _, ok := middle(ends)
	if !ok {
		return fmt.Sprintf("– (%.0f %% found)", 100*fired(ends))
	}
	return fmt.Sprintf("%d (%.0f %% found)", requests, 100*fired(ends))
}

func (b *bench) margins() {
	changes := []change{
		{0.001, 0.05, map[float64]float64{0.05: 92}},
		{0.001, 0.02, map[float64]float64{0.05: 581}},
		{0.01, 0.05, map[float64]float64{0.05: 223}},
		{0.001, 0.01, map[float64]float64{0.05: 5408}},
		{0.01, 0.02, map[float64]float64{0.05: 7981}},
	}
	b.printf("\n## The same with the margin of half a percentage point\n\nWeight 5 %%. The forecast is what `segue plan` says.\n\n| change | requests | forecast |\n|---|---|---|\n")
	s := analysis.Settings{Alpha: alpha, Beta: analysis.DefaultBeta, Metrics: []analysis.Metric{
		{Name: "errors", Kind: analysis.Errors, Share: 1, Factor: 1, Margin: analysis.DefaultMargin}}}
	for _, c := range changes {
		ends := many(b.runs(2000), fails(c.traffic(0.05), analysis.DefaultMargin))
		b.printf("| %s | %s | %d |\n", c, b.reached(c.String()+" with a margin", ends, c.references[0.05]), s.Forecast(c.stable, c.candidate, 0.05).Fail)
	}
}

// late has a candidate become bad after 60,000 healthy requests.
func (b *bench) late() {
	const healthy = 60_000
	t := traffic{400_000, always(0.05), always(0.001), func(i int) float64 {
		if i < healthy {
			return 0.001
		}
		return 0.02
	}, 1}
	ends := many(b.runs(1000), fails(t, 0))
	var after []end
	for _, e := range ends {
		e.requests -= min(e.requests, healthy/20)
		after = append(after, e)
	}
	b.printf("\n## A late regression\n\n0.1 → 2 %% after 60,000 healthy requests, weight 5 %%: %s requests of the candidate after that.\n", b.reached("late regression", after, 1288))
}

func (b *bench) promotions() {
	b.printf("\n## Requests of the candidate until a pass\n\nMargin half a percentage point; wrong passes are of a candidate just at the margin, within 100,000 requests; at most 5 %% may be.\n\n")
	b.printf("| failures | weight | good candidate | forecast | wrong passes |\n|---|---|---|---|---|\n")
	s := analysis.Settings{Alpha: alpha, Beta: analysis.DefaultBeta, Metrics: []analysis.Metric{
		{Name: "errors", Kind: analysis.Errors, Share: 1, Factor: 1, Margin: analysis.DefaultMargin}}}
	references := map[float64][]float64{0.001: {724, 795, 860}, 0.01: {2502, 2992, 3972}}
	for _, p := range []float64{0.001, 0.01} {
		for i, w := range []float64{0.05, 0.25, 0.5} {
			passes := func(t traffic) func(*rand.Rand) end {
				return func(rng *rand.Rand) end {
					return segue(rng, t, analysis.DefaultMargin, true, 1/analysis.DefaultBeta)
				}
			}
			ends := many(b.runs(2000), passes(healthy(p, w, 2_000_000)))
			edge := healthy(p, w, 100_000)
			edge.candidate = always(p + analysis.DefaultMargin)
			runs := b.runs(2000)
			wrong := fired(many(runs, passes(edge)))
			if wrong > 0.05+2*math.Sqrt(0.05*0.95/float64(runs)) {
				b.misses = append(b.misses, fmt.Sprintf("wrong passes %s at %v, %v", percent(wrong), p, w))
			}
			b.printf("| %s | %.0f %% | %s | %d | %s |\n", percent(p), 100*w,
				b.reached(fmt.Sprintf("pass at %v, weight %v", p, w), ends, references[p][i]), s.Forecast(p, 2*p, w).Pass, percent(wrong))
		}
	}
}

func (b *bench) latencies() {
	cases := []struct {
		name      string
		slow      slowness
		reference float64
	}{
		{"×1.2", times(1.2), 931},
		{"×1.5", times(1.5), 65},
		{"×2", times(2), 15},
		{"tail above p95 ×1.5", slowTail(1.5), 385},
		{"2 % of requests +500 ms", stalls(0.02, 500*time.Millisecond), 1037},
	}
	b.printf("\n## Latency\n\nLog-normal, median 50 ms, σ 0.6; weight 5 %%, m = 1.1. Requests of the candidate until a fail, medians.\n\n| change | requests |\n|---|---|\n")
	for _, c := range cases {
		ends := many(b.runs(1000), func(rng *rand.Rand) end {
			return latency(rng, c.slow, 1.1, 0.05, 400_000, analysis.Fail)
		})
		b.printf("| %s | %s |\n", c.name, b.reached("latency "+c.name, ends, c.reference))
	}
	runs := b.runs(1000)
	ends := many(runs, func(rng *rand.Rand) end {
		return latency(rng, times(1.1), 1.1, 0.25, 30_000, analysis.Fail)
	})
	b.printf("\nFalse alarms at exactly m, weight 25 %%, 30,000 requests: %s of %d runs.\n", b.alarm("latency at m", ends), runs)
}

func (b *bench) summary() {
	b.printf("\n## What isn't reached\n\n")
	if len(b.misses) == 0 {
		b.printf("All is: false alarms within α and two standard errors, medians within 10 %% of their references.\n")
	}
	for _, miss := range b.misses {
		b.printf("- %s\n", miss)
	}
}
