package deploy

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/driver/drivertest"
	"github.com/segue-deploy/segue/internal/journal"
	"github.com/segue-deploy/segue/internal/proxy"
	"github.com/segue-deploy/segue/internal/spec"
)

// A candidate whose instances are gone and can't be started again after a crash
// in its verification has failed; stable keeps its traffic.
func TestRebootDuringVerify(t *testing.T) {
	scenario(t, func(w *world, sp *spec.Spec) {
		w.on("intended", StepVerify, w.crash)
		w.begin(sp)
		w.ended.Wait()
		w.reboot("r1", "r2")
		w.machine.Script("web", "r2", drivertest.Script{StartError: errors.New("${SECRET} is not set")})
		w.restart()
		w.expectPhase(w.await(2), PhaseFailed, "not all instances of r2 were ready")
		w.expectShares(map[string]share{"r1": {100, 2}})
		w.expectAlive("r2", 0)
	})
}

// Errors that a candidate gave while no engine looked are held against it.
func TestErrorsWhileDownDuringBake(t *testing.T) {
	scenario(t, func(w *world, sp *spec.Spec) {
		h := w.hooked()
		began := time.Now()
		h.set(func(h *hook) {
			h.counted = func(stats *proxy.Stats) {
				r := proxy.ReleaseStats{ID: "r2", Accepted: uint64(time.Since(began) / (10 * time.Millisecond))}
				r.Answered[5] = r.Accepted
				stats.Services = []proxy.ServiceStats{{Name: "web", Releases: []proxy.ReleaseStats{r}}}
			}
		})
		w.on("intended", StepBake, w.crash)
		w.begin(sp)
		w.ended.Wait()
		time.Sleep(11 * time.Second) // The bake is over when the engine is back.
		w.restart()
		w.expectPhase(w.await(2), PhaseFailed, "answers were errors (100.0 %")
		w.expectShares(map[string]share{"r1": {100, 2}})
	})
}

// A candidate that is not ready again after a reboot in its bake is not promoted,
// however long ago the bake began; traffic goes to stable.
func TestRebootDuringBake(t *testing.T) {
	for _, test := range []struct {
		name   string
		script drivertest.Script
	}{
		{"never ready again", drivertest.Script{NeverReady: true}},
		{"can't be started again", drivertest.Script{StartError: errors.New("no such command")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			scenario(t, func(w *world, sp *spec.Spec) {
				w.on("intended", StepBake, w.crash)
				w.begin(sp)
				w.ended.Wait()
				w.reboot("r1", "r2")
				w.machine.Script("web", "r2", test.script)
				time.Sleep(11 * time.Second)
				w.restart()
				w.expectPhase(w.await(2), PhaseFailed, "ready")
				w.expectShares(map[string]share{"r1": {100, 2}})
			})
		})
	}
}

// The intent to shift puts nothing in force when the candidate has died since: no
// request goes to where nobody is while stable is there.
func TestCandidateDeadAfterIntentToShift(t *testing.T) {
	kill := func(w *world) {
		w.machine.Kill("web-r2-1")
		w.machine.Kill("web-r2-2")
	}
	expect := func(w *world, h *hook) {
		w.expectPhase(w.await(2), PhaseFailed, "web-r2-1: killed by SIGKILL")
		h.expectNoOutage(w.t)
		w.expectShares(map[string]share{"r1": {100, 2}})
	}
	t.Run("crash", func(t *testing.T) {
		scenario(t, func(w *world, sp *spec.Spec) {
			h := w.hooked()
			w.on("intended", StepShift, w.crash)
			w.begin(sp)
			w.ended.Wait()
			kill(w)
			w.restart()
			expect(w, h)
		})
	})
	t.Run("no crash", func(t *testing.T) {
		scenario(t, func(w *world, sp *spec.Spec) {
			h := w.hooked()
			w.on("did", StepVerify, func() { kill(w) })
			// The driver's news can come at any time; this is the worst.
			w.on("intended", StepShift, func() {
				if _, err := w.engine.syncTable(w.t.Context()); err != nil {
					w.t.Error(err)
				}
			})
			w.begin(sp)
			expect(w, h)
		})
	})
}

// That an old warm release refuses to stop is not the candidate's fault: it is
// promoted, and the old one retired when it gives in.
func TestOldReleaseRefusesToStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.machine.Script("web", "r1", drivertest.Script{RefuseStop: 5 * time.Minute})
		sp := testSpec(t, "")
		for range 3 {
			w.expectPhase(w.deploy(sp), PhasePromoted, "")
		}
		w.expectAlive("r1", 2)
		w.expectShares(map[string]share{"r2": {0, 2}, "r3": {100, 2}})
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		w.expectAlive("r1", 0)
		if _, runs := w.state().Running["r1"]; runs {
			t.Error("r1 still counts as running")
		}
	})
}

