package spec

import (
	"math"
	"strings"
	"testing"
)

func TestImpossibleValues(t *testing.T) {
	long := strings.Repeat("a", 41)
	runBadCases(t, []badCase{
		{"no service", "command: [serve] #!\n", "service", "service is missing", "service: NAME"},
		{"empty service", "command: [serve]\nservice: \"\" #!\n", "service", "service is missing", ""},
		{"capitals", "service: Web #!\ncommand: [serve]\n", "service", `not a valid name: "Web"`, "lower-case"},
		{"digit first", "service: 1web #!\ncommand: [serve]\n", "service", "not a valid name", ""},
		{"dash last", "service: web- #!\ncommand: [serve]\n", "service", "not a valid name", ""},
		{"long name", "service: " + long + " #!\ncommand: [serve]\n", "service", "not a valid name", "at most 40"},
		{"path as name", "service: ../web #!\ncommand: [serve]\n", "service", "not a valid name", ""},
		{"no command", "\nservice: web #!\n", "command", "command is missing", "{{.Port}}"},
		{"empty command", "service: web\ncommand: [] #!\n", "command", "command is missing", ""},
		{"empty program", "service: web\ncommand: [\"\", x] #!\n", "command[0]", "is empty", ""},
		{"zero byte", "service: web\ncommand: [serve, \"a\\0b\"] #!\n", "command[1]", "zero byte", ""},
		{"program without artifact", "service: web\ncommand: [./serve] #!\n", "command[0]", "there is none", "artifact: ./build"},
		{"program outside", "service: web\nartifact: .\ncommand: [../serve] #!\n", "command[0]", "leads out of the artifact", ""},
		{"no instances", minimal + "instances: 0 #!\n", "instances", "from 1 to 1000, not 0", ""},
		{"negative instances", minimal + "instances: -1 #!\n", "instances", "from 1 to 1000, not -1", ""},
		{"too many instances", minimal + "instances: 100000 #!\n", "instances", "from 1 to 1000", ""},
		{"listen", minimal + "listen: tcp #!\n", "listen", `must be "port", "socket" or "none", not "tcp"`, ""},
		{"protocol", minimal + "protocol: http2 #!\n", "protocol", `must be "http" or "h2c", not "http2"`, ""},
		{"copies of HTTP/2", minimal + "protocol: h2c\nstrategy:\n  canary:\n    mirror: {share: 5%} #!\n", "strategy.canary.mirror", "only requests of HTTP/1.1 are copied", "remove it"},
		{"absolute dir", minimal + "dir: /tmp #!\n", "dir", "must be relative to the artifact", ""},
		{"dir outside", minimal + "dir: a/../../b #!\n", "dir", "leads out of the artifact", ""},
		{"user and group", minimal + "user: \"web:web\" #!\n", "user", "not a user's name", "without a group"},
		{"env name", minimal + "env:\n  A-B: x #!\n", "env.A-B", "not a variable's name", "letters"},
		{"env name starts with a digit", minimal + "env:\n  1A: x #!\n", "env.1A", "not a variable's name", ""},
		{"own env name", minimal + "env:\n  PORT: 80 #!\n", "env.PORT", "set by Segue", ""},
		{"own env name, host", minimal + "env:\n  HOST: x #!\n", "env.HOST", "set by Segue", ""},
		{"own env name, socket", minimal + "listen: socket\nenv:\n  SOCKET: x #!\n", "env.SOCKET", "set by Segue", ""},
		{"own env name, always", minimal + "env:\n  TMPDIR: x #!\n", "env.TMPDIR", "set by Segue", ""},
		{"kept env name", minimal + "env:\n  SEGUE_X: 80 #!\n", "env.SEGUE_X", "SEGUE_", ""},
		{"env value", minimal + "env:\n  A: pa$word #!\n", "env.A", "$ that starts nothing", "$$"},
		{"env value, operator", minimal + "env:\n  A: ${B:-c} #!\n", "env.A", "not a variable's name", "no defaults"},
		{"memory without unit", minimal + "limits:\n  memory: 512 #!\n", "limits.memory", "at least 1MiB, not 512B", "512MiB"},
		{"negative cpu", minimal + "limits:\n  cpu: -1 #!\n", "limits.cpu", "from 0 to", "cores"},
		{"negative processes", minimal + "limits:\n  processes: -1 #!\n", "limits.processes", "from 0", ""},
		{"negative keep", minimal + "keep: -1 #!\n", "keep", "from 0", ""},
		{"log size", minimal + "logs:\n  max_size: 10 #!\n", "logs.max_size", "at least 64KiB", "10MiB"},
		{"no requests", minimal + "guard:\n  min_requests: 0 #!\n", "guard.min_requests", "from 1", ""},
		{"errors", minimal + "guard:\n  max_errors: 101% #!\n", "guard.max_errors", "from 0% to 100%", ""},
		{"unknown signal", minimal + "stop_signal: STOP #!\n", "stop_signal", `not a signal to stop with: "STOP"`, "TERM, INT, QUIT, HUP, USR1, USR2, WINCH"},
		{"killing signal", minimal + "stop_signal: SIGKILL #!\n", "stop_signal", "not a signal to stop with", "stop_grace: 0s"},
		{"number of a signal", minimal + "stop_signal: 15 #!\n", "stop_signal", "not a signal to stop with", ""},
		{"empty signal", minimal + "stop_signal: \"\" #!\n", "stop_signal", "not a signal to stop with", ""},
		{"retry budget", minimal + "retry_budget: 120% #!\n", "retry_budget", "from 0% to 100%", ""},
		{"in flight", minimal + "overload: {max_in_flight: -1} #!\n", "overload.max_in_flight", "from 0", ""},
		{"queue", minimal + "overload:\n  queue: 100001 #!\n", "overload.queue", "from 0 to 100000", ""},
		{"max_wait", minimal + "overload:\n  max_wait: 0s #!\n", "overload.max_wait", "more than 0s", ""},
		{"a worker's requests", minimal + "listen: none\noverload:\n  max_in_flight: 1 #!\n", "overload.max_in_flight", "listens on nothing", "remove it"},
		{"slow start", minimal + "slow_start: -1s #!\n", "slow_start", "negative", ""},
		{"uploads of a worker", minimal + "listen: none\nreplay_uploads: true #!\n", "replay_uploads", "listens on nothing", "remove it"},
		{"uploads of HTTP/2", minimal + "protocol: h2c\nreplay_uploads: true #!\n", "replay_uploads", "only requests of HTTP/1.1", "remove it"},
		{"uploads of one at a time", minimal + "strategy: exclusive\nreplay_uploads: true #!\n", "replay_uploads", "strategy exclusive", "remove it"},
		{"failures", minimal + "ejection: {failures: 1001} #!\n", "ejection.failures", "from 0 to 1000", ""},
		{"time of an ejection", minimal + "ejection:\n  time: 0s #!\n", "ejection.time", "more than 0s", ""},
		{"what is kept", minimal + "ejection:\n  keep: 101% #!\n", "ejection.keep", "from 0% to 100%", ""},
		{"drain of a path", minimal + "route:\n  drain:\n    - path: events #!\n      time: 1m\n", "route.drain[0].path", "must start with /", ""},
		{"drain without a path", minimal + "route:\n  drain:\n    - {time: 1m} #!\n", "route.drain[0].path", "is missing", ""},
		{"drain without a time", minimal + "route:\n  drain:\n    - {path: /a} #!\n", "route.drain[0].time", "more than 0s", ""},
		{"drain of a path twice", minimal + "route:\n  drain:\n    - {path: /a, time: 1m}\n    - {path: /a/, time: 2m} #!\n", "route.drain[1].path", "given twice", "remove one of them"},
		{"drain of a path elsewhere", minimal + "route:\n  paths: [/api, /b]\n  drain:\n    - {path: /api/x, time: 1m}\n    - {path: /apix, time: 2m} #!\n", "route.drain[1].path", "leads to no request", "route.paths"},
		{"time of a path's drain", minimal + "route:\n  drain:\n    - path: /a\n      time: -1s #!\n", "route.drain[0].time", "must not be negative", ""},
		{"a worker's drain of a path", minimal + "listen: none\nroute:\n  drain: [{path: /a, time: 1s}] #!\n", "route.drain", "listens on nothing", "remove it"},
		{"word for yes", minimal + "tell_websockets: always #!\n", "tell_websockets", "", ""},
		{"the first problem", minimal + "keep: -1 #!\nroute:\n  hosts: [a b]\ndir: /\n", "keep", "from 0", ""},
	})
}

