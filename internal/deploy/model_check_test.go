package deploy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/proxy"
	"github.com/segue-deploy/segue/internal/spec"
)

// What must be true, whatever happens. At each event: [model.seen]. At each table:
// [watchedProxy]. When an instance is told to stop: [watchedDriver]. When nothing
// moves: [model.check]. When nothing was asked for a long time: [model.checkEnd].

// seen holds the state after an event against the one before it. The service's mu is
// held.
func (m *model) seen(ev Event) {
	st := m.w.engine.stateOf("web")
	m.most = max(m.most, mostOf(&st))
	current := 0
	for _, d := range st.Deployments {
		if d.Phase == PhaseRunning || d.Phase == PhaseTakingBack {
			current++
		}
		m.seenDeployment(ev, d)
	}
	if current > 1 {
		m.violates("%d deployments are under way at once", current)
	}
	sum := 0
	for _, w := range st.Weights {
		sum += w
	}
	if len(st.Weights) > 0 && sum != 100 {
		m.violates("the weights %v sum to %d after %s", st.Weights, sum, ev.Kind())
	}
	if st.Stable != m.last.Stable && (st.Stable == "" || ev.Kind() != "finished") {
		m.violates("stable went from %s to %s by %s", m.last.Stable, st.Stable, ev.Kind())
	}
	if f, is := ev.Body.(Finished); is && f.Phase != PhasePromoted && st.Stable != m.last.Stable && m.readyOf(m.last.Stable) > 0 {
		m.violates("d%d ended %s, and its candidate is stable though %s is ready", ev.Deployment, f.Phase, m.last.Stable)
	}
	m.last = st
}

// readyOf is how many instances of a release are ready.
func (m *model) readyOf(release string) int {
	return ready(instancesOf("web", release, m.instances()))
}

// seenDeployment: a phase is followed by those that may follow it, and what has ended
// changes no more.
func (m *model) seenDeployment(ev Event, d *Deployment) {
	before := m.last.Deployment(d.Number)
	if before == d || before == nil {
		return
	}
	next := map[Phase][]Phase{
		PhaseQueued:     {PhaseQueued, PhaseRunning, PhaseAborted},
		PhaseRunning:    {PhaseRunning, PhaseTakingBack, PhasePromoted},
		PhaseTakingBack: {PhaseTakingBack, PhaseFailed, PhaseAborted},
	}[before.Phase]
	switch {
	case before.Phase.Final():
		one := func(d *Deployment) State { return State{Deployments: []*Deployment{d}} }
		m.same(fmt.Sprintf("%s before and after %s, which had ended,", d.ID, ev.Kind()), one(before), one(d))
	case !slices.Contains(next, d.Phase):
		m.violates("%s went from %s to %s", d.ID, before.Phase, d.Phase)
	}
}

// mostOf is how many instances of the service the plan under way allows to live at
// once.
func mostOf(s *State) int {
	d := s.Current()
	most := 0
	for id, r := range s.Running {
		if d == nil || id != d.Candidate && id != d.Stable {
			most += r.Instances + r.Leaving
		}
	}
	if d == nil {
		return most
	}
	target := s.targetOf(d)
	strategy := s.Release(d.Candidate).Spec.Strategy
	// One that was warm may have had more than its spec says, by a scale.
	there := s.Running[d.Candidate]
	candidate := max(target, there.Instances+there.Leaving)
	switch {
	case d.Candidate != d.Stable && !d.WarmUntil.IsZero():
		// It ran beside stable already, whatever its strategy says.
	case d.Candidate == d.Stable, strategy.Exclusive != nil, strategy.Worker != nil && strategy.Worker.Order == spec.OrderExclusive:
		return most + max(d.StableInstances, candidate)
	case strategy.Rolling != nil && d.Stable != "":
		return most + max(boundsOf(strategy.Rolling, target, d.StableInstances).most, boundsOf(strategy.Rolling, d.StableInstances, target).most)
	}
	return most + d.StableInstances + candidate
}

// targetOf is how many instances a deployment's candidate is to have.
func (s *State) targetOf(d *Deployment) int {
	if d.Kind == KindScale {
		return d.Instances
	}
	return s.Release(d.Candidate).Spec.Instances
}

// fewestOf is how many instances must take requests at any time, as long as none dies.
func fewestOf(s *State) int {
	d := s.Current()
	if d == nil {
		return s.Running[s.Stable].Instances
	}
	target := s.targetOf(d)
	strategy := s.Release(d.Candidate).Spec.Strategy
	fewest := min(d.StableInstances, target)
	switch {
	case d.Stable == "" || strategy.Exclusive != nil || strategy.Worker != nil:
		return 0
	case strategy.Rolling != nil && d.Candidate != d.Stable && d.WarmUntil.IsZero():
		fewest = min(fewest, boundsOf(strategy.Rolling, target, d.StableInstances).fewest)
		if d.Phase == PhaseTakingBack {
			// Half of stable may get all traffic at once.
			fewest = min(fewest, (d.StableInstances+1)/2, boundsOf(strategy.Rolling, d.StableInstances, target).fewest)
		}
	}
	return fewest
}

