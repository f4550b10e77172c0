package proxy

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// limited is a service whose instances may have so many requests in flight, with a queue.
func limited(limit, queue int, wait time.Duration, releases ...Release) Service {
	s := web(releases...)
	for i := range s.Releases {
		s.Releases[i].MaxInFlight = limit
	}
	s.Queue = &Queue{Requests: queue, Time: wait}
	return s
}

func (b *bubble) queued() HeldStats { return serviceStats(b.stats(), "web").Queued }

func (b *bubble) wantQueued(want HeldStats) {
	b.t.Helper()
	got := b.queued()
	got.Longest = 0
	if got != want {
		b.t.Errorf("queued %+v, want %+v", got, want)
	}
}

func TestQueue(t *testing.T) {
	inBubble(t, "first come, first served, and the rest is shed", func(b *bubble) {
		b.apply(limited(2, 3, time.Second, rel("r1", 100, at("127.0.0.1:1"))))
		inOneLoop := func(f *flight) { f.loop = b.loops[1] }
		var all []*flown
		for range 6 {
			all = append(all, b.fly(inOneLoop))
		}
		for i, want := range []string{"r1", "r1", "", "", "", ""} {
			if all[i].at != want {
				t.Errorf("request %d is at %q", i, all[i].at)
			}
		}
		if f := all[5]; !f.ended || f.why != shed {
			t.Errorf("one too many: %v, %v", f.ended, f.why)
		}
		b.wantQueued(HeldStats{Now: 3, Total: 3})
		b.pass(500 * time.Millisecond)
		all[1].land()
		b.pass(0)
		if all[2].at != "r1" || all[3].at != "" || all[2].took != 500*time.Millisecond {
			t.Errorf("the first one isn't served: %q, %q after %s", all[2].at, all[3].at, all[2].took)
		}
		b.pass(500 * time.Millisecond)
		if all[3].why != shed || all[4].why != shed || all[3].took != time.Second {
			t.Errorf("at the deadline: %v, %v after %s", all[3].why, all[4].why, all[3].took)
		}
		b.wantQueued(HeldStats{Total: 3, LetGo: 1, Expired: 2})
		if got := statsOf(b.stats(), "web", "r1"); got.Shed != 3 || got.InFlight != 2 || got.Failed.Sum() != 0 {
			t.Errorf("counted %+v", got)
		}
	})
	inBubble(t, "a client that has gone leaves its place", func(b *bubble) {
		b.apply(limited(1, 9, time.Minute, rel("r1", 100, at("127.0.0.1:1"))))
		first, second, third := b.fly(), b.fly(), b.fly()
		second.loop.do(func() { second.leaveHold(clientGone) })
		first.land()
		b.pass(0)
		if third.at != "r1" {
			t.Error("the next one isn't served")
		}
		b.wantQueued(HeldStats{Total: 2, LetGo: 1, Gone: 1})
	})
	inBubble(t, "one that was called and leaves has the next one called", func(b *bubble) {
		b.apply(limited(1, 9, time.Minute, rel("r1", 100, at("127.0.0.1:1"))))
		first := b.fly(func(f *flight) { f.loop = b.loops[0] })
		second := b.fly(func(f *flight) { f.loop = b.loops[0] })
		third := b.fly(func(f *flight) { f.loop = b.loops[1] })
		first.land() // which calls the second
		second.loop.do(func() { second.leaveHold(clientGone) })
		b.pass(0)
		if third.at != "r1" {
			t.Error("the next one isn't served")
		}
	})
	inBubble(t, "without a queue all is shed", func(b *bubble) {
		s := limited(1, 0, 0, rel("r1", 100, at("127.0.0.1:1")))
		s.Queue = nil
		b.apply(s)
		if first, second := b.fly(), b.fly(); first.at != "r1" || second.why != shed {
			t.Errorf("%q, %v", first.at, second.why)
		}
	})
	inBubble(t, "it follows the table, and a drain doesn't wait for it", func(b *bubble) {
		r1, r2 := rel("r1", 100, at("127.0.0.1:1")), rel("r2", 0, at("127.0.0.1:2"))
		b.apply(limited(1, 9, time.Minute, r1, r2))
		first, second, third := b.fly(), b.fly(), b.fly()
		r1.Weight, r2.Weight = 0, 100
		b.apply(limited(1, 9, time.Minute, r1, r2))
		if second.at+third.at != "r2" {
			t.Errorf("they are at %q and %q, want one at r2", second.at, third.at)
		}
		first.land()
		if d, err := b.Drain(t.Context(), "web", "r1", DrainTimes{All: time.Second}); err != nil || d.Cut != 0 {
			t.Errorf("%+v, %v", d, err)
		}
		// A hold takes them over.
		b.apply(holding(limited(1, 9, time.Minute, r1, r2)))
		b.wantQueued(HeldStats{Total: 2, LetGo: 2})
		b.wantHeld(HeldStats{Now: 1, Total: 1})
	})
	inBubble(t, "a retry waits for room, too", func(b *bubble) {
		b.apply(limited(1, 9, time.Minute, rel("r1", 100, at("127.0.0.1:1"), at("127.0.0.1:2"))))
		first, second := b.fly(), b.fly()
		if v := first.retry(false); v != waits {
			t.Fatalf("it is %v, want to wait", v)
		}
		b.pass(0)
		if first.at != "r1" || first.attempts != 2 {
			t.Errorf("%q after %d attempts; its own place has become free", first.at, first.attempts)
		}
		for first.retry(false) == waits {
			b.pass(0)
		}
		if first.tries != maxAttempts {
			t.Errorf("%d attempts, want %d", first.tries, maxAttempts)
		}
		first.loop.do(func() { first.end(connectFailed, 0, 0) })
		second.land()
	})
	inBubble(t, "an instance that is healthy again has room", func(b *bubble) {
		b.apply(limited(1, 9, time.Minute, rel("r1", 100, at("127.0.0.1:1"), at("127.0.0.1:2"))))
		sick := b.loops[0].table.services[0].releases[0].pools[0].upstream
		sick.condition.eject("nobody is there")
		first, second := b.fly(), b.fly()
		if second.at != "" {
			t.Fatal("it doesn't wait for a healthy one")
		}
		b.tell(sick, nil, true)
		b.pass(0)
		if second.at != "r1" {
			t.Error("it still waits")
		}
		first.land()
	})
}

