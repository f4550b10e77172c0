package spec

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
)

func (c *checker) health(h Health, listen Listen) {
	c.choice("health", []option{{"http", h.HTTP != nil}, {"tcp", h.TCP}, {"command", h.Command != nil}})
	if h.HTTP != nil {
		c.requestPath("health.http.path", h.HTTP.Path)
		c.status("health.http.status", h.HTTP.Status)
		c.hostHeader("health.http.host", h.HTTP.Host)
	}
	if len(h.Command) > 0 {
		c.arguments("health.command", h.Command, templateScope{listen, true})
	}
	if h.Interval < minInterval {
		c.add("health.interval", "", "must be at least %s, not %s", minInterval, h.Interval)
	}
	c.positive("health.timeout", h.Timeout)
	c.between("health.healthy", h.Healthy, 1, maxThreshold)
	c.between("health.unhealthy", h.Unhealthy, 1, maxThreshold)
	c.positive("health.start_deadline", h.StartDeadline)
	// The first of n probes may come at once, the others an interval apart.
	if needed := h.StartDeadline / Duration(max(h.Healthy-1, 1)); h.Healthy > 1 && h.Interval >= needed {
		c.add("health.start_deadline", "give it more time, or ask for fewer answers or more often", "is too short for %d good answers %s apart: %s", h.Healthy, h.Interval, h.StartDeadline)
	}
}

// normalize writes the method in upper case and nothing where there is an empty
// list.
func (s *Smoke) normalize() {
	if len(s.Command) == 0 {
		s.Command = nil
	}
	if s.HTTP != nil {
		s.HTTP.Method = strings.ToUpper(s.HTTP.Method)
		if len(s.HTTP.Headers) == 0 {
			s.HTTP.Headers = nil
		}
	}
}

func (c *checker) smoke(field string, s Smoke, listen Listen) {
	c.choice(field, []option{{"http", s.HTTP != nil}, {"command", s.Command != nil}})
	if len(s.Command) > 0 {
		c.arguments(field+".command", s.Command, templateScope{listen, false})
	}
	if s.HTTP != nil {
		c.smokeHTTP(field+".http", *s.HTTP)
	}
	c.positive(field+".timeout", s.Timeout)
}

// httpToken is a token of HTTP, as method and field names are (RFC 9110 section
// 5.6.2).
var httpToken = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

func (c *checker) smokeHTTP(field string, h SmokeHTTP) {
	if !httpToken.MatchString(h.Method) || h.Method == "CONNECT" {
		c.add(field+".method", "write a method like GET or POST", "is not a method: %q", h.Method)
	}
	c.requestPath(field+".path", h.Path)
	c.status(field+".status", h.Status)
	for _, name := range sortedKeys(h.Headers) {
		c.header(field+".headers."+name, name, h.Headers[name])
	}
}

func (c *checker) header(field, name, value string) {
	if !httpToken.MatchString(name) {
		c.add(field, "use letters, digits and dashes", "is not a header's name: %q", name)
	}
	if strings.EqualFold(name, "Host") {
		c.hostHeader(field, value)
	}
	// RFC 9110 section 5.5: no control characters but tab.
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		c.add(field, "remove it", "has a control character: %q", value)
	}
}

// option is one of the fields of which one is to be given.
type option struct {
	name  string
	given bool
}

// choice checks that exactly one of the options is given.
func (c *checker) choice(field string, options []option) {
	var all, given []string
	for _, o := range options {
		all = append(all, o.name)
		if o.given {
			given = append(given, o.name)
		}
	}
	switch {
	case len(given) == 0:
		c.add(field, "give one of: "+strings.Join(all, ", "), "has no test")
	case len(given) > 1:
		c.add(field+"."+given[1], "keep one of them", "and %s.%s exclude each other", field, given[0])
	}
}

// requestPath checks the target of a request: a path that may have a query
// (RFC 9112 section 3.2.1).
func (c *checker) requestPath(field, target string) {
	switch {
	case target == "":
		c.missing(field, "write it as in path: /healthz")
		return
	case !strings.HasPrefix(target, "/"):
		c.add(field, fmt.Sprintf("write %q", "/"+target), "must start with /, not %q", target)
		return
	case strings.Contains(target, "#"):
		c.add(field, "remove it: it is never sent", "must not have a fragment: %q", target)
		return
	}
	_, err := url.ParseRequestURI(target)
	unwritten := strings.ContainsFunc(target, func(r rune) bool { return r <= ' ' || r >= 0x7f })
	if err != nil || unwritten {
		c.add(field, "write other characters than letters, digits and signs as escapes, like %20", "is not a path that can be sent: %q", target)
	}
}

func (c *checker) status(field string, status int) {
	if status != 0 {
		c.between(field, status, 100, 599)
	}
}

// hostHeader checks a host with or without a port; empty is none.
func (c *checker) hostHeader(field, host string) {
	if host == "" {
		return
	}
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = host, "0"
	}
	isIP := net.ParseIP(strings.Trim(name, "[]")) != nil
	number := strings.Trim(port, "0123456789") == "" && port != ""
	if !number || !isIP && !validName(strings.ToLower(name)) {
		c.add(field, "write a name like example.com, with or without a port", "is not a host: %q", host)
	}
}
