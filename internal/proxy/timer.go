package proxy

import "time"

// timer is something that a loop does at a time. Most times are moved often and seldom
// come: to move one to later, or to clear it, costs nothing, since its place among the
// others is corrected only when that comes up.
type timer struct {
	owner expirer
	// due is when it expires, at the time by which it is ordered among the others,
	// which isn't later; a due of 0 is never.
	due, at moment
	// index is its place in the heap, from 1; 0 is none.
	index int
}

// moment is a time in nanoseconds since that from which timers count. There is a timer for
// each connection, and a time.Time is three times as big.
type moment int64

// expirer is told when its timer is due.
type expirer interface{ expire() }

// timers is a heap of timers.
type timers struct {
	// began is the time from which the moments count.
	began time.Time
	heap  []*timer
}

// moment returns a time's moment, which is 0 for the zero time alone.
func (ts *timers) moment(t time.Time) moment {
	if t.IsZero() {
		return 0
	}
	return max(moment(t.Sub(ts.began)), 1)
}

// set has t expire at a time; the zero time is never.
func (ts *timers) set(t *timer, due time.Time) {
	t.due = ts.moment(due)
	switch {
	case t.due == 0 || (t.index > 0 && t.due >= t.at):
	case t.index == 0:
		t.at = t.due
		ts.heap = append(ts.heap, t)
		t.index = len(ts.heap)
		ts.up(t)
	default:
		t.at = t.due
		ts.up(t)
	}
}

// forget takes t out of the heap, so that nothing here leads to it any more.
func (ts *timers) forget(t *timer) {
	t.due = 0
	if t.index == 0 {
		return
	}
	last := ts.heap[len(ts.heap)-1]
	ts.heap[len(ts.heap)-1] = nil
	ts.heap = ts.heap[:len(ts.heap)-1]
	if last != t {
		ts.put(last, t.index)
		ts.up(last)
		ts.down(last)
	}
	t.index = 0
}

// next is when run has something to do; the zero time is never.
func (ts *timers) next() time.Time {
	if len(ts.heap) == 0 {
		return time.Time{}
	}
	return ts.began.Add(time.Duration(ts.heap[0].at))
}

// run expires what is due.
func (ts *timers) run(now time.Time) {
	until := ts.moment(now)
	for len(ts.heap) > 0 && ts.heap[0].at <= until {
		t := ts.heap[0]
		if t.due > until {
			t.at = t.due
			ts.down(t)
			continue
		}
		due := t.due != 0
		ts.forget(t)
		if due {
			t.owner.expire()
		}
	}
}

func (ts *timers) put(t *timer, index int) {
	ts.heap[index-1] = t
	t.index = index
}

func (ts *timers) up(t *timer) {
	for t.index > 1 {
		parent := ts.heap[t.index/2-1]
		if t.at >= parent.at {
			return
		}
		index := t.index
		ts.put(t, parent.index)
		ts.put(parent, index)
	}
}

func (ts *timers) down(t *timer) {
	for {
		child := t.index * 2
		if child > len(ts.heap) {
			return
		}
		least := ts.heap[child-1]
		if child < len(ts.heap) && ts.heap[child].at < least.at {
			least = ts.heap[child]
		}
		if least.at >= t.at {
			return
		}
		index := t.index
		ts.put(t, least.index)
		ts.put(least, index)
	}
}

// left is how long it is from now until t expires; 0 when it never does.
func (ts *timers) left(t *timer, now time.Time) time.Duration {
	if t.due == 0 {
		return 0
	}
	return max(time.Duration(t.due-ts.moment(now)), time.Millisecond)
}
