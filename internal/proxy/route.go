package proxy

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// routes is a table's hosts and paths, made for lookup.
type routes struct {
	exact map[string][]pathRoute
	// below has the wildcards, by what follows "*.".
	below map[string][]pathRoute
	any   []pathRoute
}

// pathRoute leads a prefix of whole path segments to a service. A list of them is
// ordered by falling length.
type pathRoute struct {
	// prefix has no slash at its end, so that "/" is "".
	prefix  string
	service *service
}

// find returns the service that takes requests for a host, as in the Host header,
// and a decoded path; nil is none.
func (r *routes) find(host, path string) *service {
	return findPath(r.paths(canonicalHost(host)), path)
}

// paths returns the paths of the most specific entry for a host.
func (r *routes) paths(host string) []pathRoute {
	if found, ok := r.exact[host]; ok {
		return found
	}
	if len(r.below) > 0 {
		for rest := host; ; {
			_, after, ok := strings.Cut(rest, ".")
			if !ok {
				break
			}
			if found, ok := r.below[after]; ok {
				return found
			}
			rest = after
		}
	}
	return r.any
}

func findPath(paths []pathRoute, path string) *service {
	for _, p := range paths {
		if after, ok := strings.CutPrefix(path, p.prefix); ok && (after == "" || after[0] == '/' || p.prefix == "") {
			return p.service
		}
	}
	return nil
}

// addService makes the hosts of a service and of its match rules lead to it, as add
// does.
func (r *routes) addService(to *service, s Service) (taken *service, host, path string) {
	if taken, host, path = r.add(to, s.Hosts, s.Paths); taken != nil {
		return taken, host, path
	}
	for _, rule := range s.matchHosts() {
		// Two rules may name one host, or one that leads to the service anyway.
		if taken, host, path = r.add(to, []string{rule}, s.Paths); taken != nil && taken != to {
			return taken, host, path
		}
	}
	return nil, "", ""
}

// add makes a service's hosts and paths lead to it. It returns the service that
// has one of them already, with the host and the path.
func (r *routes) add(s *service, hosts, paths []string) (taken *service, host, path string) {
	if len(paths) == 0 {
		paths = []string{"/"}
	}
	for _, path := range paths {
		prefix := strings.TrimRight(path, "/")
		if len(hosts) == 0 {
			if taken := insert(&r.any, prefix, s); taken != nil {
				return taken, "", path
			}
		}
		for _, host := range hosts {
			if taken := r.addHost(s, host, prefix); taken != nil {
				return taken, host, path
			}
		}
	}
	return nil, "", ""
}

func (r *routes) addHost(s *service, host, prefix string) (taken *service) {
	byName := &r.exact
	if below, ok := strings.CutPrefix(host, "*."); ok {
		byName, host = &r.below, below
	}
	if *byName == nil {
		*byName = make(map[string][]pathRoute)
	}
	host = canonicalHost(host)
	list := (*byName)[host]
	taken = insert(&list, prefix, s)
	(*byName)[host] = list
	return taken
}

// insert keeps the list in order.
func insert(list *[]pathRoute, prefix string, s *service) (taken *service) {
	for _, p := range *list {
		if p.prefix == prefix {
			return p.service
		}
	}
	*list = append(*list, pathRoute{prefix, s})
	slices.SortStableFunc(*list, func(a, b pathRoute) int { return cmp.Compare(len(b.prefix), len(a.prefix)) })
	return nil
}

// canonicalHost returns a host without port, brackets and the dot at the end, in
// lower case, and IPv6 addresses in their one short form.
func canonicalHost(host string) string {
	if strings.HasPrefix(host, "[") {
		if end := strings.IndexByte(host, ']'); end > 0 {
			return canonicalIPv6(host[1:end])
		}
		return strings.ToLower(host)
	}
	if colon := strings.IndexByte(host, ':'); colon >= 0 {
		if strings.LastIndexByte(host, ':') != colon {
			return canonicalIPv6(host)
		}
		host = host[:colon]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func canonicalIPv6(host string) string {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.String()
	}
	return strings.ToLower(host)
}
