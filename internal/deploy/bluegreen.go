package deploy

import "github.com/segue-deploy/segue/internal/spec"

// blueGreen starts the candidate beside stable, proves it, moves all traffic at
// once and watches.
func blueGreen(s *State, candidate *Release, settings *spec.BlueGreen) []Step {
	if s.beside(candidate) == nil {
		return append(alone(candidate, settings.Bake), drainStable(s, candidate)...)
	}
	steps := prove(candidate)
	steps = append(steps, preview(candidate, settings.Preview, nil)...)
	steps = append(steps, approve(candidate, settings.Approve)...)
	steps = append(steps, shiftTo(candidate, map[string]int{candidate.ID: 100})...)
	steps = append(steps, bake(candidate, settings.Bake)...)
	return append(steps, drainStable(s, candidate)...)
}
