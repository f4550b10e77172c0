package drivertest

import (
	"context"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
)

// Remove: nothing of a release lives when it returns.

func removeStops(s *suite) {
	r := s.Release("web", "r1", Behavior{})
	s.ensure(r, 2)
	s.allReady("web", "r1", 2)
	s.remove("web", "r1")
	s.gone("web", "r1")
	s.remove("web", "r1")
	s.remove("nobody", "r9")
}

func removeByForce(s *suite) {
	r := s.Release("web", "r1", Behavior{StopsAfter: forever, StopGrace: 50 * time.Millisecond})
	s.ensure(r, 2)
	s.allReady("web", "r1", 2)
	s.remove("web", "r1")
	s.gone("web", "r1")
}

func removeGivesUpWithContext(s *suite) {
	r := s.Release("web", "r1", Behavior{StopsAfter: forever, StopGrace: forever})
	s.ensure(r, 1)
	in := s.allReady("web", "r1", 1)[0]
	ctx, cancel := context.WithTimeout(s.ctx, 50*time.Millisecond)
	defer cancel()
	if err := s.Driver.Remove(ctx, "web", "r1"); err == nil {
		s.Fatal("Remove has returned while an instance lives")
	}
	s.alive("web", "r1", 1)
	s.until("stopping", func() bool { return s.list("web", "r1")[0].State == driver.Stopping })
	s.Kill(in)
	s.remove("web", "r1")
	s.gone("web", "r1")
}

func removeWhileStarting(s *suite) {
	r := s.Release("web", "r1", Behavior{NeverReady: true, StartDeadline: forever})
	s.ensure(r, 2)
	s.remove("web", "r1")
	s.gone("web", "r1")
}

func removeBlocksNoOtherRelease(s *suite) {
	stuck := s.Release("web", "r1", Behavior{StopsAfter: forever, StopGrace: forever})
	s.ensure(stuck, 1)
	in := s.allReady("web", "r1", 1)[0]
	removed := make(chan error, 1)
	go func() { removed <- s.Driver.Remove(s.ctx, "web", "r1") }()
	s.until("r1 stopping", func() bool { return s.list("web", "r1")[0].State == driver.Stopping })

	s.ensure(s.Release("web", "r2", Behavior{}), 1)
	s.allReady("web", "r2", 1)
	s.remove("web", "r2")

	s.Kill(in)
	if err := <-removed; err != nil {
		s.Error(err)
	}
	s.gone("web", "r1")
}

func ensureAfterRemove(s *suite) {
	r := s.Release("web", "r1", Behavior{StopsAfter: 50 * time.Millisecond, StopGrace: forever})
	s.ensure(r, 1)
	before := s.allReady("web", "r1", 1)[0]
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	_ = s.Driver.Remove(ctx, "web", "r1") // asks, or doesn't; either is right
	s.remove("web", "r1")
	s.ensure(r, 1)
	after := s.allReady("web", "r1", 1)[0]
	if after.Pid == before.Pid || after.Restarts != 0 || after.Message != "" {
		s.Errorf("an instance that was removed has come back as it was: %+v", after)
	}
	s.alive("web", "r1", 1)
}
