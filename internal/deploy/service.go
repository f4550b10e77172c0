package deploy

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segue-deploy/segue/internal/journal"
)

// service is one service's goroutine and its state.
type service struct {
	e    *Engine
	name string
	log  *slog.Logger
	// ensured says that the driver has taken on all that should run. Only the
	// service's goroutine uses it.
	ensured bool
	// wake has capacity 1 and says that it is worth deciding again.
	wake chan struct{}

	// mu orders the service's events: an event is journalled and applied under
	// it, so the state is always what the journal says.
	mu    sync.Mutex
	state State
	// published is a copy of state for those who must not wait for a disk.
	published atomic.Pointer[State]
	// trouble is what keeps run from going on; nil when nothing does.
	trouble atomic.Pointer[trouble]
	// interrupt ends the step that is being done, if one is.
	interrupt context.CancelCauseFunc
}

// errInterrupted is the cause when a step ends because somebody wants something
// else.
var errInterrupted = errors.New("interrupted by a command")

func newService(e *Engine, name string) *service {
	s := &service{
		e: e, name: name,
		log:   e.cfg.Logger.With("service", name),
		wake:  make(chan struct{}, 1),
		state: State{Service: name},
	}
	s.publish()
	return s
}

// run is the main loop: it decides, does, and decides again, until ctx ends. An
// error means that the journal did not take an event; nothing has changed then,
// and the same is tried again.
func (s *service) run(ctx context.Context) {
	s.ensureRunning(ctx)
	var backoff time.Duration
	var since time.Time
	for ctx.Err() == nil {
		st := s.snapshot()
		next := decide(&st, time.Now())
		err := s.do(ctx, &st, next)
		if err == nil || ctx.Err() != nil {
			backoff, since = 0, time.Time{}
			s.trouble.Store(nil)
			continue
		}
		backoff = min(max(2*backoff, time.Second), 30*time.Second)
		if since.IsZero() {
			since = time.Now()
		}
		s.trouble.Store(&trouble{err, since, time.Now().Add(backoff)})
		s.log.Error("stopped at this point, traffic stays as it is", "error", err, "again_in", backoff)
		select {
		case <-time.After(backoff):
		case <-s.wake:
		case <-ctx.Done():
		}
	}
}

// do does what was decided and journals it.
func (s *service) do(ctx context.Context, st *State, m move) error {
	switch m := m.(type) {
	case moveBegin:
		return s.begin(ctx, st, m.d)
	case moveIntend:
		return s.intend(ctx, m)
	case moveDo:
		return s.doStep(ctx, m.d, m.step)
	case moveTurnBack:
		return s.commit(ctx, m.d.Number, TurnedBack{Plan: planBack(st, m.d), Reason: m.reason})
	case moveStand:
		return s.stand(ctx, m.d)
	case moveEndHold:
		return s.endHold(ctx, itself("its time was over"))
	case moveFinish:
		return s.finish(ctx, m.d, m.phase)
	case moveRetire:
		return s.retireWarm(ctx, m)
	case moveWait:
		s.wait(ctx, m.until)
	}
	return nil
}

// wait blocks until there is something to decide.
func (s *service) wait(ctx context.Context, until time.Time) {
	if retry := time.Now().Add(ensureAgain); !s.ensured && (until.IsZero() || retry.Before(until)) {
		until = retry
		defer s.ensureRunning(ctx)
	}
	var due <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-s.wake:
	case <-due:
	case <-ctx.Done():
	}
}

func (s *service) begin(ctx context.Context, st *State, d *Deployment) error {
	measured := s.measureBegin(ctx)
	events := []Body{Began{Stable: st.Stable, StableInstances: st.Running[st.Stable].Instances, Plan: planFor(st, d)}}
	return s.commit(ctx, d.Number, append(events, measured...)...)
}

func (s *service) finish(ctx context.Context, d *Deployment, phase Phase) error {
	var events []Body
	if !d.Began.IsZero() {
		events = s.measure(ctx, MomentFinished)
	}
	s.mu.Lock()
	if phase == PhasePromoted && s.state.Deployment(d.Number).AbortRequested {
		s.mu.Unlock()
		return nil // The abort came first; what to do is decided anew.
	}
	err := s.commitLocked(ctx, entries(d.Number, append(events, Finished{Phase: phase}))...)
	s.mu.Unlock()
	if err == nil {
		s.syncTable(ctx)
		s.collect(ctx)
	}
	return err
}

// syncTable puts in force what follows from the state, as far as that can be done
// now: what follows the driver tries again.
func (s *service) syncTable(ctx context.Context) {
	if _, err := s.e.syncTable(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("put a changed table in force; it is tried again", "error", err)
		s.e.tableChanged()
	}
}

// intend journals that a step begins, unless a pause came first.
func (s *service) intend(ctx context.Context, m moveIntend) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.state.Deployment(m.d.Number); d.Paused != nil {
		return nil
	}
	return s.commitLocked(ctx, entry{m.d.Number, Intended{Step: m.step}})
}

