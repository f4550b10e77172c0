package spec

import (
	"fmt"
	"strings"
)

// The bounds of what is held, below which holding makes no sense, and above
// which the machine has no room for it.
const (
	maxHeldRequests = 1_000_000
	minHeldBytes    = 64 << 10
)

func (c *checker) strategy(s *Spec) {
	const field = "strategy"
	t := s.Strategy
	c.choice(field, "is missing", []option{
		{"blue-green", t.BlueGreen != nil}, {"canary", t.Canary != nil}, {"rolling", t.Rolling != nil},
		{"exclusive", t.Exclusive != nil}, {"worker", t.Worker != nil},
	})
	if t.BlueGreen != nil {
		c.blueGreen(field+".blue-green", *t.BlueGreen, s.Route)
	}
	if t.Canary != nil {
		c.canary(field+".canary", *t.Canary, s)
	}
	if t.Rolling != nil {
		c.rolling(field+".rolling", *t.Rolling, s)
	}
	if t.Exclusive != nil {
		c.exclusive(field+".exclusive", *t.Exclusive)
	}
	if t.Worker != nil {
		c.worker(field+".worker", *t.Worker)
	}
	c.addressOf(s)
	if !t.keepsWarm() && s.Warm > 0 {
		c.add("warm", "remove it, or write warm: 0s", "must be 0s: with this strategy the old release has stopped before the deployment ends")
	}
}

// addressOf checks that a worker has no address, and that nothing else has none.
func (c *checker) addressOf(s *Spec) {
	worker := s.Strategy.Worker != nil
	switch {
	case worker && s.Listen != ListenNone:
		c.add("listen", "remove listen; or choose another strategy for a service that takes requests", "must be %q with the strategy worker, not %q", ListenNone, s.Listen)
	case !worker && s.Listen == ListenNone:
		c.add("strategy", "write strategy: worker; or remove listen: none for a service that takes requests", "must be worker for a service that listens on nothing")
	}
}

func (c *checker) blueGreen(field string, b BlueGreen, route Route) {
	c.matches(field+".preview", b.Preview, route)
	c.approve(field+".approve", b.Approve)
	c.notNegative(field+".bake", b.Bake)
}

// approve checks an approval; nil is none.
func (c *checker) approve(field string, a *Approve) {
	if a == nil {
		return
	}
	c.positive(field+".deadline", a.Deadline)
	c.oneOf(field+".then", string(a.Then), string(ThenAbort), string(ThenPromote))
}

func (c *checker) canary(field string, y Canary, s *Spec) {
	c.addError(field+".instances", y.Instances.check())
	c.matches(field+".match", y.Match, s.Route)
	c.analysis(field+".analysis", y.Analysis, s)
	if y.Mirror != nil {
		c.mirror(field+".mirror", *y.Mirror)
	}
	weight := 0
	for i, step := range y.Steps {
		at := fmt.Sprintf("%s.steps[%d]", field, i)
		c.canaryStep(at, step, s)
		if step.Weight != 0 {
			c.rises(at+".weight", step.Weight, weight)
			weight = step.Weight
		}
	}
	if weight == 0 {
		c.add(field+".steps", "add one as in - weight: 5", "must have a weight")
	}
}

// rises checks a weight against the one before it.
func (c *checker) rises(field string, weight, before int) {
	c.between(field, weight, 1, 100)
	switch {
	case before == 100:
		c.add(field, "end with weight: 100, or leave it out: after the last step the candidate gets the rest by itself", "comes after all traffic has moved: %d", weight)
	case weight <= before:
		c.add(field, "weights rise from step to step; abort takes traffic back", "must be more than %d, the one before it, not %d", before, weight)
	}
}

func (c *checker) canaryStep(field string, step CanaryStep, s *Spec) {
	c.choice(field, "does nothing: a weight is from 1 to 100, a bake longer than 0s", []option{
		{"weight", step.Weight != 0}, {"bake", step.Bake.Max != 0}, {"approve", step.Approve != nil}, {"verify", step.Verify != nil},
	})
	c.bake(field+".bake", step.Bake, s.Strategy.Canary.Analysis)
	c.approve(field+".approve", step.Approve)
	if step.Verify == nil {
		return
	}
	c.checks(field+".verify.checks", step.Verify.Checks, s.Listen)
	if len(step.Verify.Checks) == 0 && len(s.Smoke) == 0 {
		c.add(field+".verify", "add smoke tests, or checks of its own as in verify: {checks: [{http: {path: /}}]}", "has nothing to check: there are no smoke tests")
	}
}

func (c *checker) mirror(field string, m Mirror) {
	if !(m.Share > 0 && m.Share <= 100) {
		c.add(field+".share", "remove mirror to copy nothing", "must be more than 0%% and at most 100%%, not %s", m.Share)
	}
	c.oneOf(field+".compare", m.Compare, CompareStatus, CompareBody)
	c.between(field+".max_in_flight", m.MaxInFlight, 1, maxHeldRequests)
	if m.MaxBody < 0 {
		c.add(field+".max_body", "", "must not be negative: %s", m.MaxBody)
	}
}

func (c *checker) rolling(field string, r Rolling, s *Spec) {
	surge, unavailable := r.MaxSurge.check(), r.MaxUnavailable.check()
	c.addError(field+".max_surge", surge)
	c.addError(field+".max_unavailable", unavailable)
	if surge == nil && unavailable == nil {
		c.room(field, r, s.Instances)
	}
	c.bake(field+".bake", r.Bake, r.Analysis)
	c.analysis(field+".analysis", r.Analysis, s)
	c.matches(field+".match", r.Match, s.Route)
}

// room checks that there is room to replace an instance, and that not all may go
// by a slip of the finger.
func (c *checker) room(field string, r Rolling, instances int) {
	away := r.MaxUnavailable.Of(instances, false)
	switch {
	case r.MaxSurge.Of(instances, true) == 0 && away == 0:
		c.add(field+".max_surge", "let there be one more (max_surge: 1), or one less (max_unavailable: 1)", "and max_unavailable (%s) both come to 0 of %d: no instance could be replaced", r.MaxUnavailable, instances)
	case away >= instances && !strings.HasSuffix(string(r.MaxUnavailable), "%"):
		c.add(field+".max_unavailable", "leave one, or write 100% when the service may be away altogether", "is all of the %d instances", instances)
	}
}

func (c *checker) exclusive(field string, e Exclusive) {
	c.positive(field+".ready", e.Ready)
	c.notNegative(field+".bake", e.Bake)
	c.positive(field+".hold.time", e.Hold.Time)
	if e.Ready >= e.Hold.Time && e.Ready > 0 && e.Hold.Time > 0 {
		c.add(field+".ready", "make hold.time longer: it also covers the stop of stable, and its start if the candidate isn't ready", "must be less than hold.time (%s), not %s", e.Hold.Time, e.Ready)
	}
	c.between(field+".hold.requests", e.Hold.Requests, 1, maxHeldRequests)
	if e.Hold.Bytes < minHeldBytes {
		c.add(field+".hold.bytes", "write it as in 16MiB", "must be at least %s, not %s", Size(minHeldBytes), e.Hold.Bytes)
	}
}

func (c *checker) worker(field string, w Worker) {
	c.oneOf(field+".order", w.Order, OrderOverlap, OrderExclusive)
	c.notNegative(field+".bake", w.Bake)
}
