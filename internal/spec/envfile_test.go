package spec

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestEnvFile(t *testing.T) {
	text := "\ufeff" + `# a comment
A=1

  # indented
B = 2
export C=3
	export	D='it is $5 \n'
E="a ${NAME} $$ # \n"   # comment
F=
G=""
H=a=b=c
I=  spaced out  
J='say "hi"'
exported=1
export=2
K=a#b
L=ü
`
	text = strings.Replace(text, "B = 2", "B= 2", 1)
	got, err := parseEnvFile("e.env", []byte(strings.ReplaceAll(text, "\n", "\r\n")), ListenPort)
	want := map[string]string{
		"A": "1", "B": "2", "C": "3", "D": `it is $$5 \n`, "E": `a ${NAME} $$ # \n`, "F": "", "G": "", "H": "a=b=c",
		"I": "spaced out", "J": `say "hi"`, "exported": "1", "export": "2", "K": "a#b", "L": "ü",
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func TestBadEnvFile(t *testing.T) {
	tests := map[string]string{
		"HELLO": "no =", "A B=1": "not a variable's name", "=1": "no name", "A =1": "without a space", "1A=x": "not a variable's name",
		"A='x": "no closing '", `A="x`: `no closing "`, `A="x"y`: "after the closing", `A='x''y'`: "after the closing",
		"A=x # y": "could start a comment", "A=$x": "starts nothing", "A=\"${B\"": "without its }", "A=${B:-c}": "not a variable's name",
		"PORT=3000": "set by Segue", "SEGUE_A=1": "SEGUE_", "OK=2": "twice: first in line 2", "A=\x00": "control character",
		"A=\xff": "UTF-8", "export": "no =", "export A": "no =",
	}
	for line, want := range tests {
		_, err := parseEnvFile("e.env", []byte("\nOK=1\n"+line+"\nB=2"), ListenPort)
		var e *Error
		if !errors.As(err, &e) || e.File != "e.env" || e.Line != 3 || e.Field != "env_file" || !strings.Contains(e.Message+e.Hint, want) {
			t.Errorf("%q: got %+v; want %q", line, e, want)
		}
	}
}

func TestEnvFileErrorsShowNoValues(t *testing.T) {
	for _, line := range []string{"A=hunter2$", "hunter2", "A='hunter2", "A B=hunter2", "A=hunter2 # x", "A=hunter2\x00", "A=hunter2\xff"} {
		_, err := parseEnvFile("e.env", []byte(line), ListenPort)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: got %v", line, err)
		}
	}
}
