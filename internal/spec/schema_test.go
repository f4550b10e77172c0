package spec

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"testing"

	"github.com/goccy/go-yaml"
)

// node is a part of a schema, as any reader of the JSON sees it.
type node map[string]any

func schema(t *testing.T) node {
	t.Helper()
	data, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var s node
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func (n node) at(key string) node {
	child, _ := n[key].(map[string]any)
	return child
}

// schemaFields returns the schema of every field by its path.
func schemaFields(t *testing.T) map[string]node {
	t.Helper()
	fields := map[string]node{}
	var walk func(node, string)
	walk = func(n node, path string) {
		for name := range n.at("properties") {
			child := n.at("properties").at(name)
			fields[join(path, name)] = child
			walk(child, join(path, name))
		}
		if items := n.at("items"); items != nil {
			walk(items, path)
		}
	}
	walk(schema(t), "")
	return fields
}

func TestSchemaHasEveryFieldOfTheTypesAndNoOther(t *testing.T) {
	want := map[string]bool{}
	var walk func(reflect.Type, string)
	walk = func(typ reflect.Type, path string) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct {
			return
		}
		for _, f := range fieldsOf(typ) {
			want[join(path, f.name)] = true
			walk(typ.Field(f.index).Type, join(path, f.name))
		}
	}
	walk(reflect.TypeFor[Spec](), "")
	got := schemaFields(t)
	for path := range want {
		if got[path] == nil {
			t.Errorf("%s is missing in the schema", path)
		}
	}
	for path, field := range got {
		if !want[path] {
			t.Errorf("%s is in the schema only", path)
		}
		if field["description"] == nil || field["type"] == nil {
			t.Errorf("%s has description %v, type %v", path, field["description"], field["type"])
		}
		if field["properties"] != nil && field["additionalProperties"] != false {
			t.Errorf("%s allows unknown fields", path)
		}
	}
}

func TestSchemaOfTheWhole(t *testing.T) {
	s := schema(t)
	if s["$schema"] != "https://json-schema.org/draft/2020-12/schema" || s["additionalProperties"] != false || s["type"] != "object" {
		t.Errorf("got %v, %v, %v", s["$schema"], s["additionalProperties"], s["type"])
	}
	if want := []any{"service", "command"}; !reflect.DeepEqual(s["required"], want) {
		t.Errorf("required are %v", s["required"])
	}
	fields := schemaFields(t)
	defaults := map[string]any{
		"instances": 1.0, "listen": "port", "drain": "30s", "warm": "10m", "health.interval": "1s", "logs.max_size": "10MiB",
		"guard.max_errors": "5%", "smoke.timeout": "30s", "smoke.http.method": "GET",
	}
	for path, want := range defaults {
		if fields[path]["default"] != want {
			t.Errorf("%s has the default %v, want %v", path, fields[path]["default"], want)
		}
	}
}

func TestSchemaTakesWhatParseTakes(t *testing.T) {
	s := schema(t)
	texts := []string{
		minimal, string(Example("web")), minimal + "env:\nhealth:\nroute:\nsmoke:\nlimits:\nlogs:\nstrategy:\n",
		minimal + "strategy:\n  blue-green:\n", minimal + "strategy: {}\n", minimal + "health: {}\n",
		minimal + "env: {A: 1, B: true, C: x, D: 1.5}\nuser: 1000\n", "service: web\ncommand: [sleep, 10]\n",
		minimal + "limits: {memory: 1500000, cpu: 0.5, processes: 3}\nlogs: {max_size: 1.5GiB}\n",
		minimal + "guard: {max_errors: 0.5}\n", minimal + "strategy: {blue-green: {bake: 1m30s}}\n",
		minimal + "health: {http: {path: /, status: 204}}\n", minimal + "health: {command: [x]}\nsmoke: [{command: [y]}, {http: {path: /}}]\n",
		minimal + "listen: socket\n", minimal + "drain: 1h0.5s\n",
		minimal + "hooks:\nfreeze:\nguard:\n",
	}
	for _, text := range append(texts, everyStrategy()...) {
		mustParse(t, text)
		if err := s.accepts(tree(t, text), ""); err != nil {
			t.Errorf("%v, in\n%s", err, text)
		}
	}
}

