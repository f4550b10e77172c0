package proxy

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// sharesOf draws many requests, of which so many are in flight at a time, and returns the
// shares of the upstreams.
func sharesOf(r *release, inFlight int) []float64 {
	const n = 40000
	counts := make([]float64, len(r.pools))
	var busy []*pool
	for range n {
		p, _ := r.choose(nil, rand.IntN)
		p.inFlight++
		if busy = append(busy, p); len(busy) > inFlight {
			at := rand.IntN(len(busy))
			busy[at].inFlight--
			busy[at] = busy[len(busy)-1]
			busy = busy[:len(busy)-1]
		}
		for i := range r.pools {
			if r.pools[i] == p {
				counts[i] += 1. / n
			}
		}
	}
	for _, p := range busy {
		p.inFlight--
	}
	return counts
}

// slowStarting is web with upstreams that start slowly.
func slowStarting(over time.Duration, upstreams ...Upstream) Service {
	s := web(rel("r1", 100, upstreams...))
	s.Releases[0].SlowStart = over
	return s
}

func (b *bubble) theRelease() *release {
	b.pass(0)
	return b.loops[0].table.services[0].releases[0]
}

func TestSlowStart(t *testing.T) {
	one, two, three := at("127.0.0.1:1"), at("127.0.0.1:2"), at("127.0.0.1:3")
	want := func(t *testing.T, b *bubble, inFlight int, want ...float64) {
		t.Helper()
		got := sharesOf(b.theRelease(), inFlight)
		for i := range want {
			if math.Abs(got[i]-want[i]) > .03 {
				t.Errorf("with %d in flight the shares are %.3f, want %.3f", inFlight, got, want)
				return
			}
		}
	}
	inBubble(t, "a fresh one among others", func(b *bubble) {
		b.apply(slowStarting(10*time.Second, one, two))
		b.pass(time.Minute)
		b.apply(slowStarting(10*time.Second, one, two, three))
		// A tenth of what each of the others gets; with so many in flight that the
		// choice between two decides, as well.
		want(b.t, b, 0, 1/2.1, 1/2.1, .1/2.1)
		want(b.t, b, 200, 1/2.1, 1/2.1, .1/2.1)
		b.pass(5 * time.Second)
		want(b.t, b, 0, 1/2.55, 1/2.55, .55/2.55)
		want(b.t, b, 200, 1/2.55, 1/2.55, .55/2.55)
		// A table that changes nothing of it doesn't begin anew.
		b.apply(slowStarting(10*time.Second, one, two, three))
		b.pass(5 * time.Second)
		want(b.t, b, 0, 1/3., 1/3., 1/3.)
		want(b.t, b, 200, 1/3., 1/3., 1/3.)
	})
	inBubble(t, "where all are fresh", func(b *bubble) {
		b.apply(slowStarting(10*time.Second, one, two))
		want(b.t, b, 0, .5, .5)
		b.pass(time.Second)
		want(b.t, b, 50, .5, .5)
	})
	inBubble(t, "the only one that is left", func(b *bubble) {
		b.apply(slowStarting(10*time.Second, one))
		b.pass(time.Minute)
		b.apply(slowStarting(10*time.Second, one, two))
		for _, p := range b.theRelease().pools {
			if p.upstream.target.Address == "127.0.0.1:1" {
				p.upstream.condition.eject("gone")
			}
		}
		want(b.t, b, 10, 0, 1)
	})
	inBubble(t, "without it", func(b *bubble) {
		b.apply(slowStarting(0, one))
		b.pass(time.Minute)
		b.apply(slowStarting(0, one, two))
		want(b.t, b, 0, .5, .5)
	})
}
