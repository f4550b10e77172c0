package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segue-deploy/segue/internal/proxy/h1"
)

// call is one request that came by the door, and its answer. A goroutine does all of it,
// and takes its loop's lock for what the flight does.
type call struct {
	p      *Proxy
	loop   *loop
	origin *origin
	start  time.Time
	w      *answerWriter
	r      *http.Request

	// request is the request's head as HTTP/1.1 would have it, since that is what rules
	// look at and what is passed on.
	request h1.Request
	path    []byte
	id      []byte
	body    replay

	flight flight
	// landed, with room for one, has the end of a wait.
	landed chan verdict
	ctx    context.Context
	cancel context.CancelFunc
	copied *copied
	// wasCut is guarded by the loop's lock.
	wasCut bool

	// result, status, latency and the bytes of the answer's body are known at the end.
	result  outcome
	status  int
	latency time.Duration
	sent    int64
}

// serveCall serves a request.
func (p *Proxy) serveCall(w http.ResponseWriter, r *http.Request) {
	conn := r.Context().Value(doorConnKey{}).(*doorConn)
	x := &call{
		p: p, loop: conn.client.loop, origin: &conn.client.origin, start: time.Now(),
		w: &answerWriter{ResponseWriter: w, control: http.NewResponseController(w), stall: p.cfg.StallTimeout}, r: r,
		landed: make(chan verdict, 1),
	}
	x.ctx, x.cancel = context.WithCancel(r.Context())
	defer x.cancel()
	defer x.stopReading()()
	x.body.begin(r.Body, p.cfg.ReplayLimit)
	x.flight.loop, x.flight.owner = x.loop, x
	// HTTP/1.1 would read all of the request before any of the answer is written.
	_ = x.w.control.EnableFullDuplex()
	x.serve()
	p.accessLog.add(x)
}

// stopReading has the client's body end when the request is cut: the transport for HTTP/2
// sees that no earlier than it has something to write. The function returned undoes it.
func (x *call) stopReading() (undo func()) {
	stopped := make(chan struct{})
	stop := context.AfterFunc(x.ctx, func() {
		defer close(stopped)
		_ = x.w.control.SetReadDeadline(time.Unix(1, 0))
	})
	return func() {
		if !stop() {
			<-stopped
		}
	}
}

// serve reads the head, and makes attempts until one has been answered or there is
// none to make.
func (x *call) serve() {
	if err := x.request.Parse(headOfCall(x.r)); err != nil {
		x.refuseHead(err)
		return
	}
	x.id = x.origin.appendRequestID(nil, &x.request)
	r, f := &x.request, &x.flight
	x.path = r.AppendPath(nil)
	f.origin = x.origin
	f.host, f.path, f.query, f.head = h1.String(r.Host), h1.String(x.path), h1.String(r.Query), &r.Head
	failure := unavailable
	v := x.find(f.start)
	for v == going {
		if x.copied == nil && f.service.mirror != nil {
			x.loop.do(func() { x.copied = f.mirror(r, x.origin, x.copiedHead) })
		}
		var next func() verdict
		if failure, next = x.try(); failure == answered {
			return
		} else if next == nil {
			break
		}
		f.kept = x.body.size()
		v = x.find(next)
	}
	switch {
	case x.ctx.Err() != nil:
		x.breakOff(clientGone)
	case f.service == nil:
		x.loop.do(func() { x.loop.counts.unrouted++ })
		x.refuse(http.StatusNotFound, noSuchService)
	default:
		failure = f.outcome(failure)
		x.end(failure)
		x.say(failure.explanation())
	}
}

// find has the flight search, and waits for the end of a hold or a queue.
func (x *call) find(search func() verdict) verdict {
	var v verdict
	x.loop.do(func() { v = search() })
	if v != waits {
		return v
	}
	select {
	case v = <-x.landed:
		return v
	case <-x.ctx.Done():
	}
	x.loop.do(func() {
		if x.flight.waits() {
			x.flight.abandon(clientGone)
		}
	})
	return nobody
}

