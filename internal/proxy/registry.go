package proxy

import "time"

// registry keeps what outlives a table in one loop: the accounts of all releases of this
// epoch, the pools of the upstreams of the table in force, and the retry budgets. Proxy.mu guards the maps,
// the loop's lock what is in them.
type registry struct {
	loop     *loop
	shared   *shared
	accounts map[accountKey]*account
	pools    map[upstreamKey]*pool
	budgets  map[string]*budget
}

// shared is what outlives a table and all loops have in common. Proxy.mu guards it.
type shared struct {
	waiting   map[string]*waiting
	queued    map[string]*waiting
	lines     map[accountKey]*line
	upstreams map[upstreamKey]*upstream
	sessions  map[string]*sessions
}

type accountKey struct{ service, release string }

type upstreamKey struct {
	accountKey
	Upstream
	// limit is the release's MaxInFlight, ejection its own.
	limit    int
	ejection Ejection
}

func newShared() *shared {
	return &shared{
		waiting: make(map[string]*waiting), queued: make(map[string]*waiting),
		lines: make(map[accountKey]*line), upstreams: make(map[upstreamKey]*upstream), sessions: make(map[string]*sessions),
	}
}

func newRegistry(l *loop, s *shared) *registry {
	return &registry{loop: l, shared: s, accounts: make(map[accountKey]*account), pools: make(map[upstreamKey]*pool), budgets: make(map[string]*budget)}
}

// waitingFor returns the requests of a service that wait in a hold.
func (s *shared) waitingFor(service string) *waiting { return ensure(s.waiting, service) }

// queuedFor returns those in its queue.
func (s *shared) queuedFor(service string) *waiting { return ensure(s.queued, service) }

// lineOf returns the line of a release.
func (s *shared) lineOf(key accountKey) *line { return ensure(s.lines, key) }

// ensure returns what a map has of a key, which is something new at first.
func ensure[K comparable, V any](m map[K]*V, key K) *V {
	v := m[key]
	if v == nil {
		v = new(V)
		m[key] = v
	}
	return v
}

func (s *shared) upstream(key upstreamKey) *upstream {
	u := s.upstreams[key]
	if u == nil {
		u = newUpstream(key, s.lineOf(key.accountKey))
		s.upstreams[key] = u
	}
	return u
}

// follow forgets the upstreams that aren't in the table c.
func (s *shared) follow(c *compiled) {
	present := make(map[*upstream]bool, len(s.upstreams))
	for _, p := range c.pools {
		present[p.upstream] = true
	}
	for key, u := range s.upstreams {
		if !present[u] {
			delete(s.upstreams, key)
		}
	}
}

// loops is how many loops there are, each with a registry of its own.
func (r *registry) loops() int {
	if r.loop == nil {
		return 1
	}
	return len(r.loop.p.loops)
}

// account returns the account of a release; the release "" stands for requests
// that didn't get to one.
func (r *registry) account(service, release string) *account {
	key := accountKey{service, release}
	a := r.accounts[key]
	if a == nil {
		a = &account{service: service, release: release}
		r.accounts[key] = a
	}
	return a
}

// budget returns what there is of a service's retry budget.
func (r *registry) budget(service string) *budget { return ensure(r.budgets, service) }

// pool returns the pool of an upstream of an account, with what its release says of it.
func (r *registry) pool(a *account, u Upstream, of Release) *pool {
	key := upstreamKey{accountKey{a.service, a.release}, u, of.MaxInFlight, of.Ejection}
	p := r.pools[key]
	if p == nil {
		p = newPool(r.loop, a, r.shared.upstream(key))
		r.pools[key] = p
	}
	return p
}

// follow has accounts and pools take requests as the table c says, and forgets the pools
// that aren't in it.
func (r *registry) follow(c *compiled) {
	for _, a := range r.accounts {
		s := c.service(a.service)
		a.keepCards(s.scores())
		rel := s.release(a.release)
		if rel == nil {
			a.follow(false, time.Time{})
			continue
		}
		a.tells = rel.tells
		a.follow(rel.gets, s.hold.until())
	}
	present := make(map[*pool]bool, len(r.pools))
	for rel, p := range c.pools {
		present[p] = true
		p.setOpen(rel.gets, rel.gets && !rel.held)
		p.handsBack = rel.handsBack
	}
	for key, p := range r.pools {
		if !present[p] {
			delete(r.pools, key)
			p.setOpen(false, false)
		}
	}
}
