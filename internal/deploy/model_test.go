package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/driver/drivertest"
	"github.com/segue-deploy/segue/internal/journal"
	"github.com/segue-deploy/segue/internal/spec"
)

// TestModel lets things happen to a service in any order, as drawn, and holds the
// engine against what must be true all the time (model_check_test.go). More of it:
// go test -run TestModel ./internal/deploy -rapid.checks=5000. Under the race detector,
// which makes it ten times as long, the strategies share the checks that else each has.
func TestModel(t *testing.T) {
	groups := [][]string{
		{"blue-green"}, {"canary"}, {"rolling"}, {"exclusive"}, {"worker", "worker exclusive"},
		{"blue-green", "canary", "rolling", "exclusive"},
	}
	if stride > 1 {
		t.Run("any", func(t *testing.T) { checkModel(t, groups) })
		return
	}
	for _, group := range groups {
		t.Run(strings.Join(group, " or "), func(t *testing.T) {
			t.Parallel()
			checkModel(t, [][]string{group})
		})
	}
}

// checkModel draws cases whose releases have strategies of one of the groups.
func checkModel(t *testing.T, groups [][]string) {
	rapid.Check(t, func(rt *rapid.T) {
		c := drawCase(rt, rapid.SampledFrom(groups).Draw(rt, "strategies"))
		if violations := runModel(t, c); len(violations) > 0 {
			rt.Fatalf("%s\n%s", strings.Join(violations, "\n"), c)
		}
	})
}

// model is a case that is being run.
type model struct {
	w      *world
	worker bool
	began  time.Time
	at     string
	// reboots: when the engine dies next, all instances do. frail are the releases
	// whose instances die again and again.
	reboots bool
	frail   map[string]bool
	// replayed is the state by the journal, up to its last event.
	replayed State

	// last and most belong to who holds the service's mu or has nothing moving: the
	// state after the last event, and how many instances were allowed at once since
	// the last check.
	last State
	most int

	mu         sync.Mutex
	violations []string
	// takers are the instances that take requests by the last table, fallback is its
	// release.
	takers   []string
	fallback string
	// harmed: instances may have died or become unready that had traffic.
	harmed bool
}

// runModel lets a case happen in a bubble of its own, and returns what it violated.
// Nothing in the bubble fails the test: rapid wants to see the failure, and try less.
func runModel(t *testing.T, c modelCase) (violations []string) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		m := &model{w: w, began: time.Now(), frail: map[string]bool{}, last: State{Service: "web"}, replayed: State{Service: "web"}}
		w.seen, w.traffic = m.seen, watchedProxy{w.proxy, m}
		w.driver = func(d driver.Driver) driver.Driver { return watchedDriver{d, m} }
		w.close()
		w.restart()
		specs := m.parse(c)
		m.do(specs, modelOp{what: "deploy", script: "is good"})
		m.pass(30 * time.Second)
		for i, op := range c.ops {
			m.at = fmt.Sprintf("%d %s", i, op.what)
			m.do(specs, op)
			m.pass(op.then)
		}
		m.at = "the end"
		m.end()
		m.mu.Lock()
		defer m.mu.Unlock()
		violations = m.violations
	})
	return violations
}

func (m *model) parse(c modelCase) []*spec.Spec {
	var specs []*spec.Spec
	for _, text := range c.specs {
		sp, err := spec.Parse("segue.yaml", []byte(text))
		if err != nil {
			m.w.t.Fatalf("%v in\n%s", err, text)
		}
		m.worker = sp.Listen == spec.ListenNone
		specs = append(specs, sp)
	}
	return specs
}

// violates notes what must not be. Of many only the first few tell something.
func (m *model) violates(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.violations) < 3 {
		m.violations = append(m.violations, fmt.Sprintf("in %s, after %s: ", m.at, time.Since(m.began))+fmt.Sprintf(format, args...))
	}
}

// pass lets time pass. An engine that has died by then is started anew.
func (m *model) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
	if m.dead() {
		m.restart()
	}
	m.check()
}

