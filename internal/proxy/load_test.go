package proxy

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Under load, with holds, mirrors, rules and drains that come and go, and instances
// that are removed, every request has one outcome, which is the one that its client
// saw, and every copy goes out once.
func TestCountsAddUpUnderLoad(t *testing.T) {
	const clients, tables = 8, 50
	stable := rel("r1", 100, saying(t, "x"), saying(t, "x"))
	copies, receiver := received(t, write("x"))
	candidate := rel("r2", 0, receiver, receiver)
	random := rand.New(rand.NewPCG(1, 2))
	// tableOf draws a table; who holds requests lets few wait, so that some are refused.
	tableOf := func() Service {
		weight := []int{0, 5, 50, 100}[random.IntN(4)]
		a, b := stable, candidate
		a.Weight, b.Weight = 100-weight, weight
		if random.IntN(2) == 0 {
			a.Upstreams = a.Upstreams[1:]
		}
		s := web(a, b)
		s.Candidate = "r2"
		if random.IntN(2) == 0 {
			s.Match = []Match{{Query: "beta"}}
		}
		if random.IntN(2) == 0 {
			s.Sticky = &Sticky{Header: "X-User"}
		}
		if random.IntN(2) == 0 {
			s.Mirror = &Mirror{Share: 50, MaxInFlight: 4, CompareBody: true, MaxBody: 10}
		}
		if random.IntN(3) == 0 {
			s = holding(s, func(h *Hold) { h.Requests = 2 + random.IntN(clients) })
		}
		return s
	}
	p := start(t, Config{}, web(stable))
	stop := make(chan struct{})
	var ok, refused atomic.Uint64
	var all sync.WaitGroup
	for n := range clients {
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				method, body := http.MethodGet, ""
				if (n+i)%3 == 0 {
					method, body = http.MethodPost, "a body"
				}
				resp, text, err := p.try(method, []string{"/", "/?beta"}[i%2], body, "X-User", string(rune('a'+n)))
				switch {
				case err != nil:
					t.Errorf("lost a request: %v", err)
					return
				case resp.StatusCode == http.StatusOK && text == "x":
					ok.Add(1)
				case resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "":
					refused.Add(1)
				default:
					t.Errorf("%d %q", resp.StatusCode, text)
					return
				}
			}
		})
	}
	for v := uint64(2); v < tables; v++ {
		s := tableOf()
		p.apply(v, s)
		switch {
		case s.Hold != nil:
			if _, err := p.Drain(context.Background(), "web", "r1", DrainTimes{All: patience}); err != nil {
				t.Error(err)
			}
			eventually(t, "some wait", func() bool { return p.held().Now >= 2 || t.Failed() })
		default:
			target := ok.Load() + 20
			eventually(t, "requests go on", func() bool { return ok.Load() >= target || t.Failed() })
			// Nothing to wait for but what was removed, or has no weight any more.
			if _, err := p.Drain(context.Background(), "web", "r1", DrainTimes{All: patience}); err != nil {
				t.Error(err)
			}
		}
		p.addsUp()
	}
	p.apply(tables, web(stable))
	close(stop)
	all.Wait()
	mirrors, s := p.mirrorsEnd(), p.stats()
	nobody, r1, r2 := statsOf(s, "web", ""), statsOf(s, "web", "r1"), statsOf(s, "web", "r2")
	if got := r1.Answered[2] + r2.Answered[2]; got != ok.Load() {
		t.Errorf("the proxy counted %d answers, the clients %d", got, ok.Load())
	}
	if nobody.Failed != (Failures{Held: refused.Load()}) || r1.Failed.Sum()+r2.Failed.Sum() != 0 {
		t.Errorf("the clients saw %d refusals, counted are %+v, %+v, %+v", refused.Load(), nobody.Failed, r1.Failed, r2.Failed)
	}
	if accepted, rerouted := nobody.Accepted+r1.Accepted+r2.Accepted, r1.Rerouted+r2.Rerouted; accepted-rerouted != ok.Load()+refused.Load() {
		t.Errorf("accepted are %d, of which %d twice, of %d requests", accepted, rerouted, ok.Load()+refused.Load())
	}
	if h := p.held(); h.Now != 0 || h.Total != h.LetGo || h.LetGo == 0 || h.Longest <= 0 || h.Longest > time.Minute {
		t.Errorf("held %+v", h)
	}
	sent, plain := copies.counts()
	for id, n := range copies.seen {
		if n != 1 {
			t.Errorf("request %s was copied %d times", id, n)
		}
	}
	// One that a table broke off may have got there or not.
	if uint64(plain) != r2.Accepted || uint64(sent) > mirrors.Sent || uint64(sent)+mirrors.Uncompared < mirrors.Sent || mirrors.Same == 0 || mirrors.Failed+mirrors.Different != 0 {
		t.Errorf("the candidate got %d copies and %d others; counted are %+v and %+v", sent, plain, mirrors, r2)
	}
	if ok.Load() == 0 || refused.Load() == 0 {
		t.Errorf("%d answered, %d refused: the test tests nothing", ok.Load(), refused.Load())
	}
}
