package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"pgregory.net/rapid"
)

// protocols are those of an upstream, or of a client, that speaks one only.
func protocols(h2c bool) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(!h2c)
	p.SetUnencryptedHTTP2(h2c)
	return p
}

// handledH2C is an upstream that speaks HTTP/2.
func handledH2C(t *testing.T, h http.HandlerFunc) Upstream {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = protocols(true)
	s.Start()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	u := at(s.Listener.Addr().String())
	u.Target.H2C = true
	return u
}

// speaking is an upstream of either kind.
func speaking(t *testing.T, h2c bool, h http.HandlerFunc) Upstream {
	t.Helper()
	if h2c {
		return handledH2C(t, h)
	}
	return handled(t, h)
}

// clientOf returns a client that speaks HTTP/2, or not.
func (r *running) clientOf(h2c bool) *http.Client {
	transport := &http.Transport{Protocols: protocols(h2c), DisableCompression: true}
	r.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// eachWay runs a test for the ways through the door.
func eachWay(t *testing.T, test func(t *testing.T, client, upstream bool)) {
	for _, way := range []struct {
		name             string
		client, upstream bool
	}{{"h2c to h1", true, false}, {"h2c to h2c", true, true}, {"h1 to h2c", false, true}} {
		t.Run(way.name, func(t *testing.T) { test(t, way.client, way.upstream) })
	}
}

// Everything that a message can have comes through, and what isn't for others doesn't.
func TestDoorPassesMessages(t *testing.T) {
	eachWay(t, func(t *testing.T, client, upstream bool) {
		up := speaking(t, upstream, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Errorf("%s %s: %v", r.Method, r.URL, err)
			}
			h := w.Header()
			switch r.URL.Path {
			case "/204":
				w.WriteHeader(204)
				return
			case "/hints":
				h.Set("Link", "</a.css>")
				w.WriteHeader(http.StatusEarlyHints)
				h.Del("Link")
			}
			h.Set("Trailer", "Sum")
			h.Set("Connection", "X-Hop")
			h.Set("X-Hop", "1")
			h.Add("Set-Cookie", "a=1")
			h.Add("Set-Cookie", "b=2")
			for _, name := range []string{"Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Hop", "X-Real-Ip", "User-Agent", "Te"} {
				if values := r.Header.Values(name); len(values) > 0 {
					h.Set("Got-"+name, strings.Join(values, "|"))
				}
			}
			fmt.Fprintf(w, "%s %s %s %d %s", r.Method, r.Host, r.RequestURI, len(body), r.Trailer.Get("End"))
			h.Set("Sum", "42")
			h.Set(http.TrailerPrefix+"Late", "43")
		})
		p := start(t, Config{}, web(rel("r1", 100, up)))
		c := p.clientOf(client)
		for _, m := range []struct{ method, path, body, trailer, want string }{
			{"GET", "/", "", "", "GET example.com / 0 "},
			{"GET", "//a%2Fb/../c?q=1&q=%zz", "", "", "GET example.com //a%2Fb/../c?q=1&q=%zz 0 "},
			{"DELETE", "/x", "", "", "DELETE example.com /x 0 "},
			{"POST", "/", "body", "", "POST example.com / 4 "},
			{"POST", "/", strings.Repeat("b", 1<<20), "", "POST example.com / 1048576 "},
			{"PUT", "/", strings.Repeat("b", 100_000), "said", "PUT example.com / 100000 said"},
			{"HEAD", "/", "", "", ""},
			{"GET", "/204", "", "", ""},
			{"GET", "/hints", "", "", "GET example.com /hints 0 "},
		} {
			req, err := http.NewRequest(m.method, p.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.URL, err = req.URL.Parse(p.url + m.path)
			if err != nil {
				t.Fatal(err)
			}
			req.URL.RawPath, req.URL.Path = strings.Split(m.path, "?")[0], strings.ReplaceAll(strings.Split(m.path, "?")[0], "%2F", "/")
			req.Host = "example.com"
			if m.body != "" {
				req.Body, req.ContentLength = io.NopCloser(strings.NewReader(m.body)), int64(len(m.body))
			}
			if m.trailer != "" {
				req.ContentLength = -1
				req.Trailer = http.Header{"End": {m.trailer}}
			}
			req.Header.Set("X-Forwarded-For", "6.6.6.6")
			req.Header.Set("X-Real-IP", "6.6.6.6")
			req.Header.Set("TE", "trailers")
			if !client {
				req.Header.Set("Connection", "X-Hop")
				req.Header.Set("X-Hop", "1")
			}
			var hints []string
			trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				hints = append(hints, fmt.Sprint(code, h.Get("Link")))
				return nil
			}}
			resp, err := c.Do(req.WithContext(httptrace.WithClientTrace(context.Background(), trace)))
			if err != nil {
				t.Fatalf("%s %s: %v", m.method, m.path, err)
			}
			text, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(text) != m.want || err != nil {
				t.Errorf("%s %s: %q, %v, want %q", m.method, m.path, text, err, m.want)
			}
			if (resp.ProtoMajor == 2) != client {
				t.Errorf("the answer is by %s", resp.Proto)
			}
			if id := resp.Header.Get("X-Request-Id"); len(id) != idLength {
				t.Errorf("the request's ID is %q", id)
			}
			if want := m.path == "/hints"; want != (len(hints) == 1 && hints[0] == "103</a.css>") {
				t.Errorf("%s %s: informational answers %q", m.method, m.path, hints)
			}
			if m.path == "/204" {
				if resp.StatusCode != 204 {
					t.Errorf("status %d", resp.StatusCode)
				}
				continue
			}
			h := resp.Header
			version := map[bool]string{true: "2.0", false: "1.1"}
			if got, want := h.Get("Got-Via"), version[client]+" segue"; got != want {
				t.Errorf("the upstream got Via: %q, want %q", got, want)
			}
			if got, want := h.Get("Via"), version[upstream]+" segue"; got != want {
				t.Errorf("the client got Via: %q, want %q", got, want)
			}
			if h.Get("Got-X-Forwarded-For") != "127.0.0.1" || h.Get("Got-X-Forwarded-Host") != "example.com" || h.Get("Got-X-Real-Ip") != "" {
				t.Errorf("the upstream got %v", h)
			}
			if h.Get("Got-Te") != "trailers" || h.Get("Got-User-Agent") != "Go-http-client/"+map[bool]string{true: "2.0", false: "1.1"}[client] {
				t.Errorf("the upstream got %v", h)
			}
			// HTTP/2 has no such fields.
			if (h.Get("X-Hop") != "" && !upstream) || h.Get("Got-X-Hop") != "" {
				t.Error("a field for one connection went on")
			}
			if cookies := h.Values("Set-Cookie"); len(cookies) != 2 {
				t.Errorf("cookies %q", cookies)
			}
			if m.method != "HEAD" && (resp.Trailer.Get("Sum") != "42" || resp.Trailer.Get("Late") != "43") {
				t.Errorf("%s %s: trailer %v", m.method, m.path, resp.Trailer)
			}
		}
		if s := p.release("r1"); s.Answered[2] != 9 || s.Accepted != 9 {
			t.Errorf("counted: %+v", s)
		}
		if n := p.stats().ConnectionsOpen; n != 1 {
			t.Errorf("%d connections are open, want one for all", n)
		}
	})
}

