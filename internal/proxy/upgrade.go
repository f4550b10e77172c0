package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// relaySize is how many bytes of an upgraded connection are passed on at a time.
const relaySize = 32 << 10

// halfClosedLimit is how long the other direction of an upgraded connection may be
// silent after one has ended.
const halfClosedLimit = time.Minute

// tunnel is an upgraded connection (RFC 9110 section 7.8). It leaves the loop for two
// goroutines, and is in flight until both sides are done with it.
type tunnel struct {
	x                *exchange
	client, upstream net.Conn
	// head goes to the client first, then what the upstream has sent already; early is
	// what the client has.
	head, late, early []byte
	// ws is nil when the protocol is another.
	ws *webSocket
	// wasCut is guarded by the loop's lock.
	wasCut bool
}

// switchProtocols makes a tunnel of the two connections.
func (x *exchange) switchProtocols() {
	c, a, up := x.client, &x.answer, x.up
	x.status = http.StatusSwitchingProtocols
	t := &tunnel{
		x:     x,
		head:  x.appendAnswerHead(bytes.Clone(a.pre[a.preSent:])),
		late:  bytes.Clone(a.piece[a.from:a.to]),
		early: bytes.Clone(c.in[c.start:c.end]),
	}
	x.loop.timers.forget(&c.timer)
	x.loop.timers.forget(&up.timer)
	x.up = nil
	var clientErr, upstreamErr error
	t.client, clientErr = connOf(c.release())
	t.upstream, upstreamErr = connOf(up.release())
	if err := errors.Join(clientErr, upstreamErr); err != nil {
		x.loop.p.cfg.Logger.Warn("an upgraded connection is lost", "reason", err)
		t.close()
		x.end(broken)
		c.gone()
		x.over()
		return
	}
	x.stage, x.tunnel = tunnelled, t
	if t.ws = newWebSocket(t.client, string(x.protocol)); t.ws != nil {
		x.flight.goAway = t.ws.goAway
	}
	x.flight.account.upgrade(&x.flight)
	x.loop.p.tunnels.Go(t.run)
}

// run passes on what both sides send, and ends the exchange then.
func (t *tunnel) run() {
	sent, err := t.pass()
	t.close()
	x := t.x
	x.loop.do(func() {
		x.sent = sent
		switch {
		case t.wasCut:
			x.end(cut)
		case err != nil:
			x.end(clientGone)
		default:
			x.result = answered
			x.latency = x.loop.now.Sub(x.start)
			x.flight.end(answered, x.status, x.latency)
		}
		x.client.gone()
		x.over()
	})
}

// pass returns how many bytes went to the client, and an error when it didn't even get
// the head of the answer.
func (t *tunnel) pass() (sent int64, err error) {
	if _, err := t.client.Write(t.head); err != nil {
		return 0, err
	}
	client := t.client
	if t.ws != nil {
		t.ws.begin()
		client = t.ws
	}
	return relay(client, t.early, t.upstream, t.late), nil
}

// cut breaks the connection off. The loop's lock is held.
func (t *tunnel) cut() {
	t.wasCut = true
	t.close()
}

func (t *tunnel) close() {
	for _, c := range []net.Conn{t.client, t.upstream} {
		if c != nil {
			c.Close()
		}
	}
}

// relay passes bytes both ways until both directions have ended, or one has broken.
// early is what the client has sent already, late what the upstream has. It returns the
// number of bytes that went to the client.
func relay(client net.Conn, early []byte, upstream net.Conn, late []byte) (sent int64) {
	var halfClosed atomic.Bool
	ended := make(chan error, 2)
	go func() {
		_, err := relayOneWay(upstream, early, client, &halfClosed)
		ended <- err
	}()
	go func() {
		n, err := relayOneWay(client, late, upstream, &halfClosed)
		sent = n
		ended <- err
	}()
	if err := <-ended; err != nil {
		client.Close()
		upstream.Close()
	} else {
		halfClosed.Store(true)
		client.SetReadDeadline(time.Now().Add(halfClosedLimit))
		upstream.SetReadDeadline(time.Now().Add(halfClosedLimit))
	}
	<-ended //nolint:errcheck // the other direction ends because this one has
	return sent
}

// relayOneWay copies first and then src to dst. At the end of src it ends dst and
// returns nil.
func relayOneWay(dst net.Conn, first []byte, src net.Conn, halfClosed *atomic.Bool) (n int64, err error) {
	written, err := dst.Write(first)
	n = int64(written)
	buffer := make([]byte, relaySize)
	for err == nil {
		if halfClosed.Load() {
			src.SetReadDeadline(time.Now().Add(halfClosedLimit))
		}
		got, readErr := src.Read(buffer)
		if got > 0 {
			written, err = dst.Write(buffer[:got])
			n += int64(written)
		}
		if err == nil && errors.Is(readErr, io.EOF) {
			return n, closeWrite(dst)
		}
		if readErr != nil {
			return n, readErr
		}
	}
	return n, err
}

// closeWrite sends the end of a direction and leaves the other open, where the
// connection can.
func closeWrite(conn net.Conn) error {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return io.ErrClosedPipe
	}
	return half.CloseWrite()
}
