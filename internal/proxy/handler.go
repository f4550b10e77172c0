package proxy

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// clientKey is the key under which a request's context has its *clientConn.
type clientKey struct{}

// serveHTTP takes one request from net/http's server. This file and upgrade.go are
// all that knows of that server.
func (p *Proxy) serveHTTP(w http.ResponseWriter, r *http.Request) {
	client := r.Context().Value(clientKey{}).(*clientConn)
	client.unanswered = false
	t := &transfer{
		p: p, w: w, r: r, client: client,
		start:  time.Now(),
		id:     requestID(r.Header, client.origin),
		flight: flight{table: &p.table, host: r.Host, path: r.URL.Path, query: r.URL.RawQuery, header: r.Header, peer: client},
	}
	t.serve()
	p.accessLog.add(t)
	if t.result.brokenOff() {
		if !r.ProtoAtLeast(1, 1) {
			client.reset()
		}
		panic(http.ErrAbortHandler)
	}
}

// serve answers the request and counts it, whatever happens.
func (t *transfer) serve() {
	switch {
	case t.r.ProtoMajor != 1:
		t.refuse(http.StatusHTTPVersionNotSupported, "this is no HTTP/1.1 request", &t.p.clients.malformed)
		return
	case t.r.Method == http.MethodConnect:
		t.refuse(http.StatusMethodNotAllowed, "CONNECT is not for this server", &t.p.clients.malformed)
		return
	}
	ctx, cancel := context.WithCancelCause(t.r.Context())
	defer cancel(nil)
	t.flight.cancel = cancel
	if t.flight.start(ctx) {
		defer t.endAnyway()
		defer context.AfterFunc(ctx, func() { t.breakOff(context.Cause(ctx)) })()
		t.prepare()
		t.mirror()
		t.pass(ctx)
		return
	}
	if t.flight.service == nil {
		t.refuse(http.StatusNotFound, "no service takes this host and path", &t.p.unrouted)
		return
	}
	o := t.flight.outcome(unavailable)
	t.end(o)
	t.explain(o)
}

// pass makes attempts until one is answered, or no other is left or allowed.
func (t *transfer) pass(ctx context.Context) {
	for {
		x, err := t.try(ctx)
		if err == nil {
			t.answer(ctx, x)
			return
		}
		o := t.outcomeOf(ctx, x, err)
		if !t.mayRetry(ctx, x) || !t.flight.next(ctx) {
			o = t.flight.outcome(o)
			t.end(o)
			t.explain(o)
			x.finish(t.body)
			x.linger(t.body)
			return
		}
	}
}

// answer passes the answer on.
func (t *transfer) answer(ctx context.Context, x *exchange) {
	if x.resp.StatusCode == http.StatusSwitchingProtocols {
		t.switchProtocols(ctx, x)
		return
	}
	answerHeader(t.w.Header(), x.resp, t.id)
	t.setCookie(t.w.Header())
	t.beginAnswer()
	t.status = x.resp.StatusCode
	t.w.WriteHeader(t.status)
	readErr, writeErr := t.copyAnswer(x)
	switch {
	case readErr == nil && writeErr == nil:
		t.finish(x)
		return
	case writeErr != nil:
		x.conn.close()
		t.end(t.orCut(ctx, clientGone))
	default:
		x.conn.close()
		t.end(t.orGone(ctx, truncated))
	}
	x.finish(t.body)
}

// finish ends an exchange whose answer was passed on whole.
func (t *transfer) finish(x *exchange) {
	if x.upload != nil && !x.upload.ended(0) {
		_ = t.flush()
		x.finish(t.body)
	}
	now := time.Now()
	t.recycle(x, now)
	t.result = answered
	t.latency = now.Sub(t.start)
	t.flight.end(answered, t.status, t.latency)
	t.copied.answered(t.status)
	if t.body != nil && !t.body.ended.Load() {
		_ = t.flush()
		x.linger(t.body)
	}
}

