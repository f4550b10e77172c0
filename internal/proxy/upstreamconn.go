package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// errHeadTooLarge is an answer whose head is bigger than allowed.
var errHeadTooLarge = errors.New("the head of the answer is too large")

// upstreamConn is a connection to an upstream, used for one exchange at a time. It
// counts what goes over it, which is what [retryable] has to know and the reason
// for not using http.Transport: that sends some requests again by itself, doesn't
// say how much it has written, and loses an answer that comes while it writes.
type upstreamConn struct {
	conn net.Conn
	r    *bufio.Reader

	reused    bool
	idleSince time.Time

	// wrote and got are the bytes of this exchange. wrote is also read while the
	// request's body is being written.
	wrote atomic.Int64
	got   int64
	// headLeft is how much more may be read for the head; negative is without
	// bound.
	headLeft int64

	mu sync.Mutex
	// awaiting is true until the head of the final answer has come. Deadlines
	// hold only so long: an answer may take any time.
	awaiting bool
}

func newUpstreamConn(conn net.Conn) *upstreamConn {
	c := &upstreamConn{conn: conn, headLeft: -1}
	c.r = bufio.NewReader(readFunc(c.read))
	return c
}

type readFunc func(b []byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }

func (c *upstreamConn) read(b []byte) (int, error) {
	if c.headLeft == 0 {
		return 0, errHeadTooLarge
	}
	if c.headLeft > 0 && int64(len(b)) > c.headLeft {
		b = b[:c.headLeft]
	}
	n, err := c.conn.Read(b)
	c.got += int64(n)
	if c.headLeft > 0 {
		c.headLeft -= int64(n)
	}
	return n, err
}

// Write writes a part of the request and counts it.
func (c *upstreamConn) Write(b []byte) (int, error) {
	n, err := c.conn.Write(b)
	c.wrote.Add(int64(n))
	return n, err
}

func (c *upstreamConn) close() { c.conn.Close() }

// begin makes ready for an exchange.
func (c *upstreamConn) begin() {
	c.wrote.Store(0)
	c.got = 0
	c.mu.Lock()
	c.awaiting = true
	c.mu.Unlock()
}

// whileAwaiting calls set, which sets deadlines, unless the head of the answer has
// come.
func (c *upstreamConn) whileAwaiting(set func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.awaiting {
		set()
	}
}

// awaitUntil bounds the wait for the head of the answer.
func (c *upstreamConn) awaitUntil(t time.Time) {
	c.whileAwaiting(func() { c.conn.SetReadDeadline(t) })
}

// headArrived ends the deadlines; clear ends those of others.
func (c *upstreamConn) headArrived(clear func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.awaiting = false
	c.conn.SetDeadline(time.Time{})
	clear()
}

// readHead reads the head of an answer, be it an informational one (1xx). The
// body of the response is still on the connection.
func (c *upstreamConn) readHead(req *http.Request, maxBytes int64) (*http.Response, error) {
	c.headLeft = maxBytes
	resp, err := http.ReadResponse(c.r, req)
	c.headLeft = -1
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 100 {
		return nil, fmt.Errorf("the answer has the status %d", resp.StatusCode)
	}
	return resp, nil
}

// quiet reports whether an idle connection is neither closed by the peer nor has
// bytes from it, which nobody asked for. It doesn't block or consume anything.
func quiet(conn net.Conn) bool {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	var quiet bool
	// Not raw.Read: that would wait for whoever reads the connection just now.
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
	})
	return err == nil && quiet
}

// isTimeout reports whether a deadline of a connection has passed.
func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
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