// TestQueueKeepsTheLimit has many requests come, wait, go and end in several loops at
// once. There are never more in flight than may be, and when nothing moves any more,
// nobody waits while there is room.
func TestQueueKeepsTheLimit(t *testing.T) {
	const limit, rounds = 2, 3
	p := New(Config{Loops: 4})
	service := func(weight int) Service {
		return limited(limit, 1000, time.Hour,
			rel("r1", weight, at("127.0.0.1:1"), at("127.0.0.1:2")), rel("r2", 100-weight, at("127.0.0.1:3"), at("127.0.0.1:4")))
	}
	version := uint64(0)
	apply := func(weight int) {
		version++
		if err := p.Apply(t.Context(), Table{Version: version, Services: []Service{service(weight)}}); err != nil {
			t.Error(err)
		}
	}
	apply(50)
	end := make(chan struct{})
	var callers sync.WaitGroup
	for _, l := range p.loops {
		callers.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
					l.do(func() { l.takeCalls() })
				}
			}
		})
	}
	for round := range rounds {
		var clients sync.WaitGroup
		for n := range 16 {
			clients.Go(func() {
				random := rand.New(rand.NewPCG(uint64(round), uint64(n)))
				for range 40 {
					l := p.loops[random.IntN(len(p.loops))]
					f := &flown{flight: flight{loop: l, path: "/"}, began: time.Now()}
					f.owner = f
					var ended bool
					l.do(func() {
						if v := f.start(); v != waits {
							f.resume(v)
						}
					})
					patience, stays := random.IntN(200), random.IntN(4)
					for !ended {
						l.do(func() {
							switch {
							case f.ended && f.account != nil:
								if load := f.pool.upstream.load.Load(); load > limit || load < 1 {
									t.Errorf("the load is %d", load)
								}
								if stays--; stays < 0 {
									f.end(answered, 200, 1)
									ended = true
								}
							case f.ended:
								t.Errorf("it ends with %v", f.why)
								ended = true
							case patience == 0:
								f.leaveHold(clientGone)
								ended = true
							default:
								patience--
							}
						})
					}
				}
			})
		}
		clients.Go(func() { apply(round * 37 % 101) })
		clients.Wait()
	}
	close(end)
	callers.Wait()
	s, err := p.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	addsUp(t, s)
	if q := serviceStats(s, "web").Queued; q.Now != 0 || q.Total == 0 {
		t.Errorf("queued %+v", q)
	}
	for key, u := range p.shared.upstreams {
		if n := u.load.Load(); n != 0 {
			t.Errorf("%v has a load of %d at the end", key, n)
		}
	}
}