// A start that must first clear away instances which refuse to stop ends at its
// deadline.
func TestStartBehindInstancesThatRefuseToStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.machine.Script("web", "r1", drivertest.Script{RefuseStop: -1})
		sp := testSpec(t, "")
		w.deploy(sp)
		w.deploy(sp)
		w.machine.Kill("web-r1-1")
		d := w.rollback("r1")
		w.expectPhase(w.await(d.Number), PhaseFailed, "not all instances of r1 were ready within 1m0s")
		w.expectShares(map[string]share{"r1": {0, 0}, "r2": {100, 2}})
		w.machine.Kill("web-r1-2")
	})
}

// A bad candidate keeps the traffic when stable is dead, which is better than
// nobody.
func TestStableDeadWhenCandidateIsBad(t *testing.T) {
	scenario(t, func(w *world, sp *spec.Spec) {
		h := w.hooked()
		w.on("intended", StepBake, func() {
			w.machine.Kill("web-r1-1")
			w.machine.Kill("web-r1-2")
			w.machine.SetReady("web-r2-1", false)
		})
		w.begin(sp)
		w.expectPhase(w.await(2), PhaseFailed, "the traffic could not be moved back")
		time.Sleep(time.Hour)
		h.expectNoOutage(w.t)
		w.expectShares(map[string]share{"r2": {100, 1}})
		w.expectAlive("r2", 2)
		if st := w.state(); st.Stable != "r2" || st.Previous != "r1" {
			w.t.Errorf("stable is %s, before it %s; who has the traffic is stable", st.Stable, st.Previous)
		}
	})
}

// A stable that comes back in the time that its start may take gets the traffic
// back from a bad candidate.
func TestStableComesBackWhenCandidateIsBad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.machine.Script("web", "r1", drivertest.Script{Restarts: -1, ReadyAfter: 40 * time.Second})
		sp := testSpec(t, "")
		w.expectPhase(w.deploy(sp), PhasePromoted, "")
		h := w.hooked()
		w.on("intended", StepBake, func() {
			w.machine.Kill("web-r1-1")
			w.machine.Kill("web-r1-2")
			w.machine.SetReady("web-r2-1", false)
		})
		d := w.deploy(sp)
		w.expectPhase(d, PhaseFailed, "web-r2-1: is not healthy under traffic")
		if strings.Contains(d.Reason, "could not take the traffic back") {
			t.Errorf("r1 took the traffic back, and the reason is %q", d.Reason)
		}
		h.expectNoOutage(t)
		w.expectShares(map[string]share{"r1": {100, 2}})
		w.expectAlive("r2", 0)
	})
}

// refusing is a driver that can't start anything of a release for a while, as one out of
// descriptors.
type refusing struct {
	driver.Driver
	release string
	refuses *atomic.Bool
}

func (d refusing) Ensure(ctx context.Context, r driver.Release, n int) error {
	if r.ID == d.release && d.refuses.Load() {
		return syscall.EMFILE
	}
	return d.Driver.Ensure(ctx, r, n)
}

// Stable gets back the instances that it had before a rolling deployment, even if they could
// not be started while that was taken back.
func TestStableGetsItsInstancesBackLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.close()
		var refuses atomic.Bool
		w.driver = func(d driver.Driver) driver.Driver { return refusing{d, "r1", &refuses} }
		w.start()
		defer w.close()
		sp := testSpec(t, "")
		sp.Strategy = strategySpec(t, "strategy: {rolling: {max_surge: 0, max_unavailable: 1, bake: 10s}}").Strategy
		w.expectPhase(w.deploy(sp), PhasePromoted, "")
		w.on("intended", StepBake, func() {
			refuses.Store(true)
			w.machine.SetReady("web-r2-1", false)
		})
		w.expectPhase(w.deploy(sp), PhaseFailed, "web-r2-1: is not healthy under traffic")
		w.expectAlive("r1", 1)
		refuses.Store(false)
		time.Sleep(2 * ensureAgain)
		w.expectAlive("r1", 2)
		w.expectWeights(map[string]int{"r1": 100})
	})
}

