package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/api"
)

// fromWire is a status as the daemon sends it.
func fromWire[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// trimRight takes away the spaces with which tables end their lines.
func trimRight(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func TestPrintStatus(t *testing.T) {
	local := func(clock string) string {
		at, err := time.Parse(time.RFC3339, "2026-03-01T"+clock+"Z")
		if err != nil {
			t.Fatal(err)
		}
		return at.Local().Format(time.TimeOnly)
	}
	for _, test := range []struct{ name, status, want string }{
		{"at rest", `{
			"service": "web", "stable": "r2",
			"deployment": {"id": "d2", "phase": "promoted", "candidate": "r2", "finished": "2026-03-01T11:55:00Z"},
			"releases": [
				{"id": "r1", "role": "warm", "weight": 0, "want": 1, "warm_until": "2026-03-01T12:05:00Z", "instances": [
					{"id": "web-r1-1", "state": "ready", "target": {"network": "tcp", "address": "127.0.0.1:20001"}, "started": "2026-03-01T10:30:00Z"}]},
				{"id": "r2", "role": "stable", "weight": 100, "want": 2, "instances": [
					{"id": "web-r2-1", "state": "backoff", "restarts": 3, "target": {"network": "tcp", "address": "127.0.0.1:20002"}, "started": "2026-03-01T11:59:50Z", "message": "exited with code 1\nafter 2s"},
					{"id": "web-r2-2", "state": "ready", "target": {"network": "unix", "address": "/run/s"}, "started": "0001-01-01T00:00:00Z"}]}],
			"way_back": {"release": "r1", "instant": true},
			"traffic": {"name": "web", "releases": [{"id": "r2", "accepted": 10, "in_flight": 1, "answered": [0,0,8,0,0,1], "retried": 2, "failed": {}}]}}`, `
web: r2 is stable; d2 promoted 5m ago
  RELEASE  ROLE                 WEIGHT  INSTANCE  STATE    ADDRESS          SINCE      RESTARTS
  r1       warm until ` + local("12:05:00") + `  0 %     web-r1-1  ready    127.0.0.1:20001  1h30m ago  0
  r2       stable               100 %   web-r2-1  backoff  127.0.0.1:20002  10s ago    3         exited with code 1 after 2s
  r2       stable               100 %   web-r2-2  ready    /run/s           -          0
  requests since the proxy started: 10 accepted, 1 in flight, 1 answered 5xx, 0 lost, 2 retried
  rollback: to r1, instant (it is warm)
`},
		{"under way", `{
			"service": "web", "queued": ["d3", "d4"],
			"deployment": {"id": "d2", "phase": "running", "candidate": "r2", "steps": [
				{"kind": "start", "release": "r2", "instances": 1, "deadline": "1m", "status": "running", "began": "2026-03-01T11:59:58Z"}]},
			"releases": [{"id": "r2", "role": "candidate", "weight": 0, "want": 1, "instances": []}],
			"way_back": {"refused": "web has no earlier release to roll back to"}, "traffic_error": "connection refused"}`, `
web: d2 to r2 is under way (running): start 1 instance of r2 and wait until ready (at most 1m0s) (since 2.0s)
  waiting in line: d3, d4
  the proxy does not answer: connection refused
  RELEASE  ROLE       WEIGHT  INSTANCE   STATE  ADDRESS  SINCE  RESTARTS
  r2       candidate  0 %     none of 1
  rollback: refused, because web has no earlier release to roll back to
`},
		{"after a failure", `{
			"service": "web", "deployment": {"id": "d1", "phase": "failed", "candidate": "r1", "reason": "smoke test\nfailed", "finished": "2026-03-01T11:59:00Z"},
			"releases": [], "way_back": {"refused": "there is nothing"}}`, `
web: no stable release; d1 failed 1m ago
  d1: smoke test failed
  no release runs
  rollback: refused, because there is nothing
`},
		{"between steps", `{
			"service": "web", "stable": "r1", "deployment": {"id": "d2", "phase": "taking-back", "candidate": "r2", "reason": "aborted by ann"},
			"releases": [], "way_back": {"release": "r1", "boot": 1500000000}}`, `
web: d2 to r2 is under way (taking-back): about to go on
  d2: aborted by ann
  no release runs
  rollback: to r1, about 1.5s (it must boot)
`},
		{"never deployed", `{"service": "web", "releases": [], "way_back": {"refused": "there is nothing"}}`, `
web: never deployed
  no release runs
  rollback: refused, because there is nothing
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			if err := printStatus(&out, fromWire[api.ServiceStatus](t, test.status), start()); err != nil {
				t.Fatal(err)
			}
			expectText(t, trimRight(out.String()), test.want)
		})
	}
}
