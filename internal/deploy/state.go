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

// Deployment is one attempt to make a release the stable one.
type Deployment struct {
	Number    int    `json:"number"`
	ID        string `json:"id"`
	Candidate string `json:"candidate"`
	// Stable is the release that had the traffic when it began.
	Stable string `json:"stable,omitempty"`
	// WarmUntil is when the candidate was to be retired, if it was warm when the
	// deployment began.
	WarmUntil time.Time   `json:"warm_until,omitzero"`
	Rollback  bool        `json:"rollback,omitempty"`
	Phase     Phase       `json:"phase"`
	Steps     []StepState `json:"steps,omitempty"`
	// Reason says why it was taken back or aborted.
	Reason string `json:"reason,omitempty"`
	// LogTail holds the last lines of the instance that failed it.
	LogTail []string `json:"log_tail,omitempty"`
	// By is who asked for it, Why what for.
	By  string `json:"by,omitempty"`
	Why string `json:"why,omitempty"`
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
	case Noted, Measured:
		// For people and for receipts; they change nothing.
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
		if r, runs := s.Running[d.Candidate]; runs && !r.Retiring {
			after.WarmUntil = r.WarmUntil
		}
	case Intended:
		s.intend(after.Steps[b.Step])
	case Did:
		s.did(after.Steps[b.Step])
	case Failed, TurnedBack:
		s.Shifting = nil
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
			Candidate: b.Candidate, Rollback: b.Rollback, By: b.By, Why: b.Reason,
			Phase: PhaseQueued, Requested: e.At,
		}
	case Began:
		d.Phase, d.Stable, d.Began = PhaseRunning, b.Stable, e.At
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
		d.AbortRequested, d.AbortReason = true, abortReason(b)
	case TurnedBack:
		d.skip()
		d.Phase, d.Reason = PhaseTakingBack, b.Reason
		d.addSteps(b.Plan, true)
	case Finished:
		d.Phase, d.Finished = b.Phase, e.At
		d.skip()
		if b.Phase == PhaseAborted && d.Reason == "" {
			d.Reason = d.AbortReason
		}
	}
	return d
}

// hasTraffic says whether a shift to the candidate came into force and none back.
func (d *Deployment) hasTraffic() bool {
	has := false
	for _, st := range d.Steps {
		if st.Kind == StepShift && st.Status == StepDone {
			has = !st.Back
		}
	}
	return has
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
	case StepShift:
		s.Shifting = &Shifting{Weights: st.Weights, Back: st.Back}
	case StepRetire:
		s.setRunning(st.Release, func(r *Running) { r.Retiring = true })
	}
}

func (s *State) did(st StepState) {
	switch st.Kind {
	case StepRetire:
		s.stopRunning(st.Release)
	case StepShift:
		s.Weights, s.Shifting = st.Weights, nil
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
	if d.Phase != PhasePromoted && !d.hasTraffic() {
		if _, runs := s.Running[d.Candidate]; runs && !d.WarmUntil.IsZero() {
			s.setRunning(d.Candidate, func(r *Running) { r.WarmUntil = d.WarmUntil })
		}
		return
	}
	s.Releases = slices.Clone(s.Releases)
	candidate := s.Release(d.Candidate)
	if d.Phase == PhasePromoted {
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

func abortReason(b AbortRequested) string {
	reason := "aborted"
	if b.By != "" {
		reason += " by " + b.By
	}
	if b.Reason != "" {
		reason += ": " + b.Reason
	}
	return reason
}
