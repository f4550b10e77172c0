package deploy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/proxy"
	"github.com/segue-deploy/segue/internal/spec"
)

// ServiceStatus is what is going on with a service now.
type ServiceStatus struct {
	Service string `json:"service"`
	Stable  string `json:"stable,omitempty"`
	// Worker: the service takes no requests.
	Worker bool `json:"worker,omitempty"`
	// Deployment is the one under way, or else the last.
	Deployment *Deployment `json:"deployment,omitempty"`
	// Queued are the IDs of those that wait for their turn.
	Queued   []string        `json:"queued,omitempty"`
	Releases []ReleaseStatus `json:"releases"`
	WayBack  WayBack         `json:"way_back"`
	// Hold is set while somebody has the requests held, Freeze while somebody has
	// deploys refused.
	Hold   *Hold   `json:"hold,omitempty"`
	Freeze *Freeze `json:"freeze,omitempty"`
	// Traffic is what the proxy has counted since it started; nil when it does
	// not answer, and then TrafficError says why. Epoch names that run of the proxy.
	Traffic      *proxy.ServiceStats `json:"traffic,omitempty"`
	Epoch        string              `json:"epoch,omitempty"`
	TrafficError string              `json:"traffic_error,omitempty"`
}

// Role is what a running release is for.
type Role string

// The roles of a release that runs.
const (
	RoleStable    Role = "stable"
	RoleCandidate Role = "candidate"
	RoleWarm      Role = "warm"
	RoleRetiring  Role = "retiring"
)

// ReleaseStatus is a release that runs.
type ReleaseStatus struct {
	ID        string            `json:"id"`
	Role      Role              `json:"role"`
	Weight    int               `json:"weight"`
	Want      int               `json:"want"`
	Instances []driver.Instance `json:"instances"`
	WarmUntil time.Time         `json:"warm_until,omitzero"`
}

// WayBack is what a rollback would do.
type WayBack struct {
	// Release is where it would go; empty if nowhere.
	Release string `json:"release,omitempty"`
	// Instant: the release is warm, a swap of the table is enough.
	Instant bool `json:"instant,omitempty"`
	// Boot is how long its last start took; only set when it must boot.
	Boot time.Duration `json:"boot,omitempty"`
	// Refused says why there is no way back.
	Refused string `json:"refused,omitempty"`
}

// String is the way back in words.
func (w WayBack) String() string {
	switch {
	case w.Refused != "":
		return "refused, because " + w.Refused
	case w.Instant:
		return fmt.Sprintf("to %s, instant (it is warm)", w.Release)
	default:
		return fmt.Sprintf("to %s, about %s (it must boot)", w.Release, rough(w.Boot))
	}
}

// Status describes one service.
func (e *Engine) Status(ctx context.Context, name string) (ServiceStatus, error) {
	s, err := e.known(ctx, name)
	if err != nil {
		return ServiceStatus{}, err
	}
	instances, err := e.cfg.Driver.List(ctx)
	if err != nil {
		return ServiceStatus{}, fmt.Errorf("list instances: %w", err)
	}
	status := statusOf(s.snapshot(), instances)
	if stats, err := e.stats(ctx); err == nil {
		traffic := serviceStats(stats, name)
		status.Traffic, status.Epoch = &traffic, stats.Epoch
	} else {
		status.TrafficError = err.Error()
	}
	return status, nil
}

// Services describes all services, in the order of their names.
func (e *Engine) Services(ctx context.Context) ([]ServiceStatus, error) {
	if err := e.waitReady(ctx); err != nil {
		return nil, err
	}
	all := []ServiceStatus{}
	for _, s := range e.all() {
		status, err := e.Status(ctx, s.name)
		if err != nil {
			return nil, err
		}
		all = append(all, status)
	}
	return all, nil
}

// History returns a service's releases and deployments, oldest first.
func (e *Engine) History(ctx context.Context, name string) ([]Release, []Deployment, error) {
	s, err := e.known(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	st := s.snapshot()
	var deployments []Deployment
	for _, d := range st.Deployments {
		deployments = append(deployments, *d)
	}
	return st.Releases, deployments, nil
}

// Deployment returns one deployment; number 0 is the last.
func (e *Engine) Deployment(ctx context.Context, name string, number int) (Deployment, error) {
	s, err := e.known(ctx, name)
	if err != nil {
		return Deployment{}, err
	}
	st := s.snapshot()
	if number == 0 {
		number = len(st.Deployments)
	}
	d := st.Deployment(number)
	if d == nil {
		return Deployment{}, &Error{ProblemNotFound, fmt.Sprintf("%s has no deployment d%d", name, number), "'segue history' lists them"}
	}
	return *d, nil
}

// statusOf is pure.
func statusOf(s State, instances []driver.Instance) ServiceStatus {
	status := ServiceStatus{Service: s.Service, Stable: s.Stable, Worker: s.takesNothing(), WayBack: wayBack(&s, instances), Releases: []ReleaseStatus{}, Hold: s.Hold, Freeze: s.Freeze}
	if status.Deployment = s.Current(); status.Deployment == nil && len(s.Deployments) > 0 {
		status.Deployment = s.Deployments[len(s.Deployments)-1]
	}
	for _, d := range s.Deployments {
		if d.Phase == PhaseQueued {
			status.Queued = append(status.Queued, d.ID)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.Running)) {
		running := s.Running[id]
		r := ReleaseStatus{
			ID: id, Role: s.role(id), Weight: s.Weights[id], Want: running.Instances,
			WarmUntil: running.WarmUntil, Instances: []driver.Instance{},
		}
		for _, in := range instances {
			if in.Service == s.Service && in.Release == id {
				r.Instances = append(r.Instances, in)
			}
		}
		status.Releases = append(status.Releases, r)
	}
	return status
}

func (s *State) role(release string) Role {
	d := s.Current()
	switch {
	case s.Running[release].Retiring:
		return RoleRetiring
	case release == s.Stable:
		return RoleStable
	case d != nil && release == d.Candidate, s.Weights[release] > 0:
		return RoleCandidate
	}
	return RoleWarm
}

func wayBack(s *State, instances []driver.Instance) WayBack {
	if d := s.Current(); d != nil {
		return WayBack{Refused: fmt.Sprintf("%s is under way; 'segue abort' gives all traffic back to what was stable", d.ID)}
	}
	if err := s.refusesRollback(s.Previous); err != nil {
		return WayBack{Refused: err.Message}
	}
	w := WayBack{Release: s.Previous}
	running, runs := s.Running[s.Previous]
	w.Instant = runs && !running.Retiring && ready(instancesOf(s.Service, s.Previous, instances)) >= running.Instances
	if !w.Instant {
		w.Boot = s.Release(s.Previous).Booted
	}
	return w
}

// takesNothing says of a service whether it is a worker, by its stable release or, as
// long as there is none, by the last.
func (s *State) takesNothing() bool {
	r := s.Release(s.Stable)
	if r == nil && len(s.Releases) > 0 {
		r = &s.Releases[len(s.Releases)-1]
	}
	return r != nil && r.Spec.Listen == spec.ListenNone
}
