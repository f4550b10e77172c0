package analysis_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/analysis"
)

// list is a Distribution of single durations, with a bound at every millisecond.
type list []time.Duration

func (l list) Count() uint64 { return uint64(len(l)) }

func (l list) Above(d time.Duration) uint64 {
	d = (d + time.Millisecond - 1).Truncate(time.Millisecond)
	n := uint64(0)
	for _, x := range l {
		if x > d {
			n++
		}
	}
	return n
}

func (l list) Quantile(q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(l))
	return sorted[min(int(q*float64(len(l))), len(l)-1)].Truncate(time.Millisecond)
}

func durations(rng *rand.Rand, n int, factor float64) list {
	var l list
	for range n {
		l = append(l, time.Duration(factor*float64(50*time.Millisecond)*math.Exp(0.6*rng.NormFloat64())))
	}
	return l
}

func both() analysis.Settings {
	s := settings()
	s.Metrics[0].Share = 0.5
	s.Metrics = append(s.Metrics, analysis.Metric{Name: "latency", Kind: analysis.Latency, Share: 0.5, Factor: 1.2})
	return s
}

// serve has a judge see seconds of traffic, in which the candidate's requests take factor
// times as long; it ends with a verdict.
func serve(t *testing.T, j *analysis.Judge, rng *rand.Rand, seconds int, factor float64) analysis.Verdict {
	t.Helper()
	past := durations(rng, 2000, 1)
	for range seconds {
		stable, candidate := durations(rng, 75, 1), durations(rng, 25, factor)
		if v := j.Observe(analysis.Tick{{
			Weight:    0.25,
			Stable:    analysis.Arm{Requests: 75, Latency: stable},
			Candidate: analysis.Arm{Requests: 25, Latency: candidate},
			Past:      past,
		}}); v != analysis.Inconclusive {
			return v
		}
	}
	return analysis.Inconclusive
}

func TestLatencies(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct {
		factor  float64
		want    analysis.Verdict
		culprit string
		warning bool
	}{
		{1, analysis.Pass, "", false},
		{1.1, analysis.Pass, "", false},
		{2, analysis.Fail, "latency", false},
		{0.2, analysis.Pass, "", true},
	} {
		j, err := analysis.New(both())
		if err != nil {
			t.Fatal(err)
		}
		got := serve(t, j, rng, 2000, c.factor)
		r := j.Report()
		if got != c.want || r.Culprit != c.culprit || slices.Contains(r.Warnings, analysis.MuchFaster) != c.warning {
			t.Errorf("a candidate that takes %v times as long: %s, %+v", c.factor, got, r)
		}
		if c.want == analysis.Fail && (r.Metrics[1].Above.Stable < 30*time.Millisecond || r.Metrics[1].Candidate.Share <= r.Metrics[1].Stable.Share) {
			t.Errorf("the threshold that convicted it is reported as %+v", r.Metrics[1])
		}
	}
}

func TestOneClientAloneIsNoFail(t *testing.T) {
	j, err := analysis.New(settings())
	if err != nil {
		t.Fatal(err)
	}
	tick := second(1900, 0, 3, 3)
	tick[0].Candidate.Clients = []uint64{7}
	for range 3 {
		if v := j.Observe(tick); v != analysis.Inconclusive {
			t.Fatalf("nine failures of one client are a %s", v)
		}
	}
	if r := j.Report(); !slices.Contains(r.Warnings, analysis.OneClient) || r.Fail.Value < r.Fail.Enough {
		t.Errorf("the report of it is %+v, want a warning", r)
	}
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	j, err = analysis.Restore(settings(), text)
	if err != nil {
		t.Fatal(err)
	}
	other := second(1900, 0, 1, 0)
	other[0].Candidate.Clients = []uint64{8}
	if v := j.Observe(other); v != analysis.Fail {
		t.Errorf("failures of a second client make it a %s, want a fail", v)
	}
}

