package analysis

import (
	"encoding/json"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// drawn is a comparison that has seen something, under settings of any kind.
func drawn(t *rapid.T) (*Comparison, float64) {
	c := NewComparison(
		rapid.Float64Range(0.5, 3).Draw(t, "factor"),
		rapid.SampledFrom([]float64{0, 0.0001, 0.005, 0.1, 0.6}).Draw(t, "margin"),
		rapid.IntRange(0, 5000).Draw(t, "ticks"))
	w := rapid.SampledFrom([]float64{0.001, 0.01, 0.05, 0.25, 0.5, 0.9, 0.99}).Draw(t, "weight")
	for range rapid.IntRange(0, 3).Draw(t, "before") {
		c.Begin()
		c.Add(w, drawCounts(t), drawCounts(t))
	}
	c.Begin()
	return c, w
}

func drawCounts(t *rapid.T) Counts {
	n := rapid.Uint64Range(0, 2000).Draw(t, "requests")
	return Counts{n, rapid.Uint64Range(0, n).Draw(t, "failed")}
}

// TestNoBetWinsUnderItsNull holds the theorem: with any rates that its null hypothesis allows,
// no bet is expected to win anything, and each can go on after each outcome.
func TestNoBetWinsUnderItsNull(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, w := drawn(t)
		c.bet(w)
		for i := 0; i <= 20; i++ {
			stable := float64(i*i) / 400
			limit := min(c.factor*stable+c.margin, 1)
			for j := 0; j <= 5; j++ {
				share := float64(j) / 5
				expect(t, &c.bets[0], w, stable, limit*share)
				if c.factor*stable+c.margin <= 1 {
					expect(t, &c.bets[1], w, stable, limit+(1-limit)*share)
				}
			}
		}
	})
}

func expect(t *rapid.T, all *bets, w, stable, candidate float64) {
	for k, b := range all {
		if least := min(b.candidateFailed, b.candidateGood, b.stableFailed, b.stableGood); !(least >= math.Log(leastFactor/2)) {
			t.Fatalf("bet %d has a factor of exp(%v): %+v", k, least, b)
		}
		e := w*(candidate*math.Exp(b.candidateFailed)+(1-candidate)*math.Exp(b.candidateGood)) +
			(1-w)*(stable*math.Exp(b.stableFailed)+(1-stable)*math.Exp(b.stableGood))
		if e > 1+1e-9 {
			t.Fatalf("bet %d is expected to win: %v, at weight %v and rates %v, %v: %+v", k, e, w, stable, candidate, b)
		}
	}
}

// TestBetsAreTheRatioOfLikelihoods holds the way from q to the bets.
func TestBetsAreTheRatioOfLikelihoods(t *testing.T) {
	const w, factor, margin, base, p = 0.05, 1.5, 0.005, 0.01, 0.08
	b := newBet(w, factor, margin, base, p)
	q := hardest(w, factor, margin, base, p)
	qc := factor*q + margin
	for _, pair := range [][2]float64{
		{b.candidateFailed, p / qc}, {b.candidateGood, (1 - p) / (1 - qc)},
		{b.stableFailed, base / q}, {b.stableGood, (1 - base) / (1 - q)},
	} {
		if math.Abs(math.Exp(pair[0])-pair[1]) > 1e-9 {
			t.Errorf("a factor is %v, want the ratio %v", math.Exp(pair[0]), pair[1])
		}
	}
}

func TestSplitTicksGiveTheSameEvidence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one, w := drawn(t)
		parts := again(t, one)
		var stable, candidate Counts
		for range rapid.IntRange(1, 6).Draw(t, "parts") {
			s, c := drawCounts(t), drawCounts(t)
			stable.add(s)
			candidate.add(c)
			if rapid.Bool().Draw(t, "stable first") {
				parts.Add(w, s, Counts{})
				parts.Add(w, Counts{}, c)
			} else {
				parts.Add(w, Counts{}, c)
				parts.Add(w, s, Counts{})
			}
		}
		one.Add(w, stable, candidate)
		same(t, one, parts, 1e-9)
	})
}

// TestARestartGivesTheSameEvidence goes on with what was written, and compares bit by bit.
func TestARestartGivesTheSameEvidence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one, w := drawn(t)
		for range 3 {
			other := again(t, one)
			s, c := drawCounts(t), drawCounts(t)
			for _, x := range []*Comparison{one, other} {
				x.Begin()
				x.Add(w, s, c)
			}
			same(t, one, other, 0)
		}
	})
}

