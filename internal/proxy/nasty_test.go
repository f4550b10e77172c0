package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// An upstream that closes its kept connection just as the next request comes: the
// FIN is there, or it comes after the request was written.
func TestClosedKeptConnection(t *testing.T) {
	for _, c := range []struct {
		name, method string
		// late: the connection is closed only after the request was read.
		late   bool
		status int
	}{
		{"GET, closed before", "GET", false, 200},
		{"POST, closed before", "POST", false, 200},
		{"GET, closed after", "GET", true, 200},
		{"PUT, closed after", "PUT", true, 200},
		{"POST, closed after", "POST", true, 502},
	} {
		t.Run(c.name, func(t *testing.T) {
			closed := make(chan struct{})
			var seen atomic.Int64
			f := faked(t, func(n int64, conn *fakeConn) {
				if req, _ := conn.request(); req == nil {
					return
				}
				if n > 1 {
					seen.Add(1)
				}
				conn.say(ok("fine"))
				if n > 1 {
					return
				}
				if c.late {
					if req, _ := conn.request(); req != nil {
						seen.Add(1)
					}
					return
				}
				conn.Close()
				close(closed)
			})
			p := start(t, Config{}, web(rel("r1", 100, f.Upstream)))
			p.do("GET", "/", "")
			if !c.late {
				await(t, "the connection is closed", closed)
			}
			resp, body := p.do(c.method, "/", strings.Repeat("b", 100))
			if resp.StatusCode != c.status || (c.status == 200 && body != "fine") {
				t.Fatalf("%d %s, want %d", resp.StatusCode, body, c.status)
			}
			got := p.release("r1")
			switch {
			case c.status == 502 && (seen.Load() != 1 || got.Failed.Broken != 1 || got.Retried != 0):
				t.Errorf("the upstream saw the request %d times; counted %+v", seen.Load(), got)
			case c.status == 200 && c.late && (seen.Load() != 2 || got.Retried != 1):
				t.Errorf("the upstream saw the request %d times; counted %+v", seen.Load(), got)
			case c.status == 200 && !c.late && seen.Load() != 1:
				t.Errorf("the upstream saw the request %d times", seen.Load())
			}
		})
	}
}

func TestNoAnswerOnFreshConnection(t *testing.T) {
	for method, attempts := range map[string]int64{"GET": 2, "DELETE": 2, "POST": 1} {
		f := faked(t, func(_ int64, c *fakeConn) {
			c.request()
			c.reset()
		})
		p := start(t, Config{}, web(rel("r1", 100, f.Upstream)))
		resp, body := p.do(method, "/", "")
		if resp.StatusCode != 502 || !strings.Contains(body, resp.Header.Get("X-Request-Id")) || strings.Contains(body, "127.0.0.1") {
			t.Errorf("%s: %d %s", method, resp.StatusCode, body)
		}
		if got := p.release("r1"); f.conns.Load() != attempts || got.Failed.Broken != 1 {
			t.Errorf("%s: %d attempts, want %d; counted %+v", method, f.conns.Load(), attempts, got)
		}
	}
}

// The upstream breaks off while the client still sends its body: nothing may touch the
// body beside the upload, which the race detector sees.
func TestBrokenOffDuringUpload(t *testing.T) {
	f := faked(t, func(_ int64, c *fakeConn) {
		c.head()
		c.reset()
	})
	p := start(t, Config{}, web(rel("r1", 100, f.Upstream)))
	for range 20 {
		conn, r := p.raw("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 100\r\n\r\nhalf")
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != 502 {
			t.Errorf("%v, %v", resp, err)
		}
		conn.Close()
	}
	if got := p.release("r1"); got.Failed.Broken != 20 {
		t.Errorf("counted %+v", got)
	}
}

