package prove

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// wantAll wants n requests, all of which ended like that.
func wantAll(t *testing.T, r Report, n uint64, o Outcome, cause string) {
	t.Helper()
	var want Counts
	for range n {
		want.add(o)
	}
	if r.Counts != want || o != OK && r.Causes[cause] != n {
		t.Errorf("want %d %s (%s):\n%s", n, o, cause, r)
	}
}

// Each nasty server answers every request in the same bad way.
func TestNastyAnswers(t *testing.T) {
	const plain = "HTTP/1.1 200 OK\r\nX-Release: r1\r\n"
	for _, c := range []struct {
		name    string
		outcome Outcome
		cause   string
		handle  func(w *wire, id string)
	}{
		{"resets", Lost, "reset", func(w *wire, _ string) { w.reset() }},
		{"closes early", Lost, "closed", func(*wire, string) {}},
		{"closes in the head", Lost, "truncated", func(w *wire, _ string) { w.say("HTTP/1.1 200 OK\r\nX-Rel") }},
		{"resets in the body", Lost, "reset", func(w *wire, id string) {
			w.say(plain+"X-Load-Id: %s\r\nContent-Length: 1000\r\n\r\nhalf", id)
			w.reset()
		}},
		{"truncates", Lost, "truncated", func(w *wire, id string) {
			w.say(plain+"X-Load-Id: %s\r\nContent-Length: 1000\r\n\r\nhalf", id)
		}},
		{"truncates chunks", Lost, "truncated", func(w *wire, id string) {
			w.say(plain+"X-Load-Id: %s\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", id)
		}},
		{"answers nonsense", Lost, "malformed", func(w *wire, _ string) { w.say("SSH-2.0-OpenSSH_9.2\r\n\r\n") }},
		{"never comes to the point", Lost, "malformed", func(w *wire, _ string) { w.say("%s", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 20)) }},
		{"is a proxy with 502", Lost, "status 502", func(w *wire, id string) {
			w.say("HTTP/1.1 502 Bad Gateway\r\nX-Load-Id: %s\r\nContent-Length: 3\r\n\r\nbad", id)
		}},
		{"is a proxy with 404", Lost, "status 404", func(w *wire, _ string) { w.say("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") }},
		{"is a proxy with 500", Lost, "status 500", func(w *wire, _ string) {
			w.say("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
		}},
		{"is nobody", Wrong, "unmarked", func(w *wire, id string) {
			w.say("HTTP/1.1 200 OK\r\nX-Load-Id: %s\r\nContent-Length: 0\r\n\r\n", id)
		}},
		{"answers for another", Wrong, "id", func(w *wire, id string) { w.say("%s", answer(id+"0", "")) }},
		{"answers without id", Wrong, "id", func(w *wire, _ string) { w.say(plain + "Content-Length: 0\r\n\r\n") }},
		{"answers with two ids", Wrong, "id", func(w *wire, id string) { w.say("%s", answer(id, "X-Load-Id: x\r\n")) }},
		{"fails for another", Wrong, "id", func(w *wire, _ string) {
			w.say("HTTP/1.1 500 Oops\r\nX-Release: r1\r\nX-Load-Id: x\r\nContent-Length: 0\r\n\r\n")
		}},
		{"answers twice", Wrong, "extra", func(w *wire, id string) { w.say("%s", answer(id, "")+answer(id, "")) }},
		{"fails", ServiceError, "status 503", func(w *wire, id string) {
			w.say("HTTP/1.1 503 Busy\r\nX-Release: r1\r\nX-Load-Id: %s\r\nContent-Length: 0\r\n\r\n", id)
		}},
		{"gives hints first", OK, "", func(w *wire, id string) { w.say("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n%s", answer(id, "")) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := serveWire(t, func(w *wire, _ int) {
				if r := w.request(); r != nil {
					c.handle(w, r.Header.Get("X-Load-Id"))
				}
			})
			wantAll(t, run(t, generator(t, Config{Target: target, Fresh: 1, MaxRequests: 3})), 3, c.outcome, c.cause)
		})
	}
}

func TestNothingListens(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	r := run(t, generator(t, Config{Target: ln.Addr().String(), KeepAlive: 1, MaxRequests: 3, KeepFailures: 2}))
	wantAll(t, r, 3, Lost, "refused")
	if len(r.Failures) != 2 {
		t.Fatalf("%d failures kept, want 2", len(r.Failures))
	}
	if f := r.Failures[0]; f.LocalPort != 0 || f.At.IsZero() || !strings.Contains(f.String(), "lost") {
		t.Errorf("%+v", f)
	}
}

func TestNoAnswerInTime(t *testing.T) {
	target := serveWire(t, func(w *wire, _ int) { _, _ = io.Copy(io.Discard, w) })
	r := run(t, generator(t, Config{Target: target, KeepAlive: 1, MaxRequests: 2, Timeout: 20 * time.Millisecond}))
	wantAll(t, r, 2, Lost, "timeout")
	if f := r.Failures[0]; f.LocalPort == 0 || f.Took < 20*time.Millisecond {
		t.Errorf("%+v", f)
	}
}

// An answer for an earlier request, late, is told from one for a stranger.
func TestLateAnswerOnReusedConnection(t *testing.T) {
	target := serveWire(t, func(w *wire, _ int) {
		first := w.request()
		if first == nil {
			return
		}
		w.say("%s", answer(first.Header.Get("X-Load-Id"), ""))
		if w.request() != nil {
			w.say("%s", answer(first.Header.Get("X-Load-Id"), ""))
		}
	})
	r := run(t, generator(t, Config{Target: target, KeepAlive: 1, MaxRequests: 2}))
	if r.OK != 1 || r.Wrong != 1 || r.Causes["id"] != 1 || !strings.Contains(r.Failures[0].Error, "answered twice, or late") || !r.Failures[0].Reused {
		t.Errorf("%s", r)
	}
	if !strings.HasSuffix(r.String(), "lost 0 of 2 requests, 1 answered wrongly") {
		t.Errorf("%s", r)
	}
}

// A server that refuses a body without reading it is heard, though the writing
// failed.
func TestEarlyAnswerIsRead(t *testing.T) {
	target := serveWire(t, func(w *wire, _ int) {
		r, err := http.ReadRequest(w.in)
		if err != nil {
			return
		}
		w.say("HTTP/1.1 503 Busy\r\nX-Release: r1\r\nX-Load-Id: %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", r.Header.Get("X-Load-Id"))
		_ = w.CloseWrite()
		_, _ = io.Copy(io.Discard, w.in) // or the answer would be lost to a reset
	})
	wantAll(t, run(t, generator(t, Config{Target: target, KeepAlive: 1, Requests: Page{Posts: 100, Body: 100 << 10}.Requests, MaxRequests: 20})), 20, ServiceError, "status 503")
}

func TestOwnFault(t *testing.T) {
	for err, want := range map[error]bool{
		syscall.EMFILE:        true,
		syscall.ENFILE:        true,
		syscall.EADDRNOTAVAIL: true,
		syscall.ECONNREFUSED:  false,
		errors.New("other"):   false,
	} {
		if got := isOwnFault(&net.OpError{Op: "dial", Err: err}); got != want {
			t.Errorf("isOwnFault(%v) = %t", err, got)
		}
	}
}
