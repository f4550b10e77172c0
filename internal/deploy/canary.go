package deploy

import "github.com/segue-deploy/segue/internal/spec"

// canary moves the traffic in the steps that the spec lists. The candidate grows
// before a shift, never after it, so that no share of the traffic waits for an
// instance.
func canary(s *State, candidate *Release, settings *spec.Canary) []Step {
	if s.beside(candidate) == nil {
		return append(alone(candidate, lastBake(settings.Steps)), drainStable(s, candidate)...)
	}
	c := canaryPlan{candidate: candidate, stable: s.Stable, settings: settings}
	c.grow(firstWeight(settings.Steps))
	c.add(verify(candidate, candidate.Spec.Smoke)...)
	c.add(preview(candidate, settings.Match, settings.Mirror)...)
	for _, st := range settings.Steps {
		switch {
		case st.Weight > 0:
			c.shift(st.Weight)
		case st.Bake.Max > 0:
			c.add(bakeUntil(candidate, st.Bake)...)
		case st.Approve != nil:
			c.add(approve(candidate, st.Approve)...)
		case st.Verify != nil && len(st.Verify.Checks) > 0:
			c.add(verify(candidate, st.Verify.Checks)...)
		case st.Verify != nil:
			c.add(verify(candidate, candidate.Spec.Smoke)...)
		}
	}
	if c.weight < 100 {
		c.shift(100)
	}
	return append(c.steps, drainStable(s, candidate)...)
}

// canaryPlan is a plan in the making.
type canaryPlan struct {
	candidate *Release
	stable    string
	settings  *spec.Canary
	steps     []Step
	// instances and weight are the candidate's after the steps so far.
	instances, weight int
}

func (c *canaryPlan) add(steps ...Step) { c.steps = append(c.steps, steps...) }

// grow starts as many instances as a weight needs.
func (c *canaryPlan) grow(weight int) {
	needed := c.settings.Instances.Of(weight, c.candidate.Spec.Instances)
	if needed > c.instances {
		c.instances = needed
		c.add(start(c.candidate, needed))
	}
}

func (c *canaryPlan) shift(weight int) {
	c.grow(weight)
	c.weight = weight
	c.add(shiftTo(c.candidate, split(c.candidate.ID, weight, c.stable))...)
}

// split gives the candidate its weight, and stable the rest.
func split(candidate string, weight int, stable string) map[string]int {
	weights := map[string]int{candidate: weight}
	if weight < 100 {
		weights[stable] = 100 - weight
	}
	return weights
}

func firstWeight(steps []spec.CanaryStep) int {
	for _, st := range steps {
		if st.Weight > 0 {
			return st.Weight
		}
	}
	return 100
}

func lastBake(steps []spec.CanaryStep) spec.Duration {
	var last spec.Duration
	for _, st := range steps {
		if st.Bake.Max > 0 {
			last = st.Bake.Max
		}
	}
	return last
}
