package proxy

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/segue-deploy/segue/internal/health"
)

// upstream is an instance as the proxy sees it, which all loops share. It lives over all
// tables that have the same instance in the same release at the same target, with the same
// limit and ejection.
type upstream struct {
	key       upstreamKey
	id        string
	target    health.Target
	condition condition
	// since is when the first table came that has it.
	since time.Time

	// byDoor is what the door has of it; nil before the first request.
	byDoor atomic.Pointer[http.Transport]

	ejection Ejection
	// failures is how many requests in a row have failed.
	failures atomic.Int64
	// limit is how many requests of all loops may be in flight, of which there are load;
	// 0 is any number, which isn't counted then. line has those that wait for room.
	limit int64
	load  atomic.Int64
	line  *line
}

func newUpstream(key upstreamKey, line *line) *upstream {
	up := &upstream{key: key, id: key.ID, target: key.Target, since: time.Now(), ejection: key.ejection, limit: int64(key.limit), line: line}
	up.condition.ejected = make(chan struct{}, 1)
	// The engine has proved an instance before it gives it to the proxy.
	up.condition.healthy.Store(true)
	return up
}

// transport is how the door reaches the upstream.
func (u *upstream) transport(cfg *Config) *http.Transport {
	if t := u.byDoor.Load(); t != nil {
		return t
	}
	dialer := net.Dialer{Timeout: cfg.ConnectTimeout}
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			began := time.Now()
			for {
				conn, err := dialer.DialContext(ctx, u.target.Network, u.target.Address)
				if err == nil {
					return conn, nil
				}
				// As in notConnected.
				if !health.Starved(err) || time.Since(began) >= cfg.ConnectTimeout || ctx.Err() != nil {
					return nil, &dialError{err}
				}
				time.Sleep(acceptPause)
			}
		},
		DisableCompression:     true,
		ResponseHeaderTimeout:  cfg.ResponseHeaderTimeout,
		MaxResponseHeaderBytes: int64(cfg.maxAnswerHead()),
		MaxIdleConnsPerHost:    math.MaxInt,
		IdleConnTimeout:        idleUpstream,
		Protocols:              new(http.Protocols),
	}
	t.Protocols.SetHTTP1(!u.target.H2C)
	t.Protocols.SetUnencryptedHTTP2(u.target.H2C)
	if !u.byDoor.CompareAndSwap(nil, t) {
		return u.byDoor.Load()
	}
	return t
}

// dialError is that of an attempt to connect.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

// closeIdle closes the door's connections that wait for a request.
func (u *upstream) closeIdle() {
	if t := u.byDoor.Load(); t != nil {
		t.CloseIdleConnections()
	}
}

// unreachable ejects the upstream, if the error says that the instance is not there.
func (u *upstream) unreachable(err error) {
	if !ownFault(err) {
		u.condition.eject(fmt.Sprintf("connect %s: %s", u.target.Address, reason(err)))
		u.healthChanged()
	}
}

// healthChanged has somebody look for room again: who is healthy decides where.
func (u *upstream) healthChanged() {
	if u.limit > 0 {
		u.line.call()
	}
}

// hasRoom reports whether another request may be in flight.
func (u *upstream) hasRoom() bool { return u.limit == 0 || u.load.Load() < u.limit }

// enter counts another request in, if there is room. The count is never higher than the
// limit, not even for a moment: somebody else would see no room where there is.
func (u *upstream) enter() bool {
	if u.limit == 0 {
		return true
	}
	for {
		n := u.load.Load()
		if n >= u.limit {
			return false
		}
		if u.load.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// leave counts a request out that had been counted in.
func (u *upstream) leave() {
	if u.limit > 0 {
		u.load.Add(-1)
		u.line.call()
	}
}

// ownFault reports whether a connection failed for a reason that says nothing
// about the instance: this process or this machine is out of something, or the
// queue of the instance's unix socket is full (EAGAIN).
func ownFault(err error) bool {
	return health.Starved(err) || errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAGAIN)
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
	// healthy sums up the three below.
	healthy atomic.Bool
	// ejected has capacity 1 and tells the prober of an ejection.
	ejected chan struct{}

	mu sync.Mutex
	// closed is the state of the gate of the health check, unreachable that a
	// request found nobody there and no probe has succeeded since.
	closed, unreachable bool
	message             string
	// failing is set while it is ejected because requests failed there, which lasts out,
	// at least until readmit.
	failing bool
	out     time.Duration
	readmit time.Time
}

// eject makes the upstream unhealthy until a probe succeeds.
func (c *condition) eject(message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unreachable = true
	c.message = message
	c.tellEjected()
}

func (c *condition) tellEjected() {
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
	c.failing = c.failing && time.Now().Before(c.readmit)
	healthy = !c.closed && !c.unreachable && !c.failing
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
