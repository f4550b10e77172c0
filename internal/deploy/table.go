package deploy

import (
	"fmt"
	"maps"
	"slices"

	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/health"
	"github.com/segue-deploy/segue/internal/proxy"
	"github.com/segue-deploy/segue/internal/spec"
)

// tableOf says where requests go, given what should be and what runs. It is
// pure; its version is left to the caller.
func tableOf(states []State, instances []driver.Instance) proxy.Table {
	var t proxy.Table
	for i := range states {
		s := &states[i]
		weights := s.weights(instances)
		routing := s.routing(weights)
		if routing == nil {
			continue
		}
		svc := proxy.Service{Name: s.Service, Hosts: routing.Spec.Route.Hosts, Paths: routing.Spec.Route.Paths}
		for _, id := range slices.Sorted(maps.Keys(s.Running)) {
			if s.Running[id].Retiring {
				continue
			}
			svc.Releases = append(svc.Releases, proxy.Release{
				ID:        id,
				Weight:    weights[id],
				Health:    checkOf(s.Release(id).Spec.Health),
				Upstreams: upstreamsOf(s.Service, id, instances),
			})
		}
		t.Services = append(t.Services, svc)
	}
	slices.SortFunc(t.Services, func(a, b proxy.Service) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return t
}

// weights is the split to be in force. One that a shift intends counts only when
// those who are to get traffic can take it: a crash may have come in between. And
// as long as a deployment is under way, stable answers for a candidate of which
// nothing is there.
func (s *State) weights(instances []driver.Instance) map[string]int {
	weights := s.Weights
	if s.Shifting != nil && s.mayShift(instances) == nil {
		weights = s.Shifting.Weights
	}
	d := s.Current()
	if d == nil || weights[d.Candidate] == 0 || len(upstreamsOf(s.Service, d.Candidate, instances)) > 0 {
		return weights
	}
	if ready(instancesOf(s.Service, d.Stable, instances)) > 0 {
		return map[string]int{d.Stable: 100}
	}
	return weights
}

// mayShift says what stands in the way of the intended split. A candidate must
// be there with all its instances; stable, on the way back, with one.
func (s *State) mayShift(instances []driver.Instance) error {
	for _, release := range slices.Sorted(maps.Keys(s.Shifting.Weights)) {
		want := s.Running[release].Instances
		if s.Shifting.Back {
			want = 1
		}
		if s.Shifting.Weights[release] == 0 {
			continue
		}
		all := instancesOf(s.Service, release, instances)
		if ready(all) >= want {
			continue
		}
		for _, in := range all {
			if in.State != driver.Ready && in.Message != "" {
				return &instanceError{in.ID, in.Message}
			}
		}
		return fmt.Errorf("%d of %s of %s ready", ready(all), plural(want, "instance"), release)
	}
	return nil
}

// routing is the release whose hosts and paths are the service's: the one with
// the most traffic. A release without traffic needs no route.
func (s *State) routing(weights map[string]int) *Release {
	best := ""
	for _, id := range slices.Sorted(maps.Keys(weights)) {
		if weights[id] > weights[best] {
			best = id
		}
	}
	return s.Release(best)
}

// upstreamsOf are the instances that can take requests: the ready ones, and if
// there are none, those that were ready and whose checks fail now, since to try
// is better than to refuse.
func upstreamsOf(service, release string, instances []driver.Instance) []proxy.Upstream {
	for _, state := range []driver.State{driver.Ready, driver.Unready} {
		var ups []proxy.Upstream
		for _, in := range instancesOf(service, release, instances) {
			if in.State == state {
				ups = append(ups, proxy.Upstream{ID: in.ID, Target: in.Target})
			}
		}
		if len(ups) > 0 {
			return ups
		}
	}
	return nil
}

func instancesOf(service, release string, all []driver.Instance) []driver.Instance {
	return slices.DeleteFunc(slices.Clone(all), func(in driver.Instance) bool {
		return in.Service != service || in.Release != release
	})
}

func checkOf(h spec.Health) *health.Check {
	c := driverCheck(h)
	return &c
}
