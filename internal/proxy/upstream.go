package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/segue-deploy/segue/internal/health"
)

// idleUpstream is how long a connection to an upstream is kept for the next
// request. It is short since most upstreams are on this machine, where a new
// connection costs little, and since it must be shorter than the idle time of any
// common server (gunicorn 2 s, Node 5 s): the side that sends requests has to be
// the one that closes, or a request meets a connection being closed.
const idleUpstream = time.Second

// upstream is an instance as requests see it. It lives over all tables that have
// the same instance in the same release at the same target.
type upstream struct {
	account *account
	id      string
	target  health.Target

	// inFlight changes under the account's lock only, and is read without it.
	inFlight atomic.Int64
	// open is set while new requests may come; the account's lock guards it.
	open bool

	condition condition
	idle      idleConns
}

func newUpstream(a *account, u Upstream) *upstream {
	up := &upstream{account: a, id: u.ID, target: u.Target}
	up.condition.ejected = make(chan struct{}, 1)
	// The engine has proved an instance before it gives it to the proxy.
	up.condition.healthy.Store(true)
	return up
}

// take and give count a request that uses the upstream; u may be nil. The
// account's lock is held.
func (u *upstream) take() {
	if u != nil {
		u.inFlight.Add(1)
	}
}

func (u *upstream) give() {
	if u != nil {
		u.inFlight.Add(-1)
	}
}

// setOpen says whether new requests may come, and whether connections are kept for
// them. When not, those that wait for one are closed.
func (u *upstream) setOpen(open, keep bool) {
	u.account.mu.Lock()
	u.open = open
	u.account.mu.Unlock()
	u.idle.setOpen(keep)
}

// connect returns a connection: one that is idle, unless fresh, or a new one.
// An error that says the instance is not there ejects the upstream.
func (u *upstream) connect(ctx context.Context, fresh bool, now time.Time, timeout time.Duration) (*upstreamConn, error) {
	if !fresh {
		if c := u.idle.get(now); c != nil {
			return c, nil
		}
	}
	dialer := net.Dialer{Timeout: timeout}
	conn, err := dialer.DialContext(ctx, u.target.Network, u.target.Address)
	if err != nil {
		if ctx.Err() == nil && !ownFault(err) {
			u.condition.eject(fmt.Sprintf("connect %s: %s", u.target.Address, reason(err)))
		}
		return nil, err
	}
	return newUpstreamConn(conn), nil
}

// ownFault reports whether a connection failed for a reason that says nothing
// about the instance: this process or this machine is out of something, or the
// queue of the instance's unix socket is full (EAGAIN).
func ownFault(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL, syscall.EAGAIN} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// reason is the innermost error: what went wrong, without where.
func reason(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// condition is whether an upstream is healthy, and why not.
type condition struct {
	// healthy sums up the two below.
	healthy atomic.Bool
	// ejected has capacity 1 and tells the prober of an ejection.
	ejected chan struct{}

	mu sync.Mutex
	// closed is the state of the gate of the health check, unreachable that a
	// request found nobody there and no probe has succeeded since.
	closed, unreachable bool
	message             string
}

// eject makes the upstream unhealthy until a probe succeeds.
func (c *condition) eject(message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unreachable = true
	c.message = message
	c.healthy.Store(false)
	select {
	case c.ejected <- struct{}{}:
	default:
	}
}

// probed takes the result of a probe and the state of its gate then. It returns
// whether the upstream is healthy now and whether that has changed.
func (c *condition) probed(err error, open bool) (healthy, changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.unreachable = false
	} else {
		c.message = err.Error()
	}
	c.closed = !open
	healthy = !c.closed && !c.unreachable
	if healthy {
		c.message = ""
	}
	return healthy, c.healthy.Swap(healthy) != healthy
}

// why is the reason for not being healthy.
func (c *condition) why() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.healthy.Load() {
		return ""
	}
	return c.message
}

// idleConns are an upstream's connections that wait for a request. The one used
// last comes first, so that those too many get old.
type idleConns struct {
	mu    sync.Mutex
	open  bool
	conns []*upstreamConn
}

// get takes a connection that is young enough and that the upstream hasn't closed.
func (p *idleConns) get(now time.Time) *upstreamConn {
	for {
		c := p.pop()
		if c == nil {
			return nil
		}
		if now.Sub(c.idleSince) < idleUpstream && quiet(c.conn) {
			c.reused = true
			return c
		}
		c.close()
	}
}

func (p *idleConns) pop() *upstreamConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.conns) == 0 {
		return nil
	}
	last := len(p.conns) - 1
	c := p.conns[last]
	p.conns[last] = nil
	p.conns = p.conns[:last]
	return c
}

// put gives a connection back after use; a closed upstream's is closed.
func (p *idleConns) put(c *upstreamConn, now time.Time) {
	c.idleSince = now
	p.mu.Lock()
	keep := p.open
	if keep {
		p.conns = append(p.conns, c)
	}
	p.mu.Unlock()
	if !keep {
		c.close()
	}
}

func (p *idleConns) setOpen(open bool) {
	p.mu.Lock()
	p.open = open
	var closing []*upstreamConn
	if !open {
		closing, p.conns = p.conns, nil
	}
	p.mu.Unlock()
	for _, c := range closing {
		c.close()
	}
}

// closeOld closes the connections that are idle for too long.
func (p *idleConns) closeOld(now time.Time) {
	p.mu.Lock()
	old := 0
	for old < len(p.conns) && now.Sub(p.conns[old].idleSince) >= idleUpstream {
		old++
	}
	closing := slices.Clone(p.conns[:old])
	p.conns = slices.Delete(p.conns, 0, old)
	p.mu.Unlock()
	for _, c := range closing {
		c.close()
	}
}
