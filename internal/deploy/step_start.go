package deploy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/health"
	"github.com/segue-deploy/segue/internal/spec"
)

// ensureAgain is the time after which the driver is asked again for what it
// could not start when the daemon did.
const ensureAgain = 10 * time.Second

// startMargin is what a start may take beyond the instances' own start deadline,
// at which the driver gives them up with a better message. A step that has less time
// than that, since requests wait for it, has no margin either.
const startMargin = 5 * time.Second

// instanceError blames an instance, so that its last lines can be shown.
type instanceError struct {
	instance string
	message  string
}

func (e *instanceError) Error() string { return e.instance + ": " + e.message }

// start makes the release's instances run and returns when all are ready.
func (s *service) start(ctx context.Context, d *Deployment, st StepState) (Outcome, error) {
	state := s.snapshot()
	r, err := s.e.driverRelease(&state, st.Release)
	if err != nil {
		return Outcome{}, err
	}
	limit := time.Duration(st.Deadline)
	if limit >= r.StartDeadline {
		limit += startMargin
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit,
		fmt.Errorf("not all instances of %s were ready within %s", st.Release, time.Duration(st.Deadline)))
	defer cancel()
	if err := s.clearGround(ctx, &state, st.Release); err != nil {
		return Outcome{}, err
	}
	if err := s.e.cfg.Driver.Ensure(ctx, r, st.Instances); err != nil {
		return Outcome{}, err
	}
	if err := s.awaitReady(ctx, d, st.Release, st.Instances); err != nil {
		return Outcome{}, err
	}
	return Outcome{Message: plural(st.Instances, "instance") + " ready"}, nil
}

// awaitReady follows the instances until all are ready or one is given up, and
// notes each that becomes ready.
func (s *service) awaitReady(ctx context.Context, d *Deployment, release string, want int) error {
	changes := s.e.cfg.Driver.Watch(ctx)
	noted := map[string]bool{}
	for first := true; ; first = false {
		instances, err := s.instances(context.WithoutCancel(ctx), release)
		if err != nil {
			return err
		}
		for _, in := range instances {
			if in.State == driver.Failed {
				return &instanceError{in.ID, in.Message}
			}
			if in.State == driver.Ready && !noted[in.ID] {
				noted[in.ID] = true
				if first {
					continue // It was warm, which is no news.
				}
				s.note(ctx, d.Number, fmt.Sprintf("%s is ready (%d of %d)", in.ID, len(noted), want))
			}
		}
		if ready(instances) >= want {
			return nil
		}
		select {
		case <-changes:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return whyNotReady(ctx, instances)
		}
	}
}

// whyNotReady names the first instance that kept the others waiting.
func whyNotReady(ctx context.Context, instances []driver.Instance) error {
	for _, in := range instances {
		if in.State != driver.Ready && in.Message != "" && !errors.Is(context.Cause(ctx), errInterrupted) {
			return &instanceError{in.ID, fmt.Sprintf("%s (%v)", in.Message, context.Cause(ctx))}
		}
	}
	return context.Cause(ctx)
}

// clearGround prepares a start: a warm release of which an instance was given up
// begins anew, and one of which nothing runs must have the bytes of then.
func (s *service) clearGround(ctx context.Context, state *State, release string) error {
	instances, err := s.instances(ctx, release)
	if err != nil {
		return err
	}
	failed := slices.ContainsFunc(instances, func(in driver.Instance) bool { return in.State == driver.Failed })
	if failed && state.Weights[release] == 0 {
		if err := s.e.cfg.Driver.Remove(ctx, s.name, release); err != nil {
			return err
		}
		instances = nil
	}
	if len(instances) > 0 {
		return nil
	}
	return s.e.cfg.Artifacts.Verify(ctx, state.Release(release).Artifact)
}

