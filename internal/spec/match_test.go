package spec

import (
	"reflect"
	"testing"
)

func TestMatches(t *testing.T) {
	s := mustParse(t, minimal+`
route: {hosts: [example.com, "*.example.com"], sticky: {cookie: segue}}
strategy:
  canary:
    match:
      - {header: X-Segue-Release, value: candidate}
      - {header: X-Internal}
      - {cookie: beta, value: 1}
      - {query: "release candidate"}
      - host: Next.Example.com
`)
	want := []Match{
		{Header: "X-Segue-Release", Value: "candidate"}, {Header: "X-Internal"}, {Cookie: "beta", Value: "1"},
		{Query: "release candidate"}, {Host: "next.example.com"},
	}
	if got := s.Strategy.Canary.Match; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if s.Route.Sticky.Cookie != "segue" {
		t.Errorf("sticky is %+v", s.Route.Sticky)
	}
}

func TestBadMatches(t *testing.T) {
	m := func(rule string) string {
		return minimal + "route: {hosts: [example.com]}\nstrategy:\n  canary:\n    match:\n      - header: X-A\n        value: b\n      - " + rule + " #!\n"
	}
	const field = "strategy.canary.match[1]"
	runBadCases(t, []badCase{
		{"nothing", m("{}"), field, "chooses no requests", "header, cookie, query, host"},
		{"only a value", m("{value: x}"), field, "chooses no requests", ""},
		{"two things", m("{header: A, cookie: b}"), field + ".cookie", "exclude each other", ""},
		{"header", m("{header: \"X A\"}"), field + ".header", "not a header's name", ""},
		{"header's value", m("{header: X, value: \"a\\nb\"}"), field + ".value", "control character", ""},
		{"cookie", m("{cookie: \"a=b\"}"), field + ".cookie", "not a cookie's name", ""},
		{"host", m("{host: \"https://next.example.com\"}"), field + ".host", "not a host name", `"next.example.com"`},
		{"wildcard", m("{host: \"*.example.com\"}"), field + ".host", "wildcard", "next.example.com"},
		{"service's host", m("{host: Example.com}"), field + ".host", "in route.hosts", "of its own"},
		{"host with a value", m("{host: next.example.com, value: x}"), field + ".value", "goes with a header", "remove"},
		{"twice", m("{header: x-a, value: b}"), field, "given twice", "remove"},
		{"word", m("header"), field, "must be a mapping", "header, cookie"},
		{"preview", minimal + "strategy:\n  blue-green:\n    preview:\n      - {cookie: \"\"} #!\n", "strategy.blue-green.preview[0]", "chooses no requests", ""},
	})
}

func TestBadSticky(t *testing.T) {
	s := func(sticky string) string { return minimal + "route:\n  sticky: " + sticky + " #!\n" }
	runBadCases(t, []badCase{
		{"nothing", s("{}"), "route.sticky", "known again", "cookie, header"},
		{"null", s(""), "route.sticky", "known again", ""},
		{"both", s("{cookie: a, header: b}"), "route.sticky.header", "exclude each other", ""},
		{"cookie", s("{cookie: a;b}"), "route.sticky.cookie", "not a cookie's name", ""},
		{"header", s("{header: \"a b\"}"), "route.sticky.header", "not a header's name", ""},
		{"word", s("cookie"), "route.sticky", "must be a mapping", "{cookie: …}"},
		{"unknown", s("{ip: true}"), "route.sticky.ip", "unknown field", "cookie, header"},
	})
}

func TestRulesOfAStrategy(t *testing.T) {
	const rule = "[{header: X-A}]}}\n"
	for text, want := range map[string][]Match{
		"strategy: {blue-green: {preview: " + rule: {{Header: "X-A"}},
		"strategy: {canary: {match: " + rule:       {{Header: "X-A"}},
		"strategy: {rolling: {match: " + rule:      {{Header: "X-A"}},
		"strategy: exclusive\n":                    nil,
		"strategy: worker\n":                       nil,
	} {
		if got := mustParse(t, minimal+text).Strategy.Match(); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v", text, got)
		}
	}
}

func TestRulesInWords(t *testing.T) {
	for want, m := range map[string]Match{
		"header X-A: b": {Header: "X-A", Value: "b"}, "cookie beta": {Cookie: "beta"}, "query parameter v: 1": {Query: "v", Value: "1"}, "host next.example.com": {Host: "next.example.com"},
	} {
		if got := m.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
