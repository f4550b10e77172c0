package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// refused is the result of a request that no service got. It is no outcome of a
// release.
const refused outcome = -1

var errNotAskedFor = errors.New("the answer changes to a protocol that wasn't asked for")

// brokenOff reports whether the client's connection must be broken, so that it
// can't take what it has for a whole answer.
func (o outcome) brokenOff() bool { return o == truncated || o == cut || o == clientGone }

// transfer is one request that is passed on, and its answer.
type transfer struct {
	p      *Proxy
	w      http.ResponseWriter
	r      *http.Request
	client *clientConn
	start  time.Time
	id     string
	flight flight

	// head is the request's head, the same for all attempts; body is nil
	// when there is none; upgrade is the protocol to change to; expect is set
	// when the client waits to be asked for the body.
	head    []byte
	body    *requestBody
	upgrade string
	expect  bool

	// result, status, latency and sent, the bytes of the answer's body, are
	// known at the end.
	result  outcome
	status  int
	latency time.Duration
	sent    int64

	// copied is nil when there is no copy of the request.
	copied *copied

	// informing guards what goes to the client before its answer; answering
	// is set when that begins.
	informing sync.Mutex
	answering bool

	mu sync.Mutex
	// conn is the connection in use, closed when the request is broken off.
	conn    *upstreamConn
	stopped bool
}

// exchange is one attempt.
type exchange struct {
	upstream *upstream
	// conn is nil when there was no connection, upload when no body is passed
	// on, resp until the head of the answer is there.
	conn   *upstreamConn
	upload *upload
	resp   *http.Response
	// timedOut is why it failed.
	timedOut bool
}

// prepare makes the head, and the body ready to be passed on.
func (t *transfer) prepare() {
	hasBody := t.r.ContentLength != 0
	t.upgrade = upgradeOf(t.r.Header)
	if hasBody || !t.r.ProtoAtLeast(1, 1) || strings.EqualFold(t.upgrade, "h2c") {
		// HTTP/1.0 knows no upgrade (RFC 9110 section 7.8), and HTTP/2 over an
		// upgraded connection would go past everything here.
		t.upgrade = ""
	}
	t.expect = hasBody && t.r.ProtoAtLeast(1, 1) && hasToken(t.r.Header["Expect"], "100-continue")
	if !t.expect {
		delete(t.r.Header, "Expect")
	}
	t.head = requestHead(t.r, t.client.origin, t.id, t.upgrade)
	if !hasBody {
		return
	}
	t.body = &requestBody{
		src: t.r.Body, length: t.r.ContentLength, request: t.r,
		limit: t.p.cfg.ReplayLimit, setDeadline: t.client.SetReadDeadline,
	}
	// The answer may begin before the body ends. Without this, net/http would
	// read the rest of the body itself then. It can't fail on HTTP/1.
	_ = http.NewResponseController(t.w).EnableFullDuplex()
}

// try sends the request and reads the head of the answer. What it returns with an
// error tells how far it got; the connection is closed then.
func (t *transfer) try(ctx context.Context) (*exchange, error) {
	x := &exchange{upstream: t.flight.upstream}
	// The second attempt gets a new connection: another idle one may be as dead
	// as the first.
	fresh := t.flight.attempts > 1
	now := t.start
	if !t.flight.wait.began.IsZero() {
		now = time.Now()
	}
	conn, err := x.upstream.connect(ctx, fresh, now, t.p.cfg.ConnectTimeout)
	if err != nil {
		return x, err
	}
	x.conn = conn
	conn.begin()
	t.use(conn)
	if err = t.send(x); err == nil {
		err = t.receive(x)
	}
	if err != nil {
		x.timedOut = isTimeout(err) || (x.upload != nil && x.upload.stalled.Load())
		conn.close()
		x.noBody()
	}
	return x, err
}

// send writes the head and begins to pass on the body.
func (t *transfer) send(x *exchange) error {
	cfg := &t.p.cfg
	if t.body == nil {
		x.conn.awaitUntil(time.Now().Add(cfg.ResponseHeaderTimeout))
	}
	if _, err := x.conn.Write(t.head); err != nil {
		return err
	}
	if t.body == nil {
		return nil
	}
	var ask func()
	if t.expect {
		ask = t.askForBody
	}
	x.upload = startUpload(t.body, x.conn, ask, cfg, &t.p.buffers)
	return nil
}

// receive reads heads until one isn't informational.
func (t *transfer) receive(x *exchange) error {
	asked := false
	for {
		//nolint:bodyclose // the body is read to its end, or its connection is closed
		resp, err := x.conn.readHead(t.r, t.p.cfg.maxAnswerHead())
		if err != nil {
			return err
		}
		switch {
		case resp.StatusCode == http.StatusSwitchingProtocols:
			if t.upgrade == "" || !strings.EqualFold(upgradeOf(resp.Header), t.upgrade) {
				return errNotAskedFor
			}
		case resp.StatusCode == http.StatusContinue:
			if x.upload != nil && !asked {
				close(x.upload.wanted)
				asked = true
			}
			continue
		case resp.StatusCode < 200:
			t.inform(resp)
			continue
		}
		x.conn.headArrived(func() {
			if t.body != nil {
				_ = t.body.setDeadline(time.Time{})
			}
		})
		x.resp = resp
		x.noBody()
		return nil
	}
}

