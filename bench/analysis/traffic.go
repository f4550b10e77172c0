package main

import (
	"math"
	"math/rand/v2"

	"github.com/segue-deploy/segue/internal/analysis"
)

// The simulated service gets perTick requests a second, and a judge of others looks at it
// each minute.
const (
	perTick   = 100
	perMinute = 60 * perTick
)

// traffic is what a simulated service does, by the number of a request.
type traffic struct {
	requests          int
	weight            func(i int) float64
	stable, candidate func(i int) float64
	// each is how many requests a client sends, of which all or none fail; 0 and 1 are
	// requests that are independent.
	each int
}

// counts are those of one request, or of more.
type counts struct{ stable, candidate analysis.Counts }

func always(p float64) func(int) float64 { return func(int) float64 { return p } }

// healthy is a service whose releases both fail at a rate of p.
func healthy(p, weight float64, requests int) traffic {
	return traffic{requests: requests, weight: always(weight), stable: always(p), candidate: always(p)}
}

// send draws the requests one after the other until see returns false.
func (t traffic) send(rng *rand.Rand, see func(i int, weight float64, c counts) bool) {
	var c counts
	for i := range t.requests {
		w := t.weight(i)
		if t.each <= 1 || i%t.each == 0 {
			c = t.draw(rng, i, w)
		}
		if !see(i, w, c) {
			return
		}
	}
}

func (t traffic) draw(rng *rand.Rand, i int, w float64) counts {
	var c counts
	arm, rate := &c.stable, t.stable
	if rng.Float64() < w {
		arm, rate = &c.candidate, t.candidate
	}
	arm.Requests = 1
	if rng.Float64() < rate(i) {
		arm.Failed = 1
	}
	return c
}

// end is how a run ended.
type end struct {
	fired bool
	// requests and failed are the candidate's until then.
	requests, failed uint64
}

// segue runs a comparison over traffic, looks at it after every request, and ends with the
// one that brings its evidence to enough.
func segue(rng *rand.Rand, t traffic, margin float64, pass bool, enough float64) end {
	c := analysis.NewComparison(1, margin, analysis.DefaultTicks)
	fired, logEnough := false, math.Log(enough)
	unit := max(1, t.each)
	if byRequest := t.each < 0; byRequest {
		t.each, unit = -t.each, 1
	}
	t.send(rng, func(i int, w float64, k counts) bool {
		if i%perTick == 0 {
			c.Begin()
		}
		if i%unit != 0 {
			return true
		}
		c.Add(w, k.stable, k.candidate)
		failed, passed := c.Reached(logEnough, logEnough)
		fired = failed && !pass || passed && pass
		return !fired
	})
	_, candidate := c.Counts()
	return end{fired, candidate.Requests, candidate.Failed}
}
