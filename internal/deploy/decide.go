package deploy

import (
	"maps"
	"slices"
	"time"
)

// move is the one thing to do next for a service. It is a value; doing it is
// the business of service.do.
type move interface{ isMove() }

type (
	// moveBegin gives a queued deployment its turn.
	moveBegin struct{ d *Deployment }
	// moveIntend journals that a step is about to be done.
	moveIntend struct {
		d    *Deployment
		step int
	}
	// moveDo does a step whose intent is journalled.
	moveDo struct {
		d    *Deployment
		step int
	}
	// moveTurnBack begins the way back.
	moveTurnBack struct {
		d      *Deployment
		reason string
	}
	// moveStand waits in a pause, before a step.
	moveStand struct{ d *Deployment }
	// moveEndHold lets requests go that somebody has had held for long enough.
	moveEndHold struct{}
	// moveFinish ends a deployment.
	moveFinish struct {
		d     *Deployment
		phase Phase
	}
	// moveRetire ends a release that was warm for long enough.
	moveRetire struct {
		release string
		begun   bool
	}
	// moveWait does nothing until something changes, or until a time if it is
	// not zero.
	moveWait struct{ until time.Time }
)

func (moveBegin) isMove()    {}
func (moveIntend) isMove()   {}
func (moveDo) isMove()       {}
func (moveTurnBack) isMove() {}
func (moveStand) isMove()    {}
func (moveEndHold) isMove()  {}
func (moveFinish) isMove()   {}
func (moveRetire) isMove()   {}
func (moveWait) isMove()     {}

// decide says what to do next. It is pure; now only tells which releases were
// warm for long enough.
func decide(s *State, now time.Time) move {
	if s.Hold != nil && !now.Before(s.Hold.Until) {
		return moveEndHold{}
	}
	if d := s.Current(); d != nil {
		return decideDeployment(d)
	}
	if d := s.queued(); d != nil {
		if d.AbortRequested {
			return moveFinish{d, PhaseAborted}
		}
		return moveBegin{d}
	}
	return decideWarm(s, now)
}

func decideDeployment(d *Deployment) move {
	if d.Phase == PhaseRunning {
		if d.AbortRequested {
			return moveTurnBack{d, d.AbortReason}
		}
		for i, st := range d.Steps {
			if st.Status == StepFailed && d.turnsBack(i) {
				return moveTurnBack{d, st.Outcome.Message}
			}
		}
	}
	for i, st := range d.Steps {
		if st.Back && st.Kind == StepShift && st.Status == StepFailed && d.hasTraffic() {
			break // Stable can't take the traffic: the candidate keeps it, and lives.
		}
		switch st.Status {
		case StepPending:
			if d.Paused != nil {
				return moveStand{d}
			}
			return moveIntend{d, i}
		case StepRunning:
			return moveDo{d, i}
		}
	}
	switch {
	case d.Phase == PhaseRunning:
		return moveFinish{d, PhasePromoted}
	case d.AbortRequested:
		return moveFinish{d, PhaseAborted}
	default:
		return moveFinish{d, PhaseFailed}
	}
}

// turnsBack says whether the failure of a step ends the way in. That of a late hook
// doesn't, nor that an old release could not be retired, to which decideWarm sees
// later, unless the candidate has yet to start and must not run beside it.
func (d *Deployment) turnsBack(i int) bool {
	switch st := d.Steps[i]; st.Kind {
	case StepHook:
		return st.Hook != HookAfterPromote
	case StepRetire:
		return slices.ContainsFunc(d.Steps[i:], func(later StepState) bool { return later.Kind == StepStart })
	}
	return true
}

func decideWarm(s *State, now time.Time) move {
	var next time.Time
	if s.Hold != nil {
		next = s.Hold.Until
	}
	for _, id := range slices.Sorted(maps.Keys(s.Running)) {
		r := s.Running[id]
		switch {
		case r.Retiring:
			return moveRetire{release: id, begun: true}
		case r.WarmUntil.IsZero():
		case !r.WarmUntil.After(now):
			return moveRetire{release: id}
		case next.IsZero() || r.WarmUntil.Before(next):
			next = r.WarmUntil
		}
	}
	return moveWait{until: next}
}
