package proxy

import (
	"testing"
)

func TestMatch(t *testing.T) {
	stable, candidate := saying(t, "r1"), saying(t, "r2")
	p := start(t, Config{})
	s := canary(0, stable, candidate)
	s.Hosts = []string{"web.test"}
	s.Match = []Match{
		{Header: "x-segue-release", Value: "candidate"},
		{Header: "X-Internal"},
		{Cookie: "preview", Value: "yes"},
		{Cookie: "tester"},
		{Query: "release", Value: "r 2"},
		{Query: "beta"},
		{Host: "preview.web.test"},
		{Host: "*.preview.web.test"},
	}
	cases := []struct {
		name, path string
		headers    []string
		want       string
	}{
		{"nothing", "/", nil, "r1"},
		{"header", "/", []string{"X-Segue-Release", "candidate"}, "r2"},
		{"header in another case", "/", []string{"x-SEGUE-release", "candidate"}, "r2"},
		{"other value", "/", []string{"X-Segue-Release", "Candidate"}, "r1"},
		{"one of two values", "/", []string{"X-Segue-Release", "stable", "X-Segue-Release", "candidate"}, "r2"},
		{"header of any value", "/", []string{"X-Internal", "0"}, "r2"},
		{"cookie", "/", []string{"Cookie", "a=b; preview=yes"}, "r2"},
		{"cookie's other value", "/", []string{"Cookie", "preview=no"}, "r1"},
		{"cookie of any value", "/", []string{"Cookie", "tester=1"}, "r2"},
		{"cookie's name elsewhere", "/", []string{"Cookie", "a=tester"}, "r1"},
		{"query", "/?a=1&release=r%202", nil, "r2"},
		{"query's other value", "/?release=r2", nil, "r1"},
		{"query of any value", "/x?beta", nil, "r2"},
		{"name in the path", "/beta", nil, "r1"},
		{"query that can't be read", "/?%zz=1&beta=%", nil, "r1"},
		{"host", "/", []string{"Host", "preview.web.test"}, "r2"},
		{"host with port, in capitals", "/", []string{"Host", "PREVIEW.web.test:8080"}, "r2"},
		{"host below", "/", []string{"Host", "a.b.preview.web.test"}, "r2"},
	}
	for i, weight := range []int{0, 1, 100} {
		s.Releases[0].Weight, s.Releases[1].Weight = 100-weight, weight
		p.apply(uint64(i)+1, s)
		for _, c := range cases {
			if c.want == "r1" && weight > 0 {
				continue // the weights decide
			}
			headers := append([]string{"Host", "web.test"}, c.headers...)
			if len(c.headers) > 0 && c.headers[0] == "Host" {
				headers = c.headers
			}
			if resp, text := p.do("GET", c.path, "", headers...); text != c.want {
				t.Errorf("%s, at %d %%: %s answers (%d), want %s", c.name, weight, text, resp.StatusCode, c.want)
			}
		}
	}
}

// A rule's host leads to the service only as long as there is a candidate, and may be
// one that leads there anyway.
func TestMatchHostRoutes(t *testing.T) {
	stable, candidate := saying(t, "r1"), saying(t, "r2")
	p := start(t, Config{})
	s := canary(0, stable, candidate)
	s.Hosts, s.Paths = []string{"web.test", "next.test"}, []string{"/app"}
	s.Match = []Match{{Host: "preview.test"}, {Host: "preview.test"}, {Host: "next.test"}, {Host: "late.test"}}
	p.apply(1, s)
	check := func(host, path string, status int, text string) {
		t.Helper()
		resp, got := p.do("GET", path, "", "Host", host)
		if resp.StatusCode != status || (status == 200 && got != text) {
			t.Errorf("%s%s: %d %s, want %d %s", host, path, resp.StatusCode, got, status, text)
		}
	}
	check("web.test", "/app", 200, "r1")
	check("next.test", "/app", 200, "r2")
	check("preview.test", "/app/x", 200, "r2")
	check("late.test", "/app", 200, "r2")
	check("preview.test", "/", 404, "")
	s.Candidate = ""
	p.apply(2, s)
	check("preview.test", "/app", 404, "")
	check("next.test", "/app", 200, "r1")
}

func TestMatchWhenCandidateCannot(t *testing.T) {
	stable := saying(t, "r1")
	s := canary(0, stable, refusing(t))
	s.Match = []Match{{Header: "X-Internal"}}
	s.Sticky = &Sticky{Header: "X-User"}
	p := start(t, Config{}, s)
	// The candidate is dead, or has no instance at all: stable answers.
	for version := uint64(2); version <= 3; version++ {
		if _, text := p.do("POST", "/", "a body", "X-Internal", "1"); text != "r1" {
			t.Errorf("%q answers", text)
		}
		s.Releases[1].Upstreams = nil
		p.apply(version, s)
	}
	if got := p.release("r2"); got.Accepted != 2 || got.Rerouted != 2 {
		t.Errorf("counted %+v", got)
	}
	// A rule comes before what the client keeps to.
	s = canary(1, stable, saying(t, "r2"))
	s.Match = []Match{{Header: "X-Internal"}}
	s.Sticky = &Sticky{Header: "X-User"}
	p.apply(4, s)
	for range 20 {
		if _, text := p.do("GET", "/", "", "X-User", "somebody", "X-Internal", "1"); text != "r2" {
			t.Errorf("%q answers", text)
		}
	}
}

// A request that a rule has sent to the candidate, whose weight is 0, tries another of
// its upstreams.
func TestMatchRetriesAtCandidate(t *testing.T) {
	s := canary(0, saying(t, "r1"), refusing(t))
	s.Releases[1] = rel("r2", 0, refusing(t), saying(t, "r2"))
	s.Match = []Match{{Header: "X-Internal"}}
	p := start(t, Config{}, s)
	for range 20 {
		if _, text := p.do("POST", "/", "a body", "X-Internal", "1"); text != "r2" {
			t.Errorf("%q answers", text)
		}
	}
	if got := p.release("r2"); got.Rerouted != 0 || got.Answered[2] != 20 {
		t.Errorf("counted %+v", got)
	}
}
