package proxy

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// copyReceiver is a candidate that counts the copies it gets by request ID.
type copyReceiver struct {
	mu   sync.Mutex
	seen map[string]int
	// plain counts requests that are no copies.
	plain int
}

// received is an upstream that counts what it gets and then does what handle does.
func received(t *testing.T, handle http.HandlerFunc) (*copyReceiver, Upstream) {
	c := &copyReceiver{seen: make(map[string]int)}
	return c, handled(t, func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		if r.Header.Get(mirrorHeader) == "" {
			c.plain++
		} else {
			c.seen[r.Header.Get(requestIDHeader)]++
		}
		c.mu.Unlock()
		handle(w, r)
	})
}

// counts returns how many requests came, and how many of them as copies.
func (c *copyReceiver) counts() (copies, plain int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.seen {
		copies += n
	}
	return copies, c.plain
}

// mirroring is a service whose requests all go to stable, and a copy to the candidate.
func mirroring(m Mirror, stable, candidate Upstream) Service {
	s := canary(0, stable, candidate)
	s.Mirror = &m
	return s
}

// mirrorsEnd waits until no copy is under way, and returns the counts.
func (r *running) mirrorsEnd() MirrorStats {
	r.t.Helper()
	r.settle()
	eventually(r.t, "no copy is under way", func() bool { m := r.mirrors(); return m.Sent == m.Ended() })
	return r.mirrors()
}

func write(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }
}

// Many requests at once, of which some are sent again since a kept connection was dead,
// and tables come meanwhile: the candidate gets one copy of each.
func TestMirrorCopiesOnce(t *testing.T) {
	const clients, each = 8, 40
	stable := faked(t, func(n int64, c *fakeConn) {
		// Every connection dies under its third request, without an answer.
		for range 2 {
			if r, _ := c.request(); r == nil {
				return
			}
			c.say(ok("same"))
		}
		c.head()
		c.reset()
	})
	copies, candidate := received(t, write("same"))
	s := mirroring(Mirror{Share: 100, MaxInFlight: clients * each, CompareBody: true, MaxBody: 100}, stable.Upstream, candidate)
	p := start(t, Config{}, s)
	var mu sync.Mutex
	ids := make(map[string]bool)
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for range each {
				resp, text, err := p.try("GET", "/", "")
				if err != nil || text != "same" {
					t.Errorf("%v %q %v", resp, text, err)
					return
				}
				mu.Lock()
				ids[resp.Header.Get(requestIDHeader)] = true
				mu.Unlock()
			}
		})
	}
	for v := uint64(2); v <= 20; v++ {
		p.apply(v, s)
	}
	all.Wait()
	got := p.mirrorsEnd()
	if want := (MirrorStats{Sent: clients * each, Same: clients * each}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	if n, plain := copies.counts(); len(ids) != clients*each || n != len(ids) || plain != 0 {
		t.Errorf("%d requests, %d copies, %d others", len(ids), n, plain)
	}
	for id, n := range copies.seen {
		if n != 1 || !ids[id] {
			t.Errorf("request %s was copied %d times; it is one of the clients': %t", id, n, ids[id])
		}
	}
	if r1, r2 := p.release("r1"), p.release("r2"); r1.Retried == 0 || r1.Answered[2] != clients*each || r2.Accepted != 0 {
		t.Errorf("stable %+v, candidate %+v", r1, r2)
	}
}

func TestMirrorShare(t *testing.T) {
	const n, share = 600, 25
	copies, candidate := received(t, write("x"))
	p := start(t, Config{}, mirroring(Mirror{Share: share, MaxInFlight: n}, saying(t, "x"), candidate))
	for range n {
		p.do("GET", "/", "")
	}
	got := p.mirrorsEnd()
	// Six standard deviations: once in 500 million runs.
	want := n * share / 100.
	if math.Abs(float64(got.Sent)-want) > 6*math.Sqrt(want*(1-share/100.)) {
		t.Errorf("%d of %d were copied, want about %.0f", got.Sent, n, want)
	}
	if arrived, _ := copies.counts(); uint64(arrived) != got.Sent {
		t.Errorf("%d copies arrived of %d", arrived, got.Sent)
	}
}

