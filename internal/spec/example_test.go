package spec

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
)

func TestExampleParses(t *testing.T) {
	for _, service := range []string{"web", "a", "my-service-2", "true", "on", strings.Repeat("a", 40)} {
		s, err := Parse("segue.yaml", Example(service))
		if err != nil || s.Service != service {
			t.Errorf("%q: got %+v, %v", service, s, err)
		}
	}
}

// Each commented-out line of the example is taken back in turn; what it shows
// must be a field, and what it calls a default must be one.
func TestExampleShowsValidFieldsInComments(t *testing.T) {
	commented := regexp.MustCompile(`(?m)^( *)# ((?:- )?[a-z_]+: .*)$`)
	lines := commented.FindAllStringSubmatchIndex(string(Example("web")), -1)
	if len(lines) < 12 {
		t.Fatalf("found only %d lines", len(lines))
	}
	text := string(Example("web"))
	for _, at := range lines {
		indent, line := text[at[2]:at[3]], text[at[4]:at[5]]
		with := text[:at[0]] + indent + line + text[at[1]:]
		s, err := Parse("segue.yaml", []byte(with))
		if err == nil {
			continue
		}
		e := asError(t, s, err)
		// A field given twice, or beside the one that it replaces, is known.
		if !strings.Contains(e.Message, "given twice") && !strings.Contains(e.Message, "exclude each other") && !strings.Contains(e.Message, "there is none") {
			t.Errorf("%q: %v", line, e)
		}
	}
}

func TestExampleNamesEveryStrategy(t *testing.T) {
	text := string(Example("web"))
	for _, name := range names(fieldsOf(reflect.TypeFor[Strategy]()), anyField) {
		if !strings.Contains(text, name) {
			t.Errorf("%s is not in the example", name)
		}
	}
}
