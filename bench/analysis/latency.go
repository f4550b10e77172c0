package main

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/segue-deploy/segue/internal/analysis"
)

// histogram keeps durations in buckets, each 0.3 % wider than the one before, so that 1.1 times
// a bound is a bound.
type histogram struct {
	count   uint64
	buckets [3400]uint64
}

// narrow is the logarithm of a bucket's width, the 32nd part of that of 1.1; shortest is the
// lowest bound.
const (
	narrow   = 0.09531017980432493 / 32
	shortest = float64(time.Millisecond)
)

func bound(i int) time.Duration { return time.Duration(shortest * math.Exp(narrow*float64(i))) }

func (h *histogram) add(d float64) {
	h.buckets[min(bucket(d), len(h.buckets)-1)]++
	h.count++
}

func bucket(d float64) int { return max(0, int(math.Log(d/shortest)/narrow)) }

// bucketAbove is the first bucket that has nothing below d.
func bucketAbove(d time.Duration) int {
	return max(0, int(math.Ceil(math.Log(float64(d)/shortest)/narrow-1e-4)))
}

func (h *histogram) Count() uint64 { return h.count }

func (h *histogram) Above(d time.Duration) uint64 {
	n := uint64(0)
	for _, c := range h.buckets[min(bucketAbove(d), len(h.buckets)):] {
		n += c
	}
	return n
}

func (h *histogram) Quantile(q float64) time.Duration {
	rank, n := uint64(q*float64(h.count)), uint64(0)
	for i, c := range h.buckets {
		if n += c; n > rank {
			return bound(i + 1)
		}
	}
	return bound(len(h.buckets))
}

// sample is a few durations, as if in the buckets of a histogram.
type sample struct{ all []float64 }

func (s *sample) Count() uint64 { return uint64(len(s.all)) }

func (s *sample) Above(d time.Duration) uint64 {
	first := bucketAbove(d)
	n := uint64(0)
	for _, x := range s.all {
		if bucket(x) >= first {
			n++
		}
	}
	return n
}

// Quantile isn't asked for.
func (s *sample) Quantile(float64) time.Duration { return 0 }

// slowness says how long a request of the candidate takes that would take d on stable.
type slowness func(rng *rand.Rand, d float64) float64

func times(factor float64) slowness {
	return func(_ *rand.Rand, d float64) float64 { return factor * d }
}

// The simulated latencies are log-normal.
const (
	median = float64(50 * time.Millisecond)
	sigma  = 0.6
)

// slowTail makes what is above the 95th percentile take factor times as long.
func slowTail(factor float64) slowness {
	p95 := median * math.Exp(sigma*1.6449)
	return func(_ *rand.Rand, d float64) float64 {
		if d > p95 {
			return factor * d
		}
		return d
	}
}

// stalls makes a share of all take longer.
func stalls(share float64, longer time.Duration) slowness {
	return func(rng *rand.Rand, d float64) float64 {
		if rng.Float64() < share {
			return d + float64(longer)
		}
		return d
	}
}

// latency runs a judge of nothing but latencies over so many requests; it looks after every
// 20 of them.
func latency(rng *rand.Rand, slow slowness, factor, weight float64, requests int, until analysis.Verdict) end {
	j, err := analysis.New(analysis.Settings{
		Alpha: analysis.DefaultAlpha, Beta: analysis.DefaultBeta,
		Metrics: []analysis.Metric{{Name: "latency", Kind: analysis.Latency, Share: 1, Factor: factor}},
	})
	if err != nil {
		panic(err)
	}
	past, stable, candidate := &histogram{}, &sample{}, &sample{}
	for range 1000 { // stable served before there was a candidate
		past.add(median * math.Exp(sigma*rng.NormFloat64()))
	}
	const each = 20 // one of them for the candidate, at 5 %
	var e end
	for sent := 0; sent < requests; sent += each {
		stable.all, candidate.all = stable.all[:0], candidate.all[:0]
		for range each {
			d := median * math.Exp(sigma*rng.NormFloat64())
			if rng.Float64() < weight {
				candidate.all = append(candidate.all, slow(rng, d))
			} else {
				stable.all = append(stable.all, d)
			}
		}
		e.requests += candidate.Count()
		verdict := j.Observe(analysis.Tick{{
			Weight:    weight,
			Stable:    analysis.Arm{Requests: stable.Count(), Latency: stable},
			Candidate: analysis.Arm{Requests: candidate.Count(), Latency: candidate},
			Past:      past,
		}})
		if verdict == until {
			e.fired = true
			return e
		}
		for _, d := range stable.all {
			past.add(d)
		}
	}
	return e
}
