// Package prove is an independent witness: a load client that drives a service
// through the proxy and counts every request on its own side. It shares no code with
// what it watches. `segue prove` is made of it, and so are the end-to-end tests.
//
// A [Generator] runs clients, each of which asks one request after another on a
// connection of its own: keep-alive clients on one for as long as it lasts, fresh
// clients on a new one each time, slow clients for answers that take seconds. The
// main loop is client.run; one request is client.do. What is asked for is the
// business of a [Source].
//
// Every request has an ID in X-Load-Id and ends in exactly one [Outcome]; where and
// why is [Failure]. A service that gives more back can be checked for more, as
// docs/guides/prove.md says: the ID, its release, and how often it has seen the ID.
//
// # What counts as lost
//
// The client writes requests to the bare connection and sends none a second time,
// where a browser or [net/http.Transport] would try again unseen. The rule:
//
//   - A connection is given up without loss when the server announced it
//     (Connection: close, or HTTP/1.0) with the answer before, or when, before a
//     request's first byte is written, the server is seen to have closed it
//     cleanly. The request goes on a new connection; [Report.IdleClosed] counts
//     the second case.
//   - The same with a reset in place of a clean close is counted in
//     [Report.IdleReset]; it cost no request, but it is not good manners.
//   - From the first byte on, a request that gets no whole answer is lost, whatever
//     the reason: also one on a reused connection that gets no byte back because
//     the server closed it at that very moment without having announced it. RFC
//     9112 section 9.3.1 would let a client send a GET again; here that is lost,
//     because the client of a POST would be stuck.
//   - A connection that can't be made is a lost request. So is an error (4xx, 5xx)
//     that doesn't come from the service. Segue's own begin with "segue: " and the
//     status; with [Config.Marked] every error without an X-Release is lost.
//
// A client that lost a request pauses for 10 ms, so that an outage is not counted
// as many times as a connection can be refused.
//
// # Memory
//
// It is bounded however many requests there are: counters, one histogram, the
// first [Config.KeepFailures] failures, for [Generator.Between] about 150 bytes per
// release for each tenth of a second in which it answered, which is 6 MB for an hour
// of one release, and for [Generator.CheckLog] two bits for each request.
package prove

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Config says what to load, and how.
type Config struct {
	// Target is the proxy's "host:port"; Host the requests' Host header, empty
	// for Target.
	Target string
	Host   string
	// TLS is for connections over it; nil is none. HTTP/1.1 is spoken in any case.
	TLS *tls.Config

	// KeepAlive, Fresh and Slow are how many clients of each sort run. Slow ones
	// ask for answers that take long, every other one on fresh connections.
	KeepAlive, Fresh, Slow int
	// Requests makes what they ask for. Default GET /.
	Requests Source
	// Marked says that the service puts its release and the request's ID on each of
	// its answers, so that one without is not of the service.
	Marked bool

	// Header is added to every request. Cookies has each client keep the cookies
	// that it is given and send them back, as a browser does.
	Header  http.Header
	Cookies bool

	// Rate is how many requests per second the keep-alive and fresh clients
	// start at most, together and evenly; time in which none could be started is
	// not made up for. 0 is as many as are answered.
	Rate float64
	// MaxRequests ends the load after so many; 0 is no limit.
	MaxRequests uint64

	// Timeout is how long a request may take, from its connection to the end of
	// its answer, and, for a slow one, longer than its answer takes. Default
	// 30 s.
	Timeout time.Duration
	// Finish is how long the requests in flight may take when the load ends;
	// those that are not answered by then are lost. Default 30 s.
	Finish time.Duration

	// KeepFailures is how many failures the report shows in full. Default 20.
	KeepFailures int
	// Seed makes the choice of requests the same in each run. Their ids differ.
	Seed uint64
	// Logger gets each failure that the report shows, when it happens; nil logs
	// nothing.
	Logger *slog.Logger
}

// Generator makes the load. It is good for one run.
type Generator struct {
	cfg     Config
	id      string // begins the id of every request
	pacer   pacer
	ledger  *ledger
	started atomic.Bool
}

