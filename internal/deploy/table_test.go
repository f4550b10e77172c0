package deploy

import (
	"reflect"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/health"
	"github.com/segue-deploy/segue/internal/proxy"
)

func TestTableOf(t *testing.T) {
	sp := testSpec(t, "route: {hosts: [old.example]}")
	moved := testSpec(t, "route: {hosts: [new.example]}")
	instance := func(release, id string, state driver.State) driver.Instance {
		return driver.Instance{Service: "web", Release: release, ID: id, State: state, Target: health.Target{Network: "tcp", Address: id}}
	}
	base := State{
		Service:  "web",
		Releases: []Release{{ID: "r1", Spec: *sp}, {ID: "r2", Spec: *moved}},
		Running:  map[string]Running{"r1": {Instances: 2}, "r2": {Instances: 2}},
		Weights:  map[string]int{"r1": 100},
	}
	upstreams := func(svc proxy.Service) map[string][]string {
		m := map[string][]string{}
		for _, r := range svc.Releases {
			m[r.ID] = nil
			for _, u := range r.Upstreams {
				m[r.ID] = append(m[r.ID], u.ID)
			}
		}
		return m
	}
	for _, test := range []struct {
		name      string
		state     func(s *State)
		instances []driver.Instance
		host      string
		want      map[string][]string
	}{
		{
			name:      "only ready instances",
			instances: []driver.Instance{instance("r1", "a", driver.Ready), instance("r1", "b", driver.Backoff), instance("r2", "c", driver.Starting)},
			host:      "old.example", want: map[string][]string{"r1": {"a"}, "r2": nil},
		},
		{
			name:      "unready ones when there is nothing better",
			instances: []driver.Instance{instance("r1", "a", driver.Unready), instance("r1", "b", driver.Unready), instance("r2", "c", driver.Ready), instance("r2", "d", driver.Unready)},
			host:      "old.example", want: map[string][]string{"r1": {"a", "b"}, "r2": {"c"}},
		},
		{
			name:  "the hosts move with the traffic",
			state: func(s *State) { s.Weights = map[string]int{"r2": 100} },
			host:  "new.example", want: map[string][]string{"r1": nil, "r2": nil},
		},
		{
			name:      "a release that retires is not in it",
			state:     func(s *State) { s.Running["r2"] = Running{Instances: 2, Retiring: true} },
			instances: []driver.Instance{instance("r2", "c", driver.Ready)},
			host:      "old.example", want: map[string][]string{"r1": nil},
		},
		{
			name:      "instances of other services are theirs",
			instances: []driver.Instance{{Service: "api", Release: "r1", ID: "x", State: driver.Ready}},
			host:      "old.example", want: map[string][]string{"r1": nil, "r2": nil},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := base
			s.Running = map[string]Running{"r1": {Instances: 2}, "r2": {Instances: 2}}
			if test.state != nil {
				test.state(&s)
			}
			table := tableOf([]State{s, {Service: "idle"}}, test.instances)
			if len(table.Services) != 1 {
				t.Fatalf("services: %+v", table.Services)
			}
			svc := table.Services[0]
			if got := upstreams(svc); !reflect.DeepEqual(got, test.want) {
				t.Errorf("upstreams %v, want %v", got, test.want)
			}
			if svc.Hosts[0] != test.host {
				t.Errorf("hosts %v, want %s", svc.Hosts, test.host)
			}
		})
	}
}

// TestFallback has stable stand by from the shift of all traffic to its own drain.
func TestFallback(t *testing.T) {
	sp := testSpec(t, "")
	ready := func(release string) driver.Instance {
		return driver.Instance{Service: "web", Release: release, ID: release, State: driver.Ready, Target: health.Target{Network: "tcp", Address: release + ":1"}}
	}
	began := time.Unix(1, 0)
	for _, test := range []struct {
		name   string
		change func(s *State, d *Deployment)
		want   string
	}{
		{"all traffic is the candidate's", func(*State, *Deployment) {}, "r1"},
		{"stable has a share", func(s *State, _ *Deployment) { s.Weights = map[string]int{"r1": 50, "r2": 50} }, ""},
		{"stable is about to be drained", func(_ *State, d *Deployment) { d.Steps[1].Began = began }, ""},
		{"somebody else was drained", func(_ *State, d *Deployment) { d.Steps[1].Began, d.Steps[1].Release = began, "r0" }, "r1"},
		{"stable retires", func(s *State, _ *Deployment) { s.Running["r1"] = Running{Instances: 1, Retiring: true} }, ""},
		{"stable has stopped", func(s *State, _ *Deployment) { delete(s.Running, "r1") }, ""},
		{"the deployment has ended", func(_ *State, d *Deployment) { d.Phase = PhasePromoted }, ""},
		{"the candidate is taken back", func(_ *State, d *Deployment) { d.Phase = PhaseTakingBack }, ""},
		{"stable is scaled", func(_ *State, d *Deployment) { d.Stable = "r2" }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := Deployment{Number: 2, Candidate: "r2", Stable: "r1", Phase: PhaseRunning, Steps: []StepState{
				{Step: Step{Kind: StepBake, Release: "r2"}, Began: began},
				{Step: Step{Kind: StepDrain, Release: "r1"}},
			}}
			s := State{
				Service:  "web",
				Releases: []Release{{ID: "r1", Spec: *sp}, {ID: "r2", Spec: *sp}},
				Running:  map[string]Running{"r1": {Instances: 1}, "r2": {Instances: 1}},
				Weights:  map[string]int{"r2": 100},
			}
			test.change(&s, &d)
			s.Deployments = []*Deployment{&d}
			table := tableOf([]State{s}, []driver.Instance{ready("r1"), ready("r2")})
			if got := table.Services[0].Fallback; got != test.want {
				t.Errorf("the fallback is %q, want %q", got, test.want)
			}
		})
	}
}

