// Package proxy is the data plane: it takes the requests of clients, passes each
// on to an upstream, and counts how it ended. It owns no decisions. It gets an
// immutable [Table] by [Proxy.Apply], and goes on with the last one when nobody is
// there to send another.
//
// The way of a request, from top to bottom of the package:
//
//   - clients.go: the connection is accepted, if there is room.
//   - handler.go: net/http's server has read a request; serveHTTP makes it a
//     transfer, and pass (the main loop of a request) makes attempts until one is
//     answered.
//   - flight.go: which upstream gets the attempt. route.go finds the service,
//     hold.go keeps the request waiting if the service is held, choose.go picks the
//     release, by match.go and sticky.go or by weight, and the upstream, account.go
//     counts the request in, unless a newer table is in force: then the choice is
//     made again.
//   - mirror.go sends a copy to the candidate, beside all that follows.
//   - transfer.go: the attempt: upstream.go connects, body.go sends the body,
//     upstreamconn.go reads the answer. retry.go decides whether there may be
//     another.
//   - handler.go again passes the answer on, or upgrade.go a changed protocol.
//   - account.go counts the outcome, for which drain.go may wait.
//
// Routing, choice, counting and the rules of retrying know nothing of net/http's
// server, so that another way to read requests can take its place.
//
// Two things are always true:
//
//  1. After Apply has returned, no new request goes to a release to which neither a
//     weight nor a rule of the table leads, nor to an upstream that isn't in it, nor
//     anywhere while the table holds its service. Apply first
//     swaps the table and then tells every release so, under the lock under which
//     requests are counted in. A request that chose by the old table is not let in
//     any more, and chooses again.
//  2. Every request that is counted in is counted out once, with one outcome. Both
//     happen under the lock of one release's account, so that the identity of
//     [ReleaseStats] is true at any time.
//
// [Proxy.Run] serves; its main loop is in run.go. Apply, Drain and Stats need no
// Run. [Client] has the same methods for a proxy in another process.
package proxy

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy is the data plane.
type Proxy struct {
	cfg     Config
	epoch   string
	started time.Time

	// table is the one in force; nil before the first.
	table     atomic.Pointer[compiled]
	clients   *clients
	accessLog *accessLog
	copies    *copies
	unrouted  atomic.Uint64
	// buffers are pieces of bodies, with room for the framing of a chunk.
	buffers sync.Pool

	// mu lets one change of the table happen at a time, and guards registry.
	mu       sync.Mutex
	registry *registry

	// first is closed when there is a table. changed has capacity 1 and tells
	// the prober of a new one.
	first   chan struct{}
	changed chan struct{}

	// closing is set when answers should say that their connection closes.
	closing atomic.Bool
	// shutdown carries the grace of the one Shutdown; stopped is closed when no
	// connection is accepted any more.
	shutdown chan time.Duration
	stopped  chan struct{}
}

// Info says what a proxy process is.
type Info struct {
	Pid int `json:"pid"`
	// Epoch is that of Stats.
	Epoch   string `json:"epoch"`
	Version string `json:"version"`
	// Table is the version of the table in force, 0 before the first.
	Table   uint64    `json:"table"`
	Started time.Time `json:"started"`
}

// New returns a proxy that serves nothing until Run.
func New(cfg Config) *Proxy {
	cfg = cfg.withDefaults()
	p := &Proxy{
		cfg:       cfg,
		epoch:     newID(),
		started:   time.Now(),
		clients:   newClients(&cfg),
		accessLog: newAccessLog(cfg.AccessLog, cfg.Logger),
		copies:    newCopies(),
		registry:  newRegistry(),
		first:     make(chan struct{}),
		changed:   make(chan struct{}, 1),
		shutdown:  make(chan time.Duration, 1),
		stopped:   make(chan struct{}),
	}
	p.buffers.New = func() any {
		b := make([]byte, chunkHead+copyBuffer+chunkTail)
		return &b
	}
	return p
}

