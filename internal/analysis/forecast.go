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
		c.state.Base = stable
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

// growth returns by how much the logarithms of a capital are expected to grow for each
// request of the candidate, and those of stable beside it.
func (b *bets) growth(weight, stable, candidate float64) [alternatives]float64 {
	var g [alternatives]float64
	others := (1 - weight) / weight
	for k := range b {
		g[k] = candidate*b[k].candidateFailed + (1-candidate)*b[k].candidateGood +
			others*(stable*b[k].stableFailed+(1-stable)*b[k].stableGood)
	}
	return g
}

// farAway is a number of requests that is as good as never.
const farAway = 1e8

// until returns how many requests of the candidate it takes until a capital, which grows like
// that, is enough. It is 0 if it never is.
func (m *mixture) until(enough float64, growth [alternatives]float64) uint64 {
	after := func(n float64) float64 {
		later := *m
		for k := range later.Logs {
			later.Logs[k] += n * growth[k]
		}
		return later.log()
	}
	if after(farAway) < enough {
		return 0
	}
	return uint64(math.Ceil(bisect(0, farAway, func(n float64) bool { return after(n) < enough })))
}
