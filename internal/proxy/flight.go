package proxy

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"
)

// maxAttempts is how often one release is tried, maxReroutes how often a request
// goes on to another release.
const (
	maxAttempts = 3
	maxReroutes = 3
)

// errCut is the cause of a context that ends because a drain or the proxy's end is
// at its deadline.
var errCut = errors.New("cut at the deadline of a drain")

// flight is the way of one request through tables, releases and upstreams, and
// what is counted of it. It knows no protocol: whatever reads requests and writes
// answers calls start, next for every further attempt, and end once.
type flight struct {
	table      *atomic.Pointer[compiled]
	host, path string
	// query and header are looked at by the rules that say more than weights do;
	// query is as it came, without the question mark.
	query  string
	header http.Header
	// cancel breaks the request off.
	cancel context.CancelCauseFunc
	// peer may be nil.
	peer peer

	service *service
	// account counts the request now; nil before a release has taken it, and
	// after end.
	account  *account
	upstream *upstream
	// upgraded changes under the account's lock. goAway is set before it and tells the
	// client to go, where the protocol has a way; nil is not at all.
	upgraded bool
	goAway   func()
	// cutAt is the account at which the request was cut, for the drain of another
	// that it has left.
	cutAt atomic.Pointer[account]
	// why is the outcome of a request that found no upstream.
	why outcome

	// wait is the request's wait in a hold. kept is how much of its body is kept,
	// in bytes.
	wait wait
	kept int
	// token is what a client without one is known by from now on, and cookie the
	// name under which its answer sets that; empty is not at all.
	token, cookie string

	// tried are the upstreams of this release that were tried, left the
	// releases that had none for it, attempts the attempts at all releases.
	tried    []*upstream
	left     []*account
	attempts int
}

// start finds the request an upstream, after its time in a hold. Without one, service
// tells whether the request had a service at all.
func (f *flight) start(ctx context.Context) bool {
	if !f.enter(ctx) {
		return false
	}
	return f.upstream != nil || f.reroute(ctx)
}

// next finds the request an upstream for another attempt: of the same release, and
// when that has none left, of another.
func (f *flight) next(ctx context.Context) bool {
	return f.again() || f.reroute(ctx)
}

// outcome is what a request that found no upstream counts as: o, which is what came
// of its last attempt, unless it has left the release for a hold since.
func (f *flight) outcome(o outcome) outcome {
	if f.account == nil {
		return f.why
	}
	return o
}

// end counts the outcome. status is that of an answer, latency its duration.
func (f *flight) end(o outcome, status int, latency time.Duration) {
	if f.account == nil {
		f.service.nobody.refuse(o)
		return
	}
	f.account.end(f, f.upstream, o, status, latency)
	f.account = nil
}

// enter chooses by the table in force and counts the request in, and out where it
// was before. A release refuses when a newer table is in force already, so that this
// ends.
func (f *flight) enter(ctx context.Context) bool {
	for {
		s := f.table.Load().routes.find(f.host, f.path)
		if s != nil && s.hold.on() {
			f.service = s
			if !f.await(ctx, s.hold) {
				return false
			}
			continue
		}
		r := f.choose(s)
		if r == nil {
			f.letGo()
			return false
		}
		u := r.choose(nil, rand.IntN)
		if !r.account.enter(f, u, s.version) {
			continue
		}
		f.letGo()
		if f.account != nil {
			f.account.leave(f, f.upstream)
		}
		f.account = r.account
		f.tried = f.tried[:0]
		f.use(u)
		return true
	}
}

// choose picks the release, or nil. One whose service is gone since it came has no
// upstream there.
func (f *flight) choose(s *service) *release {
	f.why = unavailable
	if s == nil {
		return nil
	}
	f.service = s
	return s.chooseFor(f, rand.IntN)
}

// again takes another upstream of the same release, as the table in force has it.
// A hold doesn't matter to it: the request is in flight.
func (f *flight) again() bool {
	for len(f.tried) < maxAttempts {
		s := f.table.Load().service(f.service.name)
		r := s.release(f.account.release)
		if r == nil || (r.weight == 0 && r != s.fallback && !s.match.chooses(r, f)) {
			return false
		}
		u := r.choose(f.tried, rand.IntN)
		if u == nil {
			return false
		}
		if f.account.move(f, f.upstream, u, s.version) {
			f.use(u)
			return true
		}
	}
	return false
}

// reroute goes on to another release that has an upstream. When there is none, the
// request stays where it is, to be counted there.
func (f *flight) reroute(ctx context.Context) bool {
	for len(f.left) < maxReroutes {
		service := f.service
		f.left = append(f.left, f.account)
		if !f.enter(ctx) {
			if f.account != nil {
				f.service = service
			}
			return false
		}
		if f.upstream == nil {
			continue
		}
		if f.attempts > 1 {
			f.account.retried()
		}
		return true
	}
	return false
}

func (f *flight) use(u *upstream) {
	f.upstream = u
	if u != nil {
		f.tried = append(f.tried, u)
		f.attempts++
	}
}
