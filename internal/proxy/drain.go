package proxy

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// drain is the emptying of a release, or of its upstreams that are not in the table
// any more.
type drain struct {
	service, release string
	parts            []*drainPart
	// news, with room for one, is told when something may have changed.
	news chan struct{}
}

// drainPart is a drain in one loop, whose lock guards it.
type drainPart struct {
	drain   *drain
	loop    *loop
	account *account
	// whole is set when all of the release is to be emptied; otherwise only those
	// upstreams are that were removed when the drain began.
	whole   bool
	removed []*pool
	result  DrainResult
}

func (d *drain) tell() {
	select {
	case d.news <- struct{}{}:
	default:
	}
}

// run waits until nothing is in flight where no new requests come, and cuts what
// is left after the timeout. The end of ctx ends the wait and cuts nothing.
func (d *drain) run(ctx context.Context, timeout time.Duration) (DrainResult, error) {
	began := time.Now()
	defer d.end()
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	for {
		left, reopens, err := d.left()
		if err != nil {
			return d.begun(), err
		}
		if !left {
			return d.ended(began), nil
		}
		var reopened <-chan time.Time
		if !reopens.IsZero() {
			reopened = time.After(time.Until(reopens))
		}
		select {
		case <-d.news:
		case <-reopened:
		case <-deadline.C:
			d.cut()
		case <-ctx.Done():
			return d.begun(), fmt.Errorf("drain %s %s: %w; nothing was cut", d.service, d.release, context.Cause(ctx))
		}
	}
}

// begin notes what is in flight. It tells the clients of WebSockets to go if the
// release's requests are held: then everybody waits for them.
func (d *drainPart) begin() {
	a := d.account
	d.whole = !a.gets()
	a.drains = append(a.drains, d)
	for f := a.flights.first; f != nil; f = f.next {
		if p := f.pool; !d.whole && p != nil && !p.open && !slices.Contains(d.removed, p) {
			d.removed = append(d.removed, p)
		}
		if !d.empties(f) {
			continue
		}
		f.drains = append(f.drains, d)
		d.result.InFlight++
		if f.upgraded {
			d.result.Upgraded++
			if d.whole && a.open && f.goAway != nil {
				go f.goAway() // which may wait for a client that takes nothing
			}
		}
	}
}

// gets reports whether the release gets new requests.
func (a *account) gets() bool { return a.open && !time.Now().Before(a.heldUntil) }

// empties reports whether the drain is about a request. An upstream that is removed
// later is not: its requests would have no deadline here.
func (d *drainPart) empties(f *flight) bool {
	return !f.spared && (d.whole || slices.Contains(d.removed, f.pool))
}

// left reports whether anything is left in flight. reopens, if not zero, is when the
// hold ends that keeps requests away.
func (d *drain) left() (left bool, reopens time.Time, err error) {
	for _, part := range d.parts {
		part.loop.mu.Lock()
		a := part.account
		again := part.whole && a.gets()
		for f := a.flights.first; f != nil && !left; f = f.next {
			left = part.empties(f)
		}
		if part.whole && a.open {
			reopens = a.heldUntil
		}
		part.loop.mu.Unlock()
		if again {
			return false, reopens, fmt.Errorf("drain %s %s: the release gets requests again; put a table in force first that gives it the weight 0, or holds them", d.service, d.release)
		}
	}
	return left, reopens, nil
}

// cut breaks off every request that is left. They count themselves out.
func (d *drain) cut() {
	for _, part := range d.parts {
		part.loop.do(func() {
			for _, f := range part.account.flights.all() {
				switch {
				case !part.empties(f), f.list == nil:
				case f.owner.mayHandBack():
					part.account.spare(f)
				default:
					f.owner.cut()
				}
			}
		})
	}
}

// spare leaves an upload to its instance, which hands it back when it is stopped, or loses
// it then.
func (a *account) spare(f *flight) {
	f.spared = true
	for _, d := range f.drains {
		if d.account == a {
			d.result.Left++
		}
	}
	a.settle()
}

// begun sums up what was in flight at the beginning, and what was cut of it by now.
func (d *drain) begun() DrainResult {
	var sum DrainResult
	for _, part := range d.parts {
		part.loop.mu.Lock()
		sum.InFlight += part.result.InFlight
		sum.Upgraded += part.result.Upgraded
		sum.Cut += part.result.Cut
		sum.Left += part.result.Left
		part.loop.mu.Unlock()
	}
	return sum
}

// ended sums up what came of it when nothing is left.
func (d *drain) ended(began time.Time) DrainResult {
	sum := d.begun()
	sum.Finished = sum.InFlight - sum.Cut - sum.Left
	sum.Waited = time.Since(began)
	return sum
}

// end has nothing lead to the drain any more.
func (d *drain) end() {
	for _, part := range d.parts {
		part.loop.mu.Lock()
		a := part.account
		a.drains = slices.DeleteFunc(a.drains, func(other *drainPart) bool { return other == part })
		part.loop.mu.Unlock()
	}
}

// plus returns the sums of two drains that went on at the same time.
func (r DrainResult) plus(o DrainResult) DrainResult {
	r.InFlight += o.InFlight
	r.Upgraded += o.Upgraded
	r.Finished += o.Finished
	r.Cut += o.Cut
	r.Left += o.Left
	r.Waited = max(r.Waited, o.Waited)
	return r
}
