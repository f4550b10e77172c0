package proxy

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segue-deploy/segue/internal/proxy/h1"
)

// bubble is a proxy without any I/O, for tests in synctest's time.
type bubble struct {
	*Proxy
	t       *testing.T
	version uint64
}

func newBubble(t *testing.T) *bubble { return &bubble{Proxy: New(Config{Loops: 2}), t: t} }

func (b *bubble) apply(services ...Service) {
	b.t.Helper()
	b.version++
	if err := b.Apply(b.t.Context(), Table{Version: b.version, Services: services}); err != nil {
		b.t.Fatal(err)
	}
	b.pass(0)
}

// pass lets time pass, with what the loops do at their times.
func (b *bubble) pass(d time.Duration) {
	end := time.Now().Add(d)
	for {
		next := end
		for _, l := range b.loops {
			if at := l.timers.next(); !at.IsZero() && at.Before(next) {
				next = at
			}
		}
		time.Sleep(time.Until(next))
		for _, l := range b.loops {
			l.do(func() { l.timers.run(l.now) })
		}
		for called := true; called; {
			called = false
			for _, l := range b.loops {
				l.do(func() { called = l.takeCalls() || called })
			}
		}
		if !next.Before(end) {
			return
		}
	}
}

// stats returns the counts when everything waits for something.
func (b *bubble) stats() Stats {
	b.t.Helper()
	synctest.Wait()
	s, err := b.Stats(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	addsUp(b.t, s)
	return s
}

func (b *bubble) held() HeldStats { return serviceStats(b.stats(), "web").Held }

// flown is a flight and what became of its start.
type flown struct {
	flight
	began time.Time
	// at is that release at which it was first, after ended; took is how long the start
	// took.
	at    string
	took  time.Duration
	ended bool
	// wasCut is what becomes of it when it is cut: nil is nothing.
	wasCut func()
}

// fly starts a flight. One that finds no upstream is ended with its outcome, the others
// stay in flight.
func (b *bubble) fly(change ...func(*flight)) *flown {
	l := b.loops[rand.IntN(len(b.loops))]
	f := &flown{flight: flight{loop: l, path: "/"}, began: time.Now()}
	f.owner = f
	f.wasCut = func() {
		if f.waits() {
			f.leaveHold(cut)
		}
	}
	for _, c := range change {
		c(&f.flight)
	}
	l.do(func() {
		if v := f.start(); v != waits {
			f.resume(v)
		}
	})
	return f
}

func (f *flown) resume(v verdict) {
	if v == waits {
		return // it waits on, by another table
	}
	if f.ended = true; v == going {
		f.at = f.account.release
	} else {
		f.why = f.outcome(unavailable)
		f.flight.end(f.why, 0, 0)
	}
	f.took = time.Since(f.began)
}

func (f *flown) cut() { f.wasCut() }

func (f *flown) mayHandBack() bool { return false }

// leaveHold ends a wait from outside.
func (f *flown) leaveHold(why outcome) {
	f.abandon(why)
	f.resume(nobody)
}

// again asks for another attempt, after one that was never sent.
func (f *flown) again() verdict { return f.retry(false) }

// retry asks for another attempt.
func (f *flown) retry(sent bool) (v verdict) {
	f.loop.do(func() { v = f.flight.again(sent) })
	return v
}

// land answers a flight.
func (f *flown) land() {
	f.loop.do(func() { f.end(answered, 200, time.Since(f.began)) })
}

// holding is web with a hold that ends by itself after an hour.
func holding(s Service, change ...func(*Hold)) Service {
	s.Hold = &Hold{Until: time.Now().Add(time.Hour), Time: time.Minute, Requests: 100, Bytes: 1 << 30}
	for _, c := range change {
		c(s.Hold)
	}
	return s
}

func stableOnly() Service { return canary(0, at("127.0.0.1:1"), at("127.0.0.1:2")) }
func shifted() Service    { return canary(100, at("127.0.0.1:1"), at("127.0.0.1:2")) }

// inBubble runs a test in a bubble.
func inBubble(t *testing.T, name string, test func(b *bubble)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(newBubble(t)) })
	})
}

func (b *bubble) wantHeld(want HeldStats) {
	b.t.Helper()
	if got := b.held(); got != want {
		b.t.Errorf("held %+v, want %+v", got, want)
	}
}

func (b *bubble) wantStart(f *flown, release string, took time.Duration) {
	b.t.Helper()
	synctest.Wait()
	if !f.ended || f.at != release || f.took != took {
		b.t.Errorf("started: %t, after %s at %q, want %s and %q", f.ended, f.took, f.at, took, release)
	}
}