// A connection whose requests the loops have answered goes on by the door when one comes
// that they can't, with all that is behind it.
func TestConnectionLeavesItsLoop(t *testing.T) {
	plain := saying(t, "plain")
	h2c := handledH2C(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "h2c%d %s", r.ProtoMajor, body)
	})
	p := start(t, Config{},
		Service{Name: "web", Releases: []Release{rel("r1", 100, plain)}},
		Service{Name: "grpc", Paths: []string{"/h2c"}, Releases: []Release{rel("r1", 100, h2c)}})
	const requests = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n" +
		"POST /h2c HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody" +
		"GET /b HTTP/1.1\r\nHost: a\r\n\r\n" +
		"POST /h2c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nmore\r\n0\r\n\r\n"
	check := func(t *testing.T, send func(c net.Conn)) {
		conn, r := p.raw("")
		go send(conn)
		for i, want := range []string{"plain", "h2c2 body", "plain", "h2c2 more"} {
			if _, text := response(t, r); text != want {
				t.Errorf("answer %d is %q, want %q", i, text, want)
			}
		}
		conn.Close()
	}
	t.Run("in one piece", func(t *testing.T) {
		check(t, func(c net.Conn) { io.WriteString(c, requests) })
	})
	t.Run("byte by byte", func(t *testing.T) {
		check(t, func(c net.Conn) {
			for i := range len(requests) {
				io.WriteString(c, requests[i:i+1])
			}
		})
	})
	eventually(t, "the connections are gone", func() bool { return p.stats().ConnectionsOpen == 0 })
}