// watchedProxy looks at every table before the proxy does.
type watchedProxy struct {
	*proxy.Proxy
	m *model
}

func (p watchedProxy) Apply(ctx context.Context, t proxy.Table) error {
	p.m.seenTable(t)
	err := p.Proxy.Apply(ctx, t)
	if err != nil && ctx.Err() == nil {
		p.m.violates("the proxy refuses table %d: %v", t.Version, err)
	}
	return err
}

func (p watchedProxy) Drain(ctx context.Context, service, release string, times proxy.DrainTimes) (proxy.DrainResult, error) {
	p.m.seenDrain(release)
	result, err := p.Proxy.Drain(ctx, service, release, times)
	if err != nil && ctx.Err() == nil {
		p.m.violates("the proxy refuses to drain %s: %v", release, err)
	}
	return result, err
}

// seenDrain looks at the drain of a release, not of some of its instances: nothing new
// may come to it.
func (m *model) seenDrain(release string) {
	m.mu.Lock()
	fallback := m.fallback
	m.mu.Unlock()
	st := m.w.engine.stateOf("web")
	if d := st.Current(); d != nil && release == fallback && d.leaves(release) {
		m.violates("%s is drained, but is the fallback", release)
	}
}

func (m *model) seenTable(t proxy.Table) {
	st := m.w.engine.stateOf("web")
	held := false
	fallback := ""
	for _, svc := range t.Services {
		fallback = svc.Fallback
		sum := 0
		for _, r := range svc.Releases {
			sum += r.Weight
		}
		if sum != 100 && sum != 0 {
			m.violates("table %d has weights that sum to %d", t.Version, sum)
		}
		held = held || svc.Hold != nil && st.Taking != nil
		if d := st.Current(); svc.Fallback != "" && (d == nil || svc.Fallback != d.Stable || st.Release(d.Candidate).Spec.Strategy.Exclusive != nil) {
			m.violates("table %d falls back to %s: %s", t.Version, svc.Fallback, summary(t))
		}
	}
	takers := takersOf(t)
	m.mu.Lock()
	harmed, before := m.harmed, m.takers
	m.takers, m.fallback = takers, fallback
	m.mu.Unlock()
	// A stable all of whose instances have died has nobody to answer for it.
	d := st.Current()
	if outages := outagesOf(t); len(outages) > 0 && !held && (!harmed || d != nil && d.Stable != "" && st.weighs(t, d.Candidate)) {
		m.violates("all requests go to who is not there: %s", summary(t))
	}
	if fewest := fewestOf(&st); !held && !harmed && len(takers) < fewest && len(before) >= fewest {
		m.violates("table %d leaves %v to take requests, at least %d should: %v", t.Version, takers, fewest, summary(t))
	}
	if len(takers) > 0 || held || fewestOf(&st) == 0 {
		return
	}
	for _, in := range m.instances() {
		// One that is leaving may be all that is left of a release whose others have died.
		stays := !harmed || in.Index <= st.Running[in.Release].Instances
		// One that is ready from this instant on is for the next table.
		if in.State == driver.Ready && in.ReadySince.Before(time.Now()) && stays && slices.Contains(before, in.ID) {
			m.violates("table %d leaves nobody to take requests, though %s is ready: %s", t.Version, in.ID, summary(t))
		}
	}
}

// weighs says whether a table gives some requests to a release that is not stable.
func (s *State) weighs(t proxy.Table, release string) bool {
	for _, svc := range t.Services {
		for _, r := range svc.Releases {
			if r.ID == release && r.ID != s.Stable && r.Weight > 0 {
				return true
			}
		}
	}
	return false
}

// takersOf are the instances that take requests by a table.
func takersOf(t proxy.Table) []string {
	var takers []string
	for _, svc := range t.Services {
		for _, r := range svc.Releases {
			for _, up := range r.Upstreams {
				if r.Weight > 0 {
					takers = append(takers, up.ID)
				}
			}
		}
	}
	return takers
}

// summary is a table in short.
func summary(t proxy.Table) string {
	var parts []string
	for _, svc := range t.Services {
		for _, r := range svc.Releases {
			parts = append(parts, fmt.Sprintf("%s has %d %% and %d upstreams", r.ID, r.Weight, len(r.Upstreams)))
		}
		if svc.Hold != nil {
			parts = append(parts, "held")
		}
	}
	return strings.Join(parts, ", ")
}

// watchedDriver sees to it that no instance is told to stop that takes requests.
type watchedDriver struct {
	driver.Driver
	m *model
}

