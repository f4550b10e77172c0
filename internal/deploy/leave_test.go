package deploy

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/proxy"
	"github.com/segue-deploy/segue/internal/spec"
)

// leaving stands between an engine, its proxy and its driver, and looks at who is stopped
// while the table in force still has it.
type leaving struct {
	mu sync.Mutex
	// named are the instances in the table in force, stopped those that were told to stop,
	// and wrong those of them that were named then.
	named, stopped, wrong []string
	// drains are the times that drains were given.
	drains []proxy.DrainTimes
}

func (l *leaving) stops(ctx context.Context, d driver.Driver, release string, left int) {
	all, err := d.List(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.wrong = append(l.wrong, err.Error())
	}
	for _, in := range all {
		if in.Release != release || in.Index <= left {
			continue
		}
		l.stopped = append(l.stopped, in.ID)
		if slices.Contains(l.named, in.ID) {
			l.wrong = append(l.wrong, in.ID)
		}
	}
}

// leavingProxy and leavingDriver are the two sides.
type (
	leavingProxy struct {
		*proxy.Proxy
		l *leaving
	}
	leavingDriver struct {
		driver.Driver
		l *leaving
	}
)

func (p leavingProxy) Apply(ctx context.Context, t proxy.Table) error {
	err := p.Proxy.Apply(ctx, t)
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	if p.l.named = nil; err != nil {
		return err
	}
	for _, svc := range t.Services {
		for _, r := range svc.Releases {
			for _, up := range r.Upstreams {
				p.l.named = append(p.l.named, up.ID)
			}
		}
	}
	return nil
}

func (p leavingProxy) Drain(ctx context.Context, service, release string, times proxy.DrainTimes) (proxy.DrainResult, error) {
	p.l.mu.Lock()
	p.l.drains = append(p.l.drains, times)
	p.l.mu.Unlock()
	return p.Proxy.Drain(ctx, service, release, times)
}

func (d leavingDriver) Ensure(ctx context.Context, r driver.Release, n int) error {
	d.l.stops(ctx, d.Driver, r.ID, n)
	return d.Driver.Ensure(ctx, r, n)
}

func (d leavingDriver) Remove(ctx context.Context, service, release string) error {
	d.l.stops(ctx, d.Driver, release, 0)
	return d.Driver.Remove(ctx, service, release)
}

func (l *leaving) watch(w *world) {
	w.traffic = leavingProxy{w.proxy, l}
	w.driver = func(d driver.Driver) driver.Driver { return leavingDriver{d, l} }
	w.close()
	w.restart()
}

// TestInstancesLeaveTheTableFirst: no instance is told to stop as long as a table is in force
// in which it is, since by that one the proxy may still have connections to it on which the
// next request goes. That is so on the way in, on the way back, and when a release has been
// warm for long enough.
func TestInstancesLeaveTheTableFirst(t *testing.T) {
	for name, strategy := range map[string]string{
		"blue-green": "{blue-green: {bake: 1s}}\nwarm: 10m", "canary": "canary\nwarm: 10m", "rolling": "{rolling: {bake: 1s}}\nwarm: 10m", "exclusive": "exclusive",
	} {
		for _, aborted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, aborted %t", name, aborted), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					defer w.close()
					l := &leaving{}
					l.watch(w)
					sp, err := spec.Parse("segue.yaml", []byte("service: web\ncommand: [serve]\ninstances: 3\nstrategy: "+strategy+"\n"))
					if err != nil {
						t.Fatal(err)
					}
					w.expectPhase(w.deploy(sp), PhasePromoted, "")
					d, err := w.request(sp, BusyRefuse)
					if err != nil {
						t.Fatal(err)
					}
					if aborted {
						for w.state().Weights["r2"] == 0 {
							time.Sleep(10 * time.Millisecond)
						}
						if _, err := w.engine.Abort(t.Context(), "web", d.Number, Actor{By: "tester"}); err != nil {
							t.Fatal(err)
						}
					}
					w.expectPhase(w.await(d.Number), map[bool]Phase{false: PhasePromoted, true: PhaseAborted}[aborted], "")
					time.Sleep(11 * time.Minute)
					synctest.Wait()
					l.mu.Lock()
					defer l.mu.Unlock()
					if len(l.wrong) > 0 || len(l.stopped) == 0 {
						t.Errorf("%v were told to stop, of them %v while the table in force had them", l.stopped, l.wrong)
					}
				})
			})
		}
	}
}

// TestDrainsHaveTheTimesOfPaths: what a path has for its drain reaches the proxy, less what
// has gone of it.
func TestDrainsHaveTheTimesOfPaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		l := &leaving{}
		l.watch(w)
		sp := testSpec(t, "drain: 20s\nroute: {drain: [{path: /events, time: 5m}, {path: /short, time: 3s}]}\n")
		for range 2 {
			w.expectPhase(w.deploy(sp), PhasePromoted, "")
		}
		want := []proxy.DrainTimes{{All: 20 * time.Second, Paths: []proxy.PathTime{{Path: "/events", Time: 5 * time.Minute}, {Path: "/short", Time: 3 * time.Second}}}}
		if !reflect.DeepEqual(l.drains, want) {
			t.Errorf("drained in %+v, want %+v", l.drains, want)
		}
	})
}
