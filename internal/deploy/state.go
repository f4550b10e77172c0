package deploy

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/segue-deploy/segue/internal/spec"
)

// State is all that is known of one service. It is a value: apply returns a new
// one and leaves the old as it was, so a copy can be read without a lock.
type State struct {
	Service  string
	Releases []Release
	// Deployments are in the order of their numbers, from 1.
	Deployments []*Deployment
	// Stable is the release that has the traffic; empty before the first
	// deployment is promoted.
	Stable string
	// Previous was stable before Stable was.
	Previous string
	// Weights is the split that was last known to be in force.
	Weights map[string]int
	// Shifting is the split that a shift is about to put in force; nil if none
	// is. It counts as soon as there is somebody to take the traffic.
	Shifting *Shifting
	// Previewing: requests that the candidate's spec chooses go to the candidate.
	Previewing bool
	// Taking is the hold of a deployment that takes stable away before the
	// candidate is there; nil if none is on. Hold is one that somebody has asked for.
	Taking, Hold *Hold
	// Freeze is a freeze that somebody has asked for; nil if none has.
	Freeze *Freeze
	// Running are the releases whose instances should live.
	Running map[string]Running
	// LastEvent is the ID of the last event applied.
	LastEvent int64
}

// Shifting is a split on its way into force.
type Shifting struct {
	Weights map[string]int
	// Back: the candidate is being taken back.
	Back bool
}

// Hold keeps the requests of a service waiting.
type Hold struct {
	Since time.Time `json:"since"`
	// Until is when the proxy ends it by itself.
	Until  time.Time `json:"until"`
	Limits spec.Hold `json:"limits"`
	Actor
}

// Freeze refuses deploys.
type Freeze struct {
	Since time.Time `json:"since"`
	// Until is zero for one without an end.
	Until time.Time `json:"until,omitzero"`
	Actor
}

// Release is an immutable artifact and configuration of a service.
type Release struct {
	ID       string    `json:"id"`
	Artifact string    `json:"artifact"`
	Spec     spec.Spec `json:"spec"`
	Created  time.Time `json:"created"`
	// Promotions counts how often it became stable.
	Promotions int `json:"promotions"`
	// Booted is how long the last start from nothing took until all instances
	// were ready; 0 when that never happened.
	Booted time.Duration `json:"booted,omitempty"`
	// Collected: its bytes are gone, it can't be deployed any more.
	Collected bool `json:"collected,omitempty"`
}

// Running is a release whose instances should live.
type Running struct {
	Instances int `json:"instances"`
	// Leaving is how many more there are that get no new requests and are stopped
	// when those in flight have finished.
	Leaving int `json:"leaving,omitempty"`
	// WarmUntil is when it is to be retired; zero for one in use.
	WarmUntil time.Time `json:"warm_until,omitzero"`
	// Booting: its start began from nothing.
	Booting bool `json:"booting,omitempty"`
	// Retiring: its end has begun and must be completed.
	Retiring bool `json:"retiring,omitempty"`
}

// Phase is where a deployment is in its life.
type Phase string

// The phases of a deployment. The last three are final.
const (
	PhaseQueued     Phase = "queued"
	PhaseRunning    Phase = "running"
	PhaseTakingBack Phase = "taking-back"
	PhasePromoted   Phase = "promoted"
	// PhaseFailed: the candidate was bad and was taken back.
	PhaseFailed  Phase = "failed"
	PhaseAborted Phase = "aborted"
)

// Final says that nothing more happens to a deployment in this phase.
func (p Phase) Final() bool {
	return p == PhasePromoted || p == PhaseFailed || p == PhaseAborted
}

// DeploymentKind is what a deployment is for.
type DeploymentKind string

// The kinds of deployments.
const (
	KindDeploy DeploymentKind = "deploy"
	// KindRollback: the candidate was stable before.
	KindRollback DeploymentKind = "rollback"
	// KindRestart: the candidate is stable's artifact and spec once more.
	KindRestart DeploymentKind = "restart"
	// KindScale: the candidate is stable itself, with another number of instances:
	// what is stable when its turn comes.
	KindScale DeploymentKind = "scale"
)

// Pause is a deployment that begins no further step.
type Pause struct {
	Since time.Time `json:"since"`
	// Until is how long, Then what happens at that time.
	Until time.Time `json:"until"`
	Then  spec.Then `json:"then"`
	Actor
}