// TestStableAnswersForACandidateThatIsGone holds as long as a deployment is under
// way: somebody who can answer does.
func TestStableAnswersForACandidateThatIsGone(t *testing.T) {
	sp := testSpec(t, "")
	s := State{
		Service:     "web",
		Releases:    []Release{{ID: "r1", Spec: *sp}, {ID: "r2", Spec: *sp}},
		Deployments: []*Deployment{{Candidate: "r2", Stable: "r1", Phase: PhaseRunning}},
		Running:     map[string]Running{"r1": {Instances: 1}, "r2": {Instances: 1}},
		Weights:     map[string]int{"r2": 100},
	}
	ready := func(release string) driver.Instance {
		return driver.Instance{Service: "web", Release: release, ID: release, State: driver.Ready}
	}
	for _, test := range []struct {
		name      string
		instances []driver.Instance
		want      string
	}{
		{"both are there", []driver.Instance{ready("r1"), ready("r2")}, "r2"},
		{"only stable is", []driver.Instance{ready("r1")}, "r1"},
		{"nobody is", nil, "r2"},
	} {
		if w := s.weights(test.instances); len(w) != 1 || w[test.want] != 100 {
			t.Errorf("%s: %v, want all to %s", test.name, w, test.want)
		}
	}
}

// TestTableBounds has what bounds a service's requests come from the release with the
// traffic, and what bounds an instance's from its own.
func TestTableBounds(t *testing.T) {
	s := State{
		Service:  "web",
		Releases: []Release{{ID: "r1", Spec: *testSpec(t, "retry_budget: 5%\noverload: {max_in_flight: 7, queue: 3, max_wait: 2s}\nslow_start: 9s\ntell_websockets: false\nreplay_uploads: true\nejection: {failures: 7, time: 3s, keep: 25%, server_errors: true}")}, {ID: "r2", Spec: *testSpec(t, "")}},
		Running:  map[string]Running{"r1": {Instances: 1}, "r2": {Instances: 1}},
	}
	for release, want := range map[string]proxy.RetryBudget{"r1": {Share: 5}, "r2": {Share: 20}} {
		s.Weights = map[string]int{release: 100}
		svc := tableOf([]State{s}, nil).Services[0]
		if got := svc.RetryBudget; got == nil || *got != want {
			t.Errorf("with the traffic at %s: %v, want %v", release, got, want)
		}
		queue := proxy.Queue{Requests: 100, Time: time.Second}
		if release == "r1" {
			queue = proxy.Queue{Requests: 3, Time: 2 * time.Second}
		}
		if got := svc.Queue; got == nil || *got != queue {
			t.Errorf("with the traffic at %s: %v, want %v", release, got, queue)
		}
		if r := svc.Releases; r[0].MaxInFlight != 7 || r[1].MaxInFlight != 0 || r[0].SlowStart != 9*time.Second || r[1].SlowStart != 0 || !r[0].ReplayUploads || r[1].ReplayUploads || r[0].TellWebSockets || !r[1].TellWebSockets {
			t.Errorf("the releases are %+v", r)
		}
		one, two := proxy.Ejection{Failures: 7, Time: 3 * time.Second, Keep: 25, ServerErrors: true}, proxy.Ejection{Failures: 5, Time: 10 * time.Second, Keep: 50}
		if r := svc.Releases; r[0].Ejection != one || r[1].Ejection != two {
			t.Errorf("the releases are %+v", r)
		}
	}
}
