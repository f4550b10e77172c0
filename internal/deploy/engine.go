package deploy

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/segue-deploy/segue/internal/artifact"
	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/journal"
	"github.com/segue-deploy/segue/internal/proxy"
)

// A proxy that hangs must not hold up the engine: these are the times that its
// answers may take.
const (
	applyTimeout = 5 * time.Second
	statsTimeout = 2 * time.Second
	// tableAgain is when a table that could not be put in force is tried again.
	tableAgain = time.Second
)

// strayTimeout is how long instances that nothing wants may take to stop, before
// they are left to the next start of the daemon.
const strayTimeout = 2 * time.Minute

// Traffic is what moves requests: the embedded proxy, in this process
// (*proxy.Proxy) or in its own (*proxy.Client).
type Traffic interface {
	// Apply puts a table in force and returns when it is.
	Apply(ctx context.Context, t proxy.Table) error
	// Drain waits until nothing is in flight on a release that gets no new
	// requests, and cuts what is left after the timeout.
	Drain(ctx context.Context, service, release string, times proxy.DrainTimes) (proxy.DrainResult, error)
	// Stats returns the counters.
	Stats(ctx context.Context) (proxy.Stats, error)
}

// Config is what an engine works with.
type Config struct {
	Journal   *journal.Journal
	Driver    driver.Driver
	Traffic   Traffic
	Artifacts *artifact.Store
	// LookupEnv resolves ${NAME} in a spec's environment.
	LookupEnv func(name string) (string, bool)
	Logger    *slog.Logger
	// AfterAppend, if set, is called after every durable append; tests use it
	// to crash there.
	AfterAppend func(Event)
}

// Engine deploys releases of services. See the package's documentation.
type Engine struct {
	cfg Config

	// ready is closed when the journal has been replayed.
	ready chan struct{}
	// added has capacity 1 and tells Run that a service has appeared; stale has
	// capacity 1 and says that the table in force is not what it should be.
	added, stale chan struct{}

	mu       sync.Mutex
	services map[string]*service
	// fresh holds artifacts put lately, which no release names yet, with the
	// time until which they are kept.
	fresh map[string]time.Time

	// admission orders requests for deployments, so that no two services get the
	// same route. It is taken before a service's mu.
	admission sync.Mutex

	// uploads is held for reading by uploads, which may take long, and for
	// writing while artifacts are collected, which can wait for another time.
	uploads sync.RWMutex

	table   tableState
	samples samples
}

// tableState guards the table in force: one change at a time.
type tableState struct {
	// lock has capacity 1; who has put something in holds the rest.
	lock    chan struct{}
	version uint64
	// last is the table that was applied last; it counts as unknown until then.
	last  proxy.Table
	known bool
}

// New returns an engine that does nothing until Run.
func New(cfg Config) *Engine {
	return &Engine{
		cfg:      cfg,
		ready:    make(chan struct{}),
		added:    make(chan struct{}, 1),
		stale:    make(chan struct{}, 1),
		services: map[string]*service{},
		fresh:    map[string]time.Time{},
		table:    tableState{lock: make(chan struct{}, 1)},
	}
}

// Run recovers what the journal says was under way, and then works until ctx
// ends. Instances and the proxy go on when it returns.
func (e *Engine) Run(ctx context.Context) error {
	if err := e.replay(ctx); err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	close(e.ready)
	wg.Go(func() { e.followDriver(ctx) })
	wg.Go(func() { e.sample(ctx) })
	wg.Go(func() { e.removeStrays(ctx) })
	runs := map[*service]bool{}
	for {
		for _, s := range e.all() {
			if !runs[s] {
				runs[s] = true
				wg.Go(func() { s.run(ctx) })
			}
		}
		select {
		case <-e.added:
		case <-ctx.Done():
			return nil
		}
	}
}

// replay computes the states of all services from the journal.
func (e *Engine) replay(ctx context.Context) error {
	records, err := e.cfg.Journal.Read(ctx, journal.Filter{})
	if err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	now := time.Now().UTC()
	for _, r := range records {
		ev, err := eventOf(r)
		if err != nil {
			return err
		}
		if ev.At.After(now) {
			ev.At = now // The clock was ahead then. Nobody is to wait until it is there again.
		}
		s := e.service(ev.Service)
		s.state = s.state.apply(ev)
		s.publish()
	}
	return nil
}

