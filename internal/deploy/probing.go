package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/segue-deploy/segue/internal/analysis"
	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/health"
	"github.com/segue-deploy/segue/internal/proxy"
	"github.com/segue-deploy/segue/internal/spec"
)

// probeStream is the stream of a judge's counts that are of probes.
const probeStream = "probe"

// maxProbes is how many probes are under way at a time; beyond it none are sent, whichever
// release is slow.
const maxProbes = 1000

// probing sends requests to the instances of two releases, each of them to one that a coin
// chooses, and counts how they end.
type probing struct {
	spec.TrafficProbe
	failing  proxy.Failing
	maturity time.Duration
	// targets are where a release's instances are, candidate's and stable's.
	targets func(ctx context.Context, candidate bool) ([]health.Target, error)

	mu                sync.Mutex
	stable, candidate proxy.Score
	// past is how long stable's took before the last tick.
	past latencies
}

// probing of a deployment's analysis; nil when it has none.
func (s *service) probing(d *Deployment, a *spec.Analysis) *probing {
	if a.Probe == nil {
		return nil
	}
	scoring := scoringOf(d, a)
	return &probing{
		TrafficProbe: *a.Probe, failing: scoring.Failing, maturity: scoring.Maturity,
		targets: func(ctx context.Context, candidate bool) ([]health.Target, error) {
			release := d.Stable
			if candidate {
				release = d.Candidate
			}
			instances, err := s.instances(ctx, release)
			if err != nil {
				return nil, err
			}
			var targets []health.Target
			for _, in := range instances {
				if in.State == driver.Ready {
					targets = append(targets, in.Target)
				}
			}
			return targets, nil
		},
	}
}

// run sends probes until the context ends, and returns when the last has ended.
func (p *probing) run(ctx context.Context) {
	// Each release gets the rate, and the coin chooses between the two.
	tick := time.NewTicker(time.Duration(float64(time.Second) / (2 * p.Rate)))
	defer tick.Stop()
	room := make(chan struct{}, maxProbes)
	var all sync.WaitGroup
	defer all.Wait()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		select {
		case room <- struct{}{}:
			all.Go(func() {
				p.probe(ctx, rand.IntN(2) == 0)
				<-room
			})
		default:
		}
	}
}

// probe sends one. Of a release without an instance to ask nothing is known.
func (p *probing) probe(ctx context.Context, candidate bool) {
	targets, err := p.targets(ctx, candidate)
	if err != nil || len(targets) == 0 {
		return
	}
	began := time.Now()
	asking, cancel := context.WithTimeout(ctx, p.maturity)
	defer cancel()
	failed, err := p.ask(asking, targets[rand.IntN(len(targets))])
	took := time.Since(began)
	if ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.stable
	if candidate {
		s = &p.candidate
	}
	s.Requests++
	// What isn't over at its maturity is late, as other requests are.
	late := errors.Is(err, context.DeadlineExceeded)
	if !late {
		s.Latency.Observe(took)
	}
	if !late && err != nil || failed || p.failing.Slower > 0 && took > p.failing.Slower {
		s.Failed++
	}
}

func (p *probing) ask(ctx context.Context, target health.Target) (failed bool, err error) {
	client := http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     transportTo(target),
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+p.Path, nil)
	if err != nil {
		return false, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return false, err
	}
	return p.failing.Failed(resp), nil
}

// transportTo has each request go to one address, on a connection of its own.
func transportTo(target health.Target) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(!target.H2C)
	protocols.SetUnencryptedHTTP2(target.H2C)
	return &http.Transport{
		DisableKeepAlives: true,
		Protocols:         &protocols,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, target.Network, target.Address)
		},
	}
}

// take returns what was counted since the last time.
func (p *probing) take() analysis.Stratum {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := analysis.Stratum{Stream: probeStream, Weight: 0.5, Stable: armOf(p.stable), Candidate: armOf(p.candidate), Past: p.past}
	p.past = p.past.plus(p.stable)
	p.stable, p.candidate = proxy.Score{}, proxy.Score{}
	return s
}

// counters are those that a check compares, of one release.
type counters struct{ requests, failed float64 }

// comparing reads the counters of both releases again and again.
type comparing struct {
	name   string
	server *analysis.Prometheus
	// queries are for requests and failed, of stable and of the candidate.
	stable, candidate [2]string
	before            *[2]counters
}

// ask returns what the counters have grown by since the last time; the first time it is
// nothing. A counter that has become less began anew at zero.
func (c *comparing) ask(ctx context.Context) (*analysis.Stratum, error) {
	var now [2]counters
	for i, queries := range [...][2]string{c.stable, c.candidate} {
		requests, err := c.server.Value(ctx, queries[0])
		if err != nil {
			return nil, err
		}
		failed, err := c.server.Value(ctx, queries[1])
		if err != nil && !errors.Is(err, analysis.ErrNoData) {
			return nil, err // A counter of failures is there from the first one on.
		}
		now[i] = counters{requests, failed}
	}
	before := c.before
	c.before = &now
	if before == nil {
		return nil, nil
	}
	s := analysis.Stratum{Stream: c.name, Stable: grown(before[0], now[0]), Candidate: grown(before[1], now[1])}
	if s.Stable.Requests == 0 || s.Candidate.Requests == 0 {
		return nil, nil
	}
	s.Weight = float64(s.Candidate.Requests) / float64(s.Stable.Requests+s.Candidate.Requests)
	return &s, nil
}

func grown(before, now counters) analysis.Arm {
	if now.requests < before.requests || now.failed < before.failed {
		before = counters{}
	}
	arm := analysis.Arm{Requests: uint64(now.requests - before.requests), Failed: uint64(now.failed - before.failed)}
	arm.Failed = min(arm.Failed, arm.Requests)
	return arm
}

// comparing of a check; the names of the queries' templates are filled in.
func (s *service) comparing(d *Deployment, name string, p *spec.Prometheus) (*comparing, error) {
	server, err := analysis.NewPrometheus(p.Server)
	if err != nil {
		return nil, err
	}
	c := &comparing{name: name, server: server}
	for i, text := range [...]string{p.Compare.Requests, p.Compare.Failed} {
		vars := spec.QueryVars{Service: s.name, Release: d.Stable, Stable: d.Stable}
		if c.stable[i], err = spec.FillQuery(text, vars); err == nil {
			vars.Release = d.Candidate
			c.candidate[i], err = spec.FillQuery(text, vars)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return c, nil
}
