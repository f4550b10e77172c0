package deploy

import (
	"fmt"
	"time"

	"github.com/segue-deploy/segue/internal/analysis"
	"github.com/segue-deploy/segue/internal/spec"
)

// traffic is what a service had in the last minute.
type traffic struct {
	// rate is in requests a second, errors the share of answers that were.
	rate, errors float64
}

// lately is the traffic of a release in the last minute; false is none.
func (s *samples) lately(service, release string) (traffic, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) == 0 {
		return traffic{}, false
	}
	last := s.all[len(s.all)-1]
	for _, first := range s.all {
		took := last.At.Sub(first.At)
		if first.Epoch != last.Epoch || took <= 0 {
			continue
		}
		now, before := releaseOf(serviceStats(last, service), release), releaseOf(serviceStats(first, service), release)
		c := countsOf(now).minus(countsOf(before))
		if c.total == 0 {
			return traffic{}, false
		}
		return traffic{rate: float64(c.total) / took.Seconds(), errors: float64(c.bad) / float64(c.total)}, true
	}
	return traffic{}, false
}

// The errors that a forecast is about: badTimes as many as now, and at least badLeast. Stable
// has leastErrors at least, since nobody can count on none.
const (
	leastErrors = 0.001
	badTimes    = 10
	badLeast    = 0.02
	badMost     = 0.5
)

// forecast says what the settings of a candidate's analysis mean in the service's own
// traffic, for each weight at which there is a bake.
func (e *Engine) forecast(state *State, candidate *Release, steps []Step) []string {
	a := analysisOf(candidate)
	if a == nil || state.Stable == "" {
		return nil
	}
	t, known := e.samples.lately(state.Service, state.Stable)
	if !known {
		return []string{"analysis: how long it takes can't be said, since " + state.Stable + " had no requests in the last minute"}
	}
	settings := settingsOf(a, steps)
	base := max(t.errors, leastErrors)
	bad := min(max(badTimes*base, badLeast), badMost)
	var notes []string
	weight := 0
	for _, st := range steps {
		switch {
		case st.Kind == StepShift:
			weight = st.Weights[candidate.ID]
		case st.Kind == StepBake && 0 < weight && weight < 100:
			f := settings.Forecast(base, bad, float64(weight)/100)
			notes = append(notes, forecastText(f, t.rate, base, bad, weight, st.For))
		}
	}
	return notes
}

func forecastText(f analysis.Forecast, rate, base, bad float64, weight int, bake spec.Duration) string {
	after := func(requests uint64) (time.Duration, string) {
		if requests == 0 {
			return 0, "never"
		}
		d := time.Duration(float64(requests) / (rate * float64(weight) / 100) * float64(time.Second)).Round(time.Second)
		return d, fmt.Sprintf("after about %s of the candidate, %s", plural(int(requests), "request"), spec.Duration(d))
	}
	_, found := after(f.Fail)
	passes, passed := after(f.Pass)
	text := fmt.Sprintf("analysis: at %.3g requests a second and %d %%, a jump of errors from %.3g %% to %.3g %% is found %s; a candidate as good as stable passes %s",
		rate, weight, 100*base, 100*bad, found, passed)
	if passes > time.Duration(bake) || f.Pass == 0 {
		text += fmt.Sprintf(", and the bake lasts %s: a longer bake, a higher weight or a wider margin lets it pass", bake)
	}
	return text
}
