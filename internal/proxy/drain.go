package proxy

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// drain is the emptying of a release, or of its upstreams that are not in the table
// any more, or of all that a proxy has which ends.
type drain struct {
	service, release string
	parts            []*drainPart
	terms            []*term
	// news, with room for one, is told when something may have changed.
	news chan struct{}
}

// drainPart is a drain in one loop, whose lock guards it.
type drainPart struct {
	drain *drain
	loop  *loop
	// account is nil when the drain is of all that the loop has.
	account *account
	// whole is set when all of the release is to be emptied; otherwise only those
	// upstreams are that were removed when the drain began.
	whole   bool
	removed []*pool
	// held is set when the release's requests are held, so that everybody waits for the
	// last of those in flight.
	held bool
	// inFlight is how many there were at the beginning, by how they have ended.
	inFlight uint64
	by       Endings
	// spared is how many were left to their instances.
	spared uint64
}

func (d *drain) tell() {
	select {
	case d.news <- struct{}{}:
	default:
	}
}

// run waits until nothing is in flight where no new requests come. Meanwhile it has end
// what the terms say. The end of ctx ends the wait, and nothing more is cut.
func (d *drain) run(ctx context.Context, times DrainTimes) (DrainResult, error) {
	began := time.Now()
	d.terms = times.terms(began)
	defer d.end()
	for {
		left, reopens, err := d.left()
		if err != nil {
			return d.result(), err
		}
		if !left {
			result := d.result()
			result.Waited = time.Since(began)
			return result, nil
		}
		next := d.advance(time.Now())
		if !reopens.IsZero() && (next.IsZero() || reopens.Before(next)) {
			next = reopens
		}
		if !d.await(ctx, next) {
			return d.result(), fmt.Errorf("drain %s %s: %w; nothing more is cut", d.service, d.release, context.Cause(ctx))
		}
	}
}

// depart begins to have end, over the grace, what the proxy has in flight, and goes on with
// that until stop is called.
func (p *Proxy) depart(grace time.Duration) (stop func()) {
	d := &drain{news: make(chan struct{}, 1)}
	for _, l := range p.loops {
		part := &drainPart{drain: d, loop: l}
		part.do(part.begin)
		d.parts = append(d.parts, part)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { d.runAll(ctx, DrainTimes{All: grace}) })
	return func() {
		cancel()
		running.Wait()
	}
}

// runAll has end what the terms say until ctx does.
func (d *drain) runAll(ctx context.Context, times DrainTimes) {
	d.terms = times.terms(time.Now())
	defer d.end()
	for d.await(ctx, d.advance(time.Now())) {
	}
}

// await returns when there is news, or at a time, of which the zero one is never. It
// returns false when ctx ends before.
func (d *drain) await(ctx context.Context, until time.Time) bool {
	var due <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-d.news:
	case <-due:
	case <-ctx.Done():
		return false
	}
	return true
}

// begin notes what is in flight. It tells the clients of WebSockets to go at once if the
// release's requests are held: then everybody waits for them, and who comes back waits, too.
func (d *drainPart) begin() {
	if a := d.account; a != nil {
		d.whole = !a.gets()
		d.held = d.whole && a.open
		a.drains = append(a.drains, d)
		for f := a.flights.first; f != nil && !d.whole; f = f.next {
			if p := f.pool; p != nil && !p.open && !slices.Contains(d.removed, p) {
				d.removed = append(d.removed, p)
			}
		}
	}
	for f := range d.flights {
		f.drains = append(f.drains, d)
		d.inFlight++
		if d.held && f.canBeTold() {
			f.tell()
		}
	}
}

// flights yields those that the drain is about. None of them may end meanwhile.
func (d *drainPart) flights(yield func(*flight) bool) {
	if d.account != nil {
		d.of(d.account, yield)
		return
	}
	for _, a := range d.loop.registry.accounts {
		if !d.of(a, yield) {
			return
		}
	}
}

// of yields those of one account, and reports whether to go on.
func (d *drainPart) of(a *account, yield func(*flight) bool) bool {
	for f := a.flights.first; f != nil; f = f.next {
		if d.empties(f) && !yield(f) {
			return false
		}
	}
	return true
}

