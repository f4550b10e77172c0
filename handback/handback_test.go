package handback

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// patience is a safety net for what is waited for, and no measure of anything.
const patience = 30 * time.Second

// upload is a request under way to a handler.
type upload struct {
	t *testing.T
	net.Conn
	r       *bufio.Reader
	chunked bool
}

func begin(t *testing.T, h http.Handler, chunked bool, length int, fields string) *upload {
	t.Helper()
	s := httptest.NewServer(h)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); s.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	framing := fmt.Sprintf("Content-Length: %d", length)
	if chunked {
		framing = "Transfer-Encoding: chunked"
	}
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: a\r\n%s%s\r\n\r\n", fields, framing)
	return &upload{t, conn, bufio.NewReader(conn), chunked}
}

const offer = "Partial-Post-Replay: 3\r\n"

func (u *upload) send(text string) {
	if u.chunked {
		text = fmt.Sprintf("%x\r\n%s\r\n", len(text), text)
	}
	if _, err := io.WriteString(u, text); err != nil {
		u.t.Fatal(err)
	}
}

// answer returns the answer's head, and its body, of which the first bytes are awaited
// before the request ends.
func (u *upload) answer(first string) (*http.Response, string) {
	u.t.Helper()
	resp, err := http.ReadResponse(u.r, &http.Request{Method: http.MethodPost})
	if err != nil {
		u.t.Fatal(err)
	}
	before := make([]byte, len(first))
	if _, err := io.ReadFull(resp.Body, before); err != nil || string(before) != first {
		u.t.Fatalf("%s: %q, %v, want %q", resp.Status, before, err, first)
	}
	if u.chunked {
		io.WriteString(u, "0\r\n\r\n")
	}
	u.Conn.(*net.TCPConn).CloseWrite()
	rest, err := io.ReadAll(resp.Body)
	if err != nil {
		u.t.Fatal(err)
	}
	return resp, string(rest)
}

func (u *upload) wantHandedBack(body string) {
	u.t.Helper()
	resp, rest := u.answer(body)
	if resp.StatusCode != 379 || resp.Header.Get("Echo-Partial-Post-Replay") != "3" || rest != "" || len(resp.Header["X-Own"]) != 0 {
		u.t.Errorf("%s %v, and then %q", resp.Status, resp.Header, rest)
	}
}

func (u *upload) wantAnswered(want string) {
	u.t.Helper()
	if resp, rest := u.answer(""); resp.StatusCode != 200 || rest != want {
		u.t.Errorf("%s: %q, want %q", resp.Status, rest, want)
	}
}

// reader is a handler that tells of the first n bytes that it has read, and then of the
// error at the end.
type reader struct {
	read  chan int64
	ended chan error
	n     int64
	// before is called before it reads anything, after when all is read.
	before func(w http.ResponseWriter, r *http.Request)
}

func newReader(n int64) *reader {
	return &reader{read: make(chan int64, 1), ended: make(chan error, 1), n: n}
}

func (h *reader) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Own", "1")
	if h.before != nil {
		h.before(w, r)
	}
	var all bytes.Buffer
	n, err := io.CopyN(&all, r.Body, h.n)
	h.read <- n
	if err == nil {
		_, err = io.Copy(&all, r.Body)
	}
	h.ended <- err
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Write(all.Bytes())
}

func await[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing has come")
		panic("unreachable")
	}
}

func both(t *testing.T, f func(t *testing.T, chunked bool)) {
	for _, chunked := range []bool{false, true} {
		t.Run(fmt.Sprintf("chunked=%t", chunked), func(t *testing.T) { f(t, chunked) })
	}
}

