package deploy

import (
	"fmt"
	"maps"
	"slices"
	"time"

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
		if svc, routed := states[i].routed(instances); routed {
			t.Services = append(t.Services, svc)
		}
	}
	slices.SortFunc(t.Services, func(a, b proxy.Service) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return t
}

// routed is the service's part of the table, if it takes requests.
func (s *State) routed(instances []driver.Instance) (proxy.Service, bool) {
	weights := s.weights(instances)
	routing := s.routing(weights)
	if routing == nil || routing.Spec.Listen == spec.ListenNone {
		return proxy.Service{}, false
	}
	svc := proxy.Service{Name: s.Service, Hosts: routing.Spec.Route.Hosts, Paths: routing.Spec.Route.Paths, Hold: s.held(instances)}
	svc.Queue = &proxy.Queue{Requests: routing.Spec.Overload.Queue, Time: time.Duration(routing.Spec.Overload.MaxWait)}
	svc.RetryBudget = &proxy.RetryBudget{Share: float64(routing.Spec.RetryBudget)}
	for _, id := range slices.Sorted(maps.Keys(s.Running)) {
		if s.Running[id].Retiring {
			continue
		}
		svc.Releases = append(svc.Releases, proxy.Release{
			ID:        id,
			Weight:    weights[id],
			Health:    checkOf(s.Release(id).Spec.Health),
			Upstreams: s.upstreams(id, instances),

			TellWebSockets: s.Release(id).Spec.TellWebSockets,

			MaxInFlight: s.Release(id).Spec.Overload.MaxInFlight,
			Ejection:    ejectionOf(s.Release(id).Spec.Ejection),
			SlowStart:   time.Duration(s.Release(id).Spec.SlowStart),

			ReplayUploads: s.Release(id).Spec.ReplayUploads,
		})
	}
	svc.Fallback = s.fallback(svc)
	s.choose(&svc)
	return svc, true
}

// fallback is stable, as long as a deployment on its way in has taken all traffic from
// it and has not begun to drain it: it answers when all of the candidate dies, before
// anybody here has noticed. One that must never run beside the candidate is retired
// before.
func (s *State) fallback(svc proxy.Service) string {
	d := s.Current()
	if d == nil || d.Phase != PhaseRunning || d.Candidate == d.Stable || d.leaves(d.Stable) {
		return ""
	}
	for _, r := range svc.Releases {
		if r.ID == d.Stable && r.Weight == 0 && len(r.Upstreams) > 0 {
			return d.Stable
		}
	}
	return ""
}

// leaves says whether a release's requests are being drained or its instances stopped
// for good.
func (d *Deployment) leaves(release string) bool {
	return slices.ContainsFunc(d.Steps, func(st StepState) bool {
		return st.Release == release && !st.Began.IsZero() && (st.Kind == StepDrain || st.Kind == StepRetire)
	})
}

// choose adds how the requests are chosen that go to a candidate beside stable.
func (s *State) choose(svc *proxy.Service) {
	d := s.Current()
	if d == nil || !slices.ContainsFunc(svc.Releases, func(r proxy.Release) bool { return r.ID == d.Candidate }) {
		return
	}
	candidate := s.Release(d.Candidate)
	if sticky := candidate.Spec.Route.Sticky; sticky != nil {
		svc.Candidate, svc.Sticky = d.Candidate, &proxy.Sticky{Cookie: sticky.Cookie, Header: sticky.Header}
	}
	if a := analysisOf(candidate); a != nil && d.Phase == PhaseRunning {
		svc.Candidate, svc.Scoring = d.Candidate, scoringOf(d, a)
	}
	if !s.Previewing {
		return
	}
	for _, st := range d.Steps {
		if st.Kind != StepPreview {
			continue
		}
		svc.Candidate, svc.Match = d.Candidate, nil
		for _, m := range st.Match {
			svc.Match = append(svc.Match, proxy.Match{Header: m.Header, Cookie: m.Cookie, Query: m.Query, Host: m.Host, Value: m.Value})
		}
		if m := st.Mirror; m != nil {
			svc.Mirror = &proxy.Mirror{
				Share: float64(m.Share), MaxInFlight: m.MaxInFlight, CompareBody: m.Compare == spec.CompareBody, MaxBody: int64(m.MaxBody),
			}
		}
	}
}

