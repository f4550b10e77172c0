package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// relaySize is how many bytes of an upgraded connection are passed on at a time after one
// direction has ended.
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
	toClient := t.client
	if t.ws != nil {
		t.ws.begin()
		toClient = t.ws
	}
	return t.relay(toClient), nil
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

// relay passes bytes both ways until both directions have ended, or one has broken. What
// goes to the client is written to toClient. It returns the number of those bytes.
func (t *tunnel) relay(toClient net.Conn) (sent int64) {
	var halfClosed atomic.Bool
	ended := make(chan error, 2)
	go func() {
		_, err := relayOneWay(t.upstream, t.early, t.client, &halfClosed)
		ended <- err
	}()
	go func() {
		n, err := relayOneWay(toClient, t.late, t.upstream, &halfClosed)
		sent = n
		ended <- err
	}()
	if err := <-ended; err != nil {
		t.close()
	} else {
		// Whatever waits for more of the other one has a limit from now on.
		halfClosed.Store(true)
		t.client.SetReadDeadline(time.Unix(1, 0))
		t.upstream.SetReadDeadline(time.Unix(1, 0))
	}
	<-ended //nolint:errcheck // the other direction ends because this one has
	return sent
}

// relayOneWay copies first and then src to dst. At the end of src it ends dst and
// returns nil.
func relayOneWay(dst net.Conn, first []byte, src net.Conn, halfClosed *atomic.Bool) (n int64, err error) {
	written, err := dst.Write(first)
	n = int64(written)
	if err == nil {
		// The kernel passes the bytes on where both are sockets (splice).
		var passed int64
		passed, err = io.Copy(dst, src)
		n += passed
	}
	if halfClosed.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
		var passed int64
		passed, err = relayRest(dst, src)
		n += passed
	}
	if err != nil {
		return n, err
	}
	return n, closeWrite(dst)
}

// relayRest copies src to dst after the other direction has ended, as long as something
// comes.
func relayRest(dst io.Writer, src net.Conn) (n int64, err error) {
	buffer := make([]byte, relaySize)
	for {
		src.SetReadDeadline(time.Now().Add(halfClosedLimit))
		got, readErr := src.Read(buffer)
		written, err := dst.Write(buffer[:got])
		n += int64(written)
		switch {
		case err != nil:
			return n, err
		case errors.Is(readErr, io.EOF):
			return n, nil
		case readErr != nil:
			return n, readErr
		}
	}
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
