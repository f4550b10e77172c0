// Package drivertest holds every driver to the contract of package driver.
//
// [Run] is the contract as a suite of tests; each driver runs it from a test of
// its own by saying in a [Harness] how to make releases that behave well or badly
// on it. [Fake] is a driver of its own: a scripted one in memory, on a [Machine]
// whose instances fail to start, start slowly, die, refuse to die or lie, as told.
// The engine is tested on it, and it passes the same suite.
package drivertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
)

// Harness is a driver under test and the hands on the machine that it runs on.
type Harness struct {
	// Driver runs nothing yet.
	Driver driver.Driver
	// Restart drops the driver, as when the daemon dies, and makes another on
	// the same machine.
	Restart func() driver.Driver
	// Release returns a release that behaves so.
	Release func(service, id string, b Behavior) driver.Release
	// Kill ends an instance's process by force, behind the driver's back.
	Kill func(in driver.Instance)
	// Alive counts the instances of the release that live, without asking the
	// driver.
	Alive func(service, release string) int
}

// Behavior is how the instances of a release behave. The zero value gets ready
// at once and lives until it is stopped.
type Behavior struct {
	// CannotStart: Ensure can't even start an instance.
	CannotStart bool
	// NeverReady: lives and is not healthy. StartDeadline is the release's.
	NeverReady    bool
	StartDeadline time.Duration
	// Exits at once after each start, until the driver gives it up.
	Exits bool
	// StopsAfter is how long it takes to stop after it was asked to. StopGrace
	// is the release's.
	StopsAfter, StopGrace time.Duration
	// Prints are lines that it prints at each start.
	Prints []string
}

const (
	// patience is a safety net that no passing test waits for.
	patience = 60 * time.Second
	// forever outlasts every test.
	forever = time.Hour
)

// Run holds the drivers that harness makes, one for each test, to the contract.
func Run(t *testing.T, harness func(t *testing.T) Harness) {
	for _, c := range []struct {
		name string
		test func(s *suite)
	}{
		{"EnsureStartsInstances", ensureStartsInstances},
		{"EnsureIsIdempotent", ensureIsIdempotent},
		{"EnsureScales", ensureScales},
		{"EnsureAtOnceFromMany", ensureAtOnceFromMany},
		{"EnsureSaysWhatCannotStart", ensureSaysWhatCannotStart},
		{"ReleasesAreApart", releasesAreApart},
		{"RemoveStops", removeStops},
		{"RemoveByForce", removeByForce},
		{"RemoveGivesUpWithContext", removeGivesUpWithContext},
		{"RemoveWhileStarting", removeWhileStarting},
		{"RemoveBlocksNoOtherRelease", removeBlocksNoOtherRelease},
		{"EnsureAfterRemove", ensureAfterRemove},
		{"DeadInstanceIsStartedAgain", deadInstanceIsStartedAgain},
		{"CrashLoopFails", crashLoopFails},
		{"NeverReadyFails", neverReadyFails},
		{"RestartAdopts", restartAdopts},
		{"RestartWhileStarting", restartWhileStarting},
		{"RestartWhileStopping", restartWhileStopping},
		{"WatchEnds", watchEnds},
		{"LogsOfAllAndOne", logsOfAllAndOne},
		{"LogsFollow", logsFollow},
		{"LogsOutliveRelease", logsOutliveRelease},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			c.test(&suite{T: t, Harness: harness(t), ctx: ctx})
		})
	}
}

type suite struct {
	*testing.T
	Harness
	ctx context.Context
}

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
	for _, in := range s.list("web", "r1") {
		if in.Index > 2 && in.State != driver.Stopping {
			s.Errorf("%s is %s right after Ensure has said that 2 are enough", in.ID, in.State)
		}
	}
	s.same(three[:2], s.allReady("web", "r1", 2))
	s.alive("web", "r1", 2)
	s.ensure(r, 0)
	s.until("none left", func() bool { return len(s.list("web", "r1")) == 0 })
	s.alive("web", "r1", 0)
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

func logsOfAllAndOne(s *suite) {
	s.ensure(s.Release("web", "r1", Behavior{Prints: []string{"one", "two", "three"}}), 2)
	s.allReady("web", "r1", 2)
	s.logs("all", driver.LogOptions{Tail: -1},
		"web-r1-1| one\nweb-r1-1| two\nweb-r1-1| three\nweb-r1-2| one\nweb-r1-2| two\nweb-r1-2| three\n")
	s.logs("tail", driver.LogOptions{Tail: 1}, "web-r1-1| three\nweb-r1-2| three\n")
	s.logs("no tail", driver.LogOptions{}, "")
	s.logs("one instance", driver.LogOptions{Instance: "web-r1-2", Tail: 2}, "two\nthree\n")
	for _, c := range []struct{ service, release, instance string }{
		{"web", "r9", ""}, {"nobody", "r1", ""}, {"web", "r1", "web-r1-9"}, {"..", "..", ""}, {"web", "r1", "../r1/web-r1-1"},
	} {
		if err := s.Driver.Logs(s.ctx, &bytes.Buffer{}, c.service, c.release, driver.LogOptions{Instance: c.instance}); err == nil {
			s.Errorf("logs of %s %s %q, which has never run, are no error", c.service, c.release, c.instance)
		}
	}
}

func logsFollow(s *suite) {
	s.ensure(s.Release("web", "r1", Behavior{Prints: []string{"hello"}}), 1)
	in := s.allReady("web", "r1", 1)[0]
	ctx, cancel := context.WithCancel(s.ctx)
	lines := &lineCounter{want: 2, reached: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- s.Driver.Logs(ctx, lines, "web", "r1", driver.LogOptions{Tail: -1, Follow: true}) }()
	s.Kill(in) // prints again when it is started again
	select {
	case <-lines.reached:
	case <-s.ctx.Done():
		s.Error("the second start's line hasn't come")
	}
	cancel()
	if err := <-done; err != nil {
		s.Errorf("the end of following is an error: %v", err)
	}
	if got, want := lines.text.String(), "web-r1-1| hello\nweb-r1-1| hello\n"; got != want {
		s.Errorf("got %q, want %q", got, want)
	}
}

func logsOutliveRelease(s *suite) {
	s.ensure(s.Release("web", "r1", Behavior{Prints: []string{"last words"}}), 1)
	s.allReady("web", "r1", 1)
	collect := func(keep bool) {
		err := s.Driver.CollectLogs(s.ctx, func(service, release string) bool {
			if service != "web" || release != "r1" {
				s.Errorf("asked whether to keep the logs of %s %s", service, release)
			}
			return keep
		})
		if err != nil {
			s.Error(err)
		}
	}
	collect(false)
	s.logs("of one that runs", driver.LogOptions{Tail: -1}, "web-r1-1| last words\n")
	s.remove("web", "r1")
	collect(true)
	s.Driver = s.Restart()
	s.logs("of one that ran", driver.LogOptions{Tail: -1}, "web-r1-1| last words\n")
	collect(false)
	if err := s.Driver.Logs(s.ctx, &bytes.Buffer{}, "web", "r1", driver.LogOptions{Tail: -1}); !errors.Is(err, driver.ErrNoLogs) {
		s.Errorf("logs that were collected: %v", err)
	}
}