func (b *bubble) wantEnd(f *flown, why outcome, took time.Duration) {
	b.t.Helper()
	synctest.Wait()
	if !f.ended || f.at != "" || f.why != why || f.took != took {
		b.t.Errorf("ended: %t, after %s as %s at %q, want %s as %s", f.ended, f.took, f.why, f.at, took, why)
	}
}

func TestHoldLetsGo(t *testing.T) {
	inBubble(t, "to the release of the next table", func(b *bubble) {
		b.apply(stableOnly())
		before := b.fly()
		b.apply(holding(stableOnly()))
		first := b.fly()
		b.pass(4 * time.Second)
		second := b.fly()
		b.wantStart(before, "r1", 0)
		b.wantHeld(HeldStats{Now: 2, Total: 2})
		b.pass(6 * time.Second)
		b.apply(shifted())
		b.wantStart(first, "r2", 10*time.Second)
		b.wantStart(second, "r2", 6*time.Second)
		b.wantHeld(HeldStats{Total: 2, LetGo: 2, Longest: 10 * time.Second})
		after := b.fly()
		b.wantStart(after, "r2", 0)
		for _, f := range []*flown{before, first, second, after} {
			f.land()
		}
		s := b.stats()
		if r1, r2 := statsOf(s, "web", "r1"), statsOf(s, "web", "r2"); r1.Accepted != 1 || r2.Accepted != 3 || r2.Latency.Max() < 9*time.Second {
			t.Errorf("stable %+v, candidate %+v", r1, r2)
		}
	})
	inBubble(t, "or back to stable", func(b *bubble) {
		b.apply(holding(stableOnly()))
		f := b.fly()
		b.apply(stableOnly())
		b.wantStart(f, "r1", 0)
		f.land()
	})
	inBubble(t, "to nobody", func(b *bubble) {
		b.apply(holding(stableOnly()))
		f := b.fly()
		b.apply(web())
		b.wantEnd(f, unavailable, 0)
		b.wantHeld(HeldStats{Total: 1, LetGo: 1})
	})
	inBubble(t, "when the service is gone", func(b *bubble) {
		b.apply(holding(stableOnly()))
		f := b.fly()
		b.apply()
		b.wantEnd(f, unavailable, 0)
		b.wantHeld(HeldStats{Total: 1, LetGo: 1})
	})
	inBubble(t, "to a service that has taken its place", func(b *bubble) {
		b.apply(stableOnly())
		b.fly().land()
		b.apply(holding(stableOnly()))
		f := b.fly()
		other := holding(shifted())
		other.Name = "other"
		b.apply(other)
		b.wantHeld(HeldStats{Total: 1, LetGo: 1})
		if got := serviceStats(b.stats(), "other").Held; got.Now != 1 {
			t.Errorf("the other service holds %+v", got)
		}
		other.Hold = nil
		b.apply(other)
		b.wantStart(f, "r2", 0)
		f.land()
	})
}

func TestHoldEndsByItself(t *testing.T) {
	inBubble(t, "nobody sends a table", func(b *bubble) {
		b.apply(holding(stableOnly(), func(h *Hold) { h.Until, h.Time = time.Now().Add(20*time.Second), time.Minute }))
		f := b.fly()
		b.pass(20*time.Second - 1)
		late := b.fly()
		b.wantHeld(HeldStats{Now: 2, Total: 2})
		b.pass(time.Nanosecond)
		b.wantStart(f, "r1", 20*time.Second)
		b.wantStart(late, "r1", 1)
		after := b.fly()
		b.wantStart(after, "r1", 0)
		b.wantHeld(HeldStats{Total: 2, LetGo: 2, Longest: 20 * time.Second})
		for _, f := range []*flown{f, late, after} {
			f.land()
		}
	})
	inBubble(t, "it had ended before its table came", func(b *bubble) {
		b.apply(holding(stableOnly(), func(h *Hold) { h.Until = time.Now().Add(-time.Second) }))
		f := b.fly()
		b.wantStart(f, "r1", 0)
		b.wantHeld(HeldStats{})
		f.land()
	})
}

