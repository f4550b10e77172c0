package deploy

import (
	"math"

	"github.com/segue-deploy/segue/internal/spec"
)

// rolling replaces stable's instances by the candidate's, a few at a time: the
// machine need not hold two full copies. The weights follow the numbers of
// instances.
func rolling(s *State, candidate *Release, settings *spec.Rolling) []Step {
	stable := s.beside(candidate)
	if stable == nil {
		return append(alone(candidate, settings.Bake.Max), drainStable(s, candidate)...)
	}
	bounds := boundsOf(settings, candidate.Spec.Instances, s.Running[stable.ID].Instances)
	var steps []Step
	first := true
	for _, b := range batches(0, candidate.Spec.Instances, s.Running[stable.ID].Instances, bounds) {
		steps = append(steps, shrinkTo(stable, b.shrinkFirst)...)
		if b.grows {
			steps = append(steps, start(candidate, b.up))
		}
		if first && b.grows {
			first = false
			steps = append(steps, verify(candidate, candidate.Spec.Smoke)...)
			steps = append(steps, preview(candidate, settings.Match, nil)...)
		}
		steps = append(steps, shiftTo(candidate, split(candidate.ID, portion(b.up, b.down), stable.ID))...)
		steps = append(steps, bakeUntil(candidate, settings.Bake)...)
		steps = append(steps, shrinkTo(stable, b.shrinkAfter)...)
	}
	return append(steps, drain(stable), retire(stable))
}

// rollBack takes a rolling deployment back. When stable still has half of its
// instances it gets all traffic at once; with fewer it might break under it, and
// then the instances are replaced in batches once more, the other way round.
func rollBack(s *State, d *Deployment) []Step {
	candidate, stable := s.Release(d.Candidate), s.Release(d.Stable)
	left := 0
	if running := s.Running[d.Stable]; !running.Retiring {
		left = running.Instances
	}
	there := s.Running[d.Candidate].Instances
	if 2*left >= d.StableInstances && left > 0 {
		return []Step{shift(map[string]int{d.Stable: 100}), drain(candidate), retire(candidate), start(stable, d.StableInstances)}
	}
	bounds := boundsOf(candidate.Spec.Strategy.Rolling, d.StableInstances, there)
	var steps []Step
	if left > 0 && there > 0 {
		// What there still is of stable takes its part before the candidate shrinks.
		steps = append(steps, shift(split(d.Stable, portion(left, there), d.Candidate)))
	}
	for _, b := range batches(left, d.StableInstances, there, bounds) {
		steps = append(steps, shrinkTo(candidate, b.shrinkFirst)...)
		if b.grows {
			steps = append(steps, start(stable, b.up))
		}
		steps = append(steps, shift(split(d.Stable, portion(b.up, b.down), d.Candidate)))
		steps = append(steps, shrinkTo(candidate, b.shrinkAfter)...)
	}
	return append(steps, drain(candidate), retire(candidate))
}

// bounds are the most instances that there may be in all, and the fewest that must
// be there to take requests.
type bounds struct{ most, fewest int }

// boundsOf counts from the number of instances that there are to be; a release that
// has more than that already may keep them until they are replaced.
func boundsOf(settings *spec.Rolling, target, there int) bounds {
	surge, missing := settings.MaxSurge.Of(target, true), settings.MaxUnavailable.Of(target, false)
	if surge == 0 && missing == 0 {
		surge = 1 // A percentage of very few.
	}
	return bounds{most: max(target, there) + surge, fewest: max(0, target-missing)}
}

// batch is one round of a replacement: first one release shrinks where there is no
// room, then the other grows, then the first shrinks as far as it may.
type batch struct {
	grows bool
	// up is how many instances the growing release has, down how many the
	// shrinking one has at the end of the batch.
	up, down int
	// shrinkFirst and shrinkAfter are numbers to shrink to, or keep.
	shrinkFirst, shrinkAfter int
}

// keep is a number of instances that stands for no change.
const keep = -1

// batches replaces the instances of one release, from down to none, by those of
// another, from up to target.
func batches(up, target, down int, b bounds) []batch {
	var all []batch
	for up < target || down > 0 {
		next := batch{shrinkFirst: keep, shrinkAfter: keep}
		if up < target && up+down >= b.most {
			// No room: as many go first as may be missing.
			down = max(0, min(down-1, b.fewest-up))
			next.shrinkFirst = down
		}
		grown := min(target, max(up, b.most-down))
		next.grows = grown > up
		up = grown
		// What grows is there by now, so that the other may shrink to what must be.
		if less := max(0, b.fewest-up); up == target || less < down {
			if up == target {
				less = 0
			}
			down = less
			// The last ones stay until the other has proved itself, if there is room.
			if down > 0 || up < target {
				next.shrinkAfter = down
			}
		}
		next.up, next.down = up, down
		all = append(all, next)
	}
	return all
}

// portion is the weight of up instances beside down others, in percent.
func portion(up, down int) int {
	return int(math.Round(100 * float64(up) / float64(up+down)))
}

// shrinkTo is no step for keep.
func shrinkTo(r *Release, instances int) []Step {
	if instances == keep {
		return nil
	}
	return []Step{shrink(r, instances)}
}
