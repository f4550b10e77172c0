package proxy

import (
	"container/list"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Queue bounds the requests that wait because every upstream of their release has as many
// in flight as it may ([Release].MaxInFlight). What is over a bound is shed: answered with
// 503 and Retry-After, and counted as [ReleaseStats].Shed.
type Queue struct {
	// Requests is how many of the service's requests may wait, Time how long one may.
	Requests int           `json:"requests"`
	Time     time.Duration `json:"time"`
}

func (q *Queue) validate() error {
	switch {
	case q == nil:
		return nil
	case q.Requests < 0:
		return fmt.Errorf("its requests are %d, want 0 or more", q.Requests)
	case q.Requests > 0 && q.Time <= 0:
		return fmt.Errorf("its time is %s, want more than 0", q.Time)
	}
	return nil
}

// queue is a service's queue in one table.
type queue struct {
	Queue
	waiting *waiting
}

func newQueue(q *Queue, w *waiting) *queue {
	if q == nil {
		return nil
	}
	return &queue{*q, w}
}

// line has the requests that wait for room on an upstream of one release, in the order
// in which they have come, whichever loop they are in. It lives as long as the proxy.
//
// Nobody waits while there is room. Whoever makes room, or sees some after having joined
// the line or taken a place, calls the first one who isn't called yet; that one looks for
// room in its own loop, and if it leaves the line or finds some, calls the next. A request
// joins the line before it looks for room for the last time, and room is made before the
// line is looked at, so that one of the two sees the other.
type line struct {
	// waiting is how many there are.
	waiting atomic.Int64
	mu      sync.Mutex
	places  list.List

	// ejecting is held while an upstream of the release is ejected, so that no two of
	// them count on each other to stay.
	ejecting sync.Mutex
}

// place is a request's place in a line. The line's lock guards called, that of the
// flight's loop what is in the flight.
type place struct {
	line    *line
	loop    *loop
	flight  *flight
	element *list.Element
	called  bool
}

// join puts a request at the end.
func (l *line) join(f *flight) *place {
	p := &place{line: l, loop: f.loop, flight: f}
	l.mu.Lock()
	defer l.mu.Unlock()
	p.element = l.places.PushBack(p)
	l.waiting.Add(1)
	return p
}

// call tells the first one who isn't called yet that there may be room.
func (l *line) call() {
	if l.waiting.Load() == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for e := l.places.Front(); e != nil; e = e.Next() {
		if p := e.Value.(*place); !p.called {
			p.called = true
			p.loop.call(p)
			return
		}
	}
}

// leave takes it out of the line. A call that it has not followed goes to the next one.
func (p *place) leave() {
	p.line.mu.Lock()
	p.line.places.Remove(p.element)
	p.line.waiting.Add(-1)
	called := p.called
	p.line.mu.Unlock()
	if called {
		p.line.call()
	}
}

// come follows a call. The lock of the flight's loop is held.
func (p *place) come() {
	f := p.flight
	if f.wait.place != p {
		return // it has left
	}
	// What becomes free after this calls again.
	p.line.mu.Lock()
	p.called = false
	p.line.mu.Unlock()
	r := f.wait.release
	to, _ := r.reserve(nil, rand.IntN)
	if to == nil {
		return
	}
	f.unwait()
	f.letGo()
	r.account.enter(f, to)
	f.use(to)
	if f.attempts > 1 {
		r.account.stats.Retried++
	}
	r.callNext()
	f.owner.resume(going)
}

// callNext has the next in line look for room, if there may be some.
func (r *release) callNext() {
	for _, p := range r.pools {
		if p.upstream.hasRoom() {
			r.line.call()
			return
		}
	}
}

// queueUp has the request wait for room on an upstream of r, unless too many do. It leaves
// its release meanwhile, so that a drain doesn't wait for it.
func (f *flight) queueUp(s *service, r *release) verdict {
	q := s.queue
	if w := f.wait.waiting; w != nil && (q == nil || w != q.waiting) {
		f.letGo() // it has waited for something else
	}
	if f.wait.waiting == nil && (q == nil || !q.waiting.admit(f, q.Requests, math.MaxInt64)) {
		f.why, f.overfull = shed, r.account
		return nobody
	}
	if f.account != nil {
		f.account.leave(f)
	}
	f.pool, f.overfull = nil, nil
	f.tried = f.tried[:0]
	f.loop.held.push(f)
	f.wait.release, f.wait.place = r, r.line.join(f)
	f.wait.timer.owner = f
	f.loop.timers.set(&f.wait.timer, f.wait.began.Add(q.Time))
	r.callNext()
	return waits
}

// shedNow ends a wait in the queue that was too long.
func (f *flight) shedNow() {
	f.overfull = f.wait.release.account
	f.giveUp(shed, &f.wait.waiting.stats.Expired)
	f.owner.resume(nobody)
}
