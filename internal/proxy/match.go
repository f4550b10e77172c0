package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// matcher has the rules by which requests are chosen for the candidate.
type matcher struct {
	candidate *release
	rules     []Match
}

// newMatcher returns nil when there is nothing to choose by, or for.
func newMatcher(rules []Match, candidate *release) *matcher {
	if len(rules) == 0 || candidate == nil {
		return nil
	}
	m := &matcher{candidate: candidate}
	for _, rule := range rules {
		rule.Host = canonicalPattern(rule.Host)
		m.rules = append(m.rules, rule)
	}
	return m
}

// chooses reports whether a request goes to r by a rule; m may be nil.
func (m *matcher) chooses(r *release, f *flight) bool {
	return m != nil && m.candidate == r && slices.ContainsFunc(m.rules, func(rule Match) bool { return rule.fits(f) })
}

// fits reports whether a request has what the rule, in its canonical form, is about.
func (m Match) fits(f *flight) bool {
	switch {
	case m.Header != "":
		return f.anyValue(m.Header, m.is)
	case m.Cookie != "":
		return slices.ContainsFunc(f.cookiesNamed(m.Cookie), m.is)
	case m.Query != "":
		// What can't be read of a query is left out.
		query, _ := url.ParseQuery(f.query)
		return slices.ContainsFunc(query[m.Query], m.is)
	case strings.HasPrefix(m.Host, "*."):
		return strings.HasSuffix(canonicalHost(f.host), m.Host[1:])
	}
	return canonicalHost(f.host) == m.Host
}

func (m Match) is(value string) bool { return m.Value == "" || m.Value == value }

// anyValue reports whether one of the values of a field is so.
func (f *flight) anyValue(name string, is func(value string) bool) bool {
	if f.head != nil {
		for v := range f.head.Values(name) {
			if is(v) {
				return true
			}
		}
	}
	return false
}

// firstValue is the first of the values of a field, or "".
func (f *flight) firstValue(name string) (first string) {
	f.anyValue(name, func(v string) bool { first = v; return true })
	return first
}

// cookiesNamed returns the values of the cookies of a name.
func (f *flight) cookiesNamed(name string) []string {
	var lines []string
	f.anyValue("Cookie", func(v string) bool { lines = append(lines, v); return false })
	if len(lines) == 0 {
		return nil
	}
	var values []string
	for _, c := range (&http.Request{Header: http.Header{"Cookie": lines}}).CookiesNamed(name) {
		values = append(values, strings.Clone(c.Value))
	}
	return values
}

// canonicalPattern is canonicalHost for what may begin with "*.".
func canonicalPattern(host string) string {
	if below, ok := strings.CutPrefix(host, "*."); ok {
		return "*." + canonicalHost(below)
	}
	return canonicalHost(host)
}

// matchHosts are the hosts that lead to the service for its candidate's sake.
func (s Service) matchHosts() []string {
	if s.Candidate == "" {
		return nil
	}
	var hosts []string
	for _, m := range s.Match {
		if m.Host != "" {
			hosts = append(hosts, m.Host)
		}
	}
	return hosts
}

func (m Match) validate() error {
	if n := given(m.Header, m.Cookie, m.Query, m.Host); n != 1 {
		return fmt.Errorf("it has %d of header, cookie, query and host, want exactly one", n)
	}
	switch {
	case m.Host != "" && m.Value != "":
		return errors.New("a host takes no value; leave the value out")
	case m.Host != "":
		return validateHost(m.Host)
	case strings.EqualFold(m.Header, "host"):
		return errors.New("the header Host is matched by a rule's host; give that instead")
	case m.Header != "":
		return validateToken("header", m.Header)
	case m.Cookie != "":
		return validateToken("cookie", m.Cookie)
	}
	return nil
}

// given is how many of the fields are not empty.
func given(fields ...string) int {
	n := 0
	for _, f := range fields {
		if f != "" {
			n++
		}
	}
	return n
}

// validateToken checks a header's or a cookie's name, which are tokens both (RFC 9110
// section 5.1, RFC 6265 section 4.1.1).
func validateToken(what, name string) error {
	if (&http.Cookie{Name: name}).Valid() != nil {
		return fmt.Errorf("%s %q: want a name of letters, digits and dashes", what, name)
	}
	return nil
}
