package analysis

import (
	"encoding/json"
	"math"
)

// ranks bets that the candidate's requests take longer than factor times as long as stable's,
// by the rank of each among stable's of the past, divided by the factor if it is the
// candidate's: how many of some durations it took longer than. Of a candidate that is slower
// throughout, each request says more by its rank than by being over one threshold or not.
//
// With L the likelihood of a rank if the candidate is slower, by that if it is as stable is,
// and w the weight, a request of the candidate multiplies what is staked by L/(wL + 1−w), and
// one of stable by 1/(wL + 1−w). If both have the same ranks, whatever they are, the expected
// value of that is 1. L grows with the rank; so it is at most 1 if at no duration more of the
// candidate's requests take longer than factor times that than of stable's take longer than it.
type ranks struct {
	state ranksState
	// late is the share of what is kept that each tick stakes.
	late float64
	// bets are those for weight, if it isn't 0.
	weight float64
	bets   [alternatives]rankBet
}

// ranksState is what a restart keeps.
type ranksState struct {
	// Fail is what is staked on each shift.
	Fail mixture `json:"fail"`
}

// rankBet is by what one request multiplies what is staked on one shift, as logarithms, by its
// rank.
type rankBet struct{ stable, candidate [durations + 1]float64 }

// The least and the greatest shift of the candidate's ranks that is bet on, in standard
// deviations of durations whose logarithms have a normal distribution.
const (
	leastShift = 0.1
	mostShift  = 1.5
)

// newRanks gets the share of what is kept that each tick stakes.
func newRanks(late float64) *ranks {
	return &ranks{state: ranksState{Fail: newMixture(lateShare)}, late: late}
}

// begin begins a tick.
func (r *ranks) begin() { r.state.Fail.stake(r.late) }

// add adds what a tick counted under a weight.
func (r *ranks) add(weight float64, stable, candidate ranked) {
	if !inside(weight) {
		return
	}
	if weight != r.weight {
		r.bet(weight)
	}
	for k := range r.bets {
		b, sum := &r.bets[k], 0.0
		for i := range stable {
			sum += float64(stable[i])*b.stable[i] + float64(candidate[i])*b.candidate[i]
		}
		r.state.Fail.Logs[k] += sum
	}
}

// bet makes the bets for a weight.
func (r *ranks) bet(weight float64) {
	r.weight = weight
	for k := range r.bets {
		shift := leastShift * math.Pow(mostShift/leastShift, float64(k)/(alternatives-1))
		low, shifted := 0.0, 0.0 // which share of the requests has a rank below i
		for i := range r.bets[k].stable {
			to, toShifted := 1.0, 1.0
			if i < durations {
				to = levels()[i]
				toShifted = normal(math.Sqrt2*math.Erfinv(2*to-1) - shift)
			}
			l := (toShifted - shifted) / (to - low)
			both := math.Log1p(weight * (l - 1))
			r.bets[k].candidate[i] = math.Log(l) - both
			r.bets[k].stable[i] = -both
			low, shifted = to, toShifted
		}
	}
}

// MarshalJSON writes what a restart keeps.
func (r *ranks) MarshalJSON() ([]byte, error) { return json.Marshal(r.state) }

// UnmarshalJSON reads it into one that stakes as much in each tick.
func (r *ranks) UnmarshalJSON(text []byte) error { return json.Unmarshal(text, &r.state) }
