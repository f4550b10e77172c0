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
web: d2 to r2 is under way: start 1 instance of r2 and wait until ready (at most 1m0s) (since 2.0s)
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
web: d2 to r2 is under way: back: about to go on
  d2: aborted by ann
  no release runs
  rollback: to r1, about 1.5s (it must boot)
`},
		{"held, frozen and in preview", `{
			"service": "web", "stable": "r1", "deployment": {"id": "d2", "kind": "deploy", "phase": "running", "candidate": "r2", "steps": [
				{"kind": "preview", "release": "r2", "match": [{"header": "X-Preview"}], "mirror": {"share": "5%"}, "status": "done", "began": "2026-03-01T11:00:00Z"},
				{"kind": "approve", "release": "r2", "deadline": "70m", "then": "promote", "status": "running", "began": "2026-03-01T11:00:00Z"}]},
			"hold": {"since": "2026-03-01T11:59:00Z", "until": "2026-03-01T12:01:00Z", "by": "ann", "reason": "database\nmove"},
			"freeze": {"since": "2026-03-01T11:59:00Z", "by": "bob"},
			"traffic": {"name": "web", "held": {"now": 3}, "releases": [{"id": "r1", "accepted": 10, "answered": [0,0,7,0,0,0], "failed": {}}]},
			"releases": [{"id": "r1", "role": "stable", "weight": 100, "want": 1, "instances": []}], "way_back": {"refused": "d2 is under way"}}`, `
web: d2 to r2 is under way: approve: wait for 'segue promote' (at most 1h10m0s, then promote) (since 1h)
  preview r2: requests with header X-Preview, copies of 5% of the requests
  'segue promote -s web d2' goes on, 'segue abort -s web d2' ends it; until ` + local("12:10:00") + `, then it goes on
  new requests wait, until ` + local("12:01:00") + ` at most: held by ann: database move; 'segue release -s web' lets them go
  deploys are refused: frozen by bob; 'segue unfreeze -s web' ends it
  RELEASE  ROLE    WEIGHT  INSTANCE   STATE  ADDRESS  SINCE  RESTARTS
  r1       stable  100 %   none of 1
  requests since the proxy started: 10 accepted, 0 in flight, 3 held, 0 answered 5xx, 0 lost, 0 retried
  rollback: refused, because d2 is under way
`},
		{"paused in a hold", `{
			"service": "web", "stable": "r1", "deployment": {"id": "d2", "kind": "restart", "phase": "running", "candidate": "r2", "steps": [
				{"kind": "hold", "hold": {"time": "2m"}, "status": "done", "began": "2026-03-01T11:59:00Z"},
				{"kind": "shift", "weights": {"r2": 100}, "status": "pending"}],
				"paused": {"since": "2026-03-01T11:59:00Z", "until": "2026-03-01T12:30:00Z", "then": "abort", "by": "ann"}},
			"freeze": {"since": "2026-02-01T12:00:00Z", "until": "2026-03-01T11:00:00Z"},
			"releases": [], "way_back": {"refused": "d2 is under way"}}`, `
web: d2 to r2 is under way: it stands before its next step
  new requests are held since ` + local("11:59:00") + `, each for 2m at most
  paused by ann; until ` + local("12:30:00") + `, then it is aborted; 'segue resume -s web d2' goes on
  no release runs
  rollback: refused, because d2 is under way
`},
		{"being aborted", `{
			"service": "web", "stable": "r1", "deployment": {"id": "d2", "kind": "scale", "phase": "running", "candidate": "r1", "instances": 3,
				"abort_requested": true, "abort_reason": "aborted by ann", "steps": [
				{"kind": "preview", "release": "r2", "status": "pending"}]},
			"releases": [], "way_back": {"refused": "d2 is under way"}}`, `
web: d2 to 3 instances of r1 is under way: about to go on
  d2: aborted by ann
  no release runs
  rollback: refused, because d2 is under way
`},
		{"a worker", `{
			"service": "jobs", "stable": "r1", "worker": true, "deployment": {"id": "d1", "phase": "promoted", "candidate": "r1", "finished": "2026-03-01T11:55:00Z"},
			"releases": [{"id": "r1", "role": "stable", "weight": 0, "want": 1, "instances": [{"id": "jobs-r1-1", "state": "ready", "started": "2026-03-01T11:55:00Z"}]}],
			"traffic": {"name": "jobs", "releases": []}, "way_back": {"refused": "there is nothing"}}`, `
jobs: r1 is stable; d1 promoted 5m ago
  RELEASE  ROLE    WEIGHT  INSTANCE   STATE  ADDRESS  SINCE   RESTARTS
  r1       stable  -       jobs-r1-1  ready  -        5m ago  0
  rollback: refused, because there is nothing
`},
		{"nobody there yet", `{
			"service": "web", "stable": "r1", "deployment": {"id": "d2", "phase": "aborted", "candidate": "r2", "finished": "2026-03-01T11:55:00Z"},
			"releases": [{"id": "r1", "role": "stable", "weight": 0, "want": 1, "instances": [{"id": "web-r1-1", "state": "starting", "started": "2026-03-01T11:55:00Z"}]}],
			"traffic": {"name": "web", "releases": [], "held": {"now": 6}}, "way_back": {"refused": "there is nothing"}}`, `
web: r1 is stable; d2 aborted 5m ago
  RELEASE  ROLE    WEIGHT  INSTANCE  STATE     ADDRESS  SINCE   RESTARTS
  r1       stable  0 %     web-r1-1  starting  -        5m ago  0
  requests since the proxy started: 0 accepted, 0 in flight, 6 held, 0 answered 5xx, 0 lost, 0 retried
  rollback: refused, because there is nothing
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
