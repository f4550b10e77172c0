package proxy

import (
	"cmp"
	"slices"
	"time"
)

// registry keeps what outlives a table: the accounts of all releases of this
// epoch and the waiting requests of all services, and the upstreams of the table in
// force. Proxy.mu guards it.
type registry struct {
	accounts  map[accountKey]*account
	waiting   map[string]*waiting
	upstreams map[upstreamKey]*upstream
}

type accountKey struct{ service, release string }

type upstreamKey struct {
	accountKey
	Upstream
}

func newRegistry() *registry {
	return &registry{
		accounts:  make(map[accountKey]*account),
		waiting:   make(map[string]*waiting),
		upstreams: make(map[upstreamKey]*upstream),
	}
}

// account returns the account of a release; the release "" stands for requests
// that didn't get to one.
func (r *registry) account(service, release string) *account {
	key := accountKey{service, release}
	a := r.accounts[key]
	if a == nil {
		a = &account{service: service, release: release, flights: make(map[*flight]*upstream)}
		r.accounts[key] = a
	}
	return a
}

// waitingFor returns the waiting requests of a service.
func (r *registry) waitingFor(service string) *waiting {
	w := r.waiting[service]
	if w == nil {
		w = &waiting{}
		r.waiting[service] = w
	}
	return w
}

// upstream returns the upstream of an account with this ID and target.
func (r *registry) upstream(a *account, u Upstream) *upstream {
	key := upstreamKey{accountKey{a.service, a.release}, u}
	found := r.upstreams[key]
	if found == nil {
		found = newUpstream(a, u)
		r.upstreams[key] = found
	}
	return found
}

// open makes ready what gets requests by c, before c is in force.
func (r *registry) open(c *compiled) {
	c.upstreams(func(rel *release, u *upstream) bool {
		if rel.gets {
			u.setOpen(true, !rel.held)
		}
		return true
	})
}

// follow has every account let in only what is chosen by c, after c has come in
// force, closes the upstreams that get no requests by it, and forgets those that
// aren't in it.
func (r *registry) follow(c *compiled) {
	for _, a := range r.accounts {
		s := c.service(a.service)
		rel := s.release(a.release)
		if rel == nil {
			a.follow(c.version, false, time.Time{})
			continue
		}
		a.follow(c.version, rel.gets, s.hold.until())
	}
	getting := make(map[*upstream]bool)
	c.upstreams(func(rel *release, u *upstream) bool {
		getting[u] = rel.gets
		return true
	})
	for key, u := range r.upstreams {
		gets, present := getting[u]
		if !present {
			delete(r.upstreams, key)
		}
		if !gets {
			u.setOpen(false, false)
		}
	}
}

// byService returns the accounts that have something to tell, or a release in c,
// ordered by service and release.
func (r *registry) byService(c *compiled) []*account {
	var all []*account
	for _, a := range r.accounts {
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b *account) int {
		return cmp.Or(
			cmp.Compare(a.service, b.service),
			cmp.Compare(len(a.release), len(b.release)), // r9 before r10
			cmp.Compare(a.release, b.release),
		)
	})
	return slices.DeleteFunc(all, func(a *account) bool {
		return c.service(a.service).release(a.release) == nil && !a.used()
	})
}
