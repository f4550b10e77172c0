package deploy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/journal"
	"github.com/segue-deploy/segue/internal/proxy"
	"github.com/segue-deploy/segue/internal/spec"
)

// bakeTick is how often a bake looks at the counters.
const bakeTick = 250 * time.Millisecond

// bake watches a release under traffic. It fails when an instance dies or stops
// being healthy, or when too many of its answers are errors. Its time counts from
// its intent: the daemon's absence is part of it.
func (s *service) bake(ctx context.Context, d *Deployment, st StepState) (Outcome, error) {
	state := s.snapshot()
	settings := state.Release(st.Release).Spec.Strategy.BlueGreen
	end := st.Began.Add(time.Duration(st.For))
	// Instances may have to start anew if the machine did.
	patience := time.Now()
	if patience.Before(end) {
		patience = end
	}
	patience = patience.Add(time.Duration(state.Release(st.Release).Spec.Health.StartDeadline))
	watch := bakeWatch{settings: settings, restarts: map[string]int{}}
	if err := s.lookBack(ctx, d, &watch, st.Release); err != nil {
		return Outcome{}, err
	}
	changes := s.e.cfg.Driver.Watch(ctx)
	tick := time.NewTicker(bakeTick)
	defer tick.Stop()
	for {
		instances, err := s.instances(ctx, st.Release)
		if err != nil {
			return Outcome{}, err
		}
		if err := watch.instances(instances, st.Began); err != nil {
			return Outcome{}, err
		}
		// A proxy that does not answer just now counts nothing either.
		if stats, err := s.e.stats(ctx); err == nil {
			if err := watch.counters(stats.Epoch, serviceStats(stats, s.name), st.Release); err != nil {
				return Outcome{}, err
			}
		}
		now, all := time.Now(), ready(instances) >= state.Running[st.Release].Instances
		if !now.Before(end) && all {
			return Outcome{Message: watch.String()}, nil
		}
		if now.After(patience) {
			return Outcome{}, fmt.Errorf("at the end of the bake only %d of %s of %s were ready",
				ready(instances), plural(state.Running[st.Release].Instances, "instance"), st.Release)
		}
		select {
		case <-tick.C:
		case <-changes:
		case <-ctx.Done():
			return Outcome{}, context.Cause(ctx)
		}
	}
}

// lookBack begins with what the proxy had counted when the shift was in force, as
// the journal knows, so that nothing which happened while no daemon looked goes
// unseen.
func (s *service) lookBack(ctx context.Context, d *Deployment, watch *bakeWatch, release string) error {
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
			return watch.counters(m.Epoch, m.Stats, release)
		}
	}
	return nil
}

// bakeWatch is what a bake has seen so far.
type bakeWatch struct {
	settings *spec.BlueGreen
	// restarts are each instance's when it was first seen.
	restarts map[string]int
	epoch    string
	base     counts
	// sum holds the counts of earlier runs of the proxy, now those of this one.
	sum, now counts
}

// counts are a release's answers and how many of them were bad.
type counts struct{ total, bad uint64 }

func (c counts) plus(o counts) counts  { return counts{c.total + o.total, c.bad + o.bad} }
func (c counts) minus(o counts) counts { return counts{c.total - o.total, c.bad - o.bad} }

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
	seen := w.sum.plus(w.now)
	if seen.total < uint64(w.settings.MinRequests) || seen.total == 0 {
		return nil
	}
	if share := 100 * float64(seen.bad) / float64(seen.total); share > float64(w.settings.MaxErrors) {
		return fmt.Errorf("%d of %d answers were errors (%.1f %%, at most %v are allowed)", seen.bad, seen.total, share, w.settings.MaxErrors)
	}
	return nil
}

func (w *bakeWatch) String() string {
	seen := w.sum.plus(w.now)
	if seen.total == 0 {
		return "no requests came to judge it by"
	}
	return fmt.Sprintf("%d of %s were errors", seen.bad, plural(int(seen.total), "answer"))
}

// countsOf are a release's answers since the proxy's epoch began. Bad are those
// of class 5xx and those that the release did not complete.
func countsOf(r proxy.ReleaseStats) counts {
	var c counts
	for class, n := range r.Answered {
		c.total += n
		if class == 5 {
			c.bad += n
		}
	}
	failed := r.Failed.Sum() - r.Failed.Cut
	return counts{c.total + failed, c.bad + failed}
}
