package proxy

import "slices"

// chooseFor picks a release for a request: the candidate if a rule says so, the one
// that the client keeps to, or one by weight. It leaves out those that the request
// has left, and returns nil when none of the others takes it.
func (s *service) chooseFor(f *flight, random func(n int) int) *release {
	if s.match != nil && !slices.Contains(f.left, s.match.candidate.account) && s.match.chooses(s.match.candidate, f) {
		return s.match.candidate
	}
	return s.drawn(f, s.drawFor(f, random))
}

// drawFor picks the release that a client keeps to, or one by weight.
func (s *service) drawFor(f *flight, random func(n int) int) *release {
	f.session = 0 // It may come from a table of before.
	if s.sticky == nil || len(f.left) > 0 {
		return s.choose(f.left, random)
	}
	client := s.sticky.client(f)
	if client == "" {
		return s.choose(nil, random)
	}
	var candidate bool
	if candidate, f.session = s.sticky.toCandidate(client); candidate {
		return s.sticky.candidate
	}
	return s.choose([]*account{s.sticky.candidate.account}, random)
}

// choose picks a release by weight, leaving out those that were left already; the
// fallback when none of the others has a weight; and nil when there is neither. A sick
// release isn't passed over: what it can't take has to be counted as its own.
func (s *service) choose(left []*account, random func(n int) int) *release {
	r, f := s.chooseByWeight(left, random), s.fallback
	if r == nil && f != nil && !slices.Contains(left, f.account) {
		return f
	}
	return r
}

func (s *service) chooseByWeight(left []*account, random func(n int) int) *release {
	total := 0
	for _, r := range s.releases {
		if r.weight > 0 && !slices.Contains(left, r.account) {
			total += r.weight
		}
	}
	if total == 0 {
		return nil
	}
	at := random(total)
	for _, r := range s.releases {
		if r.weight == 0 || slices.Contains(left, r.account) {
			continue
		}
		if at -= r.weight; at < 0 {
			return r
		}
	}
	return nil
}

// take chooses a pool and counts a request in at its upstream; those that wait for room
// come first. Who takes it must have it entered, or give it back.
func (r *release) take(tried []*pool, random func(n int) int) (p *pool, full bool) {
	p, full = r.choose(tried, random)
	switch {
	case p == nil, p.upstream.limit == 0:
		return p, full
	case r.line.waiting.Load() > 0:
		return nil, true
	case p.upstream.enter():
		return p, false
	}
	return r.reserve(tried, random)
}

// reserve is take for one whose turn it is.
func (r *release) reserve(tried []*pool, random func(n int) int) (p *pool, full bool) {
	for {
		if p, full = r.choose(tried, random); p == nil || p.upstream.enter() {
			return p, full
		}
	}
}

// choose picks the pool of the upstream for the next attempt, given those tried before,
// or nil when there is none left; full says that there is, but none that has room. It
// takes one that is healthy; if no untried one is, any that is untried, since to try is
// better than to refuse; and a release's only upstream a second time.
func (r *release) choose(tried []*pool, random func(n int) int) (p *pool, full bool) {
	if len(r.pools) == 1 && len(tried) == 1 && tried[0] == r.pools[0] {
		tried = nil
	}
	if p, full = r.leastOfTwo(tried, true, random); p != nil || full {
		return p, full
	}
	return r.leastOfTwo(tried, false, random)
}

// leastOfTwo draws two upstreams at random and returns the one with less in
// flight: the power of two choices (Mitzenmacher, 1996), which balances almost as
// well as the least of all and doesn't send everybody to the same one. What other loops
// have in flight doesn't count: each balances its own. While the release has an upstream
// that is fresh, both is by share: it is drawn less often, and what it has in flight weighs
// more. When none has room, full says whether that is all that they lack.
func (r *release) leastOfTwo(tried []*pool, healthy bool, random func(n int) int) (p *pool, full bool) {
	eligible := func(u *pool) bool {
		if (healthy && !u.upstream.condition.healthy.Load()) || slices.Contains(tried, u) {
			return false
		}
		room := u.upstream.hasRoom()
		full = full || !room
		return room
	}
	now := r.now()
	n, total := 0, 0
	for _, u := range r.pools {
		if eligible(u) {
			n++
			total += r.slow.share(u.upstream, now)
		}
	}
	if n == 0 {
		return nil, full
	}
	draw := func(other *pool, at int) *pool {
		for _, u := range r.pools {
			if u == other || !eligible(u) {
				continue
			}
			if at -= r.slow.share(u.upstream, now); at < 0 {
				return u
			}
		}
		return nil // health and room may change meanwhile, so that there are fewer now
	}
	a := draw(nil, random(total))
	if n > 1 && a != nil {
		share := r.slow.share(a.upstream, now)
		b := draw(a, random(total-share))
		if b != nil && b.inFlight*int64(share) < a.inFlight*int64(r.slow.share(b.upstream, now)) {
			a = b
		}
	}
	return a, a == nil && full
}