func TestValuesThatAreFine(t *testing.T) {
	for _, text := range []string{
		"service: a\ncommand: [/usr/bin/env, serve]\n",
		"service: a-1\nartifact: ../build\ndir: sub/dir\ncommand: [../serve]\n",
		"service: web\nartifact: .\ncommand: [\"./{{.Service}}\"]\n",
		minimal + "user: www-data\n", minimal + "user: 0\n", minimal + "listen: socket\nenv: {PORT: 9, HOST: x}\n",
		minimal + "limits: {memory: 0, cpu: 0, processes: 0}\n", minimal + "limits: {cpu: 1, memory: 1GB}\n",
		minimal + "dir: .\n",
	} {
		if s := mustParse(t, text); s.Validate() != nil {
			t.Errorf("%q: %v", text, s.Validate())
		}
	}
}

func TestSignalsHaveOneSpelling(t *testing.T) {
	for text, want := range map[string]string{"TERM": "TERM", "SIGUSR1": "USR1", "usr2": "USR2", "sigwinch": "WINCH", "Quit": "QUIT", "HUP": "HUP", "int": "INT"} {
		if got := mustParse(t, minimal+"stop_signal: "+text+"\n").StopSignal; got != want {
			t.Errorf("%s has become %q", text, got)
		}
	}
}

