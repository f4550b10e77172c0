package spec

import (
	"fmt"
	"net"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// hostLabel is a label of a DNS name (RFC 1123 section 2.1).
var hostLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func (c *checker) route(r Route, listen Listen) {
	if listen == ListenNone {
		c.noRoute(r)
		return
	}
	seen := map[string]bool{}
	for i, host := range r.Hosts {
		field := fmt.Sprintf("route.hosts[%d]", i)
		c.addError(field, checkHost(host))
		if seen[host] {
			c.add(field, "remove one of them", "is given twice: %q", host)
		}
		seen[host] = true
	}
	for i, p := range r.Paths {
		field := fmt.Sprintf("route.paths[%d]", i)
		c.addError(field, checkPathPrefix(p))
		if seen[p] {
			c.add(field, "remove one of them", "is given twice: %q", p)
		}
		seen[p] = true
	}
	if r.Sticky != nil {
		c.sticky(*r.Sticky)
	}
	c.pathDrains(r)
}

func (c *checker) pathDrains(r Route) {
	seen := map[string]bool{}
	for i, d := range r.Drain {
		field := fmt.Sprintf("route.drain[%d]", i)
		if d.Path == "" {
			c.missing(field+".path", "name a path, as in /events")
		} else {
			c.addError(field+".path", checkPathPrefix(d.Path))
			c.routed(field+".path", d.Path, r.Paths)
		}
		if seen[d.Path] {
			c.add(field+".path", "remove one of them", "is given twice: %q", d.Path)
		}
		seen[d.Path] = true
		c.positive(field+".time", d.Time)
	}
}

// routed checks that requests to a path come to the service at all.
func (c *checker) routed(field, path string, paths []string) {
	if len(paths) > 0 && !slices.ContainsFunc(paths, func(p string) bool { return below(p, path) || below(path, p) }) {
		c.add(field, "name a path below one of route.paths", "leads to no request of the service: %q", path)
	}
}

// below reports whether a path is a prefix, or comes below it.
func below(prefix, path string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(prefix, "/"))
	return ok && (rest == "" || rest[0] == '/')
}

// LongestDrain is how long a release may take to drain.
func (s *Spec) LongestDrain() Duration {
	longest := s.Drain
	for _, d := range s.Route.Drain {
		longest = max(longest, d.Time)
	}
	return longest
}

// noRoute checks that requests aren't led to a service that takes none.
func (c *checker) noRoute(r Route) {
	for _, o := range []option{{"hosts", r.Hosts != nil}, {"paths", r.Paths != nil}, {"sticky", r.Sticky != nil}, {"drain", r.Drain != nil}} {
		if o.given {
			c.add("route."+o.name, "remove it, or add listen: port for a service that takes requests", "leads requests to a service that listens on nothing")
		}
	}
}

// checkHost checks a host name of a route, in lower case.
func checkHost(host string) *flaw {
	if host == "*" {
		return &flaw{`is not a host name: "*"`, "leave hosts out to get every host that no other service names"}
	}
	name := strings.TrimPrefix(host, "*.")
	if len(name) <= 253 && validName(name) {
		return nil
	}
	wrong := &flaw{fmt.Sprintf("is not a host name: %q", host), "write a DNS name like example.com or *.example.com"}
	if bare := bareHost(host); bare != host && validName(strings.TrimPrefix(bare, "*.")) {
		wrong.hint = fmt.Sprintf("write it without scheme, port and path: %q", bare)
	} else if strings.ContainsFunc(host, func(r rune) bool { return r > unicode.MaxASCII }) {
		wrong.hint = "write it in its ASCII form, which starts with xn--"
	}
	return wrong
}

func validName(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if !hostLabel.MatchString(label) {
			return false
		}
	}
	return true
}

// bareHost takes away scheme, path, port and the dot at the end.
func bareHost(host string) string {
	if _, rest, found := strings.Cut(host, "://"); found {
		host = rest
	}
	host, _, _ = strings.Cut(host, "/")
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.TrimSuffix(host, ".")
}

// checkPathPrefix checks a path prefix of a route.
func checkPathPrefix(p string) *flaw {
	switch {
	case !strings.HasPrefix(p, "/"):
		return &flaw{fmt.Sprintf("must start with /, not %q", p), ""}
	case strings.ContainsAny(p, "?#"):
		return &flaw{fmt.Sprintf("must not have a query or fragment: %q", p), "a route knows paths only"}
	case strings.Contains(p, "%"):
		return &flaw{fmt.Sprintf("must not have an escape: %q", p), "write the character itself"}
	case strings.ContainsFunc(p, unicode.IsControl):
		return &flaw{fmt.Sprintf("has a control character: %q", p), "remove it"}
	case path.Clean(p) != p:
		return &flaw{fmt.Sprintf("is not in its shortest form: %q", p), fmt.Sprintf("write %q", path.Clean(p))}
	}
	return nil
}
