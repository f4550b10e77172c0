package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

func TestApplyVersions(t *testing.T) {
	ctx := context.Background()
	p := New(Config{})
	one := Table{Version: 5, Services: []Service{web(Release{ID: "r1", Weight: 100})}}
	if err := p.Apply(ctx, one); err != nil {
		t.Fatal(err)
	}
	if err := p.Apply(ctx, one); err != nil {
		t.Errorf("the same table again: %v", err)
	}
	other := Table{Version: 5, Services: []Service{web(Release{ID: "r2", Weight: 100})}}
	if err := p.Apply(ctx, other); err == nil || !strings.Contains(err.Error(), "table 5 is in force") {
		t.Errorf("another table of the same version: %v", err)
	}
	other.Version = 4
	if err := p.Apply(ctx, other); err == nil {
		t.Error("an older table is put in force")
	}
	other.Version, other.Services[0].Releases[0].Weight = 6, 7
	if err := p.Apply(ctx, other); err == nil {
		t.Error("an invalid table is put in force")
	}
	if s, _ := p.Stats(ctx); s.Table != 5 || len(s.Services) != 1 || s.Services[0].Releases[0].ID != "r1" {
		t.Errorf("in force is %+v", s)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	other.Services[0].Releases[0].Weight = 100
	if err := p.Apply(ended, other); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

// The one invariant: after Apply has returned, no new request goes to a release
// without weight, while thousands of requests come, new and on kept connections.
func TestNoRequestGoesToClosedRelease(t *testing.T) {
	const clients, swaps = 8, 60
	releases := []Release{
		rel("r1", 0, saying(t, "r1"), saying(t, "r1")),
		rel("r2", 0, saying(t, "r2"), saying(t, "r2")),
	}
	tableOf := func(stable int) Service {
		s := web(releases[0], releases[1])
		s.Releases[stable].Weight = 100
		if rand.IntN(2) == 0 { // the other one is warm, or gone
			s.Releases = []Release{s.Releases[stable]}
		}
		return s
	}
	p := start(t, Config{}, tableOf(0))
	// done is the number of the last Apply that has returned, begun that of the
	// last that was called. An odd number means r2.
	var begun, done atomic.Int64
	stop := make(chan struct{})
	var all sync.WaitGroup
	var requests atomic.Int64
	for n := range clients {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				before := done.Load()
				method, body := "GET", ""
				var headers []string
				if n%2 == 0 {
					method, body = "POST", "a body"
				}
				if n%3 == 0 {
					headers = []string{"Connection", "close"}
				}
				resp, text, err := p.try(method, "/", body, headers...)
				after := begun.Load()
				if err != nil || resp.StatusCode != 200 {
					t.Errorf("lost a request: %v %v", resp, err)
					return
				}
				requests.Add(1)
				allowed := false
				for v := before; v <= after; v++ {
					allowed = allowed || text == fmt.Sprintf("r%d", v%2+1)
				}
				if !allowed {
					t.Errorf("%s answered between tables %d and %d", text, before, after)
					return
				}
			}
		})
	}
	for i := int64(1); i <= swaps; i++ {
		begun.Store(i)
		p.apply(uint64(i)+1, tableOf(int(i%2)))
		done.Store(i)
		old := fmt.Sprintf("r%d", (i+1)%2+1)
		// Who was chosen for it by the table before is counted by now, or a drain would miss
		// it.
		accepted := statsOf(p.stats(), "web", old).Accepted
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		result, err := p.Drain(ctx, "web", old, DrainTimes{All: patience})
		cancel()
		if err != nil || result.Cut != 0 {
			t.Errorf("drain %s: %+v, %v", old, result, err)
		}
		target := requests.Load() + 20
		eventually(t, "requests go on", func() bool { return requests.Load() >= target || t.Failed() })
		if now := statsOf(p.stats(), "web", old).Accepted; now != accepted {
			t.Errorf("swap %d: %s got %d requests after the table", i, old, now-accepted)
		}
		addsUp(t, p.stats())
	}
	close(stop)
	all.Wait()
	if total := p.release("r1").Answered[2] + p.release("r2").Answered[2]; total != uint64(requests.Load()) {
		t.Errorf("the proxy counted %d requests, the clients %d", total, requests.Load())
	}
}