func TestRefusedConnections(t *testing.T) {
	dead, alive := refusing(t), saying(t, "alive")
	p := start(t, Config{}, web(rel("r1", 100, dead, alive)))
	for range 50 {
		if resp, body := p.do("POST", "/", "body"); resp.StatusCode != 200 || body != "alive" {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
	}
	got := p.release("r1")
	if got.Answered[2] != 50 || got.Retried == 0 || got.Retried > 2 {
		t.Errorf("counted %+v; the dead upstream should be tried once", got)
	}
	for _, u := range got.Upstreams {
		if u.ID == "web-r1-1" && (u.Healthy || !strings.Contains(u.Message, "refused")) {
			t.Errorf("the dead upstream is %+v", u)
		}
	}
}

// Nothing of a request is gone when nobody was reached, however much of its body came
// with the head: more than is kept of what was written.
func TestRefusedConnectionKeepsBody(t *testing.T) {
	alive := handled(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	})
	for _, size := range []int{60 << 10, 70 << 10, 78 << 10, 1 << 20} {
		p := start(t, Config{}, web(rel("r1", 100, refusing(t), alive)))
		for range 10 {
			_, r := p.raw(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size)))
			if resp, body := response(t, r); resp.StatusCode != 200 || body != fmt.Sprint(size) {
				t.Errorf("%d bytes: %d %s", size, resp.StatusCode, body)
			}
		}
	}
}

func TestAllRefused(t *testing.T) {
	p := start(t, Config{}, web(rel("r1", 100, refusing(t), refusing(t), refusing(t), refusing(t))))
	for range 2 { // with all of them ejected they are tried all the same
		if resp, _ := p.do("POST", "/", "body"); resp.StatusCode != 502 {
			t.Errorf("status %d", resp.StatusCode)
		}
	}
	if got := p.release("r1"); got.Failed.Connect != 2 || got.Retried != 4 {
		t.Errorf("counted %+v, want 2 failures after 2 retries each", got)
	}
}