// resume is called when a wait has ended. The loop's lock is held.
func (x *call) resume(v verdict) {
	if v != waits {
		x.landed <- v
	}
}

// cut breaks the request off. The loop's lock is held.
func (x *call) cut() {
	x.wasCut = true
	if x.flight.waits() {
		x.flight.abandon(cut)
	}
	x.cancel()
}

// mayHandBack is never so: only requests of the loops are handed back.
func (x *call) mayHandBack() bool { return false }

// try makes an attempt. The outcome is answered when the request has ended, whatever its
// answer; otherwise next finds the request an upstream for another attempt, or is nil if
// there may be none.
func (x *call) try() (o outcome, next func() verdict) {
	u := x.flight.pool.upstream
	a := attempt{method: x.r.Method}
	var wrote, begun atomic.Bool
	informed := &informer{w: x.w}
	trace := &httptrace.ClientTrace{
		WroteHeaders:         func() { wrote.Store(true) },
		GotFirstResponseByte: func() { begun.Store(true) },
		Got1xxResponse:       informed.pass,
	}
	resp, err := u.transport(&x.p.cfg).RoundTrip(x.onward(httptrace.WithClientTrace(x.ctx, trace)))
	informed.stop()
	if err == nil {
		x.pass(resp)
		return answered, nil
	}
	if x.ctx.Err() != nil {
		return clientGone, nil
	}
	var dial *dialError
	a.dialFailed, a.timedOut = errors.As(err, &dial), isTimeout(err)
	a.replayable = x.body.again()
	if wrote.Load() {
		a.wrote = 1
	}
	// An answer may be known to be broken only after its first byte.
	a.begun = begun.Load()
	switch {
	case a.dialFailed:
		u.unreachable(dial.error)
		a.timedOut = false
		o = connectFailed
	case a.timedOut:
		o = timedOut
	default:
		o = broken
		x.p.cfg.Logger.Debug("an upstream broke off", "request", string(x.id), "service", x.flight.service.name, "upstream", u.id, "error", err)
	}
	if !retryable(a) {
		return o, nil
	}
	return o, func() verdict { return x.flight.again(a.sent()) }
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// onward is the request as the upstream gets it.
func (x *call) onward(ctx context.Context) *http.Request {
	out := (&http.Request{
		Method: x.r.Method,
		URL:    x.target(),
		Host:   string(x.request.Host), Header: x.header(),
		ContentLength: x.r.ContentLength, Trailer: x.r.Trailer,
	}).WithContext(ctx)
	if x.r.Body != nil && x.r.Body != http.NoBody {
		// The transport asks for it again when the upstream says that it has not
		// looked at the request (RFC 9113 section 8.7).
		out.Body = x.body.reader()
		out.GetBody = func() (io.ReadCloser, error) {
			if !x.body.again() {
				return nil, errGone
			}
			return x.body.reader(), nil
		}
	} else if !x.flight.pool.upstream.target.H2C {
		// With a body that can't be had again the transport doesn't repeat the request
		// by itself.
		out.Body, out.ContentLength = io.NopCloser(strings.NewReader("")), 0
	}
	return out
}

// target is where the request goes; the address is the transport's own.
func (x *call) target() *url.URL {
	target, err := url.ParseRequestURI(string(x.request.AppendTarget(nil)))
	if err != nil {
		target = &url.URL{Path: string(x.path), RawQuery: string(x.request.Query)}
	}
	target.Scheme, target.Host = "http", "upstream"
	return target
}

// copiedHead is the head of the request as HTTP/1.1 has it.
func (x *call) copiedHead() []byte {
	head := append([]byte(x.r.Method), ' ')
	head = x.request.AppendTarget(head)
	head = append(head, " HTTP/1.1\r\n"...)
	head = appendFieldBytes(head, "Host", x.request.Host)
	return append(x.appendFields(head), '\r', '\n')
}

func (x *call) appendFields(dst []byte) []byte {
	dst = x.origin.appendFields(dst, &x.request, x.id, false)
	return appendVia(dst, &x.request.Head, strings.TrimPrefix(x.r.Proto, "HTTP/"))
}

// header are the fields as the upstream gets them.
func (x *call) header() http.Header {
	fields := x.appendFields(nil)
	if x.request.WantsTrailers {
		fields = append(fields, "Te: trailers\r\n"...)
	}
	fields = append(fields, '\r', '\n')
	header, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(fields))).ReadMIMEHeader()
	if err != nil {
		// They were read once before.
		x.p.cfg.Logger.Error("fields that can't be read", "request", string(x.id), "error", err)
	}
	if _, said := header["User-Agent"]; !said {
		header["User-Agent"] = nil // or the transport says its own
	}
	return http.Header(header)
}