// The beginning of HTTP/2 is that only at the beginning of a connection.
func TestPrefaceBehindRequest(t *testing.T) {
	p := start(t, Config{}, web(rel("r1", 100, saying(t, "x"))))
	_, r := p.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n" + http2.ClientPreface)
	for _, want := range []int{200, 505} {
		if resp, _ := response(t, r); resp.StatusCode != want {
			t.Errorf("status %d, want %d", resp.StatusCode, want)
		}
	}
}

// A stream goes both ways at the same time, and ends with a status.
func TestDoorStreams(t *testing.T) {
	up := handledH2C(t, echoStream)
	p := start(t, Config{}, web(rel("r1", 100, up)))
	c := p.clientOf(true)
	s := p.openStream(c)
	for i := range 5 {
		if got := s.say(fmt.Sprint("message ", i)); got != fmt.Sprint("message ", i) {
			t.Fatalf("it answers %q", got)
		}
	}
	s.out.Close()
	if rest, err := io.ReadAll(s.resp.Body); len(rest) > 0 || err != nil || s.resp.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("%q, %v, trailer %v", rest, err, s.resp.Trailer)
	}
}

// echoStream answers each piece at once, as a gRPC service does.
func echoStream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	w.WriteHeader(200)
	control := http.NewResponseController(w)
	control.Flush()
	buffer := make([]byte, 1000)
	for {
		n, err := r.Body.Read(buffer)
		w.Write(buffer[:n])
		control.Flush()
		if err != nil {
			break
		}
	}
	w.Header().Set("Grpc-Status", "0")
}

type testStream struct {
	t    *testing.T
	out  *io.PipeWriter
	resp *http.Response
}

func (r *running) openStream(c *http.Client) *testStream {
	r.t.Helper()
	in, out := io.Pipe()
	req, err := http.NewRequest("POST", r.url+"/echo", in)
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { out.Close(); resp.Body.Close() })
	return &testStream{r.t, out, resp}
}

func (s *testStream) say(text string) string {
	s.t.Helper()
	if _, err := io.WriteString(s.out, text); err != nil {
		s.t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(s.resp.Body, got); err != nil {
		s.t.Fatal(err)
	}
	return string(got)
}

// A drain waits for streams, and cuts them at its deadline, as the client can see. New
// requests on the same connection go to the other release meanwhile.
func TestDrainOfStreams(t *testing.T) {
	stable := handledH2C(t, echoStream)
	candidate := handledH2C(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "r2") })
	p := start(t, Config{}, canary(0, stable, candidate))
	c := p.clientOf(true)
	ends, cutOff := p.openStream(c), p.openStream(c)
	ends.say("a")
	cutOff.say("a")
	p.apply(2, canary(100, stable, candidate))
	type drained struct {
		DrainResult
		error
	}
	result := make(chan drained, 1)
	go func() {
		d, err := p.Drain(context.Background(), "web", "r1", DrainTimes{All: 500 * time.Millisecond})
		result <- drained{d, err}
	}()
	if got := ends.say("still here"); got != "still here" {
		t.Errorf("it answers %q", got)
	}
	resp, err := c.Get(p.url)
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := io.ReadAll(resp.Body); string(text) != "r2" {
		t.Errorf("a new request gets %q", text)
	}
	resp.Body.Close()
	ends.out.Close()
	if _, err := io.ReadAll(ends.resp.Body); err != nil || ends.resp.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("%v, trailer %v", err, ends.resp.Trailer)
	}
	d := await(t, "the drain's end", result)
	if d.error != nil || d.InFlight != 2 || d.Finished != 1 || d.Cut != 1 {
		t.Errorf("%+v", d)
	}
	if _, err := io.ReadAll(cutOff.resp.Body); err != nil || cutOff.resp.Trailer.Get("Grpc-Status") != "14" {
		t.Errorf("the stream that was cut: %v, trailer %v", err, cutOff.resp.Trailer)
	}
	if s := p.release("r1"); s.Failed.Cut != 1 || s.Answered[2] != 1 {
		t.Errorf("counted: %+v", s)
	}
}

