package proxy

import (
	"net/netip"
	"sync/atomic"
)

// clients counts the open connections of clients over all loops.
type clients struct {
	limit int64
	open  atomic.Int64
	// full is set when a loop has stopped accepting for want of room.
	full atomic.Bool
	// changed tells of room where there was none, and of the end of the last one.
	changed func()
}

// reserve makes room for a connection, or reports that there is none.
func (c *clients) reserve() bool {
	if c.open.Add(1) <= c.limit {
		return true
	}
	c.full.Store(true)
	c.release()
	return false
}

func (c *clients) hasRoom() bool { return c.open.Load() < c.limit }

// release gives the room of a connection back.
func (c *clients) release() {
	if left := c.open.Add(-1); left == 0 || c.full.Load() && left < c.limit {
		c.full.Store(false)
		c.changed()
	}
}

// originOf says where the requests of a client come from.
func (p *Proxy) originOf(ip netip.Addr) origin {
	var o origin
	if !ip.IsValid() {
		return o
	}
	o.ip = ip.String()
	for _, trusted := range p.cfg.TrustedProxies {
		o.trusted = o.trusted || trusted.Contains(ip)
	}
	return o
}