// Deployment is one attempt to make a release the stable one.
type Deployment struct {
	Number    int    `json:"number"`
	ID        string `json:"id"`
	Candidate string `json:"candidate"`
	// Stable is the release that had the traffic when it began.
	Stable string `json:"stable,omitempty"`
	// WarmUntil is when the candidate was to be retired, if it was warm when the
	// deployment began.
	WarmUntil time.Time      `json:"warm_until,omitzero"`
	Kind      DeploymentKind `json:"kind"`
	// Instances is how many a scale wants; StableInstances how many stable had when
	// the deployment began.
	Instances       int         `json:"instances,omitempty"`
	StableInstances int         `json:"stable_instances,omitempty"`
	Phase           Phase       `json:"phase"`
	Steps           []StepState `json:"steps,omitempty"`
	// Reason says why it was taken back or aborted.
	Reason string `json:"reason,omitempty"`
	// LogTail holds the last lines of the instance that failed it.
	LogTail []string `json:"log_tail,omitempty"`
	// By is who asked for it, Why what for.
	By  string `json:"by,omitempty"`
	Why string `json:"why,omitempty"`
	// Override is why it was allowed in a freeze.
	Override string `json:"override,omitempty"`
	// Paused is the pause that is on, or nil. Full: bakes and approvals are skipped.
	Paused *Pause `json:"paused,omitempty"`
	Full   bool   `json:"full,omitempty"`
	// Analysis is what the analysis has found so far; nil is nothing.
	Analysis *Finding `json:"analysis,omitempty"`
	// AbortRequested: somebody asked to abort it; AbortReason says who and why.
	AbortRequested bool      `json:"abort_requested,omitempty"`
	AbortReason    string    `json:"abort_reason,omitempty"`
	Requested      time.Time `json:"requested"`
	Began          time.Time `json:"began,omitzero"`
	Finished       time.Time `json:"finished,omitzero"`
}

// Current is the deployment that is under way, or nil.
func (s *State) Current() *Deployment {
	return s.first(func(p Phase) bool { return p == PhaseRunning || p == PhaseTakingBack })
}

// queued is the deployment whose turn is next, or nil.
func (s *State) queued() *Deployment {
	return s.first(func(p Phase) bool { return p == PhaseQueued })
}

// underWay is the deployment that is being done or else has its turn next, or nil.
func (s *State) underWay() *Deployment {
	if d := s.Current(); d != nil {
		return d
	}
	return s.queued()
}

func (s *State) first(is func(Phase) bool) *Deployment {
	for _, d := range s.Deployments {
		if is(d.Phase) {
			return d
		}
	}
	return nil
}

// Release returns the release of that name, or nil.
func (s *State) Release(id string) *Release {
	for i := range s.Releases {
		if s.Releases[i].ID == id {
			return &s.Releases[i]
		}
	}
	return nil
}

// Deployment returns the deployment of that number, or nil.
func (s *State) Deployment(number int) *Deployment {
	if number < 1 || number > len(s.Deployments) {
		return nil
	}
	return s.Deployments[number-1]
}

// apply returns the state after an event. It is pure: the same state and event
// give the same result, and s is not changed.
func (s State) apply(e Event) State {
	s.LastEvent = e.ID
	switch b := e.Body.(type) {
	case Released:
		s.Service = e.Service
		s.Releases = append(slices.Clone(s.Releases), Release{ID: b.Release, Artifact: b.Artifact, Spec: b.Spec, Created: e.At})
	case Requested:
		d := Deployment{}.Apply(e)
		s.Deployments = append(slices.Clone(s.Deployments), &d)
	case Noted, Measured, Checked:
		// For people and for receipts; they change nothing.
	case HoldRequested:
		s.Hold = &Hold{Since: e.At, Until: b.Until, Limits: b.Limits, Actor: b.Actor}
	case HoldEnded:
		s.Hold = nil
	case FreezeRequested:
		s.Freeze = &Freeze{Since: e.At, Until: b.Until, Actor: b.Actor}
	case Unfrozen:
		s.Freeze = nil
	case Collected:
		s.Releases = slices.Clone(s.Releases)
		for _, id := range b.Releases {
			if r := s.Release(id); r != nil {
				r.Collected = true
			}
		}
	case Retiring:
		s.setRunning(b.Release, func(r *Running) { r.Retiring = true })
	case Retired:
		s.stopRunning(b.Release)
	default:
		s.applyToDeployment(e)
	}
	return s
}

