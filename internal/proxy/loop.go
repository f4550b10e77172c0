package proxy

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// acceptsAtOnce is how many connections a loop accepts before it goes on with
	// those that it has.
	acceptsAtOnce = 16
	// acceptPause is how long a loop waits when this process or machine is out of
	// descriptors or memory.
	acceptPause = 50 * time.Millisecond
)

// loop serves a part of the clients' connections, with connections to upstreams and
// counts of its own. It has one lock, which is held while it works off what has
// happened, and let go while it waits. Whoever has the lock may look at everything here,
// and do as the loop would.
type loop struct {
	p      *Proxy
	poller *poller

	mu sync.Mutex
	// now is the time at which what happens now is counted.
	now    time.Time
	timers timers
	slots  slots
	// turns are clients' connections that have more to do than they may at a time.
	turns, spareTurns []*clientConn

	table    *compiled
	registry *registry
	// held are the requests that wait in a hold or in a queue.
	held flightList

	buffers buffers
	pipes   pipes
	// scratch is for what is read to be forgotten, or used before the next read.
	scratch   []byte
	exchanges []*exchange
	dates     dateCache
	counts    counts

	// load is how many clients' connections there are, with those in the inbox. Other
	// loops look at it.
	load atomic.Int64

	listeners []int
	// accepting is set while the listeners are watched.
	accepting bool
	pause     timer
	ended     bool

	// passer takes the connections that wait for a request, once another proxy has taken
	// over; nil while they stay.
	passer *passer

	inbox inbox
}

// counts are those that belong to no service.
type counts struct{ accepted, unrouted, malformed uint64 }

func newLoop(p *Proxy) *loop {
	l := &loop{p: p, now: time.Now(), scratch: make([]byte, pieceSize)}
	l.timers.began = l.now
	l.registry = newRegistry(l, p.shared)
	l.pause.owner = (*pausedAccept)(l)
	return l
}

// run is the main loop of the data plane.
func (l *loop) run() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.ended {
		timeout := l.untilNext()
		l.mu.Unlock()
		n := l.poller.wait(timeout)
		l.mu.Lock()
		l.now = time.Now()
		for i := range n {
			l.handle(l.poller.event(i))
		}
		l.timers.run(l.now)
		l.takeTurns()
		l.takeInbox()
		l.takeCalls()
	}
}

// untilNext is how long nothing has to be done if nothing happens; negative is for ever.
func (l *loop) untilNext() time.Duration {
	next := l.timers.next()
	switch {
	case len(l.turns) > 0:
		return 0
	case next.IsZero():
		return -1
	}
	return max(time.Until(next), 0)
}

func (l *loop) handle(e event) {
	switch {
	case e.slot == wakerSlot:
	case e.slot <= listenerSlot && !l.accepting:
	case e.slot <= listenerSlot:
		l.accept(l.listeners[listenerSlot-e.slot])
	default:
		s := l.slots.find(e.ticket)
		if s == nil {
			return // it was closed after this had happened
		}
		s.readable = s.readable || e.readable
		s.writable = s.writable || e.writable
		s.ended = s.ended || e.ended
		s.broken = s.broken || e.broken
		s.handler.ready()
	}
}

// again has a client's connection go on after others had their turn.
func (l *loop) again(c *clientConn) {
	if !c.queued {
		c.queued = true
		l.turns = append(l.turns, c)
	}
}

func (l *loop) takeTurns() {
	now := l.turns
	l.turns, l.spareTurns = l.spareTurns[:0], now
	for _, c := range now {
		c.queued = false
		if c.watched() {
			c.ready()
		}
	}
	clear(now)
}

// do has another goroutine do something with what the loop has.
func (l *loop) do(something func()) {
	l.mu.Lock()
	l.now = time.Now()
	something()
	l.mu.Unlock()
	l.wake()
}

// wake has the loop look at its lists, if it runs. No lock is needed.
func (l *loop) wake() {
	l.inbox.mu.Lock()
	defer l.inbox.mu.Unlock()
	if l.inbox.poller != nil {
		l.inbox.poller.wake()
	}
}

// open gives the loop what it needs to run.
func (l *loop) open(poller *poller, listeners []int) {
	l.poller, l.listeners = poller, listeners
	l.inbox.mu.Lock()
	l.inbox.poller = poller
	l.inbox.mu.Unlock()
}

// close closes what open was given, after run has returned.
func (l *loop) close() {
	l.inbox.mu.Lock()
	l.inbox.poller = nil
	l.inbox.mu.Unlock()
	l.poller.close()
}

// apply puts a table in force in this loop, and has the requests that wait choose by it.
func (l *loop) apply(next *compiled) {
	l.table = next
	l.registry.follow(l.table)
	for _, f := range l.held.all() {
		if f.waits() {
			f.goOn()
		}
	}
}

// listen begins to watch the listeners.
func (l *loop) listen() {
	if l.accepting || l.ended {
		return
	}
	l.accepting = true
	for n, fd := range l.listeners {
		if err := l.poller.addListener(fd, n); err != nil {
			l.p.fail(err)
		}
	}
}

// deafen ends watching the listeners. It is needed also when they are closed, since
// another process may have them.
func (l *loop) deafen() {
	if l.accepting {
		for _, fd := range l.listeners {
			l.poller.remove(fd)
		}
	}
	l.accepting = false
	l.timers.forget(&l.pause)
}

