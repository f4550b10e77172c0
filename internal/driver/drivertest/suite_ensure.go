package drivertest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
)

// Ensure: so many instances, and no others.

func ensureStartsInstances(s *suite) {
	r := s.Release("web", "r1", Behavior{})
	s.ensure(r, 3)
	list := s.allReady("web", "r1", 3)
	addresses := map[string]bool{}
	for i, in := range list {
		if want := fmt.Sprintf("web-r1-%d", i+1); in.ID != want || in.Index != i+1 {
			s.Errorf("instance %d has ID %s and index %d, want %s", i+1, in.ID, in.Index, want)
		}
		if in.Target.Network != "tcp" || in.Target.Address == "" || in.Pid == 0 || in.Restarts != 0 || in.Message != "" {
			s.Errorf("not the account of an instance without fault: %+v", in)
		}
		if in.Started.IsZero() || in.ReadySince.Before(in.Started) {
			s.Errorf("%s: started %v, ready since %v", in.ID, in.Started, in.ReadySince)
		}
		addresses[in.Target.Address] = true
	}
	if len(addresses) != 3 {
		s.Errorf("3 instances have the addresses %v", addresses)
	}
	s.alive("web", "r1", 3)
}

func ensureIsIdempotent(s *suite) {
	r := s.Release("web", "r1", Behavior{})
	s.ensure(r, 2)
	before := s.allReady("web", "r1", 2)
	s.ensure(r, 2)
	s.same(before, s.allReady("web", "r1", 2))
}

func ensureScales(s *suite) {
	r := s.Release("web", "r1", Behavior{})
	s.ensure(r, 1)
	one := s.allReady("web", "r1", 1)
	s.ensure(r, 3)
	three := s.allReady("web", "r1", 3)
	s.same(one, three[:1])
	s.ensure(r, 2)
	s.alive("web", "r1", 2)
	s.same(three[:2], s.list("web", "r1"))
	s.ensure(r, 2)
	s.same(three[:2], s.allReady("web", "r1", 2))
	s.ensure(r, 0)
	s.gone("web", "r1")
	s.ensure(r, 0)
}

func ensureScalesDownByForce(s *suite) {
	r := s.Release("web", "r1", Behavior{StopsAfter: forever, StopGrace: 50 * time.Millisecond})
	s.ensure(r, 3)
	three := s.allReady("web", "r1", 3)
	s.ensure(r, 1)
	s.alive("web", "r1", 1)
	s.same(three[:1], s.list("web", "r1"))
}

// ensureGivesUpWithContext has the driver die while it waits, too: the next one
// goes on.
func ensureGivesUpWithContext(s *suite) {
	r := s.Release("web", "r1", Behavior{StopsAfter: forever, StopGrace: forever})
	s.ensure(r, 3)
	three := s.allReady("web", "r1", 3)
	if s.ensureFor(50*time.Millisecond, r, 1) == nil {
		s.Fatal("Ensure has returned while instances above n live")
	}
	s.Driver = s.Restart()
	if s.ensureFor(50*time.Millisecond, r, 1) == nil {
		s.Fatal("after a restart, Ensure has returned while instances above n live")
	}
	s.alive("web", "r1", 3)
	s.until("stopping", func() bool {
		list := s.list("web", "r1")
		return list[0].State == driver.Ready && list[1].State == driver.Stopping && list[2].State == driver.Stopping
	})
	s.Kill(three[1])
	s.Kill(three[2])
	s.ensure(r, 1)
	s.alive("web", "r1", 1)
	s.same(three[:1], s.list("web", "r1"))
}

// ensureUpWhileGoingDown wants instances again of which the processes of before are
// still ending: no second copy may run beside one.
func ensureUpWhileGoingDown(s *suite) {
	r := s.Release("web", "r1", Behavior{StopsAfter: 200 * time.Millisecond, StopGrace: forever})
	s.ensure(r, 3)
	before := s.allReady("web", "r1", 3)
	for range 2 {
		_ = s.ensureFor(20*time.Millisecond, r, 1)
		s.ensure(r, 3)
		s.alive("web", "r1", 3)
		after := s.allReady("web", "r1", 3)
		s.same(before[:1], after[:1])
		for i, in := range after {
			if i > 0 && in.Restarts != 0 {
				s.Errorf("%s was to stop, and counts that as an exit by itself: %+v", in.ID, in)
			}
		}
	}
}

func ensureAtOnceFromMany(s *suite) {
	r := s.Release("web", "r1", Behavior{})
	var calls sync.WaitGroup
	for range 5 {
		calls.Go(func() {
			if err := s.Driver.Ensure(s.ctx, r, 2); err != nil {
				s.Error(err)
			}
		})
	}
	calls.Wait()
	s.alive("web", "r1", 2)
	s.allReady("web", "r1", 2)
}

func ensureSaysWhatCannotStart(s *suite) {
	err := s.Driver.Ensure(s.ctx, s.Release("web", "r1", Behavior{CannotStart: true}), 2)
	if err == nil {
		s.Fatal("Ensure has started what cannot start")
	}
	if !strings.Contains(err.Error(), "web-r1-") {
		s.Errorf("the error doesn't name an instance: %v", err)
	}
	s.alive("web", "r1", 0)
	s.remove("web", "r1")
	s.alive("web", "r1", 0)
}

func releasesAreApart(s *suite) {
	r1, r2, other := s.Release("web", "r1", Behavior{}), s.Release("web", "r2", Behavior{}), s.Release("web-r1", "r1", Behavior{})
	for _, r := range []driver.Release{r1, r2, other} {
		s.ensure(r, 2)
	}
	two, others := s.allReady("web", "r2", 2), s.allReady("web-r1", "r1", 2)
	list, err := s.Driver.List(s.ctx)
	if err != nil || len(list) != 6 || !slices.IsSortedFunc(list, func(a, b driver.Instance) int { return strings.Compare(a.ID, b.ID) }) {
		s.Errorf("not 6 instances in the order of their IDs: %v, error %v", list, err)
	}
	s.remove("web", "r1")
	s.same(two, s.allReady("web", "r2", 2))
	s.same(others, s.allReady("web-r1", "r1", 2))
}