// ensureRunning hands the driver everything that should run. The living are
// adopted, the missing started. What can't be started is tried again later.
func (s *service) ensureRunning(ctx context.Context) {
	s.ensured = true
	state := s.snapshot()
	for _, id := range slices.Sorted(maps.Keys(state.Running)) {
		running := state.Running[id]
		if running.Retiring {
			continue
		}
		r, err := s.e.driverRelease(&state, id)
		if err == nil {
			err = s.ensure(ctx, r, running.Instances+running.Leaving)
		}
		if err != nil && ctx.Err() == nil {
			s.ensured = false
			s.log.Error("instances that should run can't be ensured", "release", id, "error", err, "again_in", ensureAgain)
		}
	}
}

// ensure is the driver's, bounded: an instance that does not stop must not hold up
// what else there is to do for the service.
func (s *service) ensure(ctx context.Context, r driver.Release, n int) error {
	ctx, cancel := context.WithTimeout(ctx, r.StopGrace+retireDeadline)
	defer cancel()
	return s.e.cfg.Driver.Ensure(ctx, r, n)
}

// instances are the release's, as the driver sees them.
func (s *service) instances(ctx context.Context, release string) ([]driver.Instance, error) {
	all, err := s.e.cfg.Driver.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list instances: %w", err)
	}
	return instancesOf(s.name, release, all), nil
}

func ready(instances []driver.Instance) int {
	n := 0
	for _, in := range instances {
		if in.State == driver.Ready {
			n++
		}
	}
	return n
}

// driverRelease is a release in the driver's terms, with its environment
// resolved.
func (e *Engine) driverRelease(state *State, id string) (driver.Release, error) {
	rel := state.Release(id)
	dir, err := e.cfg.Artifacts.Dir(rel.Artifact)
	if err != nil {
		return driver.Release{}, fmt.Errorf("release %s of %s: %w", id, state.Service, err)
	}
	r, err := e.unplaced(&rel.Spec, id)
	if err != nil {
		return driver.Release{}, fmt.Errorf("release %s of %s: %w", id, state.Service, err)
	}
	r.Dir = dir
	return r, nil
}

// unplaced is a release that has no artifact's directory yet.
func (e *Engine) unplaced(sp *spec.Spec, id string) (driver.Release, error) {
	env, err := spec.ResolveEnv(sp.Env, e.cfg.LookupEnv)
	if err != nil {
		return driver.Release{}, err
	}
	return driver.Release{
		Service:       sp.Service,
		ID:            id,
		Command:       sp.Command,
		WorkDir:       filepath.FromSlash(sp.Dir),
		Env:           env,
		User:          sp.User,
		Socket:        sp.Listen == spec.ListenSocket,
		NoAddress:     sp.Listen == spec.ListenNone,
		H2C:           sp.Protocol == spec.ProtocolH2C,
		Health:        driverCheck(sp.Health),
		StartDeadline: time.Duration(sp.Health.StartDeadline),
		StopSignal:    sp.StopSignal,
		StopGrace:     time.Duration(sp.StopGrace),
		Limits: driver.Limits{
			MemoryBytes: int64(sp.Limits.Memory),
			CPU:         sp.Limits.CPU,
			Processes:   sp.Limits.Processes,
		},
		LogMaxBytes: int64(sp.Logs.MaxSize),
	}, nil
}

func driverCheck(h spec.Health) health.Check {
	c := health.Check{
		TCP:       h.TCP,
		Command:   h.Command,
		File:      h.File,
		Notify:    h.Notify,
		Interval:  time.Duration(h.Interval),
		Timeout:   time.Duration(h.Timeout),
		Healthy:   h.Healthy,
		Unhealthy: h.Unhealthy,
	}
	if h.HTTP != nil {
		c.HTTP = &health.HTTP{Path: h.HTTP.Path, Host: h.HTTP.Host, Status: h.HTTP.Status}
	}
	if h.GRPC != nil {
		c.GRPC = &health.GRPC{Service: h.GRPC.Service}
	}
	return c
}
