package proxy

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// draining is a drain that runs beside a test.
type draining struct {
	result DrainResult
	err    error
	done   bool
}

func (b *bubble) drain(release string, timeout time.Duration) *draining {
	d := &draining{}
	go func() {
		d.result, d.err = b.Drain(b.t.Context(), "web", release, DrainTimes{All: timeout})
		d.done = true
	}()
	synctest.Wait()
	return d
}

func (b *bubble) wantDrained(d *draining, want DrainResult) {
	b.t.Helper()
	synctest.Wait()
	if want.By == (Endings{}) {
		want.By.Answers = Ending{want.Finished, want.Told, want.Cut}
	}
	if !d.done || d.err != nil || d.result != want {
		b.t.Errorf("drained: %t, %+v, %v, want %+v", d.done, d.result, d.err, want)
	}
}

// cuttable ends a flight when it is cut.
func (b *bubble) cuttable() *flown {
	f := b.fly()
	f.wasCut = func() { f.end(cut, 0, 0) }
	return f
}

func TestDrainOfRemovedUpstreams(t *testing.T) {
	one, two, three := at("127.0.0.1:1"), at("127.0.0.1:2"), at("127.0.0.1:3")
	// without is the service after its first n upstreams are removed.
	without := func(n int) Service {
		s := web(rel("r1", 100, one, two, three))
		s.Releases[0].Upstreams = s.Releases[0].Upstreams[n:]
		return s
	}
	// onEach puts one flight on each upstream, as they come by least in flight.
	onEach := func(b *bubble) map[string]*flown {
		b.apply(without(0))
		on := make(map[string]*flown)
		for len(on) < 3 {
			f := b.cuttable()
			id := f.pool.upstream.id
			if on[id] != nil {
				f.land()
				continue
			}
			on[id] = f
		}
		return on
	}
	inBubble(t, "its requests finish", func(b *bubble) {
		on := onEach(b)
		b.apply(without(1))
		d := b.drain("r1", time.Minute)
		b.pass(time.Second)
		on["web-r1-2"].land()
		synctest.Wait()
		if d.done {
			t.Error("the drain ends before the removed upstream is empty")
		}
		on["web-r1-1"].land()
		b.wantDrained(d, DrainResult{InFlight: 1, Finished: 1, Waited: time.Second})
		on["web-r1-3"].land()
	})
	inBubble(t, "they are cut", func(b *bubble) {
		on := onEach(b)
		b.apply(without(2))
		d := b.drain("r1", time.Minute)
		b.pass(time.Minute)
		b.wantDrained(d, DrainResult{InFlight: 2, Cut: 2, Waited: time.Minute})
		if got := statsOf(b.stats(), "web", "r1"); got.InFlight != 1 || got.Failed.Cut != 2 {
			t.Errorf("counted %+v", got)
		}
		on["web-r1-3"].land()
	})
	inBubble(t, "one tries another upstream", func(b *bubble) {
		on := onEach(b)
		b.apply(without(1))
		d := b.drain("r1", time.Minute)
		f := on["web-r1-1"]
		if f.again() != going || f.pool.upstream.id == "web-r1-1" {
			t.Errorf("the next attempt goes to %+v", f.pool)
		}
		b.wantDrained(d, DrainResult{InFlight: 1, Finished: 1})
		for _, f := range on {
			f.land()
		}
	})
	// One that is removed later has a drain and a deadline of its own.
	inBubble(t, "others are removed meanwhile", func(b *bubble) {
		on := onEach(b)
		b.apply(without(1))
		d := b.drain("r1", time.Minute)
		b.pass(time.Minute - 1)
		b.apply(without(2))
		later := b.drain("r1", time.Minute)
		b.pass(time.Nanosecond)
		b.wantDrained(d, DrainResult{InFlight: 1, Cut: 1, Waited: time.Minute})
		b.pass(time.Minute - 1)
		b.wantDrained(later, DrainResult{InFlight: 2, Cut: 2, Waited: time.Minute})
		on["web-r1-3"].land()
	})
	inBubble(t, "the release loses its weight meanwhile", func(b *bubble) {
		on := onEach(b)
		b.apply(without(1))
		d := b.drain("r1", time.Minute)
		b.apply(web(rel("r1", 0, two, three), rel("r2", 100, one)))
		on["web-r1-1"].land()
		b.wantDrained(d, DrainResult{InFlight: 1, Finished: 1})
		on["web-r1-2"].land()
		on["web-r1-3"].land()
	})
	inBubble(t, "none is removed", func(b *bubble) {
		on := onEach(b)
		b.wantDrained(b.drain("r1", time.Minute), DrainResult{})
		for _, f := range on {
			f.land()
		}
	})
}

func TestDrainOfHeldRelease(t *testing.T) {
	inBubble(t, "its requests finish", func(b *bubble) {
		b.apply(stableOnly())
		f := b.fly()
		b.apply(holding(stableOnly()))
		waiting := b.fly()
		d := b.drain("r1", time.Minute)
		b.pass(3 * time.Second)
		if d.done {
			t.Error("the drain ends before its request")
		}
		f.land()
		b.wantDrained(d, DrainResult{InFlight: 1, Finished: 1, Waited: 3 * time.Second})
		b.apply(shifted())
		b.wantStart(waiting, "r2", 3*time.Second)
		waiting.land()
	})
	inBubble(t, "they are cut", func(b *bubble) {
		b.apply(stableOnly())
		b.cuttable()
		b.cuttable()
		b.apply(holding(stableOnly()))
		d := b.drain("r1", 5*time.Second)
		b.pass(5 * time.Second)
		b.wantDrained(d, DrainResult{InFlight: 2, Cut: 2, Waited: 5 * time.Second})
		if got := statsOf(b.stats(), "web", "r1"); got.Failed.Cut != 2 {
			t.Errorf("counted %+v", got)
		}
	})
	for name, reopen := range map[string]func(b *bubble){
		"the hold ends by itself": func(b *bubble) { b.pass(10 * time.Second) },
		"a table ends the hold":   func(b *bubble) { b.apply(stableOnly()) },
	} {
		inBubble(t, name, func(b *bubble) {
			b.apply(stableOnly())
			f := b.fly()
			b.apply(holding(stableOnly(), func(h *Hold) { h.Until = time.Now().Add(10 * time.Second) }))
			d := b.drain("r1", time.Minute)
			reopen(b)
			synctest.Wait()
			if !d.done || d.err == nil || !strings.Contains(d.err.Error(), "gets requests again") {
				t.Errorf("drained: %t, %v", d.done, d.err)
			}
			f.land()
		})
	}
	// A request that has left for another release and is cut there isn't this one's.
	inBubble(t, "one goes elsewhere", func(b *bubble) {
		b.apply(stableOnly())
		f := b.cuttable()
		other := b.cuttable()
		b.apply(shifted())
		d := b.drain("r1", time.Minute)
		if f.again() != going || f.account.release != "r2" {
			t.Errorf("it goes on at %+v", f.account)
		}
		f.loop.do(func() { f.end(cut, 0, 0) })
		other.land()
		b.wantDrained(d, DrainResult{InFlight: 2, Finished: 2})
	})
}