func TestValidateHoldsAnyOriginToTheRules(t *testing.T) {
	tests := map[string]func(*Spec){
		"service":            func(s *Spec) { s.Service = "" },
		"command":            func(s *Spec) { s.Command = nil },
		"command[0]":         func(s *Spec) { s.Command = []string{"a\x00"} },
		"instances":          func(s *Spec) { s.Instances = 0 },
		"listen":             func(s *Spec) { s.Listen = "" },
		"protocol":           func(s *Spec) { s.Protocol = "" },
		"strategy":           func(s *Spec) { s.Strategy = Strategy{} },
		"health":             func(s *Spec) { s.Health.TCP = false },
		"health.command":     func(s *Spec) { s.Health.Command = []string{"x"} },
		"drain":              func(s *Spec) { s.Drain = -1 },
		"health.interval":    func(s *Spec) { s.Health.Interval = 0 },
		"limits.cpu":         func(s *Spec) { s.Limits.CPU = math.NaN() },
		"limits.memory":      func(s *Spec) { s.Limits.Memory = -1 },
		"logs.max_size":      func(s *Spec) { s.Logs.MaxSize = 0 },
		"retry_budget":       func(s *Spec) { s.RetryBudget = Percent(math.Inf(1)) },
		"guard.max_errors":   func(s *Spec) { s.Guard.MaxErrors = Percent(math.NaN()) },
		"guard.min_requests": func(s *Spec) { s.Guard.MinRequests = 0 },
		"stop_signal":        func(s *Spec) { s.StopSignal = "" },
		"warm":               func(s *Spec) { s.Strategy = Strategy{Exclusive: defaultExclusive()} },
		"strategy.canary":    func(s *Spec) { s.Strategy.Canary = defaultCanary() },
		"freeze[0].from":     func(s *Spec) { s.Freeze = []Window{{To: "08:00"}} },
		"smoke[0]":           func(s *Spec) { s.Smoke = []Check{*defaultCheck()} },
		"smoke[0].timeout":   func(s *Spec) { s.Smoke = []Check{{Command: []string{"x"}}} },
		"route.hosts[0]":     func(s *Spec) { s.Route.Hosts = []string{"UPPER.example.com"} },
	}
	for field, spoil := range tests {
		s := mustParse(t, minimal)
		if err := s.Validate(); err != nil {
			t.Fatalf("a valid spec: %v", err)
		}
		spoil(s)
		e := asError(t, nil, s.Validate())
		if e.Field != field || e.Line != 0 || e.File != "" {
			t.Errorf("%s: got %+v", field, e)
		}
	}
}
