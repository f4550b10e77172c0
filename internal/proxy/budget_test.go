package proxy

import (
	"math/rand/v2"
	"testing"
	"time"
)

// budgeted is web with three upstreams and a retry budget.
func budgeted(share float64) Service {
	s := web(rel("r1", 100, at("127.0.0.1:1"), at("127.0.0.1:2"), at("127.0.0.1:3")))
	s.RetryBudget = &RetryBudget{Share: share}
	return s
}

// TestRetryBudget has every request fail, as if it was sent, with another try each time.
func TestRetryBudget(t *testing.T) {
	inBubble(t, "a share of the requests", func(b *bubble) {
		b.apply(budgeted(20))
		// One loop alone, of two, so that it has half of the floor.
		fail := func(n int) (retries int) {
			for range n {
				f := b.fly(func(f *flight) { f.loop = b.loops[0] })
				for f.retry(true) == going {
					retries++
				}
				f.loop.do(func() { f.end(broken, 0, 0) })
			}
			return retries
		}
		floor := budgetFloor / len(b.loops) * budgetSlots
		if got, want := fail(1000), floor+200; got != want {
			t.Errorf("%d retries of 1000 requests, want %d", got, want)
		}
		stats := statsOf(b.stats(), "web", "r1")
		if stats.Retried != uint64(floor+200) || stats.RetryRefused == 0 || stats.RetryRefused > 1000 || stats.Failed.Broken != 1000 {
			t.Errorf("counted %+v", stats)
		}
		// What was in a window before doesn't count in the next one.
		b.pass(budgetSlots * budgetSlot)
		if got, want := fail(100), floor+20; got != want {
			t.Errorf("%d retries in the next window, want %d", got, want)
		}
	})
	inBubble(t, "not of what was never sent", func(b *bubble) {
		b.apply(budgeted(0))
		for range 2000 {
			f := b.fly()
			if f.retry(false) != going || f.retry(false) != going {
				t.Fatal("the other instances aren't tried")
			}
			f.land()
		}
		if stats := statsOf(b.stats(), "web", "r1"); stats.RetryRefused != 0 || stats.Retried != 4000 {
			t.Errorf("counted %+v", stats)
		}
	})
	inBubble(t, "nor of what another release gets", func(b *bubble) {
		s := fallen(budgeted(0).Releases[0], rel("r2", 0, at("127.0.0.1:4")))
		s.RetryBudget = &RetryBudget{}
		b.apply(s)
		for range 2000 {
			f := b.fly()
			for f.account.release == "r1" {
				if f.retry(true) != going {
					t.Fatal("the fallback isn't tried")
				}
			}
			f.land()
		}
		if r2 := statsOf(b.stats(), "web", "r2"); r2.Answered[2] != 2000 {
			t.Errorf("counted %+v", r2)
		}
	})
	inBubble(t, "without one there is no bound", func(b *bubble) {
		s := budgeted(0)
		s.RetryBudget = nil
		b.apply(s)
		for range 2000 {
			f := b.fly()
			if f.retry(true) != going || f.retry(true) != going {
				t.Fatal("it isn't tried again")
			}
			f.land()
		}
	})
}

// TestRetryBudgetWindow compares a budget with what a list of everything says.
func TestRetryBudgetWindow(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	type event struct {
		slot  int64
		retry bool
	}
	var all []event
	var b budget
	var now moment
	for range 20000 {
		if random.IntN(50) == 0 {
			now += moment(random.Int64N(int64(4 * budgetSlot)))
		}
		if random.IntN(2000) == 0 {
			now += moment(time.Hour)
		}
		slot := int64(now) / int64(budgetSlot)
		var requests, retries float64
		for _, e := range all {
			switch {
			case e.slot <= slot-budgetSlots:
			case e.retry:
				retries++
			default:
				requests++
			}
		}
		if random.IntN(3) > 0 {
			b.request(now)
			all = append(all, event{slot, false})
		} else if got, want := b.retry(now, 20, 5), retries+1 <= 5+requests*20/100; got != want {
			t.Fatalf("after %v requests and %v retries another one is %v", requests, retries, got)
		} else if got {
			all = append(all, event{slot, true})
		}
		if len(all) > 2000 {
			all = all[1000:]
		}
	}
}

// TestRetryBudgetAtTheWire has an instance break off after it was sent a request: a few
// of them are sent again, and the rest fails as it would without a retry. A dead
// instance among others still costs nothing.
func TestRetryBudgetAtTheWire(t *testing.T) {
	dying := faked(t, func(_ int64, c *fakeConn) { c.request() })
	s := web(rel("r1", 100, dying.Upstream))
	s.RetryBudget = &RetryBudget{Share: 10}
	p := start(t, Config{Loops: 1}, s)
	const n = 500
	for range n {
		if resp, _ := p.do("GET", "/", ""); resp.StatusCode != 502 {
			t.Fatalf("status %d", resp.StatusCode)
		}
	}
	// The test may go on for longer than a window.
	got := p.release("r1")
	if got.Retried < budgetFloor*budgetSlots || got.Retried+got.RetryRefused != n || got.RetryRefused == 0 || got.Failed.Broken != n {
		t.Errorf("counted %+v", got)
	}
	if conns := uint64(dying.conns.Load()); conns != n+got.Retried {
		t.Errorf("%d attempts of %d requests and %d retries", conns, n, got.Retried)
	}
	s.RetryBudget.Share = 0
	s.Releases = []Release{rel("r2", 100, refusing(t), saying(t, "alive"))}
	p.apply(2, s)
	for range n {
		if resp, body := p.do("POST", "/", "body"); resp.StatusCode != 200 || body != "alive" {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
	}
}