func TestMirrorCompares(t *testing.T) {
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", body) // headers aren't compared
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	breaking := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "part")
		panic(http.ErrAbortHandler)
	}
	same, different := MirrorStats{Sent: 1, Same: 1}, MirrorStats{Sent: 1, Different: 1}
	uncompared, failed := MirrorStats{Sent: 1, Uncompared: 1}, MirrorStats{Sent: 1, Failed: 1}
	status := Mirror{Share: 100, MaxInFlight: 1}
	body := Mirror{Share: 100, MaxInFlight: 1, CompareBody: true, MaxBody: 4}
	for _, c := range []struct {
		name, method      string
		mirror            Mirror
		stable, candidate http.HandlerFunc
		want              MirrorStats
	}{
		{"status", "GET", status, answer(200, "a"), answer(200, "b"), same},
		{"other status", "GET", status, answer(200, "a"), answer(500, "a"), different},
		{"other status of the same class", "GET", body, answer(200, "a"), answer(201, "a"), different},
		{"body", "GET", body, answer(200, "1234"), answer(200, "1234"), same},
		{"error", "GET", body, answer(503, "1234"), answer(503, "1234"), same},
		{"other body", "GET", body, answer(200, "1234"), answer(200, "1235"), different},
		{"shorter body", "GET", body, answer(200, "1234"), answer(200, "123"), different},
		{"no body", "GET", body, answer(204, ""), answer(204, ""), same},
		{"HEAD", "HEAD", body, answer(200, "1234"), answer(200, "9876"), same},
		{"OPTIONS", "OPTIONS", body, answer(200, "1"), answer(200, "1"), same},
		{"both too long", "GET", body, answer(200, "12345"), answer(200, "12345"), uncompared},
		{"candidate's too long", "GET", body, answer(200, "1234"), answer(200, "12345"), uncompared},
		{"stable's too long", "GET", body, answer(200, "12345"), answer(200, "1234"), uncompared},
		{"candidate breaks off", "GET", body, answer(200, "1"), breaking, failed},
		{"stable breaks off", "GET", body, breaking, answer(200, "1"), uncompared},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, Config{}, mirroring(c.mirror, handled(t, c.stable), handled(t, c.candidate)))
			_, _, _ = p.try(c.method, "/", "") // which breaks off in one case
			if got := p.mirrorsEnd(); got != c.want {
				t.Errorf("counted %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestMirrorCopiesOnlySafeRequests(t *testing.T) {
	copies, candidate := received(t, write("candidate"))
	var forged atomic.Int64 // requests of which stable was told that they are copies
	stable := handled(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get(mirrorHeader) != "" {
			forged.Add(1)
		}
	})
	s := mirroring(Mirror{Share: 100, MaxInFlight: 100}, stable, candidate)
	s.Match = []Match{{Header: "X-Internal"}}
	p := start(t, Config{}, s)
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"} {
		p.do(method, "/", "")
	}
	p.do("GET", "/", "a body")
	p.do("GET", "/", "", "Connection", "Upgrade", "Upgrade", "nothing")
	if _, text := p.do("GET", "/", "", "X-Internal", "1"); text != "candidate" {
		t.Errorf("%q answers a request for the candidate", text)
	}
	if got := p.mirrorsEnd(); got != (MirrorStats{}) {
		t.Errorf("counted %+v", got)
	}
	p.do("GET", "/", "", mirrorHeader, "1") // whoever says so is no proxy of ours
	if got := p.mirrorsEnd(); got.Sent != 1 || forged.Load() != 0 {
		t.Errorf("counted %+v; stable was told %d times that a request is a copy", got, forged.Load())
	}
	if n, plain := copies.counts(); n != 1 || plain != 1 {
		t.Errorf("the candidate got %d copies and %d others", n, plain)
	}
	// A proxy of ours in front says the truth: that is a copy already.
	p = start(t, Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, s)
	p.do("GET", "/", "", mirrorHeader, "1")
	if got := p.mirrorsEnd(); got != (MirrorStats{}) || forged.Load() != 1 {
		t.Errorf("a copy of a copy: %+v; stable was told %d times", got, forged.Load())
	}
}