// accept takes connections as long as there is room for them. Those beyond wait in the
// kernel's queue. Each goes to the loop that has the fewest.
func (l *loop) accept(listener int) {
	for range acceptsAtOnce {
		if !l.accepting {
			return
		}
		if !l.p.clients.reserve() {
			l.deafen()
			return
		}
		fd, from, errno := acceptFD(listener)
		if errno != 0 {
			l.p.clients.release()
			l.acceptFailed(errno)
			return
		}
		l.counts.accepted++
		to := l.p.leastBusy(l)
		to.load.Add(1)
		if to != l {
			to.hand(handed{fd: fd, from: from})
			continue
		}
		l.adopt(handed{fd: fd, from: from})
	}
}

func (l *loop) acceptFailed(errno syscall.Errno) {
	switch {
	case errno == syscall.EAGAIN, errno == syscall.ECONNABORTED, errno == syscall.EINTR, errno == syscall.EPROTO:
		// Another loop was first, or the client has gone.
	case ownFault(errno):
		l.acceptLater(errno)
	default:
		l.deafen()
		l.p.fail(fmt.Errorf("accept connections: %w", errno))
	}
}

// acceptLater accepts no connection for a moment, for want of what another one would take.
func (l *loop) acceptLater(reason error) {
	paused := l.pause.due != 0
	if !l.accepting && !paused {
		return // It doesn't for another reason, which lasts.
	}
	if !paused {
		l.p.cfg.Logger.Warn("clients have to wait", "reason", reason)
	}
	l.deafen()
	l.timers.set(&l.pause, l.now.Add(acceptPause))
}

// pausedAccept is a loop when its pause is over.
type pausedAccept loop

func (p *pausedAccept) expire() { (*loop)(p).listen() }

// adopt serves a connection from now on.
func (l *loop) adopt(h handed) {
	c := newClientConn(l, h.from)
	c.resume(&h)
	if err := c.watch(l, h.fd, c); err != nil {
		closeFD(h.fd)
		c.gone()
		l.p.cfg.Logger.Warn("a client's connection is lost", "reason", err)
		return
	}
	// It has sent something as a rule.
	c.readable, c.writable = true, true
	c.ready()
}

// inbox is what others reach without the loop's lock: the connections that other loops
// have accepted for this one, the places in lines that were called, and the poller, while the loop runs.
type inbox struct {
	mu     sync.Mutex
	conns  []handed
	calls  []*place
	poller *poller
}

// handed is a client's connection on its way to a loop, be it in another process.
type handed struct {
	fd   int
	from netip.Addr
	// begun is set when it was served before: left is how long it may go on to be as it
	// is, unread what was read of it, and inHead whether that is the beginning of a head.
	begun, inHead bool
	left          time.Duration
	unread        []byte
}

// hand gives a connection to this loop; the loop that does so has its own lock only.
func (l *loop) hand(h handed) {
	l.inbox.mu.Lock()
	l.inbox.conns = append(l.inbox.conns, h)
	l.inbox.mu.Unlock()
	l.wake()
}

func (l *loop) takeInbox() {
	l.inbox.mu.Lock()
	conns := l.inbox.conns
	l.inbox.conns = nil
	l.inbox.mu.Unlock()
	for _, h := range conns {
		l.adopt(h)
	}
	if l.p.clients.hasRoom() && l.p.accepting.Load() && l.pause.index == 0 {
		l.listen()
	}
}

// call has a request here look for room; whoever does so has the line's lock, and may have
// the lock of another loop.
func (l *loop) call(p *place) {
	l.inbox.mu.Lock()
	l.inbox.calls = append(l.inbox.calls, p)
	l.inbox.mu.Unlock()
	l.wake()
}

// takeCalls follows the calls. It reports whether there were any.
func (l *loop) takeCalls() bool {
	l.inbox.mu.Lock()
	calls := l.inbox.calls
	l.inbox.calls = nil
	l.inbox.mu.Unlock()
	for _, p := range calls {
		p.come()
	}
	return len(calls) > 0
}

// clients returns the clients' connections that the loop watches.
func (l *loop) clients() []*clientConn {
	var all []*clientConn
	for i := range l.slots.list {
		if s := l.slots.list[i].socket; s != nil {
			if c, ok := s.handler.(*clientConn); ok {
				all = append(all, c)
			}
		}
	}
	return all
}

// cutAll breaks off everything.
func (l *loop) cutAll() {
	for _, a := range l.registry.accounts {
		for _, f := range a.flights.all() {
			if f.list != nil {
				f.owner.cut()
			}
		}
	}
	for _, f := range l.held.all() {
		if f.waits() {
			f.owner.cut()
		}
	}
	for _, c := range l.clients() {
		if c.exchange != nil {
			c.exchange.gone()
		}
		c.close()
	}
}

// end has the loop end, and closes the connections that wait for a request which won't
// come.
func (l *loop) end() {
	l.ended = true
	l.pipes.close()
	for _, p := range l.registry.pools {
		p.setOpen(false, false)
	}
}

// openListeners copies the listeners' descriptors for the loops.
func openListeners(listeners []net.Listener) (fds []int, err error) {
	for _, l := range listeners {
		fd, err := listenerFD(l)
		if err != nil {
			closeAll(fds)
			return nil, err
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		closeFD(fd)
	}
}
