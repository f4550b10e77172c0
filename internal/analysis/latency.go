package analysis

import (
	"encoding/json"
	"math"
	"time"
)

// durations is how many of stable's durations divide its requests into ranks.
const durations = 9

// levels returns the shares of stable's requests that are faster than these durations.
func levels() [durations]float64 {
	return [...]float64{0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.95, 0.99}
}

// thresholds is how many of the durations there is a comparison at: of how many requests take
// longer.
const thresholds = 5

// compared returns which durations these are, by their place among the levels: the 50th, 75th,
// 90th, 95th and 99th percentile.
func compared() [thresholds]int { return [...]int{3, 5, 6, 7, 8} }

// shares are those of the thresholds in the evidence for a fail; the ranks have the rest,
// rankShare. The last threshold has most: what is slow throughout shows in the ranks, and what
// is slow now and then at the last one alone.
func shares() [thresholds]float64 { return [...]float64{0.08, 0.12, 0.15, 0.1, 0.3} }

const rankShare = 0.25

// proved is how many of the thresholds, from the first one, a candidate has to be compared at
// before it passes. Slower by a factor would be slower at every one of them; the last one is
// left out, since one request of a hundred is too few to prove much in a rollout.
const proved = 4

// enoughPast is how many requests of stable the durations are taken from at least.
const enoughPast = 100

// latency tests whether the candidate's requests take longer than factor times as long as
// stable's: whether more of them take longer than factor·τ than of stable's take longer
// than τ, at one duration τ, or at most of them.
type latency struct {
	factor float64
	state  latencyState
}

type latencyState struct {
	// At are the durations; 0 before they are known.
	At [durations]time.Duration `json:"at"`
	// Bank are the comparisons at the thresholds.
	Bank [thresholds]*Comparison `json:"bank"`
	// Ranks are compared beside them.
	Ranks *ranks `json:"ranks"`
	// Fast are the candidate's requests, and as failed those that took longer than half
	// of stable's median.
	Fast Counts `json:"fast"`
}

func newLatency(factor float64, ticks int) *latency {
	l := &latency{factor: factor}
	for i := range l.state.Bank {
		l.state.Bank[i] = NewComparison(1, 0, ticks)
	}
	l.state.Ranks = newRanks(l.state.Bank[0].late)
	return l
}

func (l *latency) observe(t Tick, stream string) {
	begun := false
	for i := range t {
		s := &t[i]
		if s.Stream != stream || s.Stable.Latency == nil || s.Candidate.Latency == nil ||
			s.Stable.Latency.Count()+s.Candidate.Latency.Count() == 0 {
			continue
		}
		if !begun {
			l.begin(s.Past)
			begun = true
		}
		if l.state.At[0] > 0 {
			l.add(s)
		}
	}
}

// begin takes the thresholds of a tick, and stable's rates, from what was before it.
func (l *latency) begin(past Distribution) {
	if past == nil || past.Count() < enoughPast {
		return
	}
	n := float64(past.Count())
	for i, q := range levels() {
		l.state.At[i] = max(1, past.Quantile(q))
	}
	for i, at := range compared() {
		base := (float64(past.Above(l.state.At[at])) + 1) / (n + 2)
		l.state.Bank[i].begin([...]float64{base, base})
	}
	l.state.Ranks.begin()
}

func (l *latency) add(s *Stratum) {
	stable, candidate := l.rank(s.Stable.Latency, 1), l.rank(s.Candidate.Latency, l.factor)
	for i, at := range compared() {
		l.state.Bank[i].Add(s.Weight, stable.longer(at), candidate.longer(at))
	}
	l.state.Ranks.add(s.Weight, stable, candidate)
	fast := s.Candidate.Latency
	l.state.Fast.add(Counts{fast.Count(), fast.Above(l.state.At[compared()[0]] / 2)})
}

// ranked are requests by how many of the durations they took longer than, each of these times
// a factor.
type ranked [durations + 1]uint64

func (l *latency) rank(d Distribution, factor float64) ranked {
	var of ranked
	left := d.Count()
	for i, at := range l.state.At {
		longer := min(left, d.Above(beyond(at, factor)))
		of[i] = left - longer
		left = longer
	}
	of[durations] = left
	return of
}

// longer counts all, and as failed those that took longer than one of the durations.
func (r *ranked) longer(than int) Counts {
	var c Counts
	for i, n := range r {
		c.Requests += n
		if i > than {
			c.Failed += n
		}
	}
	return c
}

// beyond is the candidate's duration for one of stable's.
func beyond(at time.Duration, factor float64) time.Duration {
	return time.Duration(math.Ceil(float64(at) * factor))
}

// evidence is the average of thresholds and ranks for a fail, by their shares, and that of the least of those which
// are to be proved for a pass.
func (l *latency) evidence() (fail, pass float64) {
	fail, pass = l.state.Ranks.state.Fail.log()+math.Log(rankShare), math.Inf(1)
	shares := shares()
	for i, c := range l.state.Bank {
		f, p := c.Evidence()
		fail = sumLogs(fail, f+math.Log(shares[i]))
		if i < proved {
			pass = min(pass, p)
		}
	}
	return fail, pass
}

// muchFaster says whether the candidate's median is less than half of stable's, beyond doubt.
func (l *latency) muchFaster() bool {
	stable, _ := l.state.Bank[0].Counts()
	return newEstimate(l.state.Fast).High < newEstimate(stable).Low
}

// lead is the number of the threshold that adds most to the evidence.
func (l *latency) lead() int {
	found, most := 0, math.Inf(-1)
	shares := shares()
	for i, c := range l.state.Bank {
		fail, _ := c.Evidence()
		if fail += math.Log(shares[i]); fail > most {
			found, most = i, fail
		}
	}
	return found
}

func (l *latency) leading() *Comparison { return l.state.Bank[l.lead()] }

// report fills in the threshold that has the most evidence, and returns its comparison.
func (l *latency) report(r *MetricReport) *Comparison {
	at := l.state.At[compared()[l.lead()]]
	r.Above.Stable, r.Above.Candidate = at, beyond(at, l.factor)
	return l.leading()
}

// missing is as that of a metric: a fail takes one threshold, a pass those to be proved.
func (l *latency) missing(toFail, toPass float64) (fail, pass uint64) {
	every := true
	shares := shares()
	for i, c := range l.state.Bank {
		f, p := c.missing(toFail-math.Log(shares[i]), toPass)
		fail = sooner(fail, f)
		if _, has := c.Evidence(); i < proved && has < toPass {
			pass = max(pass, p)
			every = every && p > 0
		}
	}
	if !every {
		return fail, 0
	}
	return fail, pass
}

// MarshalJSON writes what a restart keeps.
func (l *latency) MarshalJSON() ([]byte, error) { return json.Marshal(l.state) }

// UnmarshalJSON reads it into one that has the same factor and ticks.
func (l *latency) UnmarshalJSON(text []byte) error { return json.Unmarshal(text, &l.state) }