// applyToDeployment applies an event about one deployment. The receiver is
// apply's own copy.
func (s *State) applyToDeployment(e Event) {
	d := s.Deployment(e.Deployment)
	if d == nil {
		return
	}
	after := d.Apply(e)
	s.Deployments = slices.Clone(s.Deployments)
	s.Deployments[e.Deployment-1] = &after
	switch b := e.Body.(type) {
	case Began:
		if r, runs := s.Running[after.Candidate]; runs && !r.Retiring {
			after.WarmUntil = r.WarmUntil
		}
	case Intended:
		s.intend(after.Steps[b.Step])
	case Did:
		s.did(after.Steps[b.Step])
	case Failed:
		s.Shifting = nil
	case TurnedBack:
		s.Shifting, s.Previewing = nil, false
	case Finished:
		s.finish(after)
	}
}

// Apply returns the deployment after an event about it. It is pure, as is all of
// applying; whoever follows a deployment's events can keep up with it this way,
// beginning with the zero Deployment.
func (d Deployment) Apply(e Event) Deployment {
	d.Steps = slices.Clone(d.Steps)
	switch b := e.Body.(type) {
	case Requested:
		return Deployment{
			Number: e.Deployment, ID: fmt.Sprintf("d%d", e.Deployment),
			Candidate: b.Candidate, Kind: b.Kind, Instances: b.Instances, By: b.By, Why: b.Reason, Override: b.Override,
			Phase: PhaseQueued, Requested: e.At,
		}
	case Began:
		d.Phase, d.Stable, d.StableInstances, d.Began = PhaseRunning, b.Stable, b.StableInstances, e.At
		if d.Kind == KindScale {
			d.Candidate = b.Stable // Another may have become stable since it was asked for.
		}
		d.addSteps(b.Plan, false)
	case Intended:
		st := &d.Steps[b.Step]
		st.Status, st.Began = StepRunning, e.At
	case Did:
		st := &d.Steps[b.Step]
		st.Status, st.Ended, st.Outcome = StepDone, e.At, b.Outcome
	case Failed:
		st := &d.Steps[b.Step]
		st.Status, st.Ended = StepFailed, e.At
		st.Outcome.Message = b.Reason
		if st.Back && st.Kind == StepShift {
			d.Reason += "; the traffic could not be moved back: " + b.Reason
			if d.hasTraffic() {
				d.Reason += fmt.Sprintf("; %s keeps it and is stable now", d.Candidate)
			}
			break
		}
		d.LogTail = b.LogTail
	case AbortRequested:
		d.AbortRequested, d.AbortReason = true, b.did("aborted")
	case PauseRequested:
		d.Paused = &Pause{Since: e.At, Until: b.Until, Then: b.Then, Actor: b.Actor}
	case Resumed:
		d.Paused = nil
	case PromoteRequested:
		d.Paused, d.Full = nil, d.Full || b.Full
		if b.Step >= 0 {
			d.Steps[b.Step].Approved = true
		}
	case Judged:
		found := b.Finding
		d.Analysis = &found
	case TurnedBack:
		d.skip()
		d.Phase, d.Reason, d.Paused = PhaseTakingBack, b.Reason, nil
		if len(b.LogTail) > 0 {
			d.LogTail = b.LogTail
		}
		d.addSteps(b.Plan, true)
	case Finished:
		d.Phase, d.Finished, d.Paused = b.Phase, e.At, nil
		d.skip()
		if b.Phase == PhaseAborted && d.Reason == "" {
			d.Reason = d.AbortReason
		}
	}
	return d
}

// hasTraffic says whether the last shift that came into force gave the candidate
// some, and it was not told to go since.
func (d *Deployment) hasTraffic() bool {
	has := false
	for _, st := range d.Steps {
		switch {
		case st.Kind == StepShift && st.Status == StepDone:
			has = st.Weights[d.Candidate] > 0
		case st.Kind == StepRetire && st.Release == d.Candidate && !st.Began.IsZero():
			has = false
		}
	}
	return has
}