// pass passes an answer on, and ends the request.
func (x *call) pass(resp *http.Response) {
	defer resp.Body.Close()
	x.status = resp.StatusCode
	header := x.w.Header()
	passFields(header, resp.Header)
	header.Set(requestIDHeader, string(x.id))
	header["Via"] = []string{strings.Join(append(resp.Header["Via"], strings.TrimPrefix(resp.Proto, "HTTP/")+" segue"), ", ")}
	if cookie := x.flight.setCookie(&x.request, x.origin); cookie != "" {
		header.Add("Set-Cookie", cookie)
	}
	x.sayClose()
	for name := range resp.Trailer {
		header.Add("Trailer", name)
		if x.r.ProtoMajor == 1 {
			header.Del("Content-Length") // only a body in chunks has a trailer (RFC 9112 section 6.5)
		}
	}
	announced := len(resp.Trailer)
	x.w.WriteHeader(resp.StatusCode)
	if resp.ContentLength < 0 {
		x.loop.do(func() { x.flight.shape = shapeOf(resp.Header.Get("Content-Type")) })
		// It may be long until the first of the body comes.
		_ = x.w.control.Flush()
	}
	sent, readErr, writeErr := x.w.copy(resp.Body, resp.ContentLength < 0, x.copied)
	x.sent = sent
	switch {
	case writeErr != nil, readErr != nil && x.ctx.Err() != nil:
		x.breakOff(clientGone)
		return
	case readErr != nil:
		x.breakOff(truncated)
		return
	}
	for name, values := range resp.Trailer {
		if len(resp.Trailer) != announced {
			name = http.TrailerPrefix + name
		}
		header[name] = values
	}
	x.result = answered
	x.latency = time.Since(x.start)
	x.loop.do(func() {
		x.flight.answeredWhole(resp)
		x.flight.end(answered, x.status, x.latency)
	})
	x.copied.answered(x.status)
}

// sayClose tells the client that the connection closes if this proxy ends, or another one
// has taken over; net/http makes GOAWAY of it for HTTP/2.
func (x *call) sayClose() {
	if x.p.closing.Load() || x.p.leaving.Load() {
		x.w.Header().Set("Connection", "close")
	}
}

// passFields copies the fields of an answer, but those for one connection.
func passFields(dst, src http.Header) {
	except := h1.KindsOf(h1.Connection, h1.TransferEncoding, h1.Upgrade, h1.HopByHop, h1.TE, h1.Trailer, h1.Via, h1.RequestID)
	for name, values := range src {
		if !except.Has(h1.KindOf([]byte(name))) {
			dst[name] = values
		}
	}
	for _, list := range src["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			dst.Del(strings.TrimSpace(name))
		}
	}
}

// end counts a request that got no whole answer. One that was cut is that, whatever else
// has happened.
func (x *call) end(o outcome) {
	x.latency = time.Since(x.start)
	x.loop.do(func() {
		if x.wasCut {
			o = cut
		}
		x.flight.end(o, 0, 0)
	})
	x.result = o
	x.copied.answered(0)
}

