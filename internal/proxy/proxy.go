// Package proxy is the data plane: it takes the requests of clients, passes each
// on to an upstream, and counts how it ended. It owns no decisions. It gets an
// immutable [Table] by [Proxy.Apply], and goes on with the last one when nobody is
// there to send another.
//
// Clients' connections are served by a few loops, one for each processor, which share
// nothing that a request has to wait for. The way of a request, from top to bottom of the
// package:
//
//   - loop.go: the main loop. It accepts connections and tells each of what the kernel
//     says has happened to it (socket.go).
//   - clientconn.go: the states of a client's connection. It reads a head, and begins an
//     exchange.
//   - exchange.go: a request and its answer, by stages.
//   - flight.go: which upstream gets the request. route.go finds the service,
//     hold.go keeps the request waiting if the service is held, queue.go if nobody has
//     room for it, choose.go picks the
//     release, by match.go and sticky.go or by weight, and the upstream; account.go
//     counts the request in. slowstart.go and ejection.go say which upstreams get less, or
//     nothing.
//   - mirror.go sends a copy to the candidate, beside all that follows.
//   - pool.go has the connections to upstreams. upload.go sends the request there, and
//     answer.go passes the answer back, both with the heads of header.go; splice.go has
//     the kernel pass long bodies on. retry.go decides whether there may be another
//     attempt, and budget.go how many. upgrade.go takes connections that change their
//     protocol out of the loop. handback.go has uploads go to another upstream that one
//     hands back.
//   - door.go takes the connections of which the loops can't serve the requests; each of
//     those is a call (call.go), with a goroutine of its own and a flight of the loop.
//   - account.go counts the outcome, for which drain.go may wait.
//
// Another proxy process can take over while all this goes on. handover.go is the side
// that gives, succession.go the one that takes, passer.go what goes from one to the other.
//
// Routing, choice, counting and the rules of retrying know nothing of sockets. The
// messages themselves are read by package h1.
//
// Two things are always true:
//
//  1. After Apply has returned, no new request goes to a release to which neither a
//     weight nor a rule of the table leads, nor to an upstream that isn't in it, nor
//     anywhere while the table holds its service. A request is chosen for and counted in
//     under the lock of its loop, and Apply changes the table of each loop under that.
//  2. Every request that is counted in is counted out once, with one outcome. Both
//     happen under the lock of its loop, so that the identity of
//     [ReleaseStats] is true at any time.
//
// [Proxy.Run] serves; it is in run.go. Apply, Drain and Stats need no
// Run. [Client] has the same methods for a proxy in another process.
package proxy

import (
	"context"
	"errors"
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
	// born is when the epoch began, with a monotonic reading.
	born time.Time

	loops     []*loop
	clients   clients
	accessLog *accessLog
	copies    *copies
	door      *door
	// tunnels are the goroutines of upgraded connections.
	tunnels sync.WaitGroup

	// mu lets one change of the table happen at a time, and guards shared and what is in
	// force: a version, 0 before the first, with a table's JSON form.
	mu      sync.Mutex
	shared  *shared
	version uint64
	content string

	// first is closed when there is a table. changed has capacity 1 and tells
	// the prober of a new one.
	first   chan struct{}
	changed chan struct{}

	// accepting is set while connections are accepted, closing when answers should say
	// that their connection closes, leaving when another proxy has taken over.
	accepting, closing, leaving atomic.Bool
	// base is what was counted by proxies before this one, which have ended, predecessors
	// are those that haven't. zero is what all of them had counted when the epoch began. mu
	// guards them, the epoch, and born.
	base, zero   Stats
	predecessors []*predecessor
	// passing takes the connections to the proxy that has taken over; nil is none.
	passing atomic.Pointer[passer]
	// incoming are the connections over which predecessors pass on what they have.
	incoming incoming
	// links are the goroutines between this proxy and others; life ends them.
	links   links
	life    context.Context
	endLife context.CancelFunc
	// taken, with room for one, has the grace after a handover. ended is closed when
	// nothing is counted any more.
	taken chan time.Duration
	ended chan struct{}
	// failed, with room for one, has why Run can't go on.
	failed chan error
	// shutdown carries the grace of the one Shutdown; stopped is closed when no
	// connection is accepted any more.
	shutdown chan time.Duration
	stopped  chan struct{}
	// left, with room for one, is told when a client's connection has closed and there
	// is room again, or none left.
	left chan struct{}
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
	// Leaving is set when another proxy has taken over from this one, Connections how many
	// of clients this one has.
	Leaving     bool  `json:"leaving"`
	Connections int64 `json:"connections"`
	// Predecessors are those from which it has taken over, and which haven't ended.
	Predecessors []Predecessor `json:"predecessors,omitempty"`
}