// The same at the seam, without any I/O, so that there are many more tries.
func TestFlightsUnderApply(t *testing.T) {
	const workers = 8
	p := New(Config{})
	tableOf := func(v int64) Table {
		a, b := rel("r1", 100, at("127.0.0.1:1"), at("127.0.0.1:2")), rel("r2", 0, at("127.0.0.1:3"))
		if v%2 == 1 {
			a.Weight, b.Weight = 0, 100
		}
		return Table{Version: uint64(v) + 1, Services: []Service{web(a, b)}}
	}
	apply := func(v int64) {
		if err := p.Apply(context.Background(), tableOf(v)); err != nil {
			t.Error(err)
		}
	}
	apply(0)
	var done, begun atomic.Int64
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				before := done.Load()
				f := &flight{loop: p.loops[rand.IntN(len(p.loops))], path: "/"}
				do := func(something func()) {
					f.loop.mu.Lock()
					defer f.loop.mu.Unlock()
					something()
				}
				do(func() {
					if f.start() != going {
						t.Error("there is no upstream")
					}
				})
				for range rand.IntN(3) {
					do(func() { f.again(false) })
				}
				after := begun.Load()
				do(func() {
					release := f.account.release
					// Between the two may lie both tables; within one, only its
					// release is right.
					if before == after && release != fmt.Sprintf("r%d", before%2+1) && len(f.left) == 0 {
						t.Errorf("table %d led to %s", before, release)
					}
					f.end(answered, 200, 1)
				})
			}
		})
	}
	for v := int64(1); v <= 2000; v++ {
		begun.Store(v)
		apply(v)
		done.Store(v)
	}
	close(stop)
	all.Wait()
	s, err := p.Stats(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	addsUp(t, s)
	for _, r := range s.Services[0].Releases {
		for _, u := range r.Upstreams {
			if u.InFlight != 0 {
				t.Errorf("%s has %d in flight", u.ID, u.InFlight)
			}
		}
	}
}

// Long answers go on over a shift, and Drain waits for them.
func TestLongAnswerStraddlesShift(t *testing.T) {
	next := make(chan struct{})
	old := handled(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		io.WriteString(w, "begun ")
		http.NewResponseController(w).Flush()
		<-next
		w.Write(body)
	})
	p := start(t, Config{}, web(rel("r1", 100, old)))
	body, feed := io.Pipe()
	posted := make(chan string, 1)
	go func() {
		resp, err := p.http.Post(p.url, "text/plain", body)
		if err != nil {
			posted <- err.Error()
			return
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		posted <- fmt.Sprint(string(text), err)
	}()
	io.WriteString(feed, "first half, ")
	resp, err := p.http.Get(p.url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()

	eventually(t, "both are in flight", func() bool { return statsOf(p.stats(), "web", "r1").InFlight == 2 })
	p.apply(2, web(rel("r2", 100, saying(t, "new"))))
	if _, text := p.do("GET", "/", ""); text != "new" {
		t.Errorf("after the shift %q answers", text)
	}
	drained := make(chan DrainResult, 1)
	go func() {
		result, err := p.control.Drain(context.Background(), "web", "r1", DrainTimes{All: patience})
		if err != nil {
			t.Error(err)
		}
		drained <- result
	}()
	io.WriteString(feed, "second half")
	feed.Close()
	close(next)
	if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "begun " {
		t.Errorf("%q, %v", text, err)
	}
	if text := await(t, "the POST ends", posted); text != "begun first half, second half<nil>" {
		t.Errorf("%q", text)
	}
	if r := await(t, "the drain ends", drained); r.Cut != 0 || r.Finished != r.InFlight || r.InFlight > 2 {
		t.Errorf("drained with %+v", r)
	}
}

func TestDrainCuts(t *testing.T) {
	hold := make(chan struct{})
	up := handled(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/stream":
			w.Header().Set("Content-Length", "1000000")
			io.WriteString(w, "begun")
			http.NewResponseController(w).Flush()
		case "/flood": // to a client that takes nothing
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		}
		<-hold
	})
	t.Cleanup(func() { close(hold) })
	p := start(t, Config{}, web(rel("r1", 100, up)))
	var all []*bufio.Reader
	for _, path := range []string{"/silent", "/stream", "/flood"} {
		_, r := p.raw("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
		all = append(all, r)
	}
	// This one is still sending its body.
	_, r := p.raw("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
	all = append(all, r)
	eventually(t, "all are in flight", func() bool { return statsOf(p.stats(), "web", "r1").InFlight == 4 })
	p.apply(2, web(rel("r1", 0, up)))
	result, err := p.Drain(context.Background(), "web", "r1", DrainTimes{All: 50 * time.Millisecond})
	if err != nil || result.InFlight != 4 || result.Cut != 4 || result.Finished != 0 || result.Waited < 50*time.Millisecond {
		t.Errorf("%+v, %v", result, err)
	}
	for i, r := range all {
		resp, err := http.ReadResponse(r, nil)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
		}
		if err == nil {
			t.Errorf("request %d got a whole answer", i)
		}
	}
	if got := p.release("r1"); got.Failed.Cut != 4 {
		t.Errorf("counted %+v", got)
	}
}