func again(t *rapid.T, c *Comparison) *Comparison {
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	other := NewComparison(c.factor, c.margin, int(math.Round(1/c.late)))
	if err := json.Unmarshal(text, other); err != nil {
		t.Fatal(err)
	}
	return other
}

func same(t *rapid.T, a, b *Comparison, within float64) {
	af, ap := a.Evidence()
	bf, bp := b.Evidence()
	if !near(af, bf, within) || !near(ap, bp, within) {
		t.Fatalf("evidence %v, %v and %v, %v", af, ap, bf, bp)
	}
}

func near(a, b, within float64) bool { return math.Abs(a-b) <= within*(1+math.Abs(a)) }

func TestNothingOverflowsAfterMoreThanABillionRequests(t *testing.T) {
	for _, bad := range []uint64{0, 1_000, 1_000_000} {
		c := NewComparison(1, 0.005, 0)
		for range 2_000 {
			c.Begin()
			c.Add(0.5, Counts{1_000_000, 1_000}, Counts{1_000_000, bad})
		}
		fail, pass := c.Evidence()
		if math.IsNaN(fail) || math.IsInf(fail, 0) || math.IsNaN(pass) || math.IsInf(pass, 0) {
			t.Errorf("with %d failures of a million, the evidence is %v and %v", bad, fail, pass)
		}
		if (fail > 0) != (bad == 1_000_000) || (pass > 0) == (bad == 1_000_000) {
			t.Errorf("with %d failures of a million, the evidence is %v for a fail and %v for a pass", bad, fail, pass)
		}
		again, err := json.Marshal(c)
		if err != nil {
			t.Errorf("it can't be written: %v: %s", err, again)
		}
	}
}

// TestBookingUnderTheWrongWeightIsAFalseAlarm shows that a weight matters, and so that the
// other tests could fail.
func TestBookingUnderTheWrongWeightIsAFalseAlarm(t *testing.T) {
	right, wrong := NewComparison(1, 0, 0), NewComparison(1, 0, 0)
	for range 1000 {
		right.Begin()
		right.Add(0.05, Counts{950, 19}, Counts{50, 1})
		wrong.Begin()
		wrong.Add(0.5, Counts{950, 19}, Counts{50, 1})
	}
	if fail, _ := right.Evidence(); fail > 0 {
		t.Errorf("two that are alike give evidence %v", fail)
	}
	if fail, _ := wrong.Evidence(); fail < math.Log(100) {
		t.Errorf("a wrong weight gives evidence of %v, want a false alarm", fail)
	}
}

// TestIntervalsHoldTheRate counts what a share of all counts, weighed by how likely they are
// at the rate, is beyond an interval, for a fixed number of requests: it may be 5 %.
func TestIntervalsHoldTheRate(t *testing.T) {
	for _, n := range []int{10, 300, 3000} {
		for _, p := range []float64{0.001, 0.05, 0.5, 0.9} {
			beyond := 0.0
			for failed := 0; failed <= n; failed++ {
				low, high := interval(Counts{uint64(n), uint64(failed)}, 0.05)
				if p < low || p > high {
					beyond += math.Exp(logBinomial(n, failed) + float64(failed)*math.Log(p) + float64(n-failed)*math.Log1p(-p))
				}
			}
			if beyond > 0.05 {
				t.Errorf("of %d requests at a rate of %v, the interval misses it with a probability of %v", n, p, beyond)
			}
		}
	}
	if low, high := interval(Counts{10_000, 100}, 0.05); low < 0.005 || high > 0.02 || low > 0.01 || high < 0.01 {
		t.Errorf("100 of 10,000 are from %v to %v, want it within a factor of two", low, high)
	}
}

func logBinomial(n, k int) float64 {
	a, _ := math.Lgamma(float64(n + 1))
	b, _ := math.Lgamma(float64(k + 1))
	c, _ := math.Lgamma(float64(n - k + 1))
	return a - b - c
}

func BenchmarkTick(b *testing.B) {
	c := NewComparison(1, 0.005, 0)
	b.ReportAllocs()
	for b.Loop() {
		c.Begin()
		c.Add(0.05, Counts{950, 1}, Counts{50, 0})
		c.Evidence()
	}
}
