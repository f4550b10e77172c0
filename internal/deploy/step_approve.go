package deploy

import (
	"context"
	"fmt"
	"time"

	"github.com/segue-deploy/segue/internal/spec"
)

// approve waits until somebody promotes the deployment, and watches the candidate
// meanwhile. What happens at its deadline is the spec's.
func (s *service) approve(ctx context.Context, d *Deployment, i int) (Outcome, error) {
	st := d.Steps[i]
	switch {
	case st.Approved:
		return Outcome{Message: "promoted"}, nil
	case d.Full:
		return Outcome{Message: "skipped, since the deployment was promoted in full"}, nil
	}
	deadline := time.Duration(st.Deadline)
	if _, err := s.watch(ctx, d, st.Began, st.Began.Add(deadline), false); err != nil {
		return Outcome{}, err
	}
	nobody := fmt.Sprintf("nobody promoted %s within %s", d.ID, deadline)
	if st.Then == spec.ThenPromote {
		return Outcome{Message: nobody + ", so it goes on"}, nil
	}
	if err := s.abortItself(ctx, d, nobody); err != nil {
		return Outcome{}, err
	}
	return Outcome{}, errInterrupted
}

// stand waits in a pause, and watches the candidate meanwhile.
func (s *service) stand(ctx context.Context, d *Deployment) error {
	standing, interrupt := context.WithCancelCause(ctx)
	defer interrupt(nil)
	if d = s.arm(d.Number, interrupt); d == nil {
		return nil
	}
	defer s.disarm()
	pause := d.Paused
	if pause == nil {
		return nil
	}
	_, err := s.watch(standing, d, pause.Since, pause.Until, false)
	switch {
	case standing.Err() != nil:
		return nil
	case err != nil:
		state := s.snapshot()
		return s.commit(ctx, d.Number, TurnedBack{Plan: planBack(&state, d), Reason: err.Error(), LogTail: s.tailOf(ctx, d.Candidate, err)})
	}
	over := fmt.Sprintf("%s was paused for %s", d.ID, pause.Until.Sub(pause.Since))
	if pause.Then == spec.ThenPromote {
		return s.commit(ctx, d.Number, Resumed{itself(over)})
	}
	return s.abortItself(ctx, d, over)
}

// abortItself aborts the deployment at a deadline.
func (s *service) abortItself(ctx context.Context, d *Deployment, why string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.abortLocked(ctx, d.Number, itself(why))
}