// doStep does a step and journals its outcome. A step that a command interrupts,
// or that ends because the daemon does, has no outcome: whoever decides next finds
// it as it was.
func (s *service) doStep(ctx context.Context, d *Deployment, i int) error {
	stepCtx, interrupt := context.WithCancelCause(ctx)
	defer interrupt(nil)
	if d = s.arm(d.Number, interrupt); d == nil {
		return nil
	}
	outcome, err := s.effect(stepCtx, d, i)
	s.disarm()
	switch {
	case stepCtx.Err() != nil && err != nil:
		return nil
	case err != nil:
		if d.Steps[i].Kind == StepStart {
			// On the way back there is no other step that would give stable what it lacks.
			s.ensured = false
		}
		return s.commit(ctx, d.Number, Failed{Step: i, Reason: err.Error(), LogTail: s.tailOf(ctx, d.Steps[i].Release, err)})
	}
	events := []Body{Did{Step: i, Outcome: outcome}}
	if d.Steps[i].Kind == StepShift {
		events = append(events, s.measure(ctx, MomentShifted)...)
	}
	return s.commit(ctx, d.Number, events...)
}

// arm lets a command interrupt what begins, and returns the deployment as commands
// have left it until then: nil when it is to be aborted.
func (s *service) arm(deployment int, interrupt context.CancelCauseFunc) *Deployment {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.state.Deployment(deployment)
	if d.Phase.Final() || d.Phase == PhaseRunning && d.AbortRequested {
		return nil
	}
	s.interrupt = interrupt
	return d
}

func (s *service) disarm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.interrupt = nil
}

// effect does what a step says. Each effect is idempotent.
func (s *service) effect(ctx context.Context, d *Deployment, i int) (Outcome, error) {
	st := d.Steps[i]
	switch st.Kind {
	case StepHook:
		return s.hook(ctx, d, i)
	case StepStart:
		return s.start(ctx, d, st)
	case StepVerify:
		return s.verify(ctx, d, i)
	case StepPreview, StepHold:
		return s.putInForce(ctx, time.Duration(st.Deadline))
	case StepShift:
		return s.shift(ctx, st)
	case StepBake:
		return s.bake(ctx, d, st)
	case StepApprove:
		return s.approve(ctx, d, i)
	case StepShrink:
		return s.shrink(ctx, st)
	case StepDrain:
		return s.drain(ctx, st)
	case StepRetire:
		return s.retire(ctx, st.Release, time.Duration(st.Deadline))
	}
	return Outcome{}, errors.New("unknown kind of step " + string(st.Kind) + ": it was planned by a newer segue")
}

// snapshot is the state as it is now.
func (s *service) snapshot() State { return *s.published.Load() }

// settle returns when an event that stands in the journal is part of the state,
// too: the two change one after the other, both under mu.
func (s *service) settle(event int64) {
	if s.snapshot().LastEvent >= event {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
}

// publish makes the state the one that snapshot returns. The caller holds mu.
func (s *service) publish() {
	st := s.state
	s.published.Store(&st)
}

// entry is an event about to be journalled, of a deployment or, with number 0,
// of none.
type entry struct {
	deployment int
	body       Body
}

func entries(deployment int, bodies []Body) []entry {
	var all []entry
	for _, b := range bodies {
		all = append(all, entry{deployment, b})
	}
	return all
}

// commit journals events and applies them.
func (s *service) commit(ctx context.Context, deployment int, bodies ...Body) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commitLocked(ctx, entries(deployment, bodies)...)
}

// commitLocked journals all entries or none, for a caller that holds mu. A daemon
// that is stopping still journals what it has done.
func (s *service) commitLocked(ctx context.Context, all ...entry) error {
	now := time.Now()
	var records []journal.Record
	for _, en := range all {
		r, err := Event{At: now, Service: s.name, Deployment: en.deployment, Body: en.body}.record()
		if err != nil {
			return err
		}
		records = append(records, r)
	}
	records, err := s.e.cfg.Journal.Append(context.WithoutCancel(ctx), records...)
	switch {
	case errors.Is(err, journal.ErrFull):
		return &Error{ProblemFull, err.Error(), "traffic goes on meanwhile"}
	case err != nil:
		return err
	}
	for i, r := range records {
		// The journal's time has lost the reading of the monotonic clock, by which waits go on
		// as they should when somebody sets the time of day.
		ev := Event{ID: r.ID, At: now, Service: r.Service, Deployment: r.Deployment, Body: all[i].body}
		s.state = s.state.apply(ev)
		s.publish()
		if s.e.cfg.AfterAppend != nil {
			s.e.cfg.AfterAppend(ev)
		}
	}
	return nil
}

// note journals progress for people. That it can't be journalled changes nothing
// but what people see.
func (s *service) note(ctx context.Context, deployment int, message string) {
	if err := s.commit(ctx, deployment, Noted{Message: message}); err != nil {
		s.log.Warn("journal progress", "message", message, "error", err)
	}
}

// nudgeLocked makes the loop decide again and, if the deployment under way is to
// be aborted, ends the step that is being done. The caller holds mu.
func (s *service) nudgeLocked() {
	if d := s.state.Current(); s.interrupt != nil && d != nil && d.Phase == PhaseRunning && d.AbortRequested {
		s.interrupt(errInterrupted)
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
