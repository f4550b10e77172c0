package deploy

import (
	"context"
	"fmt"
	"time"
)

// retire stops a release's instances. Its intent has taken the release out of
// the state's table; that is put in force first, so that the proxy has closed its
// connections before an instance is told to stop.
func (s *service) retire(ctx context.Context, release string, deadline time.Duration) (Outcome, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, deadline, fmt.Errorf("instances of %s still live after %s", release, deadline))
	defer cancel()
	// Without a proxy there is nobody to tell.
	if _, err := s.e.syncTable(ctx); err != nil {
		s.log.Warn("retire without the proxy's acknowledgement", "release", release, "error", err)
	}
	if err := s.e.cfg.Driver.Remove(ctx, s.name, release); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return Outcome{}, err
	}
	return Outcome{}, nil
}

// retireWarm ends a release that was warm for long enough.
func (s *service) retireWarm(ctx context.Context, m moveRetire) error {
	if !m.begun {
		return s.commit(ctx, 0, Retiring{Release: m.release})
	}
	state := s.snapshot()
	grace := time.Duration(state.Release(m.release).Spec.StopGrace)
	if _, err := s.retire(ctx, m.release, grace+retireDeadline); err != nil {
		return err
	}
	if err := s.commit(ctx, 0, Retired{Release: m.release}); err != nil {
		return err
	}
	s.collect(ctx)
	return nil
}
