package deploy

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/analysis"
	"github.com/segue-deploy/segue/internal/proxy"
	"github.com/segue-deploy/segue/internal/spec"
)

func newJudging(t *testing.T) *judging {
	t.Helper()
	a := &spec.Analysis{FalseAlarms: 1, WrongPasses: 5, Errors: spec.CompareErrors{Factor: 1, Margin: 0.5}}
	j := &judging{spec: a, id: "d2", candidate: "r2", settings: settingsOf(a, nil), from: time.Unix(100, 0), given: map[string][]proxy.Score{}}
	var err error
	if j.judge, err = analysis.New(j.settings); err != nil {
		t.Fatal(err)
	}
	return j
}

func score(weight int, requests, failed uint64) proxy.Score {
	return proxy.Score{ID: "d2", Weight: weight, Requests: requests, Failed: failed}
}

func scoresOf(byRelease map[string][]proxy.Score) proxy.ServiceStats {
	s := proxy.ServiceStats{Name: "web"}
	for _, id := range []string{"r0", "r1", "r2"} {
		if scores := byRelease[id]; scores != nil {
			s.Releases = append(s.Releases, proxy.ReleaseStats{ID: id, Scores: scores})
		}
	}
	return s
}

func counted(t *testing.T, j *judging) (stable, candidate analysis.Counts) {
	t.Helper()
	m := j.judge.Report().Metrics[0]
	return m.Stable.Counts, m.Candidate.Counts
}

// Each request is given to the judge once, whatever releases, weights, daemons and proxies
// there are.
func TestJudgingCountsOnce(t *testing.T) {
	j := newJudging(t)
	at := time.Unix(99, 0)
	look := func(epoch string, scores map[string][]proxy.Score) {
		t.Helper()
		at = at.Add(judgeEvery)
		j.observe(at, epoch, scoresOf(scores))
	}
	expect := func(when string, stable, candidate analysis.Counts) {
		t.Helper()
		if s, c := counted(t, j); s != stable || c != candidate {
			t.Fatalf("%s the judge has %+v and %+v, want %+v and %+v", when, s, c, stable, candidate)
		}
	}
	at = time.Unix(98, 0)
	look("a", map[string][]proxy.Score{"r1": {score(5, 50, 5)}, "r2": {score(5, 10, 9)}})
	expect("in the warm-up", analysis.Counts{}, analysis.Counts{})
	// A warm release has a card, too, with nothing on it.
	look("a", map[string][]proxy.Score{"r0": {score(5, 0, 0)}, "r1": {score(5, 150, 6)}, "r2": {score(5, 15, 9)}})
	expect("after it", analysis.Counts{Requests: 100, Failed: 1}, analysis.Counts{Requests: 5})
	look("a", map[string][]proxy.Score{"r0": {score(5, 0, 0)}, "r1": {score(5, 150, 6)}, "r2": {score(5, 15, 9)}})
	expect("without news", analysis.Counts{Requests: 100, Failed: 1}, analysis.Counts{Requests: 5})
	look("a", map[string][]proxy.Score{"r1": {score(5, 150, 6), score(25, 30, 0)}, "r2": {score(5, 16, 9), score(25, 10, 1)}})
	expect("with another weight", analysis.Counts{Requests: 130, Failed: 1}, analysis.Counts{Requests: 16, Failed: 1})
	// A failure can be read before its request.
	look("a", map[string][]proxy.Score{"r1": {score(5, 150, 6), score(25, 30, 0)}, "r2": {score(5, 16, 9), score(25, 10, 2)}})
	expect("with an early failure", analysis.Counts{Requests: 130, Failed: 1}, analysis.Counts{Requests: 16, Failed: 1})
	look("a", map[string][]proxy.Score{"r1": {score(5, 150, 6), score(25, 30, 0)}, "r2": {score(5, 16, 9), score(25, 11, 2)}})
	expect("with its request", analysis.Counts{Requests: 130, Failed: 1}, analysis.Counts{Requests: 17, Failed: 2})

	// The next daemon goes on from what is journalled.
	judged, err := j.judged()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(judged)
	if err != nil {
		t.Fatal(err)
	}
	var kept Judged
	if err := json.Unmarshal(text, &kept); err != nil {
		t.Fatal(err)
	}
	before := j.judge.Report()
	j.epoch, j.given = kept.Epoch, kept.Given
	if j.judge, err = analysis.Restore(j.settings, kept.State); err != nil {
		t.Fatal(err)
	}
	if after := j.judge.Report(); !reflect.DeepEqual(before, after) {
		t.Errorf("after a restart the report is %+v, was %+v", after, before)
	}
	look("a", map[string][]proxy.Score{"r1": {score(25, 40, 0)}, "r2": {score(25, 12, 2)}})
	expect("in the next daemon", analysis.Counts{Requests: 140, Failed: 1}, analysis.Counts{Requests: 18, Failed: 2})
	look("b", map[string][]proxy.Score{"r1": {score(25, 4, 0)}, "r2": {score(25, 1, 1)}})
	expect("with the next proxy", analysis.Counts{Requests: 144, Failed: 1}, analysis.Counts{Requests: 19, Failed: 3})
	other := score(25, 99, 99)
	other.ID = "d1"
	look("b", map[string][]proxy.Score{"r1": {other, score(25, 4, 0)}, "r2": {score(25, 1, 1)}})
	expect("with scores of another deployment", analysis.Counts{Requests: 144, Failed: 1}, analysis.Counts{Requests: 19, Failed: 3})
}

