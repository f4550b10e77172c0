package proxy

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// heldCost is what a waiting request takes beside its head and what is kept of its body,
// in bytes: its connection, with what the client has sent of the body since, and the
// socket's buffer in the kernel.
const heldCost = 16 << 10

// hold is a service's hold in one table.
type hold struct {
	Hold
	waiting *waiting
	// end is Until on the clock of this process.
	end time.Time
}

func newHold(h *Hold, w *waiting) *hold {
	if h == nil {
		return nil
	}
	return &hold{Hold: *h, waiting: w, end: w.ends(h.Until)}
}

// on reports whether new requests wait; h may be nil.
func (h *hold) on() bool { return h != nil && time.Now().Before(h.end) }

// until is when the hold ends by itself; the zero time if there is none.
func (h *hold) until() time.Time {
	if h == nil {
		return time.Time{}
	}
	return h.end
}

// waiting counts the requests of a service that are held, or in its queue. It lives as long as the
// proxy, whatever tables come.
type waiting struct {
	mu    sync.Mutex
	stats HeldStats
	bytes int64
	// until is when the hold ends that is on, or was last: by the time of day, as the table
	// says it, and on the clock of this process.
	until struct{ said, own time.Time }
}

// ends returns when a hold ends that the table has end at a time of day. Somebody may set
// the clock while it is on, and it mustn't end by that: those who wait for it would be
// refused.
func (w *waiting) ends(said time.Time) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.until.said.Equal(said) {
		w.until.said, w.until.own = said, time.Now().Add(time.Until(said))
	}
	return w.until.own
}

// begin notes that a hold begins where there was none.
func (w *waiting) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.Longest = 0
}

// snapshot returns the counts of now.
func (w *waiting) snapshot() HeldStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stats
}

// admit has a request begin to wait, unless that is more than so many requests or bytes.
func (w *waiting) admit(f *flight, requests int, bytes int64) bool {
	size := f.size()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stats.Now >= int64(requests) || w.bytes+size > bytes {
		return false
	}
	w.stats.Now++
	w.stats.Total++
	w.bytes += size
	f.wait = wait{waiting: w, began: time.Now(), bytes: size}
	return true
}

// end ends the wait of a request, which counter, one of stats, counts.
func (w *waiting) end(f *flight, counter *uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.Now--
	w.bytes -= f.wait.bytes
	w.stats.Longest = max(w.stats.Longest, time.Since(f.wait.began))
	*counter++
	f.wait.waiting = nil
}

// wait is a request's wait, in a hold or in a queue.
type wait struct {
	// waiting counts it; nil when it doesn't wait. began stays after the end.
	waiting *waiting
	began   time.Time
	bytes   int64
	// hold is the one by which it waits just now; or else place is that in the line of
	// the release whose upstreams have no room for it.
	hold    *hold
	release *release
	place   *place
	timer   timer
}

// await has the request wait for the end of a hold. It leaves its release, so that a
// drain doesn't wait for it, and what it knows of upstreams: others come.
func (f *flight) await(h *hold) verdict {
	f.leave()
	if w := f.wait.waiting; w != nil && w != h.waiting {
		f.letGo() // it is another service's request now
	}
	if f.wait.waiting == nil && !h.waiting.admit(f, h.Requests, h.Bytes) {
		f.why = held
		return nobody
	}
	f.wait.hold = h
	f.loop.held.push(f)
	end := f.wait.deadline()
	if h.end.Before(end) {
		end = h.end
	}
	f.wait.timer.owner = f
	f.loop.timers.set(&f.wait.timer, end)
	return waits
}

// deadline is when the request has waited for too long.
func (w *wait) deadline() time.Time { return w.began.Add(w.hold.Time) }

// expire ends a wait whose time is up, or whose hold has ended by itself.
func (f *flight) expire() {
	if f.wait.place != nil {
		f.shedNow()
		return
	}
	if h := f.wait.hold; h.on() && !time.Now().Before(f.wait.deadline()) {
		f.giveUp(held, &f.wait.waiting.stats.Expired)
		f.owner.resume(nobody)
		return
	}
	f.goOn()
}

// goOn ends a wait since another table is in force, or the hold has ended.
func (f *flight) goOn() {
	f.unwait()
	f.owner.resume(f.land(f.enter()))
}

// abandon ends a wait whose client has gone, or which is cut. The owner ends the flight.
func (f *flight) abandon(why outcome) { f.giveUp(why, &f.wait.waiting.stats.Gone) }

func (f *flight) giveUp(why outcome, counter *uint64) {
	f.unwait()
	f.why = why
	f.wait.waiting.end(f, counter)
}

func (f *flight) unwait() {
	f.loop.held.remove(f)
	f.loop.timers.forget(&f.wait.timer)
	if p := f.wait.place; p != nil {
		p.leave()
	}
	f.wait.hold, f.wait.release, f.wait.place = nil, nil, nil
}

// waits reports whether the request waits in a hold or in a queue.
func (f *flight) waits() bool { return f.wait.hold != nil || f.wait.place != nil }

// letGo counts a request that is past the hold or the queue, if it has waited.
func (f *flight) letGo() {
	if w := f.wait.waiting; w != nil {
		w.end(f, &w.stats.LetGo)
	}
}

// leave counts a request out of its release, before it waits.
func (f *flight) leave() {
	if f.account == nil {
		return
	}
	f.account.leave(f)
	f.pool = nil
	f.left = f.left[:0]
}

// size estimates the memory that a request takes while it waits, in bytes: its head,
// what is kept of its body, and heldCost.
func (f *flight) size() int64 {
	n := heldCost + f.kept
	if f.head != nil {
		n += f.head.Size()
	}
	return int64(n)
}

func (h *Hold) validate() error {
	switch {
	case h == nil:
		return nil
	case h.Until.IsZero():
		return errors.New("it has no end; set until")
	case h.Time <= 0:
		return fmt.Errorf("its time is %s, want more than 0", h.Time)
	case h.Requests <= 0:
		return fmt.Errorf("its requests are %d, want more than 0", h.Requests)
	case h.Bytes <= 0:
		return fmt.Errorf("its bytes are %d, want more than 0", h.Bytes)
	}
	return nil
}
