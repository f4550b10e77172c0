package deploy

import (
	"fmt"
	"time"

	"github.com/segue-deploy/segue/internal/spec"
)

// exclusive stops stable before the candidate starts: of the two at most one runs
// at any time. New requests are held from before the one ends until the other is
// there and checked; those in flight finish on stable first.
func exclusive(s *State, candidate *Release, settings *spec.Exclusive) []Step {
	stable := s.beside(candidate)
	// Whatever else of the service runs goes first, too, such as a warm release of a
	// deployment with another strategy.
	steps := retireOthers(s, candidate.ID)
	if stable != nil {
		steps = append(steps, hold(settings.Hold), drain(stable), retire(stable))
	}
	steps = append(steps, proveWithin(candidate, settings.Ready)...)
	steps = append(steps, shiftTo(candidate, map[string]int{candidate.ID: 100})...)
	return append(steps, bake(candidate, settings.Bake)...)
}

// proveWithin is prove for a candidate that others wait for.
func proveWithin(candidate *Release, ready spec.Duration) []Step {
	steps := prove(candidate)
	for i := range steps {
		steps[i].Deadline = min(steps[i].Deadline, ready)
	}
	return steps
}

// exclusiveBack stops the candidate before stable starts again. Requests are held
// meanwhile, those that came to the candidate already finish there.
func exclusiveBack(s *State, d *Deployment) []Step {
	candidate := s.Release(d.Candidate)
	var steps []Step
	if d.hasTraffic() {
		steps = append(steps, hold(candidate.Spec.Strategy.Exclusive.Hold), drain(candidate))
	}
	if _, runs := s.Running[d.Candidate]; runs {
		steps = append(steps, retire(candidate))
	}
	if d.Stable == "" {
		return append(steps, shift(nil))
	}
	return append(steps, start(s.Release(d.Stable), d.StableInstances), shift(map[string]int{d.Stable: 100}))
}

// longestHold says when requests may have to wait for longer than the candidate's hold
// lets them: at worst stable is drained and stopped, the candidate is not ready in time
// and is stopped, and stable starts again.
func (s *State) longestHold(candidate *Release) string {
	settings, stable := candidate.Spec.Strategy.Exclusive, s.beside(candidate)
	if settings == nil || stable == nil {
		return ""
	}
	worst := stable.Spec.LongestDrain() + stable.Spec.StopGrace + settings.Ready + candidate.Spec.StopGrace + stable.Spec.Health.StartDeadline
	if worst <= settings.Hold.Time {
		return ""
	}
	return fmt.Sprintf("a request is held for %s at most, and at worst it takes %s to stop %s and to start it again when %s is not ready in time: "+
		"make hold.time longer, or drain, stop_grace, ready and start_deadline shorter", time.Duration(settings.Hold.Time), time.Duration(worst), stable.ID, candidate.ID)
}
