package spec

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/theory/jsonpath"
)

func (c *checker) health(h Health, listen Listen) {
	c.choice("health", "has no test", []option{
		{"http", h.HTTP != nil}, {"grpc", h.GRPC != nil}, {"tcp", h.TCP}, {"command", h.Command != nil}, {"file", h.File != ""}, {"notify", h.Notify},
	})
	if listen == ListenNone && h.HTTP != nil {
		c.addError("health.http", needsAddress())
	}
	if listen == ListenNone && h.GRPC != nil {
		c.addError("health.grpc", needsAddress())
	}
	if listen == ListenNone && h.TCP {
		c.addError("health.tcp", needsAddress())
	}
	if h.HTTP != nil {
		c.requestPath("health.http.path", h.HTTP.Path)
		c.status("health.http.status", h.HTTP.Status)
		c.hostHeader("health.http.host", h.HTTP.Host)
	}
	if len(h.Command) > 0 {
		c.arguments("health.command", h.Command, templateScope{listen, forInstance})
	}
	if h.File != "" {
		c.healthFile(h.File)
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

// protocol checks what depends on the protocol that the instances speak.
func (c *checker) protocol(s *Spec) {
	h2c := s.Protocol == ProtocolH2C
	if s.Health.GRPC != nil && !h2c {
		c.add("health.grpc", "add the line \"protocol: h2c\"", "needs a service that speaks h2c, and protocol is %s", s.Protocol)
	}
	if y := s.Strategy.Canary; y != nil && y.Mirror != nil && h2c {
		c.add("strategy.canary.mirror", "remove it", "can't be used with protocol h2c: only requests of HTTP/1.1 are copied")
	}
}

// replayUploads says where nothing would ever be handed back: clients of HTTP/2 take
// another way through the proxy, and an exclusive release ends before there is another.
func (c *checker) replayUploads(s *Spec) {
	const field = "replay_uploads"
	switch {
	case !s.ReplayUploads:
	case s.Listen == ListenNone:
		c.add(field, "remove it", "needs requests, and the service listens on nothing")
	case s.Protocol == ProtocolH2C:
		c.add(field, "remove it", "can't be used with protocol h2c: only requests of HTTP/1.1 are handed back")
	case s.Strategy.Exclusive != nil:
		c.add(field, "remove it", "can't be used with the strategy exclusive: an instance that hands an upload back would have to wait for one that waits for its end")
	}
}

// needsAddress is what is wrong with a health test of a service that has no
// address.
func needsAddress() *flaw {
	return &flaw{
		"needs an address, and the service listens on nothing",
		"use notify: true (the program says READY=1 as sd_notify does), file or command",
	}
}

// healthFile checks a path in an instance's own directory.
func (c *checker) healthFile(file string) {
	const field = "health.file"
	c.system(field, file)
	switch {
	case strings.Contains(file, "{{"):
		c.add(field, "write the path in the instance's own directory, as in ready", "can't have a template: %q", file)
	case !filepath.IsLocal(file) || filepath.Clean(file) == ".":
		c.add(field, "it is relative to the instance's own directory, which it finds in SEGUE_RUN_DIR; write it as in file: ready", "must be a file in the instance's own directory: %q", file)
	}
}

// checks checks a list of checks of the candidate.
func (c *checker) checks(field string, list []Check, listen Listen) {
	for i, one := range list {
		c.candidateCheck(fmt.Sprintf("%s[%d]", field, i), one, listen)
	}
}

func (c *checker) candidateCheck(field string, check Check, listen Listen) {
	c.choice(field, "has no test", []option{{"http", check.HTTP != nil}, {"command", check.Command != nil}})
	if len(check.Command) > 0 {
		c.arguments(field+".command", check.Command, templateScope{listen, forCandidate})
	}
	if check.HTTP != nil {
		c.checkHTTP(field+".http", *check.HTTP)
		if listen == ListenNone {
			c.add(field+".http", "use a command", "needs an address, and the service listens on nothing")
		}
	}
	c.positive(field+".timeout", check.Timeout)
	c.between(field+".retries", check.Retries, 0, maxRetries)
	c.notNegative(field+".retry_after", check.RetryAfter)
}

// httpToken is a token of HTTP, as method and field names are (RFC 9110 section
// 5.6.2).
var httpToken = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

func (c *checker) checkHTTP(field string, h CheckHTTP) {
	if !httpToken.MatchString(h.Method) || h.Method == "CONNECT" {
		c.add(field+".method", "write a method like GET or POST", "is not a method: %q", h.Method)
	}
	c.requestPath(field+".path", h.Path)
	c.status(field+".status", h.Status)
	for _, name := range sortedKeys(h.Headers) {
		at := field + ".headers." + name
		c.header(at, name, h.Headers[name])
		if strings.EqualFold(name, "Host") {
			c.hostHeader(at, h.Headers[name])
		}
	}
	c.expectations(field, h)
}

// expectations checks what the answer is to be.
func (c *checker) expectations(field string, h CheckHTTP) {
	if _, err := regexp.Compile(h.Matches); err != nil {
		c.add(field+".matches", "the syntax is RE2; a text that is to be found as it is goes into contains", "is not a regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	for _, name := range sortedKeys(h.Answer) {
		c.header(field+".answer_headers."+name, name, h.Answer[name])
	}
	for _, p := range sortedKeys(h.JSON) {
		if _, err := jsonpath.Parse(p); err != nil {
			c.add(field+".json."+p, `write it as in $.status or $.items[0]["a-b"] (RFC 9535)`, "is not a JSONPath: %s", strings.TrimPrefix(err.Error(), "jsonpath: "))
		}
	}
	c.notNegative(field+".latency", h.Latency)
}

func (c *checker) header(field, name, value string) {
	c.headerName(field, name)
	c.headerValue(field, value)
}

func (c *checker) headerName(field, name string) {
	if !httpToken.MatchString(name) {
		c.add(field, "use letters, digits and dashes", "is not a header's name: %q", name)
	}
}

func (c *checker) headerValue(field, value string) {
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

// choice checks that exactly one of the options is given; lack says what it is
// when there is none.
func (c *checker) choice(field, lack string, options []option) {
	var all, given []string
	for _, o := range options {
		all = append(all, o.name)
		if o.given {
			given = append(given, o.name)
		}
	}
	switch {
	case len(given) == 0:
		c.add(field, "give one of: "+strings.Join(all, ", "), "%s", lack)
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
