package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"
	"testing"
)

func TestForwardsRequestAndAnswer(t *testing.T) {
	up := handled(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Own", "yes")
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s %s %s %q %d", r.Method, r.RequestURI, r.Host, body, r.ContentLength)
	})
	p := start(t, Config{}, web(rel("r1", 100, up)))
	resp, body := p.do("POST", "/a%2Fb//c/../d?q=%20&x", "hello", "Host", "example.com:81")
	if want := `POST /a%2Fb//c/../d?q=%20&x example.com:81 "hello" 5`; resp.StatusCode != 418 || body != want {
		t.Errorf("%d %s, want 418 %s", resp.StatusCode, body, want)
	}
	if resp.Header.Get("X-Own") != "yes" || len(resp.Header["Set-Cookie"]) != 2 {
		t.Errorf("header %v", resp.Header)
	}
	if got := p.release("r1"); got.Answered[4] != 1 || got.Latency.Count() != 1 || got.Latency.Max() <= 0 {
		t.Errorf("counted %+v", got)
	}
}

func TestForwardsOddForms(t *testing.T) {
	f := faked(t, func(_ int64, c *fakeConn) {
		for {
			line, err := c.r.ReadString('\n')
			if err != nil {
				return
			}
			h, err := textproto.NewReader(c.r).ReadMIMEHeader()
			if err != nil {
				return
			}
			text := fmt.Sprintf("%s|%s|%s", strings.TrimSpace(line), h.Get("Host"), h.Get("Content-Length"))
			if strings.HasPrefix(line, "HEAD") {
				c.say("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")
				continue
			}
			c.say(ok(text))
		}
	})
	p := start(t, Config{}, web(rel("r1", 100, f.Upstream)))
	for _, c := range []struct{ request, want string }{
		{"GET http://other.test/x?y HTTP/1.1\r\nHost: example.com\r\n\r\n", "GET /x?y HTTP/1.1|other.test|"},
		{"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1|a|"},
		{"GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1||"},
		{"POST / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1|a|0"},
		{"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", "DELETE / HTTP/1.1|a|"},
		{"GET //two HTTP/1.1\r\nHost: a\r\n\r\n", "GET //two HTTP/1.1|a|"},
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: content-length, host\r\n\r\n", "GET / HTTP/1.1|a|"},
	} {
		_, r := p.raw(c.request)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("%q: %v", c.request, err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != c.want {
			t.Errorf("%q: %q, want %q (%v)", c.request, body, c.want, err)
		}
	}
	if resp, _ := p.do("HEAD", "/", ""); resp.ContentLength != 1234 {
		t.Errorf("HEAD has Content-Length %d, want 1234", resp.ContentLength)
	}
}

func TestAnswersWithoutBody(t *testing.T) {
	up := handled(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/304" {
			w.Header().Set("ETag", `"x"`)
			w.WriteHeader(304)
			return
		}
		w.WriteHeader(204)
	})
	p := start(t, Config{}, web(rel("r1", 100, up)))
	for range 2 { // the connection is good for another
		if resp, _ := p.do("GET", "/204", ""); resp.StatusCode != 204 {
			t.Errorf("status %d", resp.StatusCode)
		}
		if resp, _ := p.do("GET", "/304", ""); resp.StatusCode != 304 || resp.Header.Get("ETag") != `"x"` {
			t.Errorf("status %d, header %v", resp.StatusCode, resp.Header)
		}
	}
}

