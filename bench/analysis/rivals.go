package main

import (
	"math"
	"math/rand/v2"
	"slices"
)

// rival is what others do: it is shown the counts of each minute so far, the last one last,
// and their sum, and says whether it takes the candidate back.
type rival struct {
	name string
	// every is after how many requests it looks.
	every int
	fires func(all []counts, total counts) bool
}

// level is the probability of a false alarm that each look of a rival allows.
const level = 0.01

// zOfLevel is the quantile of the normal distribution for level, one-sided.
const zOfLevel = 2.3263

func rivals() []rival {
	return []rival{
		{"z-test each request", 1, zTest},
		{"z-test each minute", perMinute, zTest},
		{"mSPRT each second", perTick, mixtureTest},
		{"99 % success, 1 min, 5 failures", perMinute, threshold},
		{"Mann-Whitney every 10 min", 10 * perMinute, mannWhitney},
	}
}

// run shows traffic to a rival until it fires.
func (r rival) run(rng *rand.Rand, t traffic) end {
	var all []counts
	var total counts
	var e end
	t.send(rng, func(i int, _ float64, c counts) bool {
		if i%perMinute == 0 {
			all = append(all, counts{})
		}
		last := &all[len(all)-1]
		last.add(c)
		total.add(c)
		e.requests += c.candidate.Requests
		e.failed += c.candidate.Failed
		if (i+1)%r.every == 0 {
			e.fired = r.fires(all, total)
		}
		return !e.fired
	})
	return e
}

func (c *counts) add(o counts) {
	c.stable.Requests += o.stable.Requests
	c.stable.Failed += o.stable.Failed
	c.candidate.Requests += o.candidate.Requests
	c.candidate.Failed += o.candidate.Failed
}

// zTest is the pooled test of two proportions.
func zTest(_ []counts, total counts) bool {
	difference, variance := compare(total)
	return variance > 0 && difference/math.Sqrt(variance) > zOfLevel
}

// compare returns the difference of two rates and its variance if they are the same.
func compare(s counts) (difference, variance float64) {
	n, m := float64(s.candidate.Requests), float64(s.stable.Requests)
	if n == 0 || m == 0 {
		return 0, 0
	}
	f, g := float64(s.candidate.Failed), float64(s.stable.Failed)
	p := (f + g) / (n + m)
	return f/n - g/m, p * (1 - p) * (1/n + 1/m)
}

// mixtureTest is the mixture sequential probability ratio test with a normal approximation
// (R. Johari, L. Pekelis and D. Walsh, "Always valid inference", 2015), with a mixture as wide
// as one percentage point.
func mixtureTest(_ []counts, total counts) bool {
	difference, variance := compare(total)
	if variance <= 0 || difference <= 0 {
		return false
	}
	const wide = 0.01 * 0.01
	log := 0.5*math.Log(variance/(variance+wide)) + wide*difference*difference/(2*variance*(variance+wide))
	return log >= math.Log(1/level)
}

// threshold takes back a candidate with five minutes in which less than 99 % succeeded.
func threshold(all []counts, _ counts) bool {
	bad := 0
	for _, c := range all {
		if c.candidate.Requests > 0 && float64(c.candidate.Failed) > 0.01*float64(c.candidate.Requests) {
			bad++
		}
	}
	return bad >= 5
}

// mannWhitney compares the rates of all minutes so far, by ranks, with the normal
// approximation for ties, as judges of time series do.
func mannWhitney(all []counts, _ counts) bool {
	type sample struct {
		rate      float64
		candidate bool
	}
	var samples []sample
	for _, c := range all {
		if c.candidate.Requests == 0 || c.stable.Requests == 0 {
			continue
		}
		samples = append(samples,
			sample{float64(c.candidate.Failed) / float64(c.candidate.Requests), true},
			sample{float64(c.stable.Failed) / float64(c.stable.Requests), false})
	}
	slices.SortFunc(samples, func(a, b sample) int {
		switch {
		case a.rate < b.rate:
			return -1
		case a.rate > b.rate:
			return 1
		}
		return 0
	})
	total := float64(len(samples))
	ranks, ties := 0.0, 0.0
	for i := 0; i < len(samples); {
		j := i
		for j < len(samples) && samples[j].rate == samples[i].rate {
			j++
		}
		same := float64(j - i)
		ties += same*same*same - same
		for k := i; k < j; k++ {
			if samples[k].candidate {
				ranks += float64(i+j+1) / 2
			}
		}
		i = j
	}
	n := total / 2
	u := ranks - n*(n+1)/2
	variance := n * n / 12 * (total + 1 - ties/(total*(total-1)))
	return variance > 0 && (u-n*n/2-0.5)/math.Sqrt(variance) > zOfLevel
}
