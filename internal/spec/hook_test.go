package spec

import (
	"reflect"
	"testing"
	"time"
)

func TestHooks(t *testing.T) {
	s := mustParse(t, minimal+`
hooks:
  before_start:
    - command: [./migrate, "{{.Release}}", "{{.Dir}}"]
  after_shift:
    - {command: [warm-up], timeout: 5s, on_failure: continue}
  after_promote:
  on_abort: []
`)
	want := Hooks{
		BeforeStart: []Hook{{Command: []string{"./migrate", "{{.Release}}", "{{.Dir}}"}, Timeout: Duration(30 * time.Second), OnFailure: OnFailureAbort}},
		AfterShift:  []Hook{{Command: []string{"warm-up"}, Timeout: Duration(5 * time.Second), OnFailure: OnFailureContinue}},
	}
	if !reflect.DeepEqual(s.Hooks, want) {
		t.Errorf("got %+v, want %+v", s.Hooks, want)
	}
}

func TestBadHooks(t *testing.T) {
	h := func(hook string) string {
		return minimal + "hooks:\n  on_abort:\n    - command: [x]\n    - " + hook + " #!\n"
	}
	const field = "hooks.on_abort[1]"
	runBadCases(t, []badCase{
		{"no command", h("timeout: 1s"), field + ".command", "is missing", "./migrate"},
		{"nothing", h(""), field + ".command", "is missing", ""},
		{"empty command", h("command: []"), field + ".command", "is missing", ""},
		{"text", h("command: ./migrate up"), field + ".command", "must be a list", "[./migrate, up]"},
		{"empty program", h("command: [\"\"]"), field + ".command[0]", "is empty", ""},
		{"instance's value", h("command: [x, \"{{.RunDir}}\"]"), field + ".command[1]", "belongs to one instance", "{{.Dir}}, {{.Service}} and {{.Release}}"},
		{"unknown value", h("command: [x, \"{{.Relaese}}\"]"), field + ".command[1]", "unknown value", "{{.Release}}"},
		{"no timeout", h("{command: [x], timeout: 0s}"), field + ".timeout", "more than 0s", ""},
		{"on failure", h("{command: [x], on_failure: ignore}"), field + ".on_failure", `"abort" or "continue", not "ignore"`, ""},
		{"moment", minimal + "hooks:\n  before_strat: [] #!\n", "hooks.before_strat", "unknown field", "before_start"},
		{"mapping", minimal + "hooks:\n  before_start: {command: [x]} #!\n", "hooks.before_start", "must be a list", ""},
	})
}
