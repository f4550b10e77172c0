package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// kind names a behaviour.
type kind string

// The behaviours that WORKER_BEHAVIOUR can name.
const (
	ok         kind = "ok"
	crash      kind = "crash"
	neverReady kind = "never-ready"
	crashAfter kind = "crash-after"
)

// behaviour is what goes wrong with this release.
type behaviour struct {
	kind kind
	// after is the time that belongs to crash-after.
	after time.Duration
}

// behaviourKind is a kind and the value that stands after its "=" when none is
// given; one without such a value takes none.
type behaviourKind struct {
	kind         kind
	defaultValue string
}

// behaviours are all kinds.
func behaviours() []behaviourKind {
	return []behaviourKind{
		{ok, ""},           // nothing goes wrong
		{crash, ""},        // exits with code 1 at once, with a message on stderr
		{neverReady, ""},   // never says that it is ready, and begins no job
		{crashAfter, "5s"}, // exits with code 1 that long after it was ready, also in the middle of a job
	}
}

// parseBehaviour reads the value of WORKER_BEHAVIOUR; empty is ok.
func parseBehaviour(s string) (behaviour, error) {
	if s == "" {
		return behaviour{kind: ok}, nil
	}
	name, value, given := strings.Cut(s, "=")
	var known []string
	for _, b := range behaviours() {
		if string(b.kind) != name {
			known = append(known, string(b.kind))
			continue
		}
		if b.defaultValue == "" {
			if given {
				return behaviour{}, fmt.Errorf("WORKER_BEHAVIOUR=%s: %s takes no value: leave out %q", s, name, "="+value)
			}
			return behaviour{kind: b.kind}, nil
		}
		if !given {
			value = b.defaultValue
		}
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			return behaviour{}, fmt.Errorf("WORKER_BEHAVIOUR=%s: %q is not a duration such as 5s", s, value)
		}
		return behaviour{kind: b.kind, after: d}, nil
	}
	slices.Sort(known)
	return behaviour{}, fmt.Errorf("WORKER_BEHAVIOUR=%s: unknown; use one of %s", s, strings.Join(known, ", "))
}
