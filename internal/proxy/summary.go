package proxy

import (
	"cmp"
	"slices"
	"time"
)

// summary sums up what the loops have counted. Each loop's part is true in itself at one
// time, and so is their sum.
type summary struct {
	releases map[accountKey]ReleaseStats
	inFlight map[*upstream]int64
	// now is when the summary is made, on the proxy's own clock.
	now time.Duration
}

func newSummary(now time.Duration) *summary {
	return &summary{now: now, releases: make(map[accountKey]ReleaseStats), inFlight: make(map[*upstream]int64)}
}

// add adds what a loop has counted. Its lock is held.
func (s *summary) add(r *registry) {
	for key, a := range r.accounts {
		s.releases[key] = a.snapshot(s.now).plus(s.releases[key])
	}
	for _, p := range r.pools {
		s.inFlight[p.upstream] += p.inFlight
	}
}

// services returns what was counted of the releases that got a request or stand in a
// table, ordered by service and release.
func (s *summary) services(c *compiled) []ServiceStats {
	all := []ServiceStats{}
	keys := make([]accountKey, 0, len(s.releases))
	for key := range s.releases {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b accountKey) int {
		return cmp.Or(
			cmp.Compare(a.service, b.service),
			cmp.Compare(len(a.release), len(b.release)), // r9 before r10
			cmp.Compare(a.release, b.release),
		)
	})
	for _, key := range keys {
		r, rel := s.releases[key], c.service(key.service).release(key.release)
		if rel == nil && r.Accepted == 0 {
			continue
		}
		r.Upstreams = s.upstreams(rel)
		if n := len(all); n == 0 || all[n-1].Name != key.service {
			all = append(all, ServiceStats{Name: key.service})
		}
		last := &all[len(all)-1]
		last.Releases = append(last.Releases, r)
	}
	return all
}

func (s *summary) upstreams(r *release) []UpstreamStats {
	all := []UpstreamStats{}
	if r == nil {
		return all
	}
	for _, p := range r.pools {
		u := p.upstream
		all = append(all, UpstreamStats{ID: u.id, Healthy: u.condition.healthy.Load(), InFlight: s.inFlight[u], Message: u.condition.why()})
	}
	return all
}

// plus returns the sums of r and what another loop has counted of the same release.
func (r ReleaseStats) plus(o ReleaseStats) ReleaseStats {
	r.Accepted += o.Accepted
	r.InFlight += o.InFlight
	r.Upgraded += o.Upgraded
	for i, n := range o.Answered {
		r.Answered[i] += n
	}
	r.Failed = r.Failed.Plus(o.Failed)
	r.ClientGone += o.ClientGone
	r.Rerouted += o.Rerouted
	r.Shed += o.Shed
	r.Retried += o.Retried
	r.RetryRefused += o.RetryRefused
	r.Replayed += o.Replayed
	r.Drained = r.Drained.Plus(o.Drained)
	r.Departed = r.Departed.Plus(o.Departed)
	r.Latency = r.Latency.Plus(o.Latency)
	r.Scores = PlusScores(r.Scores, o.Scores)
	return r
}
