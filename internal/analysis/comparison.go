package analysis

import (
	"encoding/json"
	"math"
)

// Comparison tests whether an event, as a failure, happens to more of the candidate's
// requests than its margin allows. The null hypothesis is that at all times
//
//	p_c ≤ factor·p_s + margin
//
// where p_s and p_c are the probabilities of the event for a request of stable and of the
// candidate. They may change from request to request, as long as this holds.
//
// It has two capitals, each 1 at first: one bets against the null hypothesis, and one against
// its opposite, p_c ≥ factor·p_s + margin. If the hypothesis that one bets against is true,
// it is expected to grow at no time.
//
// Its JSON form holds all that it knows; read back, it goes on with the same evidence.
type Comparison struct {
	factor, margin float64
	// late is the share of what is kept that each tick stakes.
	late  float64
	state comparisonState
	// bets are those for weight, if it isn't 0.
	weight float64
	bets   [2]bets
}

// comparisonState is what a restart keeps.
type comparisonState struct {
	// Fail bets that the candidate is worse, Pass that it is better.
	Fail mixture `json:"fail"`
	Pass mixture `json:"pass"`
	// Bases are stable's rates that the bets of Fail and of Pass are made for.
	Bases [2]float64 `json:"bases"`
	// Weight is the last one.
	Weight float64 `json:"weight"`
	// Recent is what Bases are estimated from.
	Recent rate `json:"recent"`
	// Stable and Candidate are all counts so far.
	Stable    Counts `json:"stable"`
	Candidate Counts `json:"candidate"`
}

// NewComparison returns one that has seen nothing. Factor and margin are as in [Metric], and
// ticks as in [Settings].
func NewComparison(factor, margin float64, ticks int) *Comparison {
	if ticks == 0 {
		ticks = DefaultTicks
	}
	c := &Comparison{factor: factor, margin: margin, late: 1 / float64(ticks)}
	c.state.Fail = newMixture(lateShare)
	c.state.Pass = newMixture(0)
	c.state.Bases = c.state.Recent.bases()
	return c
}

// lateShare is what is kept for regressions that come late. It makes an early one take 1 %
// more requests; half of all would make it take 15 %, and find a late one little sooner.
const lateShare = 0.05

// baseStep is how far an estimate, by its logarithm, moves before new bets are made for it.
const baseStep = 0.02

// Begin begins a tick that has requests: it makes the bets from what was seen before.
func (c *Comparison) Begin() {
	c.state.Recent.forget()
	c.begin(c.state.Recent.bases())
}

// begin begins a tick with other estimates of stable's rate, which are from the past, too.
func (c *Comparison) begin(bases [2]float64) {
	c.state.Fail.stake(c.late)
	for i, base := range bases {
		if math.Abs(math.Log(base/c.state.Bases[i])) > baseStep {
			c.state.Bases[i] = base
			c.weight = 0
		}
	}
}

// Add adds what the tick counted under one weight, as in [Stratum]. The order in which things
// are added within a tick doesn't matter. A weight that leaves nothing to compare, 0 or 1, adds
// nothing.
func (c *Comparison) Add(weight float64, stable, candidate Counts) {
	if !inside(weight) {
		return
	}
	if weight != c.weight {
		c.bet(weight)
	}
	c.state.Weight = weight
	c.state.Fail.add(&c.bets[0], stable, candidate)
	c.state.Pass.add(&c.bets[1], stable, candidate)
	c.state.Recent.add(stable)
	c.state.Stable.add(stable)
	c.state.Candidate.add(candidate)
}

// bet makes the bets for a weight.
func (c *Comparison) bet(weight float64) {
	c.weight = weight
	for i, way := range [...]way{worse, better} {
		c.bets[i].make(way, weight, c.factor, c.margin, c.state.Bases[i])
	}
}

// Evidence returns the logarithms of both capitals: that the candidate is worse than its
// margin allows, and that it isn't.
func (c *Comparison) Evidence() (fail, pass float64) {
	return c.state.Fail.log(), c.state.Pass.log()
}

// Reached says whether the two logarithms of [Comparison.Evidence] are at least these. It is
// for who looks after every request.
func (c *Comparison) Reached(fail, pass float64) (failed, passed bool) {
	return c.state.Fail.reaches(fail), c.state.Pass.reaches(pass)
}

// Counts returns all counts so far.
func (c *Comparison) Counts() (stable, candidate Counts) {
	return c.state.Stable, c.state.Candidate
}

// MarshalJSON writes the form described at [Comparison].
func (c *Comparison) MarshalJSON() ([]byte, error) { return json.Marshal(c.state) }

// UnmarshalJSON reads it into one that has the same factor, margin and ticks.
func (c *Comparison) UnmarshalJSON(text []byte) error {
	var state comparisonState
	if err := json.Unmarshal(text, &state); err != nil {
		return err
	}
	c.state, c.weight = state, 0
	return nil
}

func (c *Counts) add(o Counts) {
	c.Requests += o.Requests
	c.Failed += min(o.Failed, o.Requests)
}

// good is how many had no event.
func (c Counts) good() uint64 { return c.Requests - min(c.Failed, c.Requests) }

// rate estimates the probability of an event.
type rate struct {
	Requests float64 `json:"requests"`
	Failed   float64 `json:"failed"`
}

// maxMemory is how many events an estimate is made from before it begins to forget, so that it
// follows a drift.
const maxMemory = 1000

// What is known of stable before anything was seen is as good as so many requests, with so many
// events. Who bets that the candidate is worse takes stable for better than most services are,
// one event in 2,000, and who bets that it is better for worse, one in 300: either has the
// hardest time with its bets where it is the other way round.
const (
	priorRequestsWorse  = 300
	priorFailedWorse    = 0.15
	priorRequestsBetter = 100
	priorFailedBetter   = 0.3
)

func (r *rate) add(c Counts) {
	r.Requests += float64(c.Requests)
	r.Failed += float64(min(c.Failed, c.Requests))
}

// forget makes room for what comes.
func (r *rate) forget() {
	if over := min(r.Failed, r.Requests-r.Failed) / maxMemory; over > 1 {
		r.Requests /= over
		r.Failed /= over
	}
}

// bases are the estimates for those who bet that the candidate is worse, and better.
func (r *rate) bases() [2]float64 {
	return [...]float64{
		(r.Failed + priorFailedWorse) / (r.Requests + priorRequestsWorse),
		(r.Failed + priorFailedBetter) / (r.Requests + priorRequestsBetter),
	}
}
