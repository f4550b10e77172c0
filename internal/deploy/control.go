package deploy

import (
	"context"
	"fmt"
	"time"

	"github.com/segue-deploy/segue/internal/spec"
)

// Abort asks to end a deployment, 0 for the one under way, and to give all
// traffic back to stable. Aborting what is being taken back already changes
// nothing.
func (e *Engine) Abort(ctx context.Context, name string, number int, by Actor) (Deployment, error) {
	return e.control(ctx, name, number, "abort", func(s *service, d *Deployment) error {
		if d.Phase == PhaseTakingBack || d.AbortRequested {
			return nil
		}
		return s.abortLocked(ctx, d.Number, by)
	})
}

// Pause asks a deployment to begin no further step: the one being done is finished.
// At the deadline it is aborted, or goes on, as then says. To pause it again changes
// the deadline.
func (e *Engine) Pause(ctx context.Context, name string, number int, limit time.Duration, then spec.Then, by Actor) (Deployment, error) {
	if limit <= 0 || then != spec.ThenAbort && then != spec.ThenPromote {
		return Deployment{}, &Error{ProblemInvalid, fmt.Sprintf("a pause of %s, then %q", limit, then), "give it a time above 0, and then abort or promote"}
	}
	return e.control(ctx, name, number, "pause", func(s *service, d *Deployment) error {
		if err := d.mustRun("pause"); err != nil {
			return err
		}
		return s.commandLocked(ctx, d.Number, PauseRequested{Until: time.Now().Add(limit), Then: then, Actor: by})
	})
}

// Resume ends a pause. To resume what is not paused changes nothing.
func (e *Engine) Resume(ctx context.Context, name string, number int, by Actor) (Deployment, error) {
	return e.control(ctx, name, number, "resume", func(s *service, d *Deployment) error {
		if err := d.mustRun("resume"); err != nil || d.Paused == nil {
			return err
		}
		return s.commandLocked(ctx, d.Number, Resumed{by})
	})
}

// Promote goes on from an approval or a pause. In full, it also skips the bakes and
// approvals that are still to come; to say that again changes nothing.
func (e *Engine) Promote(ctx context.Context, name string, number int, full bool, by Actor) (Deployment, error) {
	return e.control(ctx, name, number, "promote", func(s *service, d *Deployment) error {
		if err := d.mustRun("promote"); err != nil {
			return err
		}
		step := d.approving()
		switch {
		case full && d.Full && d.Paused == nil && step < 0, step >= 0 && d.Steps[step].Approved:
			return nil
		case step < 0 && d.Paused == nil && !full:
			return &Error{ProblemConflict, fmt.Sprintf("%s of %s waits for nobody's word: %s", d.ID, name, d.doing()),
				"'segue promote --full' skips the bakes and approvals that are still to come"}
		}
		return s.commandLocked(ctx, d.Number, PromoteRequested{Step: step, Full: full, Actor: by})
	})
}

// HoldRequests keeps the service's new requests waiting, for a time at most. To hold
// them again changes the time and the limits.
func (e *Engine) HoldRequests(ctx context.Context, name string, limit time.Duration, limits spec.Hold, by Actor) (Hold, error) {
	s, err := e.known(ctx, name)
	if err != nil {
		return Hold{}, err
	}
	if limit <= 0 || limits.Time <= 0 || limits.Requests <= 0 || limits.Bytes <= 0 {
		return Hold{}, &Error{ProblemInvalid, "a hold without a bound, or with one that lets nothing wait", "give times and numbers above 0"}
	}
	s.mu.Lock()
	if stable := s.state.Release(s.state.Stable); stable == nil || stable.Spec.Listen == spec.ListenNone {
		s.mu.Unlock()
		return Hold{}, &Error{ProblemConflict, name + " takes no requests that could be held", ""}
	}
	err = s.commandLocked(ctx, 0, HoldRequested{Until: time.Now().Add(limit), Limits: limits, Actor: by})
	held := s.state.Hold
	s.mu.Unlock()
	if err != nil {
		return Hold{}, err
	}
	return *held, s.inForce(ctx)
}

// ReleaseRequests lets the requests go that somebody has had held. Without a hold it
// changes nothing; the hold of a deployment is not touched.
func (e *Engine) ReleaseRequests(ctx context.Context, name string, by Actor) error {
	s, err := e.known(ctx, name)
	if err != nil {
		return err
	}
	return s.endHold(ctx, by)
}

