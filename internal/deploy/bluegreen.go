package deploy

import "github.com/segue-deploy/segue/internal/spec"

// blueGreen starts the candidate beside stable, proves it, moves all traffic at
// once and watches. A candidate that is still warm has proved itself before: for
// it the shift comes at once.
func blueGreen(s *State, candidate *Release, settings *spec.BlueGreen) []Step {
	running, runs := s.Running[candidate.ID]
	warm := runs && !running.Retiring
	steps := []Step{start(candidate)}
	if !warm && len(candidate.Spec.Smoke) > 0 {
		steps = append(steps, verify(candidate))
	}
	steps = append(steps, shift(map[string]int{candidate.ID: 100}))
	if !warm && settings.Bake > 0 {
		steps = append(steps, bake(candidate, settings.Bake))
	}
	if stable := s.Release(s.Stable); stable != nil && stable.ID != candidate.ID {
		steps = append(steps, drain(stable))
	}
	return steps
}