// TestQueueLosesNoCall fills an instance, has requests queue up in other loops while it
// empties, and wants each of them to get its turn without anything else happening.
func TestQueueLosesNoCall(t *testing.T) {
	for range 300 {
		p := New(Config{Loops: 3})
		if err := p.Apply(t.Context(), Table{Version: 1, Services: []Service{limited(2, 100, time.Hour, rel("r1", 100, at("127.0.0.1:1")))}}); err != nil {
			t.Fatal(err)
		}
		var served atomic.Int64
		var all sync.WaitGroup
		const n = 12
		for i := range n {
			l := p.loops[i%3]
			all.Go(func() {
				f := &oneShot{flight: flight{loop: l, path: "/"}, served: &served}
				f.owner = f
				l.do(func() {
					if f.start() == going {
						f.resume(going)
					}
				})
			})
		}
		all.Wait()
		for idle := false; !idle; {
			idle = true
			for _, l := range p.loops {
				l.do(func() { idle = !l.takeCalls() && idle })
			}
		}
		if got := served.Load(); got != n {
			t.Fatalf("%d of %d are served, and nobody is called", got, n)
		}
	}
}

// oneShot is a flight that ends as soon as it is under way.
type oneShot struct {
	flight
	served *atomic.Int64
}

func (f *oneShot) resume(v verdict) {
	if v == going {
		f.served.Add(1)
		f.end(answered, 200, 1)
	}
}
func (f *oneShot) cut()              {}
func (f *oneShot) mayHandBack() bool { return false }

// TestOverloadAtTheWire has more clients than instances can serve. Each instance gets as
// many requests at a time as it may and no more, what waits is served, and what is too
// much is shed, with a time to come back after.
func TestOverloadAtTheWire(t *testing.T) {
	const limit, queue, clients, each = 2, 8, 40, 25
	var over atomic.Int64
	instance := func() Upstream {
		var now atomic.Int64
		return handled(t, func(w http.ResponseWriter, r *http.Request) {
			if now.Add(1) > limit {
				over.Add(1)
			}
			io.Copy(io.Discard, r.Body)
			time.Sleep(time.Millisecond) // it has something to do
			now.Add(-1)
			io.WriteString(w, "ok")
		})
	}
	s := limited(limit, queue, patience, rel("r1", 100, instance(), instance()))
	p := start(t, Config{Loops: 3}, s)
	// Half of the clients come by the door, with HTTP/2.
	byDoor := *p
	byDoor.http = p.clientOf(true)
	var ok, refused atomic.Uint64
	var all sync.WaitGroup
	for n := range clients {
		p := p
		if n%4 < 2 {
			p = &byDoor
		}
		all.Go(func() {
			for range each {
				resp, body, err := p.try([]string{"GET", "POST"}[n%2], "/", fmt.Sprint(n))
				switch {
				case err != nil:
					t.Error(err)
				case resp.StatusCode == 200 && body == "ok":
					ok.Add(1)
				case resp.StatusCode == 503 && resp.Header.Get("Retry-After") != "":
					refused.Add(1)
				default:
					t.Errorf("%d %s", resp.StatusCode, body)
				}
			}
		})
	}
	all.Wait()
	got, q := p.release("r1"), serviceStats(p.stats(), "web").Queued
	if n := over.Load(); n > 0 {
		t.Errorf("%d times there were more than %d requests at an instance", n, limit)
	}
	if got.Shed != refused.Load() || got.Answered[2] != ok.Load() || got.Shed == 0 || got.Failed.Sum() != 0 || got.Accepted != clients*each {
		t.Errorf("%d answered, %d refused, counted %+v", ok.Load(), refused.Load(), got)
	}
	if q.Now != 0 || q.LetGo == 0 || q.Expired != 0 {
		t.Errorf("queued %+v", q)
	}
}
