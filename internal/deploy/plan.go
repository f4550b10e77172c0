package deploy

import (
	"maps"
	"slices"
	"time"

	"github.com/segue-deploy/segue/internal/spec"
)

// shiftDeadline is how long a new table may take until it is in force: the
// daemon needs some of it to start a proxy that has died.
const shiftDeadline = 30 * time.Second

// retireDeadline is added to a release's stop grace: after it a deployment goes
// on without the retirement, which the service's loop tries again later.
const retireDeadline = 20 * time.Second

// plan returns the steps that make a release the stable one, from the state as
// it is. It is pure; what it returns is what a deployment does.
func plan(s *State, candidate *Release) []Step {
	steps := hookStep(candidate, HookBeforeStart)
	strategy := candidate.Spec.Strategy
	switch {
	case strategy.Exclusive != nil:
		steps = append(steps, exclusive(s, candidate, strategy.Exclusive)...)
	case strategy.Worker != nil:
		steps = append(steps, worker(s, candidate, strategy.Worker)...)
	case s.isWarm(candidate.ID):
		steps = append(steps, swap(s, candidate)...)
	case strategy.Canary != nil:
		steps = append(steps, canary(s, candidate, strategy.Canary)...)
	case strategy.Rolling != nil:
		steps = append(steps, rolling(s, candidate, strategy.Rolling)...)
	default:
		steps = append(steps, blueGreen(s, candidate, strategy.BlueGreen)...)
	}
	if strategy.Exclusive == nil && strategy.Worker == nil {
		steps = append(steps, retireOthers(s, candidate.ID)...)
	}
	return append(steps, hookStep(candidate, HookAfterPromote)...)
}

// planFor returns the plan of a deployment whose turn has come.
func planFor(s *State, d *Deployment) []Step {
	if d.Kind == KindScale {
		return planScale(s, d.Instances)
	}
	return plan(s, s.Release(d.Candidate))
}

// planScale returns the steps that give stable another number of instances.
func planScale(s *State, instances int) []Step {
	stable := s.Release(s.Stable)
	if instances < s.Running[stable.ID].Instances {
		return []Step{shrink(stable, instances)}
	}
	return []Step{start(stable, instances)}
}

// swap gives all traffic to a candidate that is still warm, and so has proved
// itself before.
func swap(s *State, candidate *Release) []Step {
	steps := []Step{start(candidate, candidate.Spec.Instances)}
	steps = append(steps, shiftTo(candidate, map[string]int{candidate.ID: 100})...)
	return append(steps, drainStable(s, candidate)...)
}

// isWarm says whether a release runs that is not stable.
func (s *State) isWarm(release string) bool {
	running, runs := s.Running[release]
	return runs && !running.Retiring && release != s.Stable
}

// beside returns stable, if it runs and is another than the candidate; the others
// have nobody to share the traffic with.
func (s *State) beside(candidate *Release) *Release {
	running, runs := s.Running[s.Stable]
	if !runs || running.Retiring || s.Stable == candidate.ID {
		return nil
	}
	return s.Release(s.Stable)
}

// retireOthers leaves only stable and the candidate. It comes last: as long as
// the candidate has not proved itself, the way back to a warm release stays open.
// A candidate that is stable by the time of its turn replaces nothing.
func retireOthers(s *State, candidate string) []Step {
	var steps []Step
	if candidate == s.Stable {
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(s.Running)) {
		if id != s.Stable && id != candidate {
			steps = append(steps, retire(s.Release(id)))
		}
	}
	return steps
}

// prove starts all instances of a candidate and checks them.
func prove(candidate *Release) []Step {
	steps := []Step{start(candidate, candidate.Spec.Instances)}
	return append(steps, verify(candidate, candidate.Spec.Smoke)...)
}

// alone is the deployment of a candidate that has nobody to take traffic from.
func alone(candidate *Release, watch spec.Duration) []Step {
	steps := append(prove(candidate), shiftTo(candidate, map[string]int{candidate.ID: 100})...)
	return append(steps, bake(candidate, watch)...)
}

// drainStable is there when stable is another release than the candidate.
func drainStable(s *State, candidate *Release) []Step {
	stable := s.Release(s.Stable)
	if stable == nil || stable.ID == candidate.ID {
		return nil
	}
	return []Step{drain(stable)}
}

func start(r *Release, instances int) Step {
	return Step{Kind: StepStart, Release: r.ID, Instances: instances, Deadline: r.Spec.Health.StartDeadline}
}

// hookStep is no step when the spec has none for the moment.
func hookStep(r *Release, moment HookMoment) []Step {
	var total spec.Duration
	for _, h := range moment.of(r.Spec.Hooks) {
		total += h.Timeout
	}
	if total == 0 {
		return nil
	}
	return []Step{{Kind: StepHook, Release: r.ID, Hook: moment, Deadline: total}}
}

// verify is no step when there is nothing to check.
func verify(r *Release, checks []spec.Check) []Step {
	if len(checks) == 0 {
		return nil
	}
	var total spec.Duration
	for _, c := range checks {
		tries := spec.Duration(c.Retries + 1)
		total += tries*c.Timeout + (tries-1)*c.RetryAfter
	}
	return []Step{{Kind: StepVerify, Release: r.ID, Checks: checks, Deadline: total}}
}

// preview is no step when nothing is chosen.
func preview(r *Release, match []spec.Match, mirror *spec.Mirror) []Step {
	if len(match) == 0 && mirror == nil {
		return nil
	}
	return []Step{{Kind: StepPreview, Release: r.ID, Match: match, Mirror: mirror, Deadline: spec.Duration(shiftDeadline)}}
}

func shift(weights map[string]int) Step {
	return Step{Kind: StepShift, Weights: weights, Deadline: spec.Duration(shiftDeadline)}
}

// shiftTo is a shift towards the candidate, with its hooks.
func shiftTo(candidate *Release, weights map[string]int) []Step {
	return append([]Step{shift(weights)}, hookStep(candidate, HookAfterShift)...)
}

// bake is no step when it takes no time.
func bake(r *Release, d spec.Duration) []Step { return bakeUntil(r, spec.Bake{Max: d}) }

func bakeUntil(r *Release, b spec.Bake) []Step {
	if b.Max == 0 {
		return nil
	}
	return []Step{{Kind: StepBake, Release: r.ID, For: b.Max, Early: b.Early}}
}

// approve is no step when nobody is to be asked.
func approve(r *Release, a *spec.Approve) []Step {
	if a == nil {
		return nil
	}
	return []Step{{Kind: StepApprove, Release: r.ID, Deadline: a.Deadline, Then: a.Then}}
}

func shrink(r *Release, instances int) Step {
	st := drain(r)
	st.Kind, st.Instances = StepShrink, instances
	return st
}

func hold(limits spec.Hold) Step {
	return Step{Kind: StepHold, Hold: &limits, Deadline: spec.Duration(shiftDeadline)}
}

func drain(r *Release) Step {
	return Step{Kind: StepDrain, Release: r.ID, Deadline: r.Spec.LongestDrain(), Drain: r.Spec.Drain, PathDrains: r.Spec.Route.Drain}
}

func retire(r *Release) Step {
	return Step{Kind: StepRetire, Release: r.ID, Deadline: r.Spec.StopGrace + spec.Duration(retireDeadline)}
}
