package proxy

import (
	"slices"
	"syscall"
	"time"

	"github.com/segue-deploy/segue/internal/proxy/h1"
)

// idleUpstream is how long a connection to an upstream is kept for the next
// request. It is short since most upstreams are on this machine, where a new
// connection costs little, and since it must be shorter than the idle time of any
// common server (gunicorn 2 s, Node 5 s): the side that sends requests has to be
// the one that closes, or a request meets a connection being closed.
const idleUpstream = time.Second

// idleMargin is how much earlier a connection is closed than its upstream says that it
// does: what was sent in the last moment has to be there before.
const idleMargin = 500 * time.Millisecond

// idleLimit is how long a connection may be kept after an answer.
func idleLimit(head *h1.Response) time.Duration {
	if said, ok := head.IdleTime(); ok {
		return min(idleUpstream, said-idleMargin)
	}
	return idleUpstream
}

// pool is what one loop has of an upstream: its connections, and how many of its
// requests are there. It lives over all tables that have the same instance in the same
// release at the same target.
type pool struct {
	upstream *upstream
	loop     *loop
	account  *account
	// address is the upstream's; the calls that take one write to it.
	address address

	inFlight int64
	// open is set while new requests may come.
	open bool
	// handsBack is set when the upstream may hand uploads back. It stays so when the table
	// has it no more.
	handsBack bool

	// idle are the connections that wait for a request, if keep is set. The one used
	// last comes last and is taken first, so that those too many get old.
	keep bool
	idle []*upstreamConn
}

func newPool(l *loop, a *account, u *upstream) *pool {
	p := &pool{upstream: u, loop: l, account: a}
	// A table is validated before it comes here.
	p.address, _ = addressOf(u.target.Network, u.target.Address)
	return p
}

// take and give count a request that uses the pool, which may be nil.
func (p *pool) take() {
	if p != nil {
		p.inFlight++
	}
}

func (p *pool) give() {
	if p != nil {
		p.inFlight--
		p.upstream.leave()
	}
}

// giveBack gives back what [release.take] has reserved of the pool, which may be nil.
func (p *pool) giveBack() {
	if p != nil {
		p.upstream.leave()
	}
}

// setOpen says whether new requests may come, and whether connections are kept for
// them. When not, those that wait for one are closed.
func (p *pool) setOpen(open, keep bool) {
	p.open, p.keep = open, keep
	if !keep {
		p.closeIdle()
	}
}

func (p *pool) closeIdle() {
	for _, c := range p.idle {
		c.close()
	}
	clear(p.idle)
	p.idle = p.idle[:0]
	p.upstream.closeIdle()
}

// get returns an idle connection, or nil. One that the upstream has just closed may be
// among them: what the kernel has told of it may be a moment old, and to ask once more
// would cost every request a call. [upstreamConn.unread] proves it then.
func (p *pool) get() *upstreamConn {
	for len(p.idle) > 0 {
		last := len(p.idle) - 1
		c := p.idle[last]
		p.idle[last] = nil
		p.idle = p.idle[:last]
		if p.loop.now.Sub(c.idleSince) < c.idleLimit {
			p.loop.timers.set(&c.timer, time.Time{})
			return c
		}
		c.close()
	}
	return nil
}

// put keeps a connection for another request.
func (p *pool) put(c *upstreamConn) {
	c.exchange = nil
	if !p.keep || c.idleLimit <= 0 || c.ended || c.broken || (c.readable && !c.quiet()) {
		c.close()
		return
	}
	c.idleSince = p.loop.now
	p.idle = append(p.idle, c)
	p.loop.timers.set(&c.timer, c.idleSince.Add(c.idleLimit))
}

// connect begins a new connection. An error that says that the instance is not there
// ejects the upstream.
func (p *pool) connect() (*upstreamConn, error) {
	fd, done, err := connectFD(p.address)
	if err != nil {
		p.upstream.unreachable(err)
		return nil, err
	}
	c := &upstreamConn{pool: p, connecting: !done, acked: -1}
	c.timer.owner = c
	if err := c.watch(p.loop, fd, c); err != nil {
		closeFD(fd)
		return nil, err
	}
	c.writable = done
	return c, nil
}

// upstreamConn is a connection to an upstream, used for one exchange at a time.
type upstreamConn struct {
	socket
	pool *pool
	// exchange is the one that uses it; nil when it is idle.
	exchange   *exchange
	connecting bool
	idleSince  time.Time
	// idleLimit is how long it may be idle, by the answer before.
	idleLimit time.Duration
	timer     timer
	// written is how many bytes of requests were written to it, and acked how many the
	// kernel says were acknowledged before the first of those, or -1 when that proves
	// nothing.
	written, acked int64
}

// ready passes on to the exchange that something has happened. On an idle connection
// that is its end, or bytes that nobody asked for.
func (c *upstreamConn) ready() {
	switch {
	case c.exchange != nil:
		c.exchange.ready()
	case c.readable && !c.quiet():
		c.drop()
	}
}

// expire closes a connection that was idle for too long.
func (c *upstreamConn) expire() { c.drop() }

// drop closes an idle connection.
func (c *upstreamConn) drop() {
	if i := slices.Index(c.pool.idle, c); i >= 0 {
		c.pool.idle = slices.Delete(c.pool.idle, i, i+1)
	}
	c.close()
}

func (c *upstreamConn) close() {
	c.loop.timers.forget(&c.timer)
	c.socket.close()
	c.exchange = nil
}

// connected ends connecting, if it is at its end. It reports whether it is.
func (c *upstreamConn) connected() (bool, error) {
	if !c.writable && !c.broken {
		return false, nil
	}
	c.connecting = false
	err := connectedFD(c.fd)
	if err != nil {
		c.pool.upstream.unreachable(err)
		return true, err
	}
	c.acked = ackedFD(c.fd)
	return true, nil
}

// unread reports whether it is proved that the upstream has got none of the last bytes
// that were written: it has ended its direction, and its kernel has acknowledged none of
// them. Either alone proves nothing; the end acknowledges what came before it. Nor
// does a reset: what was read may never have been acknowledged. On a unix socket there
// is no need for a proof: what can't be read any more can't be written.
func (c *upstreamConn) unread(last int64) bool {
	return c.acked >= 0 && last > 0 && ackedFD(c.fd) == c.acked+c.written-last
}

// errConnectTimeout is the end of an attempt to connect that took too long.
const errConnectTimeout = syscall.ETIMEDOUT