// New returns a proxy that serves nothing until Run.
func New(cfg Config) *Proxy {
	cfg = cfg.withDefaults()
	p := &Proxy{
		cfg:       cfg,
		epoch:     newID(),
		started:   time.Now(),
		born:      time.Now(),
		clients:   clients{limit: int64(cfg.MaxConnections)},
		accessLog: newAccessLog(cfg.AccessLog, cfg.Logger),
		copies:    newCopies(),
		shared:    newShared(),
		first:     make(chan struct{}),
		changed:   make(chan struct{}, 1),
		failed:    make(chan error, 1),
		shutdown:  make(chan time.Duration, 1),
		stopped:   make(chan struct{}),
		left:      make(chan struct{}, 1),
		taken:     make(chan time.Duration, 1),
		ended:     make(chan struct{}),
	}
	p.life, p.endLife = context.WithCancel(context.Background())
	p.clients.changed = p.clientsChanged
	p.door = newDoor(p)
	p.incoming.changed = p.clientsChanged
	for range cfg.Loops {
		p.loops = append(p.loops, newLoop(p))
	}
	return p
}

// Apply puts a table in force, and returns when it is: no request that comes then
// goes anywhere but where the table says. To apply the table in force again does
// nothing. An invalid table, and one whose version is not above that in force,
// is an error and changes nothing. It is in force in the predecessors, too.
func (p *Proxy) Apply(ctx context.Context, t Table) error {
	if p.leaving.Load() {
		return fmt.Errorf("apply table %d: %w", t.Version, errReplaced)
	}
	if err := p.applyOwn(ctx, t); err != nil {
		return err
	}
	return p.withPredecessors(ctx, func(pr *predecessor) error { return pr.client.applyOwn(ctx, t) })
}

