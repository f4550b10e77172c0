package proxy

import (
	"cmp"
	"slices"
)

// registry keeps what outlives a table: the accounts of all releases of this
// epoch, and the upstreams of the table in force. Proxy.mu guards it.
type registry struct {
	accounts  map[accountKey]*account
	upstreams map[upstreamKey]*upstream
}

type accountKey struct{ service, release string }

type upstreamKey struct {
	accountKey
	Upstream
}

func newRegistry() *registry {
	return &registry{accounts: make(map[accountKey]*account), upstreams: make(map[upstreamKey]*upstream)}
}

// account returns the account of a release; the release "" stands for requests
// that didn't get to one.
func (r *registry) account(service, release string) *account {
	key := accountKey{service, release}
	a := r.accounts[key]
	if a == nil {
		a = &account{service: service, release: release, flights: make(map[*flight]struct{})}
		r.accounts[key] = a
	}
	return a
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

// open lets requests in to the releases that have a weight in c, before c is in
// force.
func (r *registry) open(c *compiled) {
	for _, s := range c.services {
		for _, rel := range s.releases {
			if rel.weight == 0 {
				continue
			}
			for _, u := range rel.upstreams {
				u.setOpen(true)
			}
			rel.account.setOpen(true)
		}
	}
}

// closeOthers lets no more requests in to what has no weight in c, after c has
// come in force, and forgets the upstreams that aren't in it.
func (r *registry) closeOthers(c *compiled) {
	weighty := make(map[*account]bool)
	present := make(map[*upstream]bool)
	c.upstreams(func(_ *release, u *upstream) bool {
		present[u] = true
		return true
	})
	for _, s := range c.services {
		for _, rel := range s.releases {
			weighty[rel.account] = rel.weight > 0
		}
	}
	for _, a := range r.accounts {
		if !weighty[a] {
			a.setOpen(false)
		}
	}
	for key, u := range r.upstreams {
		if !present[u] {
			delete(r.upstreams, key)
		}
		if !present[u] || !weighty[u.account] {
			u.setOpen(false)
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
