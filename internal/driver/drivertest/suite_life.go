package drivertest

import (
	"context"
	"strings"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
)

// What becomes of instances: they die, fail, and outlive the driver.

func deadInstanceIsStartedAgain(s *suite) {
	r := s.Release("web", "r1", Behavior{})
	s.ensure(r, 2)
	before := s.allReady("web", "r1", 2)
	s.Kill(before[0])
	s.until("started again", func() bool {
		in := s.list("web", "r1")[0]
		return in.State == driver.Ready && in.Restarts == 1
	})
	after := s.list("web", "r1")
	s.same(before[1:], after[1:])
	if after[0].Message == "" {
		s.Error("nothing is said about the end of the process before")
	}
	if after[0].Pid == before[0].Pid || after[0].Target != before[0].Target || !after[0].Started.After(before[0].Started) {
		s.Errorf("before its end %+v, after it %+v", before[0], after[0])
	}
	s.alive("web", "r1", 2)
}

func crashLoopFails(s *suite) {
	r := s.Release("web", "r1", Behavior{Exits: true})
	s.ensure(r, 1)
	in := s.failed("web", "r1")
	if !strings.Contains(in.Message, "exited with code 3") {
		s.Errorf("message is %q, want the exit code", in.Message)
	}
	if in.Restarts == 0 {
		s.Error("it wasn't started again even once")
	}
	s.ensure(r, 1)
	if again := s.list("web", "r1"); len(again) != 1 || again[0].State != driver.Failed {
		s.Errorf("Ensure has touched a failed instance: %+v", again)
	}
	s.remove("web", "r1")
	s.gone("web", "r1")
	s.ensure(r, 1)
	s.failed("web", "r1")
}

func neverReadyFails(s *suite) {
	s.ensure(s.Release("web", "r1", Behavior{NeverReady: true, StartDeadline: 100 * time.Millisecond}), 1)
	if in := s.failed("web", "r1"); !strings.Contains(in.Message, "not ready 100ms after its start") {
		s.Errorf("message is %q, want what it wasn't", in.Message)
	}
	s.alive("web", "r1", 0)
}

func restartAdopts(s *suite) {
	r := s.Release("web", "r1", Behavior{})
	s.ensure(r, 2)
	before := s.allReady("web", "r1", 2)
	s.Driver = s.Restart()
	s.alive("web", "r1", 2)
	for _, in := range s.list("web", "r1") {
		if in.State != driver.Ready {
			s.Errorf("%s was ready before the restart and is %s right after it", in.ID, in.State)
		}
	}
	s.ensure(r, 2)
	s.same(before, s.allReady("web", "r1", 2))

	s.Kill(before[1])
	s.until("started again", func() bool {
		in := s.list("web", "r1")[1]
		return in.State == driver.Ready && in.Restarts == 1
	})
	s.remove("web", "r1")
	s.gone("web", "r1")
}

func restartWhileStarting(s *suite) {
	r := s.Release("web", "r1", Behavior{NeverReady: true, StartDeadline: forever})
	s.ensure(r, 1)
	before := s.list("web", "r1")
	s.Driver = s.Restart()
	s.ensure(r, 2)
	s.until("two starting", func() bool {
		list := s.list("web", "r1")
		return len(list) == 2 && list[0].State == driver.Starting && list[1].State == driver.Starting
	})
	s.same(before, s.list("web", "r1")[:1])
	s.alive("web", "r1", 2)
	s.remove("web", "r1")
	s.gone("web", "r1")
}

func restartWhileStopping(s *suite) {
	r := s.Release("web", "r1", Behavior{StopsAfter: forever, StopGrace: 200 * time.Millisecond})
	s.ensure(r, 2)
	s.allReady("web", "r1", 2)
	ctx, cancel := context.WithTimeout(s.ctx, 20*time.Millisecond)
	defer cancel()
	_ = s.Driver.Remove(ctx, "web", "r1")
	s.Driver = s.Restart()
	s.remove("web", "r1")
	s.gone("web", "r1")
}

func watchEnds(s *suite) {
	ctx, cancel := context.WithCancel(s.ctx)
	changes := s.Driver.Watch(ctx)
	if cap(changes) != 1 {
		s.Errorf("capacity is %d, want 1", cap(changes))
	}
	s.ensure(s.Release("web", "r1", Behavior{}), 1)
	s.allReady("web", "r1", 1)
	cancel()
	for {
		select {
		case _, open := <-changes:
			if !open {
				return
			}
		case <-s.ctx.Done():
			s.Fatal("the channel stays open after the end of its context")
		}
	}
}
