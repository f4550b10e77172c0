package proxy

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// ejecting is web with upstreams that are ejected after three failures.
func ejecting(keep float64, n int, change ...func(*Ejection)) Service {
	var ups []Upstream
	for i := range n {
		ups = append(ups, at(fmt.Sprintf("127.0.0.1:%d", i+1)))
	}
	s := web(rel("r1", 100, ups...))
	s.Releases[0].Ejection = Ejection{Failures: 3, Time: 10 * time.Second, Keep: keep}
	for _, c := range change {
		c(&s.Releases[0].Ejection)
	}
	return s
}

// endsAt has requests end so, one after the other, at an upstream.
func (b *bubble) endsAt(u *upstream, outcomes ...outcome) {
	b.t.Helper()
	for _, o := range outcomes {
		f := b.fly()
		for range 1000 {
			if f.pool.upstream == u {
				break
			}
			f.loop.do(func() { f.end(clientGone, 0, 0) })
			f = b.fly()
		}
		f.loop.do(func() { f.end(o, 500, 1) })
	}
}

func (b *bubble) healthy() (all []bool) {
	for _, p := range b.theRelease().pools {
		all = append(all, p.upstream.condition.healthy.Load())
	}
	return all
}

func TestEjection(t *testing.T) {
	want := func(t *testing.T, b *bubble, want ...bool) {
		t.Helper()
		if got := b.healthy(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("healthy: %v, want %v", got, want)
		}
	}
	up := func(b *bubble, i int) *upstream { return b.theRelease().pools[i].upstream }
	inBubble(t, "after failures in a row, of whatever kind", func(b *bubble) {
		b.apply(ejecting(50, 2))
		b.endsAt(up(b, 0), broken, broken, answered, timedOut, truncated)
		want(b.t, b, true, true)
		b.endsAt(up(b, 0), cut, clientGone) // which say nothing
		b.endsAt(up(b, 0), broken)
		want(b.t, b, false, true)
		if s := statsOf(b.stats(), "web", "r1"); s.Upstreams[0].Message == "" {
			t.Error("it isn't said why")
		}
	})
	inBubble(t, "never below the share that is to stay", func(b *bubble) {
		b.apply(ejecting(50, 5))
		for i := range 5 {
			b.endsAt(up(b, i), broken, broken, broken, broken)
		}
		want(b.t, b, false, false, true, true, true)
		b.apply(ejecting(0, 1))
		b.endsAt(up(b, 0), broken, broken, broken, broken)
		want(b.t, b, true)
	})
	inBubble(t, "one that is sick otherwise doesn't stay", func(b *bubble) {
		b.apply(ejecting(50, 4))
		up(b, 3).condition.eject("nobody is there")
		b.endsAt(up(b, 0), broken, broken, broken)
		b.endsAt(up(b, 1), broken, broken, broken)
		want(b.t, b, false, true, true, false)
	})
	inBubble(t, "for a time that grows", func(b *bubble) {
		b.apply(ejecting(50, 2))
		u := up(b, 0)
		out := func() time.Duration {
			b.endsAt(u, broken, broken, broken)
			for began := time.Now(); ; b.pass(time.Second) {
				if b.tell(u, nil, true); u.condition.healthy.Load() {
					return time.Since(began)
				}
			}
		}
		for _, seconds := range []time.Duration{10, 20, 30} {
			if got := out(); got != seconds*time.Second {
				t.Errorf("it is out for %s, want %ds", got, seconds)
			}
		}
		b.pass(30 * time.Second) // as long as it was out
		if got := out(); got != 10*time.Second {
			t.Errorf("it is out for %s, after it was good for long", got)
		}
	})
	inBubble(t, "attempts that are made again count, each once", func(b *bubble) {
		b.apply(ejecting(50, 2))
		f := b.fly()
		first := f.pool.upstream
		f.retry(true)
		f.loop.do(func() { f.end(broken, 0, 0) })
		if first.failures.Load() != 1 || up(b, 0).failures.Load()+up(b, 1).failures.Load() != 2 {
			t.Errorf("counted %d and %d", up(b, 0).failures.Load(), up(b, 1).failures.Load())
		}
	})
	inBubble(t, "by its own errors, if that is asked for", func(b *bubble) {
		b.apply(ejecting(50, 2))
		b.endsAt(up(b, 0), answered, answered, answered)
		want(b.t, b, true, true)
		b.apply(ejecting(50, 2, func(e *Ejection) { e.ServerErrors = true }))
		b.endsAt(up(b, 0), answered, answered, answered)
		want(b.t, b, false, true)
	})
	inBubble(t, "not at all", func(b *bubble) {
		b.apply(ejecting(50, 2, func(e *Ejection) { e.Failures = 0 }))
		b.endsAt(up(b, 0), broken, broken, broken, broken)
		want(b.t, b, true, true)
	})
}

// TestEjectionAtTheWire has one of two instances break off every answer, or hang: after a
// few requests it gets no more, and when it is good again, it gets its part.
func TestEjectionAtTheWire(t *testing.T) {
	for name, fails := range map[string]func(http.ResponseWriter, *http.Request){
		"breaks off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "half of")
			panic(http.ErrAbortHandler)
		},
		"hangs": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			var good atomic.Bool
			var asked atomic.Int64
			sick := handled(t, func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				io.Copy(io.Discard, r.Body) // or else the end of the connection isn't noticed
				if !good.Load() {
					fails(w, r)
					return
				}
				io.WriteString(w, "sick")
			})
			s := web(rel("r1", 100, sick, saying(t, "well")))
			s.Releases[0].Ejection = Ejection{Failures: 3, Time: 100 * time.Millisecond, Keep: 50}
			cfg := Config{Loops: 2}
			if name == "hangs" {
				cfg.ResponseHeaderTimeout = 200 * time.Millisecond
			}
			p := start(t, cfg, s)
			upstream := func() UpstreamStats { return statsOf(p.stats(), "web", "r1").Upstreams[0] }
			for upstream().Healthy {
				p.try("POST", "/", "body")
			}
			// On a slow machine the other one may seem to hang, too, and then neither goes.
			if n := asked.Load(); n < 3 || n > 4 && name != "hangs" {
				t.Errorf("it has got %d requests until it was ejected", n)
			}
			good.Store(true)
			eventually(t, "it gets requests again", func() bool {
				_, body := p.do("POST", "/", "body")
				return body == "sick"
			})
		})
	}
}
