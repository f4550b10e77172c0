package spec

import (
	"fmt"
	"slices"
	"strings"
)

func (c *checker) sticky(s Sticky) {
	const field = "route.sticky"
	c.choice(field, "says not how a client is known again", []option{{"cookie", s.Cookie != ""}, {"header", s.Header != ""}})
	if s.Cookie != "" {
		c.cookieName(field+".cookie", s.Cookie)
	}
	if s.Header != "" {
		c.headerName(field+".header", s.Header)
	}
}

// cookieName checks the name of a cookie, which is a token (RFC 6265 section
// 4.1.1).
func (c *checker) cookieName(field, name string) {
	if !httpToken.MatchString(name) {
		c.add(field, "use letters, digits, - and _", "is not a cookie's name: %q", name)
	}
}

// matches checks the rules that choose requests for the candidate.
func (c *checker) matches(field string, rules []Match, route Route) {
	for i, rule := range rules {
		at := fmt.Sprintf("%s[%d]", field, i)
		c.match(at, rule, route)
		if slices.ContainsFunc(rules[:i], func(earlier Match) bool { return earlier.same(rule) }) {
			c.add(at, "remove one of them", "is given twice")
		}
	}
}

// same says whether two rules choose the same requests.
func (m Match) same(other Match) bool {
	return strings.EqualFold(m.Header, other.Header) && m.Cookie == other.Cookie &&
		m.Query == other.Query && m.Host == other.Host && m.Value == other.Value
}

func (c *checker) match(field string, m Match, route Route) {
	c.choice(field, "chooses no requests", []option{
		{"header", m.Header != ""}, {"cookie", m.Cookie != ""}, {"query", m.Query != ""}, {"host", m.Host != ""},
	})
	if m.Header != "" {
		c.headerName(field+".header", m.Header)
	}
	if m.Cookie != "" {
		c.cookieName(field+".cookie", m.Cookie)
	}
	if m.Host != "" {
		c.candidateHost(field, m, route)
	}
	c.headerValue(field+".query", m.Query)
	c.headerValue(field+".value", m.Value)
}

// candidateHost checks a host name of the candidate's own.
func (c *checker) candidateHost(field string, m Match, route Route) {
	at := field + ".host"
	switch {
	case strings.HasPrefix(m.Host, "*"):
		c.add(at, "write a whole name like next.example.com", "must not have a wildcard: %q", m.Host)
	case slices.Contains(route.Hosts, m.Host):
		c.add(at, "give the candidate a name of its own, or remove it from route.hosts", "is the service's own, in route.hosts: %q", m.Host)
	default:
		c.addError(at, checkHost(m.Host))
	}
	if m.Value != "" {
		c.add(field+".value", "remove it", "goes with a header, cookie or query, not with a host")
	}
}