func (p *Proxy) applyOwn(ctx context.Context, t Table) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("apply table %d: %w", t.Version, err)
	}
	if err := t.Validate(); err != nil {
		return fmt.Errorf("apply table %d: %w", t.Version, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.enforce(t); err != nil {
		return err
	}
	p.begin()
	return nil
}

// begin has connections be accepted. The caller holds mu.
func (p *Proxy) begin() {
	select {
	case <-p.first:
	default:
		close(p.first)
	}
}

// enforce puts a valid table in force. The caller holds mu.
func (p *Proxy) enforce(t Table) error {
	content, err := contentOf(t)
	if err != nil {
		return err
	}
	if t.Version <= p.version {
		if p.content == content {
			return nil
		}
		return fmt.Errorf("apply table %d: table %d is in force; the version must be higher", t.Version, p.version)
	}
	p.version, p.content = t.Version, content
	p.shared.beginHolds(t, p.loops[0].table)
	for _, l := range p.loops {
		// What takes long is done while the loop goes on.
		next := compile(t, l.registry)
		l.do(func() { l.apply(next) })
	}
	p.shared.follow(p.loops[0].table)
	p.copies.follow(p.loops[0].table)
	select {
	case p.changed <- struct{}{}:
	default:
	}
	return nil
}

// Drain waits until nothing is in flight where a release gets no new requests. What has
// no end of its own ends one after the other in the second half of its time: the clients of
// WebSockets are told to go, if the release says so, and what can't be told is cut. What is
// left at the end of its time is cut: clients see a broken transfer or a closed connection,
// and it counts as Failed.Cut. Of a release that gets requests what is drained are
// the upstreams that are not in the table any more; of one that does not, or of
// which new requests are held, it is all of it; in a hold clients are told to go at once,
// and nothing is cut before the end. One that was never there is drained
// at once. When ctx ends first, Drain returns its error and cuts nothing more; so it does
// when what it drains gets requests again. It is about the predecessors, too.
func (p *Proxy) Drain(ctx context.Context, service, release string, times DrainTimes) (DrainResult, error) {
	if p.leaving.Load() {
		return DrainResult{}, fmt.Errorf("drain %s %s: %w", service, release, errReplaced)
	}
	var (
		mu  sync.Mutex
		sum DrainResult
	)
	add := func(r DrainResult, err error) error {
		mu.Lock()
		defer mu.Unlock()
		sum = sum.plus(r)
		return err
	}
	others := make(chan error, 1)
	go func() {
		others <- p.withPredecessors(ctx, func(pr *predecessor) error { return add(pr.client.drainOwn(ctx, service, release, times)) })
	}()
	err := errors.Join(add(p.drainOwn(ctx, service, release, times)), <-others)
	return sum, err
}

func (p *Proxy) drainOwn(ctx context.Context, service, release string, times DrainTimes) (DrainResult, error) {
	d := &drain{service: service, release: release, news: make(chan struct{}, 1)}
	p.mu.Lock()
	for _, l := range p.loops {
		l.mu.Lock()
		if a := l.registry.accounts[accountKey{service, release}]; a != nil {
			part := &drainPart{drain: d, loop: l, account: a}
			part.begin()
			d.parts = append(d.parts, part)
		}
		l.mu.Unlock()
	}
	p.mu.Unlock()
	if len(d.parts) == 0 {
		return DrainResult{}, nil
	}
	return d.run(ctx, times)
}

// Stats returns what was counted until now, by predecessors, too.
func (p *Proxy) Stats(ctx context.Context) (Stats, error) {
	for {
		if p.leaving.Load() {
			return Stats{}, fmt.Errorf("read the proxy's counters: %w", errReplaced)
		}
		s, err := p.sum(ctx)
		if !errors.Is(err, errEnded) {
			return s, err
		}
	}
}

// ownStats returns what this process has counted.
func (p *Proxy) ownStats(ctx context.Context) (Stats, error) {
	if err := ctx.Err(); err != nil {
		return Stats{}, fmt.Errorf("read the proxy's counters: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Stats{
		Epoch:           p.epoch,
		At:              time.Now(),
		Age:             time.Since(p.born),
		Table:           p.version,
		ConnectionsOpen: p.clients.open.Load(),
	}
	sum := newSummary(p.clock())
	for _, l := range p.loops {
		l.mu.Lock()
		s.ConnectionsAccepted += l.counts.accepted
		s.Unrouted += l.counts.unrouted
		s.Malformed += l.counts.malformed
		sum.add(l.registry)
		l.mu.Unlock()
	}
	s.LogDropped = p.accessLog.dropped.Load()
	s.Services = sum.services(p.loops[0].table)
	for i := range s.Services {
		s.Services[i].Held = p.shared.waitingFor(s.Services[i].Name).snapshot()
		s.Services[i].Queued = p.shared.queuedFor(s.Services[i].Name).snapshot()
		s.Services[i].Mirror = p.copies.snapshot(s.Services[i].Name)
	}
	return s, nil
}

// clock is how long this process has run. The machine's clock may jump, this can't.
func (p *Proxy) clock() time.Duration { return time.Since(p.started) }

// Info says what this proxy is.
func (p *Proxy) Info(context.Context) (Info, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	info := Info{
		Pid: os.Getpid(), Epoch: p.epoch, Version: p.cfg.Version, Started: p.started, Table: p.version,
		Leaving: p.leaving.Load(), Connections: p.clients.open.Load(),
	}
	for _, pr := range p.predecessors {
		info.Predecessors = append(info.Predecessors, pr.Predecessor)
	}
	return info, nil
}

// Shutdown ends Run: it accepts no more connections, lets the requests in flight be
// answered, tells their clients to close their connections, and cuts what is left
// after the grace. It returns when no connection is accepted any more. Only the
// first of several says how long the grace is. Predecessors are told the same.
func (p *Proxy) Shutdown(ctx context.Context, grace time.Duration) error {
	if err := p.withPredecessors(ctx, func(pr *predecessor) error { return pr.client.Shutdown(ctx, grace) }); err != nil {
		p.cfg.Logger.Warn("shut a proxy down that was replaced", "error", err)
	}
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
