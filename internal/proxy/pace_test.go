package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestPace has endings end by themselves, and says when the others are due.
func TestPace(t *testing.T) {
	began := time.Now()
	at := func(d time.Duration) time.Time { return began.Add(d) }
	const half, end = 30 * time.Second, time.Minute
	// endings returns the times at which so many end.
	endings := func(left int) (all []time.Duration) {
		p := newPace(at(half), at(end))
		for now := at(half); left > 0; {
			n, next := p.due(left, now)
			for range n {
				all = append(all, now.Sub(began))
			}
			if left -= n; left > 0 && !next.After(now) {
				t.Fatalf("at %s the next of %d is at %s", now.Sub(began), left, next.Sub(began))
			}
			now = next
		}
		return all
	}
	for _, n := range []int{1, 2, 10, 30, 31, 1000} {
		all := endings(n)
		spacing := min(maxSpacing, (end-half)/time.Duration(n))
		if last := all[n-1]; last != end {
			t.Errorf("of %d the last ends after %s, want %s", n, last, end)
		}
		// A quarter of the spacing earlier at most.
		earliest := end - time.Duration(n-1)*spacing - spacing/4 - time.Microsecond
		if all[0] < earliest || all[0] < half {
			t.Errorf("of %d the first ends after %s, want %s or later", n, all[0], earliest)
		}
		for i := 1; i < n; i++ {
			if gap := all[i] - all[i-1]; gap < spacing/2 || gap > spacing*3/2 {
				t.Errorf("of %d the ending %d comes %s after the one before, want about %s", n, i, gap, spacing)
			}
		}
	}
	p := newPace(at(half), at(end))
	if n, next := p.due(0, at(half)); n != 0 || !next.IsZero() {
		t.Errorf("of none %d are due, the next at %s", n, next)
	}
	if n, _ := p.due(3, at(end)); n != 3 {
		t.Errorf("at the end %d of 3 are due", n)
	}
}

func TestShapes(t *testing.T) {
	for kind, want := range map[string]shape{
		"text/event-stream": asStream, "Text/Event-Stream; charset=utf-8": asStream, "application/grpc": asStream,
		"application/grpc+proto": asStream, "": asAnswer, "text/event": asAnswer, "application/octet-stream": asAnswer,
	} {
		if got := shapeOf(kind); got != want {
			t.Errorf("%q is %d, want %d", kind, got, want)
		}
	}
}

// living is a flight that doesn't end by itself.
type living struct {
	*flown
	// at is when it was told or cut, a time.Duration from the beginning of the drain.
	at atomic.Int64
}

func (f *living) ended() time.Duration { return time.Duration(f.at.Load()) }

// live starts a flight of a shape. One that is told goes after a while, unless stays is set.
func (b *bubble) live(began *time.Time, s shape, stays bool, change ...func(*flight)) *living {
	f := &living{flown: b.fly(change...)}
	f.wasCut = func() {
		f.at.CompareAndSwap(0, int64(time.Since(*began)))
		f.end(cut, 0, 0)
	}
	f.loop.do(func() {
		f.shape = s
		if s == asWebSocket {
			f.goAway = func() {
				f.at.Store(int64(time.Since(*began)))
				if !stays {
					time.Sleep(time.Second)
					f.loop.do(func() { f.end(answered, 101, 0) })
				}
			}
		}
	})
	return f
}

func telling(s Service) Service {
	for i := range s.Releases {
		s.Releases[i].TellWebSockets = true
	}
	return s
}

