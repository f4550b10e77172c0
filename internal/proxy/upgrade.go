package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// halfClosedLimit is how long the other direction of an upgraded connection may be
// silent after one has ended.
const halfClosedLimit = time.Minute

// switchProtocols passes on an upgraded connection (RFC 9110 section 7.8) until
// both sides are done with it. It is in flight so long.
func (t *transfer) switchProtocols(ctx context.Context, x *exchange) {
	defer x.conn.close()
	conn, buffered, err := http.NewResponseController(t.w).Hijack()
	if err != nil {
		t.end(t.orGone(ctx, broken))
		t.explain(t.result)
		return
	}
	defer conn.Close()
	ws := newWebSocket(conn, t.upgrade)
	if ws != nil {
		t.flight.goAway = ws.goAway
	}
	t.flight.account.upgrade(&t.flight)
	t.status = http.StatusSwitchingProtocols
	if _, err := conn.Write(t.switchHead(x.resp)); err != nil {
		t.end(t.orCut(ctx, clientGone))
		return
	}
	if ws != nil {
		ws.begin()
		conn = ws
	}
	early, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
	t.sent = relay(conn, early, x.conn)
	if t.orCut(ctx, answered) == cut {
		t.end(cut)
		return
	}
	t.result = answered
	t.latency = time.Since(t.start)
	t.flight.end(answered, t.status, t.latency)
}

// switchHead is the head of the answer that changes the protocol.
func (t *transfer) switchHead(resp *http.Response) []byte {
	h := make(http.Header)
	answerHeader(h, resp, t.id)
	t.setCookie(h)
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", t.upgrade)
	var head bytes.Buffer
	fmt.Fprintf(&head, "HTTP/1.1 %d %s\r\n", resp.StatusCode, http.StatusText(resp.StatusCode))
	_ = h.Write(&head) // to a buffer, which can't fail
	head.WriteString("\r\n")
	return head.Bytes()
}

// relay passes bytes both ways until both directions have ended, or one has broken.
// early is what the client has sent already. It returns the number of bytes that
// went to the client.
func relay(client net.Conn, early []byte, upstream *upstreamConn) (sent int64) {
	var halfClosed atomic.Bool
	ended := make(chan error, 2)
	fromUpstream, _ := upstream.r.Peek(upstream.r.Buffered())
	go func() {
		_, err := relayOneWay(upstream.conn, early, client, &halfClosed)
		ended <- err
	}()
	go func() {
		n, err := relayOneWay(client, fromUpstream, upstream.conn, &halfClosed)
		sent = n
		ended <- err
	}()
	if err := <-ended; err != nil {
		client.Close()
		upstream.close()
	} else {
		halfClosed.Store(true)
		client.SetReadDeadline(time.Now().Add(halfClosedLimit))
		upstream.conn.SetReadDeadline(time.Now().Add(halfClosedLimit))
	}
	<-ended //nolint:errcheck // the other direction ends because this one has
	return sent
}

// relayOneWay copies first and then src to dst. At the end of src it ends dst and
// returns nil.
func relayOneWay(dst net.Conn, first []byte, src net.Conn, halfClosed *atomic.Bool) (n int64, err error) {
	written, err := dst.Write(first)
	n = int64(written)
	buffer := make([]byte, copyBuffer)
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
