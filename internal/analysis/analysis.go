// Package analysis judges a candidate by its requests beside those of stable, and may do so
// after every one of them: it says fail as soon as there is enough evidence, and a good
// candidate fails with a probability of at most alpha, however long and often it is looked at.
//
// The evidence is the capital of a gambler who bets that the candidate is worse than its
// margin allows, at odds that are fair, or bad for him, if it isn't (a test martingale). By
// Ville's inequality such a capital ever reaches 1/alpha times what it began with, with a
// probability of at most alpha. Another gambler bets that the candidate is better than that:
// if he wins, it passes.
//
// The main loop is the caller's: a [Judge] is built from [Settings], [Judge.Observe] takes
// the counts of a tick, of a second say, and returns the [Verdict]; [Judge.Report] says why.
// Nothing here reads a clock, draws a number or allocates on the way of a tick. A
// [Comparison] is the test of one kind of event, which the judge has several of.
//
// A request stands for whatever unit the caller counts, and these have to be independent of
// one another: with clients that keep to a release it is the client, since what one of them
// gets says little about what the next one will.
//
// Sources: J. Ville, Étude critique de la notion de collectif (1939); A. Ramdas, P. Grünwald,
// V. Vovk and G. Shafer, "Game-theoretic statistics and safe anytime-valid inference",
// Statistical Science 38(4) (2023); R. Turner, A. Ly and P. Grünwald, "Generic e-variables
// for exact sequential k-sample tests that allow for optional stopping" (2021).
package analysis

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Verdict is what the evidence says so far.
type Verdict string

// The verdicts.
const (
	// Pass says that the candidate isn't worse than its margins allow.
	Pass Verdict = "pass"
	// Fail says that it is.
	Fail Verdict = "fail"
	// Inconclusive says that there isn't enough evidence for either.
	Inconclusive Verdict = "inconclusive"
)

// Kind is what a metric compares.
type Kind string

// The kinds of metrics.
const (
	// Errors compares how many requests fail.
	Errors Kind = "errors"
	// Latency compares how long requests take.
	Latency Kind = "latency"
)

// Settings are what a [Judge] goes by.
type Settings struct {
	// Alpha is the share of good candidates that may fail: more than 0, less than 1.
	// It holds for all metrics together.
	Alpha float64 `json:"alpha"`
	// Beta is the share of bad candidates, those at a margin or beyond it, that may pass.
	Beta float64 `json:"beta"`
	// Ticks is about how many ticks with requests a rollout takes. A part of the
	// first gambler's money is kept for regressions that come late, and staked over this
	// time; a rollout may well take longer. 0 is [DefaultTicks].
	Ticks int `json:"ticks"`
	// Metrics are what is compared. Any of them can make a candidate fail; it passes
	// when all of them let it.
	Metrics []Metric `json:"metrics"`
}

// The defaults.
const (
	DefaultAlpha         = 0.01
	DefaultBeta          = 0.05
	DefaultMargin        = 0.005
	DefaultLatencyFactor = 1.2
	DefaultTicks         = 1000
)

// Metric is one thing that is compared.
type Metric struct {
	// Name is what reports call it. No two have the same.
	Name string `json:"name"`
	// Kind is what it compares.
	Kind Kind `json:"kind"`
	// Stream names the counts it looks at: those of each [Stratum] with this stream.
	// Requests and synthetic probes are two streams. Empty is a name like any other.
	Stream string `json:"stream,omitempty"`
	// Share is this metric's share of alpha. The sum of all is 1.
	Share float64 `json:"share"`
	// Factor is how many times as many requests may fail as stable's, or how many times
	// as long they may take: for errors more than 0, for latency from 1 on.
	Factor float64 `json:"factor"`
	// Margin is which share of the requests may fail beyond that: 0.005 is half a
	// percentage point. It is 0 for latency.
	Margin float64 `json:"margin,omitempty"`
	// Optional has a pass not wait for this metric.
	Optional bool `json:"optional,omitempty"`
}

// Tick is what has been counted since the last one. Requests of the same stream that were
// drawn under different weights are in different strata.
type Tick []Stratum

// Stratum is what a tick counted in one stream and under one weight.
type Stratum struct {
	// Stream is that of the metrics it is for.
	Stream string
	// Weight is the probability by which a request was drawn to the candidate: more
	// than 0, less than 1, and the one in force when it was drawn. Where no coin is
	// drawn, but both get requests independently of how these end, as with probes or
	// with counters of elsewhere, it is the candidate's share of this stratum's requests.
	Weight float64
	// Stable and Candidate are what each of them got.
	Stable, Candidate Arm
	// Past is how long stable's requests took before this tick, in this stream, under
	// any weight; the judge gets its thresholds from it. It may be nil if Stable.Latency
	// is.
	Past Distribution
}

// Arm is what one release got in a stratum. What isn't mature yet is in no count.
type Arm struct {
	// Requests counts all, Failed those of them that failed.
	Requests, Failed uint64
	// Latency is how long they took; nil if that isn't known.
	Latency Distribution
	// Clients are up to two different clients whose requests failed, by any numbers
	// that stand for them.
	Clients []uint64
}

// Distribution is how long a number of requests took, as kept in buckets. Those that
// weren't over at their maturity count as longer than anything.
type Distribution interface {
	// Count is how many requests there are.
	Count() uint64
	// Above is how many took longer than the lowest bound between two buckets which
	// isn't below d.
	Above(d time.Duration) uint64
	// Quantile is a bound between two buckets, about that below which the share q of
	// the requests lies.
	Quantile(q float64) time.Duration
}