// TestDrainIsStaged looks at when each request ends, by what it is.
func TestDrainIsStaged(t *testing.T) {
	const minute = time.Minute
	var began time.Time
	// between checks that the times go from about first to exactly last, and not in one moment.
	between := func(t *testing.T, what string, all []*living, first, last time.Duration) {
		t.Helper()
		var times []time.Duration
		for _, f := range all {
			times = append(times, f.ended())
		}
		slices.Sort(times)
		n := len(times)
		if times[0] < first || times[n-1] != last || times[n/2] < first+(last-first)/3 || times[n/2] > last-(last-first)/3 {
			t.Errorf("%s: they end after %v; want from %s to %s, spread", what, times, first, last)
		}
	}
	drained := func(b *bubble, times DrainTimes) DrainResult {
		b.t.Helper()
		began = time.Now()
		r, err := b.Drain(b.t.Context(), "web", "r1", times)
		if err != nil || r.InFlight != r.Finished+r.Told+r.Cut {
			b.t.Errorf("%+v, %v", r, err)
		}
		return r
	}
	inBubble(t, "each in its way", func(b *bubble) {
		b.apply(telling(stableOnly()))
		var sockets, streams, answers []*living
		for range 20 {
			sockets = append(sockets, b.live(&began, asWebSocket, false))
			streams = append(streams, b.live(&began, asStream, false))
			answers = append(answers, b.live(&began, asAnswer, false))
		}
		b.apply(telling(shifted()))
		go func() {
			time.Sleep(50 * time.Second)
			answers[0].land()
		}()
		r := drained(b, DrainTimes{All: minute})
		want := Endings{Answers: Ending{Finished: 1, Cut: 19}, Streams: Ending{Cut: 20}, WebSockets: Ending{Told: 20}}
		if r.By != want || r.Waited != minute {
			t.Errorf("%+v, want %+v", r, want)
		}
		between(t, "WebSockets", sockets, minute-maxFarewell-20*maxSpacing, minute-maxFarewell)
		between(t, "streams", streams, minute-20*maxSpacing, minute)
		for _, f := range answers[1:] {
			if f.ended() != minute {
				t.Errorf("an answer ends after %s", f.ended())
			}
		}
		if s := statsOf(b.stats(), "web", "r1"); s.Drained != want || s.Departed != (Endings{}) {
			t.Errorf("counted %+v, of those departed %+v", s.Drained, s.Departed)
		}
	})
	inBubble(t, "clients that don't go", func(b *bubble) {
		b.apply(telling(stableOnly()))
		b.live(&began, asWebSocket, true)
		b.apply(telling(shifted()))
		if r := drained(b, DrainTimes{All: minute}); r.By.WebSockets != (Ending{Cut: 1}) || r.Waited != minute {
			t.Errorf("%+v", r)
		}
	})
	inBubble(t, "WebSockets that aren't to be told", func(b *bubble) {
		b.apply(stableOnly())
		var sockets []*living
		for range 9 {
			sockets = append(sockets, b.live(&began, asWebSocket, false))
		}
		b.apply(shifted())
		if r := drained(b, DrainTimes{All: minute}); r.By.WebSockets != (Ending{Cut: 9}) {
			t.Errorf("%+v", r)
		}
		between(t, "WebSockets", sockets, minute-9*maxSpacing, minute)
	})
	// In a hold all are told at once, and nothing is cut before the end.
	inBubble(t, "in a hold", func(b *bubble) {
		b.apply(telling(stableOnly()))
		sockets := []*living{b.live(&began, asWebSocket, false), b.live(&began, asWebSocket, false)}
		stream := b.live(&began, asStream, false)
		other := b.live(&began, asStream, false)
		b.apply(holding(telling(stableOnly()), func(h *Hold) { h.Until = time.Now().Add(time.Hour) }))
		r := drained(b, DrainTimes{All: minute})
		if r.By != (Endings{WebSockets: Ending{Told: 2}, Streams: Ending{Cut: 2}}) {
			t.Errorf("%+v", r)
		}
		if sockets[0].ended() != 0 || sockets[1].ended() != 0 || stream.ended() != minute || other.ended() != minute {
			t.Errorf("they end after %s, %s, %s, %s", sockets[0].ended(), sockets[1].ended(), stream.ended(), other.ended())
		}
	})
	inBubble(t, "paths with times of their own", func(b *bubble) {
		b.apply(stableOnly())
		of := map[string]*living{}
		for _, path := range []string{"/a", "/a/b", "/a/b/c", "/ab", "/c"} {
			of[path] = b.live(&began, asAnswer, false, func(f *flight) { f.path = path })
		}
		b.apply(shifted())
		r := drained(b, DrainTimes{All: minute, Paths: []PathTime{{"/a", time.Second}, {"/a/b", time.Hour}}})
		for path, want := range map[string]time.Duration{"/a": time.Second, "/a/b": time.Hour, "/a/b/c": time.Hour, "/ab": minute, "/c": minute} {
			if of[path].ended() != want {
				t.Errorf("%s ends after %s, want %s", path, of[path].ended(), want)
			}
		}
		if r.Waited != time.Hour {
			t.Errorf("%+v", r)
		}
	})
	// What lives long from the middle of the drain on has its turn, too.
	inBubble(t, "one that begins to live long meanwhile", func(b *bubble) {
		b.apply(stableOnly())
		var all []*living
		for range 3 {
			all = append(all, b.live(&began, asAnswer, false))
		}
		b.apply(shifted())
		go func() {
			time.Sleep(45 * time.Second)
			for _, f := range all {
				f.loop.do(func() { f.shape = asStream })
			}
		}()
		drained(b, DrainTimes{All: minute})
		between(t, "streams", all, minute-3*maxSpacing, minute)
	})
}

// TestDepartureIsStaged: what a proxy has that ends is ended by the same rules.
func TestDepartureIsStaged(t *testing.T) {
	inBubble(t, "in a bubble", func(b *bubble) {
		var began time.Time
		b.apply(telling(stableOnly()))
		socket, stream := b.live(&began, asWebSocket, false), b.live(&began, asStream, false)
		answer, quick := b.live(&began, asAnswer, false), b.fly()
		began = time.Now()
		stop := b.depart(time.Minute)
		late := b.live(&began, asStream, false)
		b.apply(telling(shifted()))
		quick.land()
		for range 60 {
			b.pass(time.Second)
		}
		stop()
		if socket.ended() != time.Minute-maxFarewell || answer.ended() != time.Minute {
			t.Errorf("they end after %s, %s", socket.ended(), answer.ended())
		}
		if first, last := min(stream.ended(), late.ended()), max(stream.ended(), late.ended()); last != time.Minute || first >= last || first < last-2*maxSpacing {
			t.Errorf("the streams end after %s and %s", first, last)
		}
		want := Endings{Answers: Ending{Finished: 1, Cut: 1}, Streams: Ending{Cut: 2}, WebSockets: Ending{Told: 1}}
		if s := statsOf(b.stats(), "web", "r1"); s.Drained != want || s.Departed != want {
			t.Errorf("counted %+v, of those departed %+v; want %+v", s.Drained, s.Departed, want)
		}
	})
}

