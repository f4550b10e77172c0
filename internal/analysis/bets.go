package analysis

import "math"

// alternatives is how many rates of the candidate a capital is divided among.
const alternatives = 12

// way is which side of its margin a candidate is bet to be on.
type way float64

const (
	worse  way = 1
	better way = -1
)

// bets are the logarithms of what a request multiplies a capital by, one for each
// alternative.
type bets [alternatives]bet

// bet is by what one request multiplies what is staked on one alternative, as logarithms: by
// release, and by whether the request failed.
type bet struct{ candidateFailed, candidateGood, stableFailed, stableGood float64 }

// make makes the bets for a weight, if stable's rate is base.
func (b *bets) make(to way, weight, factor, margin, base float64) {
	*b = bets{}
	limit := factor*base + margin
	if !inside(limit) {
		return // no rate is worse than that, and the null holds for sure
	}
	for k := range b {
		p := alternative(to, k, limit, base)
		b[k] = newBet(weight, factor, margin, base, p)
	}
}

// alternative returns the k-th rate that the candidate is bet to have. The first one is next
// to the limit; they are the further apart the further away they are. A candidate that is
// better than the limit is as good as stable most of the time: two bets of three are on that.
func alternative(to way, k int, limit, base float64) float64 {
	odds := limit / (1 - limit)
	most := max(4, 19/odds)
	if to == better {
		asGood := odds * (1 - base) / base
		most = max(4, 3*asGood)
		if k%3 != 0 && asGood > nearest {
			return base
		}
	}
	away := nearest * math.Pow(most/nearest, math.Pow(float64(k)/(alternatives-1), 1.5))
	odds *= math.Pow(away, float64(to))
	return odds / (1 + odds)
}

// nearest is the odds of the first alternative by those of the limit.
const nearest = 1.4

// newBet returns the bet that grows best if stable's rate is base and the candidate's p.
//
// With A = 1 for a request of the candidate and X = 1 for a failed one, and w the weight,
//
//	Z = A·X/w − factor·(1−A)·X/(1−w) − margin
//
// has an expected value of at most 0 under the null hypothesis, and A − w has one of 0. So has
// 1 + λZ + μ(A−w) one of at most 1, for every μ and every λ ≥ 0; against the opposite, for
// every λ ≤ 0. This is a fair bet as long as it is positive.
//
// Best is the likelihood ratio of the alternative to that of the point of the limit which is
// the hardest to tell from it: q for stable, factor·q + margin for the candidate.
func newBet(w, factor, margin, base, p float64) bet {
	q := hardest(w, factor, margin, base, p)
	qc := factor*q + margin
	lambda := w * (p/qc - (1-p)/(1-qc))
	mu := ((1-p)/(1-qc) - 1 + lambda*margin) / (1 - w)
	b := bet{
		candidateFailed: lambda*(1/w-margin) + mu*(1-w),
		candidateGood:   -lambda*margin + mu*(1-w),
		stableFailed:    -lambda*(factor/(1-w)+margin) - mu*w,
		stableGood:      -lambda*margin - mu*w,
	}
	return b.logs()
}

// leastFactor is what a request leaves of a capital at least: one that is gone can't be
// written down as a logarithm, and never comes back.
const leastFactor = 1e-6

// logs turns what a bet wins into logarithms of factors. If it may lose all, less is staked.
func (b bet) logs() bet {
	least := min(b.candidateFailed, b.candidateGood, b.stableFailed, b.stableGood)
	staked := 1.0
	if 1+least < leastFactor {
		staked = (leastFactor - 1) / least
	}
	if math.IsNaN(least) || math.IsInf(staked*(b.candidateFailed+b.candidateGood+b.stableFailed+b.stableGood), 0) {
		return bet{}
	}
	return bet{
		math.Log1p(staked * b.candidateFailed), math.Log1p(staked * b.candidateGood),
		math.Log1p(staked * b.stableFailed), math.Log1p(staked * b.stableGood),
	}
}

// hardest returns the q of [newBet] by bisection. If it isn't exact, the bet grows slower,
// and is as fair.
func hardest(w, factor, margin, base, p float64) float64 {
	low, high := 0.0, (1-margin)/factor
	if high > 1 {
		high = 1
	}
	for range 60 {
		q := (low + high) / 2
		qc := factor*q + margin
		slope := w*factor*((1-p)/(1-qc)-p/qc) + (1-w)*((1-base)/(1-q)-base/q)
		if slope < 0 {
			low = q
		} else {
			high = q
		}
	}
	return (low + high) / 2
}

// mixture is a capital that is divided among the alternatives.
type mixture struct {
	// Logs are the logarithms of what is staked on each.
	Logs [alternatives]float64 `json:"logs"`
	// Kept is what isn't staked yet.
	Kept float64 `json:"kept"`
}

func newMixture(kept float64) mixture {
	m := mixture{Kept: kept}
	for k := range m.Logs {
		m.Logs[k] = math.Log((1 - kept) / alternatives)
	}
	return m
}

// stake stakes a share of what is kept, on all alternatives alike.
func (m *mixture) stake(share float64) {
	if m.Kept <= 0 {
		return
	}
	part := math.Log(m.Kept * share / alternatives)
	for k, log := range m.Logs {
		m.Logs[k] = sumLogs(log, part)
	}
	m.Kept -= m.Kept * share
}

// add multiplies the capital by what the bets return.
func (m *mixture) add(b *bets, stable, candidate Counts) {
	cf, cg := float64(min(candidate.Failed, candidate.Requests)), float64(candidate.good())
	sf, sg := float64(min(stable.Failed, stable.Requests)), float64(stable.good())
	for k := range b {
		m.Logs[k] += cf*b[k].candidateFailed + cg*b[k].candidateGood + sf*b[k].stableFailed + sg*b[k].stableGood
	}
}

// negligible is by how much less a logarithm is of what doesn't show in a sum.
const negligible = 40

// reaches says whether log() is enough; mostly it is quicker.
func (m *mixture) reaches(enough float64) bool {
	most := max(m.Logs[0], 0) // more than all that is kept
	for _, log := range m.Logs[1:] {
		most = max(most, log)
	}
	return most+math.Log(alternatives+1) >= enough && m.log() >= enough
}

// log returns the logarithm of the whole capital.
func (m *mixture) log() float64 {
	most := m.Logs[0]
	for _, log := range m.Logs[1:] {
		most = max(most, log)
	}
	if m.Kept > 0 {
		most = max(most, math.Log(m.Kept))
	}
	sum := 0.0
	if m.Kept > 0 {
		sum = m.Kept * math.Exp(-most)
	}
	for _, log := range m.Logs {
		if log > most-negligible {
			sum += math.Exp(log - most)
		}
	}
	return most + math.Log(sum)
}

// sumLogs returns the logarithm of the sum of what two logarithms are of.
func sumLogs(a, b float64) float64 {
	if a < b {
		a, b = b, a
	}
	return a + math.Log1p(math.Exp(b-a))
}
