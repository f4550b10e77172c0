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
	steps := blueGreen(s, candidate, candidate.Spec.Strategy.BlueGreen)
	return append(steps, retireOthers(s, candidate.ID)...)
}

// planBack returns the steps that take the candidate back and leave stable with
// all the traffic, from whatever point the deployment has come to.
func planBack(s *State, d *Deployment) []Step {
	if d.Candidate == d.Stable {
		return nil
	}
	var steps []Step
	candidate := s.Release(d.Candidate)
	if d.hasBegun(StepShift) {
		back := map[string]int{}
		if d.Stable != "" {
			back[d.Stable] = 100
		}
		steps = append(steps, shift(back), drain(candidate))
	}
	if _, runs := s.Running[d.Candidate]; runs && d.WarmUntil.IsZero() {
		steps = append(steps, retire(candidate))
	}
	return steps
}

func (d *Deployment) hasBegun(kind StepKind) bool {
	return slices.ContainsFunc(d.Steps, func(st StepState) bool {
		return st.Kind == kind && !st.Began.IsZero()
	})
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

func start(r *Release) Step {
	return Step{Kind: StepStart, Release: r.ID, Instances: r.Spec.Instances, Deadline: r.Spec.Health.StartDeadline}
}

func verify(r *Release) Step {
	var total spec.Duration
	for _, test := range r.Spec.Smoke {
		total += test.Timeout
	}
	return Step{Kind: StepVerify, Release: r.ID, Deadline: total}
}

func shift(weights map[string]int) Step {
	return Step{Kind: StepShift, Weights: weights, Deadline: spec.Duration(shiftDeadline)}
}

func bake(r *Release, d spec.Duration) Step {
	return Step{Kind: StepBake, Release: r.ID, For: d}
}

func drain(r *Release) Step {
	return Step{Kind: StepDrain, Release: r.ID, Deadline: r.Spec.Drain}
}

func retire(r *Release) Step {
	return Step{Kind: StepRetire, Release: r.ID, Deadline: r.Spec.StopGrace + spec.Duration(retireDeadline)}
}
