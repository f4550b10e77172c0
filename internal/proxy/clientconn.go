package proxy

import (
	"net/netip"
	"syscall"
	"time"

	"github.com/segue-deploy/segue/internal/proxy/h1"
)

const (
	// lingerIdle and lingerTotal bound how long it is taken what a client still sends
	// after its last answer. Or else the answer would be lost to it with the reset that
	// a closed connection sends for bytes that weren't read (RFC 9112 section 9.6).
	lingerIdle  = time.Second
	lingerTotal = 10 * time.Second
	// maxEmptyLines is how many empty lines may come before a request (RFC 9112
	// section 2.2 asks for at least one).
	maxEmptyLines = 8
)

// clientConn is a client's connection. It waits for a request, has one answered, and
// begins again; at its end it lingers. What it holds while it waits is no more than
// this.
type clientConn struct {
	socket
	origin origin
	state  clientState
	// queued is set while it is in the loop's turns.
	queued bool
	// served is set when it has had an answer.
	served bool
	timer  timer
	// since is when it began to wait for a request, or to linger.
	since time.Time

	// in has what was read and not used yet, from start to end; nil is nothing. seen is
	// how much of that was searched for the end of a head.
	in               []byte
	start, end, seen int

	// exchange is the request that is being answered.
	exchange *exchange
}

type clientState uint8

const (
	// awaiting: nothing of a request has come.
	awaiting clientState = iota
	// inHead: a part of a head has come.
	inHead
	// busy: the exchange decides.
	busy
	// lingering: the last answer is out.
	lingering
)

func newClientConn(l *loop, from netip.Addr) *clientConn {
	c := &clientConn{origin: l.p.originOf(from), since: l.now}
	c.loop = l
	c.timer.owner = c
	// A client that connects before it has something to ask is as idle as between requests.
	l.timers.set(&c.timer, l.now.Add(l.p.cfg.IdleTimeout))
	return c
}

// ready does what there is to do.
func (c *clientConn) ready() {
	switch c.state {
	case busy:
		c.exchange.ready()
	case lingering:
		c.linger()
	default:
		if c.loop.passer != nil && !c.broken {
			c.pass()
			return
		}
		c.await()
	}
}

// expire is called when the time of a state is up.
func (c *clientConn) expire() {
	if c.state == busy {
		c.exchange.expire()
		return
	}
	c.close()
}

// await reads until there is a head, and begins its exchange.
func (c *clientConn) await() {
	if c.broken {
		c.close()
		return
	}
	for {
		if c.unread() > 0 && c.begin() {
			return
		}
		if !c.readable {
			c.shrink()
			return
		}
		c.fill()
		n, errno := c.read(c.in[c.end:])
		switch {
		case errno == syscall.EAGAIN:
			c.giveBack()
			c.shrink()
			return
		case errno != 0 || n == 0:
			c.close()
			return
		}
		c.end += n
	}
}

// begin begins the exchange of the request whose head is here, or refuses what can't be
// one. It reports whether it did.
func (c *clientConn) begin() bool {
	limit := c.loop.p.cfg.MaxHeaderBytes
	for lines := 0; c.seen < 2 && c.unread() >= 2 && c.in[c.start] == '\r' && c.in[c.start+1] == '\n'; lines++ {
		if lines == maxEmptyLines {
			return c.refuse(&h1.Error{Status: 400, Reason: "there are too many empty lines"})
		}
		c.start += 2
		c.seen = 0
	}
	if c.unread() == 0 {
		c.giveBack()
		return false
	}
	head, err := h1.EndOfHead(c.in[c.start:c.end], c.seen)
	switch {
	case err != nil:
		return c.refuse(err)
	case head > limit, head == 0 && c.unread() >= limit:
		return c.refuse(&h1.Error{Status: 431, Reason: "the head of the request is too large"})
	case head == 0:
		c.seen = c.unread()
		if c.state == awaiting {
			c.state = inHead
			c.loop.timers.set(&c.timer, c.loop.now.Add(c.loop.p.cfg.ReadHeaderTimeout))
		}
		return false
	}
	if head == len(http2Preface) && !c.served && string(c.in[c.start:c.start+head]) == http2Preface {
		c.toDoor(nil, true)
		return true
	}
	c.state = busy
	x := c.loop.newExchange(c)
	x.raw = append(x.raw[:0], c.in[c.start:c.start+head]...)
	c.use(head)
	x.begin()
	return true
}