// dead says whether the engine has crashed.
func (m *model) dead() bool {
	_, err := m.w.journal.Last(m.w.t.Context())
	return errors.Is(err, journal.ErrClosed)
}

// restart starts the engine anew, and with it, after a reboot, all instances.
func (m *model) restart() {
	m.w.ended.Wait()
	m.w.countFrom(0)
	if m.reboots {
		m.reboots = false
		m.harm()
		for _, in := range m.instances() {
			m.w.reboot(in.Release)
		}
	}
	time.Sleep(470 * time.Millisecond)
	m.w.restart()
}

// do lets one thing happen. That a command is refused is right; that it fails is not.
func (m *model) do(specs []*spec.Spec, op modelOp) {
	err := m.command(specs, op)
	refusal, refused := errors.AsType[*Error](err)
	if err == nil || refused && (refusal.Problem != ProblemInvalid || op.what == "scale") {
		return
	}
	synctest.Wait()
	if !m.dead() {
		m.violates("%s: %v", op, err)
	}
}

func (m *model) command(specs []*spec.Spec, op modelOp) (err error) {
	ctx, e, by := m.w.t.Context(), m.w.engine, Actor{By: "tester"}
	number := op.deployment
	st := m.w.engine.stateOf("web")
	if number < 0 {
		number = len(st.Deployments)
	}
	switch op.what {
	case "deploy":
		m.script(st.nextRelease(), op.script)
		_, err = e.Deploy(ctx, Request{Spec: specs[op.spec], Artifact: m.w.upload(), Busy: op.busy, Actor: by})
	case "restart":
		m.script(st.nextRelease(), op.script)
		_, err = e.Restart(ctx, "web", op.busy, by)
	case "rollback":
		_, err = e.Rollback(ctx, "web", "", op.busy, by)
	case "scale":
		_, err = e.Scale(ctx, "web", op.instances, op.busy, by)
	case "abort":
		_, err = e.Abort(ctx, "web", number, by)
	case "pause":
		then := spec.ThenPromote
		if op.abort {
			then = spec.ThenAbort
		}
		_, err = e.Pause(ctx, "web", number, op.limit, then, by)
	case "resume":
		_, err = e.Resume(ctx, "web", number, by)
	case "promote":
		_, err = e.Promote(ctx, "web", number, op.full, by)
	case "hold":
		_, err = e.HoldRequests(ctx, "web", op.limit, spec.Hold{Time: spec.Duration(op.limit), Requests: 10, Bytes: 1 << 20}, by)
	case "release":
		err = e.ReleaseRequests(ctx, "web", by)
	case "freeze":
		_, err = e.FreezeDeploys(ctx, "web", time.Now().Add(op.limit), by)
	case "unfreeze":
		err = e.Unfreeze(ctx, "web", by)
	case "crash", "reboot":
		m.reboots = op.what == "reboot"
		m.crash(op.events)
	case "kill", "flap":
		m.hurt(&st, op)
	}
	return err
}

// crash lets the engine die after so many more events, or now.
func (m *model) crash(events int) {
	m.w.countFrom(events)
	if events == 0 {
		m.w.crash()
	}
}

// hurt kills an instance of a release, or all, or has them unready for a time.
func (m *model) hurt(st *State, op modelOp) {
	release := st.Stable
	if d := st.Current(); d != nil && !op.stable {
		release = d.Candidate
	}
	for _, in := range instancesOf("web", release, m.instances()) {
		switch {
		case op.instance != 0 && op.instance != in.Index:
		case op.what == "kill":
			m.harm()
			m.w.machine.Kill(in.ID)
		default:
			m.fallIll(in, op.limit)
		}
	}
}

// fallIll has an instance that is ready unready for a time.
func (m *model) fallIll(in driver.Instance, limit time.Duration) {
	if in.State != driver.Ready {
		return
	}
	m.harm()
	m.w.machine.SetReady(in.ID, false)
	time.AfterFunc(limit, func() { m.w.machine.SetReady(in.ID, true) })
}

// harm notes that instances may have died that had traffic.
func (m *model) harm() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.harmed = true
}

