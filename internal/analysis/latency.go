package analysis

import (
	"encoding/json"
	"math"
	"time"
)

// thresholds is how many durations latencies are compared at.
const thresholds = 5

// levels returns the shares of stable's requests that are faster than the thresholds.
func levels() [thresholds]float64 { return [...]float64{0.5, 0.75, 0.9, 0.95, 0.99} }

// proved is how many of the thresholds, from the first one, a candidate has to be compared at
// before it passes. Slower by a factor would be slower at every one of them; the last one is
// left out, since one request of a hundred is too few to prove much in a rollout.
const proved = 4

// enoughPast is how many requests of stable the thresholds are taken from at least.
const enoughPast = 100

// latency tests whether the candidate's requests take longer than factor times as long as
// stable's: whether more of them take longer than factor·τ than of stable's take longer
// than τ.
type latency struct {
	factor float64
	state  latencyState
}

type latencyState struct {
	// At are the thresholds τ; 0 before they are known.
	At [thresholds]time.Duration `json:"at"`
	// Bank are the comparisons at each of them.
	Bank [thresholds]*Comparison `json:"bank"`
	// Fast are the candidate's requests, and as failed those that took longer than half
	// of stable's median.
	Fast Counts `json:"fast"`
}

func newLatency(factor float64, ticks int) *latency {
	l := &latency{factor: factor}
	for i := range l.state.Bank {
		l.state.Bank[i] = NewComparison(1, 0, ticks)
	}
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
		at := max(1, past.Quantile(q))
		l.state.At[i] = at
		l.state.Bank[i].begin((float64(past.Above(at)) + 1) / (n + 2))
	}
}

func (l *latency) add(s *Stratum) {
	for i, at := range l.state.At {
		l.state.Bank[i].Add(s.Weight, longer(s.Stable.Latency, at), longer(s.Candidate.Latency, l.beyond(at)))
	}
	l.state.Fast.add(longer(s.Candidate.Latency, l.state.At[0]/2))
}

// beyond is the candidate's threshold for one of stable's.
func (l *latency) beyond(at time.Duration) time.Duration {
	return time.Duration(math.Ceil(float64(at) * l.factor))
}

func longer(d Distribution, at time.Duration) Counts { return Counts{d.Count(), d.Above(at)} }

// evidence is the average of the thresholds for a fail, and that of the least of those which
// are to be proved for a pass.
func (l *latency) evidence() (fail, pass float64) {
	fail, pass = math.Inf(-1), math.Inf(1)
	for i, c := range l.state.Bank {
		f, p := c.Evidence()
		fail = sumLogs(fail, f-math.Log(thresholds))
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

// lead is the number of the threshold that has the most evidence.
func (l *latency) lead() int {
	found, most := 0, math.Inf(-1)
	for i, c := range l.state.Bank {
		if fail, _ := c.Evidence(); fail > most {
			found, most = i, fail
		}
	}
	return found
}

func (l *latency) leading() *Comparison { return l.state.Bank[l.lead()] }

// report fills in the threshold that has the most evidence, and returns its comparison.
func (l *latency) report(r *MetricReport) *Comparison {
	at := l.state.At[l.lead()]
	r.Above.Stable, r.Above.Candidate = at, l.beyond(at)
	return l.leading()
}

// missing is as that of a metric: a fail takes one threshold, a pass those to be proved.
func (l *latency) missing(toFail, toPass float64) (fail, pass uint64) {
	every := true
	for i, c := range l.state.Bank {
		f, p := c.missing(toFail+math.Log(thresholds), toPass)
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
