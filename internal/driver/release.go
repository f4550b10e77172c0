package driver

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/template"
)

// DefaultStopSignal is the signal of a release that names none.
const DefaultStopSignal = "TERM"

// Signal returns the name of the signal that asks an instance to stop. One that
// isn't known is an error that lists the known ones.
func (r *Release) Signal() (string, error) {
	known := []string{DefaultStopSignal, "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH"}
	switch {
	case r.StopSignal == "":
		return DefaultStopSignal, nil
	case slices.Contains(known, r.StopSignal):
		return r.StopSignal, nil
	}
	return "", fmt.Errorf("the stop signal %q is none that an instance can be stopped by; take one of %s", r.StopSignal, strings.Join(known, ", "))
}

// Arguments fills in the templates of a command of the release. To name an address
// is an error where the release has none.
func (r *Release) Arguments(command []string, v Vars) ([]string, error) {
	if len(command) == 0 {
		return nil, errors.New("the command is empty")
	}
	var data any = v
	if r.NoAddress {
		data = unaddressed{v}
	}
	args := make([]string, len(command))
	for i, arg := range command {
		text, err := fill(arg, data)
		if err != nil {
			return nil, fmt.Errorf("argument %d of the command, %q: %w", i+1, arg, err)
		}
		args[i] = text
	}
	return args, nil
}

func fill(arg string, data any) (string, error) {
	t, err := template.New("argument").Option("missingkey=error").Parse(arg)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	err = t.Execute(&text, data)
	if errors.Is(err, errNoAddress) {
		err = errNoAddress // without the template's account of the way to it
	}
	return text.String(), err
}

var errNoAddress = errors.New("the instances have no address, neither port nor socket; take it out of the command, or have them listen on a port or socket")

// unaddressed are the values for a release without an address. Its methods stand in
// front of the fields of the same names.
type unaddressed struct{ Vars }

// Port fails, for there is none.
func (unaddressed) Port() (int, error) { return 0, errNoAddress }

// Host fails, for there is none.
func (unaddressed) Host() (string, error) { return "", errNoAddress }

// Socket fails, for there is none.
func (unaddressed) Socket() (string, error) { return "", errNoAddress }
