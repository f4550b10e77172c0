package spec

import (
	"reflect"
	"testing"
	"time"
)

func TestAWordIsAStrategyWithItsDefaults(t *testing.T) {
	for word, want := range map[string]Strategy{
		"blue-green": {BlueGreen: defaultBlueGreen()}, "canary": {Canary: defaultCanary()}, "rolling": {Rolling: defaultRolling()},
		"exclusive": {Exclusive: defaultExclusive()}, "worker": {Worker: defaultWorker()},
	} {
		for _, text := range []string{"strategy: " + word, "strategy:\n  " + word + ":", "strategy: {" + word + ": {}}"} {
			if got := mustParse(t, minimal+text+"\n").Strategy; !reflect.DeepEqual(got, want) {
				t.Errorf("%q: got %+v, want %+v", text, got, want)
			}
		}
	}
}

func TestCanarySteps(t *testing.T) {
	s := mustParse(t, minimal+`
smoke: [{http: {path: /}}]
strategy:
  canary:
    steps:
      - bake: 10s
      - verify
      - weight: 10
      - approve
      - approve:
      - approve: {then: promote}
      - verify:
          checks: [{command: [x]}]
      - weight: 100
      - bake: 1m
`)
	check := *defaultCheck()
	check.Command = []string{"x"}
	want := []CanaryStep{
		{Bake: Bake{Max: Duration(10 * time.Second)}}, {Verify: &Verify{}}, {Weight: 10}, {Approve: defaultApprove()}, {Approve: defaultApprove()},
		{Approve: &Approve{Deadline: Duration(time.Hour), Then: ThenPromote}}, {Verify: &Verify{Checks: []Check{check}}},
		{Weight: 100}, {Bake: Bake{Max: Duration(time.Minute)}},
	}
	if got := s.Strategy.Canary.Steps; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if s.Strategy.Canary.Instances != InstancesAuto {
		t.Errorf("instances is %q", s.Strategy.Canary.Instances)
	}
}

func TestBadCanaries(t *testing.T) {
	steps := func(lines string) string {
		return minimal + "strategy:\n  canary:\n    steps:\n      - weight: 10\n" + lines + "\n"
	}
	canary := func(line string) string { return minimal + "strategy:\n  canary:\n    " + line + " #!\n" }
	const second = "strategy.canary.steps[1]"
	runBadCases(t, []badCase{
		{"two strategies", minimal + "strategy:\n  canary:\n  rolling: #!\n", "strategy.rolling", "strategy.canary exclude each other", "keep one"},
		{"no steps", canary("steps: []"), "strategy.canary.steps", "must have a weight", "- weight: 5"},
		{"no weight", canary("steps: [bake: 1s]"), "strategy.canary.steps", "must have a weight", ""},
		{"text for steps", canary("steps: approve"), "strategy.canary.steps", "must be a list", ""},
		{"empty step", steps("      - {} #!"), second, "does nothing", "weight, bake, approve, verify"},
		{"nothing", steps("      - #!"), second, "does nothing", ""},
		{"two in one step", steps("      - weight: 20\n        bake: 1s #!"), second + ".bake", "exclude each other", ""},
		{"unknown step", steps("      - wait: 1s #!"), second + ".wait", `unknown field "wait"`, "weight, bake, approve, verify"},
		{"unknown word", steps("      - aprove #!"), second, "must be a mapping", `did you mean "approve"?`},
		{"word without its value", steps("      - bake #!"), second, "must be a mapping", "{bake: …}"},
		{"number", steps("      - 20 #!"), second, "must be a mapping", "weight, bake"},
		{"no more weight", steps("      - weight: 0 #!"), second, "a weight is from 1 to 100", ""},
		{"no bake", steps("      - bake: 0s #!"), second, "a bake longer than 0s", ""},
		{"too much weight", steps("      - weight: 101 #!"), second + ".weight", "from 1 to 100, not 101", ""},
		{"negative weight", steps("      - weight: -1 #!"), second + ".weight", "from 1 to 100, not -1", ""},
		{"same weight", steps("      - weight: 10 #!"), second + ".weight", "must be more than 10", "rise"},
		{"falling", steps("      - bake: 1s\n      - weight: 5 #!"), "strategy.canary.steps[2].weight", "must be more than 10", "rise"},
		{"after all", steps("      - weight: 100\n      - weight: 50 #!"), "strategy.canary.steps[2].weight", "after all traffic has moved", "weight: 100"},
		{"deadline", steps("      - approve: {deadline: 0s} #!"), second + ".approve.deadline", "more than 0s", ""},
		{"then", steps("      - approve: {then: wait} #!"), second + ".approve.then", `"abort" or "promote", not "wait"`, ""},
		{"nothing to verify", steps("      - verify #!"), second + ".verify", "no smoke tests", "checks of its own"},
		{"nothing to verify, mapping", steps("      - verify: {checks: []} #!"), second + ".verify", "no smoke tests", ""},
		{"bad check", steps("      - verify:\n          checks:\n            - http: {path: x} #!"), second + ".verify.checks[0].http.path", "must start with /", ""},
		{"instances", canary("instances: some"), "strategy.canary.instances", "auto, full or a number", "share"},
		{"no instances", canary("instances: 0"), "strategy.canary.instances", "from 1 to 1000", ""},
		{"list for instances", canary("instances: [1]"), "strategy.canary.instances", "must be one value", ""},
		{"step beside steps", canary("bake: 1s"), "strategy.canary.bake", "unknown field", `belongs under "strategy.canary.steps"`},
		{"share", canary("mirror: {share: 0}"), "strategy.canary.mirror.share", "more than 0%", "remove mirror"},
		{"share too high", canary("mirror: {share: 101%}"), "strategy.canary.mirror.share", "from 0% to 100%", ""},
		{"compare", canary("mirror: {compare: headers}"), "strategy.canary.mirror.compare", `"status" or "body"`, ""},
		{"no copies", canary("mirror: {max_in_flight: 0}"), "strategy.canary.mirror.max_in_flight", "from 1", ""},
		{"size of bodies", canary("mirror: {max_body: -1}"), "strategy.canary.mirror.max_body", "must be a size", ""},
	})
}