// longLived is an instance whose answers go on until their client leaves: WebSockets on /ws,
// and events on any other path.
func longLived(t *testing.T) Upstream {
	return handled(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ws" {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: hello\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		for err == nil {
			_, _, err = c.Read(context.Background())
		}
	})
}

// follower follows long-lived connections to their ends.
type follower struct {
	t     *testing.T
	all   sync.WaitGroup
	mu    sync.Mutex
	ended []time.Time
	errs  []error
}

func (f *follower) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended, f.errs = append(f.ended, time.Now()), append(f.errs, err)
}

func (f *follower) webSocket(p *running) {
	f.t.Helper()
	c, _, err := websocket.Dial(f.t.Context(), p.url+"/ws", &websocket.DialOptions{HTTPClient: &http.Client{Transport: &http.Transport{}}})
	if err != nil {
		f.t.Fatal(err)
	}
	f.all.Go(func() {
		defer c.CloseNow()
		_, _, err := c.Read(context.Background())
		f.note(err)
	})
}

func (f *follower) events(p *running) {
	f.t.Helper()
	conn, r := p.raw("GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	events := bufio.NewReader(resp.Body)
	if line, err := events.ReadString('\n'); err != nil || line != "data: hello\n" {
		f.t.Fatalf("%q, %v", line, err)
	}
	f.all.Go(func() {
		defer conn.Close()
		_, err := io.Copy(io.Discard, events)
		f.note(err)
	})
}

// spread checks that the ends weren't all in one moment.
func (f *follower) spread(n int) {
	f.t.Helper()
	f.all.Wait()
	slices.SortFunc(f.ended, time.Time.Compare)
	if len(f.ended) != n {
		f.t.Fatalf("%d have ended, want %d", len(f.ended), n)
	}
	moments := 1
	for i := 1; i < n; i++ {
		if f.ended[i].Sub(f.ended[i-1]) > 5*time.Millisecond {
			moments++
		}
	}
	if moments < n/2 {
		f.t.Errorf("%d connections have ended in %d moments", n, moments)
	}
}

// TestLongLivedAtTheWire drains open WebSockets and event streams of real clients, by a drain
// of their release and by a takeover.
func TestLongLivedAtTheWire(t *testing.T) {
	const n = 6
	for name, end := range map[string]func(*testing.T, *running) *running{
		"a drain": func(t *testing.T, p *running) *running {
			p.apply(2, telling(web(rel("r1", 0, at("127.0.0.1:1")), rel("r2", 100, saying(t, "r2")))))
			r, err := p.Drain(t.Context(), "web", "r1", DrainTimes{All: 4 * time.Second})
			if want := (Endings{Streams: Ending{Cut: n}, WebSockets: Ending{Told: n}}); err != nil || r.By != want {
				t.Errorf("%+v, %v", r, err)
			}
			return p
		},
		"a takeover": func(t *testing.T, p *running) *running {
			next := p.waiting(Config{})
			if _, err := next.control.TakeOver(t.Context(), p.control.path, 4*time.Second); err != nil {
				t.Fatal(err)
			}
			eventually(t, "no proxy before is left", func() bool { return len(next.before()) == 0 })
			if s := next.release("r1"); s.Departed != s.Drained {
				t.Errorf("counted %+v, of those departed %+v", s.Drained, s.Departed)
			}
			return next
		},
		"the end of the proxy": func(t *testing.T, p *running) *running {
			if err := p.control.Shutdown(t.Context(), 4*time.Second); err != nil {
				t.Fatal(err)
			}
			return p
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, Config{}, telling(web(rel("r1", 100, longLived(t)))))
			sockets, streams := &follower{t: t}, &follower{t: t}
			for range n {
				sockets.webSocket(p)
				streams.events(p)
			}
			last := end(t, p)
			sockets.spread(n)
			streams.spread(n)
			for _, err := range sockets.errs {
				if websocket.CloseStatus(err) != websocket.StatusGoingAway {
					t.Errorf("a WebSocket has ended with %v", err)
				}
			}
			for _, err := range streams.errs {
				if err == nil || !strings.Contains(err.Error(), "unexpected EOF") {
					t.Errorf("a stream has ended with %v, as if it were whole", err)
				}
			}
			if name == "the end of the proxy" {
				return // it can't be asked any more
			}
			want := Endings{Streams: Ending{Cut: n}, WebSockets: Ending{Told: n}}
			if s := last.release("r1"); s.Drained != want || s.Answered[1] != n || s.Failed.Cut != n {
				t.Errorf("counted %+v", s)
			}
		})
	}
}