func TestSourcesSpeak(t *testing.T) {
	j := newJudging(t)
	j.sources = []source{{AnalysisCheck: spec.AnalysisCheck{Failures: 2}, name: "p99"}}
	j.checks = []CheckFinding{{Name: "p99", Verdict: analysis.Inconclusive}}
	bad, unknown := &badError{"7 is more than 5"}, errors.New("no data")
	for i, c := range []struct {
		answer
		want analysis.Verdict
	}{
		{answer{err: unknown}, analysis.Inconclusive},
		{answer{err: bad}, analysis.Inconclusive},
		{answer{found: "4"}, analysis.Inconclusive},
		{answer{err: bad}, analysis.Inconclusive},
		{answer{err: unknown}, analysis.Inconclusive}, // which is no good answer in between
		{answer{err: bad}, analysis.Fail},
	} {
		j.hear(c.answer)
		if f := j.finding(); f.Verdict != c.want {
			t.Errorf("after %d answers the verdict is %s (%s), want %s", i+1, f.Verdict, f.Reason, c.want)
		}
	}
	if f := j.finding(); f.Reason != "p99: 7 is more than 5" {
		t.Errorf("the reason is %q", f.Reason)
	}
}

// BenchmarkJudge is what a second of a rollout costs the daemon: both metrics, by the proxy's
// histograms.
func BenchmarkJudge(b *testing.B) {
	settings := settingsOf(&spec.Analysis{
		FalseAlarms: 1, WrongPasses: 5,
		Errors: spec.CompareErrors{Factor: 1, Margin: 0.5}, Latency: spec.CompareLatency{Factor: 1.2},
	}, nil)
	judge, err := analysis.New(settings)
	if err != nil {
		b.Fatal(err)
	}
	took := func(n int) (s proxy.Score) {
		s.Requests = uint64(n)
		for i := range n {
			s.Latency.Observe(time.Duration(1+i%97) * time.Millisecond)
		}
		return s
	}
	stable := took(1000)
	tick := analysis.Tick{{Weight: 0.05, Stable: armOf(stable), Candidate: armOf(took(50)), Past: latencies{}.plus(stable)}}
	b.ReportAllocs()
	for b.Loop() {
		judge.Observe(tick)
	}
}
