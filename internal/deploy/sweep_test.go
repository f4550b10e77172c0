package deploy

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segue-deploy/segue/internal/driver/drivertest"
	"github.com/segue-deploy/segue/internal/spec"
)

// kind is a service with a strategy, as the sweeps deploy it.
type kind struct {
	name, spec string
	// most is how many instances there may be at once of both releases.
	most int
	// fewest is how many instances take requests at any time, as long as none dies.
	fewest int
	// exclusive: the two releases must never run at once.
	exclusive bool
	// worker: there is no traffic.
	worker bool
}

func kinds() []kind {
	return []kind{
		{name: "blue-green", spec: `strategy: {blue-green: {bake: 2s, preview: [{header: X-Preview}], approve: {deadline: 3s, then: promote}}}`, most: 6, fewest: 3},
		{name: "canary", spec: `strategy: {canary: {steps: [{weight: 25}, {bake: 2s}, approve: {deadline: 3s, then: promote}, {weight: 50}, verify, {bake: 1s}]}}`, most: 6, fewest: 3},
		{name: "rolling", spec: `strategy: {rolling: {max_surge: 1, bake: 1s}}`, most: 4, fewest: 3},
		{name: "rolling without room", spec: `strategy: {rolling: {max_surge: 0, max_unavailable: 1, bake: 1s}}`, most: 3, fewest: 2},
		{name: "exclusive", spec: `strategy: {exclusive: {bake: 2s}}`, most: 3, exclusive: true},
		{name: "worker", spec: "listen: none\nstrategy: {worker: {bake: 2s}}", most: 6, worker: true},
		{name: "exclusive worker", spec: "listen: none\nstrategy: {worker: {order: exclusive, bake: 2s}}", most: 3, exclusive: true, worker: true},
	}
}

func (k kind) parse(t *testing.T) *spec.Spec {
	t.Helper()
	s, err := spec.Parse("segue.yaml", []byte("service: web\ncommand: [serve]\ninstances: 3\nsmoke:\n  - command: [check]\ndrain: 1s\n"+k.spec+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sweep is one deployment of a kind of service to which something happens.
type sweep struct {
	kind   kind
	script drivertest.Script
	// at is the number of the event of the deployment after which happens comes; 0
	// is never.
	at      int
	happens func(w *world, d Deployment)
	// crash: the engine dies at that event, and another one comes.
	crash bool
	// ends are the phases that are right.
	ends []Phase
}

// run returns how many events the deployment had.
func (sw sweep) run(t *testing.T) (events int) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		h := w.hooked()
		sp := sw.kind.parse(t)
		w.expectPhase(w.deploy(sp), PhasePromoted, "")
		w.machine.Script("web", "r2", sw.script)
		w.machine.ResetMost("web")
		h.set(func(h *hook) { h.fewest = math.MaxInt })
		digest := w.upload()
		d, ok := sw.request(t, w, sp, digest)
		if !ok {
			return // It died before the deployment was requested.
		}
		end := w.await(d.Number)
		sw.check(t, w, h, end)
		events = w.counted()
	})
	return events
}

// everywhere runs the sweep once for each of so many events. Under the race detector,
// which makes it ten times as long, it takes every fifth.
func (sw sweep) everywhere(t *testing.T, events int) {
	for at := 1; at <= events; at += stride {
		sw.at = at
		sw.run(t)
	}
}

// request begins the deployment, and lets happen what is to happen in it.
func (sw sweep) request(t *testing.T, w *world, sp *spec.Spec, digest string) (Deployment, bool) {
	t.Helper()
	var once sync.WaitGroup
	w.countFrom(0)
	switch {
	case sw.crash:
		w.countFrom(sw.at)
	case sw.at > 0:
		w.onEvent(sw.at, func() {
			once.Go(func() { sw.happens(w, Deployment{Number: 2, ID: "d2"}) })
		})
	}
	d, err := w.engine.Deploy(t.Context(), Request{Spec: sp, Artifact: digest, Actor: Actor{By: "tester"}})
	if sw.crash && sw.at > 0 {
		if err != nil {
			return d, false
		}
		if !w.died(10 * time.Minute) {
			w.countFrom(0)
			return d, true // It had fewer events this time.
		}
		time.Sleep(time.Second)
		w.countFrom(0)
		w.start()
		if err := w.engine.waitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
	} else if err != nil {
		t.Fatal(err)
	}
	once.Wait()
	return d, true
}

// died reports whether the engine dies within a time.
func (w *world) died(within time.Duration) bool {
	died := make(chan struct{})
	go func() {
		w.ended.Wait()
		close(died)
	}()
	select {
	case <-died:
		return true
	case <-time.After(within):
		return false
	}
}

// onEvent calls f, with the service's mu held, after so many events from now.
func (w *world) onEvent(n int, f func()) {
	s := w.engine.find("web")
	s.mu.Lock()
	defer s.mu.Unlock()
	before := w.engine.cfg.AfterAppend
	seen := 0
	w.engine.cfg.AfterAppend = func(ev Event) {
		before(ev)
		if seen++; seen == n {
			f()
		}
	}
}

