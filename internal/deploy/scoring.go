package deploy

import (
	"time"

	"github.com/segue-deploy/segue/internal/proxy"
	"github.com/segue-deploy/segue/internal/spec"
)

// analysisOf is what judges a release while it bakes; nil is nothing but the guard.
func analysisOf(r *Release) *spec.Analysis {
	switch t := r.Spec.Strategy; {
	case t.Canary != nil:
		return t.Canary.Analysis
	case t.Rolling != nil:
		return t.Rolling.Analysis
	}
	return nil
}

// scoringOf has the proxy score requests for a deployment's analysis.
func scoringOf(d *Deployment, a *spec.Analysis) *proxy.Scoring {
	s := &proxy.Scoring{ID: d.ID, Maturity: time.Duration(a.Maturity)}
	s.Failing.Header, s.Failing.Value = a.Failures.HeaderValue()
	s.Failing.GRPC = a.Failures.GRPC
	s.Failing.Slower = time.Duration(a.Failures.Slower)
	for _, r := range a.Failures.Status {
		from, to := r.Bounds()
		s.Failing.Status = append(s.Failing.Status, proxy.StatusRange{From: from, To: to})
	}
	return s
}