// copyAnswer passes the body on as it comes: it flushes whenever the next piece
// may take a while.
func (t *transfer) copyAnswer(x *exchange) (readErr, writeErr error) {
	body := x.resp.Body
	announced := maps.Clone(x.resp.Trailer)
	if body != http.NoBody {
		if x.conn.r.Buffered() == 0 {
			if err := t.flush(); err != nil {
				return nil, err
			}
		}
		buffer := t.p.buffers.Get().(*[]byte)
		defer t.p.buffers.Put(buffer)
		if readErr, writeErr = t.copyPieces(x, *buffer); readErr != nil || writeErr != nil {
			return readErr, writeErr
		}
	}
	if len(x.resp.Trailer) == 0 {
		return nil, nil
	}
	// The head has to be out for net/http to send a trailer that wasn't announced.
	if err := t.flush(); err != nil {
		return nil, err
	}
	for name, values := range x.resp.Trailer {
		if _, ok := announced[name]; !ok {
			name = http.TrailerPrefix + name
		}
		t.w.Header()[name] = values
	}
	return nil, nil
}

func (t *transfer) flush() error { return http.NewResponseController(t.w).Flush() }

// inform passes an informational answer on (RFC 9110 section 15.2), except that to
// a request for the body, which the upload gets.
func (t *transfer) inform(resp *http.Response) {
	if !t.r.ProtoAtLeast(1, 1) {
		return
	}
	t.informing.Lock()
	defer t.informing.Unlock()
	h := t.w.Header()
	before := maps.Clone(h)
	clear(h)
	removeHopByHop(resp.Header)
	maps.Copy(h, resp.Header)
	t.w.WriteHeader(resp.StatusCode)
	clear(h)
	maps.Copy(h, before)
}

// askForBody has the client send the body that it announced with "Expect:
// 100-continue". net/http would do so by itself when the body is read, but not
// safely beside inform.
func (t *transfer) askForBody() {
	t.informing.Lock()
	defer t.informing.Unlock()
	if !t.answering {
		t.w.WriteHeader(http.StatusContinue)
	}
}

// beginAnswer makes an answer the last one on its connection when the proxy is
// ending, and when it comes before the end of the request's body, since nobody
// knows what the client will do with the rest.
func (t *transfer) beginAnswer() {
	t.informing.Lock()
	t.answering = true
	t.informing.Unlock()
	if t.p.closing.Load() || (t.body != nil && !t.body.ended.Load()) {
		t.w.Header().Set("Connection", "close")
	}
}

// refuse answers a request that no service gets.
func (t *transfer) refuse(status int, message string, counter *atomic.Uint64) {
	counter.Add(1)
	t.result = refused
	t.say(status, message)
}

// explain answers a request that no upstream has answered. Nothing in it is of use
// to somebody who looks for weak spots.
func (t *transfer) explain(o outcome) {
	switch o {
	case unavailable:
		t.w.Header().Set("Retry-After", "1")
		t.say(http.StatusServiceUnavailable, "the service has no instance that could answer")
	case held:
		t.w.Header().Set("Retry-After", "1")
		t.say(http.StatusServiceUnavailable, "requests of the service wait just now, this one for too long, or too many")
	case connectFailed:
		t.say(http.StatusBadGateway, "the service could not be reached")
	case broken:
		t.say(http.StatusBadGateway, "the service broke off before it answered")
	case timedOut:
		t.say(http.StatusGatewayTimeout, "the service did not answer in time")
	}
}

// say answers with one line of text.
func (t *transfer) say(status int, message string) {
	t.status = status
	t.beginAnswer()
	if t.body == nil && t.r.ContentLength != 0 {
		// net/http takes some of the body, which nobody has read, before it answers.
		_ = t.client.SetReadDeadline(time.Now().Add(t.p.cfg.StallTimeout))
	}
	text := fmt.Sprintf("segue: %d %s: %s\nrequest %s\n", status, http.StatusText(status), message, t.id)
	h := t.w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set(requestIDHeader, t.id)
	addVia(h, 1, 1)
	t.w.WriteHeader(status)
	n, _ := t.w.Write([]byte(text))
	t.sent = int64(n)
	_ = t.flush()
}
