package proxy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func TestChooseReleaseByWeight(t *testing.T) {
	s := &service{}
	weights := map[string]int{"r1": 70, "r2": 25, "r3": 5, "r4": 0}
	for _, id := range []string{"r1", "r2", "r3", "r4"} {
		s.releases = append(s.releases, &release{id: id, weight: weights[id], account: &account{}})
	}
	counts := make(map[string]int)
	const n = 100000
	for range n {
		counts[s.choose(nil, rand.IntN).id]++
	}
	for id, weight := range weights {
		want := float64(weight) / 100 * n
		// Six standard deviations: once in 500 million runs.
		if off := math.Abs(float64(counts[id]) - want); off > 6*math.Sqrt(want) {
			t.Errorf("%s got %d of %d, want %.0f", id, counts[id], n, want)
		}
	}
	left := []*account{s.releases[0].account, s.releases[1].account}
	if r := s.choose(left, rand.IntN); r.id != "r3" {
		t.Errorf("%s is chosen, want the only one left", r.id)
	}
	if r := s.choose(append(left, s.releases[2].account), rand.IntN); r != nil {
		t.Errorf("%s is chosen, which has no weight", r.id)
	}
}

func TestChooseUpstream(t *testing.T) {
	r := &release{}
	for i := range 4 {
		u := newUpstream(&account{}, Upstream{ID: fmt.Sprint(i)})
		r.upstreams = append(r.upstreams, u)
	}
	u := r.upstreams
	u[0].inFlight.Store(10)
	chosen := func(tried ...*upstream) map[string]int {
		counts := make(map[string]int)
		for range 6000 {
			if u := r.choose(tried, rand.IntN); u != nil {
				counts[u.id]++
			}
		}
		return counts
	}
	// The busiest of four loses against whichever it is drawn with; the others
	// share its part.
	if c := chosen(); c["0"] != 0 || c["1"] < 1500 || c["2"] < 1500 || c["3"] < 1500 {
		t.Errorf("chosen: %v", c)
	}
	u[1].condition.healthy.Store(false)
	if c := chosen(); c["1"] != 0 || c["2"] == 0 {
		t.Errorf("with 1 ejected: %v", c)
	}
	if c := chosen(u[2], u[3]); c["0"] != 6000 {
		t.Errorf("with 2 and 3 tried: %v", c)
	}
	// To try an ejected one is better than to refuse.
	if c := chosen(u[0], u[2], u[3]); c["1"] != 6000 {
		t.Errorf("with all but 1 tried: %v", c)
	}
	if c := chosen(u...); len(c) != 0 {
		t.Errorf("with all tried: %v", c)
	}
	for _, up := range u {
		up.condition.healthy.Store(false)
	}
	if c := chosen(); len(c) == 0 {
		t.Error("with all ejected none is tried")
	}
	r.upstreams = u[:1]
	if c := chosen(u[0]); c["0"] != 6000 {
		t.Error("the only one isn't tried again")
	}
	if c := chosen(u[0], u[0]); len(c) != 0 {
		t.Error("the only one is tried a third time")
	}
}
