package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/segue-deploy/segue/internal/health"
	"github.com/segue-deploy/segue/internal/proxy/h1"
)

const (
	// continueTimeout is how long an upstream may take to ask for a body that
	// was announced with "Expect: 100-continue" (RFC 9110 section 10.1.1: a
	// client must not wait for ever).
	continueTimeout = time.Second
	// uploadGrace is how long an upstream may go on reading a body after its
	// answer has ended.
	uploadGrace = 250 * time.Millisecond
	// halfClosedGrace is how long a client that has ended its direction is
	// believed to wait for its answer, while nothing of that comes: one that has gone
	// looks the same until something is sent to it.
	halfClosedGrace = 5 * time.Second
	// turnsAtOnce is how often a connection may read before others have their turn.
	turnsAtOnce = 16
)

// refused is the result of a request that no service got. It is no outcome of a
// release.
const refused outcome = -1

// exchange is one request and its answer, from the end of the request's head until the
// client's connection is ready for the next one. Where it stands is its stage; what
// happens to one of its two connections leads to advance, which moves what can be moved.
type exchange struct {
	loop   *loop
	client *clientConn
	stage  stage
	start  time.Time
	// since is when something moved last.
	since time.Time

	// raw is the memory of the request's head, path that of its decoded path, and head
	// that of the head as the upstream gets it.
	raw, path, head []byte
	request         h1.Request
	id              []byte
	newID           [idLength]byte
	// protocol is the one to change to; nil is none.
	protocol []byte

	flight flight
	// up is the connection of the attempt; nil is none.
	up     *upstreamConn
	upload upload
	answer answer
	// back is the upload on its way back from the instance before; nil is not at all. It
	// has been handed back replays times.
	back    *handback
	replays int
	// graceEnd is how long the upload may go on after the answer.
	graceEnd time.Time
	// closes is set when the client's connection ends after the answer.
	closes bool
	// failure is what has come of the last attempt.
	failure outcome
	tunnel  *tunnel
	// copied is nil when there is no copy of the request.
	copied *copied

	// result, status, latency and sent, the bytes of the answer's body, are
	// known at the end.
	result  outcome
	status  int
	latency time.Duration
	sent    int64
}

type stage uint8

const (
	// onHold: the flight waits, and tells when it goes on.
	onHold stage = iota
	connecting
	// requesting: the request is being sent, or the head of its answer awaited.
	requesting
	// answering: the head of the answer is known.
	answering
	// uploading: the answer is out, and the upstream may still read the rest of the
	// request's body.
	uploading
	// explaining: the answer is our own, and already counted.
	explaining
	// tunnelled: the connections belong to the tunnel.
	tunnelled
)

// newExchange returns one for a client's connection.
func (l *loop) newExchange(c *clientConn) *exchange {
	var x *exchange
	if n := len(l.exchanges); n > 0 {
		x = l.exchanges[n-1]
		l.exchanges = l.exchanges[:n-1]
	} else {
		x = &exchange{loop: l}
		x.flight.loop, x.flight.owner = l, x
	}
	x.client, c.exchange = c, x
	x.start, x.since = l.now, l.now
	x.failure = unavailable
	return x
}

// begin reads the head, and finds the request an upstream.
func (x *exchange) begin() {
	r := &x.request
	if err := r.Parse(x.raw); err != nil {
		x.refuseHead(err)
		return
	}
	x.id = x.client.origin.appendRequestID(x.newID[:0], r)
	x.upload.begin(r)
	if r.Protocol != nil && r.Body == h1.NoBody && !strings.EqualFold(h1.String(r.Protocol), "h2c") {
		// HTTP/2 over an upgraded connection would go past everything here.
		x.protocol = r.Protocol
	}
	f := &x.flight
	x.path = r.AppendPath(x.path[:0])
	f.kept = x.client.unread()
	f.origin = &x.client.origin
	f.host, f.path, f.query, f.head = h1.String(r.Host), h1.String(x.path), h1.String(r.Query), &r.Head
	if x.loop.table.speaksHTTP2(f.host, f.path) {
		x.toDoor()
		return
	}
	x.resume(f.start())
}

