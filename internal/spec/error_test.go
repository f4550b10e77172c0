package spec

import (
	"strings"
	"testing"
)

func TestErrorShowsPlaceLineCaretAndHint(t *testing.T) {
	e := mustFail(t, "service: web\ncommand: [serve]\ninstnces: 3\n")
	want := `segue.yaml:3: unknown field "instnces"
    3 | instnces: 3
      | ^
did you mean "instances"?`
	if got := e.Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestErrorCaretStandsBelowTheValue(t *testing.T) {
	e := mustFail(t, minimal+"health:\n  http: {path: healthz}\n")
	want := `segue.yaml:4: health.http.path must start with /, not "healthz"
    4 |   http: {path: healthz}
      |                ^
write "/healthz"`
	if got := e.Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestErrorWithoutPlace(t *testing.T) {
	tests := []struct {
		err  Error
		want string
	}{
		{Error{File: "segue.yaml", Message: "is empty"}, "segue.yaml: is empty"},
		{Error{File: "segue.yaml", Message: "is empty", Hint: "do"}, "segue.yaml: is empty\ndo"},
		{Error{Field: "keep", Message: "keep is bad"}, "keep is bad"},
		{Error{File: "e", Line: 2, Column: 1, Message: "bad"}, "e:2: bad"},
	}
	for _, test := range tests {
		if got := test.err.Error(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

func TestErrorKeepsTabsSoThatTheCaretFits(t *testing.T) {
	e := Error{File: "f", Line: 1, Column: 3, Source: "\ta: b", Message: "m"}
	if want := "\n      | \t ^"; !strings.Contains(e.Error(), want) {
		t.Errorf("got %q", e.Error())
	}
}

func TestErrorCutsALongLineAroundTheCaret(t *testing.T) {
	e := Error{File: "f", Line: 1, Column: 5001, Source: strings.Repeat("x", 5000) + "Y" + strings.Repeat("z", 5000), Message: "m"}
	lines := strings.Split(e.Error(), "\n")
	shown, caret := []rune(lines[1]), []rune(lines[2])
	if len(shown) > excerptWidth+20 {
		t.Errorf("shows %d characters", len(shown))
	}
	if got := shown[len(caret)-1]; got != 'Y' {
		t.Errorf("the caret is below %q in\n%s", got, e.Error())
	}
}

func TestErrorLetsNoEscapeSequenceThrough(t *testing.T) {
	e := Error{File: "f", Line: 1, Column: 1, Source: "a\x1b[31m\u202e", Message: "m"}
	if strings.ContainsAny(e.Error(), "\x1b\u202e") {
		t.Errorf("got %q", e.Error())
	}
}