// New checks the configuration and fills in its defaults.
func New(cfg Config) (*Generator, error) {
	if _, _, err := net.SplitHostPort(cfg.Target); err != nil {
		return nil, fmt.Errorf("target %q is not host:port: %w", cfg.Target, err)
	}
	if cfg.KeepAlive < 0 || cfg.Fresh < 0 || cfg.Slow < 0 || cfg.KeepAlive+cfg.Fresh+cfg.Slow == 0 {
		return nil, fmt.Errorf("%d keep-alive, %d fresh and %d slow clients: none may be negative, and there must be one",
			cfg.KeepAlive, cfg.Fresh, cfg.Slow)
	}
	if cfg.Rate < 0 || cfg.Timeout < 0 || cfg.Finish < 0 || cfg.KeepFailures < 0 {
		return nil, errors.New("rate, timeout, time to finish and number of failures to keep may not be negative")
	}
	if cfg.Host == "" {
		cfg.Host = cfg.Target
	}
	orDefault(&cfg.Timeout, 30*time.Second)
	orDefault(&cfg.Finish, 30*time.Second)
	orDefault(&cfg.KeepFailures, 20)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Requests == nil {
		cfg.Requests = Page{}.Requests
	}
	return &Generator{
		cfg:    cfg,
		id:     randomID(),
		pacer:  newPacer(cfg.Rate),
		ledger: newLedger(cfg.MaxRequests, cfg.KeepFailures, cfg.Logger),
	}, nil
}

// Run makes the load until ctx ends or Config.MaxRequests are sent, then waits for
// the requests in flight, at most Config.Finish. That requests were lost is no
// error of it, but stands in the report; an error means that the client itself
// couldn't go on, for want of ports or descriptors, so that the report is of no
// use.
func (g *Generator) Run(ctx context.Context) error {
	if g.started.Swap(true) {
		return errors.New("a load can be run once; make a new Generator")
	}
	sending, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	cutting, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()

	g.ledger.begin(time.Now())
	var clients sync.WaitGroup
	for _, c := range g.clients(stop) {
		clients.Go(func() { c.run(sending, cutting) })
	}
	finished := make(chan struct{})
	go func() {
		clients.Wait()
		close(finished)
	}()

	select {
	case <-finished:
	case <-sending.Done():
		deadline := time.NewTimer(g.cfg.Finish)
		defer deadline.Stop()
		select {
		case <-finished:
		case <-deadline.C:
			cut()
			<-finished
		}
	}
	g.ledger.end(time.Now())
	if own, is := errors.AsType[*ownFault](context.Cause(sending)); is {
		return own
	}
	return nil
}

// Report says what has been counted until now. It may be called at any time,
// also while Run runs.
func (g *Generator) Report() Report { return g.ledger.report(time.Now()) }

// After says which releases answered requests that were started after t, and how
// many: see [Generator.Between].
func (g *Generator) After(t time.Time) map[string]uint64 {
	return g.Between(t, time.Time{})
}

// Between says which releases answered requests that were started after from and
// before to (the zero time is no end), and how many, as far as they have been
// answered by now. A request is started when its first byte is written: one that
// was started after the proxy had acknowledged a shift may not be answered by the
// old release, however long it takes.
//
// A release that only began an answer, which then broke off, counts. It is named
// if and only if there was such a request; the number is exact but for those
// started in the same tenth of a second as from or to, where it is a lower bound.
// A from and a to less than 200 ms apart may name a release that answered only
// before and after.
func (g *Generator) Between(from, to time.Time) map[string]uint64 {
	return g.ledger.between(from, to)
}

func (g *Generator) clients(stop context.CancelCauseFunc) []*client {
	var all []*client
	add := func(n int, slow bool, fresh func(i int) bool) {
		for i := range n {
			number := len(all) + 1
			c := Client{Number: number, Slow: slow, Random: mathrand.New(mathrand.NewPCG(g.cfg.Seed, uint64(number)))}
			all = append(all, &client{
				Generator: g,
				Client:    c,
				ask:       g.cfg.Requests(c),
				cookies:   map[string]string{},
				fresh:     fresh(i),
				fail:      stop,
			})
		}
	}
	add(g.cfg.KeepAlive, false, func(int) bool { return false })
	add(g.cfg.Fresh, false, func(int) bool { return true })
	add(g.cfg.Slow, true, func(i int) bool { return i%2 == 1 })
	return all
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func randomID() string {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails since Go 1.24
	return hex.EncodeToString(b)
}