// refuse answers what can't be read as a request.
func (c *clientConn) refuse(err error) bool {
	c.state = busy
	c.loop.newExchange(c).refuseHead(err)
	return true
}

// next makes ready for the next request.
func (c *clientConn) next() {
	c.exchange = nil
	c.state = awaiting
	c.served = true
	c.since = c.loop.now
	c.loop.timers.set(&c.timer, c.loop.now.Add(c.loop.p.cfg.IdleTimeout))
	if c.readable || c.unread() > 0 || c.loop.passer != nil {
		c.loop.again(c)
	}
}

// finish ends the connection after its last answer: it tells the client so, and takes
// what that still sends.
func (c *clientConn) finish() {
	c.exchange = nil
	shutdownWriteFD(c.fd)
	c.use(c.unread())
	c.state = lingering
	c.since = c.loop.now
	c.readable = true
	c.linger()
}

func (c *clientConn) linger() {
	end := c.since.Add(lingerTotal)
	for turns := 0; c.readable; turns++ {
		if turns == turnsAtOnce {
			c.loop.again(c)
			break
		}
		n, errno := c.read(c.loop.scratch)
		if errno == syscall.EAGAIN {
			break
		}
		if errno != 0 || n == 0 || !c.loop.now.Before(end) {
			c.close()
			return
		}
	}
	until := c.loop.now.Add(lingerIdle)
	if end.Before(until) {
		until = end
	}
	c.loop.timers.set(&c.timer, until)
}

// unread is how many bytes were read and not used.
func (c *clientConn) unread() int { return c.end - c.start }

// use takes bytes from what was read.
func (c *clientConn) use(n int) {
	c.start += n
	c.seen = 0
	c.giveBack()
}

// putBack keeps bytes that were read too early. Nothing else is unread.
func (c *clientConn) putBack(b []byte) {
	c.in = append(c.loop.buffers.get()[:0], b...)
	c.in = c.in[:cap(c.in)]
	c.start, c.end = 0, len(b)
}

// giveBack gives the buffer back if nothing is in it.
func (c *clientConn) giveBack() {
	if c.start == c.end && c.in != nil {
		c.loop.buffers.put(c.in)
		c.in, c.start, c.end, c.seen = nil, 0, 0, 0
	}
}

// shrink makes what is unread take no more memory than it needs, since nobody knows how
// long it will have to wait.
func (c *clientConn) shrink() {
	if n := c.unread(); n > 0 && n < smallSize && len(c.in) > smallSize {
		small := make([]byte, smallSize)
		copy(small, c.in[c.start:c.end])
		c.loop.buffers.put(c.in)
		c.in, c.start, c.end = small, 0, n
	}
}

// fill makes room for more.
func (c *clientConn) fill() {
	switch {
	case c.in == nil:
		c.in, c.start, c.end = c.loop.buffers.get(), headRoom, headRoom
	case c.end < len(c.in):
	case c.start > 0:
		copy(c.in, c.in[c.start:c.end])
		c.start, c.end = 0, c.unread()
	case len(c.in) < bufferSize:
		big := c.loop.buffers.get()
		c.start, c.end = headRoom, headRoom+copy(big[headRoom:], c.in)
		c.in = big
	default:
		c.in = append(c.in, make([]byte, len(c.in))...)
	}
}

// close closes the connection and makes room for another.
func (c *clientConn) close() {
	if !c.watched() {
		return
	}
	c.socket.close()
	c.gone()
}

// gone forgets a connection that is not this proxy's any more.
func (c *clientConn) gone() {
	c.forgetIn()
	c.loop.p.clients.release()
}

// forgetIn has nothing in the loop lead to the connection.
func (c *clientConn) forgetIn() {
	c.loop.timers.forget(&c.timer)
	c.start, c.end = 0, 0
	c.giveBack()
	c.loop.load.Add(-1)
}

// reset closes the connection so that the client can't take what it got for a
// whole answer, where the end of the connection is the end of the answer.
func (c *clientConn) reset() {
	resetFD(c.fd)
	c.close()
}

// idleFor is how long the connection has waited for a request; 0 when it doesn't.
func (c *clientConn) idleFor() time.Duration {
	if c.state != awaiting || c.unread() > 0 {
		return 0
	}
	return max(c.loop.now.Sub(c.since), 1)
}
