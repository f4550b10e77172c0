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
func (moveFinish) isMove()   {}
func (moveRetire) isMove()   {}
func (moveWait) isMove()     {}

// decide says what to do next. It is pure; now only tells which releases were
// warm for long enough.
func decide(s *State, now time.Time) move {
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
		if failed := slices.IndexFunc(d.Steps, turnsBack); failed >= 0 {
			return moveTurnBack{d, d.Steps[failed].Outcome.Message}
		}
	}
	for i, st := range d.Steps {
		if st.Back && st.Kind == StepShift && st.Status == StepFailed && d.hasTraffic() {
			break // Stable can't take the traffic: the candidate keeps it, and lives.
		}
		switch st.Status {
		case StepPending:
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

// turnsBack says whether a step's failure is the candidate's. That an old
// release could not be retired is not: decideWarm sees to it later.
func turnsBack(st StepState) bool { return st.Status == StepFailed && st.Kind != StepRetire }

func decideWarm(s *State, now time.Time) move {
	var next time.Time
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