// What breaks off upstream, breaks off for the client, and no answer is made of it.
func TestDoorTruncates(t *testing.T) {
	eachWay(t, func(t *testing.T, client, upstream bool) {
		up := speaking(t, upstream, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/sized" {
				w.Header().Set("Content-Length", "1000")
			}
			io.WriteString(w, "begin")
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
		p := start(t, Config{}, web(rel("r1", 100, up)))
		c := p.clientOf(client)
		for _, path := range []string{"/sized", "/open"} {
			resp, err := c.Get(p.url + path)
			if err != nil {
				continue // the end may overtake the beginning
			}
			if text, err := io.ReadAll(resp.Body); err == nil {
				t.Errorf("%s: %q is taken for a whole answer", path, text)
			}
			resp.Body.Close()
		}
		if s := p.release("r1"); s.Failed.Truncated+s.Failed.Broken != 2 || s.Answered[2] != 0 {
			t.Errorf("counted: %+v", s)
		}
	})
}

// What an instance has not got goes to another; what it may have got, only if it may be
// said twice.
func TestDoorRetries(t *testing.T) {
	eachWay(t, func(t *testing.T, client, upstream bool) {
		var posts atomic.Int64
		breaking := speaking(t, upstream, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "POST" {
				posts.Add(1)
			}
			io.Copy(io.Discard, r.Body)
			panic(http.ErrAbortHandler)
		})
		dead := refusing(t)
		dead.Target.H2C = upstream
		good := speaking(t, upstream, func(w http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, "good ", n, err)
		})
		p := start(t, Config{},
			Service{Name: "web", Releases: []Release{rel("r1", 100, dead, good)}},
			Service{Name: "breaking", Paths: []string{"/breaking"}, Releases: []Release{rel("r1", 100, breaking, good)}})
		c := p.clientOf(client)
		send := func(method, path string, size int) (int, string) {
			t.Helper()
			req, _ := http.NewRequest(method, p.url+path, bytes.NewReader(make([]byte, size)))
			resp, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			text, _ := io.ReadAll(resp.Body)
			return resp.StatusCode, string(text)
		}
		for range 20 {
			// Nobody was there to get it: any size, any method.
			if status, text := send("POST", "/", 1<<20); status != 200 || text != "good 1048576 <nil>" {
				t.Fatalf("%d %q", status, text)
			}
			if status, text := send("PUT", "/breaking", 1000); status != 200 || text != "good 1000 <nil>" {
				t.Fatalf("%d %q", status, text)
			}
			send("POST", "/breaking", 1000)
		}
		s := statsOf(p.stats(), "breaking", "r1")
		if posts.Load() == 0 || s.Failed.Broken != uint64(posts.Load()) {
			t.Errorf("the upstream got %d POSTs, and %d failed", posts.Load(), s.Failed.Broken)
		}
		if s.Retried == 0 {
			t.Error("nothing was sent again")
		}
	})
}