// check holds the world against what is true after every deployment.
func (sw sweep) check(t *testing.T, w *world, h *hook, d Deployment) {
	t.Helper()
	where := fmt.Sprintf("after event %d", sw.at)
	right := false
	for _, p := range sw.ends {
		right = right || d.Phase == p
	}
	if !right {
		t.Fatalf("%s: it ended %s: %q; want one of %v", where, d.Phase, d.Reason, sw.ends)
	}
	time.Sleep(2 * time.Minute)
	synctest.Wait()
	stable := "r1"
	if d.Phase == PhasePromoted {
		stable = "r2"
	}
	st := w.state()
	if st.Stable != stable || w.machine.Alive("web", stable) != 3 {
		t.Errorf("%s: stable is %s with %d instances; it ended %s: %s", where, st.Stable, w.machine.Alive("web", stable), d.Phase, d.Reason)
	}
	if !sw.kind.worker && w.inForce()[stable] != 100 {
		t.Errorf("%s: in force is %v, stable is %s", where, w.inForce(), stable)
	}
	if most := w.machine.MostAliveOf("web"); most > sw.kind.most {
		t.Errorf("%s: %d instances lived at once, at most %d may", where, most, sw.kind.most)
	}
	if sw.kind.exclusive && w.machine.EverTogether("web", "r1", "r2") {
		t.Errorf("%s: both releases ran at once", where)
	}
	if !sw.kind.exclusive && !sw.kind.worker {
		h.expectNoOutage(t)
	}
	fewest := sw.kind.fewest
	if d.Phase != PhasePromoted {
		fewest = min(fewest, 2) // It goes back at once when half of stable is there.
	}
	if sw.script.ExitAfter == 0 && h.fewest < fewest {
		t.Errorf("%s: only %d instances took requests at some time, at least %d should", where, h.fewest, fewest)
	}
	if waits := explain(&st, nil, time.Now()); d.Phase != PhasePromoted && len(waits) > 0 {
		t.Errorf("%s: it still waits: %+v", where, waits)
	}
	if st.Taking != nil || st.Previewing || st.Shifting != nil {
		t.Errorf("%s: something is left over: %+v", where, st)
	}
	expectReplay(t, w)
}

// TestCrashAnywhere lets the engine die after each event of a deployment, with every
// strategy, of a release that is good and of one that dies under traffic.
func TestCrashAnywhere(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			good := sweep{kind: k, crash: true, ends: []Phase{PhasePromoted}}
			bad := sweep{kind: k, crash: true, ends: []Phase{PhaseFailed}, script: drivertest.Script{ExitAfter: time.Second, Restarts: -1}}
			for _, sw := range []sweep{good, bad} {
				sw.everywhere(t, sw.run(t))
			}
		})
	}
}

// TestCommandsAnywhere gives each command after each event.
func TestCommandsAnywhere(t *testing.T) {
	by := Actor{By: "tester"}
	for _, c := range []struct {
		name    string
		ends    []Phase
		happens func(w *world, d Deployment)
	}{
		{"abort", []Phase{PhaseAborted, PhasePromoted}, func(w *world, d Deployment) {
			_, _ = w.engine.Abort(w.t.Context(), "web", d.Number, by)
			_, _ = w.engine.Abort(w.t.Context(), "web", d.Number, by)
		}},
		{"pause and resume", []Phase{PhasePromoted}, func(w *world, d Deployment) {
			_, _ = w.engine.Pause(w.t.Context(), "web", d.Number, time.Hour, spec.ThenAbort, by)
			time.Sleep(time.Minute)
			_, _ = w.engine.Resume(w.t.Context(), "web", d.Number, by)
		}},
		{"pause until it is over", []Phase{PhaseAborted, PhasePromoted}, func(w *world, d Deployment) {
			_, _ = w.engine.Pause(w.t.Context(), "web", d.Number, time.Minute, spec.ThenAbort, by)
		}},
		{"promote in full", []Phase{PhasePromoted}, func(w *world, d Deployment) {
			_, _ = w.engine.Promote(w.t.Context(), "web", d.Number, true, by)
			_, _ = w.engine.Promote(w.t.Context(), "web", d.Number, true, by)
		}},
		{"hold and release", []Phase{PhasePromoted}, func(w *world, _ Deployment) {
			limits := spec.Hold{Time: spec.Duration(time.Minute), Requests: 10, Bytes: 1 << 20}
			_, _ = w.engine.HoldRequests(w.t.Context(), "web", time.Second, limits, by)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, k := range kinds() {
				t.Run(k.name, func(t *testing.T) {
					t.Parallel()
					sw := sweep{kind: k, ends: []Phase{PhasePromoted}}
					n := sw.run(t)
					sw.ends, sw.happens = c.ends, c.happens
					sw.everywhere(t, n)
				})
			}
		})
	}
}