// A candidate that says nothing keeps copies, and nobody else: beyond the bound they
// are dropped, and a table without the mirror breaks them off.
func TestMirrorOfHangingCandidate(t *testing.T) {
	hang := make(chan struct{})
	copies, candidate := received(t, func(http.ResponseWriter, *http.Request) { <-hang })
	t.Cleanup(func() { close(hang) })
	m := Mirror{Share: 100, MaxInFlight: 3, CompareBody: true, MaxBody: 10}
	stable := saying(t, "r1")
	p := start(t, Config{}, mirroring(m, stable, candidate))
	for range 20 {
		if resp, text := p.do("GET", "/", ""); resp.StatusCode != 200 || text != "r1" {
			t.Errorf("%d %q", resp.StatusCode, text)
		}
	}
	if got := p.mirrors(); got.Sent != 3 || got.Dropped != 17 || got.Ended() != 0 {
		t.Errorf("counted %+v", got)
	}
	eventually(t, "the copies are there", func() bool { n, _ := copies.counts(); return n == 3 })
	// Another mirror to the same instance lets them go on.
	m.MaxInFlight = 4
	p.apply(2, mirroring(m, stable, candidate))
	p.do("GET", "/", "")
	if got := p.mirrors(); got.Sent != 4 || got.Ended() != 0 {
		t.Errorf("counted %+v", got)
	}
	p.apply(3, canary(0, stable, candidate))
	if got, want := p.mirrorsEnd(), (MirrorStats{Sent: 4, Dropped: 17, Uncompared: 4}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	// The end of the proxy waits for no copy either.
	p.apply(4, mirroring(m, stable, candidate))
	p.do("GET", "/", "")
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	if got := p.mirrorsEnd(); got.Sent != 5 || got.Uncompared != 5 {
		t.Errorf("counted %+v", got)
	}
}

func TestMirrorOfDeadCandidate(t *testing.T) {
	garbage := faked(t, func(_ int64, c *fakeConn) { c.head(); c.say("nonsense\r\n\r\n") })
	switching := faked(t, func(_ int64, c *fakeConn) {
		c.head()
		c.say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
	})
	closing := faked(t, func(_ int64, c *fakeConn) { c.head() })
	for name, candidate := range map[string]Upstream{
		"nobody": refusing(t), "garbage": garbage.Upstream, "switches": switching.Upstream, "closes": closing.Upstream,
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, Config{}, mirroring(Mirror{Share: 100, MaxInFlight: 10}, saying(t, "r1"), candidate))
			for range 5 {
				if resp, text := p.do("GET", "/", ""); resp.StatusCode != 200 || text != "r1" {
					t.Errorf("%d %q", resp.StatusCode, text)
				}
			}
			if got := p.mirrorsEnd(); got != (MirrorStats{Sent: 5, Failed: 5}) {
				t.Errorf("counted %+v", got)
			}
			if got := p.release("r1"); got.Answered[2] != 5 || got.Retried != 0 {
				t.Errorf("counted %+v", got)
			}
		})
	}
	// Without an instance there is nobody to send a copy to.
	s := mirroring(Mirror{Share: 100, MaxInFlight: 10}, saying(t, "r1"), at("127.0.0.1:1"))
	s.Releases[1].Upstreams = nil
	p := start(t, Config{}, s)
	if resp, _ := p.do("GET", "/", ""); resp.StatusCode != 200 {
		t.Error(resp.Status)
	}
	if got := p.mirrors(); got != (MirrorStats{}) {
		t.Errorf("counted %+v", got)
	}
}

// A drain of the candidate waits for requests of clients only.
func TestMirrorAndDrain(t *testing.T) {
	hang := make(chan struct{})
	candidate := handled(t, func(http.ResponseWriter, *http.Request) { <-hang })
	t.Cleanup(func() { close(hang) })
	p := start(t, Config{}, mirroring(Mirror{Share: 100, MaxInFlight: 1}, saying(t, "r1"), candidate))
	p.do("GET", "/", "")
	if got, err := p.Drain(context.Background(), "web", "r2", DrainTimes{All: patience}); err != nil || got.InFlight != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

// An endless answer to a copy isn't kept anywhere.
func TestMirrorOfLongAnswers(t *testing.T) {
	const size = 1 << 22
	long := func(w http.ResponseWriter, _ *http.Request) {
		piece := []byte(strings.Repeat("x", 1<<12))
		for range size / len(piece) {
			w.Write(piece)
		}
	}
	p := start(t, Config{}, mirroring(Mirror{Share: 100, MaxInFlight: 1, CompareBody: true, MaxBody: size}, handled(t, long), handled(t, long)))
	if _, text := p.do("GET", "/", ""); len(text) != size {
		t.Errorf("%d bytes", len(text))
	}
	if got := p.mirrorsEnd(); got != (MirrorStats{Sent: 1, Same: 1}) {
		t.Errorf("counted %+v", got)
	}
}

func TestMirrorStatsMinus(t *testing.T) {
	before := MirrorStats{Sent: 10, Dropped: 1, Failed: 1, Same: 2, Different: 1, Uncompared: 1}
	after := MirrorStats{Sent: 30, Dropped: 3, Failed: 4, Same: 6, Different: 6, Uncompared: 7}
	want := MirrorStats{Sent: 20, Dropped: 2, Failed: 3, Same: 4, Different: 5, Uncompared: 6}
	if got := after.Minus(before); got != want || got.Ended() != 18 {
		t.Errorf("%+v, want %+v", got, want)
	}
	held := HeldStats{Now: 3, Total: 20, LetGo: 10, Expired: 5, Gone: 2, Longest: 7}
	if got, want := held.Minus(HeldStats{Now: 1, Total: 8, LetGo: 4, Expired: 2, Gone: 1, Longest: 9}), (HeldStats{Now: 3, Total: 12, LetGo: 6, Expired: 3, Gone: 1, Longest: 7}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if text := fmt.Sprint(held.Minus(held).Total); text != "0" {
		t.Errorf("%s held between two snapshots of one time", text)
	}
}
