package spec

import (
	"reflect"
	"time"
)

// Default returns a spec that holds every default and nothing else; service and
// command, which have none, are empty. What is written in segue.yaml goes over
// it, so that an explicit zero stays a zero.
func Default() *Spec {
	return &Spec{
		Instances: 1,
		Listen:    ListenPort,
		Health: Health{
			TCP:           true,
			Interval:      Duration(time.Second),
			Timeout:       Duration(5 * time.Second),
			Healthy:       1,
			Unhealthy:     3,
			StartDeadline: Duration(time.Minute),
		},
		Strategy:  Strategy{BlueGreen: defaultBlueGreen()},
		Drain:     Duration(30 * time.Second),
		Warm:      Duration(10 * time.Minute),
		StopGrace: Duration(10 * time.Second),
		Keep:      5,
		Logs:      Logs{MaxSize: 10 << 20},
	}
}

func defaultBlueGreen() *BlueGreen {
	return &BlueGreen{
		Bake:        Duration(10 * time.Second),
		MaxErrors:   5,
		MinRequests: 20,
	}
}

func defaultSmoke() *Smoke {
	return &Smoke{Timeout: Duration(30 * time.Second)}
}

func defaultSmokeHTTP() *SmokeHTTP {
	return &SmokeHTTP{Method: "GET"}
}

// defaultOf returns a new value of type t, with the defaults of those types
// that [Default] has no room for because there are none or many of them.
func defaultOf(t reflect.Type) reflect.Value {
	for _, d := range []any{defaultBlueGreen(), defaultSmoke(), defaultSmokeHTTP()} {
		if v := reflect.ValueOf(d).Elem(); v.Type() == t {
			return v
		}
	}
	return reflect.New(t).Elem()
}