// resume goes on with what the flight has found.
func (x *exchange) resume(v verdict) {
	x.since = x.loop.now
	switch {
	case v == going:
		x.try()
	case v == waits:
		x.stage = onHold
		x.client.shrink()
		x.loop.timers.set(&x.client.timer, time.Time{})
	case x.flight.service == nil:
		x.loop.counts.unrouted++
		x.refuse(http.StatusNotFound, noSuchService)
	default:
		x.fail(x.flight.outcome(x.failure))
	}
}

// try makes an attempt: on a connection that is kept, or on a new one.
func (x *exchange) try() {
	if !x.upload.prepared() {
		x.prepare()
		x.copied = x.flight.mirror(&x.request, &x.client.origin, func() []byte { return x.upload.out })
	}
	x.upload.rewind()
	x.answer.rewind()
	p := x.flight.pool
	var up *upstreamConn
	if x.flight.attempts == 1 {
		// A second attempt gets a new connection: another idle one may be as dead as the
		// first.
		up = p.get()
	}
	if up == nil {
		var err error
		if up, err = p.connect(); err != nil {
			x.notConnected(err)
			return
		}
	}
	x.up, up.exchange = up, x
	x.stage = requesting
	if up.connecting {
		x.stage = connecting
	}
	x.advance()
}

// notConnected goes on when not even an attempt to connect could be begun. If that is for
// want of something that this process or machine has too little of, it says nothing of the
// instance: the request waits, as long as a connection may take, for another one to end.
func (x *exchange) notConnected(err error) {
	l := x.loop
	if !health.Starved(err) || l.now.Sub(x.since) >= l.p.cfg.ConnectTimeout {
		x.attemptFailed(connectFailed, err)
		return
	}
	// Else new clients would take what becomes free.
	l.acceptLater(err)
	x.stage = connecting
	l.timers.set(&x.client.timer, l.now.Add(acceptPause))
}

// ready goes on after something has happened to one of the connections.
func (x *exchange) ready() {
	switch {
	case x.client.broken, x.stage == onHold && x.client.ended:
		x.gone()
	case x.stage != onHold:
		x.advance()
	}
}

// advance moves what can be moved: the request to the upstream, and the answer to the
// client.
func (x *exchange) advance() {
	if x.stage == connecting {
		if x.up == nil {
			return // It waits to begin: notConnected.
		}
		done, err := x.up.connected()
		if err != nil {
			x.attemptFailed(connectFailed, err)
			return
		}
		if done {
			x.stage = requesting
			x.since = x.loop.now
		}
	}
	if x.stage != connecting {
		for more := true; more; {
			var alive bool
			if !x.moveUpload() {
				return
			}
			if alive, more = x.moveAnswer(); !alive {
				return
			}
		}
	}
	x.loop.timers.set(&x.client.timer, x.deadline())
}

// deadline is how long the exchange may stay as it is; the zero time is for ever.
func (x *exchange) deadline() time.Time {
	cfg, u := &x.loop.p.cfg, &x.upload
	var limit time.Duration
	switch x.stage {
	case connecting:
		limit = cfg.ConnectTimeout
	case requesting:
		switch {
		case x.awaitsBack():
			limit = cfg.StallTimeout
		case u.asking:
			limit = continueTimeout
		case u.sent == len(u.out) && !u.ended && !u.broken:
			limit = cfg.StallTimeout
		default:
			limit = cfg.ResponseHeaderTimeout
		}
	case answering, explaining:
		if x.awaitsBack() || x.answer.pending() || x.answer.pipe != nil && x.answer.pipe.have > 0 {
			limit = cfg.StallTimeout
		}
	case uploading:
		return x.graceEnd
	}
	if x.client.ended && (limit == 0 || limit > halfClosedGrace) {
		limit = halfClosedGrace
	}
	if limit == 0 {
		return time.Time{}
	}
	return x.since.Add(limit)
}

