package deploy

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/segue-deploy/segue/internal/proxy"
)

const (
	// sampleEvery is how often the counters are read, sampleFor how far back
	// they are kept: what was "before" a deployment.
	sampleEvery = 5 * time.Second
	sampleFor   = time.Minute
)

// samples are the proxy's counters of the last minute, oldest first.
type samples struct {
	mu  sync.Mutex
	all []proxy.Stats
}

// sample reads the counters from time to time, keeps them, and journals them for
// services with a deployment under way.
func (e *Engine) sample(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		stats, err := e.stats(ctx)
		if err != nil {
			continue // The proxy is being started again; the next tick will tell.
		}
		e.samples.add(stats)
		for _, s := range e.all() {
			s.measureDuring(ctx, stats)
		}
	}
}

func (s *samples) add(stats proxy.Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := slices.IndexFunc(s.all, func(o proxy.Stats) bool { return o.Epoch == stats.Epoch && stats.Age-o.Age <= sampleFor })
	if old < 0 {
		old = len(s.all)
	}
	s.all = append(slices.Clone(s.all[old:]), stats)
}

// since returns the oldest sample of the same epoch that is not older than a
// minute.
func (s *samples) since(now proxy.Stats) (proxy.Stats, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.all {
		if o.Epoch == now.Epoch && now.Age-o.Age <= sampleFor {
			return o, true
		}
	}
	return proxy.Stats{}, false
}

// measureDuring journals counters while a deployment is under way.
func (s *service) measureDuring(ctx context.Context, stats proxy.Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.state.Current()
	if d == nil {
		return
	}
	if err := s.commitLocked(ctx, entry{d.Number, s.measured(stats, MomentDuring)}); err != nil {
		s.log.Warn("journal the counters", "error", err)
	}
}

// measure reads the counters at a moment. Without a proxy that answers there is
// nothing to journal, and the receipt says so.
func (s *service) measure(ctx context.Context, moment Moment) []Body {
	stats, err := s.e.stats(ctx)
	if err != nil {
		s.log.Warn("the proxy's counters can't be read", "moment", moment, "error", err)
		return nil
	}
	return []Body{s.measured(stats, moment)}
}

// measureBegin also looks back to how it was before.
func (s *service) measureBegin(ctx context.Context) []Body {
	began := s.measure(ctx, MomentBegan)
	if len(began) == 0 {
		return nil
	}
	m := began[0].(Measured)
	if before, ok := s.e.samples.since(proxy.Stats{Epoch: m.Epoch, Age: m.Age}); ok {
		return []Body{s.measured(before, MomentBefore), m}
	}
	return began
}

// measured leaves out the releases of earlier deployments, whose counters stand
// still.
func (s *service) measured(stats proxy.Stats, moment Moment) Measured {
	st := s.snapshot()
	d := st.Current()
	if d == nil {
		d = st.queued()
	}
	svc := serviceStats(stats, s.name)
	svc.Releases = slices.DeleteFunc(slices.Clone(svc.Releases), func(r proxy.ReleaseStats) bool {
		_, runs := st.Running[r.ID]
		ours := d != nil && (r.ID == d.Candidate || r.ID == d.Stable)
		return r.ID != "" && !runs && !ours && r.InFlight == 0
	})
	return Measured{Moment: moment, Epoch: stats.Epoch, TakenAt: stats.At, Age: stats.Age, Stats: svc}
}

func serviceStats(stats proxy.Stats, service string) proxy.ServiceStats {
	for _, s := range stats.Services {
		if s.Name == service {
			return s
		}
	}
	return proxy.ServiceStats{Name: service}
}
