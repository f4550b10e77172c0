package deploy

import (
	"context"
	"fmt"
	"time"

	"github.com/segue-deploy/segue/internal/proxy"
)

// shiftRetry is the time between two tries to reach a proxy that does not
// answer; the daemon starts another one meanwhile.
const shiftRetry = 200 * time.Millisecond

// shift returns when the weights that its intent has put in the state are in
// force. On the way back it doesn't give up: nothing may be stopped before stable
// has all the traffic.
func (s *service) shift(ctx context.Context, d *Deployment, st StepState) (Outcome, error) {
	began := time.Now()
	if !st.Back {
		if err := s.mayShift(ctx, st); err != nil {
			return Outcome{}, err
		}
	}
	for told := false; ; {
		err := s.e.syncTable(ctx)
		if err == nil {
			return Outcome{Message: "in force after " + rough(time.Since(began))}, nil
		}
		late := time.Since(began) > time.Duration(st.Deadline)
		if late && !st.Back {
			return Outcome{}, err
		}
		if late && !told {
			told = true
			s.note(ctx, d.Number, fmt.Sprintf("the proxy does not take the table: %v; trying on, since nothing may be stopped before", err))
		}
		select {
		case <-time.After(shiftRetry):
		case <-ctx.Done():
			return Outcome{}, context.Cause(ctx)
		}
	}
}

// mayShift refuses to move traffic to instances that are not there any more.
func (s *service) mayShift(ctx context.Context, st StepState) error {
	state := s.snapshot()
	for release, weight := range st.Weights {
		instances, err := s.instances(ctx, release)
		if err != nil {
			return err
		}
		if want := state.Running[release].Instances; weight > 0 && ready(instances) < want {
			for _, in := range instances {
				if in.Message != "" {
					return &instanceError{in.ID, in.Message}
				}
			}
			return fmt.Errorf("only %d of %s of %s are ready", ready(instances), plural(want, "instance"), release)
		}
	}
	return nil
}

// drain returns when nothing is in flight on a release that gets no new
// requests, or when what was left has been cut.
func (s *service) drain(ctx context.Context, st StepState) (Outcome, error) {
	began := time.Now()
	for {
		left := max(0, time.Duration(st.Deadline)-time.Since(st.Began))
		result, err := s.e.cfg.Traffic.Drain(ctx, s.name, st.Release, left)
		switch {
		case err == nil:
			return Outcome{Message: drainMessage(result), Drain: &result}, nil
		case ctx.Err() != nil:
			return Outcome{}, context.Cause(ctx)
		case left == 0 && time.Since(began) > shiftDeadline:
			return Outcome{Message: "the proxy could not say what was in flight: " + err.Error()}, nil
		}
		select {
		case <-time.After(shiftRetry):
		case <-ctx.Done():
		}
	}
}

func drainMessage(r proxy.DrainResult) string {
	switch {
	case r.InFlight == 0:
		return "nothing was in flight"
	case r.Cut == 0:
		return fmt.Sprintf("%s in flight finished after %s", plural(r.InFlight, "request"), rough(r.Waited))
	default:
		return fmt.Sprintf("%s in flight: %d finished, %d cut after %s", plural(r.InFlight, "request"), r.Finished, r.Cut, rough(r.Waited))
	}
}

// rough rounds a duration to what a person wants to read.
func rough(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < 10*time.Second:
		return d.Round(time.Millisecond).String()
	default:
		return d.Round(100 * time.Millisecond).String()
	}
}