// noBody tells an upload that waits to be asked for the body that it won't be.
func (x *exchange) noBody() {
	if x.upload != nil {
		close(x.upload.unwanted)
	}
}

// finish ends an upload that still runs, and linger takes what the client still
// sends; see [upload].
func (x *exchange) finish(body *requestBody) {
	if x.upload != nil {
		x.upload.finish(body, x.conn)
	}
}

func (x *exchange) linger(body *requestBody) {
	if x.upload != nil {
		x.upload.linger(body)
	}
}

// outcomeOf is what an attempt that failed counts as when it was the last.
func (t *transfer) outcomeOf(ctx context.Context, x *exchange, err error) outcome {
	switch {
	case x.conn == nil:
		return t.orGone(ctx, connectFailed)
	case x.timedOut:
		return t.orGone(ctx, timedOut)
	}
	t.p.cfg.Logger.Debug("an upstream broke off", "request", t.id, "service", t.flight.service.name, "upstream", x.upstream.id, "error", err)
	return t.orGone(ctx, broken)
}

// orGone is o, unless the request was cut or its client has gone, which explains
// everything else.
func (t *transfer) orGone(ctx context.Context, o outcome) outcome {
	if ctx.Err() != nil || (t.body != nil && t.body.broke.Load()) {
		return t.orCut(ctx, clientGone)
	}
	return o
}

func (t *transfer) orCut(ctx context.Context, o outcome) outcome {
	if errors.Is(context.Cause(ctx), errCut) {
		return cut
	}
	return o
}

// mayRetry reports whether the request may be sent again after x failed, and makes
// ready for it.
func (t *transfer) mayRetry(ctx context.Context, x *exchange) bool {
	if ctx.Err() != nil {
		return false
	}
	a := attempt{method: t.r.Method, dialFailed: x.conn == nil, timedOut: x.timedOut, replayable: true}
	if x.conn != nil {
		a.wrote, a.begun = x.conn.wrote.Load(), x.conn.got > 0
	}
	if x.upload != nil {
		if !retryable(a) {
			return false // The body is being read still.
		}
		// It ends with the next piece from the client, since the connection
		// is closed; without one nothing can be sent anywhere.
		<-x.upload.done
		a.wrote = x.conn.wrote.Load()
	}
	if t.body != nil {
		a.replayable = t.body.replayable()
		t.body.rewind()
		t.flight.kept = len(t.body.kept)
	}
	return retryable(a)
}

// use makes conn the one that is closed when the request is broken off, which may
// have happened already.
func (t *transfer) use(conn *upstreamConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conn = conn
	if t.stopped {
		conn.close()
	}
}

// breakOff ends the request in the middle: its client has gone, or its time is up.
func (t *transfer) breakOff(cause error) {
	t.mu.Lock()
	t.stopped = true
	if t.conn != nil {
		t.conn.close()
	}
	t.mu.Unlock()
	if errors.Is(cause, errCut) {
		_ = t.client.Close()
	}
}

// recycle keeps the connection for another request, if both sides are done with
// this one.
func (t *transfer) recycle(x *exchange, now time.Time) {
	t.mu.Lock()
	t.conn = nil
	stopped := t.stopped
	t.mu.Unlock()
	sent := x.upload == nil || (x.upload.ended(0) && x.upload.complete)
	if stopped || !sent || x.resp.Close || x.conn.r.Buffered() > 0 {
		x.conn.close()
		return
	}
	x.upstream.idle.put(x.conn, now)
}

// end counts a request that got no whole answer.
func (t *transfer) end(o outcome) {
	t.result = o
	t.latency = time.Since(t.start)
	t.flight.end(o, 0, 0)
	t.copied.answered(0)
}

// endAnyway keeps the accounts right if something here panics.
func (t *transfer) endAnyway() {
	if t.flight.account != nil {
		t.end(broken)
	}
}

// copyPieces copies the body of the answer to its end. readErr is the upstream's,
// writeErr the client's.
func (t *transfer) copyPieces(x *exchange, buffer []byte) (readErr, writeErr error) {
	for {
		n, err := x.resp.Body.Read(buffer)
		if n > 0 {
			t.copied.passed(buffer[:n])
			written, werr := t.w.Write(buffer[:n])
			t.sent += int64(written)
			if werr != nil {
				return nil, werr
			}
		}
		switch {
		case err == io.EOF:
			return nil, nil
		case err != nil:
			return fmt.Errorf("read the answer: %w", err), nil
		case x.resp.ContentLength < 0 || x.conn.r.Buffered() == 0:
			if werr := t.flush(); werr != nil {
				return nil, werr
			}
		}
	}
}
