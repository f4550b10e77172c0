package proxy

import (
	"fmt"
	"time"
)

// maxEjection is how many times longer than the first one an ejection may be.
const maxEjection = 10

// Ejection takes an upstream out of the choice at which requests fail one after the
// other, in whatever loop: it broke off, in the middle or before its answer began, or it
// did not answer in time. What the service itself answers is its own matter, unless
// ServerErrors is set. Where nobody listens is another thing: such an upstream is ejected
// at once, whatever stands here, until somebody does.
type Ejection struct {
	// Failures is how many in a row it takes; 0 ejects nothing.
	Failures int `json:"failures"`
	// Time is how long the first ejection lasts, at least. The next one is longer by as
	// much, up to ten times, unless the upstream was good for as long as it was out.
	Time time.Duration `json:"time"`
	// Keep is the share of the release's upstreams, in percent, that stay in the choice:
	// below it none is ejected, since then it is not the instance that is at fault, and
	// the others would get too much.
	Keep float64 `json:"keep"`
	// ServerErrors has answers of class 5xx count as failures.
	ServerErrors bool `json:"server_errors,omitempty"`
}

func (e Ejection) validate() error {
	switch {
	case e.Failures < 0:
		return fmt.Errorf("its failures are %d, want 0 for none, or more", e.Failures)
	case e.Failures > 0 && e.Time <= 0:
		return fmt.Errorf("its time is %s, want more than 0", e.Time)
	case !(e.Keep >= 0 && e.Keep <= 100):
		return fmt.Errorf("its keep is %v, want 0 to 100", e.Keep)
	}
	return nil
}

// failed reports whether an outcome is a failure of the upstream; known is false when it
// says nothing about it.
func (e Ejection) failed(o outcome, status int) (failed, known bool) {
	switch o {
	case answered:
		return e.ServerErrors && status/100 == 5, true
	case broken, timedOut, truncated:
		return true, true
	}
	return false, false
}

// judge notes what has come of an attempt at the flight's upstream, once.
func (f *flight) judge(o outcome, status int) {
	if f.pool == nil || f.judged {
		return
	}
	f.judged = true
	u := f.pool.upstream
	if u.ejection.Failures == 0 {
		return
	}
	failed, known := u.ejection.failed(o, status)
	switch {
	case !known:
	case !failed:
		if u.failures.Load() != 0 {
			u.failures.Store(0)
		}
	case u.failures.Add(1) >= int64(u.ejection.Failures):
		f.loop.table.service(f.service.name).release(f.account.release).eject(u, f.loop.now)
	}
}

// eject takes an upstream out of the choice, unless too few would stay there; r may be
// nil, when the table has it no more.
func (r *release) eject(u *upstream, now time.Time) {
	if r == nil {
		return
	}
	r.line.ejecting.Lock()
	defer r.line.ejecting.Unlock()
	left := 0
	for _, p := range r.pools {
		if p.upstream != u && p.upstream.condition.healthy.Load() {
			left++
		}
	}
	if !u.condition.healthy.Load() || left == 0 || float64(left) < u.ejection.Keep/100*float64(len(r.pools)) {
		return
	}
	n := u.failures.Swap(0)
	u.condition.ejectFor(fmt.Sprintf("%d requests in a row failed there", n), u.ejection.Time, now)
	u.healthChanged()
}

// ejectFor makes the upstream unhealthy for a time, which is longer each time.
func (c *condition) ejectFor(message string, first time.Duration, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.readmit) >= c.out {
		c.out = 0
	}
	c.out = min(c.out+first, maxEjection*first)
	c.readmit = now.Add(c.out)
	c.failing = true
	c.message = message
	c.tellEjected()
}

// untilReadmit is how long an ejection for failures still lasts; d if there is none, or it
// lasts longer.
func (c *condition) untilReadmit(d time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.failing {
		return d
	}
	return min(d, max(time.Until(c.readmit), 0))
}
