package proxy

import (
	"slices"
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
	shed
)

func (o outcome) String() string {
	if o == refused {
		return "refused"
	}
	return [...]string{"answered", "unavailable", "connect", "broken", "timeout", "truncated", "cut", "client_gone", "held", "shed"}[o]
}

// account counts the requests of one release that one loop has. It lives as long as the
// proxy, whatever tables come. The loop's lock guards it, so that the identity of
// [ReleaseStats] is true in every snapshot.
type account struct {
	service, release string

	// open is set while the release gets requests, though not before heldUntil.
	open      bool
	heldUntil time.Time
	// tells is set when clients that can be told to go are.
	tells bool
	stats ReleaseStats
	cards []*card
	// flights are the requests in flight.
	flights flightList
	// drains are those that wait for something new here.
	drains []*drainPart
}

// enter counts a request in, on its way to a pool (nil when the release has no upstream).
func (a *account) enter(f *flight, to *pool) {
	a.stats.Accepted++
	a.stats.InFlight++
	a.flights.push(f)
	f.account = a
	f.pool = to
	to.take()
}

// move counts another attempt of a request in flight, from one pool to another.
func (a *account) move(f *flight, to *pool) {
	from := f.pool
	a.stats.Retried++
	from.give()
	to.take()
	f.pool = to
	// It is out of the way of those that wait for its upstream alone.
	f.drains = slices.DeleteFunc(f.drains, func(d *drainPart) bool {
		if d.empties(f) {
			return false
		}
		d.by.add(f, answered)
		return true
	})
	a.settleIf(from)
}

// leave counts a request out that goes on to another release.
func (a *account) leave(f *flight) {
	f.score(unavailable)
	a.stats.Rerouted++
	a.drained(f, answered)
	a.out(f)
}

// end counts a request out with its outcome; status and latency are those of an
// answer.
func (a *account) end(f *flight, o outcome, status int, latency time.Duration) {
	a.count(o, status, latency)
	a.drained(f, o)
	if f.upgraded {
		a.stats.Upgraded--
	}
	a.out(f)
}

// drained counts how a request has ended here, if a drain had begun or it was cut.
func (a *account) drained(f *flight, o outcome) {
	if len(f.drains) == 0 && o != cut && !f.told {
		return
	}
	a.stats.Drained.add(f, o)
	// Whoever has come since the end began is noted nowhere.
	departs := len(f.drains) == 0
	for _, d := range f.drains {
		d.by.add(f, o)
		departs = departs || d.account == nil
	}
	if departs {
		a.stats.Departed.add(f, o)
	}
	clear(f.drains)
	f.drains = f.drains[:0]
}

// upgrade notes that a request in flight is an upgraded connection from now on.
func (a *account) upgrade(f *flight) {
	f.score(answered)
	f.upgraded, f.shape = true, asTunnel
	if f.goAway != nil {
		f.shape = asWebSocket
	}
	a.stats.Upgraded++
}

// refuse counts a request that ends before a release could be chosen, or before one had
// room for it.
func (a *account) refuse(o outcome) {
	a.stats.Accepted++
	a.count(o, 0, 0)
	if o == cut {
		a.stats.Drained.Answers.Cut++
		a.stats.Departed.Answers.Cut++
	}
}

// follow says whether the release gets requests by the table in force, which it does
// from the end of a hold on.
func (a *account) follow(open bool, heldUntil time.Time) {
	a.open, a.heldUntil = open, heldUntil
	a.settle()
}

// snapshot returns the counts of now, on the proxy's own clock.
func (a *account) snapshot(now time.Duration) ReleaseStats {
	s := a.stats
	s.ID = a.release
	s.Latency = s.Latency.clone()
	for _, c := range a.cards {
		s.Scores = append(s.Scores, c.snapshot(now))
	}
	slices.SortFunc(s.Scores, compareScores)
	return s
}

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
	case shed:
		s.Shed++
	}
}

func (a *account) out(f *flight) {
	a.stats.InFlight--
	a.flights.remove(f)
	f.pool.give()
	f.account = nil
	a.settleIf(f.pool)
}

// settleIf tells drains when nothing is in flight any more, or not on a pool, which a
// request has left.
func (a *account) settleIf(p *pool) {
	if a.stats.InFlight == 0 || (p != nil && !p.open && p.inFlight == 0) {
		a.settle()
	}
}

func (a *account) settle() {
	for _, d := range a.drains {
		d.drain.tell()
	}
}

// flightList is a list of flights, of which each is in one list at most.
type flightList struct{ first, last *flight }

func (l *flightList) push(f *flight) {
	f.list, f.prev, f.next = l, l.last, nil
	if l.last == nil {
		l.first = f
	} else {
		l.last.next = f
	}
	l.last = f
}

func (l *flightList) remove(f *flight) {
	if f.list != l {
		return
	}
	if f.prev == nil {
		l.first = f.next
	} else {
		f.prev.next = f.next
	}
	if f.next == nil {
		l.last = f.prev
	} else {
		f.next.prev = f.prev
	}
	f.list, f.prev, f.next = nil, nil, nil
}

// all returns the flights of the list, which may leave it meanwhile.
func (l *flightList) all() []*flight {
	var all []*flight
	for f := l.first; f != nil; f = f.next {
		all = append(all, f)
	}
	return all
}