// A release all of whose upstreams are gone lets its requests go to the other one.
func TestReroutedToOtherRelease(t *testing.T) {
	p := start(t, Config{}, web(rel("r1", 50, refusing(t), refusing(t)), rel("r2", 50, saying(t, "r2"))))
	for range 40 {
		if resp, body := p.do("POST", "/", "body"); resp.StatusCode != 200 || body != "r2" {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
	}
	r1, r2 := p.release("r1"), p.release("r2")
	if r1.Rerouted == 0 || r1.Rerouted != r1.Accepted || r2.Answered[2] != 40 {
		t.Errorf("counted %+v and %+v", r1, r2)
	}
}

func TestReleaseWithoutUpstreamsIsLeft(t *testing.T) {
	p := start(t, Config{}, web(rel("r1", 50), rel("r2", 50, saying(t, "r2"))))
	for range 20 {
		if resp, _ := p.do("GET", "/", ""); resp.StatusCode != 200 {
			t.Fatalf("status %d", resp.StatusCode)
		}
	}
	if got := p.release("r2"); got.Answered[2] != 20 || got.Retried != 0 {
		t.Errorf("counted %+v", got)
	}
}

func TestDiesMidBody(t *testing.T) {
	heads := map[string]string{
		"length":  "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
		"garbage": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
	}
	for name, answer := range heads {
		t.Run(name, func(t *testing.T) {
			f := faked(t, func(_ int64, c *fakeConn) {
				c.request()
				c.say(answer)
			})
			p := start(t, Config{}, web(rel("r1", 100, f.Upstream)))
			resp, body, err := p.try("GET", "/", "")
			if err == nil {
				t.Errorf("a whole answer: %d %q", resp.StatusCode, body)
			}
			// For HTTP/1.0 the end of the connection is the end of the
			// answer, so that it has to be a reset.
			_, r := p.raw("GET / HTTP/1.0\r\n\r\n")
			if all, err := io.ReadAll(r); err == nil && !strings.Contains(string(all), "Content-Length") {
				t.Errorf("a whole answer over HTTP/1.0: %q", all)
			}
			if got := p.release("r1"); got.Failed.Truncated != 2 || got.Retried != 0 {
				t.Errorf("counted %+v", got)
			}
		})
	}
}

func TestNeverAnswers(t *testing.T) {
	f := faked(t, func(_ int64, c *fakeConn) {
		c.request()
		io.Copy(io.Discard, c.r)
	})
	p := start(t, Config{ResponseHeaderTimeout: 50 * time.Millisecond}, web(rel("r1", 100, f.Upstream)))
	for _, body := range []string{"", "with a body"} {
		method := "GET"
		if body != "" {
			method = "PUT"
		}
		if resp, _ := p.do(method, "/", body); resp.StatusCode != 504 {
			t.Errorf("status %d", resp.StatusCode)
		}
	}
	if got := p.release("r1"); got.Failed.Timeout != 2 || f.conns.Load() != 2 {
		t.Errorf("%d attempts; counted %+v", f.conns.Load(), got)
	}
}

// An upstream that takes nothing of a body, and doesn't answer either.
func TestNeverReads(t *testing.T) {
	hold := make(chan struct{})
	f := faked(t, func(_ int64, c *fakeConn) { <-hold })
	t.Cleanup(func() { close(hold) })
	p := start(t, Config{ResponseHeaderTimeout: 100 * time.Millisecond}, web(rel("r1", 100, f.Upstream)))
	conn, r := p.raw("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
	go io.CopyN(conn, zeros{}, 100000000)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 504 {
		t.Fatalf("%v, %v", resp, err)
	}
	conn.Close()
	if got := p.release("r1"); got.Failed.Timeout != 1 {
		t.Errorf("counted %+v", got)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestGarbageAnswers(t *testing.T) {
	for _, answer := range []string{
		"SSH-2.0-OpenSSH_9\r\n",
		"HTTP/1.1 abc\r\n\r\n",
		"HTTP/1.1 099 Low\r\n\r\n",
		"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2<<20) + "\r\n\r\n",
		"\x00\x01\x02",
	} {
		f := faked(t, func(_ int64, c *fakeConn) {
			c.request()
			c.say(answer)
		})
		p := start(t, Config{}, web(rel("r1", 100, f.Upstream)))
		if resp, _ := p.do("GET", "/", ""); resp.StatusCode != 502 {
			t.Errorf("%.40q: status %d", answer, resp.StatusCode)
		}
		if got := p.release("r1"); got.Failed.Broken != 1 || f.conns.Load() != 1 {
			t.Errorf("%.40q: %d attempts; counted %+v", answer, f.conns.Load(), got)
		}
	}
}

func TestBigAnswerHead(t *testing.T) {
	big := strings.Repeat("x", 500<<10)
	f := faked(t, func(_ int64, c *fakeConn) {
		c.request()
		c.say("HTTP/1.1 200 OK\r\nX-Big: " + big + "\r\nContent-Length: 2\r\n\r\nok")
	})
	p := start(t, Config{}, web(rel("r1", 100, f.Upstream)))
	_, r := p.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReaderSize(r, 1<<20), nil); err != nil || resp.Header.Get("X-Big") != big {
		t.Error("the head isn't whole", err)
	}
}

// An upstream that answers a big POST at once and reads no more of it.
func TestEarlyAnswer(t *testing.T) {
	for name, end := range map[string]func(c *fakeConn, hold <-chan struct{}){
		"closes":     func(*fakeConn, <-chan struct{}) {},
		"reads on":   func(c *fakeConn, _ <-chan struct{}) { io.Copy(io.Discard, c.r) },
		"stays open": func(_ *fakeConn, hold <-chan struct{}) { <-hold },
	} {
		t.Run(name, func(t *testing.T) {
			hold := make(chan struct{})
			f := faked(t, func(_ int64, c *fakeConn) {
				c.head()
				c.say("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
				end(c, hold)
			})
			t.Cleanup(func() { close(hold) })
			p := start(t, Config{}, web(rel("r1", 100, f.Upstream)))
			const size = 20 << 20
			// This client reads nothing before it has sent all.
			conn, r := p.raw(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size))
			if _, err := io.CopyN(conn, zeros{}, size); err != nil {
				t.Fatalf("send the body: %v", err)
			}
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 413 || string(body) != "big" {
				t.Errorf("%d %q, %v", resp.StatusCode, body, err)
			}
			conn.Close()
			if got := p.release("r1"); got.Answered[4] != 1 {
				t.Errorf("counted %+v", got)
			}
		})
	}
}

// A client that has ended its direction is told that there was no answer in time.
func TestHalfClosedClientIsToldOfTimeout(t *testing.T) {
	f := faked(t, func(_ int64, c *fakeConn) { c.request(); c.request() })
	p := start(t, Config{ResponseHeaderTimeout: 50 * time.Millisecond}, web(rel("r1", 100, f.Upstream)))
	conn, r := p.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	conn.(*net.TCPConn).CloseWrite()
	if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 504 {
		t.Errorf("%v, %v", resp, err)
	}
	if got := p.release("r1"); got.Failed.Timeout != 1 {
		t.Errorf("counted %+v", got)
	}
}

// A PUT whose upstream dies in the middle of the body goes to another one from its
// beginning, as long as all of it is kept.
func TestBodyIsReplayed(t *testing.T) {
	for size, status := range map[int]int{60 << 10: 200, 200 << 10: 502} {
		var got atomic.Value
		f := faked(t, func(n int64, c *fakeConn) {
			if n == 1 {
				c.head()
				io.ReadFull(c.r, make([]byte, size/2))
				c.reset()
				return
			}
			_, body := c.request()
			got.Store(body)
			c.say(ok("whole"))
		})
		p := start(t, Config{}, web(rel("r1", 100, f.Upstream)))
		body := strings.Repeat("0123456789", size/10)
		resp, _ := p.do("PUT", "/", body)
		if resp.StatusCode != status {
			t.Fatalf("%d bytes: status %d, want %d", size, resp.StatusCode, status)
		}
		if status == 200 && got.Load() != body {
			t.Errorf("the second upstream got another body")
		}
	}
}

func TestClientGone(t *testing.T) {
	t.Run("before the answer", func(t *testing.T) {
		arrived, gone := make(chan struct{}), make(chan struct{})
		f := faked(t, func(_ int64, c *fakeConn) {
			c.request()
			close(arrived)
			io.Copy(io.Discard, c.r) // ends when the proxy cancels
			close(gone)
		})
		p := start(t, Config{}, web(rel("r1", 100, f.Upstream)))
		conn, _ := p.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		await(t, "the request arrives", arrived)
		conn.Close()
		await(t, "the request is cancelled", gone)
		if got := p.release("r1"); got.ClientGone != 1 {
			t.Errorf("counted %+v", got)
		}
	})
	t.Run("in the answer", func(t *testing.T) {
		f := faked(t, func(_ int64, c *fakeConn) {
			c.request()
			c.say("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
			io.Copy(c, zeros{})
		})
		p := start(t, Config{}, web(rel("r1", 100, f.Upstream)))
		conn, r := p.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		io.ReadFull(r, make([]byte, 1000))
		conn.Close()
		if got := p.release("r1"); got.ClientGone != 1 {
			t.Errorf("counted %+v", got)
		}
	})
	t.Run("in its body", func(t *testing.T) {
		arrived, broken := make(chan struct{}, 1), make(chan error, 1)
		f := faked(t, func(_ int64, c *fakeConn) {
			req := c.head()
			arrived <- struct{}{}
			_, err := io.ReadAll(req.Body)
			broken <- err
		})
		p := start(t, Config{}, web(rel("r1", 100, f.Upstream)))
		for _, framing := range []string{"Content-Length: 100", "Transfer-Encoding: chunked"} {
			conn, _ := p.raw("POST / HTTP/1.1\r\nHost: a\r\n" + framing + "\r\n\r\n5\r\nhello\r\n")
			await(t, "the request arrives", arrived)
			conn.Close()
			if err := await(t, "the upstream sees the end", broken); err == nil {
				t.Errorf("%s: the upstream took the request for whole", framing)
			}
		}
		if got := p.release("r1"); got.ClientGone != 2 {
			t.Errorf("counted %+v", got)
		}
	})
	t.Run("silent in its body", func(t *testing.T) {
		f := faked(t, func(_ int64, c *fakeConn) { c.request() })
		p := start(t, Config{StallTimeout: 50 * time.Millisecond}, web(rel("r1", 100, f.Upstream)))
		_, r := p.raw("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhello")
		if _, err := io.ReadAll(r); err != nil && !isReset(err) {
			t.Error(err)
		}
		if got := p.release("r1"); got.ClientGone != 1 {
			t.Errorf("counted %+v", got)
		}
	})
	t.Run("takes nothing", func(t *testing.T) {
		f := faked(t, func(_ int64, c *fakeConn) {
			c.request()
			c.say("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
			io.Copy(c, zeros{})
		})
		p := start(t, Config{StallTimeout: 50 * time.Millisecond}, web(rel("r1", 100, f.Upstream)))
		p.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		eventually(t, "the client is given up", func() bool { return statsOf(p.stats(), "web", "r1").ClientGone == 1 })
	})
}

func isReset(err error) bool { return err != nil && strings.Contains(err.Error(), "reset") }

// TestSlowHeadIsGivenUp has clients send a part of a head and then nothing, or a byte now and
// then without end. Their connections are closed.
func TestSlowHeadIsGivenUp(t *testing.T) {
	for _, c := range []struct {
		name, first string
		answered    bool
		// more is sent again and again.
		more string
	}{
		{"half a head", "GET / HTTP/1.1\r\nHost: a\r\nX-Slow:", false, ""},
		{"half of the second head", plainGet + "GET / HTTP/1.1\r\nHost: a\r\nX-Slow:", true, ""},
		{"a byte now and then", "GET / HTTP/1.1\r\nHost: a\r\nX-Slow:", false, "x"},
		{"a byte now and then of the second head", plainGet + "GET / HTTP/1.1\r\nHost: a\r\nX-Slow:", true, "x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, Config{ReadHeaderTimeout: 50 * time.Millisecond, IdleTimeout: time.Hour}, web(rel("r1", 100, saying(t, "x"))))
			conn, r := p.raw(c.first)
			if c.answered {
				response(t, r)
			}
			ended, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				for tick := time.NewTicker(5 * time.Millisecond); c.more != ""; {
					select {
					case <-tick.C:
						io.WriteString(conn, c.more)
					case <-ended:
						return
					}
				}
			}()
			// With a reset if a byte comes after it.
			if got, err := r.ReadByte(); !errors.Is(err, io.EOF) && !isReset(err) {
				t.Errorf("the client gets %q and %v, want the end", got, err)
			}
			close(ended)
			<-stopped
		})
	}
}

// TestEarlyConnection: a client that connects before it has something to ask has as long as
// between two requests, and no longer.
func TestEarlyConnection(t *testing.T) {
	const short = 50 * time.Millisecond
	r1 := rel("r1", 100, saying(t, "x"))
	t.Run("asks later", func(t *testing.T) {
		p := start(t, Config{ReadHeaderTimeout: short, IdleTimeout: time.Hour}, web(r1))
		conn, r := p.raw("")
		time.Sleep(4 * short)
		io.WriteString(conn, plainGet)
		if resp, _ := response(t, r); resp.StatusCode != 200 {
			t.Errorf("the client gets %s", resp.Status)
		}
	})
	t.Run("never asks", func(t *testing.T) {
		p := start(t, Config{ReadHeaderTimeout: time.Hour, IdleTimeout: short}, web(r1))
		_, r := p.raw("")
		if got, err := r.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("the client gets %q and %v, want the end", got, err)
		}
	})
}

// TestBuffersAreBounded: of what one side sends the proxy takes no more than a buffer as long
// as the other side takes nothing, in either direction; the rest stays with the sender.
func TestBuffersAreBounded(t *testing.T) {
	// The one that is in flight, with its loop's lock held.
	inFlight := func(p *running, look func(x *exchange) bool) (found bool) {
		l := p.loops[0]
		l.mu.Lock()
		defer l.mu.Unlock()
		if a := l.registry.accounts[accountKey{"web", "r1"}]; a != nil && a.flights.first != nil {
			x := a.flights.first.owner.(*exchange)
			return x.up != nil && look(x)
		}
		return false
	}
	for _, framing := range []string{"Content-Length: 1000000000000", "Transfer-Encoding: chunked"} {
		body := func() io.Reader {
			if framing == "Transfer-Encoding: chunked" {
				return io.MultiReader(strings.NewReader("fffffffffff\r\n"), zeros{})
			}
			return zeros{}
		}
		t.Run("a request, "+framing, func(t *testing.T) {
			hold := make(chan struct{})
			defer close(hold)
			f := faked(t, func(_ int64, c *fakeConn) { <-hold })
			p := start(t, Config{Loops: 1}, web(rel("r1", 100, f.Upstream)))
			conn, _ := p.raw("POST / HTTP/1.1\r\nHost: a\r\n" + framing + "\r\n\r\n")
			go io.Copy(conn, body())
			eventually(t, "the client has to wait", func() bool {
				return inFlight(p, func(x *exchange) bool {
					u := &x.upload
					if cap(u.out) > bufferSize || len(x.client.in) > bufferSize {
						t.Fatalf("%d bytes are kept of the request, and %d of what came", cap(u.out), len(x.client.in))
					}
					return u.sent < len(u.out) && u.room() == 0 && hasBytes(x.client.fd)
				})
			})
			conn.Close()
		})
		t.Run("an answer, "+framing, func(t *testing.T) {
			f := faked(t, func(_ int64, c *fakeConn) {
				c.request()
				c.say("HTTP/1.1 200 OK\r\n" + framing + "\r\n\r\n")
				io.Copy(c, body())
			})
			p := start(t, Config{Loops: 1}, web(rel("r1", 100, f.Upstream)))
			conn, _ := p.raw(plainGet)
			eventually(t, "the instance has to wait", func() bool {
				return inFlight(p, func(x *exchange) bool {
					a := &x.answer
					if cap(a.piece) > bufferSize || cap(a.pre) > bufferSize {
						t.Fatalf("%d bytes are kept of the answer, %d before them", cap(a.piece), cap(a.pre))
					}
					full := a.pending() || a.pipe != nil && a.pipe.have > 0
					return full && !x.client.writable && hasBytes(x.up.fd)
				})
			})
			conn.Close()
		})
	}
}

func TestSlowTrickle(t *testing.T) {
	text := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
	f := faked(t, func(_ int64, c *fakeConn) {
		// It keeps the connection as it says: a POST that meets the end of a kept one
		// would rightly not be sent again.
		for req, _ := c.request(); req != nil; req, _ = c.request() {
			for i := range text {
				c.say(text[i : i+1])
			}
		}
	})
	p := start(t, Config{}, web(rel("r1", 100, f.Upstream)))
	if _, body := p.do("GET", "/", ""); body != "hello" {
		t.Errorf("%q", body)
	}
	conn, r := p.raw("")
	for _, b := range []byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n") {
		conn.Write([]byte{b})
	}
	if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 200 {
		t.Error(resp, err)
	}
}

func TestMaxConnections(t *testing.T) {
	hold := make(chan struct{})
	up := handled(t, func(w http.ResponseWriter, r *http.Request) {
		<-hold
		io.WriteString(w, "x")
	})
	p := start(t, Config{MaxConnections: 2}, web(rel("r1", 100, up)))
	answers := make(chan error)
	for range 4 {
		_, r := p.raw("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		go func() {
			resp, err := http.ReadResponse(r, nil)
			if err == nil && resp.StatusCode != 200 {
				err = errors.New(resp.Status)
			}
			answers <- err
		}()
	}
	for accepted := range uint64(3) { // 2, 3, and 4
		accepted += 2
		eventually(t, "two requests are in flight, and no more connections accepted", func() bool {
			s := p.stats()
			return statsOf(s, "web", "r1").InFlight == 2 && s.ConnectionsAccepted == accepted && s.ConnectionsOpen == 2
		})
		hold <- struct{}{} // The next one is served while another still takes its time.
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	hold <- struct{}{}
	if err := <-answers; err != nil {
		t.Error(err)
	}
}

// TestRoomOfTheDoor: a client that waits for room is served when a connection ends that no
// loop has.
func TestRoomOfTheDoor(t *testing.T) {
	p := start(t, Config{MaxConnections: 2}, web(rel("r1", 100, saying(t, "x"))))
	p.raw("") // stays
	c := p.clientOf(true)
	if got := <-p.asking(c, http.MethodGet); got != "x" {
		t.Fatal(got)
	}
	_, r := p.raw(plainGet)
	eventually(t, "the loops have no room", p.clients.full.Load)
	c.CloseIdleConnections()
	if resp, _ := response(t, r); resp.StatusCode != 200 {
		t.Errorf("the client gets %s", resp.Status)
	}
}

// TestClientsTellOfRoom: who waits hears of room where there was none, and of the end of the
// last connection, but not of every one.
func TestClientsTellOfRoom(t *testing.T) {
	told := 0
	c := clients{limit: 3, changed: func() { told++ }}
	for _, step := range []struct {
		name     string
		do       func() bool
		ok       bool
		wantTold int
	}{
		{"first", c.reserve, true, 0},
		{"second", c.reserve, true, 0},
		{"end of one that nobody waits for", func() bool { c.release(); return true }, true, 0},
		{"second", c.reserve, true, 0},
		{"third", c.reserve, true, 0},
		{"one too many", c.reserve, false, 0},
		{"end of one", func() bool { c.release(); return true }, true, 1},
		{"end of another", func() bool { c.release(); return true }, true, 1},
		{"end of the last", func() bool { c.release(); return true }, true, 2},
	} {
		if ok := step.do(); ok != step.ok || told != step.wantTold {
			t.Fatalf("%s: %v, and told %d times; want %v, %d times", step.name, ok, told, step.ok, step.wantTold)
		}
	}
}

func TestNoClientWaitsForTable(t *testing.T) {
	p := start(t, Config{})
	conn, r := p.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	defer conn.Close()
	if s := p.stats(); s.ConnectionsAccepted != 0 {
		t.Errorf("%d connections are accepted before there is a table", s.ConnectionsAccepted)
	}
	if err := p.control.Apply(context.Background(), Table{Version: 1, Services: []Service{web(rel("r1", 100, saying(t, "first")))}}); err != nil {
		t.Fatal(err)
	}
	if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 200 {
		t.Error(resp, err)
	}
}

// TestTrailerIsCheckedBeforeTheEnd: the upstream gets the end of a body no earlier than its
// trailer is known to be good, and with a bad one never.
func TestTrailerIsCheckedBeforeTheEnd(t *testing.T) {
	for _, c := range []struct {
		trailer, status, got string
	}{
		{"X-Sum: 1\r\n\r\n", "200", "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"},
		{"\r\n", "200", "5\r\nhello\r\n0\r\n\r\n"},
		{"bad field: 1\r\n\r\n", "400", "5\r\nhello\r\n0\r"},
	} {
		// The last chunk comes whole, or in two parts.
		for _, last := range []string{"0\r\n", "0\r|\n", "0|\r\n"} {
			t.Run(c.trailer+last, func(t *testing.T) {
				t.Parallel()
				arrived, got := make(chan struct{}), make(chan string, 1)
				f := faked(t, func(_ int64, conn *fakeConn) {
					for line := "x"; strings.TrimSpace(line) != ""; line, _ = conn.r.ReadString('\n') {
					}
					// All but the trailer is here when the part before the line's end is.
					first := make([]byte, len("5\r\nhello\r\n0\r"))
					_, _ = io.ReadFull(conn.r, first)
					close(arrived)
					all := string(first)
					for {
						b, err := conn.r.ReadByte()
						if err != nil {
							break
						}
						if all += string(b); strings.HasSuffix(all, "\r\n\r\n") {
							conn.say(ok("x"))
							break
						}
					}
					got <- all
				})
				p := start(t, Config{}, web(rel("r1", 100, f.Upstream)))
				conn, r := p.raw("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
				for part := range strings.SplitSeq(last, "|") {
					io.WriteString(conn, part)
				}
				await(t, "the body arrives", arrived)
				io.WriteString(conn, c.trailer)
				if status, _ := r.ReadString('\n'); !strings.HasPrefix(status, "HTTP/1.1 "+c.status) {
					t.Errorf("the answer is %q", status)
				}
				if all := await(t, "the upstream has it", got); all != c.got {
					t.Errorf("the upstream got %q, want %q", all, c.got)
				}
			})
		}
	}
}