func TestRefusals(t *testing.T) {
	p := start(t, Config{}, Service{Name: "web", Hosts: []string{"example.com"}, Releases: []Release{rel("r1", 100, saying(t, "x"))}})
	resp, body := p.do("GET", "/", "", "Host", "unknown.test")
	if resp.StatusCode != 404 || !strings.Contains(body, "segue") || !strings.Contains(body, resp.Header.Get("X-Request-Id")) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	for request, want := range map[string]int{
		"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n": 501,
		"GET / HTTP/2.0\r\n\r\n": 505,
		"NONSENSE\r\n\r\n":       400,
		"GET / HTTP/1.1\r\n\r\n": 400,
		"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 100<<10) + "\r\n\r\n":       431,
		"GET / HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n\r\n":                               417,
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n":             501,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!": 400,
		"GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n":                                   400,
	} {
		conn, r := p.raw(request)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("%.60q: %v", request, err)
		}
		if resp.StatusCode != want {
			t.Errorf("%.60q: %d, want %d", request, resp.StatusCode, want)
		}
		conn.Close()
	}
	if s := p.stats(); s.Unrouted != 1 || s.Malformed != 9 {
		t.Errorf("%d unrouted and %d malformed, want 1 and 9", s.Unrouted, s.Malformed)
	}
	// A client that says nothing is no malformed request.
	conn, _ := p.raw("")
	conn.Close()
	eventually(t, "the connections are closed", func() bool {
		p.http.CloseIdleConnections()
		return p.stats().ConnectionsOpen == 0
	})
	if s := p.stats(); s.Malformed != 9 {
		t.Errorf("%d malformed, want 9", s.Malformed)
	}
}

func TestUnavailable(t *testing.T) {
	p := start(t, Config{}, web(rel("r1", 100)), Service{Name: "none", Hosts: []string{"none.test"}, Releases: []Release{{ID: "r1"}}})
	resp, body := p.do("POST", "/", "body")
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !strings.Contains(body, "segue") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if resp, _ := p.do("GET", "/", "", "Host", "none.test"); resp.StatusCode != 503 {
		t.Errorf("status %d", resp.StatusCode)
	}
	if got := p.release("r1"); got.Failed.Unavailable != 1 || got.Accepted != 1 {
		t.Errorf("counted %+v", got)
	}
	if got := statsOf(p.stats(), "none", ""); got.Failed.Unavailable != 1 || got.Accepted != 1 {
		t.Errorf("counted %+v", got)
	}
}

func TestHeaders(t *testing.T) {
	var got http.Header
	up := handled(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Clone()
		w.Header().Set("Connection", "X-Secret")
		w.Header().Set("X-Secret", "s")
		w.Header().Set("Keep-Alive", "timeout=5")
		w.Header().Set("Proxy-Authenticate", "Basic")
		w.Header().Set("Via", "1.0 inner")
		w.Header().Set("X-Request-Id", "of the upstream")
	})
	spoofed := []string{
		"X-Forwarded-For", "6.6.6.6", "X-Forwarded-For", "7.7.7.7", "X-Forwarded-Proto", "https",
		"X-Forwarded-Host", "evil.test", "X-Forwarded-Port", "1", "X-Real-Ip", "6.6.6.6",
		"Forwarded", "for=6.6.6.6", "X-Request-Id", "mine", "X_Forwarded_For", "6.6.6.6", "X_Real-Ip", "6.6.6.6",
		"Connection", "X-Hop, keep-alive", "X-Hop", "h", "Keep-Alive", "timeout=1", "Te", "trailers", "Proxy-Connection", "x",
		"Proxy-Authorization", "secret", "Upgrade", "h2c", "Http2-Settings", "AAMAAABkAAQ", "Via", "1.1 outer", "Host", "example.com",
	}
	check := func(t *testing.T, want map[string]string) {
		t.Helper()
		for name, value := range want {
			if have := strings.Join(got[name], "|"); have != value {
				t.Errorf("%s is %q, want %q", name, have, value)
			}
		}
	}
	gone := map[string]string{
		"X-Hop": "", "Keep-Alive": "", "Proxy-Connection": "", "Proxy-Authorization": "", "Upgrade": "", "Http2-Settings": "",
		"Te": "trailers", "Connection": "TE", "Via": "1.1 outer, 1.1 segue", "Transfer-Encoding": "",
	}
	t.Run("untrusted", func(t *testing.T) {
		p := start(t, Config{}, web(rel("r1", 100, up)))
		resp, _ := p.do("GET", "/", "", spoofed...)
		check(t, gone)
		check(t, map[string]string{
			"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "example.com",
			"X-Forwarded-Port": "", "X-Real-Ip": "", "Forwarded": "", "X_forwarded_for": "", "X_real-Ip": "",
		})
		id := got.Get("X-Request-Id")
		if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || id != resp.Header.Get("X-Request-Id") {
			t.Errorf("request ID %q to the upstream, %q to the client", id, resp.Header.Get("X-Request-Id"))
		}
		for _, name := range []string{"X-Secret", "Keep-Alive", "Proxy-Authenticate"} {
			if resp.Header.Get(name) != "" {
				t.Errorf("the answer has %s", name)
			}
		}
		if via := resp.Header.Get("Via"); via != "1.0 inner, 1.1 segue" {
			t.Errorf("Via %q", via)
		}
		if _, has := resp.Header["Content-Type"]; has {
			t.Errorf("a Content-Type was guessed: %v", resp.Header)
		}
	})
	t.Run("trusted", func(t *testing.T) {
		p := start(t, Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, web(rel("r1", 100, up)))
		resp, _ := p.do("GET", "/", "", spoofed...)
		check(t, gone)
		check(t, map[string]string{
			"X-Forwarded-For": "6.6.6.6, 7.7.7.7, 127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.test",
			"Forwarded": "for=6.6.6.6", "X-Request-Id": "mine", "X-Real-Ip": "6.6.6.6",
		})
		if resp.Header.Get("X-Request-Id") != "mine" {
			t.Errorf("request ID %q", resp.Header.Get("X-Request-Id"))
		}
	})
}

