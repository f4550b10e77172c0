package deploy

import (
	"slices"

	"github.com/segue-deploy/segue/internal/spec"
)

// planBack returns the steps that take the candidate back and leave stable with
// all the traffic, from whatever point the deployment has come to.
func planBack(s *State, d *Deployment) []Step {
	candidate := s.Release(d.Candidate)
	if d.Kind == KindScale {
		return scaleBack(s, d)
	}
	if d.Candidate == d.Stable {
		return nil
	}
	return append(takeBack(s, d, candidate), hookStep(candidate, HookOnAbort)...)
}

func takeBack(s *State, d *Deployment, candidate *Release) []Step {
	strategy := candidate.Spec.Strategy
	_, runs := s.Running[d.Candidate]
	switch {
	case strategy.Exclusive != nil && (d.hasBegun(StepHold) || d.hasBegun(StepShift)):
		return exclusiveBack(s, d)
	case strategy.Worker != nil && strategy.Worker.Order == spec.OrderExclusive && d.stableLeft(s):
		return append(retireIf(runs, candidate), start(s.Release(d.Stable), d.StableInstances))
	case strategy.Rolling != nil && d.stableLeft(s):
		return rollBack(s, d)
	}
	var steps []Step
	if d.stableLeft(s) {
		steps = append(steps, start(s.Release(d.Stable), d.StableInstances))
	}
	if d.hasBegun(StepShift) || d.hasBegun(StepPreview) {
		back := map[string]int{}
		if d.Stable != "" {
			back[d.Stable] = 100
		}
		steps = append(steps, shift(back), drain(candidate))
	}
	return append(steps, retireIf(runs && d.WarmUntil.IsZero(), candidate)...)
}

// stableLeft says whether some or all of stable's instances were told to go.
func (d *Deployment) stableLeft(s *State) bool {
	if d.Stable == "" {
		return false
	}
	running, runs := s.Running[d.Stable]
	return !runs || running.Retiring || running.Instances < d.StableInstances
}

// scaleBack gives stable the number of instances that it had.
func scaleBack(s *State, d *Deployment) []Step {
	stable := s.Release(d.Stable)
	switch now := s.Running[d.Stable].Instances; {
	case now > d.StableInstances:
		return []Step{shrink(stable, d.StableInstances)}
	case now < d.StableInstances:
		return []Step{start(stable, d.StableInstances)}
	}
	return nil
}

func retireIf(runs bool, r *Release) []Step {
	if !runs {
		return nil
	}
	return []Step{retire(r)}
}

func (d *Deployment) hasBegun(kind StepKind) bool {
	return slices.ContainsFunc(d.Steps, func(st StepState) bool {
		return st.Kind == kind && !st.Began.IsZero()
	})
}
