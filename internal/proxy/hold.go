package proxy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// heldCost is what a waiting request takes beside its head, in bytes: the two
	// buffers of its connection in net/http (4 KiB each) and a goroutine's stack
	// with what hangs on it.
	heldCost = 16 << 10
	// fieldCost is what a field of a head takes beside its text, in bytes: two
	// strings, a slice, and its place in a map.
	fieldCost = 64
	// goneInterval is how often it is looked whether the client of a waiting
	// request is still there.
	goneInterval = time.Second
)

// peer is the client of a request. While net/http has a body of it to read, it
// doesn't tell when the client goes away.
type peer interface {
	// gone reports whether it has closed its connection, or its sending direction.
	gone() bool
}

// hold is a service's hold in one table.
type hold struct {
	Hold
	waiting *waiting
	// lifted is closed when another table is in force.
	lifted chan struct{}
}

func newHold(h *Hold, w *waiting) *hold {
	if h == nil {
		return nil
	}
	return &hold{Hold: *h, waiting: w, lifted: make(chan struct{})}
}

// on reports whether new requests wait; h may be nil.
func (h *hold) on() bool { return h != nil && time.Now().Before(h.Until) }

// until is when the hold ends by itself; the zero time if there is none.
func (h *hold) until() time.Time {
	if h == nil {
		return time.Time{}
	}
	return h.Until
}

// waiting counts the requests of a service that are held. It lives as long as the
// proxy, whatever tables come.
type waiting struct {
	mu    sync.Mutex
	stats HeldStats
	bytes int64
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

// admit has a request begin to wait, unless that is more than the hold may keep.
func (w *waiting) admit(f *flight, h *Hold) bool {
	size := f.size()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stats.Now >= int64(h.Requests) || w.bytes+size > h.Bytes {
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

// wait is a request's wait.
type wait struct {
	// waiting counts it; nil when it doesn't wait. began stays after the end.
	waiting *waiting
	began   time.Time
	bytes   int64
}

// await keeps the request waiting until there is something new: another table, or
// the end of the hold. It returns false when the request is at its end, and why says
// which.
//
// A request that was in flight and needs another attempt leaves its release, so that
// a drain needn't wait for it, and what it knows of upstreams: others come.
func (f *flight) await(ctx context.Context, h *hold) bool {
	f.leave()
	if w := f.wait.waiting; w != nil && w != h.waiting {
		f.letGo() // it is another service's request now
	}
	if f.wait.waiting == nil && !h.waiting.admit(f, &h.Hold) {
		f.why = held
		return false
	}
	deadline := f.wait.began.Add(h.Time)
	end := deadline
	if h.Until.Before(end) {
		end = h.Until
	}
	f.why = f.awaitEnd(ctx, h, end)
	switch w := h.waiting; {
	case f.why == clientGone || f.why == cut:
		w.end(f, &w.stats.Gone)
		return false
	case f.why == held && h.on() && !time.Now().Before(deadline):
		w.end(f, &w.stats.Expired)
		return false
	}
	return true
}

// awaitEnd waits for the first thing that ends a wait, or all of them at the time
// end, and says what is to be thought of it: clientGone, cut, held when the time is
// up, and unavailable when another table decides.
func (f *flight) awaitEnd(ctx context.Context, h *hold, end time.Time) outcome {
	timer := time.NewTimer(time.Until(end))
	defer timer.Stop()
	look := time.NewTicker(goneInterval)
	defer look.Stop()
	for {
		why := unavailable
		select {
		case <-h.lifted:
		case <-timer.C:
			why = held
		case <-look.C:
			if !f.abandoned() {
				continue
			}
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), errCut) {
				return cut
			}
			return clientGone
		}
		if f.abandoned() {
			return clientGone
		}
		return why
	}
}

// abandoned reports whether the client has gone.
func (f *flight) abandoned() bool { return f.peer != nil && f.peer.gone() }

// letGo counts a request that is past the hold, if it has waited.
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
	f.account.leave(f, f.upstream)
	f.account, f.upstream = nil, nil
	f.left = f.left[:0]
}

// size estimates the memory that a request takes while it waits, in bytes: its head,
// what is kept of its body, and heldCost.
func (f *flight) size() int64 {
	n := heldCost + len(f.host) + len(f.path) + len(f.query) + f.kept
	for name, values := range f.header {
		for _, v := range values {
			n += len(name) + len(v) + fieldCost
		}
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