// TestARestartedJudgeGoesOn compares two judges, of which one is restarted each second.
func TestARestartedJudgeGoesOn(t *testing.T) {
	one, err := analysis.New(both())
	if err != nil {
		t.Fatal(err)
	}
	other, _ := analysis.New(both())
	a, b := rand.New(rand.NewPCG(2, 2)), rand.New(rand.NewPCG(2, 2))
	for range 20 {
		serve(t, one, a, 1, 1.2)
		serve(t, other, b, 1, 1.2)
		text, err := json.Marshal(other)
		if err != nil {
			t.Fatal(err)
		}
		if other, err = analysis.Restore(both(), text); err != nil {
			t.Fatal(err)
		}
	}
	want, _ := json.Marshal(one.Report())
	got, _ := json.Marshal(other.Report())
	if string(want) != string(got) {
		t.Errorf("a restart reports\n%s\nrather than\n%s", got, want)
	}
	if _, err := analysis.Restore(settings(), []byte(`{"metrics":{"other":{}}}`)); err == nil {
		t.Error("the state of another judge is taken")
	}
}

func TestMissingShrinksAsRequestsCome(t *testing.T) {
	j, err := analysis.New(settings())
	if err != nil {
		t.Fatal(err)
	}
	before := uint64(math.MaxUint64)
	for range 4 {
		j.Observe(second(1900, 2, 100, 0))
		missing := j.Report().Missing
		if missing == 0 || missing > before {
			t.Fatalf("there are %d requests missing, after %d", missing, before)
		}
		before = missing
	}
	seen := uint64(0)
	for j.Observe(second(1900, 2, 100, 0)) == analysis.Inconclusive {
		seen += 100
	}
	if seen < before/2 || seen > before+200 {
		t.Errorf("it took %d requests, and %d were forecast", seen, before)
	}
}

func TestObserveAllocatesNothing(t *testing.T) {
	j, err := analysis.New(both())
	if err != nil {
		t.Fatal(err)
	}
	tick := second(1900, 2, 100, 0)
	var few analysis.Distribution = even{100}
	tick[0].Stable.Latency, tick[0].Candidate.Latency, tick[0].Past = few, few, few
	tick[0].Candidate.Clients = []uint64{1, 2}
	if n := testing.AllocsPerRun(100, func() { j.Observe(tick) }); n != 0 {
		t.Errorf("a tick allocates %v times", n)
	}
}

// even is a Distribution of requests that take up to a second, as often any time.
type even struct{ n uint64 }

func (e even) Count() uint64 { return e.n }
func (e even) Above(d time.Duration) uint64 {
	return uint64(max(0, 1-d.Seconds()) * float64(e.n))
}
func (e even) Quantile(q float64) time.Duration { return time.Duration(q * float64(time.Second)) }

// TestFalseAlarmsAndMedians is a short form of bench/analysis.
func TestFalseAlarmsAndMedians(t *testing.T) {
	const runs = 60
	alarms := 0
	for i := range runs {
		if _, fired := until(uint64(i), 0.01, 0.01, 20_000); fired {
			alarms++
		}
	}
	if alarms > 3 {
		t.Errorf("%d of %d healthy candidates fail, want 1 %%", alarms, runs)
	}
	var all []uint64
	for i := range runs {
		n, _ := until(uint64(i), 0.001, 0.02, 100_000)
		all = append(all, n)
	}
	slices.Sort(all)
	if median := all[runs/2]; median < 60 || median > 350 {
		t.Errorf("0.1 to 2 %% takes %d requests, want about 180", median)
	}
}

// until looks after every request, at a weight of 10 %, until a fail.
func until(seed uint64, stable, candidate float64, requests int) (uint64, bool) {
	rng := rand.New(rand.NewPCG(3, seed))
	c := analysis.NewComparison(1, 0, 0)
	for i := range requests {
		if i%100 == 0 {
			c.Begin()
		}
		var s, k analysis.Counts
		arm, p := &s, stable
		if rng.Float64() < 0.1 {
			arm, p = &k, candidate
		}
		arm.Requests = 1
		if rng.Float64() < p {
			arm.Failed = 1
		}
		c.Add(0.1, s, k)
		if failed, _ := c.Reached(math.Log(100), math.Inf(1)); failed {
			_, k := c.Counts()
			return k.Requests, true
		}
	}
	_, k := c.Counts()
	return k.Requests, false
}

func TestForecast(t *testing.T) {
	f := settings().Forecast(0.001, 0.02, 0.05)
	if f.Fail < 400 || f.Fail > 900 || f.Pass < 500 || f.Pass > 1300 {
		t.Errorf("0.1 to 2 %% is forecast as %+v, want about 600 requests to find it and 700 to pass", f)
	}
	if f := settings().Forecast(0.001, 0.002, 0.05); f.Fail != 0 {
		t.Errorf("what is within the margin is found after %d requests", f.Fail)
	}
}