// advance has end what is to by now, and returns when to look again; the zero time is when
// there is news.
func (d *drain) advance(now time.Time) (next time.Time) {
	soonest := func(at time.Time) {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	for _, t := range d.terms {
		if !now.Before(t.end) {
			d.each(t, d.breakOff)
			continue
		}
		soonest(t.end)
		if d.held() {
			continue
		}
		for _, p := range []*pace{&t.tell, &t.cut} {
			soonest(d.keep(p, t, now))
		}
	}
	return next
}

// breakOff cuts a request at its deadline, but for an upload that its instance can hand back
// when it is stopped: that is left to it, unless the proxy ends. It returns true.
func (d *drain) breakOff(f *flight) bool {
	if d.service != "" && f.owner.mayHandBack() {
		f.account.spare(f)
	} else {
		f.owner.cut()
	}
	return true
}

// keep has end what a pace of a term says, and returns when to look again.
func (d *drain) keep(p *pace, t *term, now time.Time) time.Time {
	if now.Before(p.last) {
		return p.last
	}
	left := 0
	d.each(t, func(f *flight) bool {
		if t.paced(f) == p {
			left++
		}
		return true
	})
	n, next := p.due(left, now)
	if n > 0 {
		d.each(t, func(f *flight) bool {
			if t.paced(f) == p {
				n--
				f.depart(p == &t.tell)
			}
			return n > 0
		})
	}
	// More may begin to live long meanwhile.
	if look := now.Add(maxSpacing); next.IsZero() || look.Before(next) {
		next = look
	}
	if soon := now.Add(paceTick); next.Before(soon) && soon.Before(p.end) {
		next = soon
	}
	return next
}

// held reports whether the requests are held of what is drained: who comes back waits then,
// and there is nothing to be spread.
func (d *drain) held() bool {
	return slices.ContainsFunc(d.parts, func(part *drainPart) bool { return part.held })
}

// depart ends a request that lives long: its client is told, or it is cut.
func (f *flight) depart(tell bool) {
	if tell {
		f.tell()
		return
	}
	f.leaving = true
	f.owner.cut()
}

// each calls do for the requests of a term, in the order in which they came to each loop,
// until it returns false. The loop's lock is held.
func (d *drain) each(t *term, do func(*flight) bool) {
	for _, part := range d.parts {
		more := true
		part.do(func() {
			for _, f := range part.all(d.has(t)) {
				// The end of one may have been that of another.
				if more = more && (f.list == nil || do(f)); !more {
					return
				}
			}
		})
		if !more {
			return
		}
	}
}

// do does something with what the drain is about.
func (d *drainPart) do(something func()) {
	if d.account == nil {
		p := d.loop.p
		p.mu.Lock() // which guards the list of accounts
		defer p.mu.Unlock()
	}
	d.loop.do(something)
}

// all returns the flights that the drain is about and that are chosen.
func (d *drainPart) all(chosen func(*flight) bool) (all []*flight) {
	for f := range d.flights {
		if chosen(f) {
			all = append(all, f)
		}
	}
	return all
}

// has returns what tells the requests of a term, which it has by their paths.
func (d *drain) has(t *term) func(*flight) bool {
	return func(f *flight) bool { return d.termOf(f) == t }
}

// termOf returns the term of a request, by its path.
func (d *drain) termOf(f *flight) *term {
	for _, t := range d.terms {
		if t.fits(f.path) {
			return t
		}
	}
	return nil
}

// gets reports whether the release gets new requests.
func (a *account) gets() bool { return a.open && !time.Now().Before(a.heldUntil) }

// empties reports whether the drain is about a request. An upstream that is removed
// later is not: its requests would have no deadline here.
func (d *drainPart) empties(f *flight) bool {
	return !f.spared && (d.whole || d.account == nil || slices.Contains(d.removed, f.pool))
}

// left reports whether anything is left in flight. reopens, if not zero, is when the
// hold ends that keeps requests away.
func (d *drain) left() (left bool, reopens time.Time, err error) {
	for _, part := range d.parts {
		part.loop.mu.Lock()
		a := part.account
		again := part.whole && a.gets()
		for range part.flights {
			left = true
			break
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

// spare leaves an upload to its instance, which hands it back when it is stopped, or loses
// it then.
func (a *account) spare(f *flight) {
	f.spared = true
	f.drains = slices.DeleteFunc(f.drains, func(d *drainPart) bool {
		if d.account != a {
			return false
		}
		d.spared++
		return true
	})
	a.settle()
}

// result sums up what was in flight at the beginning, and how it has ended by now.
func (d *drain) result() DrainResult {
	var r DrainResult
	for _, part := range d.parts {
		part.loop.mu.Lock()
		r.InFlight += part.inFlight
		r.By = r.By.Plus(part.by)
		r.Left += part.spared
		part.loop.mu.Unlock()
	}
	return r.summed()
}

// summed returns r with its sums.
func (r DrainResult) summed() DrainResult {
	sum := r.By.Sum()
	r.Finished, r.Told, r.Cut = sum.Finished, sum.Told, sum.Cut
	return r
}

// end has nothing lead to the drain any more.
func (d *drain) end() {
	for _, part := range d.parts {
		part.loop.mu.Lock()
		if part.account == nil {
			part.loop.mu.Unlock()
			continue
		}
		a := part.account
		a.drains = slices.DeleteFunc(a.drains, func(other *drainPart) bool { return other == part })
		part.loop.mu.Unlock()
	}
}

// plus returns the sums of two drains that went on at the same time.
func (r DrainResult) plus(o DrainResult) DrainResult {
	r.InFlight += o.InFlight
	r.By = r.By.Plus(o.By)
	r.Left += o.Left
	r.Waited = max(r.Waited, o.Waited)
	return r.summed()
}
