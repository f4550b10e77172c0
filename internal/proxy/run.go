package proxy

import (
	"context"
	"net"
	"sync"
	"time"
)

const (
	// sweepInterval is how often idle connections are looked through at the end.
	sweepInterval = 250 * time.Millisecond
	// quietTime is how long a client's connection must have been idle to be
	// closed when the proxy ends. A client that has been silent that long is
	// unlikely to send a request just then.
	quietTime = 5 * time.Second
	// controlGrace is how long the last answers on the control socket may take.
	controlGrace = time.Second
)

// Run serves clients on the listeners, and its control on another (nil for none),
// until ctx ends or Shutdown is called; it returns when all that it started has
// ended, and closes the listeners. Clients' connections are accepted only once
// there is a table; before, they wait in the kernel's queue.
//
// Run may be called once.
func (p *Proxy) Run(ctx context.Context, listeners []net.Listener, control net.Listener) error {
	defer closeListeners(listeners)
	stopAccepting, stopLoops, err := p.startLoops(listeners)
	if err != nil {
		return err
	}
	// background goes on while requests in flight end.
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	var helpers sync.WaitGroup
	helpers.Go(func() { p.accessLog.run(background) })
	helpers.Go(func() { p.probeAll(background) })
	p.door.open()
	controlServer := p.startControl(control, listeners, &helpers)

	grace, err := p.awaitTable(ctx)
	if grace < 0 {
		p.accepting.Store(true)
		p.wakeAll()
		grace, err = p.awaitEnd(ctx)
	}

	p.door.leave()
	if p.leaving.Load() {
		stopAccepting()
		close(p.stopped)
		// The listeners stay open: whoever starts a proxy in the place of a successor that
		// has died takes them from here.
		grace, err = p.awaitEmpty(ctx, grace)
		p.closing.Store(true)
	} else {
		p.closing.Store(true)
		stopAccepting()
		closeListeners(listeners)
		close(p.stopped)
	}
	p.incoming.stop()
	p.clientsOut(max(grace, 0))
	p.door.close()
	p.tunnels.Wait()
	p.copies.stop()
	stopLoops()
	p.goodbye(ctx)

	stopBackground()
	p.stopControl(controlServer)
	helpers.Wait()
	p.links.Wait()
	return err
}

// goodbye ends what there is between this proxy and others. One that was taken over tells
// what it has counted.
func (p *Proxy) goodbye(ctx context.Context) {
	close(p.ended)
	if p.leaving.Load() {
		sleep(ctx, lastWords)
	}
	p.endLife()
}

func closeListeners(listeners []net.Listener) {
	for _, l := range listeners {
		l.Close()
	}
}

// startLoops has the loops run, and returns what has them accept no more, and then what
// ends them.
func (p *Proxy) startLoops(listeners []net.Listener) (stopAccepting, stop func(), err error) {
	fds, err := openListeners(listeners)
	if err != nil {
		return nil, nil, err
	}
	var pollers []*poller
	for range p.loops {
		poller, err := newPoller()
		if err != nil {
			for _, other := range pollers {
				other.close()
			}
			closeAll(fds)
			return nil, nil, err
		}
		pollers = append(pollers, poller)
	}
	var running sync.WaitGroup
	for i, l := range p.loops {
		l.open(pollers[i], fds)
		running.Go(l.run)
	}
	stopAccepting = func() {
		p.accepting.Store(false)
		for _, l := range p.loops {
			l.do(l.deafen)
		}
		closeAll(fds)
	}
	stop = func() {
		for _, l := range p.loops {
			p.mu.Lock()
			l.do(l.end)
			p.mu.Unlock()
		}
		running.Wait()
		for _, l := range p.loops {
			l.close()
		}
	}
	return stopAccepting, stop, nil
}

// wakeAll has every loop look at what has changed.
func (p *Proxy) wakeAll() {
	for _, l := range p.loops {
		l.wake()
	}
}

// fail ends Run with an error.
func (p *Proxy) fail(err error) {
	select {
	case p.failed <- err:
	default: // the first one tells
	}
}

// leastBusy returns the loop with the fewest connections, which is l if no other has
// fewer.
func (p *Proxy) leastBusy(l *loop) *loop {
	least := l
	for _, other := range p.loops {
		if other.load.Load() < least.load.Load() {
			least = other
		}
	}
	return least
}

// clientsChanged tells of room for clients, and of the end of the last one.
func (p *Proxy) clientsChanged() {
	select {
	case p.left <- struct{}{}:
	default:
	}
	p.wakeAll()
}

// awaitTable returns when there is a table, with a negative grace, or when it is
// time to end before.
func (p *Proxy) awaitTable(ctx context.Context) (grace time.Duration, err error) {
	select {
	case <-p.first:
		return -1, nil
	case grace = <-p.shutdown:
		return max(grace, 0), nil
	case <-ctx.Done():
		return p.cfg.ShutdownGrace, nil
	case err = <-p.failed:
		return 0, err
	}
}

// awaitEnd returns when it is time to end, with the time that requests in flight
// have.
func (p *Proxy) awaitEnd(ctx context.Context) (grace time.Duration, err error) {
	select {
	case grace = <-p.shutdown:
		return grace, nil
	case grace = <-p.taken:
		return grace, nil
	case <-ctx.Done():
		return p.cfg.ShutdownGrace, nil
	case err = <-p.failed:
		return p.cfg.ShutdownGrace, err
	}
}

// clientsOut waits until every client's connection is closed: those in use after
// their answer, the others when they have been idle for long. What lives long ends as in a
// drain, and what is left after the grace is cut.
func (p *Proxy) clientsOut(grace time.Duration) {
	defer p.depart(grace)()
	end := time.NewTimer(grace)
	defer end.Stop()
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for p.clients.open.Load() > 0 || p.incoming.open() {
		select {
		case <-p.left:
		case <-tick.C:
			p.closeIdle(min(quietTime, grace/2))
			p.door.closeIdle(min(quietTime, grace/2))
		case <-end.C:
			p.cutAll()
			p.door.close()
			p.tunnels.Wait()
		}
	}
}

// cutAll breaks off everything.
func (p *Proxy) cutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.loops {
		l.do(func() {
			l.takeInbox()
			l.cutAll()
		})
	}
}

// closeIdle closes the clients' connections that have waited for a request for longer
// than limit. A request that is on its way just then is lost to it, as with any idle
// timeout; the longer the limit, the less likely.
func (p *Proxy) closeIdle(limit time.Duration) {
	for _, l := range p.loops {
		l.do(func() {
			for _, c := range l.clients() {
				if c.idleFor() >= limit && c.quiet() {
					c.close()
				}
			}
		})
	}
}
