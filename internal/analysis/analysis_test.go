package analysis_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/segue-deploy/segue/internal/analysis"
)

func settings() analysis.Settings {
	return analysis.Settings{
		Alpha: analysis.DefaultAlpha,
		Beta:  analysis.DefaultBeta,
		Metrics: []analysis.Metric{
			{Name: "errors", Kind: analysis.Errors, Share: 1, Factor: 1, Margin: analysis.DefaultMargin},
		},
	}
}

func second(stable, stableFailed, candidate, candidateFailed uint64) analysis.Tick {
	return analysis.Tick{{
		Weight:    0.05,
		Stable:    analysis.Arm{Requests: stable, Failed: stableFailed},
		Candidate: analysis.Arm{Requests: candidate, Failed: candidateFailed},
	}}
}

func TestJudgeFailsABadCandidateAndPassesAGoodOne(t *testing.T) {
	bad, err := analysis.New(settings())
	if err != nil {
		t.Fatal(err)
	}
	good, _ := analysis.New(settings())
	for range 200 {
		bad.Observe(second(950, 1, 50, 5))
		good.Observe(second(950, 1, 50, 0))
	}
	if got := bad.Report(); got.Verdict != analysis.Fail || got.Culprit != "errors" {
		t.Errorf("a candidate that fails ten times of a hundred gets %+v, want a fail by errors", got)
	}
	if got := good.Report(); got.Verdict != analysis.Pass {
		t.Errorf("a candidate without failures gets %+v, want a pass", got)
	}
	text, err := json.Marshal(bad.Report())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", text)
}

func TestSettingsThatMakeNoSenseAreRefused(t *testing.T) {
	for want, change := range map[string]func(*analysis.Settings){
		"alpha is 0":                 func(s *analysis.Settings) { s.Alpha = 0 },
		"beta is 1":                  func(s *analysis.Settings) { s.Beta = 1 },
		"number of ticks is -1":      func(s *analysis.Settings) { s.Ticks = -1 },
		"no metric":                  func(s *analysis.Settings) { s.Metrics = nil },
		"add up to 0.5":              func(s *analysis.Settings) { s.Metrics[0].Share = 0.5 },
		`its kind is "cost"`:         func(s *analysis.Settings) { s.Metrics[0].Kind = "cost" },
		"its share is 0":             func(s *analysis.Settings) { s.Metrics[0].Share = 0 },
		"its factor is 0":            func(s *analysis.Settings) { s.Metrics[0].Factor = 0 },
		"its margin is 1":            func(s *analysis.Settings) { s.Metrics[0].Margin = 1 },
		"latency has a factor alone": func(s *analysis.Settings) { s.Metrics[0].Kind = analysis.Latency },
		"two metrics are called":     func(s *analysis.Settings) { s.Metrics = append(s.Metrics, s.Metrics[0]) },
	} {
		s := settings()
		change(&s)
		if _, err := analysis.New(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New says %v, want an error with %q", err, want)
		}
	}
}
