package deploy

import (
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
		routing := s.routing()
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
				Weight:    s.Weights[id],
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

// routing is the release whose hosts and paths are the service's: the one with
// the most traffic, and before there is any, the candidate.
func (s *State) routing() *Release {
	var best string
	for _, id := range slices.Sorted(maps.Keys(s.Running)) {
		if best == "" || s.Weights[id] > s.Weights[best] {
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
		for _, in := range instances {
			if in.Service == service && in.Release == release && in.State == state {
				ups = append(ups, proxy.Upstream{ID: in.ID, Target: in.Target})
			}
		}
		if len(ups) > 0 {
			return ups
		}
	}
	return nil
}

func checkOf(h spec.Health) *health.Check {
	c := driverCheck(h)
	return &c
}