func TestDrainEndsWithContext(t *testing.T) {
	hold := make(chan struct{})
	up := handled(t, func(w http.ResponseWriter, r *http.Request) {
		<-hold
		io.WriteString(w, "whole")
	})
	p := start(t, Config{}, web(rel("r1", 100, up)))
	_, r := p.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	eventually(t, "it is in flight", func() bool { return statsOf(p.stats(), "web", "r1").InFlight == 1 })

	if got, err := p.control.Drain(context.Background(), "web", "r1", DrainTimes{All: patience}); err != nil || got.InFlight != 0 {
		t.Errorf("drain of a release with a weight, of which no upstream was removed: %+v, %v", got, err)
	}
	p.apply(2, web(rel("r1", 0, up)))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() {
		_, err := p.control.Drain(ctx, "web", "r1", DrainTimes{All: patience})
		ended <- err
	}()
	cancel()
	if err := await(t, "the drain ends", ended); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	// When the release gets requests again, the drain is over, too.
	go func() {
		_, err := p.Drain(context.Background(), "web", "r1", DrainTimes{All: patience})
		ended <- err
	}()
	eventually(t, "the drain waits", func() bool {
		l := p.loops[0]
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.registry.accounts[accountKey{"web", "r1"}].drains) == 1
	})
	p.apply(3, web(rel("r1", 100, up)))
	if err := await(t, "the drain ends", ended); err == nil || !strings.Contains(err.Error(), "gets requests") {
		t.Errorf("%v", err)
	}
	close(hold)
	if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 200 {
		t.Error(resp, err)
	}
}

func TestDrainInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{})
		up := at("127.0.0.1:1")
		apply := func(version uint64, weight int) {
			if err := p.Apply(t.Context(), Table{Version: version, Services: []Service{web(rel("r1", weight, up))}}); err != nil {
				t.Fatal(err)
			}
		}
		if r, err := p.Drain(t.Context(), "web", "r1", DrainTimes{All: time.Hour}); err != nil || r != (DrainResult{}) {
			t.Errorf("a release that never was: %+v, %v", r, err)
		}
		apply(1, 100)
		flights := make([]*flown, 3)
		for i := range flights {
			f := &flown{flight: flight{loop: p.loops[i%len(p.loops)], path: "/"}}
			f.owner = f
			f.wasCut = func() { f.end(cut, 0, 0) }
			f.loop.do(func() { f.resume(f.start()) })
			flights[i] = f
		}
		apply(2, 0)
		go func() {
			time.Sleep(10 * time.Second)
			flights[0].land()
		}()
		r, err := p.Drain(t.Context(), "web", "r1", DrainTimes{All: 30 * time.Second})
		want := DrainResult{InFlight: 3, Waited: 30 * time.Second, By: Endings{Answers: Ending{Finished: 1, Cut: 2}}}.summed()
		if err != nil || r != want {
			t.Errorf("%+v, %v, want %+v", r, err, want)
		}
		s, _ := p.Stats(t.Context())
		addsUp(t, s)
	})
}