// FreezeDeploys refuses deploys of a service from here on, until a time or, when it
// is zero, until Unfreeze. To freeze it again changes the time.
func (e *Engine) FreezeDeploys(ctx context.Context, name string, until time.Time, by Actor) (Freeze, error) {
	s, err := e.known(ctx, name)
	if err != nil {
		return Freeze{}, err
	}
	if !until.IsZero() && !until.After(time.Now()) {
		return Freeze{}, &Error{ProblemInvalid, fmt.Sprintf("a freeze until %s, which is over", until.Format(time.DateTime)), "give a time to come"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.commandLocked(ctx, 0, FreezeRequested{Until: until, Actor: by}); err != nil {
		return Freeze{}, err
	}
	return *s.state.Freeze, nil
}

// Unfreeze allows deploys again, unless the spec's own times refuse them. Without a
// freeze it changes nothing.
func (e *Engine) Unfreeze(ctx context.Context, name string, by Actor) error {
	s, err := e.known(ctx, name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.Freeze == nil {
		return nil
	}
	return s.commandLocked(ctx, 0, Unfrozen{by})
}

// ---- Mechanics ----

// control finds a deployment that has not ended, 0 for the one under way or about to
// begin, and has a command, of that verb, change it.
func (e *Engine) control(ctx context.Context, name string, number int, verb string, do func(s *service, d *Deployment) error) (Deployment, error) {
	s, err := e.known(ctx, name)
	if err != nil {
		return Deployment{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.state.underWay()
	if number != 0 {
		d = s.state.Deployment(number)
	}
	switch {
	case d == nil && number == 0:
		return Deployment{}, s.state.nothingTo(verb)
	case d == nil:
		return Deployment{}, &Error{ProblemNotFound, fmt.Sprintf("%s has no deployment d%d", name, number), "'segue history' lists them"}
	case d.Phase.Final():
		return Deployment{}, &Error{ProblemConflict, d.ID + " of " + name + " " + s.state.ended(d), d.insteadOf(verb)}
	}
	if err := do(s, d); err != nil {
		return Deployment{}, err
	}
	return *s.state.Deployment(d.Number), nil
}

// nothingTo refuses a command while no deployment is under way.
func (s *State) nothingTo(verb string) *Error {
	message := fmt.Sprintf("no deployment of %s is under way", s.Service)
	if len(s.Deployments) == 0 {
		return &Error{ProblemConflict, message, "'segue deploy' begins one"}
	}
	last := s.Deployments[len(s.Deployments)-1]
	return &Error{ProblemConflict, message + "; the last, " + last.ID + ", " + s.ended(last), last.insteadOf(verb)}
}

// ended says how a deployment has ended, and where the service stands now.
func (s *State) ended(d *Deployment) string {
	text := fmt.Sprintf("has ended: %s", d.Phase)
	if s.Stable == "" {
		return text + ", and there is no stable release"
	}
	return text + ", and " + s.Stable + " is stable"
}

// insteadOf says what to do when a deployment has ended and a command came too late.
func (d *Deployment) insteadOf(verb string) string {
	switch {
	case d.Phase == PhasePromoted && verb == "abort":
		return "to go back to an earlier release use 'segue rollback'"
	case d.Phase != PhasePromoted && verb == "promote":
		return "'segue deploy' tries again"
	}
	return "there is nothing to " + verb
}

// commandLocked journals a command and has the loop look at it: what only waits is
// interrupted, and looks at the state anew. The caller holds mu.
func (s *service) commandLocked(ctx context.Context, deployment int, command Body) error {
	d := s.state.Current()
	waits := d != nil && d.waits()
	if err := s.commitLocked(ctx, entry{deployment, command}); err != nil {
		return err
	}
	if waits && s.interrupt != nil {
		s.interrupt(errInterrupted)
	}
	s.nudgeLocked()
	return nil
}

func (s *service) abortLocked(ctx context.Context, number int, by Actor) error {
	return s.commandLocked(ctx, number, AbortRequested{by})
}

// endHold lets go what somebody has had held, if anything is.
func (s *service) endHold(ctx context.Context, by Actor) error {
	s.mu.Lock()
	if s.state.Hold == nil {
		s.mu.Unlock()
		return nil
	}
	err := s.commandLocked(ctx, 0, HoldEnded{by})
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.inForce(ctx)
}

// inForce returns when the table that follows from the state is in force. When that
// can't be done now, it is tried again until it can.
func (s *service) inForce(ctx context.Context) error {
	if _, err := s.e.syncTable(ctx); err != nil {
		s.e.tableChanged()
		return fmt.Errorf("it is journalled but not in force yet: %w", err)
	}
	return nil
}

// mustRun refuses what is not for a deployment that waits for its turn or is being
// taken back.
func (d *Deployment) mustRun(verb string) error {
	switch {
	case d.Phase == PhaseQueued:
		return &Error{ProblemConflict, fmt.Sprintf("%s waits for its turn, there is nothing to %s", d.ID, verb), "'segue abort " + d.ID + "' takes it out of the queue"}
	case d.Phase == PhaseTakingBack || d.AbortRequested:
		return &Error{ProblemConflict, fmt.Sprintf("%s is being taken back, there is nothing to %s", d.ID, verb), "'segue explain' shows how far it is"}
	}
	return nil
}

// approving is the index of the approve step that is being done, or -1.
func (d *Deployment) approving() int {
	for i, st := range d.Steps {
		if st.Status == StepRunning && st.Kind == StepApprove {
			return i
		}
	}
	return -1
}

// doing is the step that is being done, in words.
func (d *Deployment) doing() string {
	for _, st := range d.Steps {
		if st.Status == StepRunning {
			return st.String()
		}
	}
	return "it is between two steps"
}

// frozen says why a deploy is refused at a time, or nil.
func (s *State) frozen(sp *spec.Spec, now time.Time) *Error {
	hint := "to deploy all the same, say why with --override"
	if f := s.Freeze; f != nil && (f.Until.IsZero() || now.Before(f.Until)) {
		message := fmt.Sprintf("deploys of %s are %s", sp.Service, f.did("frozen"))
		if !f.Until.IsZero() {
			message += ", until " + f.Until.Local().Format(time.DateTime)
		}
		return &Error{ProblemConflict, message, hint + ", or end it with 'segue unfreeze'"}
	}
	if until, frozen := sp.Frozen(now); frozen {
		return &Error{ProblemConflict, fmt.Sprintf("the spec of %s refuses deploys until %s", sp.Service, until.Format("Mon 15:04 MST")), hint}
	}
	return nil
}
