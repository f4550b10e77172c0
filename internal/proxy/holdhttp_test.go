package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// response reads an answer from a raw connection, with its body.
func response(t *testing.T, r *bufio.Reader) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

// awaitHeld waits until so many requests are held.
func (r *running) awaitHeld(n int64) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%d requests wait", n), func() bool { return r.held().Now == n })
}

// Requests of all forms wait, go to the candidate whole, and their connections go on.
func TestHeldRequestsArriveWhole(t *testing.T) {
	stable := saying(t, "r1")
	candidate := handled(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, "r2 %s %d", r.Method, len(body))
	})
	p := start(t, Config{}, holding(canary(0, stable, candidate)))
	big := strings.Repeat("b", 1<<20)
	cases := []struct{ request, want string }{
		{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "r2 GET 0"},
		{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody", "r2 POST 4"},
		{"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "r2 PUT 3"},
		{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n" + big, "r2 POST 1048576"},
	}
	var all sync.WaitGroup
	for _, c := range cases {
		all.Go(func() {
			// The second request comes on the same connection, behind the first.
			_, r := p.raw(c.request + c.request)
			for n := range 2 {
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Errorf("%.20q, request %d: %v", c.request, n, err)
					return
				}
				text, err := io.ReadAll(resp.Body)
				if err != nil || string(text) != c.want || resp.StatusCode != 200 {
					t.Errorf("%.20q, request %d: %q, %v, want %q", c.request, n, text, err, c.want)
				}
				if resp.Close {
					t.Errorf("%.20q, request %d: its connection closes", c.request, n)
					return
				}
			}
		})
	}
	// This client asks before it sends its body.
	conn, asking := p.raw("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
	p.awaitHeld(int64(len(cases)) + 1)
	p.apply(2, canary(100, stable, candidate))
	all.Wait()
	if resp, _ := response(t, asking); resp.StatusCode != http.StatusContinue {
		t.Errorf("%s, want to be asked for the body", resp.Status)
	}
	io.WriteString(conn, "body")
	if _, text := response(t, asking); text != "r2 POST 4" {
		t.Errorf("%q", text)
	}
	got := p.held()
	if want := uint64(len(cases)) + 1; got.Total != want || got.LetGo != want || got.Longest <= 0 {
		t.Errorf("held %+v, want %d", got, want)
	}
	if r1 := p.release("r1"); r1.Accepted != 0 {
		t.Errorf("stable got some: %+v", r1)
	}
}

func TestHeldUpgrade(t *testing.T) {
	candidate := handled(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		_ = c.Write(context.Background(), websocket.MessageText, []byte("r2"))
		_, _, _ = c.Read(context.Background())
	})
	stable := saying(t, "r1")
	p := start(t, Config{}, holding(canary(0, stable, candidate)))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p.http.Timeout = 0 // it would hold for the whole connection
	connected := make(chan *websocket.Conn, 1)
	go func() {
		c, _, err := websocket.Dial(ctx, p.url, &websocket.DialOptions{HTTPClient: p.http})
		if err != nil {
			t.Error(err)
		}
		connected <- c
	}()
	p.awaitHeld(1)
	p.apply(2, canary(100, stable, candidate))
	c := await(t, "it is connected", connected)
	if c == nil {
		return
	}
	defer c.CloseNow()
	if _, message, err := c.Read(ctx); err != nil || string(message) != "r2" {
		t.Errorf("%q, %v", message, err)
	}
	// A new hold lets the connection be, and a drain of its release sees it.
	p.apply(3, holding(canary(100, stable, candidate)))
	result, err := p.Drain(ctx, "web", "r2", DrainTimes{All: 20 * time.Millisecond})
	if err != nil || result.By.WebSockets != (Ending{Cut: 1}) {
		t.Errorf("drained %+v, %v", result, err)
	}
}

// What is over a bound is answered at once, or at its time, in a form that a client
// understands, and may be tried again on the same connection.
func TestHeldRequestsAreRefused(t *testing.T) {
	stable := saying(t, "r1")
	refused := func(t *testing.T, resp *http.Response, text string) {
		t.Helper()
		if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !strings.Contains(text, "wait") || resp.Header.Get(requestIDHeader) == "" {
			t.Errorf("%d %q, header %v", resp.StatusCode, text, resp.Header)
		}
	}
	for name, limit := range map[string]func(*Hold){
		"requests": func(h *Hold) { h.Requests = 1 },
		"bytes":    func(h *Hold) { h.Bytes = heldCost * 3 / 2 },
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, Config{}, holding(canary(0, stable, stable), limit))
			_, waiting := p.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			p.awaitHeld(1)
			request := "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
			conn, r := p.raw(request)
			resp, text := response(t, r)
			refused(t, resp, text)
			p.apply(2, canary(0, stable, stable))
			io.WriteString(conn, request)
			if resp, text := response(t, r); resp.StatusCode != 200 || text != "r1" {
				t.Errorf("afterwards: %d %q", resp.StatusCode, text)
			}
			if resp, text := response(t, waiting); resp.StatusCode != 200 || text != "r1" {
				t.Errorf("the one that waited: %d %q", resp.StatusCode, text)
			}
			p.settle()
			if got := statsOf(p.stats(), "web", ""); got.Accepted != 1 || got.Failed != (Failures{Held: 1}) {
				t.Errorf("counted %+v", got)
			}
			if got := p.held(); got.Total != 1 || got.LetGo != 1 || got.Expired != 0 {
				t.Errorf("held %+v", got)
			}
		})
	}
	t.Run("time", func(t *testing.T) {
		p := start(t, Config{}, holding(canary(0, stable, stable), func(h *Hold) { h.Time = 20 * time.Millisecond }))
		resp, text := p.do("GET", "/", "")
		refused(t, resp, text)
		if got := p.held(); got.Total != 1 || got.Expired != 1 || got.Longest < 20*time.Millisecond {
			t.Errorf("held %+v", got)
		}
	})
	t.Run("a body that doesn't come", func(t *testing.T) {
		cfg := Config{StallTimeout: 20 * time.Millisecond}
		p := start(t, cfg, holding(canary(0, stable, stable), func(h *Hold) { h.Time = time.Millisecond }))
		_, r := p.raw("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
		resp, text := response(t, r)
		refused(t, resp, text)
		if !resp.Close {
			t.Error("the connection stays open, with half of a body on it")
		}
	})
}

