package deploy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segue-deploy/segue/internal/proxy"
)

// shiftRetry is the time between two tries to reach a proxy that does not
// answer; the daemon starts another one meanwhile.
const shiftRetry = 200 * time.Millisecond

// shift returns when the split that its intent has named is in force. On the way
// back it also waits for stable to be there, for as long as an instance of it may
// take to start: traffic is not moved to where nobody answers.
func (s *service) shift(ctx context.Context, st StepState) (Outcome, error) {
	began := time.Now()
	deadline := time.Duration(st.Deadline)
	if st.Back {
		deadline += s.longestStart(st.Weights)
	}
	for {
		err := s.tryShift(ctx, st)
		if err == nil {
			return Outcome{Message: "in force after " + rough(time.Since(began))}, nil
		}
		if ctx.Err() != nil {
			return Outcome{}, context.Cause(ctx)
		}
		if _, final := errors.AsType[*instanceError](err); final && !st.Back || time.Since(began) > deadline {
			return Outcome{}, err
		}
		select {
		case <-time.After(shiftRetry):
		case <-ctx.Done():
		}
	}
}

// putInForce returns when the table that follows from the state is in force.
func (s *service) putInForce(ctx context.Context, limit time.Duration) (Outcome, error) {
	began := time.Now()
	for {
		_, err := s.e.syncTable(ctx)
		switch {
		case err == nil:
			return Outcome{Message: "in force after " + rough(time.Since(began))}, nil
		case ctx.Err() != nil:
			return Outcome{}, context.Cause(ctx)
		case time.Since(began) > limit:
			return Outcome{}, err
		}
		select {
		case <-time.After(shiftRetry):
		case <-ctx.Done():
		}
	}
}

// tryShift fails if somebody who is to get traffic is not there, or if the proxy
// does not take the table.
func (s *service) tryShift(ctx context.Context, st StepState) error {
	instances, err := s.e.cfg.Driver.List(ctx)
	if err != nil {
		return fmt.Errorf("list instances: %w", err)
	}
	state := s.snapshot()
	if err := state.mayShift(instances); err != nil {
		return err
	}
	table, err := s.e.syncTable(ctx)
	if err != nil {
		return err
	}
	want := st.Weights
	if st.Back {
		want = state.weights(instances) // Stable answers for a candidate that can't.
	}
	// An instance may have ended since it was looked at.
	if !splitIs(table, s.name, want) {
		return errors.New("an instance ended during the shift")
	}
	return nil
}

// splitIs says whether a table gives a service's releases these weights.
func splitIs(t proxy.Table, service string, weights map[string]int) bool {
	sum := 0
	for _, svc := range t.Services {
		if svc.Name != service {
			continue
		}
		for _, r := range svc.Releases {
			if r.Weight != weights[r.ID] {
				return false
			}
			sum += r.Weight
		}
	}
	want := 0
	for _, w := range weights {
		want += w
	}
	return sum == want
}

// longestStart is how long instances may take to start of those that are to get
// traffic.
func (s *service) longestStart(weights map[string]int) time.Duration {
	state := s.snapshot()
	var longest time.Duration
	for release := range weights {
		longest = max(longest, time.Duration(state.Release(release).Spec.Health.StartDeadline))
	}
	return longest
}

// drain returns when nothing is in flight on a release that gets no new
// requests, or when what was left has been cut.
func (s *service) drain(ctx context.Context, st StepState) (Outcome, error) {
	began := time.Now()
	for {
		gone := time.Since(st.Began)
		left := max(0, time.Duration(st.Deadline)-gone)
		result, err := s.drainOnce(ctx, st, gone)
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
			return Outcome{}, context.Cause(ctx)
		}
	}
}

// drainOnce asks the proxy to drain in what is left of a step's time when some has gone.
func (s *service) drainOnce(ctx context.Context, st StepState, gone time.Duration) (proxy.DrainResult, error) {
	left := max(0, time.Duration(st.Deadline)-gone)
	ctx, cancel := context.WithTimeoutCause(ctx, left+applyTimeout, errors.New("the proxy did not answer at the deadline"))
	defer cancel()
	// Until its drain begins, a release may be the fallback.
	if _, err := s.e.syncTable(ctx); err != nil {
		return proxy.DrainResult{}, err
	}
	return s.e.cfg.Traffic.Drain(ctx, s.name, st.Release, st.timesLeft(gone))
}

func drainMessage(r proxy.DrainResult) string {
	inFlight := plural(int(r.InFlight), "request")
	switch {
	case r.InFlight == 0:
		return "nothing was in flight"
	case r.Left > 0:
		return fmt.Sprintf("%s in flight: %d finished, %d told and went, %d left to be handed back, %d cut after %s", inFlight, r.Finished, r.Told, r.Left, r.Cut, rough(r.Waited))
	case r.Finished == r.InFlight:
		return fmt.Sprintf("%s in flight finished after %s", inFlight, rough(r.Waited))
	case r.Told == 0:
		return fmt.Sprintf("%s in flight: %d finished, %d cut after %s", inFlight, r.Finished, r.Cut, rough(r.Waited))
	default:
		return fmt.Sprintf("%s in flight: %d finished, %d told and went, %d cut after %s", inFlight, r.Finished, r.Told, r.Cut, rough(r.Waited))
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
