package proxy

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// http2Preface is the first thing that a client sends that speaks HTTP/2 (RFC 9113 section
// 3.4), up to where a head of HTTP/1.1 would end.
const http2Preface = "PRI * HTTP/2.0\r\n\r\n"

// door serves the clients' connections that the loops can't, with a goroutine for each
// request and the servers of net/http: those of clients that speak HTTP/2, and those on
// which a request for a service came that does. A connection comes here from its loop with
// its descriptor and what was read of it, and stays. What its requests do (call.go) is
// counted in that loop.
type door struct {
	// http1 and http2 are apart since they end in different ways.
	http1, http2 doorServer
	running      sync.WaitGroup

	mu sync.Mutex
	// idle are the connections of http1 that wait for a request, and since when.
	idle map[net.Conn]time.Time
}

type doorServer struct {
	*http.Server
	conns handovers
}

func newDoor(p *Proxy) *door {
	d := &door{idle: make(map[net.Conn]time.Time)}
	for s, protocol := range map[*doorServer]func(*http.Protocols, bool){
		&d.http1: (*http.Protocols).SetHTTP1,
		&d.http2: (*http.Protocols).SetUnencryptedHTTP2,
	} {
		protocols := new(http.Protocols)
		protocol(protocols, true)
		s.conns = handovers{conns: make(chan net.Conn), closed: make(chan struct{})}
		s.Server = &http.Server{
			Handler:           http.HandlerFunc(p.serveCall),
			Protocols:         protocols,
			ReadHeaderTimeout: p.cfg.ReadHeaderTimeout,
			IdleTimeout:       p.cfg.IdleTimeout,
			MaxHeaderBytes:    p.cfg.MaxHeaderBytes,
			ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, doorConnKey{}, c) },
			ErrorLog:          slog.NewLogLogger(p.cfg.Logger.Handler(), slog.LevelDebug),
			HTTP2: &http.HTTP2Config{
				// A client that has gone without a word looks like one that is silent.
				SendPingTimeout:  p.cfg.StallTimeout / 2,
				PingTimeout:      p.cfg.StallTimeout / 2,
				WriteByteTimeout: p.cfg.StallTimeout,
			},
		}
	}
	d.http1.ConnState = d.follow
	d.http2.conns.farewell = http2Farewell()
	return d
}

// http2Farewell is what a server says that takes no streams: no settings, and GOAWAY with
// none that it has seen, so that the client asks elsewhere (RFC 9113 sections 4.1, 6.5 and
// 6.8).
func http2Farewell() []byte {
	return append(
		[]byte{0, 0, 0, 4, 0, 0, 0, 0, 0},
		0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
}

// open has connections be served.
func (d *door) open() {
	for _, s := range []*doorServer{&d.http1, &d.http2} {
		d.running.Go(func() { _ = s.Serve(&s.conns) }) // it says only that it was closed
	}
}

// take serves a connection from now on. It doesn't block.
func (d *door) take(c *doorConn, http2 bool) {
	s := &d.http1
	if http2 {
		s = &d.http2
	}
	d.running.Go(func() { s.conns.hand(c) })
}

// leave tells the clients that speak HTTP/2 to go when all that they wait for has come,
// which loses nothing (GOAWAY, RFC 9113 section 6.8). The others are told by their next
// answer.
func (d *door) leave() {
	d.running.Go(func() { _ = d.http2.Shutdown(context.Background()) })
}

// closeIdle closes the connections that have waited for a request for longer than limit.
func (d *door) closeIdle(limit time.Duration) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for c, since := range d.idle {
		if now.Sub(since) >= limit {
			// Not by this goroutine, since that takes a lock, and calls back.
			d.running.Go(func() { c.Close() })
		}
	}
}

// follow keeps the book of idle connections.
func (d *door) follow(c net.Conn, state http.ConnState) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if state == http.StateIdle {
		d.idle[c] = time.Now()
	} else {
		delete(d.idle, c)
	}
}

// close closes what is left, and returns when nothing runs any more.
func (d *door) close() {
	for _, s := range []*doorServer{&d.http1, &d.http2} {
		_ = s.Close()
		_ = s.conns.Close()
	}
	d.running.Wait()
}

// handovers are a listener of connections that were accepted elsewhere.
type handovers struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	// farewell goes to those that come when it is closed.
	farewell []byte
}

func (h *handovers) hand(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.closed:
		sayFarewell(c, h.farewell)
	}
}

// sayFarewell tells a client to go. What it has sent by then is taken, or else the reset
// that a closed connection sends for it would overtake the farewell.
func sayFarewell(c net.Conn, farewell []byte) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(lingerIdle))
	if _, err := c.Write(farewell); err == nil && closeWrite(c) == nil {
		_, _ = io.Copy(io.Discard, c)
	}
}

// Accept is part of net.Listener.
func (h *handovers) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close is part of net.Listener.
func (h *handovers) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr is part of net.Listener.
func (h *handovers) Addr() net.Addr { return &net.TCPAddr{} }

// doorConn is a client's connection that has left its loop.
type doorConn struct {
	net.Conn
	client *clientConn
	// early is what the loop has read of it.
	early bytes.Reader
	once  sync.Once
}

// doorConnKey is the key of a request's doorConn in its context.
type doorConnKey struct{}

func (c *doorConn) Read(p []byte) (int, error) {
	if c.early.Len() > 0 {
		return c.early.Read(p)
	}
	return c.Conn.Read(p)
}

// CloseWrite sends the end and leaves the other direction open, as net/http does before it
// closes a connection on which a client may be sending.
func (c *doorConn) CloseWrite() error { return closeWrite(c.Conn) }

// Close also has the loop forget the connection. It takes the loop's lock.
func (c *doorConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { c.client.loop.do(c.client.gone) })
	return err
}

// toDoor has the door serve the connection, on which early was read before all that is
// unread still.
func (c *clientConn) toDoor(early []byte, http2 bool) {
	early = append(bytes.Clone(early), c.in[c.start:c.end]...)
	c.loop.timers.forget(&c.timer)
	c.start, c.end = 0, 0
	c.giveBack()
	conn, err := connOf(c.release())
	if err != nil {
		c.loop.p.cfg.Logger.Warn("a client's connection is lost", "reason", err)
		c.gone()
		return
	}
	d := &doorConn{Conn: conn, client: c}
	d.early.Reset(early)
	c.loop.p.door.take(d, http2)
}

// toDoor leaves the exchange's request to the door, which reads it anew.
func (x *exchange) toDoor() {
	c, head := x.client, x.raw
	x.request.Method = nil // it isn't over, and not to be written down
	c.toDoor(head, false)
	x.over()
}

// speaksHTTP2 reports whether a request is for a service that the loops can't speak to.
func (c *compiled) speaksHTTP2(host, path string) bool {
	if c == nil || !c.http2 {
		return false
	}
	s := c.find(host, path)
	return s != nil && s.http2
}