func TestHoldIsReplaced(t *testing.T) {
	inBubble(t, "the wait goes on", func(b *bubble) {
		b.apply(holding(stableOnly()))
		f := b.fly()
		b.pass(50 * time.Second)
		// It lets fewer wait, but who waits, waits.
		b.apply(holding(stableOnly(), func(h *Hold) { h.Requests = 1 }))
		b.wantHeld(HeldStats{Now: 1, Total: 1})
		refused := b.fly()
		b.wantEnd(refused, held, 0)
		b.pass(10 * time.Second)
		b.wantEnd(f, held, time.Minute)
		b.wantHeld(HeldStats{Total: 1, Expired: 1, Longest: time.Minute})
	})
	inBubble(t, "with less time", func(b *bubble) {
		b.apply(holding(stableOnly()))
		f := b.fly()
		b.pass(30 * time.Second)
		b.apply(holding(stableOnly(), func(h *Hold) { h.Time = 20 * time.Second }))
		b.wantEnd(f, held, 30*time.Second)
	})
	inBubble(t, "the longest is of the last", func(b *bubble) {
		for _, wait := range []time.Duration{9 * time.Second, 2 * time.Second} {
			b.apply(holding(stableOnly()))
			f := b.fly()
			b.pass(wait)
			b.apply(stableOnly())
			f.land()
			if got := b.held().Longest; got != wait {
				t.Errorf("the longest is %s, want %s", got, wait)
			}
		}
		// A hold that has ended by itself doesn't begin anew with the next table, which
		// still has it; one that follows it is another one.
		short := holding(stableOnly(), func(h *Hold) { h.Until = time.Now().Add(time.Second) })
		b.apply(short)
		f := b.fly()
		b.pass(2 * time.Second)
		f.land()
		b.apply(short)
		if got := b.held().Longest; got != time.Second {
			t.Errorf("after the same table: the longest is %s", got)
		}
		b.apply(holding(stableOnly()))
		b.wantHeld(HeldStats{Total: 3, LetGo: 3})
	})
}

func TestHoldLimits(t *testing.T) {
	inBubble(t, "time", func(b *bubble) {
		b.apply(holding(stableOnly()))
		f := b.fly()
		b.pass(time.Minute)
		b.wantEnd(f, held, time.Minute)
		b.wantHeld(HeldStats{Total: 1, Expired: 1, Longest: time.Minute})
		if got := statsOf(b.stats(), "web", ""); got.Accepted != 1 || got.Failed != (Failures{Held: 1}) {
			t.Errorf("counted %+v", got)
		}
	})
	inBubble(t, "requests", func(b *bubble) {
		b.apply(holding(stableOnly(), func(h *Hold) { h.Requests = 2 }))
		one, two := b.fly(), b.fly()
		b.wantEnd(b.fly(), held, 0)
		one.loop.do(func() { one.leaveHold(clientGone) })
		three := b.fly() // there is room again
		b.wantHeld(HeldStats{Now: 2, Total: 3, Gone: 1})
		if got := statsOf(b.stats(), "web", ""); got.Accepted != 2 || got.Failed != (Failures{Held: 1}) || got.ClientGone != 1 {
			t.Errorf("counted %+v", got)
		}
		b.apply(stableOnly())
		two.land()
		three.land()
	})
	inBubble(t, "bytes", func(b *bubble) {
		big := func(f *flight) { f.head = headOf(http.Header{"X-Big": {strings.Repeat("x", 10000)}}) }
		b.apply(holding(stableOnly(), func(h *Hold) { h.Bytes = 2*heldCost + 5000 }))
		b.wantEnd(b.fly(func(f *flight) { f.kept = 1 << 20 }), held, 0)
		small := b.fly()
		b.wantEnd(b.fly(big), held, 0)
		other := b.fly()
		b.wantEnd(b.fly(), held, 0)
		b.wantHeld(HeldStats{Now: 2, Total: 2})
		b.apply(stableOnly())
		small.land()
		other.land()
		// What they took is given back.
		b.apply(holding(stableOnly(), func(h *Hold) { h.Bytes = heldCost + 11000 }))
		f := b.fly(big)
		b.wantHeld(HeldStats{Now: 1, Total: 3, LetGo: 2})
		f.loop.do(func() { f.leaveHold(clientGone) })
	})
}

func TestHoldOfClientsThatGo(t *testing.T) {
	for _, why := range []outcome{clientGone, cut} {
		inBubble(t, why.String(), func(b *bubble) {
			b.apply(holding(stableOnly()))
			f := b.fly()
			b.pass(5 * time.Second)
			f.loop.do(func() { f.leaveHold(why) })
			b.wantEnd(f, why, 5*time.Second)
			b.wantHeld(HeldStats{Total: 1, Gone: 1, Longest: 5 * time.Second})
			got := statsOf(b.stats(), "web", "")
			if got.Accepted != 1 || got.ClientGone+got.Failed.Cut != 1 {
				t.Errorf("counted %+v", got)
			}
			// Nothing wakes it any more.
			b.apply(shifted())
			b.pass(time.Hour)
			b.wantEnd(f, why, 5*time.Second)
			if got := statsOf(b.stats(), "web", "r2"); got.Accepted != 0 {
				t.Errorf("counted %+v", got)
			}
		})
	}
}

