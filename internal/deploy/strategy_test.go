package deploy

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/segue-deploy/segue/internal/spec"
)

// strategySpec is a service of four instances with a strategy.
func strategySpec(t *testing.T, strategy string) *spec.Spec {
	t.Helper()
	s, err := spec.Parse("segue.yaml", []byte("service: web\ncommand: [serve]\ninstances: 4\nsmoke:\n  - command: [check]\n"+strategy))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStrategies holds the plan of each strategy, beside a stable release, and its
// way back from where each step has begun.
func TestStrategies(t *testing.T) {
	for _, test := range []struct{ name, spec, want string }{
		{"canary", "strategy: canary", `start 1 instance of r2 and wait until ready (at most 1m0s)
verify r2 with 1 check (at most 30s)
shift traffic: r1 95 %, r2 5 %
bake r2 for 1m0s
shift traffic: r1 75 %, r2 25 %
bake r2 for 1m0s
start 2 instances of r2 and wait until ready (at most 1m0s)
shift traffic: r1 50 %, r2 50 %
bake r2 for 1m0s
start 4 instances of r2 and wait until ready (at most 1m0s)
shift traffic: r2 100 %
bake r2 for 1m0s
drain r1 (at most 30s, then cut)`},
		{"blue-green with drains of paths", "strategy: {blue-green: {bake: 5s}}\nroute: {drain: [{path: /events, time: 5m}, {path: /short, time: 3s}]}\n", `start 4 instances of r2 and wait until ready (at most 1m0s)
verify r2 with 1 check (at most 30s)
shift traffic: r2 100 %
bake r2 for 5s
drain r1 (at most 30s, /events 5m0s, /short 3s, then cut)`},
		{"canary with everything", `strategy:
  canary:
    instances: full
    match: [{header: X-Preview, value: "yes"}, {cookie: beta}]
    mirror: {share: 20%}
    steps: [{bake: 1m}, {weight: 10}, approve, {weight: 30}, verify, {bake: 2m}]
hooks:
  before_start: [{command: [migrate]}]
  after_shift: [{command: [tell]}]
  after_promote: [{command: [tell]}]
  on_abort: [{command: [tell]}]
`, `hook before_start (at most 30s)
start 4 instances of r2 and wait until ready (at most 1m0s)
verify r2 with 1 check (at most 30s)
preview r2: requests with header X-Preview: yes, requests with cookie beta, copies of 20% of the requests
bake r2 for 1m0s
shift traffic: r1 90 %, r2 10 %
hook after_shift (at most 30s)
approve: wait for 'segue promote' (at most 1h0m0s, then abort)
shift traffic: r1 70 %, r2 30 %
hook after_shift (at most 30s)
verify r2 with 1 check (at most 30s)
bake r2 for 2m0s
shift traffic: r2 100 %
hook after_shift (at most 30s)
drain r1 (at most 30s, then cut)
hook after_promote (at most 30s)`},
		{"rolling", "strategy: rolling", `start 1 instance of r2 and wait until ready (at most 1m0s)
verify r2 with 1 check (at most 30s)
shift traffic: r1 75 %, r2 25 %
bake r2 for 5s
shrink r1 to 3 instances (drain at most 30s, then cut)
start 2 instances of r2 and wait until ready (at most 1m0s)
shift traffic: r1 50 %, r2 50 %
bake r2 for 5s
shrink r1 to 2 instances (drain at most 30s, then cut)
start 3 instances of r2 and wait until ready (at most 1m0s)
shift traffic: r2 75 %, r1 25 %
bake r2 for 5s
shrink r1 to 1 instance (drain at most 30s, then cut)
start 4 instances of r2 and wait until ready (at most 1m0s)
shift traffic: r2 100 %
bake r2 for 5s
drain r1 (at most 30s, then cut)
retire r1: stop its instances`},
		{"rolling without room", "strategy: {rolling: {max_surge: 0, max_unavailable: 1, bake: 0s}}", `shrink r1 to 3 instances (drain at most 30s, then cut)
start 1 instance of r2 and wait until ready (at most 1m0s)
verify r2 with 1 check (at most 30s)
shift traffic: r1 67 %, r2 33 %
shrink r1 to 2 instances (drain at most 30s, then cut)
start 2 instances of r2 and wait until ready (at most 1m0s)
shift traffic: r2 67 %, r1 33 %
shrink r1 to 1 instance (drain at most 30s, then cut)
start 3 instances of r2 and wait until ready (at most 1m0s)
shift traffic: r2 100 %
shrink r1 to 0 instances (drain at most 30s, then cut)
start 4 instances of r2 and wait until ready (at most 1m0s)
shift traffic: r2 100 %
drain r1 (at most 30s, then cut)
retire r1: stop its instances`},
		{"blue-green with a preview", "strategy: {blue-green: {preview: [{host: preview.example.com}], approve: }}", `start 4 instances of r2 and wait until ready (at most 1m0s)
verify r2 with 1 check (at most 30s)
preview r2: requests with host preview.example.com
approve: wait for 'segue promote' (at most 1h0m0s, then abort)
shift traffic: r2 100 %
bake r2 for 10s
drain r1 (at most 30s, then cut)`},
		{"exclusive", "strategy: exclusive", `hold new requests (each at most 3m0s) until the next shift
drain r1 (at most 30s, then cut)
retire r1: stop its instances
start 4 instances of r2 and wait until ready (at most 20s)
verify r2 with 1 check (at most 20s)
shift traffic: r2 100 %
bake r2 for 10s`},
		{"worker", "listen: none\nstrategy: worker", `start 4 instances of r2 and wait until ready (at most 1m0s)
verify r2 with 1 check (at most 30s)
bake r2 for 10s
retire r1: stop its instances`},
		{"worker that must not run twice", "listen: none\nstrategy: {worker: {order: exclusive}}", `retire r1: stop its instances
start 4 instances of r2 and wait until ready (at most 1m0s)
verify r2 with 1 check (at most 30s)
bake r2 for 10s`},
	} {
		t.Run(test.name, func(t *testing.T) {
			sp := strategySpec(t, test.spec)
			s := State{
				Service: "web", Releases: []Release{{ID: "r1", Spec: *sp}, {ID: "r2", Spec: *sp}}, Stable: "r1",
				Running: map[string]Running{"r1": {Instances: 4}}, Weights: map[string]int{"r1": 100},
			}
			if got := sentences(plan(&s, s.Release("r2"))); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

// TestBatches: whatever the bounds, a replacement ends, and never has more or fewer
// instances than it may on the way.
func TestBatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		target := rapid.IntRange(1, 12).Draw(t, "target")
		down := rapid.IntRange(0, 12).Draw(t, "down")
		up := rapid.IntRange(0, target).Draw(t, "up")
		settings := &spec.Rolling{
			MaxSurge:       spec.Amount(fmt.Sprint(rapid.IntRange(0, 12).Draw(t, "surge"))),
			MaxUnavailable: spec.Amount(fmt.Sprint(rapid.IntRange(0, 12).Draw(t, "missing"))),
		}
		b := boundsOf(settings, target, up+down)
		fewest := min(b.fewest, up+down)
		for _, next := range batches(up, target, down, b) {
			if next.shrinkFirst != keep {
				down = next.shrinkFirst
			}
			if up+down < fewest {
				t.Fatalf("only %d and %d before the start, with %+v", up, down, b)
			}
			if next.grows {
				up = next.up
			}
			if up+down > b.most {
				t.Fatalf("%d and %d at once, with %+v", up, down, b)
			}
			if next.shrinkAfter != keep {
				down = next.shrinkAfter
			}
			if up+down < fewest {
				t.Fatalf("only %d and %d after the start, with %+v", up, down, b)
			}
			fewest = min(b.fewest, max(fewest, up+down))
		}
		if up != target {
			t.Fatalf("it ends with %d of %d", up, target)
		}
	})
}

// TestLongestHold warns of a hold that is shorter than the way back may take.
func TestLongestHold(t *testing.T) {
	s := State{Stable: "r1", Running: map[string]Running{"r1": {Instances: 1}}}
	for text, want := range map[string]string{
		"strategy: {exclusive: {}}\n":                       "",
		"strategy: {exclusive: {hold: {time: 1m}}}\n":       "held for 1m0s at most, and at worst it takes 2m10s to stop r1",
		"strategy: {blue-green: {}}\nhealth: {tcp: true}\n": "",
	} {
		sp := parseWeb(t, text)
		s.Releases = []Release{{ID: "r1", Spec: *sp}}
		if got := s.longestHold(&Release{ID: "r2", Spec: *sp}); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
