package drivertest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/driver/drivertest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFakeKeepsContract(t *testing.T) {
	drivertest.Run(t, func(*testing.T) drivertest.Harness {
		m := drivertest.NewMachine()
		return drivertest.Harness{
			Driver:  drivertest.NewFake(m),
			Restart: func() driver.Driver { return drivertest.NewFake(m) },
			Release: func(service, id string, b drivertest.Behavior) driver.Release {
				m.Script(service, id, script(b))
				return driver.Release{Service: service, ID: id, StartDeadline: b.StartDeadline}
			},
			Kill:  func(in driver.Instance) { m.Kill(in.ID) },
			Alive: m.Alive,
		}
	})
}

func script(b drivertest.Behavior) drivertest.Script {
	s := drivertest.Script{NeverReady: b.NeverReady, Restarts: -1, Output: b.Prints}
	s.RefuseStop = min(b.StopsAfter, b.StopGrace)
	if b.CannotStart {
		s.StartError = errors.New("no such file")
	}
	if b.Exits {
		s.NeverReady, s.ExitAfter, s.Restarts = true, time.Millisecond, 2
	}
	return s
}

// ensure puts a release with a script on a new machine, in a bubble.
func ensure(t *testing.T, n int, s drivertest.Script, test func(t *testing.T, m *drivertest.Machine, d driver.Driver, r driver.Release)) {
	synctest.Test(t, func(t *testing.T) {
		m := drivertest.NewMachine()
		r := driver.Release{Service: "web", ID: "r1", StartDeadline: time.Minute}
		m.Script("web", "r1", s)
		d := drivertest.NewFake(m)
		if err := d.Ensure(t.Context(), r, n); err != nil {
			t.Fatal(err)
		}
		test(t, m, d, r)
	})
}

func state(t *testing.T, d driver.Driver, want driver.State, restarts int) {
	t.Helper()
	list, err := d.List(t.Context())
	if err != nil || len(list) != 1 || list[0].State != want || list[0].Restarts != restarts {
		t.Errorf("after %v restarts want %s; got %+v, error %v", restarts, want, list, err)
	}
}

func TestFakeStartsSlowly(t *testing.T) {
	began := time.Now()
	ensure(t, 1, drivertest.Script{StartAfter: time.Second, ReadyAfter: time.Minute}, func(t *testing.T, _ *drivertest.Machine, d driver.Driver, _ driver.Release) {
		began = time.Now().Add(-time.Second)
		time.Sleep(59 * time.Second)
		state(t, d, driver.Starting, 0)
		time.Sleep(time.Second)
		synctest.Wait()
		state(t, d, driver.Ready, 0)
		if since := time.Since(began); since != 61*time.Second {
			t.Errorf("ready after %v, want 61s", since)
		}
	})
}

func TestFakeExitsAndFails(t *testing.T) {
	ensure(t, 1, drivertest.Script{ExitAfter: 5 * time.Second, Restarts: 1}, func(t *testing.T, m *drivertest.Machine, d driver.Driver, _ driver.Release) {
		state(t, d, driver.Ready, 0)
		time.Sleep(5*time.Second + time.Millisecond)
		state(t, d, driver.Backoff, 0)
		time.Sleep(100 * time.Millisecond)
		state(t, d, driver.Ready, 1)
		time.Sleep(5 * time.Second)
		state(t, d, driver.Failed, 1)
		if n, most, starts := m.Alive("web", "r1"), m.MostAlive("web", "r1"), m.Starts("web", "r1"); n != 0 || most != 1 || starts != 2 {
			t.Errorf("alive %d, most %d, starts %d; want 0, 1, 2", n, most, starts)
		}
	})
}

func TestFakeLies(t *testing.T) {
	for _, exit := range []time.Duration{0, time.Second} {
		ensure(t, 1, drivertest.Script{Lies: true, ExitAfter: exit}, func(t *testing.T, m *drivertest.Machine, d driver.Driver, _ driver.Release) {
			time.Sleep(2 * time.Second)
			state(t, d, driver.Ready, 0)
			if n := m.Alive("web", "r1"); n != 0 {
				t.Errorf("alive %d, want 0", n)
			}
			if err := d.Remove(t.Context(), "web", "r1"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFakeRefusesToDie(t *testing.T) {
	ensure(t, 2, drivertest.Script{RefuseStop: time.Minute}, func(t *testing.T, m *drivertest.Machine, d driver.Driver, r driver.Release) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.Remove(ctx, "web", "r1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the end of the context", err)
		}
		began := time.Now()
		d = drivertest.NewFake(m) // the daemon was restarted
		if err := d.Ensure(t.Context(), r, 1); err != nil {
			t.Error(err)
		}
		if since := time.Since(began); since != 59*time.Second {
			t.Errorf("the old instance was replaced after %v, want 59s", since)
		}
		if most := m.MostAlive("web", "r1"); most != 2 {
			t.Errorf("at most %d lived at once, want 2", most)
		}
	})
}

func TestFakeHealthAndCommands(t *testing.T) {
	failed := errors.New("exited with code 1")
	s := drivertest.Script{
		CheckNotes: []string{"no memory limit here"},
		Exec:       func(context.Context, []string, map[string]string) (string, error) { return "output", failed },
	}
	ensure(t, 1, s, func(t *testing.T, m *drivertest.Machine, d driver.Driver, r driver.Release) {
		m.SetReady("web-r1-1", false)
		state(t, d, driver.Unready, 0)
		m.SetReady("web-r1-1", true)
		state(t, d, driver.Ready, 0)
		if notes, err := d.Check(t.Context(), r); len(notes) != 1 || err != nil {
			t.Errorf("Check: %v, %v", notes, err)
		}
		if out, err := d.Exec(t.Context(), r, []string{"test"}, nil); out != "output" || !errors.Is(err, failed) {
			t.Errorf("Exec: %q, %v", out, err)
		}
	})
}