// removeStrays stops instances that no state wants, such as those of a release
// whose retirement was journalled just before a crash.
func (e *Engine) removeStrays(ctx context.Context) {
	instances, err := e.cfg.Driver.List(ctx)
	if err != nil {
		e.cfg.Logger.Error("list instances", "error", err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, strayTimeout)
	defer cancel()
	seen := map[[2]string]bool{}
	for _, in := range instances {
		key := [2]string{in.Service, in.Release}
		st := e.stateOf(in.Service)
		if _, wanted := st.Running[in.Release]; wanted || seen[key] {
			continue
		}
		seen[key] = true
		e.cfg.Logger.Warn("stopping instances that nothing wants", "service", in.Service, "release", in.Release)
		if err := e.cfg.Driver.Remove(ctx, in.Service, in.Release); err != nil {
			e.cfg.Logger.Error("stop instances that nothing wants", "service", in.Service, "release", in.Release, "error", err)
		}
	}
}

// followDriver keeps the table in step with what the driver says is ready.
func (e *Engine) followDriver(ctx context.Context) {
	changes := e.cfg.Driver.Watch(ctx)
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-changes:
		case <-e.stale:
		case <-again.C:
		case <-ctx.Done():
			return
		}
		if _, err := e.syncTable(ctx); err != nil && ctx.Err() == nil {
			e.cfg.Logger.Warn("put a changed table in force", "error", err, "again_in", tableAgain)
			again.Reset(tableAgain)
		}
	}
}

// tableChanged has the table put in force anew that follows from the states.
func (e *Engine) tableChanged() {
	select {
	case e.stale <- struct{}{}:
	default:
	}
}

// ProxyStarted tells the engine that a proxy runs which it has not known: one
// without a table, or with that of an earlier engine. It returns when the table
// is in force that the journal asks for; after an error it must be called again.
func (e *Engine) ProxyStarted(ctx context.Context) error {
	if err := e.waitReady(ctx); err != nil {
		return err
	}
	if err := e.table.take(ctx); err != nil {
		return err
	}
	e.table.known = false
	e.table.give()
	_, err := e.syncTable(ctx)
	return err
}

// take waits for its turn.
func (t *tableState) take(ctx context.Context) error {
	select {
	case t.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t *tableState) give() { <-t.lock }

// syncTable puts the table in force that follows from the states and instances
// as they are now, unless it is already, and returns it.
func (e *Engine) syncTable(ctx context.Context) (proxy.Table, error) {
	if err := e.table.take(ctx); err != nil {
		return proxy.Table{}, err
	}
	defer e.table.give()
	instances, err := e.cfg.Driver.List(ctx)
	if err != nil {
		return proxy.Table{}, fmt.Errorf("list instances: %w", err)
	}
	var states []State
	for _, s := range e.all() {
		states = append(states, s.snapshot())
	}
	t := tableOf(states, instances)
	if e.table.known && reflect.DeepEqual(t, e.table.last) {
		return t, nil
	}
	if !e.table.known {
		stats, err := e.stats(ctx)
		if err != nil {
			return proxy.Table{}, fmt.Errorf("ask the proxy for its table: %w", err)
		}
		e.table.version = stats.Table
	}
	next := t
	next.Version = e.table.version + 1
	ctx, cancel := context.WithTimeoutCause(ctx, applyTimeout, fmt.Errorf("the proxy did not answer within %s", applyTimeout))
	defer cancel()
	if err := e.cfg.Traffic.Apply(ctx, next); err != nil {
		e.table.known = false
		return proxy.Table{}, fmt.Errorf("put table %d in force: %w", next.Version, err)
	}
	e.table.version, e.table.last, e.table.known = next.Version, t, true
	return t, nil
}

// stats reads the proxy's counters.
func (e *Engine) stats(ctx context.Context) (proxy.Stats, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, statsTimeout, fmt.Errorf("the proxy did not answer within %s", statsTimeout))
	defer cancel()
	return e.cfg.Traffic.Stats(ctx)
}

// all returns the services in the order of their names.
func (e *Engine) all() []*service {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.SortedFunc(maps.Values(e.services), func(a, b *service) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
}

// service returns the service of that name, and makes it if need be.
func (e *Engine) service(name string) *service {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.services[name]
	if s == nil {
		s = newService(e, name)
		e.services[name] = s
		select {
		case e.added <- struct{}{}:
		default:
		}
	}
	return s
}

func (e *Engine) find(name string) *service {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.services[name]
}

// stateOf is the service's state, also of one that does not exist yet.
func (e *Engine) stateOf(name string) State {
	if s := e.find(name); s != nil {
		return s.snapshot()
	}
	return State{Service: name}
}

// known returns a service that exists.
func (e *Engine) known(ctx context.Context, name string) (*service, error) {
	if err := e.waitReady(ctx); err != nil {
		return nil, err
	}
	if s := e.find(name); s != nil {
		return s, nil
	}
	hint := "deploy it first"
	var names []string
	for _, s := range e.all() {
		names = append(names, s.name)
	}
	if len(names) > 0 {
		hint = "there are " + strings.Join(names, ", ")
	}
	return nil, &Error{ProblemNotFound, fmt.Sprintf("there is no service %q", name), hint}
}

// waitReady blocks until the journal has been replayed.
func (e *Engine) waitReady(ctx context.Context) error {
	select {
	case <-e.ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
