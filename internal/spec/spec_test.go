package spec

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
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
	s.Command = []string{"./serve", text("argument", `[ -~]{0,9}`) + "{{.Dir}}"}
	s.Dir = text("dir", `[a-z]{0,8}`)
	if flag("env") {
		s.Env = map[string]string{text("name", `[A-Z]{1,4}X`): text("value", `([ -#%-~äß]|\$\$|\$\{A\})*`)}
	}
	s.Instances = rapid.IntRange(1, 1000).Draw(t, "instances")
	s.User = text("user", `([a-z]{1,8}|[0-9]{1,5})?`)
	s.Limits = Limits{Memory: Size(rapid.Int64Range(minMemory, 1<<50).Draw(t, "memory")), CPU: rapid.Float64Range(0, 64).Draw(t, "cpu")}
	if flag("smoke") {
		s.Smoke = []Check{drawCheck(t), {Command: []string{"x"}, Timeout: duration("smoke timeout", 1), Retries: 2, RetryAfter: duration("retry after", 0)}}
	}
	s.Guard.MaxErrors = Percent(rapid.IntRange(0, 1000).Draw(t, "errors")) / 10
	if flag("hooks") {
		hook := Hook{Command: []string{"x", text("hook", `[a-z ]*`)}, Timeout: duration("hook timeout", 1), OnFailure: OnFailureContinue}
		s.Hooks = Hooks{BeforeStart: []Hook{hook}, AfterShift: []Hook{hook}, AfterPromote: []Hook{hook, hook}, OnAbort: []Hook{hook}}
	}
	if flag("freeze") {
		s.Freeze = []Window{{Days: []string{"fri"}, From: text("from", `(0[0-9]|2[0-3]):[0-5][0-9]`), To: "24:00", Zone: "UTC"}, {From: "00:00", To: "00:01"}}
	}
	s.Drain, s.Warm, s.StopGrace = duration("drain", 0), duration("warm", 0), duration("grace", 0)
	s.StopSignal = rapid.SampledFrom(stopSignals()).Draw(t, "signal")
	s.Keep = rapid.IntRange(0, 9).Draw(t, "keep")
	s.Logs.MaxSize = Size(rapid.Int64Range(minLogSize, 1<<50).Draw(t, "logs"))
	drawHealth(t, s)
	drawStrategy(t, s)
	return s
}

func drawCheck(t *rapid.T) Check {
	text := func(label, pattern string) string { return rapid.StringMatching(pattern).Draw(t, label) }
	return Check{Timeout: 1, RetryAfter: 1, HTTP: &CheckHTTP{
		Method: "PUT", Path: "/", Headers: map[string]string{"A": text("header", `[ -~]*`)}, Body: text("body", `[ -~\n\t]*`),
		Contains: text("contains", `[ -~]*`), Matches: text("matches", `[a-z]{1,3}[.*+]?[a-z]`), Answer: map[string]string{"B": "c"},
		JSON: map[string]string{"$." + text("member", `[a-z]{1,5}`): text("JSON", `[ -~]*`)}, Latency: 5,
	}}
}

func drawHealth(t *rapid.T, s *Spec) {
	duration := func(label string, least int64) Duration {
		return Duration(rapid.Int64Range(least, int64(1000*time.Hour)).Draw(t, label))
	}
	s.Health.Interval, s.Health.Timeout = duration("interval", int64(minInterval)), duration("timeout", 1)
	s.Health.TCP = false
	switch rapid.IntRange(0, 4).Draw(t, "health") {
	case 0:
		s.Health.HTTP = &HealthHTTP{Path: "/" + rapid.StringMatching(`[a-z?=&]{0,9}`).Draw(t, "health path"), Status: rapid.IntRange(100, 599).Draw(t, "status")}
	case 1:
		s.Health.Command = []string{"check", rapid.StringMatching(`[ -~]*`).Draw(t, "check")}
	case 2:
		s.Health.File = rapid.StringMatching(`[a-z]{1,9}/[a-z ]{1,9}`).Draw(t, "file")
	case 3:
		s.Health.Notify = true
	default:
		s.Health.TCP = true
	}
}

