package proxy

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// clients are the connections of clients.
type clients struct {
	trusted []netip.Prefix
	stall   time.Duration
	limit   int

	accepted  atomic.Uint64
	malformed atomic.Uint64

	mu   sync.Mutex
	open map[*clientConn]struct{}
	// room is told when there is room for another one, or a listener closes.
	room sync.Cond
	// none, if not nil, is closed when the last one closes.
	none chan struct{}
}

func newClients(cfg *Config) *clients {
	c := &clients{
		trusted: cfg.TrustedProxies,
		stall:   cfg.StallTimeout,
		limit:   cfg.MaxConnections,
		open:    make(map[*clientConn]struct{}),
	}
	c.room.L = &c.mu
	return c
}

func (c *clients) count() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int64(len(c.open))
}

// gone returns a channel that is closed when no connection is open. No more must
// be accepted meanwhile.
func (c *clients) gone() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.none == nil {
		c.none = make(chan struct{})
		if len(c.open) == 0 {
			close(c.none)
		}
	}
	return c.none
}

func (c *clients) add(conn net.Conn) *clientConn {
	cc := &clientConn{Conn: conn, clients: c, idle: true, idleSince: time.Now()}
	cc.origin = origin{proto: "http"}
	if address, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
		ip := address.Addr().Unmap().WithZone("")
		cc.origin.ip = ip.String()
		for _, p := range c.trusted {
			cc.origin.trusted = cc.origin.trusted || p.Contains(ip)
		}
	}
	c.accepted.Add(1)
	c.mu.Lock()
	c.open[cc] = struct{}{}
	c.mu.Unlock()
	return cc
}

func (c *clients) remove(cc *clientConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, cc)
	c.room.Broadcast()
	if len(c.open) == 0 && c.none != nil {
		close(c.none)
		c.none = nil
	}
}

func (c *clients) all() []*clientConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]*clientConn, 0, len(c.open))
	for cc := range c.open {
		all = append(all, cc)
	}
	return all
}

// closeIdle closes the connections that have waited for a request for longer than
// limit. A request that is on its way just then is lost to it, as with any idle
// timeout; the longer the limit, the less likely.
func (c *clients) closeIdle(limit time.Duration) {
	now := time.Now()
	for _, cc := range c.all() {
		if cc.idleFor(now) >= limit && quiet(cc.Conn) {
			_ = cc.Close()
		}
	}
}

func (c *clients) closeAll() {
	for _, cc := range c.all() {
		_ = cc.Close()
	}
}

// clientListener accepts as long as there is room. Connections beyond wait in the
// kernel's queue.
type clientListener struct {
	net.Listener
	clients *clients
	// closed is guarded by clients.mu.
	closed bool
}

func (c *clients) listener(l net.Listener) *clientListener {
	return &clientListener{Listener: l, clients: c}
}

// Accept waits for room first, so that none is accepted and then left waiting.
func (l *clientListener) Accept() (net.Conn, error) {
	if !l.awaitRoom() {
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.clients.add(conn), nil
}

// awaitRoom returns false when the listener is closed.
func (l *clientListener) awaitRoom() bool {
	c := l.clients
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.open) >= c.limit && !l.closed {
		c.room.Wait()
	}
	return !l.closed
}

// Close stops accepting.
func (l *clientListener) Close() error {
	l.clients.mu.Lock()
	l.closed = true
	l.clients.mu.Unlock()
	l.clients.room.Broadcast()
	return l.Listener.Close()
}

// clientConn is a client's connection.
type clientConn struct {
	net.Conn
	clients *clients
	origin  origin
	once    sync.Once

	mu        sync.Mutex
	idle      bool
	idleSince time.Time

	// unanswered is set from the end of a request's head until it is answered
	// or handled. What net/http writes then is its refusal of the request: it
	// doesn't tell of these otherwise. The serving goroutine alone uses it.
	unanswered bool
}

// Read notes that the connection isn't idle.
func (c *clientConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.mu.Lock()
		c.idle = false
		c.mu.Unlock()
	}
	return n, err
}

// Write gives up when the client takes nothing for too long.
func (c *clientConn) Write(b []byte) (int, error) {
	if c.unanswered {
		c.unanswered = false
		c.clients.malformed.Add(1)
	}
	c.Conn.SetWriteDeadline(time.Now().Add(c.clients.stall))
	return c.Conn.Write(b)
}

// CloseWrite sends the end and leaves the other direction open.
func (c *clientConn) CloseWrite() error { return closeWrite(c.Conn) }

// Close closes the connection and makes room for another.
func (c *clientConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { c.clients.remove(c) })
	return err
}

// reset closes the connection so that the client can't take what it got for a
// whole answer, where the end of the connection is the end of the answer.
func (c *clientConn) reset() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	_ = c.Close()
}

// gone reports whether the client has closed the connection, or its direction of it.
func (c *clientConn) gone() bool { return endedByPeer(c.Conn) }

func (c *clientConn) setIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle, c.idleSince = true, time.Now()
}

// idleFor is how long the connection has waited for a request; 0 when it isn't.
func (c *clientConn) idleFor(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.idle {
		return 0
	}
	return max(now.Sub(c.idleSince), 1)
}
