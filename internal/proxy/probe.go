package proxy

import (
	"context"
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
		wanted := make(map[*upstream]*health.Check)
		for r, u := range p.table.Load().upstreams {
			wanted[u] = r.check
		}
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
		if !sleep(ctx, wait) {
			return
		}
		err := check.Probe(ctx, u.target)
		if ctx.Err() != nil {
			return
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

func (p *Proxy) tell(u *upstream, err error, open bool) {
	healthy, changed := u.condition.probed(err, open)
	if !changed {
		return
	}
	log := p.cfg.Logger.With("service", u.account.service, "release", u.account.release, "upstream", u.id)
	if healthy {
		log.Info("the upstream is healthy again")
		return
	}
	log.Warn("the upstream gets no requests until it is healthy again", "reason", u.condition.why())
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
