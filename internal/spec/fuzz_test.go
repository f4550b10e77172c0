package spec

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		minimal, string(Example("web")), "", "a", "- a", "a: b: c", "\t", "a:\n\t- b", "? a\n: b", "&a b", "*a", "!!str a", "---\n---\n",
		"service: \"\\x\"", "service: |\n  web\n", "{service: web, command: [serve]}", "<<: {}", "a: [", "a: {", "'", "\"", "|", ">-\n a",
		"service: web\r\ncommand: [x]\r\nfoo: 1\r\n", "service: web\rfoo: 1", "%YAML 1.2\n---\na", "service: ~\n", "health: {http: {path: x}}",
		minimal + "env:\n  A: ${B}\n", minimal + "smoke:\n- http: {path: /}\n-\n", minimal + "drain: -1s", "command:\n- {{.Port}}\n", "\ufeff# x",
		minimal + "strategy: {blue-green: {bake: 0s}}\nguard: {max_errors: 0.5%}", ": \n", "a:\n b\n c", "{,}", "[,]", "{a: [}", "a: #b\n-c", "''': x",
	} {
		f.Add([]byte(text))
	}
	for _, text := range everyStrategy() {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse("segue.yaml", data)
		if err == nil {
			checkParsed(t, s)
			return
		}
		var e *Error
		if !errors.As(err, &e) || s != nil {
			t.Fatalf("got %v and %T %v", s, err, err)
		}
		text := strings.ReplaceAll(strings.ReplaceAll(strings.TrimPrefix(string(data), "\ufeff"), "\r\n", "\n"), "\r", "\n")
		lines := strings.Split(text, "\n")
		wholeFile := e.Message == "is empty" || strings.HasPrefix(e.Message, "is larger")
		if wholeFile != (e.Line == 0) || e.Line < 0 || e.Line > len(lines) {
			t.Fatalf("line %d of %d: %v", e.Line, len(lines), err)
		}
		if e.Line > 0 && (e.Source != lines[e.Line-1] || e.Column < 1 || e.Column > utf8.RuneCountInString(e.Source)+1) {
			t.Fatalf("column %d of %q, want %q", e.Column, e.Source, lines[e.Line-1])
		}
		if e.Message == "" || strings.ContainsAny(e.Error(), "\x1b\x00") {
			t.Fatalf("message %q", e.Error())
		}
	})
}

// checkParsed holds what was parsed to what it promises: it is valid, and JSON
// brings an equal value.
func checkParsed(t *testing.T, s *Spec) {
	t.Helper()
	if err := s.Validate(); err != nil {
		t.Fatalf("parsed, and not valid: %v", err)
	}
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var got Spec
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	want := *s
	want.EnvFile = ""
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
}