func TestBadBlueGreens(t *testing.T) {
	b := func(line string) string { return minimal + "strategy:\n  blue-green:\n    " + line + " #!\n" }
	runBadCases(t, []badCase{
		{"guard's field", b("max_errors: 5%"), "strategy.blue-green.max_errors", "unknown field", `belongs under "guard"`},
		{"guard's other field", b("min_requests: 5"), "strategy.blue-green.min_requests", "unknown field", `belongs under "guard"`},
		{"field of the file", b("warm: 5m"), "strategy.blue-green.warm", "unknown field", "top of the file"},
		{"deadline", b("approve: {deadline: 0s}"), "strategy.blue-green.approve.deadline", "more than 0s", ""},
		{"then", b("approve: {then: \"\"}"), "strategy.blue-green.approve.then", `"abort" or "promote"`, ""},
		{"word for approve", b("approve: true"), "strategy.blue-green.approve", "must be a mapping", "deadline, then"},
		{"preview", b("preview: [{}]"), "strategy.blue-green.preview[0]", "chooses no requests", "header, cookie, query, host"},
	})
	s := mustParse(t, minimal+"strategy: {blue-green: {approve: }}\n")
	if got := s.Strategy.BlueGreen.Approve; !reflect.DeepEqual(got, defaultApprove()) {
		t.Errorf("approve is %+v", got)
	}
}

func TestBadRollings(t *testing.T) {
	r := func(lines string) string { return minimal + "instances: 2\nstrategy:\n  rolling:\n" + lines + "\n" }
	const field = "strategy.rolling"
	runBadCases(t, []badCase{
		{"surge", r("    max_surge: some #!"), field + ".max_surge", "number of instances or a share", "25%"},
		{"negative", r("    max_surge: -1 #!"), field + ".max_surge", "number of instances or a share", ""},
		{"too many percent", r("    max_unavailable: 101% #!"), field + ".max_unavailable", "from 0% to 100%", ""},
		{"too many", r("    max_surge: 1001 #!"), field + ".max_surge", "from 0 to 1000", ""},
		{"no room", r("    max_surge: 0 #!"), field + ".max_surge", "both come to 0 of 2", "max_unavailable: 1"},
		{"no room after rounding", r("    max_unavailable: 25%\n    max_surge: 0% #!"), field + ".max_surge", "both come to 0 of 2", "max_surge: 1"},
		{"nobody left", r("    max_unavailable: 2 #!"), field + ".max_unavailable", "all of the 2 instances", "100%"},
		{"weight", r("    weight: 5 #!"), field + ".weight", "unknown field", `under "strategy.canary.steps"`},
		{"match", r("    match: [{header: \"a b\"}] #!"), field + ".match[0].header", "not a header's name", ""},
	})
	for _, fine := range []string{"    max_surge: 0\n    max_unavailable: 50%", "    max_unavailable: 100%", "    max_surge: 0\n    max_unavailable: 1", "    bake: 0s"} {
		mustParse(t, r(fine))
	}
}

