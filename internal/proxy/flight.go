package proxy

import (
	"context"
	"errors"
	"math/rand/v2"
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
	// cancel breaks the request off.
	cancel context.CancelCauseFunc

	service *service
	// account counts the request now; nil before a release has taken it, and
	// after end.
	account  *account
	upstream *upstream
	upgraded bool

	// tried are the upstreams of this release that were tried, left the
	// releases that had none for it, attempts the attempts at all releases.
	tried    []*upstream
	left     []*account
	attempts int
}

// start finds the request an upstream. Without one, service tells whether the
// request had a service at all.
func (f *flight) start() bool {
	if !f.enter() {
		return false
	}
	return f.upstream != nil || f.reroute()
}

// next finds the request an upstream for another attempt: of the same release, and
// when that has none left, of another.
func (f *flight) next() bool {
	return f.again() || f.reroute()
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

// enter chooses by the table in force and counts the request in. A release that
// refuses was closed by a newer table, which is in force by then, so that this
// ends.
func (f *flight) enter() bool {
	for {
		s := f.table.Load().routes.find(f.host, f.path)
		if s == nil {
			return false
		}
		f.service = s
		r := s.choose(f.left, rand.IntN)
		if r == nil {
			return false
		}
		u := r.choose(nil, rand.IntN)
		if r.account.enter(f, u) {
			f.account = r.account
			f.tried = f.tried[:0]
			f.use(u)
			return true
		}
	}
}

// again takes another upstream of the same release, as the table in force has it.
func (f *flight) again() bool {
	for len(f.tried) < maxAttempts {
		r := f.table.Load().service(f.service.name).release(f.account.release)
		if r == nil || r.weight == 0 {
			return false
		}
		u := r.choose(f.tried, rand.IntN)
		if u == nil {
			return false
		}
		if f.account.move(f.upstream, u) {
			f.use(u)
			return true
		}
	}
	return false
}

// reroute goes on to another release that has an upstream. When there is none, the
// request stays where it is, to be counted there.
func (f *flight) reroute() bool {
	for len(f.left) < maxReroutes {
		account, upstream, service := f.account, f.upstream, f.service
		f.left = append(f.left, account)
		if !f.enter() {
			f.service = service
			return false
		}
		account.leave(f, upstream)
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
