package analysis

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// TestNoRankBetWinsUnderItsNull holds that no bet on the ranks is expected to win anything from
// a candidate of whose requests no more are beyond any duration than of stable's, whatever the
// ranks of these are.
func TestNoRankBetWinsUnderItsNull(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRanks(0)
		w := rapid.Float64Range(0.001, 0.999).Draw(t, "weight")
		r.bet(w)
		// The candidate's requests are stable's, of which some moved to a lower rank.
		var stable, candidate [durations + 1]float64
		sum := 0.0
		for i := range stable {
			stable[i] = rapid.Float64Range(0, 1).Draw(t, "share") + 1e-9
			sum += stable[i]
		}
		for i := range stable {
			stable[i] /= sum
			moved := rapid.Float64Range(0, 1).Draw(t, "moved") * stable[i]
			candidate[i] += stable[i] - moved
			candidate[rapid.IntRange(0, i).Draw(t, "to")] += moved
		}
		for k, b := range r.bets {
			e := 0.0
			for i := range stable {
				if math.IsInf(b.stable[i], 0) || math.IsInf(b.candidate[i], 0) || math.IsNaN(b.stable[i]+b.candidate[i]) {
					t.Fatalf("bet %d at weight %v has a factor that isn't finite: %v", k, w, b)
				}
				e += w*candidate[i]*math.Exp(b.candidate[i]) + (1-w)*stable[i]*math.Exp(b.stable[i])
			}
			if e > 1+1e-9 {
				t.Fatalf("bet %d at weight %v is expected to multiply what is staked by %v", k, w, e)
			}
		}
	})
}
