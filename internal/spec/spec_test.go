package spec

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"pgregory.net/rapid"
)

// drawSpec draws a valid spec, in the form that Parse gives it.
func drawSpec(t *rapid.T) *Spec {
	text := func(label, pattern string) string { return rapid.StringMatching(pattern).Draw(t, label) }
	duration := func(label string, least int64) Duration {
		return Duration(rapid.Int64Range(least, int64(1000*time.Hour)).Draw(t, label))
	}
	flag := func(label string) bool { return rapid.Bool().Draw(t, label) }

	s := Default()
	s.Service = text("service", `[a-z][a-z0-9-]{0,30}[a-z0-9]`)
	s.Artifact = text("artifact", `(\./build|dist)`)
	s.Command = []string{"./serve", text("argument", `[ -~]{0,9}`) + "{{.Host}}"}
	s.Dir = text("dir", `[a-z]{0,8}`)
	if flag("env") {
		s.Env = map[string]string{text("name", `[A-Z]{1,4}X`): text("value", `([ -#%-~äß]|\$\$|\$\{A\})*`)}
	}
	s.Instances = rapid.IntRange(1, 1000).Draw(t, "instances")
	s.User = text("user", `([a-z]{1,8}|[0-9]{1,5})?`)
	s.Limits = Limits{Memory: Size(rapid.Int64Range(minMemory, 1<<50).Draw(t, "memory")), CPU: rapid.Float64Range(0, 64).Draw(t, "cpu")}
	if flag("hosts") {
		s.Route = Route{Hosts: []string{text("host", `(\*\.)?[a-z]{1,9}\.example`)}, Paths: []string{"/", text("path", `/[a-z]{1,9}`)}}
	}
	s.Health.Interval, s.Health.Timeout = duration("interval", int64(minInterval)), duration("timeout", 1)
	switch rapid.IntRange(0, 2).Draw(t, "health") {
	case 0:
		s.Health.TCP, s.Health.HTTP = false, &HealthHTTP{Path: "/" + text("health path", `[a-z?=&]{0,9}`), Status: rapid.IntRange(100, 599).Draw(t, "status")}
	case 1:
		s.Health.TCP, s.Health.Command = false, []string{"check", text("check", `[ -~]*`)}
	}
	if flag("smoke") {
		s.Smoke = []Smoke{
			{Command: []string{"x"}, Timeout: duration("smoke timeout", 1)},
			{HTTP: &SmokeHTTP{Method: "PUT", Path: "/", Headers: map[string]string{"A": text("header", `[ -~]*`)}, Body: text("body", `[ -~\n\t]*`)}, Timeout: 1},
		}
	}
	s.Strategy.BlueGreen.Bake = duration("bake", 0)
	s.Strategy.BlueGreen.MaxErrors = Percent(rapid.IntRange(0, 1000).Draw(t, "errors")) / 10
	s.Drain, s.Warm, s.StopGrace = duration("drain", 0), duration("warm", 0), duration("grace", 0)
	s.Keep = rapid.IntRange(0, 9).Draw(t, "keep")
	s.Logs.MaxSize = Size(rapid.Int64Range(minLogSize, 1<<50).Draw(t, "logs"))
	return s
}

func TestJSONRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSpec(t)
		if err := s.Validate(); err != nil {
			t.Skip(err)
		}
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var got Spec
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(&got, s) {
			t.Fatalf("got  %+v\nwant %+v\nby %s", got, *s, data)
		}
	})
}

func TestYAMLRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSpec(t)
		if err := s.Validate(); err != nil {
			t.Skip(err)
		}
		// JSON is YAML, too.
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse("segue.yaml", data)
		if err != nil {
			t.Fatalf("%v\nin %s", err, data)
		}
		if !reflect.DeepEqual(got, s) {
			t.Fatalf("got  %+v\nwant %+v\nby %s", *got, *s, data)
		}
	})
}

func TestYAMLOfASpecParsesToItself(t *testing.T) {
	for _, text := range []string{
		minimal, string(Example("web")), minimal + "warm: 0s\nkeep: 0\nstrategy: {blue-green: {bake: 0s}}\nhealth: {command: [x]}\n",
		minimal + "limits: {memory: 1500000, cpu: 0.5}\nenv: {A: \"$${x}\"}\n",
	} {
		s := mustParse(t, text)
		data, err := yaml.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse("segue.yaml", data)
		if err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("got %+v, %v; want %+v; by\n%s", got, err, s, data)
		}
	}
}