func TestTrailers(t *testing.T) {
	up := handled(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(200)
		io.WriteString(w, "body")
		w.Header().Set("X-Sum", r.Trailer.Get("X-In"))
		w.Header().Set(http.TrailerPrefix+"X-Late", "late")
	})
	p := start(t, Config{}, web(rel("r1", 100, up)))
	req, _ := http.NewRequest("POST", p.url, io.NopCloser(strings.NewReader("hello")))
	req.Trailer = http.Header{"X-In": {"42"}}
	resp, err := p.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "body" {
		t.Fatalf("%q, %v", body, err)
	}
	if resp.Trailer.Get("X-Sum") != "42" || resp.Trailer.Get("X-Late") != "late" {
		t.Errorf("trailer %v", resp.Trailer)
	}
}

// Framing that two servers might read in two ways is refused, or goes out in one.
func TestAmbiguousFraming(t *testing.T) {
	f := faked(t, func(_ int64, c *fakeConn) {
		req := c.head()
		body, _ := io.ReadAll(req.Body)
		c.say(ok(fmt.Sprintf("%s|%v|%s|%v", req.Header.Get("Content-Length"), req.TransferEncoding, body, req.Trailer)))
	})
	p := start(t, Config{}, web(rel("r1", 100, f.Upstream)))
	_, refused := p.raw("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	if resp, err := http.ReadResponse(refused, nil); err != nil || resp.StatusCode != 400 || !resp.Close {
		t.Errorf("both kinds of framing: %v, %v", resp, err)
	}
	_, r := p.raw("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"5;ext=1\r\nhello\r\n0\r\nX-Fine: 1\r\nHost: evil\r\nX-Forwarded-For: 6.6.6.6\r\nContent-Length: 9\r\n\r\n")
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(resp.Body); string(body) != "|[chunked]|hello|map[X-Fine:[1]]" {
		t.Errorf("%s", body)
	}
}

func TestStreamsAsDataComes(t *testing.T) {
	for _, kind := range []string{"chunked", "length", "until close"} {
		t.Run(kind, func(t *testing.T) {
			next := make(chan struct{})
			f := faked(t, func(_ int64, c *fakeConn) {
				c.request()
				piece := func(s string) string { return s }
				switch kind {
				case "chunked":
					c.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n")
					piece = func(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }
				case "length":
					c.say("HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n")
				default:
					c.say("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
				}
				for range 3 {
					<-next
					c.say(piece("data\n"))
				}
				<-next
				if kind == "chunked" {
					c.say("0\r\n\r\n")
				}
			})
			p := start(t, Config{}, web(rel("r1", 100, f.Upstream)))
			resp, err := p.http.Get(p.url) // the head comes before any body
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			lines := bufio.NewReader(resp.Body)
			for range 3 {
				next <- struct{}{}
				if line, err := lines.ReadString('\n'); err != nil || line != "data\n" {
					t.Fatalf("%q, %v", line, err)
				}
			}
			next <- struct{}{}
			if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
				t.Errorf("%q, %v", rest, err)
			}
		})
	}
}

func TestStreamsRequestBody(t *testing.T) {
	up := handled(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		w.WriteHeader(200)
		http.NewResponseController(w).Flush()
		lines := bufio.NewReader(r.Body)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			io.WriteString(w, "echo "+line)
			http.NewResponseController(w).Flush()
		}
	})
	p := start(t, Config{}, web(rel("r1", 100, up)))
	body, feed := io.Pipe()
	req, _ := http.NewRequest("POST", p.url, body)
	resp, err := p.http.Do(req) // the answer begins before the request ends
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for i := range 5 {
		fmt.Fprintf(feed, "line %d\n", i)
		if line, err := lines.ReadString('\n'); err != nil || line != fmt.Sprintf("echo line %d\n", i) {
			t.Fatalf("%q, %v", line, err)
		}
	}
	feed.Close()
	if _, err := io.ReadAll(lines); err != nil {
		t.Error(err)
	}
}

