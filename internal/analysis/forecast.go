package analysis

import "math"

// Forecast is about how many requests of the candidate a verdict takes; 0 is never.
type Forecast struct {
	// Fail is how many it takes to find a candidate whose rate of errors is the one
	// asked for.
	Fail uint64 `json:"fail"`
	// Pass is how many it takes a candidate with stable's rate of errors to pass.
	Pass uint64 `json:"pass"`
}

// Forecast says what the settings mean for the first metric of errors, if stable's rate of
// errors is stable, that of a bad candidate is candidate, and the candidate's weight is weight,
// all of them more than 0 and less than 1. It is how long it takes when everything goes as
// expected, and so about the median.
func (s Settings) Forecast(stable, candidate, weight float64) Forecast {
	for _, m := range s.Metrics {
		if m.Kind != Errors || !inside(stable) || !inside(candidate) || !inside(weight) {
			continue
		}
		c := NewComparison(m.Factor, m.Margin, s.Ticks)
		c.state.Bases = [...]float64{stable, stable}
		c.bet(weight)
		return Forecast{
			Fail: c.state.Fail.until(math.Log(1/(s.Alpha*m.Share)), c.bets[0].growth(weight, stable, candidate)),
			Pass: c.state.Pass.until(math.Log(1/s.Beta), c.bets[1].growth(weight, stable, stable)),
		}
	}
	return Forecast{}
}

// missing returns about how many more requests of the candidate it takes until either
// capital is enough, if both releases go on as before; 0 is never, or that it is.
func (c *Comparison) missing(toFail, toPass float64) (fail, pass uint64) {
	stable, candidate := c.state.Stable, c.state.Candidate
	w := c.state.Weight
	if w == 0 || stable.Requests == 0 || candidate.Requests == 0 {
		return 0, 0
	}
	if c.weight != w {
		c.bet(w)
	}
	s := float64(stable.Failed) / float64(stable.Requests)
	p := float64(candidate.Failed) / float64(candidate.Requests)
	return c.state.Fail.until(toFail, c.bets[0].growth(w, s, p)), c.state.Pass.until(toPass, c.bets[1].growth(w, s, p))
}

// growth is how the logarithm of what is staked on an alternative moves for each request of
// the candidate, and those of stable beside it: by how much it is expected to, and its
// variance.
type growth struct{ mean, variance float64 }

func (b *bets) growth(weight, stable, candidate float64) [alternatives]growth {
	var g [alternatives]growth
	for k, x := range b {
		mean := weight*(candidate*x.candidateFailed+(1-candidate)*x.candidateGood) +
			(1-weight)*(stable*x.stableFailed+(1-stable)*x.stableGood)
		square := weight*(candidate*x.candidateFailed*x.candidateFailed+(1-candidate)*x.candidateGood*x.candidateGood) +
			(1-weight)*(stable*x.stableFailed*x.stableFailed+(1-stable)*x.stableGood*x.stableGood)
		g[k] = growth{mean / weight, (square - mean*mean) / weight}
	}
	return g
}

// farAway is a number of requests that is as good as never.
const farAway = 1e8

// until returns how many requests of the candidate it takes until half of all capitals that
// grow like that have been enough. It is 0 if they never are.
func (m *mixture) until(enough float64, growth [alternatives]growth) uint64 {
	if !m.reached(farAway, enough, growth) {
		return 0
	}
	return uint64(math.Ceil(bisect(0, farAway, func(n float64) bool { return !m.reached(n, enough, growth) })))
}

// reached says whether half of all capitals have been enough by then. The whole is taken for
// a Brownian motion with the drift and variance of the alternative that leads, whose time to a
// level has an inverse Gaussian distribution (J. Folks and R. Chhikara, "The inverse Gaussian
// distribution and its statistical application", 1978).
func (m *mixture) reached(n, enough float64, growth [alternatives]growth) bool {
	later, lead := *m, 0
	for k := range later.Logs {
		later.Logs[k] += n * growth[k].mean
		if later.Logs[k] > later.Logs[lead] {
			lead = k
		}
	}
	g := growth[lead]
	rise := n * g.mean
	level := enough - (later.log() - rise)
	spread := math.Sqrt(n * g.variance)
	if level <= 0 || spread == 0 || g.mean <= 0 {
		return later.log() >= enough
	}
	before := normal((rise-level)/spread) + math.Exp(min(2*g.mean*level/g.variance, 700))*normal(-(rise+level)/spread)
	return before >= 0.5
}

// normal is the distribution function of the normal distribution.
func normal(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }
