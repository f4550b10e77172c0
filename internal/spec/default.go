package spec

import (
	"reflect"
	"slices"
	"time"
)

// Default returns a spec that holds every default and nothing else; service and
// command, which have none, are empty. What is written in segue.yaml goes over
// it, so that an explicit zero stays a zero.
func Default() *Spec {
	return &Spec{
		Instances:   1,
		Listen:      ListenPort,
		RetryBudget: 20,
		Protocol:    ProtocolHTTP,
		Ejection:    Ejection{Failures: 5, Time: Duration(10 * time.Second), Keep: 50},
		Overload:    Overload{Queue: 100, MaxWait: Duration(time.Second)},
		Health: Health{
			TCP:           true,
			Interval:      Duration(time.Second),
			Timeout:       Duration(5 * time.Second),
			Healthy:       1,
			Unhealthy:     3,
			StartDeadline: Duration(time.Minute),
		},
		Strategy: Strategy{BlueGreen: defaultBlueGreen()},
		Guard:    Guard{MaxErrors: 5, MinRequests: 20},
		Drain:    Duration(30 * time.Second),
		Warm:     Duration(10 * time.Minute),

		TellWebSockets: true,

		StopSignal: "TERM",
		StopGrace:  Duration(10 * time.Second),
		Keep:       5,
		Logs:       Logs{MaxSize: 10 << 20},
	}
}

// settle gives the defaults that follow from what else is given, where given
// says of a field's path whether it is: a worker listens on nothing, what listens
// on nothing is a worker and says by itself when it is ready, and where two
// releases must not run at once, the old one isn't kept warm.
func (s *Spec) settle(given func(path string) bool) {
	chosen := func(path string, t reflect.Type) bool {
		choices := names(fieldsOf(t), choiceField)
		return slices.ContainsFunc(choices, func(name string) bool { return given(join(path, name)) })
	}
	switch {
	case s.Strategy.Worker != nil && !given("listen"):
		s.Listen = ListenNone
	case s.Listen == ListenNone && !chosen("strategy", reflect.TypeFor[Strategy]()):
		s.Strategy = Strategy{Worker: defaultWorker()}
	}
	if s.Listen == ListenNone && !chosen("health", reflect.TypeFor[Health]()) {
		s.Health.TCP, s.Health.Notify = false, true
	}
	if !s.Strategy.keepsWarm() && !given("warm") {
		s.Warm = 0
	}
}

func defaultBlueGreen() *BlueGreen { return &BlueGreen{Bake: Duration(10 * time.Second)} }

func defaultCanary() *Canary {
	bake := CanaryStep{Bake: Bake{Max: Duration(time.Minute)}}
	return &Canary{
		Steps:     []CanaryStep{{Weight: 5}, bake, {Weight: 25}, bake, {Weight: 50}, bake, {Weight: 100}, bake},
		Instances: InstancesAuto,
	}
}

func defaultApprove() *Approve {
	return &Approve{Deadline: Duration(time.Hour), Then: ThenAbort}
}

func defaultMirror() *Mirror {
	return &Mirror{Share: 10, Compare: CompareStatus, MaxInFlight: 10, MaxBody: 64 << 10}
}

func defaultRolling() *Rolling {
	return &Rolling{MaxSurge: "25%", MaxUnavailable: "0", Bake: Bake{Max: Duration(5 * time.Second)}}
}

func defaultExclusive() *Exclusive {
	return &Exclusive{
		Hold:  Hold{Time: Duration(3 * time.Minute), Requests: 1000, Bytes: 32 << 20},
		Ready: Duration(20 * time.Second),
		Bake:  Duration(10 * time.Second),
	}
}

func defaultWorker() *Worker {
	return &Worker{Order: OrderOverlap, Bake: Duration(10 * time.Second)}
}

func defaultAnalysis() *Analysis {
	return &Analysis{
		FalseAlarms:  1,
		WrongPasses:  5,
		Errors:       CompareErrors{Margin: 0.5, Factor: 1},
		Latency:      CompareLatency{Factor: 1.2},
		Failures:     Failures{Status: []StatusRange{"5xx"}, GRPC: []int{2, 4, 13, 14, 15}},
		Maturity:     Duration(10 * time.Second),
		WarmUp:       Duration(10 * time.Second),
		Inconclusive: InconclusiveApprove,
	}
}

func defaultAnalysisCheck() *AnalysisCheck {
	return &AnalysisCheck{Every: Duration(30 * time.Second), Timeout: Duration(10 * time.Second), Failures: 1}
}

func defaultTrafficProbe() *TrafficProbe { return &TrafficProbe{Rate: 1} }

func defaultHook() *Hook {
	return &Hook{Timeout: Duration(30 * time.Second), OnFailure: OnFailureAbort}
}

func defaultCheck() *Check {
	return &Check{Timeout: Duration(30 * time.Second), RetryAfter: Duration(time.Second)}
}

func defaultCheckHTTP() *CheckHTTP {
	return &CheckHTTP{Method: "GET"}
}

// defaultOf returns a new value of type t, with the defaults of those types
// that [Default] has no room for because there are none or many of them.
func defaultOf(t reflect.Type) reflect.Value {
	for _, d := range []any{
		defaultBlueGreen(), defaultCanary(), defaultApprove(), defaultMirror(), defaultRolling(), defaultExclusive(),
		defaultWorker(), defaultHook(), defaultCheck(), defaultCheckHTTP(),
		defaultAnalysis(), defaultAnalysisCheck(), defaultTrafficProbe(),
	} {
		if v := reflect.ValueOf(d).Elem(); v.Type() == t {
			return v
		}
	}
	return reflect.New(t).Elem()
}
