package prove

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"
)

// idleLook is how long TLS may take to make something of bytes that are there.
const idleLook = time.Millisecond

// conn is a client's connection.
type conn struct {
	net.Conn
	raw syscall.RawConn
	// secured: there is TLS between raw and in.
	secured bool
	in      *bufio.Reader
	out     *bufio.Writer
	// requests is how many have been written to it; received how many bytes came
	// in since the last one was, ended that no more will.
	requests int
	received int64
	ended    bool
	uncut    func() bool
}

// newConn makes a connection of raw that breaks off when cutting ends.
func newConn(cutting context.Context, raw net.Conn) (*conn, error) {
	sc, is := raw.(syscall.Conn)
	if !is {
		raw.Close()
		return nil, fmt.Errorf("a %T can't be asked for its descriptor", raw)
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		raw.Close()
		return nil, err
	}
	c := &conn{Conn: raw, raw: rc}
	c.in = bufio.NewReader(counting{c})
	c.out = bufio.NewWriterSize(raw, 32<<10)
	c.uncut = context.AfterFunc(cutting, c.breakOff)
	return c, nil
}

// secure begins TLS.
func (c *conn) secure(ctx context.Context, config *tls.Config) error {
	secured := tls.Client(c.Conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("begin TLS: %w", err)
	}
	c.Conn, c.secured = secured, true
	c.out.Reset(secured)
	return nil
}

// counting counts what it reads.
type counting struct{ c *conn }

func (r counting) Read(b []byte) (int, error) {
	n, err := r.c.Conn.Read(b)
	r.c.received += int64(n)
	// The latter is TLS that ends without saying so.
	r.c.ended = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	return n, err
}

func (c *conn) close() {
	c.uncut()
	_ = c.Conn.Close() // nothing is left to be said on it
}

// breakOff ends whatever reads or writes.
func (c *conn) breakOff() { _ = c.SetDeadline(time.Unix(1, 0)) }

// limit sets the deadline of the next exchange.
func (c *conn) limit(cutting context.Context, deadline time.Time) {
	_ = c.SetDeadline(deadline) // fails on a closed connection, as will the rest
	if cutting.Err() != nil {
		c.breakOff() // the deadline may just have overwritten that of the cut
	}
}

func (c *conn) localPort() int {
	if a, is := c.LocalAddr().(*net.TCPAddr); is {
		return a.Port
	}
	return 0
}

func (c *conn) send(r *http.Request) error {
	c.requests++
	c.received = 0
	if err := r.Write(c.out); err != nil {
		return err
	}
	return c.out.Flush()
}

// receive reads the head of the final answer (RFC 9110 section 15.2: any number of
// interim ones may come before).
func (c *conn) receive(r *http.Request) (*http.Response, error) {
	for range 10 {
		resp, err := http.ReadResponse(c.in, r)
		if err != nil || resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, err
		}
	}
	return nil, errors.New("malformed: ten interim answers and no end")
}

// idleState is what a look at an unused connection shows.
type idleState int

const (
	alive idleState = iota
	closed
	reset
)

// idle looks whether the server has ended the connection, without waiting and
// without reading. One with bytes that nobody asked for is alive: they will be
// taken for the next request's answer, and found wrong.
func (c *conn) idle() idleState {
	var b [1]byte
	var n int
	var err error
	control := c.raw.Control(func(fd uintptr) {
		for {
			n, _, err = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			if !errors.Is(err, syscall.EINTR) {
				return
			}
		}
	})
	switch {
	case control != nil:
		return reset
	case err == nil && n == 0:
		return closed
	case err == nil && c.secured:
		return c.idleTLS()
	case err == nil, errors.Is(err, syscall.EAGAIN):
		return alive
	default:
		return reset
	}
}

// idleTLS looks into the bytes that are there: TLS says by some of them that it ends,
// and others are for nobody but TLS itself.
func (c *conn) idleTLS() idleState {
	_ = c.SetReadDeadline(time.Now().Add(idleLook)) // fails on a closed connection, as will the rest
	_, err := c.in.Peek(1)
	timeout, _ := errors.AsType[net.Error](err)
	switch {
	case err == nil, timeout != nil && timeout.Timeout():
		return alive
	case c.ended:
		return closed
	default:
		return reset
	}
}
