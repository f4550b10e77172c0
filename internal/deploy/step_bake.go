package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/segue-deploy/segue/internal/analysis"
	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/journal"
	"github.com/segue-deploy/segue/internal/proxy"
	"github.com/segue-deploy/segue/internal/spec"
)

const (
	// bakeTick is how often a bake looks at the counters.
	bakeTick = 250 * time.Millisecond
	// deathNotice is how long it may take until the driver tells of a death that
	// requests have met already, and deathTick how often it is asked meanwhile.
	deathNotice = 500 * time.Millisecond
	deathTick   = 50 * time.Millisecond
	// approveDeadline is how long a deployment stands whose analysis is inconclusive.
	approveDeadline = time.Hour
)

// bake watches a release under traffic. It fails when an instance dies or stops
// being healthy, or when too many of its answers are errors. Its time counts from
// its intent: the daemon's absence is part of it.
func (s *service) bake(ctx context.Context, d *Deployment, st StepState) (Outcome, error) {
	if d.Full {
		return Outcome{Message: "skipped, since the deployment was promoted in full"}, nil
	}
	watch, err := s.watch(ctx, d, st.Began, st.Began.Add(time.Duration(st.For)), st.Early)
	if err != nil {
		return Outcome{}, err
	}
	if watch.judging == nil || !s.compares(d) {
		return Outcome{Message: watch.String()}, nil
	}
	return s.concluded(ctx, d, &watch)
}

// compares says whether the candidate has traffic beside stable.
func (s *service) compares(d *Deployment) bool {
	state := s.snapshot()
	weight := state.Weights[d.Candidate]
	return 0 < weight && weight < 100
}

// concluded ends a bake whose analysis hasn't failed. One that has not come to a verdict
// does what the spec says.
func (s *service) concluded(ctx context.Context, d *Deployment, watch *bakeWatch) (Outcome, error) {
	if err := s.keepFinding(ctx, d, watch.judging); err != nil {
		return Outcome{}, err
	}
	f := watch.judging.finding()
	message := fmt.Sprintf("%s; the analysis says %s: %s", watch, f.Verdict, f.Reason)
	if f.Verdict == analysis.Pass {
		return Outcome{Message: message}, nil
	}
	switch watch.judging.spec.Inconclusive {
	case spec.InconclusiveAbort:
		return Outcome{}, errors.New("analysis: inconclusive at the end of the bake: " + f.Reason)
	case spec.InconclusiveApprove:
		s.mu.Lock()
		defer s.mu.Unlock()
		if now := s.state.Deployment(d.Number); now.Paused != nil {
			break
		}
		pause := PauseRequested{Until: time.Now().Add(approveDeadline), Then: spec.ThenAbort, Actor: itself("the analysis is inconclusive")}
		if err := s.commitLocked(ctx, entry{d.Number, pause}); err != nil {
			return Outcome{}, err
		}
	}
	return Outcome{Message: message}, nil
}

// watch looks at a deployment's candidate until a time, and until all its instances
// are ready. It fails when an instance has died since the watch began or is not
// healthy, or when too many of its answers are errors.
//
// Early ends it as soon as the deployment's analysis passes.
func (s *service) watch(ctx context.Context, d *Deployment, since, until time.Time, early bool) (bakeWatch, error) {
	state := s.snapshot()
	candidate := state.Release(d.Candidate)
	watch := bakeWatch{settings: candidate.Spec.Guard, restarts: map[string]int{}}
	err := s.lookBack(ctx, d, &watch)
	if err != nil {
		return watch, err
	}
	if watch.judging, err = s.judging(ctx, d); err != nil {
		return watch, err
	}
	defer watch.judging.ask(ctx)()
	// Instances may have to start anew if the machine did.
	patience := until
	if now := time.Now(); now.After(until) {
		patience = now
	}
	patience = patience.Add(time.Duration(candidate.Spec.Health.StartDeadline))
	changes := s.e.cfg.Driver.Watch(ctx)
	tick := time.NewTicker(bakeTick)
	defer tick.Stop()
	for {
		all, err := s.look(ctx, d, &watch, since)
		if err != nil {
			return watch, err
		}
		now := time.Now()
		if all && (!now.Before(until) || early && watch.passed()) {
			return watch, nil
		}
		if now.After(patience) {
			return watch, fmt.Errorf("at the end not all instances of %s were ready", candidate.ID)
		}
		select {
		case <-tick.C:
		case <-changes:
		case a := <-watch.judging.heard():
			watch.judging.hear(a)
			if f := watch.judging.finding(); f.Verdict == analysis.Fail {
				return watch, errors.Join(errors.New("analysis: "+f.Reason), s.keepFinding(ctx, d, watch.judging))
			}
		case <-ctx.Done():
			return watch, context.Cause(ctx)
		}
	}
}

// look is one look at the candidate. It says whether all instances are ready that
// should be; of one that does not run, or is going, none should.
func (s *service) look(ctx context.Context, d *Deployment, watch *bakeWatch, since time.Time) (all bool, err error) {
	state, candidate := s.snapshot(), d.Candidate
	running, runs := state.Running[candidate]
	if !runs || running.Retiring {
		return true, nil
	}
	list, err := s.e.cfg.Driver.List(ctx)
	if err != nil {
		return false, fmt.Errorf("list instances: %w", err)
	}
	instances := state.counted(candidate, list)
	if err := watch.instances(instances, since); err != nil {
		return false, err
	}
	// A proxy that does not answer just now counts nothing either.
	if stats, err := s.e.stats(ctx); err == nil {
		if err := watch.counters(stats.Epoch, serviceStats(stats, s.name), candidate); err != nil {
			return false, s.cause(ctx, watch, candidate, since, err)
		}
		if err := s.judge(ctx, d, watch.judging, stats); err != nil {
			return false, err
		}
	}
	return ready(instances) >= running.Instances, nil
}

