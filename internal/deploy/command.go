package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/segue-deploy/segue/internal/artifact"
	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/spec"
)

// freshFor is how long an artifact that was put is kept before a release must
// name it.
const freshFor = time.Hour

// Busy says what to do when a deployment of the service is under way.
type Busy string

// The ways to deal with it.
const (
	// BusyRefuse refuses the new deployment.
	BusyRefuse Busy = "refuse"
	// BusyQueue lets it wait for its turn.
	BusyQueue Busy = "queue"
	// BusySupersede aborts the others and then runs it.
	BusySupersede Busy = "supersede"
)

// Request asks for a deployment of a new release.
type Request struct {
	Spec *spec.Spec
	// Artifact is the digest that PutArtifact returned.
	Artifact string
	Busy     Busy
	// By is who asks, Reason why.
	By, Reason string
}

// PutArtifact stores a release's bytes, a tar stream.
func (e *Engine) PutArtifact(ctx context.Context, tar io.Reader) (artifact.Artifact, error) {
	e.uploads.RLock()
	defer e.uploads.RUnlock()
	a, err := e.cfg.Artifacts.Put(ctx, tar)
	if err != nil {
		return artifact.Artifact{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fresh[a.Digest] = time.Now().Add(freshFor)
	return a, nil
}

// Deploy makes a release and asks for a deployment of it, which the service's
// goroutine then runs. It returns when both are journalled.
func (e *Engine) Deploy(ctx context.Context, req Request) (Deployment, error) {
	if err := e.waitReady(ctx); err != nil {
		return Deployment{}, err
	}
	if err := e.runnable(ctx, req); err != nil {
		return Deployment{}, err
	}
	e.admission.Lock()
	defer e.admission.Unlock()
	if err := e.routeIsFree(req.Spec); err != nil {
		return Deployment{}, err
	}
	s := e.service(req.Spec.Service)
	s.mu.Lock()
	defer s.mu.Unlock()
	release := s.state.nextRelease()
	return s.requestLocked(ctx, req.Busy, req.By,
		[]Body{Released{Release: release, Artifact: req.Artifact, Spec: *req.Spec}},
		Requested{Candidate: release, By: req.By, Reason: req.Reason})
}

// Rollback asks for a deployment of a release that was stable before: the one
// named, or the last. To a release that is still warm it takes no time.
func (e *Engine) Rollback(ctx context.Context, name, release string, busy Busy, by, reason string) (Deployment, error) {
	s, err := e.known(ctx, name)
	if err != nil {
		return Deployment{}, err
	}
	e.admission.Lock()
	defer e.admission.Unlock()
	st := s.snapshot()
	if release == "" {
		release = st.Previous
	}
	if why := st.refusesRollback(release); why != nil {
		return Deployment{}, why
	}
	if err := e.routeIsFree(&st.Release(release).Spec); err != nil {
		return Deployment{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requestLocked(ctx, busy, by, nil, Requested{Candidate: release, Rollback: true, By: by, Reason: reason})
}

// Abort asks to end a deployment, 0 for the one under way, and to give all
// traffic back to stable. Aborting what is being taken back already changes
// nothing.
func (e *Engine) Abort(ctx context.Context, name string, number int, by, reason string) (Deployment, error) {
	s, err := e.known(ctx, name)
	if err != nil {
		return Deployment{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.state.Current()
	if number != 0 {
		d = s.state.Deployment(number)
	}
	switch {
	case d == nil && number == 0:
		return Deployment{}, &Error{ProblemConflict, fmt.Sprintf("no deployment of %s is under way", name), "'segue history' shows those that were"}
	case d == nil:
		return Deployment{}, &Error{ProblemNotFound, fmt.Sprintf("%s has no deployment d%d", name, number), "'segue history' lists them"}
	case d.Phase.Final():
		return Deployment{}, &Error{ProblemConflict, fmt.Sprintf("%s of %s has ended: %s", d.ID, name, d.Phase), "to go back to an earlier release use 'segue rollback'"}
	case d.Phase == PhaseTakingBack || d.AbortRequested:
		return *d, nil
	}
	if err := s.abortLocked(ctx, d.Number, by, reason); err != nil {
		return Deployment{}, err
	}
	return *s.state.Deployment(d.Number), nil
}

func (s *service) abortLocked(ctx context.Context, number int, by, reason string) error {
	if err := s.commitLocked(ctx, entry{number, AbortRequested{By: by, Reason: reason}}); err != nil {
		return err
	}
	s.nudgeLocked()
	return nil
}

// requestLocked journals a request, after it has dealt with deployments that
// have not ended: all of it, or nothing.
func (s *service) requestLocked(ctx context.Context, busy Busy, by string, before []Body, request Requested) (Deployment, error) {
	number := len(s.state.Deployments) + 1
	var entries []entry
	for _, d := range s.state.Deployments {
		if d.Phase.Final() {
			continue
		}
		switch {
		case busy == BusyQueue || d.AbortRequested || d.Phase == PhaseTakingBack:
		case busy == BusySupersede:
			entries = append(entries, entry{d.Number, AbortRequested{By: by, Reason: fmt.Sprintf("superseded by d%d", number)}})
		}
		if busy != BusyQueue && busy != BusySupersede {
			return Deployment{}, &Error{ProblemConflict,
				fmt.Sprintf("%s of %s (to %s) is under way: %s", d.ID, s.name, d.Candidate, d.Phase),
				"wait for it, use --queue to wait in line, --supersede to abort it, or 'segue abort'"}
		}
	}
	for _, b := range before {
		entries = append(entries, entry{0, b})
	}
	if err := s.commitLocked(ctx, append(entries, entry{number, request})...); err != nil {
		return Deployment{}, err
	}
	s.nudgeLocked()
	return *s.state.Deployment(number), nil
}

// refusesRollback says why a release can't be rolled back to, or nil.
func (s *State) refusesRollback(release string) *Error {
	r := s.Release(release)
	switch {
	case release == "":
		return &Error{ProblemConflict, fmt.Sprintf("%s has no earlier release to roll back to", s.Service), "'segue history' shows its deployments"}
	case r == nil:
		return &Error{ProblemNotFound, fmt.Sprintf("%s has no release %s", s.Service, release), "'segue history' lists its releases"}
	case release == s.Stable:
		return &Error{ProblemConflict, fmt.Sprintf("%s is the stable release of %s already", release, s.Service), ""}
	case r.Promotions == 0:
		return &Error{ProblemConflict, fmt.Sprintf("%s of %s was never promoted", release, s.Service), "deploy it anew to have it proved first"}
	case r.Collected:
		return &Error{ProblemConflict, fmt.Sprintf("the bytes of %s of %s were collected", release, s.Service), "deploy it anew from its source; 'keep' in segue.yaml says how many old releases stay"}
	}
	return nil
}

// runnable checks, before anything is journalled, whether the release could run.
func (e *Engine) runnable(ctx context.Context, req Request) error {
	if !e.cfg.Artifacts.Has(req.Artifact) {
		return &Error{ProblemNotFound, fmt.Sprintf("artifact %s is not here", req.Artifact), "upload it first"}
	}
	dir, err := e.cfg.Artifacts.Dir(req.Artifact)
	if err != nil {
		return err
	}
	_, err = e.check(ctx, req.Spec, dir)
	return err
}

// check asks the driver whether it could run the release, and what of the spec
// it can't hold it to. Without a directory only the rest is checked.
func (e *Engine) check(ctx context.Context, sp *spec.Spec, dir string) (notes []string, err error) {
	r, err := e.unplaced(sp, e.stateOf(sp.Service).nextRelease())
	if err != nil {
		return nil, &Error{ProblemInvalid, err.Error(), ""}
	}
	r.Dir = dir
	notes, err = e.cfg.Driver.Check(ctx, r)
	if err != nil {
		return nil, &Error{ProblemInvalid, err.Error(), ""}
	}
	return notes, nil
}

// routeIsFree refuses a host and path that another service has or is about to
// have.
func (e *Engine) routeIsFree(sp *spec.Spec) error {
	for _, s := range e.all() {
		if s.name == sp.Service {
			continue
		}
		st := s.snapshot()
		taken := st.routes()
		for _, route := range routesOf(sp.Route) {
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
		routes = append(routes, routesOf(s.Release(id).Spec.Route)...)
	}
	if stable := s.Release(s.Stable); stable != nil {
		routes = append(routes, routesOf(stable.Spec.Route)...)
	}
	for _, d := range s.Deployments {
		if !d.Phase.Final() {
			routes = append(routes, routesOf(s.Release(d.Candidate).Spec.Route)...)
		}
	}
	return routes
}

// routesOf are all pairs of host and path, a missing host as "*".
func routesOf(r spec.Route) []string {
	hosts, paths := r.Hosts, r.Paths
	if len(hosts) == 0 {
		hosts = []string{"*"}
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

// LogQuery selects output of a service's instances.
type LogQuery struct {
	Service string
	// Release may be empty: the candidate of the deployment under way, or else
	// stable, or else the last candidate.
	Release string
	// Instance restricts to one instance's ID.
	Instance string
	// Tail is how many of the last lines of each instance come first; negative
	// is all there are.
	Tail int
	// Follow goes on with new lines until the context ends.
	Follow bool
}

// Logs copies output to w.
func (e *Engine) Logs(ctx context.Context, w io.Writer, q LogQuery) error {
	s, err := e.known(ctx, q.Service)
	if err != nil {
		return err
	}
	st := s.snapshot()
	release := q.Release
	if release == "" {
		release = st.newest()
	}
	if st.Release(release) == nil {
		return &Error{ProblemNotFound, fmt.Sprintf("%s has no release %q", q.Service, release), "'segue history' lists its releases"}
	}
	err = e.cfg.Driver.Logs(ctx, w, q.Service, release, driver.LogOptions{Instance: q.Instance, Tail: q.Tail, Follow: q.Follow})
	if errors.Is(err, driver.ErrNoLogs) {
		return &Error{ProblemNotFound, err.Error(), "'segue status' lists the instances that run"}
	}
	return err
}

// newest is the release that matters most now.
func (s *State) newest() string {
	switch d := s.Current(); {
	case d != nil:
		return d.Candidate
	case s.Stable == "" && len(s.Deployments) > 0:
		return s.Deployments[len(s.Deployments)-1].Candidate
	}
	return s.Stable
}

// logTail is the last output of an instance; none is an answer, too.
func (s *service) logTail(ctx context.Context, release, instance string) []string {
	var out strings.Builder
	err := s.e.cfg.Driver.Logs(ctx, &out, s.name, release, driver.LogOptions{Instance: instance, Tail: 10})
	if err != nil {
		s.log.Warn("read the last lines of an instance", "instance", instance, "error", err)
	}
	text := strings.TrimRight(out.String(), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// nextRelease is the name of the release to come.
func (s State) nextRelease() string { return fmt.Sprintf("r%d", len(s.Releases)+1) }

// DeploymentNumber parses "d7" or "7".
func DeploymentNumber(id string) (int, error) {
	n, err := strconv.Atoi(strings.TrimPrefix(id, "d"))
	if err != nil || n < 1 {
		return 0, &Error{ProblemInvalid, fmt.Sprintf("%q is no deployment", id), "deployments are named d1, d2, …"}
	}
	return n, nil
}
