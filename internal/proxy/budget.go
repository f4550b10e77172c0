package proxy

import (
	"fmt"
	"time"
)

const (
	// budgetSlots of a budgetSlot each are the window over which a retry budget is kept.
	budgetSlots = 10
	budgetSlot  = time.Second
	// budgetFloor is how many retries a second a service may make whatever its share, so
	// that a quiet one can retry at all. The loops divide it between them.
	budgetFloor = 10
)

// RetryBudget bounds the retries that add to the load of a release: a request that was
// written to one of its instances, and may have been worked on there, goes to it once
// more only as long as such retries are at most Share percent of the service's requests
// over 10 s, and 10 a second beside. Beyond it the request goes on as if the release
// had no other instance: to another release if there is one for it, which gets it for
// the first time, or else to its end.
//
// What was never sent is no load. A request that met nobody (the connection was refused,
// or nothing of it was written or received) is sent elsewhere whatever the budget, so
// that an instance which dies among others costs nothing.
type RetryBudget struct {
	// Share is in percent.
	Share float64 `json:"share"`
}

func (b *RetryBudget) validate() error {
	if b != nil && !(b.Share >= 0 && b.Share <= 100) {
		return fmt.Errorf("its share is %v, want 0 to 100", b.Share)
	}
	return nil
}

// budget is what one loop has of a service's retry budget: each loop's retries are a
// share of its own requests, so that the loops need not ask one another. It outlives
// tables. The loop's lock guards it.
type budget struct {
	slots [budgetSlots]budgetCount
	// sum is that of all slots, of which the last is number at.
	sum budgetCount
	at  int64
}

type budgetCount struct{ requests, retries uint64 }

// request counts a request that goes to its first upstream.
func (b *budget) request(now moment) {
	b.advance(now)
	b.slots[b.at%budgetSlots].requests++
	b.sum.requests++
}

// retry reports whether there may be another retry, and counts it then. floor is how many
// there may be in the window beside the share of the requests.
func (b *budget) retry(now moment, share, floor float64) bool {
	b.advance(now)
	if float64(b.sum.retries+1) > floor+float64(b.sum.requests)*share/100 {
		return false
	}
	b.slots[b.at%budgetSlots].retries++
	b.sum.retries++
	return true
}

// advance forgets the slots that have left the window.
func (b *budget) advance(now moment) {
	at := int64(now) / int64(budgetSlot)
	if at <= b.at {
		return
	}
	for n := max(b.at+1, at-budgetSlots+1); n <= at; n++ {
		slot := &b.slots[n%budgetSlots]
		b.sum.requests -= slot.requests
		b.sum.retries -= slot.retries
		*slot = budgetCount{}
	}
	b.at = at
}

// budgetOf is a service's budget in one table; nil bounds nothing.
type budgetOf struct {
	*budget
	share, floor float64
}

func newBudget(b *RetryBudget, kept *budget, loops int) *budgetOf {
	if b == nil {
		return nil
	}
	return &budgetOf{kept, b.Share, max(float64(budgetFloor)/float64(loops), 1) * budgetSlots}
}

// began counts a request that goes to its first upstream.
func (f *flight) began() {
	if b := f.service.budget; b != nil {
		b.request(f.loop.timers.moment(f.loop.now))
	}
}

// mayRepeat reports whether the request may go to its release once more, after it was
// sent there.
func (f *flight) mayRepeat() bool {
	b := f.service.budget
	if b == nil || b.retry(f.loop.timers.moment(f.loop.now), b.share, b.floor) {
		return true
	}
	f.account.stats.RetryRefused++
	return false
}