// Held requests wait at the door, too.
func TestDoorHolds(t *testing.T) {
	stable, candidate := saying(t, "r1"), saying(t, "r2")
	p := start(t, Config{}, holding(canary(0, stable, candidate)))
	c := p.clientOf(true)
	got := make(chan string, 2)
	get := func(ctx context.Context) {
		req, _ := http.NewRequestWithContext(ctx, "POST", p.url, strings.NewReader("body"))
		resp, err := c.Do(req)
		if err != nil {
			got <- "error"
			return
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		got <- string(text)
	}
	ctx, goAway := context.WithCancel(context.Background())
	go get(ctx)
	go get(context.Background())
	p.awaitHeld(2)
	goAway()
	if text := await(t, "the end of the one", got); text != "error" {
		t.Errorf("the client that goes gets %q", text)
	}
	p.awaitHeld(1)
	p.apply(2, canary(100, stable, candidate))
	if text := await(t, "the answer", got); text != "r2" {
		t.Errorf("the one that waits gets %q", text)
	}
	if h := p.held(); h.Gone != 1 || h.LetGo != 1 {
		t.Errorf("held: %+v", h)
	}
}

// A shift by weights, rules and cookies is the same at the door, and copies are made.
func TestDoorChooses(t *testing.T) {
	stable, candidate := saying(t, "r1"), saying(t, "r2")
	s := canary(50, stable, candidate)
	s.Sticky = &Sticky{Cookie: "seg"}
	s.Match = []Match{{Header: "X-Beta"}}
	s.Mirror = &Mirror{Share: 100, MaxInFlight: 1000}
	p := start(t, Config{}, s)
	c := p.clientOf(true)
	get := func(headers ...string) (text, cookie string) {
		req, _ := http.NewRequest("GET", p.url, nil)
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return string(b), strings.Split(resp.Header.Get("Set-Cookie"), ";")[0]
	}
	count := map[string]int{}
	for range 200 {
		first, cookie := get()
		count[first]++
		if again, _ := get("Cookie", cookie); again != first {
			t.Fatalf("a client of %s goes to %s", first, again)
		}
		if beta, _ := get("X-Beta", "1"); beta != "r2" {
			t.Fatal("a rule isn't followed")
		}
	}
	if count["r1"] < 40 || count["r2"] < 40 {
		t.Errorf("of 200 clients at 50 %%: %v", count)
	}
	eventually(t, "each request to r1 is copied", func() bool {
		m := p.mirrors()
		return m.Sent == uint64(2*count["r1"]) && m.Different == m.Sent-m.Uncompared-m.Same-m.Failed && m.Ended() == m.Sent
	})
}

// A request that has waited is copied as well.
func TestDoorCopiesHeldRequests(t *testing.T) {
	stable, candidate := saying(t, "r1"), saying(t, "r2")
	s := canary(0, stable, candidate)
	s.Mirror = &Mirror{Share: 100, MaxInFlight: 10}
	p := start(t, Config{}, holding(s))
	got := make(chan error, 1)
	go func() {
		resp, err := p.clientOf(true).Get(p.url)
		if err == nil {
			resp.Body.Close()
		}
		got <- err
	}()
	p.awaitHeld(1)
	p.apply(2, s)
	if err := await(t, "the answer", got); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is copied", func() bool { return p.mirrors().Same == 1 })
}

// Nothing is lost when the proxy ends: what is under way is answered, and clients learn
// which of their requests weren't looked at.
func TestDoorShutdown(t *testing.T) {
	eachWay(t, func(t *testing.T, client, upstream bool) {
		up := speaking(t, upstream, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Millisecond) // it is at work
			io.Copy(io.Discard, r.Body)
			io.WriteString(w, "done")
		})
		p := start(t, Config{}, web(rel("r1", 100, up)))
		p.shaky = true
		c := p.clientOf(client)
		// As long as somebody has the socket, new connections wait, as they do for the next
		// proxy. Their requests are given up in the end.
		socket, err := p.listener.File()
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		waiting, giveUp := context.WithCancel(context.Background())
		var answered atomic.Int64
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for waiting.Err() == nil {
					req, _ := http.NewRequestWithContext(waiting, "POST", p.url, strings.NewReader("body"))
					resp, err := c.Do(req)
					if err != nil {
						if waiting.Err() == nil {
							t.Errorf("lost: %v", err)
						}
						return
					}
					if _, err := io.ReadAll(resp.Body); err != nil && waiting.Err() == nil {
						t.Errorf("lost: %v", err)
					}
					resp.Body.Close()
					answered.Add(1)
				}
			})
		}
		eventually(t, "requests are answered", func() bool { return answered.Load() > 50 })
		if err := p.Shutdown(context.Background(), patience); err != nil {
			t.Error(err)
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		giveUp()
		all.Wait()
	})
}

// A client that speaks HTTP/2 and has nothing to ask just then is told to go when the proxy
// ends, and when another takes over, rather than met with the end of its connection.
func TestIdleClientsAreToldToGo(t *testing.T) {
	for name, end := range map[string]func(*running){
		"the end": func(p *running) {
			if err := p.Shutdown(p.t.Context(), patience); err != nil {
				p.t.Error(err)
			}
		},
		"a takeover": func(p *running) { p.successor(Config{}) },
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, Config{}, web(rel("r1", 100, saying(t, "x"))))
			conn, r := p.raw(http2.ClientPreface)
			f := http2.NewFramer(conn, r)
			if err := f.WriteSettings(); err != nil {
				t.Fatal(err)
			}
			// next reads up to a frame for which is holds.
			next := func(what string, is func(http2.Frame) bool) {
				t.Helper()
				for {
					frame, err := f.ReadFrame()
					if err != nil {
						t.Fatalf("%v, want %s", err, what)
					}
					if is(frame) {
						return
					}
				}
			}
			next("settings", func(f http2.Frame) bool { s, ok := f.(*http2.SettingsFrame); return ok && s.IsAck() })
			end(p)
			next("GOAWAY", func(f http2.Frame) bool { _, ok := f.(*http2.GoAwayFrame); return ok })
			conn.Close()
		})
	}
}

