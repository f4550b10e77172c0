package proxy

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// bubble is a proxy without any I/O, for tests in synctest's time.
type bubble struct {
	*Proxy
	t       *testing.T
	version uint64
}

func newBubble(t *testing.T) *bubble { return &bubble{Proxy: New(Config{}), t: t} }

func (b *bubble) apply(services ...Service) {
	b.t.Helper()
	b.version++
	if err := b.Apply(b.t.Context(), Table{Version: b.version, Services: services}); err != nil {
		b.t.Fatal(err)
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
	cancel context.CancelCauseFunc
	// release is that which it is at, after ended; took is how long the start took.
	release string
	took    time.Duration
	ended   atomic.Bool
}

// fly starts a flight in a goroutine of its own. One that finds no upstream is ended
// with its outcome, the others stay in flight.
func (b *bubble) fly(change ...func(*flight)) *flown {
	ctx, cancel := context.WithCancelCause(b.t.Context())
	f := &flown{flight: flight{table: &b.table, path: "/", cancel: cancel}, cancel: cancel}
	for _, c := range change {
		c(&f.flight)
	}
	go func() {
		began := time.Now()
		if f.start(ctx) {
			f.release = f.account.release
		} else {
			f.why = f.outcome(unavailable)
			f.flight.end(f.why, 0, 0)
		}
		f.took = time.Since(began)
		f.ended.Store(true)
	}()
	synctest.Wait()
	return f
}

// land answers a flight.
func (f *flown) land() {
	synctest.Wait()
	f.end(answered, 200, f.took)
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
	if !f.ended.Load() || f.release != release || f.took != took {
		b.t.Errorf("started: %t, after %s at %q, want %s and %q", f.ended.Load(), f.took, f.release, took, release)
	}
}

func (b *bubble) wantEnd(f *flown, why outcome, took time.Duration) {
	b.t.Helper()
	synctest.Wait()
	if !f.ended.Load() || f.release != "" || f.why != why || f.took != took {
		b.t.Errorf("ended: %t, after %s as %s at %q, want %s as %s", f.ended.Load(), f.took, f.why, f.release, took, why)
	}
}

func TestHoldLetsGo(t *testing.T) {
	inBubble(t, "to the release of the next table", func(b *bubble) {
		b.apply(stableOnly())
		before := b.fly()
		b.apply(holding(stableOnly()))
		first := b.fly()
		time.Sleep(4 * time.Second)
		second := b.fly()
		b.wantStart(before, "r1", 0)
		b.wantHeld(HeldStats{Now: 2, Total: 2})
		time.Sleep(6 * time.Second)
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
		time.Sleep(20*time.Second - 1)
		late := b.fly()
		b.wantHeld(HeldStats{Now: 2, Total: 2})
		time.Sleep(time.Nanosecond)
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
		time.Sleep(50 * time.Second)
		// It lets fewer wait, but who waits, waits.
		b.apply(holding(stableOnly(), func(h *Hold) { h.Requests = 1 }))
		b.wantHeld(HeldStats{Now: 1, Total: 1})
		refused := b.fly()
		b.wantEnd(refused, held, 0)
		time.Sleep(10 * time.Second)
		b.wantEnd(f, held, time.Minute)
		b.wantHeld(HeldStats{Total: 1, Expired: 1, Longest: time.Minute})
	})
	inBubble(t, "with less time", func(b *bubble) {
		b.apply(holding(stableOnly()))
		f := b.fly()
		time.Sleep(30 * time.Second)
		b.apply(holding(stableOnly(), func(h *Hold) { h.Time = 20 * time.Second }))
		b.wantEnd(f, held, 30*time.Second)
	})
	inBubble(t, "the longest is of the last", func(b *bubble) {
		for _, wait := range []time.Duration{9 * time.Second, 2 * time.Second} {
			b.apply(holding(stableOnly()))
			f := b.fly()
			time.Sleep(wait)
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
		time.Sleep(2 * time.Second)
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
		time.Sleep(time.Minute)
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
		one.cancel(nil)
		synctest.Wait()
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
		big := func(f *flight) { f.header = http.Header{"X-Big": {strings.Repeat("x", 10000)}} }
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
		f.cancel(nil)
		synctest.Wait()
	})
}

// leaving is a client that goes away at a time.
type leaving struct{ at time.Time }

func (l leaving) gone() bool { return !time.Now().Before(l.at) }

func TestHoldOfClientsThatGo(t *testing.T) {
	for _, c := range []struct {
		name  string
		leave func(f *flown)
		want  outcome
	}{
		{"the client goes", func(f *flown) { f.cancel(context.Canceled) }, clientGone},
		{"the proxy ends", func(f *flown) { f.cancel(errCut) }, cut},
	} {
		inBubble(t, c.name, func(b *bubble) {
			b.apply(holding(stableOnly()))
			f := b.fly()
			time.Sleep(5 * time.Second)
			c.leave(f)
			b.wantEnd(f, c.want, 5*time.Second)
			b.wantHeld(HeldStats{Total: 1, Gone: 1, Longest: 5 * time.Second})
			got := statsOf(b.stats(), "web", "")
			if got.Accepted != 1 || got.ClientGone+got.Failed.Cut != 1 {
				t.Errorf("counted %+v", got)
			}
		})
	}
	inBubble(t, "the client goes in silence", func(b *bubble) {
		b.apply(holding(stableOnly()))
		f := b.fly(func(f *flight) { f.peer = leaving{time.Now().Add(2500 * time.Millisecond)} })
		time.Sleep(time.Minute / 2)
		b.wantEnd(f, clientGone, 3*time.Second)
		b.wantHeld(HeldStats{Total: 1, Gone: 1, Longest: 3 * time.Second})
	})
	inBubble(t, "and isn't sent on", func(b *bubble) {
		b.apply(holding(stableOnly()))
		f := b.fly(func(f *flight) { f.peer = leaving{time.Now().Add(time.Millisecond)} })
		time.Sleep(2 * time.Millisecond)
		b.apply(shifted())
		b.wantEnd(f, clientGone, 2*time.Millisecond)
		if got := statsOf(b.stats(), "web", "r2"); got.Accepted != 0 {
			t.Errorf("counted %+v", got)
		}
	})
}

// A request that was in flight when the hold began goes on at its release, and waits
// when no upstream there takes it.
func TestHoldOfRequestsInFlight(t *testing.T) {
	inBubble(t, "another upstream", func(b *bubble) {
		s := web(rel("r1", 100, at("127.0.0.1:1"), at("127.0.0.1:2")))
		b.apply(s)
		f := b.fly()
		b.apply(holding(s))
		if first := f.upstream; !f.next(b.t.Context()) || f.upstream == first {
			t.Errorf("the next attempt goes to %v after %v", f.upstream, first)
		}
		b.wantHeld(HeldStats{})
		f.land()
	})
	inBubble(t, "none", func(b *bubble) {
		b.apply(stableOnly())
		f := b.fly()
		b.apply(holding(stableOnly()))
		var next atomic.Bool
		go func() { next.Store(f.next(b.t.Context()) && f.next(b.t.Context())) }() // its only upstream is tried twice
		b.wantHeld(HeldStats{Now: 1, Total: 1})
		// The drain of stable needn't wait for it.
		if got, err := b.Drain(b.t.Context(), "web", "r1", time.Hour); err != nil || got != (DrainResult{}) {
			t.Errorf("drained %+v, %v", got, err)
		}
		time.Sleep(time.Second)
		b.apply(shifted())
		synctest.Wait()
		if !next.Load() || f.account.release != "r2" {
			t.Errorf("after the hold it is %t that it goes on, at %v", next.Load(), f.account)
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
		if f.next(b.t.Context()); f.next(b.t.Context()) || f.outcome(broken) != held {
			t.Errorf("it goes on, or ends as %s", f.outcome(broken))
		}
		f.end(held, 0, 0)
		s := b.stats()
		if r1, nobody := statsOf(s, "web", "r1"), statsOf(s, "web", ""); r1.Rerouted != 1 || nobody.Failed.Held != 1 {
			t.Errorf("stable %+v, nobody %+v", r1, nobody)
		}
	})
}

// The bytes that a request with its text takes are at least those of the text.
func TestHeldSize(t *testing.T) {
	f := &flight{host: "h", path: "/p", query: "q=1", kept: 7, header: http.Header{"A": {"b", "cc"}, "D": {"e"}}}
	if got, want := f.size(), int64(heldCost+1+2+3+7+(1+1)+(1+2)+(1+1)+3*fieldCost); got != want {
		t.Errorf("%d bytes, want %d", got, want)
	}
}