// Idle connections to an upstream are closed before anybody may stop the instance: by the
// table, and not by their idle time, which is taken away here. So is one that is in use when
// the table comes.
func TestIdleConnectionsCloseWithUpstream(t *testing.T) {
	for name, after := range map[string]Service{"weight 0": web(rel("r1", 0)), "removed": web(), "replaced": web(rel("r1", 100))} {
		for _, byDoor := range []bool{false, true} {
			for _, inUse := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, door %t, in use %t", name, byDoor, inUse), func(t *testing.T) {
					arrived, goOn, closed := make(chan struct{}), make(chan struct{}), make(chan struct{})
					f := faked(t, func(_ int64, c *fakeConn) {
						c.request()
						close(arrived)
						<-goOn
						c.say(ok("x"))
						c.request() // ends with the connection
						close(closed)
					})
					p := start(t, Config{}, web(rel("r1", 100, f.Upstream)))
					p.withoutIdleTime()
					client := p.http
					if byDoor {
						client = p.clientOf(true)
					}
					answered := make(chan error, 1)
					go func() {
						resp, err := client.Get(p.url)
						if err == nil {
							_, err = io.ReadAll(resp.Body)
							resp.Body.Close()
						}
						answered <- err
					}()
					await(t, "the request arrives", arrived)
					if !inUse {
						close(goOn)
					}
					wait := func() {
						if err := await(t, "the answer", answered); err != nil {
							t.Error(err)
						}
						p.settle()
						p.withoutIdleTime()
					}
					if !inUse {
						wait()
					}
					p.apply(2, after)
					if inUse {
						close(goOn)
						wait()
					}
					await(t, "the connection is closed", closed)
				})
			}
		}
	}
}

// withoutIdleTime has the connections to upstreams that are idle, and those of the door that
// will be, stay so for ever.
func (r *running) withoutIdleTime() {
	for _, l := range r.loops {
		l.do(func() {
			for _, p := range l.registry.pools {
				if t := p.upstream.transport(&r.cfg); t.IdleConnTimeout > 0 { // before it is used
					t.IdleConnTimeout = 0
				}
			}
			for i := range l.slots.list {
				if s := l.slots.list[i].socket; s != nil {
					if c, ok := s.handler.(*upstreamConn); ok && c.exchange == nil {
						l.timers.set(&c.timer, time.Time{})
					}
				}
			}
		})
	}
}

func TestIdleConnectionsAreShortLived(t *testing.T) {
	t.Run("of the door", func(t *testing.T) {
		closed := make(chan struct{})
		f := faked(t, func(_ int64, c *fakeConn) {
			c.request()
			c.say(ok("x"))
			c.request()
			close(closed)
		})
		p := start(t, Config{}, web(rel("r1", 100, f.Upstream)))
		if resp, err := p.clientOf(true).Get(p.url); err != nil {
			t.Error(err)
		} else {
			resp.Body.Close()
		}
		await(t, "the connection is closed by the proxy", closed)
	})
	closed := make(chan struct{})
	f := faked(t, func(n int64, c *fakeConn) {
		for {
			if req, _ := c.request(); req == nil {
				close(closed)
				return
			}
			c.say(ok("x"))
		}
	})
	p := start(t, Config{}, web(rel("r1", 100, f.Upstream)))
	for i := range 10 {
		p.do([]string{"GET", "POST"}[i%2], "/", []string{"", "a body"}[i%2])
		p.settle()
	}
	if up, down := f.conns.Load(), p.stats().ConnectionsAccepted; up != 1 || down != 1 {
		t.Errorf("10 requests took %d connections of the client and %d to the upstream", down, up)
	}
	await(t, "the connection is closed by the proxy", closed)
}

// TestKeepAliveTimeout: who says that it closes an idle connection soon doesn't get a request
// on one that it may be closing.
func TestKeepAliveTimeout(t *testing.T) {
	for _, c := range []struct {
		field string
		// longest is the longest that the connection is kept; 0 is not at all.
		longest time.Duration
	}{
		{"", idleUpstream},
		{"Keep-Alive: timeout=60, max=9\r\n", idleUpstream},
		{"keep-alive: Timeout = 1\r\n", time.Second - idleMargin},
		{"Keep-Alive: max=9, timeout=0\r\n", 0},
		{"Keep-Alive: timeout=soon\r\n", idleUpstream},
		{"Keep-Alive: timeout=99999999999999999\r\n", idleUpstream},
	} {
		t.Run(c.field, func(t *testing.T) {
			t.Parallel()
			f := faked(t, func(_ int64, conn *fakeConn) {
				for req, _ := conn.request(); req != nil; req, _ = conn.request() {
					conn.say("HTTP/1.1 200 OK\r\n" + c.field + "Content-Length: 1\r\n\r\nx")
				}
			})
			p := start(t, Config{Loops: 1}, web(rel("r1", 100, f.Upstream)))
			p.do("GET", "/", "")
			p.settle()
			l := p.loops[0]
			l.do(func() {
				for _, pool := range l.registry.pools {
					for _, up := range pool.idle {
						if left := l.timers.left(&up.timer, up.idleSince); left != c.longest {
							t.Errorf("the connection is kept for %s, want %s", left, c.longest)
						}
					}
				}
			})
			p.do("GET", "/", "")
			if n := f.conns.Load(); n == 1 && c.longest == 0 {
				t.Error("the second request came on the connection of the first")
			}
		})
	}
}