func TestBadExclusives(t *testing.T) {
	e := func(line string) string { return minimal + "strategy:\n  exclusive:\n    " + line + " #!\n" }
	const field = "strategy.exclusive"
	runBadCases(t, []badCase{
		{"ready", e("ready: 0s"), field + ".ready", "more than 0s", ""},
		{"ready longer than the hold", e("ready: 4m"), field + ".ready", "less than hold.time (3m), not 4m", "hold.time longer"},
		{"hold shorter than ready", e("hold: {time: 20s}"), field + ".ready", "less than hold.time (20s), not 20s", ""},
		{"no hold", e("hold: {time: 0s}"), field + ".hold.time", "more than 0s", ""},
		{"no requests", e("hold: {requests: 0}"), field + ".hold.requests", "from 1 to 1000000", ""},
		{"too many requests", e("hold: {requests: 2000000}"), field + ".hold.requests", "from 1 to 1000000", ""},
		{"no bytes", e("hold: {bytes: 1KiB}"), field + ".hold.bytes", "at least 64KiB, not 1KiB", "16MiB"},
		{"hold's field", e("time: 1m"), field + ".time", "unknown field", `"strategy.exclusive.hold"`},
		{"kept warm", minimal + "strategy: exclusive\nwarm: 1m #!\n", "warm", "must be 0s", "remove it"},
	})
}

func TestAWorkerIsSettled(t *testing.T) {
	want := mustParse(t, minimal+"listen: none\nstrategy: worker\nhealth: {notify: true}\nwarm: 0s\n")
	if want.Listen != ListenNone || want.Strategy.Worker == nil || want.Strategy.BlueGreen != nil || !want.Health.Notify || want.Health.TCP {
		t.Errorf("got %+v", want)
	}
	for _, text := range []string{"listen: none\n", "strategy: worker\n", "strategy: {worker: {order: overlap}}\n", "listen: none\nhealth: {interval: 1s}\n", "listen: none\nstrategy:\n"} {
		if got := mustParse(t, minimal+text); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v, want %+v", text, got, want)
		}
	}
	s := mustParse(t, minimal+"strategy: worker\nhealth: {file: ready}\nenv: {PORT: 80, HOST: x, SOCKET: y}\nsmoke: [{command: [x]}]\n")
	if s.Health.Notify || s.Health.File != "ready" {
		t.Errorf("health is %+v", s.Health)
	}
}

func TestWhatIsNotKeptWarm(t *testing.T) {
	for text, want := range map[string]time.Duration{"exclusive": 0, "worker": 0, "rolling": 10 * time.Minute, "canary": 10 * time.Minute} {
		if got := mustParse(t, minimal+"strategy: "+text+"\n").Warm.Std(); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

func TestBadWorkers(t *testing.T) {
	w := func(lines string) string { return minimal + "listen: none\n" + lines + "\n" }
	const port = "service: web\ncommand: [serve, \"{{.Port}}\"] #!\nlisten: none\n"
	runBadCases(t, []badCase{
		{"port", minimal + "strategy: worker\nlisten: port #!\n", "listen", `must be "none" with the strategy worker, not "port"`, "remove listen"},
		{"another strategy", w("strategy: canary #!"), "strategy", "must be worker", "remove listen: none"},
		{"order", w("strategy: {worker: {order: both}} #!"), "strategy.worker.order", `"overlap" or "exclusive"`, ""},
		{"hosts", w("route:\n  hosts: [example.com] #!"), "route.hosts", "listens on nothing", "listen: port"},
		{"paths", w("route:\n  paths: [/] #!"), "route.paths", "listens on nothing", ""},
		{"sticky", w("route:\n  sticky: {cookie: a} #!"), "route.sticky", "listens on nothing", ""},
		{"health by http", w("health:\n  http: {path: /} #!"), "health.http", "needs an address", "notify: true"},
		{"health by tcp", w("health:\n  tcp: true #!"), "health.tcp", "needs an address", "READY=1"},
		{"smoke by http", w("smoke:\n  - http: {path: /} #!"), "smoke[0].http", "needs an address", "command"},
		{"template", port, "command[1]", "uses {{.Port}}, but the service listens on nothing", "listen: port"},
		{"template of health", w("health:\n  command: [check, \"{{.Socket}}\"] #!"), "health.command[1]", "uses {{.Socket}}, but the service listens on nothing", ""},
		{"kept warm", w("warm: 1m #!"), "warm", "must be 0s", ""},
	})
}
