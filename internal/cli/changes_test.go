package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/api"
)

// TestChanges tells what happened between two looks at a service.
func TestChanges(t *testing.T) {
	status := func(d api.Deployment) api.ServiceStatus {
		return api.ServiceStatus{Service: "web", Deployment: &d}
	}
	web := func(text string) api.ServiceStatus { return fromWire[api.ServiceStatus](t, text) }
	at := func(d time.Duration) string { return clock(start(), start().Add(d)) }
	paused := asking().after(0, api.PauseRequested{Until: start().Add(10 * time.Minute), Then: "abort", Actor: api.Actor{By: "ann"}})
	for _, test := range []struct {
		name          string
		before, after api.ServiceStatus
		want          string
	}{
		{"nothing", status(good().d), status(good().d), ""},
		{"begun", web(`{"service": "web"}`), status(good().until(3)), `
d2: deploy r2: hotfix
d2: 1/3  start 2 instances of r2 and wait until ready (at most 1m0s)
`},
		{"some steps", status(good().until(3)), status(good().until(8)), `
d2: 1/3  start 2 instances of r2 and wait until ready (at most 1m0s): done after 1.204s: 2 instances ready
d2: 2/3  shift traffic: r2 100 %: done after 8ms: in force after 7.5ms
d2: 3/3  bake r2 for 10s
`},
		{"promoted", status(good().until(8)), status(good().d), `
d2: 3/3  bake r2 for 10s: done after 10s
d2: promoted, r2 is stable (11.2s)
`},
		{"failed", status(failed().until(3)), status(failed().d), `
d2: 1/3  start 2 instances of r2 and wait until ready (at most 1m0s): FAILED after 1.5s: web-r2-1: exited with code 3 after 1.5s
d2: taking r2 back; r1 is stable
d2: back retire r2: stop its instances: done after 20ms
d2: failed and taken back (1.52s): web-r2-1: exited with code 3 after 1.5s
`},
		{"aborted", status(aborted().until(3)), status(aborted().d), `
d2: aborted by bob: wrong branch
d2: taking r2 back; r1 is stable
d2: back retire r2: stop its instances: done after 20ms
d2: aborted by bob: wrong branch (3.02s)
`},
		{"asked", status(asking().until(4)), status(asking().d), `
d2: 2/3  approve: wait for 'segue promote' (at most 10m0s, then abort)
d2: 'segue promote -s web d2' goes on, 'segue abort -s web d2' ends it; until ` + at(10*time.Minute) + `, then it is aborted
`},
		{"paused", status(asking().d), status(paused.d), `
d2: paused by ann; until ` + at(10*time.Minute) + `, then it is aborted; 'segue resume -s web d2' goes on
`},
		{"still paused", status(paused.d), status(paused.d), ""},
		{"resumed", status(paused.d), status(asking().d), `
d2: it goes on
`},
		{"around it", web(`{"service": "web", "queued": ["d3"], "traffic_error": "connection refused", "releases": [{"id": "r1", "instances": [
				{"id": "web-r1-1", "state": "starting"}, {"id": "web-r1-2", "state": "ready"}, {"id": "web-r1-3", "state": "ready"}]}]}`),
			web(`{"service": "web", "queued": ["d3", "d4"],
				"hold": {"since": "2026-03-01T12:00:00Z", "until": "2026-03-01T12:10:00Z", "by": "ann"},
				"freeze": {"since": "2026-03-01T12:00:00Z", "until": "2026-03-01T12:10:00Z", "reason": "night"},
				"releases": [{"id": "r1", "instances": [{"id": "web-r1-1", "state": "ready"}, {"id": "web-r1-2", "state": "ready"}]},
				{"id": "r2", "instances": [{"id": "web-r2-1", "state": "backoff", "message": "exited\nwith code 1"}]}]}`), `
waiting in line: d3, d4
web-r1-1 is ready
web-r2-1 is backoff: exited with code 1
web-r1-3 is gone
new requests wait, until ` + at(10*time.Minute) + ` at most: held by ann; 'segue release -s web' lets them go
deploys are refused until ` + at(10*time.Minute) + `: frozen: night; 'segue unfreeze -s web' ends it
the proxy answers again
`},
		{"and its end", web(`{"service": "web", "queued": ["d3"], "hold": {"by": "ann"}, "freeze": {"by": "bob"}}`),
			web(`{"service": "web", "traffic_error": "connection refused"}`), `
waiting in line: -
requests that were held are let go
deploys are allowed again
the proxy does not answer: connection refused
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got strings.Builder
			for _, l := range changes(test.before, test.after, start()) {
				got.WriteString(l + "\n")
			}
			expectText(t, got.String(), test.want)
		})
	}
	one := []api.ServiceStatus{status(good().until(1))}
	if got := allChanges(nil, one, start()); len(got) != 1 || got[0] != "web d2: deploy r2: hotfix" {
		t.Errorf("of a new service: %q", got)
	}
}
