package deploy

import (
	"strings"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/spec"
)

// testSpec is a small service with one smoke test.
func testSpec(t *testing.T, more string) *spec.Spec {
	t.Helper()
	s, err := spec.Parse("segue.yaml", []byte(`service: web
command: [serve]
instances: 2
smoke:
  - command: [check]
strategy:
  blue-green: {bake: 10s}
warm: 10m
`+more))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sentences(steps []Step) string {
	var lines []string
	for _, st := range steps {
		lines = append(lines, st.String())
	}
	return strings.Join(lines, "\n")
}

func TestPlan(t *testing.T) {
	sp := testSpec(t, "")
	releases := []Release{{ID: "r1", Spec: *sp, Promotions: 1}, {ID: "r2", Spec: *sp, Promotions: 1}, {ID: "r3", Spec: *sp}}
	for _, test := range []struct {
		name      string
		state     State
		candidate string
		want      string
	}{
		{
			name: "the first release has nothing to drain", candidate: "r1",
			state: State{Releases: releases},
			want: `start 2 instances of r1 and wait until ready (at most 1m0s)
verify r1 with 1 check (at most 30s)
shift traffic: r1 100 %
bake r1 for 10s`,
		},
		{
			name: "beside stable", candidate: "r2",
			state: State{Releases: releases, Stable: "r1", Running: map[string]Running{"r1": {Instances: 2}}},
			want: `start 2 instances of r2 and wait until ready (at most 1m0s)
verify r2 with 1 check (at most 30s)
shift traffic: r2 100 %
bake r2 for 10s
drain r1 (at most 30s, then cut)`,
		},
		{
			name: "what was warm goes when the candidate has proved itself", candidate: "r3",
			state: State{Releases: releases, Stable: "r2", Previous: "r1", Running: map[string]Running{
				"r1": {Instances: 2, WarmUntil: time.Unix(1, 0)}, "r2": {Instances: 2}}},
			want: `start 2 instances of r3 and wait until ready (at most 1m0s)
verify r3 with 1 check (at most 30s)
shift traffic: r3 100 %
bake r3 for 10s
drain r2 (at most 30s, then cut)
retire r1: stop its instances`,
		},
		{
			name: "back to a warm release", candidate: "r1",
			state: State{Releases: releases, Stable: "r2", Previous: "r1", Running: map[string]Running{
				"r1": {Instances: 2, WarmUntil: time.Unix(1, 0)}, "r2": {Instances: 2}}},
			want: `start 2 instances of r1 and wait until ready (at most 1m0s)
shift traffic: r1 100 %
drain r2 (at most 30s, then cut)`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := sentences(plan(&test.state, test.state.Release(test.candidate))); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

func TestPlanBack(t *testing.T) {
	sp := testSpec(t, "")
	releases := []Release{{ID: "r1", Spec: *sp}, {ID: "r2", Spec: *sp}}
	running := map[string]Running{"r1": {Instances: 2}, "r2": {Instances: 2}}
	begun := func(kinds ...StepKind) *Deployment {
		d := &Deployment{Candidate: "r2", Stable: "r1"}
		for _, k := range kinds {
			d.Steps = append(d.Steps, StepState{Step: Step{Kind: k}, Began: time.Unix(1, 0)})
		}
		return d
	}
	for _, test := range []struct {
		name    string
		d       *Deployment
		running map[string]Running
		want    string
	}{
		{"nothing has begun", begun(), map[string]Running{"r1": {Instances: 2}}, ""},
		{"before the shift", begun(StepStart), running, "retire r2: stop its instances"},
		{"after the shift", begun(StepStart, StepShift, StepBake), running,
			"shift traffic: r1 100 %\ndrain r2 (at most 30s, then cut)\nretire r2: stop its instances"},
		{"a first release", &Deployment{Candidate: "r2", Steps: begun(StepShift).Steps}, running,
			"shift traffic: no release\ndrain r2 (at most 30s, then cut)\nretire r2: stop its instances"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := State{Releases: releases, Stable: test.d.Stable, Running: test.running}
			if got := sentences(planBack(&s, test.d)); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

// TestBlueGreenWithoutBakeOrSmoke has only what must be.
func TestBlueGreenWithoutBakeOrSmoke(t *testing.T) {
	sp := testSpec(t, "")
	sp.Smoke, sp.Strategy.BlueGreen.Bake = nil, 0
	s := State{Releases: []Release{{ID: "r1", Spec: *sp}}}
	want := "start 2 instances of r1 and wait until ready (at most 1m0s)\nshift traffic: r1 100 %"
	if got := sentences(plan(&s, &s.Releases[0])); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
