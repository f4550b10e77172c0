package deploy

import (
	"context"
	"fmt"

	"github.com/segue-deploy/segue/internal/driver"
)

// shrink stops the instances of a release that are over a number. Its intent has
// taken them out of the state's table; when that is in force they are drained, and
// then stopped.
func (s *service) shrink(ctx context.Context, st StepState) (Outcome, error) {
	// Without a proxy nothing is in flight, and the next one gets the new table.
	if _, err := s.putInForce(ctx, shiftDeadline); err != nil {
		if ctx.Err() != nil {
			return Outcome{}, err
		}
		s.log.Warn("shrink without the proxy's acknowledgement", "release", st.Release, "error", err)
	}
	outcome, err := s.drain(ctx, st)
	if err != nil {
		return Outcome{}, err
	}
	state := s.snapshot()
	r, err := s.e.driverRelease(&state, st.Release)
	if err != nil {
		return Outcome{}, err
	}
	if err := s.stopOver(ctx, r, st.Instances); err != nil {
		return Outcome{}, err
	}
	return outcome, nil
}

// stopOver stops the instances of a release that are over a number, and returns when
// none of them lives.
func (s *service) stopOver(ctx context.Context, r driver.Release, instances int) error {
	limit := r.StopGrace + retireDeadline
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("instances of %s over %d still live after %s", r.ID, instances, limit))
	defer cancel()
	err := s.e.cfg.Driver.Ensure(ctx, r, instances)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
