package deploy

import "github.com/segue-deploy/segue/internal/spec"

// worker replaces a service that takes no requests: there is no traffic to move,
// only work to be finished by the one and begun by the other.
func worker(s *State, candidate *Release, settings *spec.Worker) []Step {
	others := retireOthers(s, candidate.ID)
	if stable := s.beside(candidate); stable != nil {
		others = append(others, retire(stable))
	}
	steps := append(prove(candidate), bake(candidate, settings.Bake)...)
	if settings.Order == spec.OrderExclusive {
		return append(others, steps...)
	}
	return append(steps, others...)
}