// Clients that go away while they are held free their places, even those with a body
// that nobody has read, and their requests go nowhere.
func TestHeldClientsGo(t *testing.T) {
	stable := saying(t, "r1")
	p := start(t, Config{}, holding(canary(0, stable, stable)))
	get, _ := p.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	post, _ := p.raw("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
	_, staying := p.raw("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
	p.awaitHeld(3)
	get.Close()
	post.Close()
	p.awaitHeld(1)
	p.apply(2, canary(0, stable, stable))
	if resp, text := response(t, staying); resp.StatusCode != 200 || text != "r1" {
		t.Errorf("%d %q", resp.StatusCode, text)
	}
	if got := p.release("r1"); got.Accepted != 1 {
		t.Errorf("stable got %+v", got)
	}
	if got := p.held(); got.Total != 3 || got.Gone != 2 || got.LetGo != 1 {
		t.Errorf("held %+v", got)
	}
	if got := statsOf(p.stats(), "web", ""); got.ClientGone != 2 || got.Accepted != 2 {
		t.Errorf("counted %+v", got)
	}
}

// The end of the proxy waits for held requests as for others, and cuts them then.
func TestShutdownWhileHeld(t *testing.T) {
	stable := saying(t, "r1")
	for _, lifted := range []bool{true, false} {
		t.Run(fmt.Sprintf("lifted: %t", lifted), func(t *testing.T) {
			p := start(t, Config{}, holding(canary(0, stable, stable)))
			_, r := p.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			p.awaitHeld(1)
			grace := patience
			if !lifted {
				grace = 10 * time.Millisecond
			}
			if err := p.Shutdown(context.Background(), grace); err != nil {
				t.Fatal(err)
			}
			if lifted {
				p.apply(2, canary(0, stable, stable))
				if resp, text := response(t, r); resp.StatusCode != 200 || text != "r1" || !resp.Close {
					t.Errorf("%d %q, closes: %t", resp.StatusCode, text, resp.Close)
				}
			} else if resp, err := http.ReadResponse(r, nil); err == nil {
				t.Errorf("%d is the answer of a proxy that ends", resp.StatusCode)
			}
			if err := p.stop(); err != nil {
				t.Error(err)
			}
			eventually(t, "it is counted", func() bool { h := p.held(); return h.Now == 0 && h.Total == 1 })
			if got := statsOf(p.stats(), "web", ""); !lifted && got.Failed != (Failures{Cut: 1}) {
				t.Errorf("counted %+v", got)
			}
		})
	}
}

// A table says the same after its way over the control socket.
func TestControlOfRules(t *testing.T) {
	s := holding(canary(50, saying(t, "r1"), saying(t, "r2")), func(h *Hold) { h.Time = 1500 * time.Millisecond })
	s.Match = []Match{{Header: "A", Value: "1"}, {Cookie: "b"}, {Query: "c"}, {Host: "d.test"}}
	s.Sticky = &Sticky{Cookie: "segue"}
	s.Mirror = &Mirror{Share: 0.5, MaxInFlight: 3, CompareBody: true, MaxBody: 1 << 20}
	p := start(t, Config{})
	table := Table{Version: 1, Services: []Service{s}}
	for range 2 { // the second time it is in force
		if err := p.control.Apply(context.Background(), table); err != nil {
			t.Fatal(err)
		}
	}
	got := p.loops[0].table.services[0]
	if !reflect.DeepEqual(got.match.rules, s.Match) || got.sticky.Sticky != *s.Sticky || got.mirror.Mirror != *s.Mirror {
		t.Errorf("in force are %+v, %+v, %+v", got.match.rules, got.sticky, got.mirror)
	}
	if h := got.hold.Hold; !h.Until.Equal(s.Hold.Until) || h.Time != s.Hold.Time || h.Requests != s.Hold.Requests || h.Bytes != s.Hold.Bytes {
		t.Errorf("in force is %+v, want %+v", h, s.Hold)
	}
}