// drawStrategy draws one, and what a spec with it must have or not.
func drawStrategy(t *rapid.T, s *Spec) {
	duration := func(label string, least int64) Duration {
		return Duration(rapid.Int64Range(least, int64(1000*time.Hour)).Draw(t, label))
	}
	bake := duration("bake", 0)
	rules := rapid.SampledFrom([][]Match{nil, {{Header: "X-A", Value: "b"}, {Cookie: "c"}, {Query: "d e"}, {Host: "next.test"}}}).Draw(t, "rules")
	approve := rapid.SampledFrom([]*Approve{nil, {Deadline: 1, Then: ThenPromote}, defaultApprove()}).Draw(t, "approve")
	analysis := rapid.SampledFrom([]*Analysis{nil, defaultAnalysis(), {FalseAlarms: 1, WrongPasses: 1, Errors: CompareErrors{Factor: 2}, Failures: Failures{Status: []StatusRange{"404"}, GRPC: []int{}}, Maturity: 1, Inconclusive: InconclusiveAbort, Checks: []AnalysisCheck{{Webhook: "https://x.test/", Every: minCheckEvery, Timeout: 1, Failures: 2}}}}).Draw(t, "analysis")
	s.Strategy = Strategy{}
	switch rapid.IntRange(0, 4).Draw(t, "strategy") {
	case 0:
		s.Strategy.BlueGreen = &BlueGreen{Preview: rules, Approve: approve, Bake: bake}
	case 1:
		steps := []CanaryStep{{Weight: rapid.IntRange(1, 99).Draw(t, "weight")}, {Bake: Bake{Max: bake + 1, Early: analysis != nil}}, {Verify: &Verify{Checks: []Check{drawCheck(t)}}}, {Weight: 100}}
		if approve != nil {
			steps = append(steps, CanaryStep{Approve: approve})
		}
		s.Strategy.Canary = &Canary{Steps: steps, Instances: rapid.SampledFrom([]CandidateInstances{"auto", "full", "3"}).Draw(t, "candidates"), Match: rules, Analysis: analysis}
		if rapid.Bool().Draw(t, "mirror") {
			s.Strategy.Canary.Mirror = defaultMirror()
		}
	case 2:
		s.Strategy.Rolling = &Rolling{MaxSurge: rapid.SampledFrom([]Amount{"1", "25%"}).Draw(t, "surge"), MaxUnavailable: "0%", Bake: Bake{Max: bake}, Analysis: analysis, Match: rules}
	case 3:
		hold := duration("hold", 2)
		s.Strategy.Exclusive = &Exclusive{Hold: Hold{Time: hold, Requests: 5, Bytes: minHeldBytes}, Ready: hold - 1, Bake: bake}
		s.Warm = 0
	case 4:
		s.Strategy.Worker = &Worker{Order: rapid.SampledFrom([]string{OrderOverlap, OrderExclusive}).Draw(t, "order"), Bake: bake}
		s.Listen, s.Warm = ListenNone, 0
	}
	if s.Listen != ListenNone && rapid.Bool().Draw(t, "routed") {
		s.Route = Route{
			Hosts: []string{rapid.StringMatching(`(\*\.)?[a-z]{1,9}\.example`).Draw(t, "host")}, Paths: []string{"/", rapid.StringMatching(`/[a-z]{1,9}`).Draw(t, "path")},
			Sticky: rapid.SampledFrom([]*Sticky{nil, {Cookie: "a"}, {Header: "X-User"}}).Draw(t, "sticky"),
		}
	}
	if s.Listen == ListenNone { // there is nobody to ask over the network
		s.Health.TCP, s.Health.HTTP = false, nil
		if s.Health.Command == nil && s.Health.File == "" {
			s.Health.Notify = true
		}
		s.Smoke = slices.DeleteFunc(s.Smoke, func(c Check) bool { return c.HTTP != nil })
	}
}

// TestDrawnSpecsAreValid fails when what drawSpec draws is refused more often than by a
// template that its texts happened to make.
func TestDrawnSpecsAreValid(t *testing.T) {
	valid, drawn := map[string]int{}, 0
	rapid.Check(t, func(t *rapid.T) {
		s := drawSpec(t)
		drawn++
		err := s.Validate()
		if err != nil && !strings.Contains(err.Error(), "template") {
			t.Fatalf("%v, of %+v", err, s)
		}
		if err == nil {
			valid[strategyName(s)]++
		}
	})
	for _, name := range names(fieldsOf(reflect.TypeFor[Strategy]()), anyField) {
		if valid[name] == 0 {
			t.Errorf("of %d none is valid with %s", drawn, name)
		}
	}
}

func strategyName(s *Spec) string {
	v := reflect.ValueOf(s.Strategy)
	for _, f := range fieldsOf(v.Type()) {
		if !v.Field(f.index).IsZero() {
			return f.name
		}
	}
	return ""
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