// expire is called when the deadline has passed.
func (x *exchange) expire() {
	u := &x.upload
	switch {
	case x.stage == uploading:
		x.finish()
	case x.stage == requesting && u.asking:
		x.askForBody()
		x.advance()
	case x.awaitsBack():
		x.failBack(fmt.Errorf("%w: nothing has come for %s", errHandback, x.loop.now.Sub(x.since)))
	case x.stage == answering, x.stage == explaining, x.client.ended && x.loop.now.Sub(x.since) >= halfClosedGrace:
		x.gone()
	case x.stage == connecting && x.up == nil:
		x.try()
	case x.stage == connecting:
		x.flight.pool.upstream.unreachable(errConnectTimeout)
		x.attemptFailed(connectFailed, errConnectTimeout)
	case u.sent == len(u.out) && !u.ended && !u.broken:
		x.gone()
	default:
		x.attemptFailed(timedOut, errNoAnswer)
	}
}

var errNoAnswer = errors.New("the upstream did not answer in time")

// attemptFailed goes on after an attempt that came to nothing: with another one, if the
// request may be sent again, or with our own answer.
func (x *exchange) attemptFailed(o outcome, err error) {
	u := &x.upload
	a := attempt{
		method:     h1.String(x.request.Method),
		dialFailed: o == connectFailed, timedOut: o == timedOut,
		wrote: u.wrote, replayable: u.replayable(x.loop.p.cfg.ReplayLimit), begun: x.answer.got > 0,
		unread: errors.Is(err, io.EOF) && x.up.unread(u.wrote),
	}
	if o == broken {
		x.loop.p.cfg.Logger.Debug("an upstream broke off", "request", string(x.id), "service", x.flight.service.name, "upstream", x.flight.pool.upstream.id, "error", err)
	}
	x.dropUpstream()
	x.failure = o
	if !retryable(a) {
		x.fail(o)
		return
	}
	x.flight.kept = u.keptBody()
	x.resume(x.flight.again(a.sent()))
}

// fail ends a request that no upstream has answered.
func (x *exchange) fail(o outcome) {
	x.end(o)
	x.say(o.explanation())
}

// end counts a request that got no whole answer.
func (x *exchange) end(o outcome) {
	x.result = o
	x.latency = x.loop.now.Sub(x.start)
	x.flight.end(o, 0, 0)
	x.copied.answered(0)
}

// gone ends a request whose client has gone.
func (x *exchange) gone() {
	switch x.stage {
	case onHold:
		x.flight.abandon(clientGone)
		x.breakOff(clientGone)
	case explaining:
		x.client.close()
		x.over()
	case uploading:
		x.finish() // it has its answer
	default:
		x.breakOff(clientGone)
	}
}

// cut ends a request at the deadline of a drain.
func (x *exchange) cut() {
	switch x.stage {
	case tunnelled:
		x.tunnel.cut()
		return
	case onHold:
		x.flight.abandon(cut)
	}
	x.breakOff(cut)
}

// breakOff ends a request in the middle, so that the client can't take what it has for
// a whole answer.
func (x *exchange) breakOff(o outcome) {
	x.end(o)
	if x.request.Minor == 0 {
		x.client.reset()
	} else {
		x.client.close()
	}
	x.over()
}

// finish ends an exchange whose answer was passed on whole.
func (x *exchange) finish() {
	x.recycle()
	x.result = answered
	x.latency = x.loop.now.Sub(x.start)
	x.flight.end(answered, x.status, x.latency)
	x.copied.answered(x.status)
	x.leaveClient()
}

// leaveClient has the client's connection go on without this exchange.
func (x *exchange) leaveClient() {
	c, closes := x.client, x.closes
	x.over()
	if closes {
		c.finish()
	} else {
		c.next()
	}
}