// cause looks at the instances once more when answers were errors: one that has died
// since explains them. Where answers are missing, a death may take a moment to be known.
func (s *service) cause(ctx context.Context, watch *bakeWatch, candidate string, since time.Time, errs error) error {
	until := time.Now().Add(deathNotice)
	for {
		list, err := s.e.cfg.Driver.List(ctx)
		if err != nil {
			return errs
		}
		state := s.snapshot()
		if err := watch.instances(state.counted(candidate, list), since); err != nil {
			return err
		}
		if watch.seen().missing == 0 || !time.Now().Before(until) {
			return errs
		}
		select {
		case <-time.After(deathTick):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// lookBack begins with what the proxy had counted when the shift was in force, as
// the journal knows, so that nothing which happened while no daemon looked goes
// unseen.
func (s *service) lookBack(ctx context.Context, d *Deployment, watch *bakeWatch) error {
	records, err := s.e.cfg.Journal.Read(ctx, journal.Filter{Service: s.name, Deployment: d.Number})
	if err != nil {
		return err
	}
	for _, r := range slices.Backward(records) {
		if r.Kind != (Measured{}).kind() {
			continue
		}
		ev, err := eventOf(r)
		if err != nil {
			return err
		}
		if m := ev.Body.(Measured); m.Moment == MomentShifted {
			return watch.counters(m.Epoch, m.Stats, d.Candidate)
		}
	}
	return nil
}

// bakeWatch is what a bake has seen so far.
type bakeWatch struct {
	settings spec.Guard
	// restarts are each instance's when it was first seen.
	restarts map[string]int
	epoch    string
	base     counts
	// sum holds the counts of earlier runs of the proxy, now those of this one.
	sum, now counts
	// judging is the deployment's analysis, or nil.
	judging *judging
}

// passed says whether the analysis lets the candidate pass.
func (w *bakeWatch) passed() bool {
	return w.judging != nil && w.judging.finding().Verdict == analysis.Pass
}

// counts are a release's answers, how many of them were bad, and of these how many were
// missing.
type counts struct{ total, bad, missing uint64 }

func (c counts) plus(o counts) counts {
	return counts{c.total + o.total, c.bad + o.bad, c.missing + o.missing}
}

func (c counts) minus(o counts) counts {
	return counts{c.total - o.total, c.bad - o.bad, c.missing - o.missing}
}

// instances fails when one has died or is not healthy.
func (w *bakeWatch) instances(instances []driver.Instance, since time.Time) error {
	for _, in := range instances {
		first, seen := w.restarts[in.ID]
		if !seen {
			first = in.Restarts
			w.restarts[in.ID] = first
		}
		if in.State == driver.Failed {
			return &instanceError{in.ID, in.Message}
		}
		died := in.Restarts > first || in.State == driver.Backoff
		// Started again since the bake began: it died while nobody looked.
		if died || in.Restarts > 0 && in.Started.After(since) {
			return &instanceError{in.ID, "died under traffic: " + in.Message}
		}
		if in.State == driver.Unready {
			return &instanceError{in.ID, "is not healthy under traffic: " + in.Message}
		}
	}
	return nil
}

// counters fails when the share of bad answers is over the limit.
func (w *bakeWatch) counters(epoch string, stats proxy.ServiceStats, release string) error {
	now := countsOf(releaseOf(stats, release))
	if epoch != w.epoch {
		first := w.epoch == ""
		w.epoch, w.sum, w.base = epoch, w.sum.plus(w.now), counts{}
		if first {
			w.base = now
		}
	}
	w.now = now.minus(w.base)
	seen := w.seen()
	if seen.total < uint64(w.settings.MinRequests) || seen.total == 0 {
		return nil
	}
	share := 100 * float64(seen.bad) / float64(seen.total)
	if share <= float64(w.settings.MaxErrors) {
		return nil
	}
	missing := ""
	if seen.missing > 0 {
		missing = fmt.Sprintf(", of which %d were missing", seen.missing)
	}
	return fmt.Errorf("%d of %d answers were errors%s (%.1f %%, at most %v are allowed)", seen.bad, seen.total, missing, share, w.settings.MaxErrors)
}

// seen counts over all runs of the proxy.
func (w *bakeWatch) seen() counts { return w.sum.plus(w.now) }

func (w *bakeWatch) String() string {
	seen := w.seen()
	if seen.total == 0 {
		return "no requests came to judge it by"
	}
	return fmt.Sprintf("%d of %s were errors", seen.bad, plural(int(seen.total), "answer"))
}

// countsOf are a release's answers since the proxy's epoch began. Bad are those
// of class 5xx and those that are missing: the release did not complete them, had no
// room for them, or another had to answer for it.
func countsOf(r proxy.ReleaseStats) counts {
	var c counts
	for class, n := range r.Answered {
		c.total += n
		if class == 5 {
			c.bad += n
		}
	}
	missing := r.Failed.Sum() - r.Failed.Cut + r.Rerouted + r.Shed
	return counts{c.total + missing, c.bad + missing, missing}
}
