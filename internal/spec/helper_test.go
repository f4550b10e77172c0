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
