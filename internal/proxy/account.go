package proxy

import (
	"context"
	"fmt"
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
)

func (o outcome) String() string {
	if o == refused {
		return "refused"
	}
	return [...]string{"answered", "unavailable", "connect", "broken", "timeout", "truncated", "cut", "client_gone"}[o]
}

// account counts the requests of one release, and lets them in or not. It lives as
// long as the proxy, whatever tables come.
//
// One small lock holds everything that the identity of [ReleaseStats] is about,
// so that it is true in every snapshot, and that no request is let in after the
// release was closed.
type account struct {
	service, release string

	mu sync.Mutex
	// open lets requests in. It is set before a table that gives the release
	// a weight is in force, and unset after one that doesn't.
	open    bool
	stats   ReleaseStats
	flights map[*flight]struct{}
	// settled, if not nil, is closed when nothing is in flight any more, or
	// the release is opened again.
	settled chan struct{}
}

// enter counts a request in, on its way to u (nil when the release has no
// upstream). It returns false when release or upstream don't take requests any
// more; then a newer table is in force already.
func (a *account) enter(f *flight, u *upstream) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.open || (u != nil && !u.open) {
		return false
	}
	a.stats.Accepted++
	a.stats.InFlight++
	a.flights[f] = struct{}{}
	u.take()
	return true
}

// move counts another attempt of a request in flight, from one upstream to
// another. It returns false, and changes nothing, when release or upstream don't
// take requests any more.
func (a *account) move(from, to *upstream) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.open || !to.open {
		return false
	}
	a.stats.Retried++
	from.give()
	to.take()
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

// setOpen opens or closes the release as a whole.
func (a *account) setOpen(open bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open = open
	if open {
		a.settle()
	}
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

// drain waits until nothing is in flight, and cuts what is left after the
// timeout. The end of ctx ends the wait and cuts nothing.
func (a *account) drain(ctx context.Context, timeout time.Duration) (DrainResult, error) {
	began := time.Now()
	a.mu.Lock()
	result := DrainResult{InFlight: int(a.stats.InFlight), Upgraded: int(a.stats.Upgraded)}
	cutBefore := a.stats.Failed.Cut
	a.mu.Unlock()

	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	for {
		settled, err := a.unsettled()
		if err != nil {
			return result, err
		}
		if settled == nil {
			break
		}
		select {
		case <-settled:
		case <-deadline.C:
			a.cutAll()
		case <-ctx.Done():
			return result, fmt.Errorf("drain %s %s: %w; nothing was cut", a.service, a.release, context.Cause(ctx))
		}
	}
	result.Cut = int(a.snapshot().Failed.Cut - cutBefore)
	result.Finished = max(result.InFlight-result.Cut, 0)
	result.Waited = time.Since(began)
	return result, nil
}

// unsettled returns a channel that is closed when there is something new for a
// drain, and nil when nothing is in flight.
func (a *account) unsettled() (<-chan struct{}, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open {
		return nil, fmt.Errorf("drain %s %s: the release gets requests; put a table in force first that gives it the weight 0", a.service, a.release)
	}
	if a.stats.InFlight == 0 {
		return nil, nil
	}
	if a.settled == nil {
		a.settled = make(chan struct{})
	}
	return a.settled, nil
}

// cutAll breaks off every request in flight. They count themselves out.
func (a *account) cutAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for f := range a.flights {
		f.cancel(errCut)
	}
}

// count and out are called with the lock held.

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
	}
}

func (a *account) out(f *flight, u *upstream) {
	a.stats.InFlight--
	delete(a.flights, f)
	u.give()
	if a.stats.InFlight == 0 {
		a.settle()
	}
}

func (a *account) settle() {
	if a.settled != nil {
		close(a.settled)
		a.settled = nil
	}
}
