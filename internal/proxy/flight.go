package proxy

import (
	"math/rand/v2"
	"time"

	"github.com/segue-deploy/segue/internal/proxy/h1"
)

// maxAttempts is how often one release is tried, maxReroutes how often a request
// goes on to another release.
const (
	maxAttempts = 3
	maxReroutes = 3
)

// flight is the way of one request through tables, releases and upstreams, and
// what is counted of it. It knows no protocol: whatever reads requests and writes
// answers calls start, next for every further attempt, and end once.
//
// The lock of its loop is held whenever something here is called, so that what is
// chosen by the table in force is counted in by it, too.
type flight struct {
	loop  *loop
	owner owner
	// host and path, whose escapes are decoded, lead to a service. query and head, which
	// may be nil, are looked at by the rules that say more than weights do; query is as
	// it came, without the question mark.
	host, path, query string
	head              *h1.Head
	// origin is where it comes from; nil is unknown.
	origin *origin

	service *service
	// account counts the request now; nil before a release has taken it, and
	// after end. pool is the upstream's; nil when the release had none.
	account *account
	pool    *pool
	// list is the list of the account, or of the loop while it waits.
	list       *flightList
	prev, next *flight
	// drains are those that began while the request was in flight where they wait.
	drains []*drainPart
	// shape is what the request is for a drain. leaving is set when its end has been
	// brought about, told when that was by telling the client.
	shape         shape
	leaving, told bool
	// upgraded is for the account. goAway tells the client of an upgraded connection to
	// go, where the protocol has a way; nil is not at all.
	upgraded bool
	goAway   func()
	// why is the outcome of a request that found no upstream.
	why outcome

	// wait is the request's wait in a hold or in a queue. kept is how much of its body is kept,
	// in bytes.
	wait wait
	kept int
	// token is what a client without one is known by from now on, and cookie the
	// name under which its answer sets that; empty is not at all.
	token, cookie string
	// session is that client as a number, by which it is scored; 0 is none.
	session uint64
	scored  scored

	// tried are the pools of this release that were tried, left the releases that had
	// none for it, tries the attempts at this release, and attempts those at all.
	tried           []*pool
	left            []*account
	tries, attempts int
	// spared is set when a drain has left the request in flight.
	spared bool
	// judged is set when what has come of the last attempt is known to the upstream.
	judged bool
	// overfull is the account of the release that had no room for the request, nor its
	// queue; nil is none.
	overfull *account
}

// owner is what a flight belongs to.
type owner interface {
	// resume is called when a wait has ended, with what has come of it.
	resume(v verdict)
	// cut breaks the request off at the deadline of a drain. The owner ends the flight,
	// at once or soon.
	cut()
	// mayHandBack reports whether the request is one that its upstream may hand back when
	// it is stopped.
	mayHandBack() bool
}

// verdict is what comes of the search for an upstream.
type verdict int

const (
	// nobody: there is none, and the request is to be ended with the flight's outcome.
	// Its service tells whether it had one at all.
	nobody verdict = iota
	// going: the request is counted in, on its way to the flight's pool.
	going
	// waits: the request waits in a hold or in a queue; its owner is told when that ends.
	waits
)

// reset makes ready for another request.
func (f *flight) reset() {
	clear(f.tried)
	clear(f.left)
	clear(f.drains)
	*f = flight{loop: f.loop, owner: f.owner, tried: f.tried[:0], left: f.left[:0], drains: f.drains[:0]}
}

// start finds the request an upstream, perhaps after a time in a hold or in a queue.
func (f *flight) start() verdict { return f.land(f.enter()) }

// again finds the request an upstream for another attempt: of the same release, and
// when that has none left, of another. sent says that the attempt before may have been
// worked on, so that another one of the same release needs room in the retry budget.
func (f *flight) again(sent bool) verdict {
	if sent {
		f.judge(broken, 0)
	}
	if v := f.sameRelease(sent); v != nobody {
		return v
	}
	if len(f.left) >= maxReroutes {
		return nobody
	}
	f.left = append(f.left, f.account)
	return f.land(f.enter())
}

// land goes on from release to release until one has an upstream. When there is none,
// the request stays where it is, to be counted there.
func (f *flight) land(v verdict) verdict {
	for v == going && f.pool == nil {
		if len(f.left) >= maxReroutes {
			return nobody
		}
		f.left = append(f.left, f.account)
		service := f.service
		v = f.enter()
		if v == nobody && f.account != nil {
			f.service = service
		}
	}
	if v == going && f.attempts > 1 {
		f.account.stats.Retried++
	}
	return v
}

// outcome is what a request that found no upstream counts as: o, which is what came
// of its last attempt, unless it has left the release for a hold or a queue since, or
// found no room for another.
func (f *flight) outcome(o outcome) outcome {
	if f.account == nil || f.overfull != nil {
		return f.why
	}
	return o
}

// end counts the outcome. status is that of an answer, latency its duration.
func (f *flight) end(o outcome, status int, latency time.Duration) {
	f.score(o)
	switch {
	case f.account != nil:
		f.judge(o, status)
		f.account.end(f, o, status, latency)
	case f.overfull != nil:
		f.overfull.refuse(o)
	default:
		f.service.nobody.refuse(o)
	}
}

// enter chooses by the table in force and counts the request in, and out where it
// was before.
func (f *flight) enter() verdict {
	s := f.loop.table.find(f.host, f.path)
	if s != nil && s.hold.on() {
		f.service = s
		return f.await(s.hold)
	}
	r := f.choose(s)
	if r == nil {
		f.letGo()
		return nobody
	}
	if f.account != nil {
		f.account.leave(f)
	}
	f.tried, f.tries = f.tried[:0], 0
	p, full := r.take(nil, rand.IntN)
	if full {
		return f.queueUp(s, r)
	}
	f.letGo()
	f.overfull = nil
	r.account.enter(f, p)
	f.use(p)
	return going
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

// sameRelease takes another upstream of the same release, as the table in force has it.
// A hold doesn't matter to it: the request is in flight. When there is one, but without
// room, the request waits for that.
func (f *flight) sameRelease(sent bool) verdict {
	if f.tries >= maxAttempts {
		return nobody
	}
	s := f.loop.table.service(f.service.name)
	r := s.release(f.account.release)
	if r == nil || (r.weight == 0 && r != s.fallback && !s.match.chooses(r, f)) {
		return nobody
	}
	p, full := r.take(f.tried, rand.IntN)
	switch {
	case p == nil && !full:
		return nobody
	case sent && !f.mayRepeat():
		p.giveBack()
		return nobody
	case full:
		return f.queueUp(s, r)
	}
	f.account.move(f, p)
	f.use(p)
	return going
}

func (f *flight) use(p *pool) {
	if p != nil {
		if f.attempts == 0 {
			f.began()
		}
		f.tried = append(f.tried, p)
		f.tries++
		f.judged, f.spared = false, false
		f.attempts++
	}
}
