package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/coder/websocket"
)

// slow sends a line "N RELEASE LOAD-ID" every 100 ms, N counting from 1, and
// the line "end".
func (s *service) slow(w http.ResponseWriter, r *http.Request) {
	const pace = 100 * time.Millisecond
	d, err := queryDuration(r, "d", 5*time.Second, 0, time.Hour)
	if err != nil {
		s.answer(w, r, http.StatusBadRequest, answer{Message: err.Error()})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	out := http.NewResponseController(w)
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for n := 1; time.Duration(n)*pace <= d; n++ {
		fmt.Fprintf(w, "%d %s %s\n", n, s.release, r.Header.Get("X-Load-Id"))
		if out.Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
	fmt.Fprintln(w, "end")
}

// bytes sends n bytes, of which byte i is i modulo 251: a prime, so that no
// buffer's size hides a piece that is missing or comes twice.
func (s *service) bytes(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseInt(r.URL.Query().Get("n"), 10, 64)
	if err != nil || n < 0 || n > 1<<34 {
		s.answer(w, r, http.StatusBadRequest, answer{Message: "n is not a number from 0 to 2^34"})
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	pattern := make([]byte, 251*128)
	for i := range pattern {
		pattern[i] = byte(i % 251)
	}
	out := bufio.NewWriterSize(w, len(pattern))
	for n > 0 {
		piece := min(n, int64(len(pattern)))
		if _, err := out.Write(pattern[:piece]); err != nil {
			return // the client has gone
		}
		n -= piece
	}
	_ = out.Flush() // as above
}

// events sends server-sent events until the client goes or the instance stops.
func (s *service) events(w http.ResponseWriter, r *http.Request) {
	every, err := queryDuration(r, "every", time.Second, time.Millisecond, time.Hour)
	if err != nil {
		s.answer(w, r, http.StatusBadRequest, answer{Message: err.Error()})
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := 1; ; n++ {
		fmt.Fprintf(w, "id: %d\ndata: {\"n\":%d,\"release\":%q,\"instance\":%q}\n\n", n, n, s.release, s.instance)
		if out.Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		case <-s.stopping.Done():
			return
		}
	}
}

// websocket sends every message back until the client closes or the instance
// stops, which it says with status 1001 (going away, RFC 6455 section 7.4.1).
func (s *service) websocket(w http.ResponseWriter, r *http.Request) {
	s.sockets.Add(1)
	defer s.sockets.Done()
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return // Accept has answered
	}
	defer c.CloseNow()
	c.SetReadLimit(1 << 20)
	closed := make(chan struct{})
	stop := context.AfterFunc(s.stopping, func() {
		defer close(closed)
		_ = c.Close(websocket.StatusGoingAway, "the instance stops")
	})
	s.echoMessages(c)
	if !stop() {
		<-closed
	}
}

func (s *service) echoMessages(c *websocket.Conn) {
	// Not the request's context: it ends with the hijack's handler only, and
	// the connection's own end is what read and write report.
	ctx := context.WithoutCancel(s.stopping)
	for {
		kind, message, err := c.Read(ctx)
		if err != nil {
			return
		}
		if err := c.Write(ctx, kind, message); err != nil {
			return
		}
	}
}