// Counts are a number of requests, and how many of them failed, or took too long.
type Counts struct {
	Requests uint64 `json:"requests"`
	Failed   uint64 `json:"failed"`
}

// Report says why a verdict is what it is.
type Report struct {
	Verdict Verdict `json:"verdict"`
	// Culprit is the metric that made the candidate fail, or that has the most evidence
	// against it if only all together have enough. It is empty without a fail.
	Culprit string `json:"culprit,omitempty"`
	// Fail is the evidence of all metrics together that the candidate is worse than it
	// may be.
	Fail Evidence `json:"fail"`
	// Metrics are in the order of the settings.
	Metrics []MetricReport `json:"metrics"`
	// Warnings are in no particular order.
	Warnings []Warning `json:"warnings,omitempty"`
	// Missing is about how many more requests of the candidate it takes to a verdict, if
	// they go on as before; 0 if there is a verdict, or no way to tell.
	Missing uint64 `json:"missing,omitempty"`
}

// MetricReport is what a [Report] says about one metric.
type MetricReport struct {
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
	// Stable and Candidate are the shares of requests that failed. Of latency they are
	// the shares of those that took longer than Above, which is the threshold with the
	// most evidence against the candidate.
	Stable    Estimate `json:"stable"`
	Candidate Estimate `json:"candidate"`
	// Above are the thresholds as they are now; 0 for errors.
	Above struct {
		Stable    time.Duration `json:"stable"`
		Candidate time.Duration `json:"candidate"`
	} `json:"above,omitzero"`
	// Fail and Pass are the evidence that the candidate is worse than the metric
	// allows, and that it isn't.
	Fail Evidence `json:"fail"`
	Pass Evidence `json:"pass"`
	// Missing is as that of [Report], for this metric alone.
	Missing uint64 `json:"missing,omitempty"`
}

// Estimate is a share of requests, with an interval that holds it with a probability of
// 95 %, all the time and not only at a time fixed before.
type Estimate struct {
	Counts
	// Share is Failed/Requests; 0 without requests.
	Share float64 `json:"share"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// Evidence is how many times its first capital a bet has become, and what is enough.
type Evidence struct {
	// Value is at most 1e12: more is no more convincing.
	Value float64 `json:"value"`
	// Enough is when it counts: 1/(share·alpha) for a fail, 1/beta for a pass.
	Enough float64 `json:"enough"`
}

// maxEvidence is what reports show at most.
const maxEvidence = 1e12

// Warning is a sentence about what somebody should know, and that decides nothing.
type Warning string

// The warnings.
const (
	// MuchFaster is for a candidate whose median is less than half of stable's.
	MuchFaster Warning = "the candidate is much faster than stable: what fails early looks fast"
	// OneClient is for enough evidence of failures which one client alone may have had.
	OneClient Warning = "there is evidence enough for a fail, but so few failures that one client may have had all of them"
)

// Validate says what is wrong with the settings.
func (s Settings) Validate() error {
	switch {
	case !inside(s.Alpha):
		return fmt.Errorf("analysis: alpha is %v, want more than 0 and less than 1", s.Alpha)
	case !inside(s.Beta):
		return fmt.Errorf("analysis: beta is %v, want more than 0 and less than 1", s.Beta)
	case s.Ticks < 0:
		return fmt.Errorf("analysis: the number of ticks is %d, want 0 or more", s.Ticks)
	case len(s.Metrics) == 0:
		return errors.New("analysis: there is no metric, want one or more")
	}
	sum, names := 0.0, map[string]bool{}
	for _, m := range s.Metrics {
		if err := m.validate(); err != nil {
			return fmt.Errorf("analysis: metric %q: %w", m.Name, err)
		}
		if names[m.Name] {
			return fmt.Errorf("analysis: two metrics are called %q, want another name for one", m.Name)
		}
		names[m.Name] = true
		sum += m.Share
	}
	if math.Abs(sum-1) > 1e-9 {
		return fmt.Errorf("analysis: the shares of the metrics add up to %v, want 1", sum)
	}
	return nil
}

func (m Metric) validate() error {
	switch {
	case m.Kind != Errors && m.Kind != Latency:
		return fmt.Errorf("its kind is %q, want %q or %q", m.Kind, Errors, Latency)
	case !(m.Share > 0 && m.Share <= 1):
		return fmt.Errorf("its share is %v, want more than 0 and at most 1", m.Share)
	case m.Kind == Latency && !(m.Factor >= 1 && m.Factor <= maxFactor):
		return fmt.Errorf("its factor is %v, want 1 to %v", m.Factor, maxFactor)
	case !(m.Factor > 0 && m.Factor <= maxFactor):
		return fmt.Errorf("its factor is %v, want more than 0 and at most %v", m.Factor, maxFactor)
	case m.Kind == Latency && m.Margin != 0:
		return fmt.Errorf("its margin is %v, want 0: latency has a factor alone", m.Margin)
	case !(m.Margin >= 0 && m.Margin < 1):
		return fmt.Errorf("its margin is %v, want 0 or more and less than 1", m.Margin)
	}
	return nil
}

// maxFactor bounds what a candidate may be worse by.
const maxFactor = 1000.0

// inside says whether p is a probability that leaves room for doubt; NaN isn't.
func inside(p float64) bool { return p > 0 && p < 1 }
