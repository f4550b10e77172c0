package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// kind names a behaviour.
type kind string

// The behaviours that LEDGER_BEHAVIOUR can name.
const (
	ok         kind = "ok"
	crash      kind = "crash"
	neverReady kind = "never-ready"
	slowStart  kind = "slow-start"
	failing    kind = "errors"
)

// behaviour is what goes wrong with this release.
type behaviour struct {
	kind kind
	// after is the time that belongs to slow-start.
	after time.Duration
	// percent is how many inserts fail, for errors.
	percent int
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
		{ok, ""},          // nothing goes wrong
		{crash, ""},       // exits with code 1 at once, with a message on stderr
		{neverReady, ""},  // /healthz answers 503 for ever
		{slowStart, "3s"}, // /healthz answers 503 for that long
		{failing, "20"},   // so many percent of the inserts answer 500, and insert nothing
	}
}

// parseBehaviour reads the value of LEDGER_BEHAVIOUR; empty is ok.
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
		if b.defaultValue == "" && given {
			return behaviour{}, fmt.Errorf("LEDGER_BEHAVIOUR=%s: %s takes no value: leave out %q", s, name, "="+value)
		}
		if !given {
			value = b.defaultValue
		}
		parsed, err := b.kind.with(value)
		if err != nil {
			return behaviour{}, fmt.Errorf("LEDGER_BEHAVIOUR=%s: %w", s, err)
		}
		return parsed, nil
	}
	slices.Sort(known)
	return behaviour{}, fmt.Errorf("LEDGER_BEHAVIOUR=%s: unknown; use one of %s", s, strings.Join(known, ", "))
}

func (k kind) with(value string) (behaviour, error) {
	b := behaviour{kind: k}
	switch k {
	case slowStart:
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			return b, fmt.Errorf("%q is not a duration such as 5s", value)
		}
		b.after = d
	case failing:
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 || n > 100 {
			return b, fmt.Errorf("%q is not a percentage from 0 to 100", value)
		}
		b.percent = n
	}
	return b, nil
}