func TestBigBodiesBothWays(t *testing.T) {
	up := handled(t, func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength >= 0 {
			w.Header().Set("Content-Length", fmt.Sprint(r.ContentLength))
		}
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	})
	p := start(t, Config{}, web(rel("r1", 100, up)))
	big := strings.Repeat("0123456789abcdef", 1<<17)
	for _, chunked := range []bool{false, true} {
		var body io.Reader = strings.NewReader(big)
		if chunked {
			body = io.NopCloser(body)
		}
		resp, err := p.http.Post(p.url, "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		back, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(back) != big {
			t.Errorf("chunked %v: %d bytes came back, %v", chunked, len(back), err)
		}
	}
}

func TestInformationalAnswers(t *testing.T) {
	up := handled(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "done")
	})
	p := start(t, Config{}, web(rel("r1", 100, up)))
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
	} {
		_, r := p.raw(request)
		first, err := http.ReadResponse(r, nil)
		if err != nil || first.StatusCode != 103 || first.Header.Get("Link") == "" {
			t.Fatalf("%v, %v", first, err)
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != 200 || resp.Header.Get("Link") != "" {
			t.Fatalf("%v, %v", resp, err)
		}
	}
	// HTTP/1.0 knows no informational answers.
	_, r := p.raw("GET / HTTP/1.0\r\n\r\n")
	if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 200 {
		t.Errorf("%v, %v", resp, err)
	}
}

func TestExpectContinue(t *testing.T) {
	up := handled(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	})
	silent := faked(t, func(_ int64, c *fakeConn) {
		for {
			req, body := c.request() // asks for nothing, waits for the body
			if req == nil {
				return
			}
			c.say(ok(body))
		}
	})
	p := start(t, Config{}, web(rel("r1", 100, up)),
		Service{Name: "silent", Hosts: []string{"silent.test"}, Releases: []Release{rel("r1", 100, silent.Upstream)}})
	for _, c := range []struct {
		host, path string
		statuses   []int
	}{
		{"a", "/yes", []int{100, 200}},
		{"silent.test", "/", []int{100, 200}},
		{"a", "/no", []int{403}},
	} {
		conn, r := p.raw("POST " + c.path + " HTTP/1.1\r\nHost: " + c.host + "\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
		var got []int
		for !slices.Equal(got, c.statuses) {
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatalf("%s%s: %v after %v", c.host, c.path, err, got)
			}
			got = append(got, resp.StatusCode)
			if resp.StatusCode == 100 {
				io.WriteString(conn, "hello")
			}
			if resp.StatusCode == 200 {
				if body, _ := io.ReadAll(resp.Body); string(body) != "hello" {
					t.Errorf("%s%s: body %q", c.host, c.path, body)
				}
			}
			if len(got) > 2 {
				t.Fatalf("%s%s: statuses %v, want %v", c.host, c.path, got, c.statuses)
			}
		}
	}
}

func TestUnixUpstream(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "unix") }))
	s.Listener.Close()
	u, l := unixUpstream(t)
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	p := start(t, Config{}, web(rel("r1", 100, u)))
	for range 3 {
		if _, body := p.do("GET", "/", ""); body != "unix" {
			t.Errorf("%q", body)
		}
	}
}