// TestHandsBack stops a handler that waits for more of a body.
func TestHandsBack(t *testing.T) {
	both(t, func(t *testing.T, chunked bool) {
		next := newReader(3)
		h := New(next, 100)
		u := begin(t, h, chunked, 10, offer)
		u.send("abcd")
		await(t, next.read)
		h.Stop()
		if err := await(t, next.ended); !errors.Is(err, ErrHandedBack) {
			t.Errorf("the handler has got %v", err)
		}
		u.send("efg")
		u.wantHandedBack("abcdefg")
	})
}

// TestHandsBackUnread stops a handler before the request comes, or before it is read.
func TestHandsBackUnread(t *testing.T) {
	both(t, func(t *testing.T, chunked bool) {
		h := New(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was served") }), 0)
		h.Stop()
		u := begin(t, h, chunked, 10, offer)
		u.send("abcd")
		u.wantHandedBack("abcd")
	})
	both(t, func(t *testing.T, chunked bool) {
		next := newReader(1)
		h := New(next, 0)
		next.before = func(http.ResponseWriter, *http.Request) { h.Stop() }
		u := begin(t, h, chunked, 10, offer)
		u.send("abcd")
		u.wantHandedBack("abcd")
	})
}

// TestHandsBackWhatTheHandlerKeeps is about bodies that are longer than the limit.
func TestHandsBackWhatTheHandlerKeeps(t *testing.T) {
	both(t, func(t *testing.T, chunked bool) {
		long := strings.Repeat("0123456789", 10_000)
		read, fails := make(chan bool), false
		var h *Handler
		serve := func(w http.ResponseWriter, r *http.Request) {
			f, err := os.CreateTemp(t.TempDir(), "")
			if err != nil {
				t.Error(err)
				return
			}
			defer os.Remove(f.Name())
			defer f.Close()
			Keep(r, func() (io.ReadCloser, error) {
				if fails {
					return nil, os.ErrPermission
				}
				return os.Open(f.Name())
			})
			_, err = io.CopyN(f, r.Body, int64(len(long)/2))
			read <- true
			if err == nil {
				_, err = io.Copy(f, r.Body)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		}
		h = New(http.HandlerFunc(serve), 10)
		u := begin(t, h, chunked, len(long), offer)
		u.send(long[:len(long)/2+1])
		await(t, read)
		h.Stop()
		u.wantHandedBack(long[:len(long)/2+1])

		fails = true
		h = New(http.HandlerFunc(serve), 10)
		u = begin(t, h, chunked, len(long), offer)
		u.send(long[:len(long)/2+1])
		await(t, read)
		h.Stop()
		if resp, text := u.answer(""); resp.StatusCode != 500 {
			t.Errorf("%s: %s", resp.Status, text)
		}
	})
}

// TestStays is about requests that aren't handed back.
func TestStays(t *testing.T) {
	const body = "0123456789"
	for _, test := range []struct {
		name, fields string
		limit        int
		first        int
		before       func(w http.ResponseWriter, r *http.Request)
		want         string
	}{
		{"not offered", "", 100, 5, nil, body},
		{"offered twice", offer + offer, 100, 5, nil, body},
		{"too long", offer, 4, 5, nil, body},
		{"the answer has begun", offer, 100, 5, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "early ") }, "early " + body},
		{"read to the end", offer, 100, 10, nil, body},
	} {
		both(t, func(t *testing.T, chunked bool) {
			t.Run(test.name, func(t *testing.T) {
				next := newReader(int64(test.first))
				next.before = test.before
				h := New(next, test.limit)
				u := begin(t, h, chunked, len(body), test.fields)
				u.send(body[:test.first])
				await(t, next.read)
				if test.first == len(body) {
					if chunked {
						io.WriteString(u, "0\r\n\r\n")
					}
					if err := await(t, next.ended); err != nil {
						t.Error(err)
					}
					h.Stop()
					u.chunked = false
				} else {
					h.Stop()
					u.send(body[test.first:])
					if chunked {
						io.WriteString(u, "0\r\n\r\n")
						u.chunked = false
					}
				}
				u.wantAnswered(test.want)
			})
		})
	}
}
