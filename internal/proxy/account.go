package proxy

import (
	"sync"
	"time"
)

// outcome is how a request ended.
type outcome int

const (
	answered outcome = iota
	unavailable
	connectFailed
	broken
	timedOut
	truncated
	cut
	clientGone
	held
)

func (o outcome) String() string {
	if o == refused {
		return "refused"
	}
	return [...]string{"answered", "unavailable", "connect", "broken", "timeout", "truncated", "cut", "client_gone", "held"}[o]
}

// account counts the requests of one release, and lets them in or not. It lives as
// long as the proxy, whatever tables come.
//
// One small lock holds everything that the identity of [ReleaseStats] is about,
// so that it is true in every snapshot, and that no request is let in that chose by
// a table which is no longer in force.
type account struct {
	service, release string

	mu sync.Mutex
	// since is the version of the oldest table by which a request may be let in:
	// the one in force, since soon after it came in force.
	since uint64
	// open is set while the release gets requests by that table, though not before
	// heldUntil.
	open      bool
	heldUntil time.Time
	stats     ReleaseStats
	// flights are the requests in flight with the upstream of each, which may be
	// nil.
	flights map[*flight]*upstream
	// settled, if not nil, is closed when there is something new for a drain.
	settled chan struct{}
}

// enter counts a request in, on its way to u (nil when the release has no
// upstream), which were chosen by the table of a version. It returns false when a
// newer table is in force already.
func (a *account) enter(f *flight, u *upstream, version uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if version < a.since {
		return false
	}
	a.stats.Accepted++
	a.stats.InFlight++
	a.flights[f] = u
	u.take()
	return true
}

// move counts another attempt of a request in flight, from one upstream to
// another. It returns false, and changes nothing, when a newer table than that of
// the version is in force already.
func (a *account) move(f *flight, from, to *upstream, version uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if version < a.since {
		return false
	}
	a.stats.Retried++
	a.flights[f] = to
	from.give()
	to.take()
	a.settleIf(from)
	return true
}

// leave counts a request out that goes on to another release.
func (a *account) leave(f *flight, u *upstream) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stats.Rerouted++
	a.out(f, u)
}

// end counts a request out with its outcome; status and latency are those of an
// answer.
func (a *account) end(f *flight, u *upstream, o outcome, status int, latency time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count(o, status, latency)
	if o == cut {
		f.cutAt.Store(a)
	}
	if f.upgraded {
		a.stats.Upgraded--
	}
	a.out(f, u)
}

// upgrade notes that a request in flight is an upgraded connection from now on.
func (a *account) upgrade(f *flight) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f.upgraded = true
	a.stats.Upgraded++
}

// retried counts an attempt that move didn't: the first one at another release.
func (a *account) retried() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stats.Retried++
}

// refuse counts a request that ends before a release could be chosen.
func (a *account) refuse(o outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stats.Accepted++
	a.count(o, 0, 0)
}

// follow lets no request in that chose by an older table than that of the version.
// open says whether the release gets requests by that, which it does from the end of
// a hold on.
func (a *account) follow(version uint64, open bool, heldUntil time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.since, a.open, a.heldUntil = version, open, heldUntil
	a.settle()
}

// snapshot returns the counts of now.
func (a *account) snapshot() ReleaseStats {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.stats
	s.ID = a.release
	s.Latency = s.Latency.clone()
	return s
}

// used reports whether any request was counted.
func (a *account) used() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stats.Accepted > 0
}

// What follows is called with the lock held.

func (a *account) count(o outcome, status int, latency time.Duration) {
	s := &a.stats
	switch o {
	case answered:
		class := status / 100
		if class > 5 {
			class = 5
		}
		s.Answered[class]++
		if class != 1 {
			s.Latency.Observe(latency)
		}
	case unavailable:
		s.Failed.Unavailable++
	case connectFailed:
		s.Failed.Connect++
	case broken:
		s.Failed.Broken++
	case timedOut:
		s.Failed.Timeout++
	case truncated:
		s.Failed.Truncated++
	case cut:
		s.Failed.Cut++
	case clientGone:
		s.ClientGone++
	case held:
		s.Failed.Held++
	}
}

func (a *account) out(f *flight, u *upstream) {
	a.stats.InFlight--
	delete(a.flights, f)
	u.give()
	a.settleIf(u)
}

// settleIf tells drains when nothing is in flight any more, or not on u, which a
// request has left.
func (a *account) settleIf(u *upstream) {
	if a.stats.InFlight == 0 || (u != nil && !u.open && u.inFlight.Load() == 0) {
		a.settle()
	}
}

func (a *account) settle() {
	if a.settled != nil {
		close(a.settled)
		a.settled = nil
	}
}
