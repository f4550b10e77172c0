package drivertest_test

import (
	"context"
	"errors"
	"slices"
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
				r := driver.Release{Service: service, ID: id, StartDeadline: b.StartDeadline, NoAddress: b.NoAddress, StopSignal: b.StopSignal}
				if b.NamesPort {
					r.Command = []string{"worker", "{{.Port}}"}
				}
				return r
			},
			Kill:        func(in driver.Instance) { m.Kill(in.ID) },
			SetReady:    func(in driver.Instance, ready bool) { m.SetReady(in.ID, ready) },
			StopSignals: m.StopSignals,
			Alive:       m.Alive,
		}
	})
}

func script(b drivertest.Behavior) drivertest.Script {
	s := drivertest.Script{NeverReady: b.NeverReady || b.ReadyBy != "", Restarts: -1, Output: b.Prints}
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

func TestFakeScalesDown(t *testing.T) {
	ensure(t, 3, drivertest.Script{RefuseStop: time.Minute}, func(t *testing.T, m *drivertest.Machine, d driver.Driver, r driver.Release) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.Ensure(ctx, r, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the end of the context", err)
		}
		began := time.Now()
		d = drivertest.NewFake(m) // the daemon was restarted
		if err := d.Ensure(t.Context(), r, 1); err != nil {
			t.Error(err)
		}
		if n, since := m.Alive("web", "r1"), time.Since(began); n != 1 || since != 59*time.Second {
			t.Errorf("%d lived after %v, want 1 after 59s", n, since)
		}
		state(t, d, driver.Ready, 0)
		if got := m.StopSignals("web", "r1"); !slices.Equal(got, []string{"TERM", "TERM"}) {
			t.Errorf("asked to stop by %q, want TERM for each of the two", got)
		}
	})
}

func TestFakeCountsTogether(t *testing.T) {
	ensure(t, 2, drivertest.Script{}, func(t *testing.T, m *drivertest.Machine, d driver.Driver, r driver.Release) {
		together := func(want int, pairs ...[2]string) {
			t.Helper()
			if most, got := m.MostAliveOf("web"), m.Together("web"); most != want || !slices.Equal(got, pairs) {
				t.Errorf("at most %d at once, together %v; want %d and %v", most, got, want, pairs)
			}
		}
		scale := func(release string, n int) {
			t.Helper()
			of := r
			of.ID = release
			if err := d.Ensure(t.Context(), of, n); err != nil {
				t.Fatal(err)
			}
		}
		together(2, [2]string{"r1", "r1"})
		scale("r2", 1)
		together(3, [2]string{"r1", "r1"}, [2]string{"r1", "r2"})
		if !m.EverTogether("web", "r2", "r1") || m.EverTogether("web", "r2", "r2") || m.EverTogether("other", "r1", "r2") {
			t.Error("r1 and r2 of web, and nothing else of r2, were together")
		}
		scale("r1", 0)
		m.ResetMost("web")
		together(1)
		scale("r2", 0)
		scale("r3", 1)
		together(1)
		m.Script("web", "r4", drivertest.Script{Lies: true})
		scale("r4", 1) // is dead from the start
		together(1)
		if most := m.MostAlive("web", "r1"); most != 0 {
			t.Errorf("after the reset %d of r1 lived at once, want 0", most)
		}
	})
}
