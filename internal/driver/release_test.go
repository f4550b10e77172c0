package driver_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/segue-deploy/segue/internal/driver"
)

func TestSignal(t *testing.T) {
	for name, want := range map[string]string{"": "TERM", "TERM": "TERM", "USR1": "USR1", "WINCH": "WINCH", "KILL": "", "SIGTERM": "", "term": "", "15": ""} {
		got, err := (&driver.Release{StopSignal: name}).Signal()
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, error %v, want %q", name, got, err, want)
		}
		if err != nil && !strings.Contains(err.Error(), "TERM, INT, QUIT, HUP, USR1, USR2, WINCH") {
			t.Errorf("%q: the error doesn't list the known ones: %v", name, err)
		}
	}
}

func TestArguments(t *testing.T) {
	v := driver.Vars{Port: 80, Host: "h", RunDir: "/run/x", Index: 2}
	args, err := (&driver.Release{}).Arguments([]string{"a", "{{.Host}}:{{.Port}}", "{{.RunDir}}-{{.Index}}{{.Socket}}"}, v)
	if err != nil || !slices.Equal(args, []string{"a", "h:80", "/run/x-2"}) {
		t.Errorf("got %q, error %v", args, err)
	}
	none := &driver.Release{NoAddress: true}
	if args, err := none.Arguments([]string{"{{.RunDir}}"}, v); err != nil || args[0] != "/run/x" {
		t.Errorf("without an address: %q, error %v", args, err)
	}
	for _, arg := range []string{"{{.Port}}", "{{.Host}}", "{{.Socket}}", "{{if .Port}}x{{end}}"} {
		_, err := none.Arguments([]string{"a", arg}, v)
		if want := `argument 2 of the command, "` + arg + `": the instances have no address`; err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", arg, err, want)
		}
	}
	for _, command := range [][]string{nil, {"{{.Prot}}"}, {"{{.Port"}} {
		if args, err := (&driver.Release{}).Arguments(command, v); err == nil {
			t.Errorf("%q: got %q, want an error", command, args)
		}
	}
}
