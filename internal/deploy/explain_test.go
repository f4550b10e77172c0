package deploy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/spec"
)

// waiting is web with r1 as stable and a deployment of r2 that stands at a step.
func waiting(t *testing.T, st Step, change func(s *State, d *Deployment)) *State {
	t.Helper()
	sp := testSpec(t, "")
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	d := &Deployment{
		Number: 2, ID: "d2", Candidate: "r2", Stable: "r1", Kind: KindDeploy, Phase: PhaseRunning, Requested: noon, Began: noon,
		Steps: []StepState{{Step: st, Status: StepRunning, Began: noon}},
	}
	s := &State{
		Service: "web", Stable: "r1", Releases: []Release{{ID: "r1", Spec: *sp}, {ID: "r2", Spec: *sp}},
		Deployments: []*Deployment{{Number: 1, ID: "d1", Phase: PhasePromoted}, d},
		Running:     map[string]Running{"r1": {Instances: 2}, "r2": {Instances: 2}},
	}
	if change != nil {
		change(s, d)
	}
	return s
}

// TestExplain: whatever is waited for has an end, by itself or by a command, and says
// which.
func TestExplain(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	instances := []driver.Instance{
		{Service: "web", Release: "r2", ID: "web-r2-1", State: driver.Ready},
		{Service: "web", Release: "r2", ID: "web-r2-2", State: driver.Starting, Message: "GET /healthz: 503"},
	}
	approveStep := Step{Kind: StepApprove, Release: "r2", Deadline: spec.Duration(time.Hour), Then: spec.ThenPromote}
	for _, test := range []struct {
		name   string
		step   Step
		change func(s *State, d *Deployment)
		// want has a wait a line: what | until | then | command | end.
		want string
	}{
		{name: "a start", step: start(&Release{ID: "r2", Spec: *testSpec(t, "")}, 2),
			want: `d2 (to r2): start 2 instances of r2 and wait until ready (at most 1m0s); 1 of 2 ready; web-r2-2 is starting: GET /healthz: 503 | 1m0s | the candidate is taken back |  | segue abort -s web d2`},
		{name: "a bake", step: Step{Kind: StepBake, Release: "r2", For: spec.Duration(time.Minute)},
			want: `d2 (to r2): bake r2 for 1m0s | 1m0s | the next step is done, if nothing bad was seen | segue promote --full -s web d2 | segue abort -s web d2`},
		{name: "an approval", step: approveStep,
			want: `d2 (to r2): approve: wait for 'segue promote' (at most 1h0m0s, then promote) | 1h0m0s | it goes on | segue promote -s web d2 | segue abort -s web d2`},
		{name: "a drain", step: drain(&Release{ID: "r1", Spec: *testSpec(t, "")}),
			want: `d2 (to r2): drain r1 (at most 30s, then cut) | 30s | what is still in flight is cut |  | segue abort -s web d2`},
		{name: "the way back", step: shift(map[string]int{"r1": 100}), change: func(_ *State, d *Deployment) { d.Phase, d.Steps[0].Back = PhaseTakingBack, true },
			want: `d2 (to r2): taking it back: shift traffic: r1 100 % | 30s | the next step of the way back is done |  | `},
		{name: "a step before a pause", step: approveStep, change: func(_ *State, d *Deployment) {
			d.Paused = &Pause{Since: noon, Until: noon.Add(2 * time.Hour), Then: spec.ThenAbort, Actor: Actor{By: "ann", Reason: "lunch"}}
		},
			want: `d2 (to r2): approve: wait for 'segue promote' (at most 1h0m0s, then promote) | 1h0m0s | it goes on, and after this step it stands still until CLOCK: paused by ann: lunch | segue resume -s web d2 | segue abort -s web d2`},
		{name: "a pause", step: approveStep, change: func(_ *State, d *Deployment) {
			d.Steps[0].Status = StepDone
			d.Paused = &Pause{Since: noon, Until: noon.Add(2 * time.Hour), Then: spec.ThenAbort, Actor: Actor{By: "ann"}}
		},
			want: `d2 (to r2) stands before its next step: paused by ann | 2h0m0s | it is aborted, and stable gets all traffic back | segue resume -s web d2 | segue abort -s web d2`},
		{name: "between two steps", step: approveStep, change: func(_ *State, d *Deployment) { d.Steps[0].Status = StepDone },
			want: `d2 (to r2) is between two steps |  |  |  | segue abort -s web d2`},
		{name: "a hook when all is done", step: Step{Kind: StepHook, Hook: HookAfterPromote, Release: "r2", Deadline: spec.Duration(time.Minute)},
			want: `d2 (to r2): hook after_promote (at most 1m0s) | 1m0s | its failure is noted, and changes nothing |  | segue abort -s web d2`},
		{name: "a start for which requests wait", step: start(&Release{ID: "r2", Spec: *testSpec(t, "")}, 1), change: func(s *State, _ *Deployment) {
			s.Taking = &Hold{Since: noon, Until: noon.Add(2 * time.Minute)}
		},
			want: `d2 (to r2): start 1 instance of r2 and wait until ready (at most 1m0s); 1 of 1 ready; web-r2-2 is starting: GET /healthz: 503 | 1m0s | the candidate is taken back |  | segue abort -s web d2
new requests of web wait for the next shift | 2m0s | they are let go, whether somebody is ready or not |  | `},
		{name: "an abort", step: approveStep, change: func(_ *State, d *Deployment) {
			d.Steps[0].Status, d.AbortRequested, d.AbortReason = StepDone, true, "aborted by ann"
		},
			want: `d2 (to r2) is between two steps: aborted by ann |  | it is taken back |  | `},
		{name: "a step that an abort waits for", step: drain(&Release{ID: "r1", Spec: *testSpec(t, "")}), change: func(_ *State, d *Deployment) {
			d.AbortRequested, d.AbortReason = true, "aborted by ann"
		},
			want: `d2 (to r2): aborted by ann; what it was doing ends first: drain r1 (at most 30s, then cut) | 30s | what is still in flight is cut |  | `},
		{name: "a queue, a hold, a freeze and a warm release", step: approveStep, change: func(s *State, d *Deployment) {
			d.Phase = PhasePromoted
			s.Deployments = append(s.Deployments, &Deployment{Number: 3, ID: "d3", Candidate: "r1", Phase: PhaseRunning, Requested: noon},
				&Deployment{Number: 4, ID: "d4", Candidate: "r2", Phase: PhaseQueued, Requested: noon})
			s.Hold = &Hold{Since: noon, Until: noon.Add(time.Minute), Actor: Actor{By: "ann"}}
			s.Freeze = &Freeze{Since: noon, Actor: Actor{By: "bob", Reason: "weekend"}}
			s.Running["r2"] = Running{Instances: 2, WarmUntil: noon.Add(10 * time.Minute)}
		},
			want: `d3 (to r1) is between two steps |  |  |  | segue abort -s web d3
d4 (to r2) waits for its turn behind d3 |  | it begins when the one before it has ended |  | segue abort -s web d4
new requests of web wait: held by ann | 1m0s | they are let go | segue release -s web | 
deploys of web are refused: frozen by bob: weekend |  | they are allowed again | segue unfreeze -s web | 
r2 is kept warm for a rollback in no time | 10m0s | it is retired | segue rollback -s web r2 | `},
		{name: "a freeze that is over", step: approveStep, change: func(s *State, d *Deployment) {
			d.Phase, s.Freeze = PhaseAborted, &Freeze{Since: noon, Until: noon}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var lines []string
			for _, w := range explain(waiting(t, test.step, test.change), instances, noon) {
				until := ""
				if !w.Until.IsZero() {
					until = w.Until.Sub(noon).String()
				}
				lines = append(lines, fmt.Sprintf("%s | %s | %s | %s | %s", w.What, until, w.Then, w.Command, w.End))
				if w.Until.IsZero() && w.Then == "" && w.Command == "" && w.End == "" {
					t.Errorf("%q may last for ever", w.What)
				}
				if strings.HasPrefix(w.What, "d") && strings.Contains(w.What, "(to ") && !strings.HasPrefix(w.What, w.Deployment+" ") {
					t.Errorf("%q is said to be about %q", w.What, w.Deployment)
				}
			}
			want := strings.ReplaceAll(test.want, "CLOCK", clock(noon.Add(2*time.Hour)))
			if got := strings.Join(lines, "\n"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// TestTooLate: a command that finds nothing to do says where things stand and what to
// do instead.
func TestTooLate(t *testing.T) {
	for _, test := range []struct{ name, verb, phase, stable, want string }{
		{"abort of what is promoted", "abort", "promoted", "r2", "has ended: promoted, and r2 is stable; to go back to an earlier release use 'segue rollback'"},
		{"promote of what is promoted", "promote", "promoted", "r2", "has ended: promoted, and r2 is stable; there is nothing to promote"},
		{"promote of what has failed", "promote", "failed", "r1", "has ended: failed, and r1 is stable; 'segue deploy' tries again"},
		{"abort of the first", "abort", "aborted", "", "has ended: aborted, and there is no stable release; there is nothing to abort"},
	} {
		s := &State{Service: "web", Stable: test.stable}
		d := &Deployment{ID: "d2", Phase: Phase(test.phase)}
		if got := s.ended(d) + "; " + d.insteadOf(test.verb); got != test.want {
			t.Errorf("%s: %s", test.name, got)
		}
	}
	s := &State{Service: "web"}
	if err := s.nothingTo("abort"); err.Message != "no deployment of web is under way" || err.Hint != "'segue deploy' begins one" {
		t.Errorf("%+v", err)
	}
}

// TestBusyWith says where the deployment under way stands, and what to do about it.
func TestBusyWith(t *testing.T) {
	s := &State{Service: "web", Stable: "r1"}
	paused := &Pause{Actor: Actor{By: "ann"}}
	for _, test := range []struct {
		d    Deployment
		kind DeploymentKind
		want string
	}{
		{Deployment{Phase: PhaseRunning}, KindDeploy,
			"d2 of web (to r2) is under way: it is between two steps; wait for it with 'segue wait d2', or end it with 'segue abort'; --queue waits in line, --supersede aborts it"},
		{Deployment{Phase: PhaseRunning, Paused: paused, Stable: "r1"}, KindRollback,
			"d2 of web (to r2) is under way: paused by ann; 'segue abort' gives all traffic back to r1; --queue waits in line, --supersede aborts it first"},
		{Deployment{Phase: PhaseQueued}, KindScale,
			"d2 of web (to r2) is under way: it waits for its turn; wait for it with 'segue wait d2', or end it with 'segue abort'; --queue waits in line, --supersede aborts it"},
		{Deployment{Phase: PhaseTakingBack, Stable: "r1"}, KindRollback,
			"d2 of web (to r2) is under way: it is being taken back; wait for it with 'segue wait d2', or in line with --queue"},
	} {
		test.d.ID, test.d.Candidate, test.d.Kind = "d2", "r2", KindDeploy
		if got := s.busyWith(&test.d, test.kind).Error(); got != test.want {
			t.Errorf("got\n%s\nwant\n%s", got, test.want)
		}
	}
}