// held is the hold to be in force: that of somebody, or that of a deployment, which
// ends with the shift that takes it back.
func (s *State) held(instances []driver.Instance) *proxy.Hold {
	h := s.Hold
	if t := s.Taking; t != nil && !s.shiftCounts(instances) && (h == nil || t.Until.After(h.Until)) {
		h = t
	}
	if h == nil {
		return nil
	}
	return &proxy.Hold{
		Until: h.Until, Time: time.Duration(h.Limits.Time), Requests: h.Limits.Requests, Bytes: int64(h.Limits.Bytes),
	}
}

// weights is the split to be in force. One that a shift intends counts only when
// those who are to get traffic can take it: a crash may have come in between. And
// as long as a deployment is under way, stable answers for a candidate that can't.
func (s *State) weights(instances []driver.Instance) map[string]int {
	weights := s.Weights
	if s.shiftCounts(instances) {
		weights = s.Shifting.Weights
	}
	d := s.Current()
	if d == nil || d.Candidate == d.Stable || weights[d.Candidate] == 0 || s.answers(d, instances) {
		return weights
	}
	if len(s.upstreams(d.Stable, instances)) > 0 {
		return map[string]int{d.Stable: 100}
	}
	return weights
}

// answers says whether a candidate can take requests: on its way in one that is not
// healthy may try, on the way back no more.
func (s *State) answers(d *Deployment, instances []driver.Instance) bool {
	if d.Phase == PhaseTakingBack {
		return ready(s.counted(d.Candidate, instances)) > 0
	}
	return len(s.upstreams(d.Candidate, instances)) > 0
}

// shiftCounts says whether a split is intended and nothing stands in its way.
func (s *State) shiftCounts(instances []driver.Instance) bool {
	return s.Shifting != nil && s.mayShift(instances) == nil
}

// mayShift says what stands in the way of the intended split. A candidate on its
// way in must be there with all its instances, on its way out with none; who else
// gets traffic, with one.
func (s *State) mayShift(instances []driver.Instance) error {
	for _, release := range slices.Sorted(maps.Keys(s.Shifting.Weights)) {
		want := 1
		if d := s.Current(); d != nil && release == d.Candidate {
			want = s.Running[release].Instances
			if s.Shifting.Back {
				want = 0
			}
		}
		if s.Shifting.Weights[release] == 0 {
			continue
		}
		all := s.counted(release, instances)
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

// upstreams are the instances that can take requests: the ready ones, and if
// there are none, those that were ready and whose checks fail now, since to try
// is better than to refuse.
func (s *State) upstreams(release string, instances []driver.Instance) []proxy.Upstream {
	for _, state := range []driver.State{driver.Ready, driver.Unready} {
		var ups []proxy.Upstream
		for _, in := range s.counted(release, instances) {
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

// counted are a release's instances without those that are leaving.
func (s *State) counted(release string, all []driver.Instance) []driver.Instance {
	return slices.DeleteFunc(instancesOf(s.Service, release, all), func(in driver.Instance) bool {
		return in.Index > s.Running[release].Instances
	})
}

func instancesOf(service, release string, all []driver.Instance) []driver.Instance {
	return slices.DeleteFunc(slices.Clone(all), func(in driver.Instance) bool {
		return in.Service != service || in.Release != release
	})
}

func ejectionOf(e spec.Ejection) proxy.Ejection {
	return proxy.Ejection{Failures: e.Failures, Time: time.Duration(e.Time), Keep: float64(e.Keep), ServerErrors: e.ServerErrors}
}

func checkOf(h spec.Health) *health.Check {
	c := driverCheck(h)
	return &c
}
