package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/api"
)

// show is what a terminal of 80 columns shows, without colours.
func show(s liveState, now time.Time) string {
	return strings.Join(s.lines(now, 80, unbounded, liveStyles{}), "\n") + "\n"
}

func expectText(t *testing.T, got, want string) {
	t.Helper()
	want = strings.TrimPrefix(want, "\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestLiveLines(t *testing.T) {
	at := func(d time.Duration) time.Time { return start().Add(d) }
	for _, test := range []struct {
		name  string
		state liveState
		now   time.Time
		want  string
	}{
		{"queued", liveState{d: good().until(1)}, at(0), `
web d2: deploy r2: hotfix
  waits for its turn
`},
		{"starting", liveState{d: good().until(4), note: "web-r2-1 is ready (1 of 2)"}, at(1090 * time.Millisecond), `
web d2: deploy r2: hotfix  stable is r1
  ▸     1.0s  start 2 instances of r2 and wait until ready (at most 1m0s)
              web-r2-1 is ready (1 of 2)
  ·           shift traffic: r2 100 %
  ·           bake r2 for 10s
`},
		{"baking", liveState{d: good().until(8)}, at(5 * time.Second), `
web d2: deploy r2: hotfix  stable is r1
  ✓   1.204s  start 2 instances of r2 and wait until ready (at most 1m0s): 2 instances ready
  ✓      8ms  shift traffic: r2 100 %: in force after 7.5ms
  ▸     3.7s  bake r2 for 10s
`},
		{"promoted", liveState{d: good().d}, at(time.Hour), `
web d2: deploy r2: hotfix  stable is r1
  ✓   1.204s  start 2 instances of r2 and wait until ready (at most 1m0s): 2 instances ready
  ✓      8ms  shift traffic: r2 100 %: in force after 7.5ms
  ✓      10s  bake r2 for 10s
web d2: promoted, r2 is stable (11.2s)
`},
		{"failed", liveState{d: failed().d}, at(time.Hour), `
web d2: deploy r2: hotfix  stable is r1
  ✗     1.5s  start 2 instances of r2 and wait until ready (at most 1m0s)
              web-r2-1: exited with code 3 after 1.5s
              its last lines:
              | panic:    no database
              | goodbye
  -           shift traffic: r2 100 % (skipped)
  -           bake r2 for 10s (skipped)
  ✓     20ms  back: retire r2: stop its instances
web d2: failed and taken back (1.52s)
`},
		{"aborting", liveState{d: aborted().until(4)}, at(3 * time.Second), `
web d2: deploy r2: hotfix  stable is r1
  ▸     3.0s  start 2 instances of r2 and wait until ready (at most 1m0s)
  ·           shift traffic: r2 100 %
  ·           bake r2 for 10s
  aborted by bob: wrong branch
`},
		{"aborted", liveState{d: aborted().d}, at(time.Hour), `
web d2: deploy r2: hotfix  stable is r1
  -           start 2 instances of r2 and wait until ready (at most 1m0s) (skipped)
  -           shift traffic: r2 100 % (skipped)
  -           bake r2 for 10s (skipped)
  ✓     20ms  back: retire r2: stop its instances
web d2: aborted by bob: wrong branch (3.02s)
`},
		{"approving", liveState{d: asking().d}, at(time.Second), `
web d2: deploy r2  stable is r1
  ✓     10ms  hold new requests (each at most 2m0s) until the next shift
  ▸     0.9s  approve: wait for 'segue promote' (at most 10m0s, then abort)
              'segue promote -s web d2' goes on, 'segue abort -s web d2' ends
              it; until TIME, then it is aborted
  ·           shift traffic: r2 100 %
  new requests are held since NOON, each for 2m at most
`},
		{"paused", liveState{d: asking().after(0, api.PromoteRequested{Step: 1}).after(0, did(1, "promoted")).
			after(0, api.PauseRequested{Until: at(10 * time.Minute), Then: "promote", Actor: api.Actor{By: "ann", Reason: "lunch"}}).d}, at(time.Minute), `
web d2: deploy r2  stable is r1
  ✓     10ms  hold new requests (each at most 2m0s) until the next shift
  ✓       0s  approve: wait for 'segue promote' (at most 10m0s, then abort): promoted
  ·           shift traffic: r2 100 %
  new requests are held since NOON, each for 2m at most
  paused by ann: lunch; until TIME, then it goes on; 'segue resume -s web
  d2' goes on
`},
		{"lost", liveState{d: good().until(3), lostUntil: at(time.Minute)}, at(0), `
web d2: deploy r2: hotfix  stable is r1
  ▸     0.0s  start 2 instances of r2 and wait until ready (at most 1m0s)
  ·           shift traffic: r2 100 %
  ·           bake r2 for 10s
  the daemon does not answer, traffic goes on without it; trying until ` + at(time.Minute).Local().Format(time.TimeOnly) + `
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.state.service = "web"
			want := strings.NewReplacer("NOON", clock(test.now, start()), "TIME", clock(test.now, at(10*time.Minute))).Replace(test.want)
			expectText(t, show(test.state, test.now), want)
		})
	}
}

// TestLongReason stays whole on a narrow terminal.
func TestLongReason(t *testing.T) {
	s := failed()
	s.d.Steps[0].Outcome.Message = "smoke test failed: GET / gave 500\n" + strings.Repeat("very ", 20) + "long"
	got := strings.Join(liveState{service: "web", d: s.d}.lines(s.now, 50, unbounded, liveStyles{}), "\n")
	if n := strings.Count(got, "very"); n != 20 {
		t.Errorf("%d of 20 are left in\n%s", n, got)
	}
	for _, l := range strings.Split(got, "\n") {
		if strings.Contains(l, "very") && len(l) > 49 {
			t.Errorf("%q is too long", l)
		}
	}
}