func TestWebSocket(t *testing.T) {
	up := handled(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(-1)
		for {
			kind, message, err := c.Read(context.Background())
			if err != nil {
				return
			}
			if err := c.Write(context.Background(), kind, message); err != nil {
				return
			}
		}
	})
	p := start(t, Config{}, web(rel("r1", 100, up)))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	connect := func() *websocket.Conn {
		c, resp, err := websocket.Dial(ctx, p.url, &websocket.DialOptions{HTTPClient: p.http})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.CloseNow() })
		if resp.Header.Get("X-Request-Id") == "" || resp.Header.Get("Via") == "" {
			t.Errorf("header %v", resp.Header)
		}
		c.SetReadLimit(-1)
		return c
	}
	echo := func(c *websocket.Conn, size int) error {
		message := bytes.Repeat([]byte("m"), size)
		if err := c.Write(ctx, websocket.MessageBinary, message); err != nil {
			return err
		}
		_, back, err := c.Read(ctx)
		if err == nil && !bytes.Equal(back, message) {
			err = errors.New("another message came back")
		}
		return err
	}
	p.http.Timeout = 0 // it would hold for the whole connection
	closing, staying := connect(), connect()
	for _, size := range []int{0, 1, 100, 1 << 20} {
		if err := errors.Join(echo(closing, size), echo(staying, size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := closing.Close(websocket.StatusNormalClosure, "bye"); err != nil {
		t.Error(err)
	}
	eventually(t, "one is counted", func() bool { return statsOf(p.stats(), "web", "r1").Answered[1] == 1 })

	p.apply(2, web(rel("r1", 0, up), rel("r2", 100, up)))
	if err := echo(staying, 1000); err != nil {
		t.Errorf("after the shift: %v", err)
	}
	if got := statsOf(p.stats(), "web", "r1"); got.Upgraded != 1 || got.InFlight != 1 {
		t.Errorf("counted %+v", got)
	}
	result, err := p.Drain(ctx, "web", "r1", DrainTimes{All: 20 * time.Millisecond})
	if err != nil || result.By.WebSockets != (Ending{Cut: 1}) || result.Cut != 1 {
		t.Errorf("%+v, %v", result, err)
	}
	if err := echo(staying, 1); err == nil {
		t.Error("the connection goes on after it was cut")
	}
	if got := p.release("r1"); got.Answered[1] != 1 || got.Failed.Cut != 1 || got.Upgraded != 0 || got.Latency.Count() != 0 {
		t.Errorf("counted %+v", got)
	}
}

// An upgraded connection of another kind, of which one direction ends first, and
// whose bytes come together with the heads.
func TestUpgradeHalfClose(t *testing.T) {
	f := faked(t, func(_ int64, c *fakeConn) {
		c.head()
		c.say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: Tunnel\r\n\r\nwelcome ")
		all, _ := io.ReadAll(c.r)
		c.say("got " + string(all))
	})
	p := start(t, Config{}, web(rel("r1", 100, f.Upstream)))
	conn, r := p.raw("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tunnel\r\n\r\nearly ")
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatal(resp, err)
	}
	io.WriteString(conn, "late")
	conn.(interface{ CloseWrite() error }).CloseWrite()
	if all, err := io.ReadAll(r); err != nil || string(all) != "welcome got early late" {
		t.Errorf("%q, %v", all, err)
	}
	if got := p.release("r1"); got.Answered[1] != 1 {
		t.Errorf("counted %+v", got)
	}
}
