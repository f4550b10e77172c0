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

// The behaviours that DEMO_BEHAVIOUR can name.
const (
	ok         kind = "ok"
	unhealthy  kind = "unhealthy"
	crash      kind = "crash"
	crashAfter kind = "crash-after"
	listenLate kind = "listen-late"
	slowStart  kind = "slow-start"
	smokeFails kind = "smoke-fails"
	failing    kind = "errors"
	failAfter  kind = "errors-after"
	crashAt    kind = "crash-at"
	slowly     kind = "slow"
	hang       kind = "hang"
	ignoreTerm kind = "ignore-term"
)

// behaviour is what goes wrong with this release.
type behaviour struct {
	kind kind
	// after is the time that belongs to crash-after, listen-late, slow-start and
	// slow.
	after time.Duration
	// percent is how many requests fail, for errors.
	percent int
	// requests is how many belong to errors-after and crash-at.
	requests int64
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
		{unhealthy, ""},    // /healthz answers 500 for ever
		{crash, ""},        // exits with code 1 at once, with a message on stderr
		{crashAfter, "5s"}, // exits with code 1 that long after it began to listen
		{listenLate, "3s"}, // begins to listen only after that long
		{slowStart, "3s"},  // /healthz answers 503 for that long
		{smokeFails, ""},   // is healthy, but /smoke answers 500
		{failing, "20"},    // so many percent of the requests to / and /echo answer 500
		{failAfter, "100"}, // all requests to / and /echo after so many answer 500
		{crashAt, "100"},   // exits with code 1 at that request, which gets no answer; probes don't count
		{slowly, "200ms"},  // the answers to / and /echo take so long
		{hang, ""},         // accepts requests and never answers
		{ignoreTerm, ""},   // does not stop on SIGTERM
	}
}

// parseBehaviour reads the value of DEMO_BEHAVIOUR; empty is ok.
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
			return behaviour{}, fmt.Errorf("DEMO_BEHAVIOUR=%s: %s takes no value: leave out %q", s, name, "="+value)
		}
		if !given {
			value = b.defaultValue
		}
		parsed, err := b.kind.with(value)
		if err != nil {
			return behaviour{}, fmt.Errorf("DEMO_BEHAVIOUR=%s: %w", s, err)
		}
		return parsed, nil
	}
	slices.Sort(known)
	return behaviour{}, fmt.Errorf("DEMO_BEHAVIOUR=%s: unknown; use one of %s", s, strings.Join(known, ", "))
}

func (k kind) with(value string) (behaviour, error) {
	b := behaviour{kind: k}
	switch k {
	case crashAfter, listenLate, slowStart, slowly:
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
	case failAfter, crashAt:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < 1 {
			return b, fmt.Errorf("%q is not a number of requests from 1", value)
		}
		b.requests = n
	}
	return b, nil
}