// A request that was in flight when the hold began goes on at its release, and waits
// when no upstream there takes it.
func TestHoldOfRequestsInFlight(t *testing.T) {
	inBubble(t, "another upstream", func(b *bubble) {
		s := web(rel("r1", 100, at("127.0.0.1:1"), at("127.0.0.1:2")))
		b.apply(s)
		f := b.fly()
		b.apply(holding(s))
		if first := f.pool; f.again() != going || f.pool == first {
			t.Errorf("the next attempt goes to %v after %v", f.pool, first)
		}
		b.wantHeld(HeldStats{})
		f.land()
	})
	inBubble(t, "none", func(b *bubble) {
		b.apply(stableOnly())
		f := b.fly()
		b.apply(holding(stableOnly()))
		f.again() // its only upstream is tried twice
		f.ended = false
		if v := f.again(); v != waits {
			t.Errorf("the third attempt is %d", v)
		}
		b.wantHeld(HeldStats{Now: 1, Total: 1})
		// The drain of stable needn't wait for it.
		if got, err := b.Drain(b.t.Context(), "web", "r1", DrainTimes{All: time.Hour}); err != nil || got != (DrainResult{}) {
			t.Errorf("drained %+v, %v", got, err)
		}
		b.pass(time.Second)
		b.apply(shifted())
		if !f.ended || f.account.release != "r2" {
			t.Errorf("after the hold it is %t that it goes on, at %v", f.ended, f.account)
		}
		f.land()
		s := b.stats()
		if r1, r2 := statsOf(s, "web", "r1"), statsOf(s, "web", "r2"); r1.Rerouted != 1 || r2.Answered[2] != 1 || r1.Accepted != 1 || r2.Accepted != 1 {
			t.Errorf("stable %+v, candidate %+v", r1, r2)
		}
	})
	inBubble(t, "too many wait", func(b *bubble) {
		b.apply(stableOnly())
		f := b.fly()
		b.apply(holding(stableOnly(), func(h *Hold) { h.Bytes = 1 }))
		if f.again(); f.again() != nobody || f.outcome(broken) != held {
			t.Errorf("it goes on, or ends as %s", f.outcome(broken))
		}
		f.loop.do(func() { f.end(held, 0, 0) })
		s := b.stats()
		if r1, nobody := statsOf(s, "web", "r1"), statsOf(s, "web", ""); r1.Rerouted != 1 || nobody.Failed.Held != 1 {
			t.Errorf("stable %+v, nobody %+v", r1, nobody)
		}
	})
}

// The bytes that a request with its text takes are at least those of the text.
func TestHeldSize(t *testing.T) {
	f := &flight{kept: 7, head: headOf(http.Header{"A": {"b", "cc"}, "D": {"e"}})}
	if got := f.size(); got < int64(heldCost+7+len(f.head.Raw)) || got > int64(heldCost+7+10*len(f.head.Raw)) {
		t.Errorf("%d bytes, for a head of %d", got, len(f.head.Raw))
	}
}

// headOf is a request's head with these fields.
func headOf(h http.Header) *h1.Head {
	text := []byte("GET / HTTP/1.1\r\nHost: a\r\n")
	for name, values := range h {
		for _, v := range values {
			text = appendField(text, name, v)
		}
	}
	r := &h1.Request{}
	if err := r.Parse(append(text, '\r', '\n')); err != nil {
		panic(err)
	}
	return &r.Head
}

// A hold ends by the clock of the process, whatever becomes of the time of day: the same
// time in the next table is the same end.
func TestHoldsEndByTheMonotonicClock(t *testing.T) {
	var w waiting
	said := time.Now().Add(time.Minute).Round(0) // as it comes with a table
	end := w.ends(said)
	if !strings.Contains(end.String(), " m=") || time.Until(end) > time.Minute || time.Until(end) < 30*time.Second {
		t.Errorf("it ends at %s", end)
	}
	if again := w.ends(said); again != end {
		t.Errorf("by the next table it ends at %s, and not at %s", again, end)
	}
	if other := w.ends(said.Add(time.Hour)); time.Until(other) < 30*time.Minute {
		t.Errorf("another hold ends at %s", other)
	}
}
