package spec

import (
	"fmt"
	"net/url"
	"strings"
)

// The bounds of an analysis: below them it could never come to an end, or the requests
// that it waits for take too much memory.
const (
	minFalseAlarms = 0.0001
	maxFalseAlarms = 20
	maxMaturity    = Duration(5 * 60e9)
	maxProbeRate   = 1000
	minCheckEvery  = Duration(1e9)
	maxGRPCCode    = 16
)

// analysis checks one; nil is none.
func (c *checker) analysis(field string, a *Analysis, s *Spec) {
	if a == nil {
		return
	}
	c.alarms(field+".false_alarms", a.FalseAlarms)
	c.alarms(field+".wrong_passes", a.WrongPasses)
	c.share(field+".errors.margin", a.Errors.Margin)
	c.factor(field+".errors.factor", a.Errors.Factor)
	if a.Latency.Factor != 0 {
		c.factor(field+".latency.factor", a.Latency.Factor)
	}
	if a.Errors.Margin >= 100 {
		c.add(field+".errors.margin", "write it as in 0.5%", "leaves nothing that could be too much: %s", a.Errors.Margin)
	}
	c.failures(field+".failures", a.Failures)
	c.positive(field+".maturity", a.Maturity)
	if a.Maturity > maxMaturity {
		c.add(field+".maturity", "requests that take longer are judged as slow at that age", "must be at most %s, not %s", maxMaturity, a.Maturity)
	}
	c.notNegative(field+".warm_up", a.WarmUp)
	for i, check := range a.Checks {
		c.analysisCheck(fmt.Sprintf("%s.checks[%d]", field, i), check, s.Listen)
	}
	if p := a.Probe; p != nil {
		c.requestPath(field+".probe.path", p.Path)
		if !(p.Rate > 0 && p.Rate <= maxProbeRate) {
			c.add(field+".probe.rate", "write it as in 5 for five a second", "must be more than 0 and at most %d, not %v", maxProbeRate, p.Rate)
		}
	}
	c.oneOf(field+".inconclusive", string(a.Inconclusive), string(InconclusiveApprove), string(InconclusivePromote), string(InconclusiveAbort))
}

func (c *checker) alarms(field string, p Percent) {
	if !(p >= minFalseAlarms && p <= maxFalseAlarms) {
		c.add(field, "write it as in 1%", "must be from %v%% to %v%%, not %s", minFalseAlarms, maxFalseAlarms, p)
	}
}

func (c *checker) factor(field string, f float64) {
	if !(f >= 1 && f <= 100) {
		c.add(field, "1 is as much as stable has, 1.2 a fifth more", "must be from 1 to 100, not %v", f)
	}
}

func (c *checker) failures(field string, f Failures) {
	if f.Header != "" {
		name, value := f.HeaderValue()
		if !httpToken.MatchString(name) || strings.ContainsAny(value, "\r\n") {
			c.add(field+".header", `write it as in X-Failed, or "X-Result: failed"`, "is no field of an answer: %q", f.Header)
		}
	}
	for i, r := range f.Status {
		c.addError(fmt.Sprintf("%s.status[%d]", field, i), r.check())
	}
	for i, code := range f.GRPC {
		c.between(fmt.Sprintf("%s.grpc[%d]", field, i), code, 1, maxGRPCCode)
	}
	c.notNegative(field+".slower", f.Slower)
}

func (c *checker) analysisCheck(field string, check AnalysisCheck, listen Listen) {
	c.choice(field, "has no source", []option{
		{"prometheus", check.Prometheus != nil}, {"command", check.Command != nil}, {"webhook", check.Webhook != ""},
	})
	if check.Prometheus != nil {
		c.prometheus(field+".prometheus", *check.Prometheus)
	}
	if len(check.Command) > 0 {
		c.arguments(field+".command", check.Command, templateScope{listen, forCandidate})
	}
	if check.Webhook != "" {
		c.webURL(field+".webhook", check.Webhook)
	}
	if check.Every < minCheckEvery {
		c.add(field+".every", "", "must be at least %s, not %s", minCheckEvery, check.Every)
	}
	c.positive(field+".timeout", check.Timeout)
	c.between(field+".failures", check.Failures, 1, maxThreshold)
}

func (c *checker) prometheus(field string, p Prometheus) {
	c.webURL(field+".server", p.Server)
	switch {
	case p.Compare != nil:
		if p.Query != "" || p.Max != nil || p.Min != nil {
			c.add(field+".compare", "remove one of them", "excludes query, max and min")
		}
		c.query(field+".compare.requests", p.Compare.Requests)
		c.query(field+".compare.failed", p.Compare.Failed)
	case p.Query == "":
		c.missing(field+".query", "write it as in query: 'sum(up)', with max or min; or compare two counters")
	default:
		c.query(field+".query", p.Query)
		if p.Max == nil && p.Min == nil {
			c.missing(field+".max", "say which values are good, as in max: 0.5, or min")
		}
		if p.Max != nil && p.Min != nil && *p.Max < *p.Min {
			c.add(field+".max", "", "must not be less than min (%v): %v", *p.Min, *p.Max)
		}
	}
}

// query checks the templates of one.
func (c *checker) query(field, text string) {
	if _, err := FillQuery(text, QueryVars{Service: "web", Release: "r2", Stable: "r1"}); err != nil {
		c.add(field, "it may use {{.Service}}, {{.Release}} and {{.Stable}}", "can't be filled in: %v", err)
	}
}

func (c *checker) webURL(field, text string) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		c.add(field, "write it as in http://127.0.0.1:9090", "is no URL of http or https: %q", text)
	}
}

// bake checks a bake of a strategy that may have an analysis.
func (c *checker) bake(field string, b Bake, a *Analysis) {
	c.notNegative(field+".max", b.Max)
	if b.Early && a == nil {
		c.add(field+".early", "add analysis to the strategy, or remove early", "needs an analysis that could pass")
	}
}
