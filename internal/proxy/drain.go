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
	account *account
	// whole is set when all of the release is to be emptied; otherwise only those
	// upstreams are that were removed when the drain began.
	whole   bool
	removed []*upstream
	// flights are those that there were at the beginning.
	flights []*flight
	result  DrainResult
}

// drain waits until nothing is in flight where no new requests come, and cuts what
// is left after the timeout. The end of ctx ends the wait and cuts nothing.
func (a *account) drain(ctx context.Context, timeout time.Duration) (DrainResult, error) {
	began := time.Now()
	d := a.beginDrain()
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	for {
		settled, reopened, err := d.unsettled()
		if err != nil {
			return d.result, err
		}
		if settled == nil {
			break
		}
		select {
		case <-settled:
		case <-reopened:
		case <-deadline.C:
			d.cut()
		case <-ctx.Done():
			return d.result, fmt.Errorf("drain %s %s: %w; nothing was cut", a.service, a.release, context.Cause(ctx))
		}
	}
	return d.end(began), nil
}

// beginDrain tells the clients of WebSockets to go if the release's requests are held:
// then everybody waits for them.
func (a *account) beginDrain() *drain {
	a.mu.Lock()
	defer a.mu.Unlock()
	d := &drain{account: a, whole: !a.gets()}
	for f, u := range a.flights {
		if !d.whole && u != nil && !u.open && !slices.Contains(d.removed, u) {
			d.removed = append(d.removed, u)
		}
		if !d.empties(u) {
			continue
		}
		d.flights = append(d.flights, f)
		d.result.InFlight++
		if f.upgraded {
			d.result.Upgraded++
			if d.whole && a.open && f.goAway != nil {
				go f.goAway() // which may wait for a client that takes nothing
			}
		}
	}
	return d
}

// gets reports whether the release gets new requests. The lock is held.
func (a *account) gets() bool { return a.open && !time.Now().Before(a.heldUntil) }

// empties reports whether the drain is about what is in flight on u. An upstream
// that is removed later is not: its requests would have no deadline here.
func (d *drain) empties(u *upstream) bool { return d.whole || slices.Contains(d.removed, u) }

// unsettled returns a channel that is closed when there is something new, and nil
// when nothing is in flight. reopened, if not nil, is told when the hold ends that
// keeps requests away.
func (d *drain) unsettled() (settled <-chan struct{}, reopened <-chan time.Time, err error) {
	a := d.account
	a.mu.Lock()
	defer a.mu.Unlock()
	if d.whole && a.gets() {
		return nil, nil, fmt.Errorf("drain %s %s: the release gets requests again; put a table in force first that gives it the weight 0, or holds them", a.service, a.release)
	}
	if !d.left() {
		return nil, nil, nil
	}
	if a.settled == nil {
		a.settled = make(chan struct{})
	}
	if d.whole && a.open {
		reopened = time.After(time.Until(a.heldUntil))
	}
	return a.settled, reopened, nil
}

// left reports whether anything is left in flight. The lock is held.
func (d *drain) left() bool {
	for _, u := range d.account.flights {
		if d.empties(u) {
			return true
		}
	}
	return false
}

// cut breaks off every request that is left. They count themselves out.
func (d *drain) cut() {
	d.account.mu.Lock()
	defer d.account.mu.Unlock()
	for f, u := range d.account.flights {
		if d.empties(u) {
			f.cancel(errCut)
		}
	}
}

func (d *drain) end(began time.Time) DrainResult {
	d.account.mu.Lock()
	defer d.account.mu.Unlock()
	for _, f := range d.flights {
		if f.cutAt.Load() == d.account {
			d.result.Cut++
		}
	}
	d.result.Finished = d.result.InFlight - d.result.Cut
	d.result.Waited = time.Since(began)
	return d.result
}
