package drivertest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/health"
)

// Workers: no address, a stop signal, readiness by their own word.

func workerHasNoAddress(s *suite) {
	s.ensure(s.Release("web", "r1", Behavior{NoAddress: true, ReadyBy: "file"}), 2)
	for _, in := range s.list("web", "r1") {
		if in.Target != (health.Target{}) {
			s.Errorf("%s has the address %+v", in.ID, in.Target)
		}
		s.SetReady(in, true)
	}
	for _, in := range s.allReady("web", "r1", 2) {
		if in.Target != (health.Target{}) {
			s.Errorf("%s has the address %+v", in.ID, in.Target)
		}
	}
	s.alive("web", "r1", 2)
	s.remove("web", "r1")
	s.gone("web", "r1")

	r := s.Release("web", "r2", Behavior{NoAddress: true, ReadyBy: "file", NamesPort: true})
	s.refused(r, "{{.Port}}")
}

// readinessIsSaid has an instance become ready, unready and ready again by its own
// word, which holds over restarts of the driver, and not over those of its process.
func readinessIsSaid(by string) func(s *suite) {
	return func(s *suite) {
		s.ensure(s.Release("web", "r1", Behavior{ReadyBy: by, StartDeadline: forever}), 2)
		first := func() driver.Instance { return s.list("web", "r1")[0] }
		is := func(state driver.State) {
			s.Helper()
			s.until(string(state), func() bool { return first().State == state })
			s.Driver = s.Restart()
			if in := first(); in.State != state {
				s.Errorf("it was %s before the restart of the driver and is %s right after it", state, in.State)
			}
		}
		is(driver.Starting)
		s.SetReady(first(), true)
		is(driver.Ready)
		s.SetReady(first(), false)
		is(driver.Unready)
		s.until("explained", func() bool { return first().Message != "" })
		s.SetReady(first(), true)
		is(driver.Ready)
		if in := first(); in.Message != "" {
			s.Errorf("ready again, and the message is %q", in.Message)
		}

		s.Kill(first())
		s.until("started again", func() bool { in := first(); return in.Restarts == 1 && in.Pid != 0 })
		is(driver.Starting)
		s.SetReady(first(), true)
		is(driver.Ready)
		if other := s.list("web", "r1")[1]; other.State != driver.Starting {
			s.Errorf("the other instance, which has said nothing, is %s", other.State)
		}
		s.remove("web", "r1")
		s.gone("web", "r1")
	}
}

// silentWorkerFails gives up one that doesn't say that it is ready.
func silentWorkerFails(s *suite) {
	for i, by := range []string{"file", "notify"} {
		id := fmt.Sprintf("r%d", i+1)
		s.ensure(s.Release("web", id, Behavior{NoAddress: true, ReadyBy: by, StartDeadline: 100 * time.Millisecond}), 1)
		if in := s.failed("web", id); !strings.Contains(in.Message, "not ready 100ms after its start") {
			s.Errorf("by %s: message is %q, want what it wasn't", by, in.Message)
		}
		s.alive("web", id, 0)
	}
}

func stopsBySignal(s *suite) {
	for i, signal := range []string{"", "TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH"} {
		id := fmt.Sprintf("r%d", i+1)
		r := s.Release("web", id, Behavior{StopSignal: signal, NoAddress: true, ReadyBy: "file"})
		s.ensure(r, 2)
		for _, in := range s.list("web", id) {
			s.SetReady(in, true)
		}
		s.allReady("web", id, 2)
	}
	s.Driver = s.Restart() // which remembers it
	for i, signal := range []string{"TERM", "TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH"} {
		id := fmt.Sprintf("r%d", i+1)
		s.remove("web", id)
		if got := s.StopSignals("web", id); !slices.Equal(got, []string{signal, signal}) {
			s.Errorf("two instances of %s were asked to stop by %q, want %s", id, got, signal)
		}
	}
}

func refusesUnknownSignal(s *suite) {
	s.refused(s.Release("web", "r1", Behavior{StopSignal: "KILL"}), "WINCH")
}
