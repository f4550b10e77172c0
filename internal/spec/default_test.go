package spec

import (
	"reflect"
	"testing"
	"time"
)

func TestDefaults(t *testing.T) {
	want := &Spec{
		Service: "web", Command: []string{"serve"},
		Instances: 1, Listen: "port", Protocol: "http", RetryBudget: 20, Ejection: Ejection{Failures: 5, Time: Duration(10 * time.Second), Keep: 50}, Overload: Overload{Queue: 100, MaxWait: Duration(time.Second)},
		Health: Health{
			TCP: true, Interval: Duration(time.Second), Timeout: Duration(5 * time.Second),
			Healthy: 1, Unhealthy: 3, StartDeadline: Duration(60 * time.Second),
		},
		Strategy:   Strategy{BlueGreen: &BlueGreen{Bake: Duration(10 * time.Second)}},
		Guard:      Guard{MaxErrors: 5, MinRequests: 20},
		StopSignal: "TERM",
		Drain:      Duration(30 * time.Second), Warm: Duration(10 * time.Minute), StopGrace: Duration(10 * time.Second),
		TellWebSockets: true,
		Keep:           5, Logs: Logs{MaxSize: 10 * 1024 * 1024},
	}
	if got := mustParse(t, minimal); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestDefaultsOfWhatIsGivenInPart(t *testing.T) {
	s := mustParse(t, minimal+`
health: {interval: 2s}
smoke:
  - {http: {path: /}}
  - {command: [check], timeout: 1s}
strategy: {blue-green: {bake: 1m}}
`)
	if !s.Health.TCP || s.Health.Timeout.Std() != 5*time.Second {
		t.Errorf("health is %+v", s.Health)
	}
	if s.Smoke[0].HTTP.Method != "GET" || s.Smoke[0].Timeout.Std() != 30*time.Second || s.Smoke[1].Timeout.Std() != time.Second {
		t.Errorf("smoke is %+v", s.Smoke)
	}
	if b := s.Strategy.BlueGreen; b.Bake.Std() != time.Minute || s.Guard != (Guard{MaxErrors: 5, MinRequests: 20}) {
		t.Errorf("blue-green is %+v", b)
	}
}

func TestExplicitZerosAreHonoured(t *testing.T) {
	s := mustParse(t, minimal+"strategy: {blue-green: {bake: 0s}}\nguard: {max_errors: 0}\nwarm: 0s\ndrain: 0s\nstop_grace: 0s\nkeep: 0\n")
	if s.Strategy.BlueGreen.Bake != 0 || s.Guard.MaxErrors != 0 || s.Warm != 0 || s.Drain != 0 || s.StopGrace != 0 || s.Keep != 0 {
		t.Errorf("got %+v, %+v", s, s.Strategy.BlueGreen)
	}
}

func TestDefaultsAreNotShared(t *testing.T) {
	mustParse(t, minimal+"strategy: {blue-green: {bake: 1h}}\n")
	if b := Default().Strategy.BlueGreen; b.Bake.Std() != 10*time.Second {
		t.Errorf("the default bake has become %s", b.Bake)
	}
}

func TestChoiceReplacesTheDefaultOne(t *testing.T) {
	s := mustParse(t, minimal+"health: {http: {path: /}}\n")
	if s.Health.TCP || s.Health.HTTP == nil {
		t.Errorf("health is %+v", s.Health)
	}
}