// waits says whether the deployment stands where a command can move it on: at a
// bake, at an approval, or in a pause.
func (d *Deployment) waits() bool {
	if d.Phase != PhaseRunning {
		return false
	}
	for _, st := range d.Steps {
		if st.Status == StepRunning {
			return st.Kind == StepBake || st.Kind == StepApprove
		}
	}
	return d.Paused != nil
}

// skip marks the steps that will not be done any more.
func (d *Deployment) skip() {
	for i := range d.Steps {
		if st := &d.Steps[i]; st.Status == StepPending || st.Status == StepRunning {
			st.Status = StepSkipped
		}
	}
}

func (d *Deployment) addSteps(plan []Step, back bool) {
	for _, st := range plan {
		d.Steps = append(d.Steps, StepState{Step: st, Status: StepPending, Back: back})
	}
}

// intend applies what a step is about to do, so that a crash in the middle of it
// finds the state that it was leading to.
func (s *State) intend(st StepState) {
	switch st.Kind {
	case StepStart:
		running, runs := s.Running[st.Release]
		booting := !runs || running.Retiring || running.Booting
		s.setRunning(st.Release, func(r *Running) { *r = Running{Instances: st.Instances, Booting: booting} })
	case StepPreview:
		s.Previewing = true
	case StepShift:
		s.Shifting = &Shifting{Weights: st.Weights, Back: st.Back}
	case StepShrink:
		s.setRunning(st.Release, func(r *Running) {
			r.Leaving += max(0, r.Instances-st.Instances)
			r.Instances = st.Instances
		})
	case StepHold:
		s.Taking = &Hold{Since: st.Began, Until: st.Began.Add(time.Duration(st.Hold.Time)), Limits: *st.Hold}
	case StepRetire:
		s.setRunning(st.Release, func(r *Running) { r.Retiring = true })
	}
}

func (s *State) did(st StepState) {
	switch st.Kind {
	case StepRetire:
		s.stopRunning(st.Release)
	case StepShift:
		s.Weights, s.Shifting, s.Taking = st.Weights, nil, nil
	case StepShrink:
		s.setRunning(st.Release, func(r *Running) { r.Leaving = 0 })
	case StepStart:
		if !s.Running[st.Release].Booting {
			return
		}
		s.setRunning(st.Release, func(r *Running) { r.Booting = false })
		s.Releases = slices.Clone(s.Releases)
		s.Release(st.Release).Booted = st.Ended.Sub(st.Began)
	}
}

// finish applies the end of a deployment. A promoted candidate is stable from
// here on, and what was stable stays warm for the time that the candidate's spec
// gives it. So is one that failed and from which the traffic could not be taken:
// stable is who has the traffic. A candidate that was warm before and is not
// promoted is warm again.
func (s *State) finish(d Deployment) {
	s.Previewing, s.Taking = false, nil
	if d.Phase != PhasePromoted && !d.hasTraffic() {
		if _, runs := s.Running[d.Candidate]; runs && !d.WarmUntil.IsZero() {
			s.setRunning(d.Candidate, func(r *Running) { r.WarmUntil = d.WarmUntil })
		}
		return
	}
	s.Releases = slices.Clone(s.Releases)
	candidate := s.Release(d.Candidate)
	if d.Phase == PhasePromoted && d.Kind != KindScale {
		candidate.Promotions++
	}
	if s.Stable != "" && s.Stable != d.Candidate {
		s.Previous = s.Stable
		if _, runs := s.Running[s.Stable]; runs {
			warm := time.Duration(candidate.Spec.Warm)
			s.setRunning(s.Stable, func(r *Running) { r.WarmUntil = d.Finished.Add(warm) })
		}
	}
	s.Stable = d.Candidate
	if d.Kind != KindScale && len(s.Weights) > 0 {
		s.Weights = map[string]int{d.Candidate: 100}
	}
}

func (s *State) setRunning(release string, set func(*Running)) {
	s.Running = maps.Clone(s.Running)
	if s.Running == nil {
		s.Running = map[string]Running{}
	}
	r := s.Running[release]
	set(&r)
	s.Running[release] = r
}

func (s *State) stopRunning(release string) {
	s.Running = maps.Clone(s.Running)
	delete(s.Running, release)
}
