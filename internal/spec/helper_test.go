package spec

import (
	"errors"
	"strings"
	"testing"
)

// minimal is the least that a spec needs, without an end of its own.
const minimal = "service: web\ncommand: [serve]\n"

func mustParse(t *testing.T, text string) *Spec {
	t.Helper()
	s, err := Parse("segue.yaml", []byte(text))
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return s
}

// mustFail parses text and returns the error.
func mustFail(t *testing.T, text string) *Error {
	t.Helper()
	s, err := Parse("segue.yaml", []byte(text))
	return asError(t, s, err)
}

func asError(t *testing.T, s *Spec, err error) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %+v, %v; want an *Error", s, err)
	}
	if s != nil {
		t.Fatalf("got a spec beside the error %v", err)
	}
	return e
}

// badCase is a spec with one thing wrong, in the line that ends with "#!".
type badCase struct {
	name, text string
	// field, message and hint are parts of what the error must say.
	field, message, hint string
}

func runBadCases(t *testing.T, cases []badCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := mustFail(t, c.text)
			if want := markedLine(t, c.text); e.Line != want {
				t.Errorf("line %d, want %d", e.Line, want)
			}
			if e.Source != strings.Split(c.text, "\n")[e.Line-1] {
				t.Errorf("source is %q", e.Source)
			}
			if e.Field != c.field {
				t.Errorf("field %q, want %q", e.Field, c.field)
			}
			if !strings.Contains(e.Message, c.message) {
				t.Errorf("message %q, want %q in it", e.Message, c.message)
			}
			if !strings.Contains(e.Hint, c.hint) {
				t.Errorf("hint %q, want %q in it", e.Hint, c.hint)
			}
			if t.Failed() {
				t.Logf("\n%s", e.Error())
			}
		})
	}
}

func markedLine(t *testing.T, text string) int {
	t.Helper()
	before, _, found := strings.Cut(text, "#!")
	if !found {
		t.Fatalf("no line is marked: %q", text)
	}
	return strings.Count(before, "\n") + 1
}

// everyStrategy returns specs that between them have every strategy and all that
// goes with one.
func everyStrategy() []string {
	return []string{
		minimal + "strategy:\n  blue-green:\n    preview: [{header: X-A, value: b}, {host: next.example.com}]\n    approve: {deadline: 4h, then: promote}\n    bake: 0s\n",
		minimal + "strategy:\n  blue-green:\n    approve:\nroute: {sticky: {header: X-User}}\n",
		minimal + "smoke: [{http: {path: /}}]\nstrategy:\n  canary:\n    steps:\n      - weight: 1\n      - bake: 1m\n      - verify\n      - approve\n" +
			"      - verify: {checks: [{command: [x], retries: 2, retry_after: 5s}]}\n      - approve: {then: abort}\n      - weight: 100\n" +
			"    instances: 2\n    match: [{cookie: a}, {query: b}]\n    mirror: {share: 5%, compare: body, max_in_flight: 3, max_body: 1MiB}\nroute: {sticky: {cookie: c}}\n",
		minimal + "strategy: canary\n", minimal + "strategy:\n  canary: {mirror: , instances: full}\n",
		minimal + "instances: 4\nstrategy: {rolling: {max_surge: 1, max_unavailable: 25%, bake: 1s, match: [{header: A}]}}\n", minimal + "strategy: rolling\n",
		minimal + "strategy: {exclusive: {hold: {time: 1m, requests: 10, bytes: 1MiB}, ready: 30s, bake: 0s}}\n", minimal + "strategy: exclusive\nwarm: 0s\n",
		minimal + "strategy: {worker: {order: exclusive, bake: 1m}}\nhealth: {file: ready}\nstop_signal: SIGUSR1\nstop_grace: 1h\n",
		minimal + "strategy: worker\n", minimal + "listen: none\nhealth: {notify: true}\n", minimal + "listen: none\nhealth: {command: [check, \"{{.RunDir}}\"]}\n",
		minimal + "hooks:\n  before_start: [{command: [x, \"{{.Release}}\"], timeout: 1m, on_failure: continue}]\n  after_shift: []\n  after_promote:\n  on_abort: [{command: [y]}]\n",
		minimal + "freeze:\n  - {days: [fri, sat], from: \"16:00\", to: \"24:00\", zone: Europe/Berlin}\n  - {from: \"00:00\", to: \"06:00\"}\n",
		minimal + "guard: {max_errors: 0.5%, min_requests: 100}\n",
		minimal + "smoke:\n  - http:\n      path: /\n      matches: a+\n      answer_headers: {A: b}\n      json: {$.a: 1}\n      latency: 1s\n",
	}
}
