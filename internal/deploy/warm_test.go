package deploy

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segue-deploy/segue/internal/driver/drivertest"
	"github.com/segue-deploy/segue/internal/spec"
)

// An abort that was accepted wins over a promotion that had not been journalled.
func TestAbortJustBeforeTheEnd(t *testing.T) {
	scenario(t, func(w *world, sp *spec.Spec) {
		h := w.hooked()
		ending := make(chan struct{})
		w.on("did", StepDrain, func() {
			var once sync.Once
			h.set(func(h *hook) {
				h.before = func(_ context.Context, call string) error {
					if call == "stats" {
						once.Do(func() { close(ending) })
						time.Sleep(time.Second)
					}
					return nil
				}
			})
		})
		d := w.begin(sp)
		<-ending
		if d := w.abort(d.Number); !d.AbortRequested || d.Phase != PhaseRunning {
			w.t.Fatalf("the abort came to %+v", d)
		}
		w.expectPhase(w.await(d.Number), PhaseAborted, "")
		w.expectShares(map[string]share{"r1": {100, 2}})
		w.expectAlive("r2", 0)
	})
}

// An aborted rollback leaves the warm release as warm as it was, wherever the
// rollback was.
func TestAbortedRollbackLeavesTheReleaseWarm(t *testing.T) {
	for _, kind := range []StepKind{StepStart, StepDrain} {
		t.Run(string(kind), func(t *testing.T) {
			scenario(t, func(w *world, sp *spec.Spec) {
				h := w.hooked()
				w.deploy(sp)
				before := w.state().Running["r1"].WarmUntil
				if kind == StepStart {
					w.machine.SetReady("web-r1-1", false) // The start waits for it.
				} else {
					h.set(func(h *hook) {
						h.before = func(ctx context.Context, call string) error {
							if call != "drain" {
								return nil
							}
							h.set(func(h *hook) { h.before = nil })
							<-ctx.Done()
							return context.Cause(ctx)
						}
					})
				}
				d := w.rollback("r1")
				time.Sleep(time.Second)
				d = w.abort(d.Number)
				if !slices.ContainsFunc(d.Steps, func(st StepState) bool { return st.Kind == kind && st.Status == StepRunning }) {
					w.t.Fatalf("the rollback is at %+v", d.Steps)
				}
				w.expectPhase(w.await(d.Number), PhaseAborted, "")
				w.machine.SetReady("web-r1-1", true)
				w.expectAlive("r1", 2)
				w.expectShares(map[string]share{"r1": {0, 2}, "r2": {100, 2}})
				if after := w.state().Running["r1"].WarmUntil; before.IsZero() || !after.Equal(before) {
					w.t.Errorf("r1 was warm until %s, and is until %s", before, after)
				}
				if back := w.wayBack(); !back.Instant {
					w.t.Errorf("the way back is %s", back)
				}
				time.Sleep(time.Until(before) + time.Minute)
				synctest.Wait()
				w.expectAlive("r1", 0)
			})
		})
	}
}

// A warm release of which an instance is dead is no instant way back.
func TestWayBackToAReleaseWithADeadInstance(t *testing.T) {
	scenario(t, func(w *world, sp *spec.Spec) {
		w.deploy(sp)
		if back := w.wayBack(); !back.Instant || back.Release != "r1" {
			w.t.Errorf("the way back is %s", back)
		}
		w.machine.Kill("web-r1-1")
		if back := w.wayBack(); back.Instant || back.Release != "r1" {
			w.t.Errorf("the way back with a dead instance is %s", back)
		}
	})
}

// How long a release takes to boot is not what the start of a warm one took.
func TestBootTimeIsOfAStartFromNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		const boot = 40 * time.Second
		sp := testSpec(t, "")
		for _, release := range []string{"r1", "r2"} {
			w.machine.Script("web", release, drivertest.Script{ReadyAfter: boot})
			w.expectPhase(w.deploy(sp), PhasePromoted, "")
		}
		for range 2 {
			d := w.rollback("")
			w.expectPhase(w.await(d.Number), PhasePromoted, "")
		}
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		if back := w.wayBack(); back.Instant || back.Boot != boot {
			t.Errorf("a boot takes %s, and the way back is %s", boot, back)
		}
	})
}