// Apply puts a table in force, and returns when it is: no request that comes then
// goes anywhere but where the table says. To apply the table in force again does
// nothing. An invalid table, and one whose version is not above that in force,
// is an error and changes nothing.
func (p *Proxy) Apply(ctx context.Context, t Table) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("apply table %d: %w", t.Version, err)
	}
	if err := t.Validate(); err != nil {
		return fmt.Errorf("apply table %d: %w", t.Version, err)
	}
	content, err := contentOf(t)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.table.Load()
	if before != nil && t.Version <= before.version {
		if before.content == content {
			return nil
		}
		return fmt.Errorf("apply table %d: table %d is in force; the version must be higher", t.Version, before.version)
	}
	next := compile(t, content, p.registry)
	next.begin(before)
	p.registry.open(next)
	p.table.Store(next)
	p.registry.follow(next)
	p.copies.follow(next)
	before.end()
	if before == nil {
		close(p.first)
	}
	select {
	case p.changed <- struct{}{}:
	default:
	}
	return nil
}

// Drain waits until nothing is in flight where a release gets no new requests, and
// cuts what is left after the timeout: clients see a broken transfer or a closed
// WebSocket, and it counts as Failed.Cut. Of a release that gets requests these are
// the upstreams that are not in the table any more; of one that does not, or of
// which new requests are held, it is all of it; in a hold the clients of WebSockets
// are told to go as well. One that was never there is drained
// at once. When ctx ends first, Drain returns its error and cuts nothing; so it does
// when what it drains gets requests again.
func (p *Proxy) Drain(ctx context.Context, service, release string, timeout time.Duration) (DrainResult, error) {
	p.mu.Lock()
	a := p.registry.accounts[accountKey{service, release}]
	p.mu.Unlock()
	if a == nil {
		return DrainResult{}, nil
	}
	return a.drain(ctx, timeout)
}

// Stats returns what was counted until now.
func (p *Proxy) Stats(ctx context.Context) (Stats, error) {
	if err := ctx.Err(); err != nil {
		return Stats{}, fmt.Errorf("read the proxy's counters: %w", err)
	}
	s := Stats{
		Epoch:               p.epoch,
		At:                  time.Now(),
		ConnectionsOpen:     p.clients.count(),
		ConnectionsAccepted: p.clients.accepted.Load(),
		Unrouted:            p.unrouted.Load(),
		Malformed:           p.clients.malformed.Load(),
		LogDropped:          p.accessLog.dropped.Load(),
		Services:            []ServiceStats{},
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	table := p.table.Load()
	if table != nil {
		s.Table = table.version
	}
	for _, a := range p.registry.byService(table) {
		if n := len(s.Services); n == 0 || s.Services[n-1].Name != a.service {
			s.Services = append(s.Services, ServiceStats{
				Name:   a.service,
				Held:   p.registry.waitingFor(a.service).snapshot(),
				Mirror: p.copies.snapshot(a.service),
			})
		}
		last := &s.Services[len(s.Services)-1]
		last.Releases = append(last.Releases, releaseStats(a, table))
	}
	return s, nil
}

func releaseStats(a *account, table *compiled) ReleaseStats {
	r := a.snapshot()
	r.Upstreams = []UpstreamStats{}
	if release := table.service(a.service).release(a.release); release != nil {
		for _, u := range release.upstreams {
			r.Upstreams = append(r.Upstreams, UpstreamStats{
				ID:       u.id,
				Healthy:  u.condition.healthy.Load(),
				InFlight: u.inFlight.Load(),
				Message:  u.condition.why(),
			})
		}
	}
	return r
}

// Info says what this proxy is.
func (p *Proxy) Info(context.Context) (Info, error) {
	info := Info{Pid: os.Getpid(), Epoch: p.epoch, Version: p.cfg.Version, Started: p.started}
	if table := p.table.Load(); table != nil {
		info.Table = table.version
	}
	return info, nil
}

// Shutdown ends Run: it accepts no more connections, lets the requests in flight be
// answered, tells their clients to close their connections, and cuts what is left
// after the grace. It returns when no connection is accepted any more. Only the
// first of several says how long the grace is.
func (p *Proxy) Shutdown(ctx context.Context, grace time.Duration) error {
	select {
	case p.shutdown <- grace:
	default:
	}
	select {
	case <-p.stopped:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("shut the proxy down: %w; it goes on shutting down", ctx.Err())
	}
}