// script tells how a release will behave.
func (m *model) script(release, name string) {
	s := drivertest.Script{Restarts: -1}
	failing := ""
	switch name {
	case "is ready late":
		s.ReadyAfter = 2300 * time.Millisecond
	case "stops late":
		s.RefuseStop = 1900 * time.Millisecond
	case "dies under traffic":
		s.ExitAfter = 1700 * time.Millisecond
		m.frail[release] = true
		m.harm()
	case "falls ill soon", "falls ill late":
		after := map[string]time.Duration{"falls ill soon": 1900 * time.Millisecond, "falls ill late": 6800 * time.Millisecond}[name]
		time.AfterFunc(after, func() {
			for _, in := range instancesOf("web", release, m.instances()) {
				m.fallIll(in, 3*time.Minute)
			}
		})
	case "dies at once":
		s.NeverReady, s.ExitAfter, s.Restarts = true, 10*time.Millisecond, 2
	case "can't start":
		s.StartError = errors.New("no such command")
	case "is never ready":
		s.NeverReady = true
	case "fails its checks":
		failing = "check"
	case "fails its hooks":
		failing = "hook"
	case "fails now and then":
		tries := 0
		s.Exec = func(context.Context, []string, map[string]string) (string, error) {
			if tries++; tries%3 == 1 {
				return "", errors.New("exit code 1")
			}
			return "", nil
		}
	}
	if failing != "" {
		s.Exec = func(_ context.Context, command []string, _ map[string]string) (string, error) {
			if slices.Contains(command, failing) {
				return "", errors.New("exit code 1")
			}
			return "", nil
		}
	}
	m.w.machine.Script("web", release, s)
}

// instances are those on the machine, whatever the engine knows.
func (m *model) instances() []driver.Instance {
	list, err := drivertest.NewFake(m.w.machine).List(context.Background())
	if err != nil {
		m.violates("list: %v", err)
	}
	return list
}

// end waits until everything has ended that was asked for. Then what was warm goes.
func (m *model) end() {
	deadline := time.Now().Add(time.Hour)
	for !m.settled() {
		if time.Now().After(deadline) {
			waits, err := m.w.engine.Explain(m.w.t.Context(), "web")
			m.violates("it has not ended after an hour: %+v, %v", waits, err)
			return
		}
		m.pass(5 * time.Second)
	}
	// A crash that was to come would leave no time to do what was missed.
	m.w.countFrom(0)
	m.pass(11 * time.Minute)
	m.checkEnd()
	m.checkFreshReplay()
}

// settled says whether nothing is under way.
func (m *model) settled() bool {
	st := m.w.engine.stateOf("web")
	return st.Current() == nil && st.queued() == nil
}

// checkReplay keeps up with the journal: what it gives is the state that the engine has.
func (m *model) checkReplay() {
	records, err := m.w.journal.Read(m.w.t.Context(), journal.Filter{After: m.replayed.LastEvent})
	if err != nil {
		m.violates("read the journal: %v", err)
	}
	for _, r := range records {
		ev, err := eventOf(r)
		if err != nil {
			m.violates("read the journal: %v", err)
		}
		m.replayed = m.replayed.apply(ev)
	}
	m.same("the engine's state and what the journal gives", m.w.engine.stateOf("web"), m.replayed)
}

// checkFreshReplay: so does a new engine.
func (m *model) checkFreshReplay() {
	e := New(Config{Journal: m.w.journal, Logger: slog.New(slog.DiscardHandler)})
	if err := e.replay(m.w.t.Context()); err != nil {
		m.violates("replay: %v", err)
	}
	m.same("the engine's state and a new engine's", m.w.engine.stateOf("web"), e.stateOf("web"))
}

// same violates if two states differ, and tells the lines of the one that the other
// does not have.
func (m *model) same(what string, a, b State) {
	before, after := strings.Split(normal(m.w.t, a), "\n"), strings.Split(normal(m.w.t, b), "\n")
	if slices.Equal(before, after) {
		return
	}
	without := func(lines, others []string) string {
		return strings.Join(slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return slices.Contains(others, l) }), "")
	}
	m.violates("%s differ: %s; and %s", what, without(before, after), without(after, before))
}
