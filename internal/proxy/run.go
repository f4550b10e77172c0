package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// sweepInterval is how often idle connections are looked through.
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
	// background goes on while requests in flight end; base is what requests
	// are derived from.
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	base, cutRest := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cutRest(nil)

	failed := make(chan error, len(listeners)+1)
	var helpers sync.WaitGroup
	helpers.Go(func() { p.accessLog.run(background) })
	helpers.Go(func() { p.probeAll(background) })
	helpers.Go(func() { p.sweep(background) })
	controlServer := p.startControl(control, listeners, &helpers, failed)

	server := p.clientServer(base)
	var accepting sync.WaitGroup
	var clientListeners []*clientListener
	for _, l := range listeners {
		clientListeners = append(clientListeners, p.clients.listener(l))
	}
	grace, err := p.awaitTable(ctx, failed)
	if grace < 0 {
		for _, l := range clientListeners {
			accepting.Go(func() { p.accept(server, l, failed) })
		}
		grace, err = p.awaitEnd(ctx, failed)
	}

	p.closing.Store(true)
	for _, l := range clientListeners {
		_ = l.Close()
	}
	accepting.Wait()
	close(p.stopped)
	p.clientsOut(max(grace, 0), cutRest)
	server.Close()
	p.copies.stop()

	stopBackground()
	p.stopControl(controlServer)
	helpers.Wait()
	p.closeUpstreams()
	return err
}

// awaitTable returns when there is a table, with a negative grace, or when it is
// time to end before.
func (p *Proxy) awaitTable(ctx context.Context, failed <-chan error) (grace time.Duration, err error) {
	select {
	case <-p.first:
		return -1, nil
	case grace = <-p.shutdown:
		return max(grace, 0), nil
	case <-ctx.Done():
		return p.cfg.ShutdownGrace, nil
	case err = <-failed:
		return 0, err
	}
}

// awaitEnd returns when it is time to end, with the time that requests in flight
// have.
func (p *Proxy) awaitEnd(ctx context.Context, failed <-chan error) (grace time.Duration, err error) {
	select {
	case grace = <-p.shutdown:
		return grace, nil
	case <-ctx.Done():
		return p.cfg.ShutdownGrace, nil
	case err = <-failed:
		return p.cfg.ShutdownGrace, err
	}
}

func (p *Proxy) clientServer(base context.Context) *http.Server {
	return &http.Server{
		Handler:                      http.HandlerFunc(p.serveHTTP),
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            p.cfg.ReadHeaderTimeout,
		IdleTimeout:                  p.cfg.IdleTimeout,
		MaxHeaderBytes:               p.cfg.MaxHeaderBytes,
		// It tells of what clients do wrong, which is counted.
		ErrorLog:    slog.NewLogLogger(p.cfg.Logger.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return base },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, clientKey{}, c)
		},
		ConnState: func(c net.Conn, state http.ConnState) {
			cc := c.(*clientConn)
			switch state {
			case http.StateActive:
				cc.unanswered = true
			case http.StateIdle:
				cc.setIdle()
			}
		},
	}
}

func (p *Proxy) accept(server *http.Server, l *clientListener, failed chan<- error) {
	if err := server.Serve(l); !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
		failed <- fmt.Errorf("accept connections on %s: %w", l.Addr(), err)
	}
}

// clientsOut waits until every client's connection is closed: those in use after
// their answer, the others when they have been idle for long. What is left after
// the grace is cut.
func (p *Proxy) clientsOut(grace time.Duration, cutRest context.CancelCauseFunc) {
	gone := p.clients.gone()
	end := time.NewTimer(grace)
	defer end.Stop()
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-gone:
			return
		case <-tick.C:
			p.clients.closeIdle(min(quietTime, grace/2))
		case <-end.C:
			cutRest(errCut)
			p.clients.closeAll()
			<-gone
			return
		}
	}
}

// sweep closes connections to upstreams that have been idle for too long.
func (p *Proxy) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			for _, u := range p.table.Load().upstreams {
				u.idle.closeOld(now)
			}
		case <-ctx.Done():
			return
		}
	}
}

// closeUpstreams closes the connections that wait for a request which won't come.
func (p *Proxy) closeUpstreams() {
	for _, u := range p.table.Load().upstreams {
		u.idle.setOpen(false)
	}
}