func TestSchemaRefusesWhatItCanSee(t *testing.T) {
	s := schema(t)
	for _, text := range []string{
		"command: [x]\n", "service: web\n", "service: Web\ncommand: [x]\n", "service: web\ncommand: x\n", "service: web\ncommand: []\n",
		minimal + "banana: 1\n", minimal + "health: {tpc: true}\n", minimal + "instances: 0\n", minimal + "instances: x\n",
		minimal + "drain: 10\n", minimal + "drain: -1s\n", minimal + "drain: \"10\"\n", minimal + "listen: tcp\n", minimal + "keep: -1\n",
		minimal + "health: {http: {}}\n", minimal + "health: {tcp: true, http: {path: /}}\n", minimal + "health: {http: {path: x}}\n",
		minimal + "health: {http: {path: /, status: 99}}\n", minimal + "smoke: [{timeout: 1s}]\n",
		minimal + "smoke: [{http: {path: /}, command: [x]}]\n", minimal + "strategy: {rainbow: {}}\n",
		minimal + "strategy: rainbow\n", minimal + "strategy: {canary: {}, rolling: {}}\n", minimal + "strategy: {canary: {steps: []}}\n",
		minimal + "strategy: {canary: {steps: [{weight: 101}]}}\n", minimal + "strategy: {canary: {steps: [{weight: 5, bake: 1s}]}}\n",
		minimal + "strategy: {canary: {steps: [bake]}}\n", minimal + "strategy: {canary: {steps: [{}]}}\n", minimal + "strategy: {canary: {instances: some}}\n",
		minimal + "strategy: {canary: {match: [{value: x}]}}\n", minimal + "strategy: {canary: {match: [{header: a, cookie: b}]}}\n",
		minimal + "strategy: {canary: {mirror: {compare: headers}}}\n", minimal + "strategy: {canary: {mirror: {max_in_flight: 0}}}\n",
		minimal + "strategy: {blue-green: {approve: {then: wait}}}\n", minimal + "strategy: {rolling: {max_surge: -1}}\n", minimal + "strategy: {rolling: {max_surge: 1.5}}\n",
		minimal + "strategy: {exclusive: {hold: {requests: 0}}}\n", minimal + "strategy: {worker: {order: both}}\n", minimal + "listen: nothing\n",
		minimal + "stop_signal: KILL\n", minimal + "route: {sticky: {}}\n", minimal + "route: {sticky: {cookie: a, header: b}}\n",
		minimal + "hooks: {before_start: [{timeout: 1s}]}\n", minimal + "hooks: {before_start: [{command: [x], on_failure: ignore}]}\n", minimal + "hooks: {before: []}\n",
		minimal + "freeze: [{from: \"16:00\"}]\n", minimal + "freeze: [{from: \"24:00\", to: \"06:00\"}]\n", minimal + "freeze: [{from: \"6:00\", to: \"08:00\"}]\n",
		minimal + "health: {file: ready, notify: true}\n", minimal + "smoke: [{command: [x], retries: -1}]\n", minimal + "guard: {min_requests: 0}\n",
		minimal + "guard: {max_errors: 101}\n", minimal + "logs: {max_size: big}\n",
	} {
		mustFail(t, text)
		if s.accepts(tree(t, text), "") == nil {
			t.Errorf("the schema takes\n%s", text)
		}
	}
}

func tree(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// accepts validates v, which came from JSON, by those words of JSON Schema that
// our schema uses; it panics on others (draft 2020-12, core sections 10 and
// validation section 6).
func (n node) accepts(v any, path string) error {
	for word, arg := range n {
		if err := n.word(word, arg, v, path); err != nil {
			return err
		}
	}
	return nil
}

func (n node) word(word string, arg, v any, path string) error {
	object, isObject := v.(map[string]any)
	list, isList := v.([]any)
	text, isText := v.(string)
	number, isNumber := v.(float64)
	fail := fmt.Errorf("%s: %v is against %s %v", path, v, word, arg)
	ok := true
	switch word {
	case "$schema", "title", "description", "default", "examples":
	case "type":
		ok = hasType(v, arg)
	case "pattern":
		ok = !isText || regexp.MustCompile(arg.(string)).MatchString(text)
	case "maxLength":
		ok = !isText || len(text) <= int(arg.(float64))
	case "minItems":
		ok = !isList || len(list) >= int(arg.(float64))
	case "minimum":
		ok = !isNumber || number >= arg.(float64)
	case "maximum":
		ok = !isNumber || number <= arg.(float64)
	case "enum":
		ok = slices.Contains(arg.([]any), v)
	case "required":
		for _, name := range arg.([]any) {
			_, has := object[name.(string)]
			ok = ok && (has || !isObject)
		}
	case "not":
		ok = node(arg.(map[string]any)).accepts(v, path) != nil
	case "anyOf":
		ok = slices.ContainsFunc(arg.([]any), func(s any) bool { return node(s.(map[string]any)).accepts(v, path) == nil })
	case "dependentSchemas":
		for name := range object {
			if err := n.at(word).at(name).accepts(v, path); err != nil {
				return err
			}
		}
	case "items":
		for i, item := range list {
			if err := n.at(word).accepts(item, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case "properties":
		for name, child := range object {
			if err := n.at(word).at(name).accepts(child, join(path, name)); err != nil {
				return err
			}
		}
	case "additionalProperties":
		for name, child := range object {
			if _, known := n.at("properties")[name]; known {
				continue
			}
			if s, isSchema := arg.(map[string]any); !isSchema {
				return fmt.Errorf("%s is unknown", join(path, name))
			} else if err := node(s).accepts(child, join(path, name)); err != nil {
				return err
			}
		}
	default:
		panic("the test knows no " + word)
	}
	if !ok {
		return fail
	}
	return nil
}

func hasType(v, want any) bool {
	if list, ok := want.([]any); ok {
		return slices.ContainsFunc(list, func(one any) bool { return hasType(v, one) })
	}
	switch v := v.(type) {
	case map[string]any:
		return want == "object"
	case []any:
		return want == "array"
	case string:
		return want == "string"
	case bool:
		return want == "boolean"
	case float64:
		return want == "number" || want == "integer" && v == float64(int64(v))
	}
	return want == "null"
}
