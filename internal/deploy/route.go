package deploy

import (
	"fmt"
	"slices"

	"github.com/segue-deploy/segue/internal/spec"
)

// routeIsFree refuses a host and path that another service has or is about to
// have.
func (e *Engine) routeIsFree(sp *spec.Spec) error {
	for _, s := range e.all() {
		if s.name == sp.Service {
			continue
		}
		st := s.snapshot()
		taken := st.routes()
		for _, route := range routesOf(sp) {
			if slices.Contains(taken, route) {
				return &Error{ProblemConflict, fmt.Sprintf("route %s belongs to service %s", route, s.name), "give one of them another host or path"}
			}
		}
	}
	return nil
}

// routes are those of all releases that run or wait for their turn.
func (s *State) routes() []string {
	var routes []string
	for id := range s.Running {
		routes = append(routes, routesOf(&s.Release(id).Spec)...)
	}
	if stable := s.Release(s.Stable); stable != nil {
		routes = append(routes, routesOf(&stable.Spec)...)
	}
	for _, d := range s.Deployments {
		if !d.Phase.Final() {
			routes = append(routes, routesOf(&s.Release(d.Candidate).Spec)...)
		}
	}
	return routes
}

// routesOf are all pairs of host and path of a spec, a missing host as "*". Those by
// which its candidates can be reached count, too.
func routesOf(sp *spec.Spec) []string {
	if sp.Listen == spec.ListenNone {
		return nil
	}
	hosts, paths := sp.Route.Hosts, sp.Route.Paths
	if len(hosts) == 0 {
		hosts = []string{"*"}
	}
	for _, m := range sp.Strategy.Match() {
		if m.Host != "" {
			hosts = append(slices.Clone(hosts), m.Host)
		}
	}
	if len(paths) == 0 {
		paths = []string{"/"}
	}
	var routes []string
	for _, h := range hosts {
		for _, p := range paths {
			routes = append(routes, h+p)
		}
	}
	return routes
}