func (d watchedDriver) Ensure(ctx context.Context, r driver.Release, n int) error {
	d.m.seenStop(r.ID, n)
	return d.Driver.Ensure(ctx, r, n)
}

func (d watchedDriver) Remove(ctx context.Context, service, release string) error {
	d.m.seenStop(release, 0)
	return d.Driver.Remove(ctx, service, release)
}

func (m *model) seenStop(release string, left int) {
	m.mu.Lock()
	takers := m.takers
	m.mu.Unlock()
	st := m.w.engine.stateOf("web")
	for _, in := range m.instances() {
		if in.Release == release && in.Index > left && in.State == driver.Ready && slices.Contains(takers, in.ID) && st.Taking == nil {
			m.violates("%s is told to stop while it takes requests", in.ID)
		}
	}
}

// check holds the world against what is true whenever nothing moves.
func (m *model) check() {
	w := m.w
	st := w.engine.stateOf("web")
	if got := w.machine.MostAliveOf("web"); got > m.most {
		m.violates("%d instances lived at once, at most %d may", got, m.most)
	}
	for _, pair := range w.machine.Together("web") {
		if a, b := st.Release(pair[0]), st.Release(pair[1]); a.ID != b.ID && runsAlone(a) && runsAlone(b) {
			m.violates("%s and %s ran at once", a.ID, b.ID)
		}
	}
	w.machine.ResetMost("web")
	m.most = mostOf(&st)
	m.checkWaits(&st)
	m.checkUpstreams(&st)
	m.checkReplay()
	if _, err := w.engine.Status(w.t.Context(), "web"); err != nil {
		m.violates("status: %v", err)
	}
}

func runsAlone(r *Release) bool {
	s := r.Spec.Strategy
	return s.Exclusive != nil || s.Worker != nil && s.Worker.Order == spec.OrderExclusive
}

// checkWaits: what a deployment waits for is known, and has a deadline.
func (m *model) checkWaits(st *State) {
	waits, err := m.w.engine.Explain(m.w.t.Context(), "web")
	if err != nil {
		m.violates("explain: %v", err)
	}
	if d := st.Current(); d != nil && (len(waits) == 0 || waits[0].Until.IsZero()) {
		m.violates("%s is under way, and waits without a deadline: %+v, steps %+v", d.ID, waits, d.Steps)
	}
	retiring := slices.ContainsFunc(slices.Collect(maps.Values(st.Running)), func(r Running) bool { return r.Retiring })
	if d := st.queued(); d != nil && st.Current() == nil && !retiring {
		m.violates("%s has its turn, and does not begin", d.ID)
	}
}

// checkUpstreams: by the table in force requests go to those that are ready, to all of
// them, and to others only where none is.
func (m *model) checkUpstreams(st *State) {
	t := m.w.engine.table.last
	if !m.w.engine.table.known {
		m.violates("which table is in force is not known")
		return
	}
	for _, svc := range t.Services {
		for _, r := range svc.Releases {
			if r.Weight > 0 {
				m.checkRelease(st, r)
			}
		}
	}
}

func (m *model) checkRelease(st *State, r proxy.Release) {
	var want []string
	for _, state := range []driver.State{driver.Ready, driver.Unready} {
		for _, in := range m.instances() {
			if in.Release == r.ID && in.State == state && in.Index <= st.Running[r.ID].Instances {
				want = append(want, in.ID)
			}
		}
		if len(want) > 0 {
			break
		}
	}
	var got []string
	for _, up := range r.Upstreams {
		got = append(got, up.ID)
	}
	if !slices.Equal(got, want) {
		m.violates("requests for %s go to %v, ready are %v", r.ID, got, want)
	}
}

// checkEnd holds the world against what is true when everything has ended, and what
// was warm is retired.
func (m *model) checkEnd() {
	st := m.w.engine.stateOf("web")
	if st.Taking != nil || st.Previewing || st.Shifting != nil || st.Hold != nil {
		m.violates("something is left over: %+v", st)
	}
	for id, r := range st.Running {
		if id != st.Stable || r.Retiring || r.Leaving > 0 || !r.WarmUntil.IsZero() {
			m.violates("of %s runs %+v at the end, stable is %s", id, r, st.Stable)
		}
	}
	for _, in := range m.instances() {
		if _, wanted := st.Running[in.Release]; !wanted {
			m.violates("%s lives, and nothing wants it", in.ID)
		}
	}
	if st.Stable == "" || m.frail[st.Stable] {
		return
	}
	if got, want := m.w.machine.Alive("web", st.Stable), st.Running[st.Stable].Instances; got != want || got == 0 {
		m.violates("%d instances of %s live, want %d", got, st.Stable, want)
	}
	if !m.worker && !maps.Equal(m.w.inForce(), map[string]int{st.Stable: 100}) {
		m.violates("in force is %v, stable is %s", m.w.inForce(), st.Stable)
	}
}
