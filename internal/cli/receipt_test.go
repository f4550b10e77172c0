package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/api"
)

func TestPrintReceipt(t *testing.T) {
	const steps = `"steps": [
		{"kind": "start", "release": "r2", "instances": 1, "deadline": "1m", "status": "done", "began": "2026-03-01T12:00:00Z", "ended": "2026-03-01T12:00:01Z", "outcome": {"message": "1 instance ready"}},
		{"kind": "bake", "release": "r2", "for": "10s", "status": "skipped"}]`
	for _, test := range []struct{ name, receipt, want string }{
		{"nothing lost", `{
			"service": "web", "deployment": "d2", "candidate": "r2", "stable": "r1", "phase": "promoted",
			"requested": "2026-03-01T12:00:00Z", "began": "2026-03-01T12:00:00Z", "finished": "2026-03-01T12:00:12Z", ` + steps + `,
			"releases": [
				{"release": "r1", "accepted": 10, "carried": 1, "answered": [0,1,9,0,1,0], "failed": {}},
				{"release": "r2", "accepted": 20, "answered": [0,0,20,0,0,0], "failed": {}, "retried": 1}],
			"total": {"accepted": 30, "carried": 1, "answered": [0,1,29,0,1,0], "failed": {}, "retried": 1,
				"drained": {"answers": {"finished": 5}}, "departed": {"answers": {"finished": 1}, "tunnels": {"cut": 1}}},
			"drains": [{"release": "r1", "in_flight": 9, "finished": 5, "told": 3, "cut": 1, "waited": 30000000000,
				"by": {"answers": {"finished": 4}, "streams": {"cut": 1}, "websockets": {"finished": 1, "told": 3}}},
				{"release": "r0", "in_flight": 3, "left": 1, "finished": 2, "waited": 1000000000, "by": {"answers": {"finished": 2}}}],
			"latency": {"before": {"count": 0}, "during": {"count": 10, "p50": 1000000, "p99": 2000000, "max": 3000000}, "after": {"count": 20, "p50": 1500000000, "p99": 2000000000, "max": 3000000000}}}`, `
receipt of web d2: deploy r2 (stable was r1): promoted
  DATE to TIME (12s)
  TIME ✓ start 1 instance of r2 and wait until ready (at most 1m0s) in 1s: 1 instance ready
           - bake r2 for 10s
    requests  carried  accepted  2xx  3xx  4xx  5xx  upgraded  lost  by service  by segue  client gone  retried  in flight
          r1        1        10    9    0    1    0         1     0           0         0            0        0          0
          r2        0        20   20    0    0    0         0     0           0         0            0        1          0
         all        1        30   29    0    1    0         1     0           0         0            0        1          0
  drain of r1: 9 in flight: 5 finished, 3 told and went, 1 cut, after 30s
    answers: 4 finished, 0 cut
    streams: 0 finished, 1 cut
    WebSockets: 1 finished, 3 told and went, 0 cut
  drain of r0: 3 in flight: 2 finished, 0 cut, 1 left to be handed back, after 1s
  end of a proxy that was replaced or shut down: 1 finished, 1 cut
    answers: 1 finished, 0 cut
    tunnels: 0 finished, 1 cut
    latency  answers   p50  p99  max
     before        0     -    -    -
     during       10   1ms  2ms  3ms
      after       20  1.5s   2s   3s
  lost 0 of 30 requests
`},
		{"a rollback with losses", `{
			"service": "web", "deployment": "d3", "candidate": "r1", "kind": "rollback", "phase": "failed", "reason": "it\nburns",
			"requested": "2026-03-01T12:00:00Z", "steps": [],
			"releases": [{"release": "r1", "accepted": 9, "answered": [0,0,1,0,0,2], "failed": {"unavailable": 1, "connect": 1, "broken": 1, "timeout": 1, "truncated": 1, "cut": 1, "held": 1}, "lost": 7, "failed_by_service": 3, "failed_by_segue": 5}],
			"total": {"accepted": 9, "answered": [0,0,1,0,0,2], "failed": {"unavailable": 1, "connect": 1, "broken": 1, "timeout": 1, "truncated": 1, "cut": 1, "held": 1}, "lost": 7, "failed_by_service": 3, "failed_by_segue": 5},
			"latency": {"before": {"count": 0}, "during": {"count": 0}, "after": {"count": 0}},
			"unknown": ["the proxy was started anew"]}`, `
receipt of web d3: roll back to r1: failed: it burns
    requests  carried  accepted  2xx  3xx  4xx  5xx  upgraded  lost  by service  by segue  client gone  retried  in flight
          r1        0         9    1    0    0    2         0     7           3         5            0        0          0
  lost: 1 no healthy instance (503), 1 no connection to an instance (502), 1 broken off before the answer began (502), 1 no answer in time (504), 1 answer broken off in the middle, 1 cut at the end of a drain, 1 held for too long, or one too many (503)
  not known: the proxy was started anew
  lost 7 of 9 requests, as far as is known
`},
		{"held and mirrored", `{
			"service": "web", "deployment": "d5", "candidate": "r5", "stable": "r4", "phase": "running", "requested": "2026-03-01T12:00:00Z", "steps": [],
			"releases": [], "total": {"accepted": 9, "failed": {"held": 2}, "lost": 2}, "latency": {"before": {}, "during": {}, "after": {}},
			"held": {"now": 1, "total": 9, "let_go": 5, "expired": 2, "gone": 1, "longest": 3350000000},
			"mirror": {"sent": 10, "same": 6, "different": 1, "failed": 2, "uncompared": 1, "dropped": 4}}`, `
receipt of web d5: deploy r5 (stable was r4): running
  held: 9 requests, the longest for 3.35s: 5 went on, 2 expired, 1 client gone, 1 still wait
  mirror: 10 copies of requests sent: 6 answered the same, 1 differently, 2 failed, 1 not compared; 4 dropped
  lost 2 of 9 requests so far
`},
		{"overloaded", `{
			"service": "web", "deployment": "d6", "candidate": "r6", "phase": "promoted", "requested": "2026-03-01T12:00:00Z", "steps": [],
			"releases": [], "total": {"accepted": 11, "rerouted": 2, "failed": {}, "retry_refused": 3, "replayed": 2, "shed": 4}, "queued": {"total": 5, "let_go": 2, "expired": 3, "longest": 1000000000}, "latency": {"before": {}, "during": {}, "after": {}}}`, `
receipt of web d6: deploy r6: promoted
  queued: 5 requests, the longest for 1s: 2 went on, 3 expired, 0 client gone
  shed: 4 requests (503 with Retry-After), as the instances had as much to do as they may
  retry budget spent: 3 retries were not made
  replayed: 2 uploads that an instance handed back when it was stopped
  lost 0 of 9 requests
`},
		{"nothing counted", `{
			"service": "web", "deployment": "d4", "candidate": "r4", "phase": "aborted", "reason": "aborted by ann", "requested": "2026-03-01T12:00:00Z",
			"steps": [], "releases": [], "total": {"failed": {}}, "latency": {"before": {}, "during": {}, "after": {}}}`, `
receipt of web d4: deploy r4: aborted by ann
  lost 0 of 0 requests
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			if err := printReceipt(&out, fromWire[api.Receipt](t, test.receipt)); err != nil {
				t.Fatal(err)
			}
			noon := start().Local()
			want := strings.Replace(test.want, "DATE", noon.Format(time.DateTime), 1)
			want = strings.Replace(want, "TIME", noon.Add(12*time.Second).Format(time.TimeOnly), 1)
			want = strings.Replace(want, "TIME", noon.Format(time.TimeOnly), 1)
			expectText(t, trimRight(out.String()), want)
		})
	}
}
