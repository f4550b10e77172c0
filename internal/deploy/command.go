package deploy

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/segue-deploy/segue/internal/artifact"
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
	// Override is why it is to be done in spite of a freeze.
	Override string
	Actor    Actor
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
	if frozen := s.state.frozen(req.Spec, time.Now()); frozen != nil && req.Override == "" {
		return Deployment{}, frozen
	} else if frozen == nil {
		req.Override = ""
	}
	release := s.state.nextRelease()
	return s.requestLocked(ctx, req.Busy,
		[]Body{Released{Release: release, Artifact: req.Artifact, Spec: *req.Spec}},
		Requested{Candidate: release, Kind: KindDeploy, Override: req.Override, Actor: req.Actor})
}

// Rollback asks for a deployment of a release that was stable before: the one
// named, or the last. To a release that is still warm it takes no time. A freeze
// does not refuse it: it is a way out of trouble.
func (e *Engine) Rollback(ctx context.Context, name, release string, busy Busy, by Actor) (Deployment, error) {
	s, err := e.known(ctx, name)
	if err != nil {
		return Deployment{}, err
	}
	e.admission.Lock()
	defer e.admission.Unlock()
	st := s.snapshot()
	if d := st.underWay(); d != nil && release == "" && busy != BusyQueue && busy != BusySupersede {
		return Deployment{}, st.busyWith(d, KindRollback)
	}
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
	return s.requestLocked(ctx, busy, nil, Requested{Candidate: release, Kind: KindRollback, Actor: by})
}

// Restart asks for a deployment of stable's artifact and spec once more, under a
// new number: as every deployment it loses nothing, and can be taken back. What the
// spec takes from the daemon's environment is taken anew. Instances are replaced a
// few at a time, unless the service's own strategy says that two may not run at once.
func (e *Engine) Restart(ctx context.Context, name string, busy Busy, by Actor) (Deployment, error) {
	s, err := e.known(ctx, name)
	if err != nil {
		return Deployment{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	stable, err := s.stableLocked("restart")
	if err != nil {
		return Deployment{}, err
	}
	if d := s.state.underWay(); d != nil && busy == BusyQueue {
		return Deployment{}, &Error{ProblemConflict,
			fmt.Sprintf("%s of %s (to %s) is under way, and a restart in line behind it would bring %s back", d.ID, name, d.Candidate, stable.ID),
			"wait for it with 'segue wait " + d.ID + "' and restart then, or use --supersede"}
	}
	again := Released{Release: s.state.nextRelease(), Artifact: stable.Artifact, Spec: stable.Spec}
	again.Spec.Instances = s.state.Running[stable.ID].Instances
	if again.Spec.Strategy.Exclusive == nil && again.Spec.Strategy.Worker == nil {
		again.Spec.Strategy = spec.Strategy{Rolling: spec.DefaultRolling()}
	}
	return s.requestLocked(ctx, busy, []Body{again}, Requested{Candidate: again.Release, Kind: KindRestart, Actor: by})
}

// Scale asks for another number of instances of stable. It holds until the next
// deployment, which has as many as its spec says.
func (e *Engine) Scale(ctx context.Context, name string, instances int, busy Busy, by Actor) (Deployment, error) {
	s, err := e.known(ctx, name)
	if err != nil {
		return Deployment{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	stable, err := s.stableLocked("scale")
	if err != nil {
		return Deployment{}, err
	}
	if instances < 1 || instances > spec.MaxInstances {
		return Deployment{}, &Error{ProblemInvalid, fmt.Sprintf("%d instances of %s", instances, name), fmt.Sprintf("give a number from 1 to %d", spec.MaxInstances)}
	}
	return s.requestLocked(ctx, busy, nil, Requested{Candidate: stable.ID, Kind: KindScale, Instances: instances, Actor: by})
}

// stableLocked is the release that has the traffic and runs. The caller holds mu.
func (s *service) stableLocked(verb string) (*Release, error) {
	if _, runs := s.state.Running[s.state.Stable]; !runs {
		return nil, &Error{ProblemConflict, fmt.Sprintf("%s has no stable release to %s", s.name, verb), "deploy one"}
	}
	return s.state.Release(s.state.Stable), nil
}

// requestLocked journals a request, after it has dealt with deployments that
// have not ended: all of it, or nothing.
func (s *service) requestLocked(ctx context.Context, busy Busy, before []Body, request Requested) (Deployment, error) {
	number := len(s.state.Deployments) + 1
	var entries []entry
	for _, d := range s.state.Deployments {
		if d.Phase.Final() {
			continue
		}
		switch {
		case busy == BusyQueue || d.AbortRequested || d.Phase == PhaseTakingBack:
		case busy == BusySupersede:
			entries = append(entries, entry{d.Number, AbortRequested{Actor{request.By, request.From, fmt.Sprintf("superseded by d%d", number)}}})
		}
		if busy != BusyQueue && busy != BusySupersede {
			return Deployment{}, s.state.busyWith(d, request.Kind)
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

// busyWith refuses a request while another deployment has not ended.
func (s *State) busyWith(d *Deployment, kind DeploymentKind) *Error {
	message := fmt.Sprintf("%s of %s (to %s) is under way: %s", d.ID, s.Service, d.Candidate, d.at())
	line := "--queue waits in line, --supersede aborts it"
	switch {
	case d.Phase == PhaseTakingBack || d.AbortRequested:
		return &Error{ProblemConflict, message, "wait for it with 'segue wait " + d.ID + "', or in line with --queue"}
	case kind == KindRollback && d.Stable != "" && d.Kind != KindScale:
		return &Error{ProblemConflict, message, fmt.Sprintf("'segue abort' gives all traffic back to %s; %s first", d.Stable, line)}
	}
	return &Error{ProblemConflict, message, "wait for it with 'segue wait " + d.ID + "', or end it with 'segue abort'; " + line}
}

// at says where a deployment stands that has not ended.
func (d *Deployment) at() string {
	switch {
	case d.Phase == PhaseQueued:
		return "it waits for its turn"
	case d.Phase == PhaseTakingBack || d.AbortRequested:
		return "it is being taken back"
	case d.Paused != nil:
		return d.Paused.did("paused")
	}
	return d.doing()
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
