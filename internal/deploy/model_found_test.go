package deploy

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segue-deploy/segue/internal/driver/drivertest"
	"github.com/segue-deploy/segue/internal/spec"
)

// What TestModel has found, each in its shortest form.

// A scale that waits in the queue is of what is stable when its turn comes.
func TestQueuedScaleIsOfWhatIsStableByThen(t *testing.T) {
	scenario(t, func(w *world, sp *spec.Spec) {
		w.begin(sp)
		d, err := w.engine.Scale(w.t.Context(), "web", 3, BusyQueue, tester)
		if err != nil {
			t.Fatal(err)
		}
		w.expectPhase(w.await(d.Number), PhasePromoted, "")
		w.expectShares(map[string]share{"r1": {0, 2}, "r2": {100, 3}})
		if st := w.state(); st.Stable != "r2" || st.Previous != "r1" {
			t.Errorf("stable is %s, before it %s", st.Stable, st.Previous)
		}
	})
}

// A deployment that waits until a warm release has stopped does not wait for itself.
func TestExplainWaitForRetirement(t *testing.T) {
	scenario(t, func(w *world, sp *spec.Spec) {
		sp.Warm = 0
		w.machine.Script("web", "r2", drivertest.Script{RefuseStop: 3 * time.Second})
		w.deploy(sp)
		w.deploy(sp)
		synctest.Wait()
		d := w.begin(sp)
		waits, err := w.engine.Explain(w.t.Context(), "web")
		if err != nil || len(waits) == 0 || !strings.Contains(waits[0].What, "waits for its turn until what was warm is retired") {
			t.Errorf("%+v, %v", waits, err)
		}
		w.expectPhase(w.await(d.Number), PhasePromoted, "")
	})
}

// A candidate that turned bad when stable was mostly gone is taken back all the same.
func TestRollingBackFromWhoIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		sp := strategySpec(t, "strategy: {rolling: {max_surge: 0, max_unavailable: 1, bake: 2s}}\n")
		w.expectPhase(w.deploy(sp), PhasePromoted, "")
		d := w.begin(sp)
		for w.machine.Alive("web", "r1") > 1 {
			time.Sleep(100 * time.Millisecond)
		}
		for _, id := range []string{"web-r2-1", "web-r2-2", "web-r2-3"} {
			w.machine.SetReady(id, false)
		}
		w.expectPhase(w.await(d.Number), PhaseFailed, "is not healthy under traffic")
		w.expectShares(map[string]share{"r1": {100, 4}})
	})
}

// A stable that is there answers for a candidate that is not, even if it is unhealthy:
// to try is better than to refuse.
func TestUnhealthyStableAnswersForADeadCandidate(t *testing.T) {
	scenario(t, func(w *world, sp *spec.Spec) {
		h := w.hooked()
		w.machine.Script("web", "r2", drivertest.Script{Restarts: -1})
		w.begin(sp)
		time.Sleep(5 * time.Second)
		w.expectShares(map[string]share{"r1": {0, 2}, "r2": {100, 2}})
		for _, instance := range []string{"1", "2"} {
			w.machine.SetReady("web-r1-"+instance, false)
			w.machine.Kill("web-r2-" + instance)
		}
		w.await(2)
		h.expectNoOutage(t)
	})
}