// recycle keeps the upstream's connection for another request, if both sides are done
// with this one.
func (x *exchange) recycle() {
	if x.upload.complete() && x.answer.reusable() {
		p, up := x.up.pool, x.up
		x.up = nil
		p.put(up)
	}
}

func (x *exchange) dropUpstream() {
	if x.up != nil {
		x.up.close()
		x.up = nil
	}
}

// entry is the request's line of the access log.
func (x *exchange) entry() Entry {
	r := &x.request
	e := Entry{
		Time: x.start, RequestID: string(x.id), Client: x.client.origin.ip,
		Method: string(r.Method), Host: string(r.Host), Path: string(x.path), Proto: "HTTP/1." + strconv.Itoa(r.Minor),
		Status: x.status, Bytes: x.sent, Seconds: x.latency.Seconds(), Outcome: x.result.String(),
		Replays: x.replays,
	}
	e.of(&x.flight)
	return e
}

// over writes the exchange down, and gives back all that it had.
func (x *exchange) over() {
	l := x.loop
	if x.request.Method != nil {
		l.p.accessLog.add(x)
	}
	x.dropUpstream()
	x.dropBack()
	x.client.exchange = nil
	l.buffers.put(x.upload.buffer)
	l.buffers.put(x.answer.piece)
	l.pipes.put(x.answer.pipe)
	x.flight.reset()
	*x = exchange{
		loop: l, raw: small(x.raw), path: small(x.path), head: small(x.head),
		request: h1.Request{Head: h1.Head{Fields: x.request.Fields[:0]}},
		flight:  x.flight,
		answer:  answer{head: h1.Response{Head: h1.Head{Fields: x.answer.head.Fields[:0]}}, pre: small(x.answer.pre), trailer: small(x.answer.trailer)},
	}
	if int64(len(l.exchanges)) <= l.load.Load() {
		l.exchanges = append(l.exchanges, x)
	}
}

// small returns memory to use again, unless it has become big.
func small(b []byte) []byte {
	if cap(b) > smallSize {
		return nil
	}
	return b[:0]
}

// refuseHead answers a request that can't be read.
func (x *exchange) refuseHead(err error) {
	x.loop.counts.malformed++
	x.id = appendID(x.newID[:0])
	x.closes = true
	var why *h1.Error
	if !errors.As(err, &why) {
		why = &h1.Error{Status: http.StatusBadRequest, Reason: err.Error()}
	}
	x.refuse(why.Status, why.Reason)
}

// refuse answers a request that no service gets.
func (x *exchange) refuse(status int, message string) {
	x.result = refused
	x.say(status, message)
}

// say answers with one line of text.
func (x *exchange) say(status int, message string) {
	x.stage = explaining
	x.since = x.loop.now
	x.dropBack()
	x.skipBody()
	x.status = status
	x.latency = x.loop.now.Sub(x.start)
	x.closes = x.closes || x.mustClose()
	text := sentence(status, message, x.id)
	a := &x.answer
	a.rewind()
	a.pre = fmt.Appendf(a.pre, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	for name, value := range ownFields(status) {
		a.pre = appendField(a.pre, name, value)
	}
	a.pre = x.loop.dates.append(a.pre, x.loop.now)
	a.pre = appendFieldBytes(a.pre, requestIDHeader, x.id)
	a.pre = append(a.pre, "Via: 1.1 segue\r\n"...)
	a.pre = appendLength(a.pre, int64(len(text)))
	a.pre = x.appendConnection(a.pre)
	a.pre = append(a.pre, '\r', '\n')
	if string(x.request.Method) != http.MethodHead {
		a.pre = append(a.pre, text...)
		x.sent = int64(len(text))
	}
	a.done = true
	x.advance()
}

// mustClose reports whether the answer is the last one on its connection: the client or
// the proxy is about to end it, or the answer comes before the end of the request's
// body, and nobody knows what the client will do with the rest.
func (x *exchange) mustClose() bool {
	return !x.request.Persistent || !x.upload.ended || x.loop.p.closing.Load()
}
