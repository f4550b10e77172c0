package proxy

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"
)

// steady is an upstream that answers every request with the same bytes, and takes no
// memory for it. A request is as long as its head; a body is as long as it is said to be.
func steady(t testing.TB, body int, answer string) Upstream {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	text, ended := []byte(answer), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buffer := make([]byte, 128<<10)
				have := 0
				for {
					n, err := conn.Read(buffer[have:])
					if err != nil {
						return
					}
					have += n
					head := bytes.Index(buffer[:min(have, 1024)], []byte("\r\n\r\n"))
					if head < 0 || have < head+4+body {
						continue
					}
					have = 0
					if _, err := conn.Write(text); err != nil {
						return
					}
				}
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return at(l.Addr().String())
}

// A request takes no memory that isn't there already, with routing, a split, counting,
// timers, scoring and the rules for fields all on.
func TestNoAllocationsPerRequest(t *testing.T) {
	const browser = "Host: web\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0\r\n" +
		"Accept: text/html,application/xhtml+xml\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n" +
		"X-Forwarded-For: 6.6.6.6\r\nConnection: keep-alive\r\nCookie: a=b; c=d\r\n"
	big := strings.Repeat("x", 64<<10)
	for _, c := range []struct {
		name, request string
		body          int
		answer        string
	}{
		{"GET", "GET /a/b?c=d HTTP/1.1\r\n" + browser + "\r\n", 0, ok("hello")},
		{"POST", "POST /a HTTP/1.1\r\n" + browser + "Content-Length: 65536\r\n\r\n" + big, len(big), ok("hello")},
		{"chunked", "GET /a HTTP/1.1\r\n" + browser + "\r\n", 0,
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nDate: Thu, 26 Nov 2026 08:00:00 GMT\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := canary(30, steady(t, c.body, c.answer), steady(t, c.body, c.answer))
			s.Hosts = []string{"web"}
			s.Scoring = &Scoring{ID: "d1", Maturity: time.Second, Failing: Failing{Header: "X-Failed"}}
			p := start(t, Config{}, s)
			conn, _ := p.raw("")
			request, buffer := []byte(c.request), make([]byte, 4096)
			ask := func() {
				if _, err := conn.Write(request); err != nil {
					t.Fatal(err)
				}
				for have := 0; ; {
					n, err := conn.Read(buffer[have:])
					if err != nil {
						t.Fatal(err)
					}
					have += n
					text := buffer[:have]
					if bytes.HasSuffix(text, []byte("hello")) || bytes.HasSuffix(text, []byte("\r\n0\r\n\r\n")) {
						return
					}
				}
			}
			for range 200 {
				ask()
			}
			// Now and then a connection to the upstream gets old, and a new one is made.
			if got := testing.AllocsPerRun(1000, ask); got >= 1 {
				t.Errorf("%v allocations for a request", got)
			}
		})
	}
}
