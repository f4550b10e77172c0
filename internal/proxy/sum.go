package proxy

import "cmp"

// plus returns the sums of what two proxies have counted, with the states and the name of
// the epoch of s.
func (s Stats) plus(o Stats) Stats {
	s.Table = max(s.Table, o.Table)
	s.ConnectionsOpen += o.ConnectionsOpen
	s.ConnectionsAccepted += o.ConnectionsAccepted
	s.Unrouted += o.Unrouted
	s.Malformed += o.Malformed
	s.LogDropped += o.LogDropped
	s.Services = join(s.Services, o.Services,
		func(a, b ServiceStats) int { return cmp.Compare(a.Name, b.Name) }, ServiceStats.plus)
	return s
}

func (s ServiceStats) plus(o ServiceStats) ServiceStats {
	s.Held = s.Held.plus(o.Held)
	s.Queued = s.Queued.plus(o.Queued)
	s.Mirror = s.Mirror.plus(o.Mirror)
	s.Releases = join(s.Releases, o.Releases, func(a, b ReleaseStats) int {
		return cmp.Or(cmp.Compare(len(a.ID), len(b.ID)), cmp.Compare(a.ID, b.ID)) // r9 before r10
	}, func(a, b ReleaseStats) ReleaseStats {
		sum := a.plus(b)
		sum.Upstreams = joinUpstreams(a.Upstreams, b.Upstreams)
		return sum
	})
	return s
}

// joinUpstreams adds what another proxy has in flight. Whether an upstream is healthy is
// said by the one that chooses it now.
func joinUpstreams(a, b []UpstreamStats) []UpstreamStats {
	inFlight := make(map[string]int64, len(b))
	for _, u := range b {
		inFlight[u.ID] += u.InFlight
	}
	all := make([]UpstreamStats, len(a))
	for i, u := range a {
		u.InFlight += inFlight[u.ID]
		all[i] = u
	}
	return all
}

func (h HeldStats) plus(o HeldStats) HeldStats {
	h.Now += o.Now
	h.Total += o.Total
	h.LetGo += o.LetGo
	h.Expired += o.Expired
	h.Gone += o.Gone
	h.Longest = max(h.Longest, o.Longest)
	return h
}

func (m MirrorStats) plus(o MirrorStats) MirrorStats {
	m.Sent += o.Sent
	m.Dropped += o.Dropped
	m.Failed += o.Failed
	m.Same += o.Same
	m.Different += o.Different
	m.Uncompared += o.Uncompared
	return m
}

// join merges two ordered lists; what is in both is added up.
func join[T any](a, b []T, order func(T, T) int, add func(T, T) T) []T {
	all := make([]T, 0, max(len(a), len(b)))
	for len(a) > 0 && len(b) > 0 {
		switch c := order(a[0], b[0]); {
		case c < 0:
			all, a = append(all, a[0]), a[1:]
		case c > 0:
			all, b = append(all, b[0]), b[1:]
		default:
			all, a, b = append(all, add(a[0], b[0])), a[1:], b[1:]
		}
	}
	return append(append(all, a...), b...)
}

// since returns what s counted after zero.
func (s Stats) since(zero Stats) Stats {
	s.ConnectionsAccepted -= zero.ConnectionsAccepted
	s.Unrouted -= zero.Unrouted
	s.Malformed -= zero.Malformed
	s.LogDropped -= zero.LogDropped
	for i, svc := range s.Services {
		for _, z := range zero.Services {
			if z.Name == svc.Name {
				s.Services[i] = svc.since(z)
			}
		}
	}
	return s
}

func (s ServiceStats) since(zero ServiceStats) ServiceStats {
	s.Held = s.Held.Minus(zero.Held)
	s.Queued = s.Queued.Minus(zero.Queued)
	s.Mirror = s.Mirror.Minus(zero.Mirror)
	for i, r := range s.Releases {
		for _, z := range zero.Releases {
			if z.ID == r.ID {
				s.Releases[i] = r.Minus(z)
			}
		}
	}
	return s
}

// asZero returns s as that from which an epoch counts: what is in flight then is counted as
// if it had begun in it, so that the identities hold from the beginning.
func (s Stats) asZero() Stats {
	for i := range s.Services {
		svc := &s.Services[i]
		svc.Held.Total -= uint64(svc.Held.Now)
		svc.Queued.Total -= uint64(svc.Queued.Now)
		svc.Mirror.Sent = svc.Mirror.Ended()
		for j := range svc.Releases {
			svc.Releases[j].Accepted -= uint64(svc.Releases[j].InFlight)
		}
	}
	return s
}

// finished returns s without what is true only while its proxy lives.
func (s Stats) finished() Stats {
	for i := range s.Services {
		s.Services[i].Held.Longest = 0
		s.Services[i].Queued.Longest = 0
		for j := range s.Services[i].Releases {
			s.Services[i].Releases[j].Upstreams = nil
		}
	}
	return s
}