// breakOff ends a request in the middle, so that the client can't take what it has for a
// whole answer.
func (x *call) breakOff(o outcome) {
	x.end(o)
	if grpc := strings.HasPrefix(x.w.Header().Get("Content-Type"), "application/grpc"); grpc && x.w.began {
		// A stream of gRPC that ends with a status is one that has failed, and the client
		// learns that it may try again (UNAVAILABLE; see its "Status codes and their use").
		x.w.Header().Set(http.TrailerPrefix+"Grpc-Status", "14")
		x.w.Header().Set(http.TrailerPrefix+"Grpc-Message", "segue: the release of this stream has ended")
		return
	}
	x.p.accessLog.add(x)
	panic(http.ErrAbortHandler)
}

// refuseHead answers a request that can't be read.
func (x *call) refuseHead(err error) {
	x.loop.do(func() { x.loop.counts.malformed++ })
	x.id = appendID(nil)
	var why *h1.Error
	if !errors.As(err, &why) {
		why = &h1.Error{Status: http.StatusBadRequest, Reason: err.Error()}
	}
	x.refuse(why.Status, why.Reason)
}

// refuse answers a request that no service gets.
func (x *call) refuse(status int, message string) {
	x.result = refused
	x.latency = time.Since(x.start)
	x.say(status, message)
}

// say answers with one line of text.
func (x *call) say(status int, message string) {
	x.status = status
	text := sentence(status, message, x.id)
	h := x.w.Header()
	for name, value := range ownFields(status) {
		h.Set(name, value)
	}
	h.Set(requestIDHeader, string(x.id))
	h.Set("Via", "1.1 segue")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	x.sayClose()
	x.w.WriteHeader(status)
	if x.r.Method != http.MethodHead {
		n, _ := io.WriteString(x.w, text)
		x.sent = int64(n)
	}
}

// entry is the request's line of the access log.
func (x *call) entry() Entry {
	e := Entry{
		Time: x.start, RequestID: string(x.id), Client: x.origin.ip,
		Method: x.r.Method, Host: string(x.request.Host), Path: string(x.path), Proto: x.r.Proto,
		Status: x.status, Bytes: x.sent, Seconds: x.latency.Seconds(), Outcome: x.result.String(),
	}
	e.of(&x.flight)
	return e
}

// headOfCall is a request's head as HTTP/1.1 has it, without fields for its connection.
func headOfCall(r *http.Request) []byte {
	b := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, r.RequestURI, r.Host)
	for name, values := range r.Header {
		for _, value := range values {
			b = appendField(b, name, value)
		}
	}
	if r.ContentLength < 0 {
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	if strings.EqualFold(r.Header.Get("Te"), "trailers") {
		b = append(b, "Connection: te\r\n"...)
	}
	return append(b, '\r', '\n')
}

// informer passes informational answers on, until the answer itself has come.
type informer struct {
	mu      sync.Mutex
	w       *answerWriter
	stopped bool
}

func (i *informer) pass(code int, header textproto.MIMEHeader) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.stopped || code == http.StatusContinue {
		return nil
	}
	h := i.w.Header()
	passFields(h, http.Header(header))
	i.w.ResponseWriter.WriteHeader(code)
	clear(h)
	return nil
}

func (i *informer) stop() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.stopped = true
}

// answerWriter writes an answer to the client.
type answerWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
	began   bool
}

// WriteHeader begins the answer.
func (w *answerWriter) WriteHeader(status int) {
	w.began = true
	w.ResponseWriter.WriteHeader(status)
}

// copy passes a body on, each piece at once if it is to be. A client that takes nothing
// for too long has gone.
func (w *answerWriter) copy(body io.Reader, atOnce bool, c *copied) (sent int64, readErr, writeErr error) {
	buffer := make([]byte, pieceSize)
	for {
		n, err := body.Read(buffer)
		if n > 0 {
			_ = w.control.SetWriteDeadline(time.Now().Add(w.stall))
			c.passed(buffer[:n])
			written, err := w.Write(buffer[:n])
			sent += int64(written)
			if err == nil && atOnce {
				err = w.control.Flush()
			}
			if err != nil {
				return sent, nil, err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return sent, nil, nil
		case err != nil:
			return sent, err, nil
		}
	}
}
