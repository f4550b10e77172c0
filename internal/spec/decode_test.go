package spec

import (
	"reflect"
	"testing"
)

func TestUnknownFields(t *testing.T) {
	runBadCases(t, []badCase{
		{"near", minimal + "instnces: 3 #!\n", "instnces", `unknown field "instnces"`, `did you mean "instances"?`},
		{"near, within", minimal + "health:\n  tpc: true #!\n", "health.tpc", `unknown field "tpc"`, `did you mean "tcp"?`},
		{"near, in a list", minimal + "smoke:\n  - http:\n      pth: / #!\n", "smoke[0].http.pth", `unknown field "pth"`, `did you mean "path"?`},
		{"none near", minimal + "banana: 3 #!\n", "banana", `unknown field "banana"`, "the fields here are service, artifact, command"},
		{"elsewhere", minimal + "interval: 3s #!\n", "interval", `unknown field "interval"`, `it belongs under "health"`},
		{"strategy", minimal + "strategy:\n  rainbow: {} #!\n", "strategy.rainbow", `unknown strategy "rainbow"`, "known: blue-green"},
		{"strategy, near", minimal + "strategy:\n  bluegreen: {} #!\n", "strategy.bluegreen", `unknown strategy "bluegreen"`, `did you mean "blue-green"?`},
		{"first of two", "serviec: web #!\ncommand: [serve]\nfoo: 1\n", "serviec", "unknown field", "service"},
		{"Go's name", minimal + "EnvFile: x #!\n", "EnvFile", "unknown field", "env_file"},
		{"null key", minimal + "null: x #!\n", "null", "unknown field", ""},
		{"number as key", minimal + "5: x #!\n", "5", "unknown field", ""},
	})
}

func TestWrongTypes(t *testing.T) {
	runBadCases(t, []badCase{
		{"text for list", "service: web\ncommand: ./serve --port {{.Port}} #!\n", "command", "must be a list, not a text", `[./serve, --port, "{{.Port}}"]`},
		{"list for text", "service: [web] #!\ncommand: [serve]\n", "service", "must be a text, not a list", ""},
		{"text for number", minimal + "instances: three #!\n", "instances", `must be a whole number, not a text "three"`, ""},
		{"quoted number", minimal + "instances: \"3\" #!\n", "instances", "must be a whole number, not a text", ""},
		{"fraction", minimal + "instances: 2.5 #!\n", "instances", "must be a whole number, not a number", ""},
		{"huge number", minimal + "instances: 99999999999999999999 #!\n", "instances", "must be a whole number", ""},
		{"infinity", minimal + "limits: {cpu: .inf} #!\n", "limits.cpu", "must be a number", ""},
		{"not a number", minimal + "limits: {cpu: .nan} #!\n", "limits.cpu", "must be a number", ""},
		{"yes", minimal + "health: {tcp: yes} #!\n", "health.tcp", `must be true or false, not a text "yes"`, ""},
		{"text for mapping", minimal + "health: /healthz #!\n", "health", "must be a mapping", "its fields are http, grpc, tcp"},
		{"wrong word for strategy", minimal + "strategy: bluegren #!\n", "strategy", "must be a mapping", `did you mean "blue-green"?`},
		{"list for env", minimal + "env:\n  - A=b #!\n", "env", "must be a mapping", "NAME: value"},
		{"mapping in env", minimal + "env:\n  A:\n    b: c #!\n", "env.A", "must be a text", ""},
		{"nothing in env", minimal + "env:\n  A: #!\n", "env.A", "must be a text, not nothing", `""`},
		{"unquoted template", "service: web\ncommand: [serve, {{.Port}}] #!\n", "", "not valid YAML", "quotes around a value with {{ }}"},
		{"unquoted template in a block", "service: web\ncommand:\n  - serve\n  - {{.Port}} #!\n", "", "not valid YAML", "quotes around a value with {{ }}"},
		{"no unit", minimal + "drain: 10 #!\n", "drain", "drain has no unit: 10", "10s"},
		{"negative", minimal + "drain: -10s #!\n", "drain", "must not be negative", ""},
		{"not a duration", minimal + "drain: long #!\n", "drain", "must be a duration", "30s"},
		{"list for duration", minimal + "drain: [1s] #!\n", "drain", "must be one value, not a list", ""},
		{"nothing for duration", minimal + "drain: #!\n", "drain", "must be one value, not nothing", ""},
		{"size", minimal + "logs: {max_size: 10M} #!\n", "logs.max_size", "unknown unit", "MiB"},
		{"percent", minimal + "guard: {max_errors: 500%} #!\n", "guard.max_errors", "from 0% to 100%", ""},
	})
}

func TestDuplicateKeys(t *testing.T) {
	runBadCases(t, []badCase{
		{"at the top", minimal + "service: other #!\n", "service", "given twice: first in line 1", "remove one"},
		{"within", minimal + "health:\n  tcp: true\n  tcp: true #!\n", "health.tcp", "given twice: first in line 4", ""},
		{"in env", minimal + "env:\n  A: 1\n  \"A\": 2 #!\n", "env.A", "given twice: first in line 4", ""},
	})
}

func TestTextsAreTakenAsWritten(t *testing.T) {
	s := mustParse(t, `
service: web
command: [sleep, 10, 1.10, 0x1F, 1_000, true, "5", ~x, .5]
user: 1000
env:
  VERSION: 1.10
  OCTAL: 0644
  DEBUG: true
  YES: yes
  EMPTY: ""
  DATE: 2024-01-02
  BLOCK: |
    two
    lines
  FOLDED: >-
    one
    line
`)
	if want := []string{"sleep", "10", "1.10", "0x1F", "1_000", "true", "5", "~x", ".5"}; !reflect.DeepEqual(s.Command, want) {
		t.Errorf("command is %q, want %q", s.Command, want)
	}
	want := map[string]string{
		"VERSION": "1.10", "OCTAL": "0644", "DEBUG": "true", "YES": "yes", "EMPTY": "", "DATE": "2024-01-02",
		"BLOCK": "two\nlines\n", "FOLDED": "one line",
	}
	if !reflect.DeepEqual(s.Env, want) {
		t.Errorf("env is %q, want %q", s.Env, want)
	}
	if s.User != "1000" {
		t.Errorf("user is %q", s.User)
	}
}

func TestNothingIsAnEmptyMappingOrList(t *testing.T) {
	got := mustParse(t, minimal+"env:\nlimits:\nroute:\nhealth:\nsmoke:\nlogs:\nstrategy:\n  blue-green:\n")
	if want := mustParse(t, minimal); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := mustParse(t, minimal+"route:\n  hosts:\n  paths: []\n"); !reflect.DeepEqual(got, mustParse(t, minimal)) {
		t.Errorf("got %+v", got)
	}
}

func TestEveryTypeHasADecoder(t *testing.T) {
	// fieldsOf names all fields, each once, so that no tag is forgotten.
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct {
			return
		}
		seen := map[string]bool{}
		for _, f := range fieldsOf(typ) {
			if f.name == "" || seen[f.name] {
				t.Errorf("%s: field %d has the name %q", typ, f.index, f.name)
			}
			seen[f.name] = true
			walk(typ.Field(f.index).Type)
		}
	}
	walk(reflect.TypeFor[Spec]())
}
