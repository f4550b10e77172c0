package deploy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segue-deploy/segue/internal/driver/drivertest"
	"github.com/segue-deploy/segue/internal/proxy"
	"github.com/segue-deploy/segue/internal/spec"
)

// hook stands between an engine and its proxy and makes the faults of the way
// there. It remembers tables that no proxy should ever get.
type hook struct {
	mu    sync.Mutex
	proxy *proxy.Proxy
	// before comes before each call, "apply", "drain" or "stats"; its error is the
	// call's.
	before func(ctx context.Context, call string) error
	// counted changes what the proxy has counted.
	counted func(*proxy.Stats)
	// outages are tables that gave all requests to a release without upstreams
	// though another release of the service had some.
	outages []string
	// fewest is the smallest number of instances that took requests by any table.
	fewest int
}

// set changes the hook's fields, which others may be using.
func (h *hook) set(change func(h *hook)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h)
}

func (h *hook) enter(ctx context.Context, call string) (*proxy.Proxy, error) {
	h.mu.Lock()
	before, p := h.before, h.proxy
	h.mu.Unlock()
	if before == nil {
		return p, nil
	}
	return p, before(ctx, call)
}

func (h *hook) Apply(ctx context.Context, t proxy.Table) error {
	p, err := h.enter(ctx, "apply")
	if err != nil {
		return err
	}
	h.set(func(h *hook) {
		h.outages = append(h.outages, outagesOf(t)...)
		h.fewest = min(h.fewest, servingOf(t))
	})
	return p.Apply(ctx, t)
}

func (h *hook) Drain(ctx context.Context, service, release string, times proxy.DrainTimes) (proxy.DrainResult, error) {
	p, err := h.enter(ctx, "drain")
	if err != nil {
		return proxy.DrainResult{}, err
	}
	return p.Drain(ctx, service, release, times)
}

func (h *hook) Stats(ctx context.Context) (proxy.Stats, error) {
	p, err := h.enter(ctx, "stats")
	if err != nil {
		return proxy.Stats{}, err
	}
	stats, err := p.Stats(ctx)
	h.set(func(h *hook) {
		if h.counted != nil {
			h.counted(&stats)
		}
	})
	return stats, err
}

func outagesOf(t proxy.Table) []string {
	var outages []string
	for _, svc := range t.Services {
		serves := slices.ContainsFunc(svc.Releases, func(r proxy.Release) bool { return len(r.Upstreams) > 0 })
		for _, r := range svc.Releases {
			if serves && r.Weight == 100 && len(r.Upstreams) == 0 {
				outages = append(outages, fmt.Sprintf("table %d: %s of %s", t.Version, r.ID, svc.Name))
			}
		}
	}
	return outages
}

// servingOf counts the instances that take requests by a table, or are about to.
func servingOf(t proxy.Table) int {
	n := 0
	for _, svc := range t.Services {
		for _, r := range svc.Releases {
			if r.Weight > 0 {
				n += len(r.Upstreams)
			}
		}
	}
	return n
}

func (h *hook) expectNoOutage(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.outages) > 0 {
		t.Errorf("all requests went to a release without upstreams while another had some: %s", strings.Join(h.outages, ", "))
	}
}

// hang lets no call through until resume.
func (h *hook) hang() (resume func()) {
	answers := make(chan struct{})
	h.set(func(h *hook) {
		h.before = func(ctx context.Context, _ string) error {
			select {
			case <-answers:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	})
	return func() { close(answers) }
}

// hooked starts the engine anew behind a hook.
func (w *world) hooked() *hook {
	w.t.Helper()
	h := &hook{proxy: w.proxy, fewest: math.MaxInt}
	w.traffic = h
	w.close()
	w.restart()
	return h
}

// restart starts an engine after the last one has ended, and waits until it has
// done what it does by itself.
func (w *world) restart() {
	w.t.Helper()
	w.start()
	if err := w.engine.waitReady(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

// crash ends the engine; it may be called with a service's mu held.
func (w *world) crash() {
	w.stop()
	_ = w.journal.Close()
}

// reboot ends all instances of releases while no engine runs.
func (w *world) reboot(releases ...string) {
	w.t.Helper()
	for _, release := range releases {
		if err := drivertest.NewFake(w.machine).Remove(w.t.Context(), "web", release); err != nil {
			w.t.Fatal(err)
		}
	}
}

// on calls f, with the service's mu held, after the event "intended" or "did" of
// a step of that kind that is not on the way back.
func (w *world) on(event string, kind StepKind, f func()) {
	s := w.engine.find("web")
	s.mu.Lock()
	defer s.mu.Unlock()
	before := w.engine.cfg.AfterAppend
	w.engine.cfg.AfterAppend = func(ev Event) {
		before(ev)
		var step int
		switch b := ev.Body.(type) {
		case Intended:
			step = b.Step
		case Did:
			step = b.Step
		default:
			return
		}
		if st := s.state.Deployment(ev.Deployment).Steps[step]; ev.Kind() == event && st.Kind == kind && !st.Back {
			f()
		}
	}
}

// begin asks for a deployment that is to be accepted, if need be in the queue.
func (w *world) begin(sp *spec.Spec) Deployment {
	w.t.Helper()
	d, err := w.request(sp, BusyQueue)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// rollback is begin for a rollback of web.
func (w *world) rollback(release string) Deployment {
	w.t.Helper()
	d, err := w.engine.Rollback(w.t.Context(), "web", release, BusyQueue, Actor{By: "tester"})
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) abort(number int) Deployment {
	w.t.Helper()
	d, err := w.engine.Abort(w.t.Context(), "web", number, Actor{By: "tester"})
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// awaitOf is await for any service.
func (w *world) awaitOf(service string, number int) Deployment {
	w.t.Helper()
	for range 3600 {
		d, err := w.engine.Deployment(w.t.Context(), service, number)
		if err != nil {
			w.t.Fatal(err)
		}
		if d.Phase.Final() {
			return d
		}
		time.Sleep(time.Second)
	}
	w.t.Fatalf("d%d of %s has not ended after an hour", number, service)
	return Deployment{}
}

// share is what a release has in a table.
type share struct{ weight, upstreams int }

// shares are those of web's releases in the table that is in force when nothing
// moves any more.
func (w *world) shares() map[string]share {
	w.t.Helper()
	synctest.Wait()
	if !w.engine.table.known {
		w.t.Fatal("which table is in force is not known")
	}
	shares := map[string]share{}
	for _, svc := range w.table().Services {
		for _, r := range svc.Releases {
			if svc.Name == "web" {
				shares[r.ID] = share{r.Weight, len(r.Upstreams)}
			}
		}
	}
	return shares
}

func (w *world) expectShares(want map[string]share) {
	w.t.Helper()
	if got := w.shares(); !maps.Equal(got, want) {
		w.t.Errorf("in force is %v, want %v", got, want)
	}
}

func (w *world) expectConflict(err error, message string) {
	w.t.Helper()
	if refused, ok := errors.AsType[*Error](err); !ok || refused.Problem != ProblemConflict || !strings.Contains(refused.Message, message) {
		w.t.Errorf("%v; want a conflict: %q", err, message)
	}
}

func (w *world) wayBack() WayBack {
	w.t.Helper()
	status, err := w.engine.Status(w.t.Context(), "web")
	if err != nil {
		w.t.Fatal(err)
	}
	return status.WayBack
}

// routed is a service's spec with a path of its own.
func routed(t *testing.T, service, path string) *spec.Spec {
	t.Helper()
	sp := testSpec(t, "")
	sp.Service, sp.Route.Paths = service, []string{path}
	return sp
}
