package proxy

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"sync"
	"time"

	"github.com/segue-deploy/segue/internal/health"
)

// readmission is how an ejected upstream without a check of its own is asked
// whether it is back.
func readmission() health.Check {
	return health.Check{TCP: true, Interval: time.Second, Timeout: time.Second}
}

// prober is the probing of one upstream.
type prober struct {
	check  *health.Check
	cancel context.CancelFunc
}

// probeAll keeps a prober for each upstream of the table in force.
func (p *Proxy) probeAll(ctx context.Context) {
	probers := make(map[*upstream]prober)
	var running sync.WaitGroup
	defer running.Wait()
	for {
		wanted := p.checks()
		for u, pr := range probers {
			if check, ok := wanted[u]; !ok || !reflect.DeepEqual(check, pr.check) {
				pr.cancel()
				delete(probers, u)
			}
		}
		for u, check := range wanted {
			if _, ok := probers[u]; ok {
				continue
			}
			proberCtx, cancel := context.WithCancel(ctx)
			probers[u] = prober{check, cancel}
			running.Go(func() { p.probe(proberCtx, u, check) })
		}
		select {
		case <-p.changed:
		case <-ctx.Done():
			for _, pr := range probers {
				pr.cancel()
			}
			return
		}
	}
}

// checks returns the checks of the table in force by upstream.
func (p *Proxy) checks() map[*upstream]*health.Check {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[*upstream]*health.Check)
	for r, pool := range p.loops[0].table.pools {
		all[pool.upstream] = r.check
	}
	return all
}

// probe asks an upstream for its health until ctx ends: by its check all the time,
// or without one only after a request has found nobody there.
func (p *Proxy) probe(ctx context.Context, u *upstream, check *health.Check) {
	if check == nil {
		p.probeEjected(ctx, u)
		return
	}
	gate := openGate(check)
	// The first probes of many upstreams are spread over an interval.
	for wait := rand.N(check.Interval); ; wait = jittered(check.Interval) {
		if !p.sleepUnlessEjected(ctx, u, u.condition.untilReadmit(wait)) {
			return
		}
		err := check.Probe(ctx, u.target)
		if ctx.Err() != nil {
			return
		}
		if health.Starved(err) {
			continue
		}
		open, _ := gate.Observe(err == nil)
		p.tell(u, err, open)
	}
}

// openGate returns the gate of an upstream that counts as healthy at first.
func openGate(check *health.Check) *health.Gate {
	gate := health.NewGate(check.Healthy, check.Unhealthy)
	for !gate.Open() {
		gate.Observe(true)
	}
	return gate
}

func (p *Proxy) probeEjected(ctx context.Context, u *upstream) {
	check := readmission()
	for {
		select {
		case <-u.condition.ejected:
			p.warn(u)
		case <-ctx.Done():
			return
		}
		for !u.condition.healthy.Load() {
			if !sleep(ctx, jittered(check.Interval)) {
				return
			}
			if err := check.Probe(ctx, u.target); ctx.Err() == nil {
				p.tell(u, err, true)
			}
		}
	}
}

// sleepUnlessEjected waits, and after an ejection no longer than readmission does.
// It returns false when ctx ends.
func (p *Proxy) sleepUnlessEjected(ctx context.Context, u *upstream, wait time.Duration) bool {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-u.condition.ejected:
		p.warn(u)
		return sleep(ctx, min(wait, jittered(readmission().Interval)))
	case <-ctx.Done():
		return false
	}
}

// tell notes the result of a probe, and logs what it changes.
func (p *Proxy) tell(u *upstream, err error, open bool) {
	switch healthy, changed := u.condition.probed(err, open); {
	case changed && healthy:
		p.logOf(u).Info("the upstream is healthy again")
		u.healthChanged()
	case changed:
		p.warn(u)
		u.healthChanged()
	}
}

func (p *Proxy) warn(u *upstream) {
	p.logOf(u).Warn("the upstream gets no requests until it is healthy again", "reason", u.condition.why())
}

func (p *Proxy) logOf(u *upstream) *slog.Logger {
	return p.cfg.Logger.With("service", u.key.service, "release", u.key.release, "upstream", u.id)
}

// jittered is an interval, a tenth shorter or longer, so that probes don't fall
// into step.
func jittered(interval time.Duration) time.Duration {
	return interval - interval/10 + rand.N(interval/5+1)
}

// sleep returns false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
