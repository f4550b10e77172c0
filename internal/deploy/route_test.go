package deploy

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segue-deploy/segue/internal/driver/drivertest"
	"github.com/segue-deploy/segue/internal/spec"
)

// Of services that ask for one route at the same moment, one gets it and is
// promoted; the others are refused.
func TestRouteAskedForAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		digest := w.upload()
		specs := []*spec.Spec{routed(t, "a", "/"), routed(t, "b", "/"), routed(t, "c", "/"), routed(t, "d", "/")}
		errs := make([]error, len(specs))
		var asked sync.WaitGroup
		for i, sp := range specs {
			asked.Go(func() {
				_, errs[i] = w.engine.Deploy(t.Context(), Request{Spec: sp, Artifact: digest, Busy: BusyRefuse})
			})
		}
		asked.Wait()
		accepted := slices.Index(errs, nil)
		if accepted < 0 {
			t.Fatalf("all were refused: %v", errs)
		}
		winner := specs[accepted].Service
		for i, err := range errs {
			if i != accepted {
				w.expectConflict(err, "belongs to service "+winner)
			}
		}
		w.expectPhase(w.awaitOf(winner, 1), PhasePromoted, "")
	})
}

// The route of a candidate that waits for its turn is taken.
func TestRouteOfAQueuedCandidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.machine.Script("b", "r1", drivertest.Script{NeverReady: true})
		for _, path := range []string{"/first", "/queued"} {
			w.begin(routed(t, "b", path))
		}
		_, err := w.request(routed(t, "a", "/queued"), BusyRefuse)
		w.expectConflict(err, "belongs to service b")
		w.expectPhase(w.awaitOf("b", 1), PhaseFailed, "not ready")
		w.expectPhase(w.awaitOf("b", 2), PhasePromoted, "")
	})
}

// movedRoute runs f when web has moved from /old to /new and can't go back in an
// instant, so that /old is free.
func movedRoute(t *testing.T, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.expectPhase(w.deploy(routed(t, "web", "/old")), PhasePromoted, "")
		w.expectPhase(w.deploy(routed(t, "web", "/new")), PhasePromoted, "")
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		w.expectAlive("r1", 0)
		f(w)
	})
}

// The route that a rollback will need is taken as soon as it is asked for.
func TestRouteOfAQueuedRollback(t *testing.T) {
	movedRoute(t, func(w *world) {
		w.machine.Script("web", "r3", drivertest.Script{NeverReady: true})
		w.begin(routed(w.t, "web", "/new"))
		rollback := w.rollback("r1")
		_, err := w.request(routed(w.t, "a", "/old"), BusyRefuse)
		w.expectConflict(err, "belongs to service web")
		w.expectPhase(w.await(rollback.Number), PhasePromoted, "")
	})
}

// A rollback to a release whose route is another service's by now is refused.
func TestRollbackToATakenRoute(t *testing.T) {
	movedRoute(t, func(w *world) {
		d := w.begin(routed(w.t, "a", "/old"))
		w.expectPhase(w.awaitOf("a", d.Number), PhasePromoted, "")
		_, err := w.engine.Rollback(w.t.Context(), "web", "r1", BusyRefuse, Actor{})
		w.expectConflict(err, "belongs to service a")
	})
}