// Who speaks HTTP/2 to a proxy that ends is told that nothing was looked at.
func TestFarewell(t *testing.T) {
	f := http2.NewFramer(nil, bytes.NewReader(http2Farewell()))
	first, err := f.ReadFrame()
	if s, ok := first.(*http2.SettingsFrame); err != nil || !ok || s.NumSettings() != 0 || s.IsAck() {
		t.Errorf("%v, %v", first, err)
	}
	second, err := f.ReadFrame()
	if g, ok := second.(*http2.GoAwayFrame); err != nil || !ok || g.LastStreamID != 0 || g.ErrCode != http2.ErrCodeNo {
		t.Errorf("%v, %v", second, err)
	}
	if _, err := f.ReadFrame(); !errors.Is(err, io.EOF) {
		t.Errorf("more than that: %v", err)
	}
}

// A body can be read again, also while one that was given up still reads it.
func TestReplay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "body")
		limit := rapid.IntRange(0, 60).Draw(t, "limit")
		var b replay
		b.begin(bytes.NewReader(body), limit)
		for attempt := 0; ; attempt++ {
			r := b.reader()
			var got []byte
			for len(got) < len(body) && (attempt > 4 || rapid.IntRange(0, 5).Draw(t, "goes on") > 0) {
				piece := make([]byte, rapid.IntRange(1, 20).Draw(t, "size"))
				n, err := r.Read(piece)
				got = append(got, piece[:n]...)
				if err != nil && !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(got, body[:len(got)]) {
				t.Fatalf("attempt %d reads %q of %q", attempt, got, body)
			}
			if again := b.again(); again != (b.size() >= len(got)) || (len(got) <= limit-20 && !again) {
				t.Fatalf("attempt %d has read %d of %d bytes, limit %d: again %v", attempt, len(got), len(body), limit, again)
			}
			if len(got) == len(body) || !b.again() {
				return
			}
		}
	})
}

// Two attempts at a time don't share out the body.
func TestReplayOverlaps(t *testing.T) {
	in, out := io.Pipe()
	var b replay
	b.begin(in, 4)
	first := b.reader()
	gaveUp := make(chan error, 1)
	go func() {
		_, err := first.Read(make([]byte, 100))
		gaveUp <- err
	}()
	if !b.again() {
		t.Fatal("nothing has been read")
	}
	second := b.reader()
	whole := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(second)
		whole <- string(text)
	}()
	io.WriteString(out, "longer than the limit")
	out.Close()
	if err := await(t, "the first's end", gaveUp); err != nil && !errors.Is(err, errGone) {
		t.Error(err)
	}
	if text := await(t, "the second's end", whole); text != "longer than the limit" {
		t.Errorf("it reads %q", text)
	}
}

// Another proxy takes over, again and again: clients of the door are told to go in time,
// and lose nothing.
func TestTakeOverOfTheDoor(t *testing.T) {
	eachWay(t, func(t *testing.T, client, upstream bool) {
		up := speaking(t, upstream, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			io.WriteString(w, "done")
		})
		p := start(t, Config{}, web(rel("r1", 100, up)))
		c := p.clientOf(client)
		var sent atomic.Int64
		var all sync.WaitGroup
		stop := make(chan struct{})
		for range 8 {
			all.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					resp, err := c.Post(p.url, "text/plain", strings.NewReader("body"))
					if err != nil {
						t.Errorf("lost: %v", err)
						return
					}
					if _, err := io.ReadAll(resp.Body); err != nil {
						t.Errorf("lost: %v", err)
					}
					resp.Body.Close()
					sent.Add(1)
				}
			})
		}
		now := p
		for range 5 {
			before := sent.Load()
			eventually(t, "requests are answered", func() bool { return sent.Load() > before+100 || t.Failed() })
			now = now.successor(Config{})
		}
		close(stop)
		all.Wait()
		c.CloseIdleConnections()
		eventually(t, "no proxy before is left", func() bool { return len(now.before()) == 0 })
		if got := now.release("r1"); int64(got.Answered[2]) != sent.Load() {
			t.Errorf("%d answers came, and %+v were counted", sent.Load(), got)
		}
	})
}