// A caller whose time is over does not wait for a proxy that hangs.
func TestCallerDoesNotWaitForAHungProxy(t *testing.T) {
	scenario(t, func(w *world, _ *spec.Spec) {
		h := w.hooked()
		resume := h.hang()
		var holder sync.WaitGroup
		holder.Go(func() { _ = w.engine.ProxyStarted(w.t.Context()) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if _, err := w.engine.syncTable(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			w.t.Errorf("a caller that had a second came back after %s: %v", time.Since(began), err)
		}
		resume()
		holder.Wait()
	})
}

// A deployment that meets a proxy which hangs for less than a shift may take
// waits for it and ends well, as does that of another service.
func TestProxyHangsForAWhile(t *testing.T) {
	scenario(t, func(w *world, sp *spec.Spec) {
		resume := w.hooked().hang()
		for _, sp := range []*spec.Spec{sp, routed(w.t, "api", "/api")} {
			w.begin(sp)
		}
		time.Sleep(20 * time.Second)
		resume()
		w.expectPhase(w.await(2), PhasePromoted, "")
		w.expectPhase(w.awaitOf("api", 1), PhasePromoted, "")
		w.expectShares(map[string]share{"r1": {0, 2}, "r2": {100, 2}})
	})
}

// A proxy that hangs on and on makes nobody wait beyond a deadline: deployments
// fail, and a warm release is retired. Stable has the traffic when it answers.
func TestProxyHangsForGood(t *testing.T) {
	scenario(t, func(w *world, sp *spec.Spec) {
		h := w.hooked()
		w.expectPhase(w.deploy(sp), PhasePromoted, "")
		time.Sleep(9 * time.Minute)
		resume := h.hang()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		w.expectAlive("r1", 0)

		for _, sp := range []*spec.Spec{sp, routed(w.t, "api", "/api")} {
			w.begin(sp)
		}
		time.Sleep(5 * time.Minute)
		for _, d := range []Deployment{w.awaitOf("web", 3), w.awaitOf("api", 1)} {
			w.expectPhase(d, PhaseFailed, "the proxy did not answer within")
			if took := d.Finished.Sub(d.Began); took > 3*time.Minute {
				w.t.Errorf("%s of candidate %s took %s", d.ID, d.Candidate, took)
			}
		}
		resume()
		time.Sleep(10 * time.Second)
		if got := w.shares()["r2"]; got != (share{100, 2}) {
			w.t.Errorf("stable has %v", got)
		}
		w.expectPhase(w.deploy(sp), PhasePromoted, "")
		w.expectShares(map[string]share{"r2": {0, 2}, "r4": {100, 2}})
	})
}

// A new proxy that fails to take its table twice has it soon after.
func TestProxyFailsToTakeItsTable(t *testing.T) {
	scenario(t, func(w *world, _ *spec.Spec) {
		h := w.hooked()
		fresh := proxy.New(proxy.Config{})
		var tries atomic.Int32
		h.set(func(h *hook) {
			h.proxy = fresh
			h.before = func(_ context.Context, call string) error {
				if call == "apply" && tries.Add(1) <= 2 {
					return errors.New("connection reset by peer")
				}
				return nil
			}
		})
		w.machine.SetReady("web-r1-1", false)
		synctest.Wait()
		if err := w.engine.ProxyStarted(w.t.Context()); err == nil {
			w.t.Fatal("the second try did not fail")
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if stats, err := fresh.Stats(w.t.Context()); err != nil || stats.Table == 0 {
			w.t.Errorf("after %d tries the proxy has no table: %v", tries.Load(), err)
		}
	})
}

// onlyJournal is an engine that has nothing but a journal.
func onlyJournal(t *testing.T) *Engine {
	t.Helper()
	j, err := journal.Open(t.Context(), filepath.Join(t.TempDir(), "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return New(Config{Journal: j, Logger: slog.New(slog.DiscardHandler)})
}

// What was journalled while the clock was ahead has happened by now: no wait goes on until
// it is there again.
func TestClockWasAhead(t *testing.T) {
	e := onlyJournal(t)
	ahead, err := Event{At: time.Now().Add(time.Hour), Service: "web", Deployment: 1, Body: Requested{Candidate: "r1"}}.record()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.cfg.Journal.Append(t.Context(), ahead); err != nil {
		t.Fatal(err)
	}
	if err := e.replay(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := e.stateOf("web")
	if d := s.Deployment(1); d.Requested.After(time.Now()) || time.Since(d.Requested) > time.Minute {
		t.Errorf("it was asked for at %s, and it is %s", d.Requested, time.Now())
	}
}

// Waits go by the monotonic clock, which goes on when somebody sets the time of day.
func TestEventsHaveTheMonotonicClock(t *testing.T) {
	s := onlyJournal(t).service("web")
	if err := s.commit(t.Context(), 1, Requested{Candidate: "r1"}); err != nil {
		t.Fatal(err)
	}
	state := s.snapshot()
	if at := state.Deployment(1).Requested; !strings.Contains(at.String(), " m=") {
		t.Errorf("it was asked for at %s, by the time of day alone", at)
	}
}
