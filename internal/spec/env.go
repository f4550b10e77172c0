package spec

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// checkEnvName checks the name of an environment variable, and that it isn't
// one that an instance gets from Segue and that would win silently.
func checkEnvName(name string, listen Listen) *flaw {
	own := name == "TMPDIR" || name == "NOTIFY_SOCKET"
	switch listen {
	case ListenPort:
		own = own || name == "PORT" || name == "HOST"
	case ListenSocket:
		own = own || name == "SOCKET"
	}
	switch {
	case !envName.MatchString(name):
		return &flaw{fmt.Sprintf("is not a variable's name: %q", name), "use letters, digits and _, not starting with a digit"}
	case own:
		return &flaw{"is set by Segue for each instance", "remove it"}
	case strings.HasPrefix(name, "SEGUE_"):
		return &flaw{"starts with SEGUE_, which is kept for variables that Segue sets", "rename or remove it"}
	}
	return nil
}

// checkEnvValue checks the value of an environment variable.
func checkEnvValue(value string) *flaw {
	if strings.ContainsRune(value, 0) {
		return &flaw{"has a zero byte in it", "remove it"}
	}
	return scanEnvValue(value, func(string) {}, func(string) {})
}

// scanEnvValue calls literal and variable for the parts of a value in their
// order: plain text, in which $$ has become a dollar sign, and the NAME of
// ${NAME}.
func scanEnvValue(value string, literal, variable func(string)) *flaw {
	for {
		before, rest, found := strings.Cut(value, "$")
		literal(before)
		if !found {
			return nil
		}
		if after, dollar := strings.CutPrefix(rest, "$"); dollar {
			literal("$")
			value = after
			continue
		}
		inner, after, closed := strings.Cut(rest, "}")
		name, opened := strings.CutPrefix(inner, "{")
		switch {
		case !opened:
			return &flaw{"has a $ that starts nothing", "write $$ for a dollar sign, or ${NAME} for the daemon's variable NAME"}
		case !closed:
			return &flaw{"has a ${ without its }", "write ${NAME}, or $$ for a dollar sign"}
		case !envName.MatchString(name):
			return &flaw{fmt.Sprintf("has a ${%s}, which is not a variable's name", name), "write ${NAME}; there are no defaults or other operators; $$ is a dollar sign"}
		}
		variable(name)
		value = after
	}
}

// ResolveEnv returns env with each ${NAME} replaced by what lookup, the daemon's
// environment, has under that name, and each $$ by a dollar sign. The error names
// all variables that are unset, with the entries that ask for them.
func ResolveEnv(env map[string]string, lookup func(name string) (value string, ok bool)) (map[string]string, error) {
	resolved := make(map[string]string, len(env))
	askedBy := map[string][]string{}
	for _, entry := range sortedKeys(env) {
		var value strings.Builder
		f := scanEnvValue(env[entry], func(text string) { value.WriteString(text) }, func(name string) {
			text, ok := lookup(name)
			if !ok && !slices.Contains(askedBy[name], entry) {
				askedBy[name] = append(askedBy[name], entry)
			}
			value.WriteString(text)
		})
		if f != nil {
			return nil, fmt.Errorf("env.%s %w", entry, f)
		}
		resolved[entry] = value.String()
	}
	if len(askedBy) == 0 {
		return resolved, nil
	}
	var missing []string
	for _, name := range slices.Sorted(maps.Keys(askedBy)) {
		missing = append(missing, fmt.Sprintf("%s (for %s)", name, strings.Join(askedBy[name], ", ")))
	}
	return nil, fmt.Errorf("env: not set in the daemon's environment: %s; set them where the daemon is started, and restart it", strings.Join(missing, ", "))
}
