package spec

import (
	"reflect"
	"strings"
	"testing"
)

func TestRoutes(t *testing.T) {
	s := mustParse(t, minimal+"route:\n  hosts: [Example.COM, \"*.example.com\", localhost, 127.0.0.1, a.b-c.d1]\n  paths: [/, /api/, /a/b, /ü]\n")
	if want := []string{"example.com", "*.example.com", "localhost", "127.0.0.1", "a.b-c.d1"}; !reflect.DeepEqual(s.Route.Hosts, want) {
		t.Errorf("hosts are %q, want %q", s.Route.Hosts, want)
	}
	if want := []string{"/", "/api", "/a/b", "/ü"}; !reflect.DeepEqual(s.Route.Paths, want) {
		t.Errorf("paths are %q, want %q", s.Route.Paths, want)
	}
}

func TestBadRoutes(t *testing.T) {
	host := func(h string) string { return minimal + "route:\n  hosts:\n    - ok.example\n    - " + h + " #!\n" }
	path := func(p string) string { return minimal + "route:\n  paths:\n    - /ok\n    - " + p + " #!\n" }
	const hosts, paths = "route.hosts[1]", "route.paths[1]"
	runBadCases(t, []badCase{
		{"scheme", host("https://example.com/x"), hosts, "not a host name", `"example.com"`},
		{"port", host("example.com:8080"), hosts, "not a host name", `"example.com"`},
		{"dot at the end", host("example.com."), hosts, "not a host name", `"example.com"`},
		{"space", host("a b"), hosts, "not a host name", "example.com"},
		{"underscore", host("a_b.example"), hosts, "not a host name", ""},
		{"dash first", host("-a.example"), hosts, "not a host name", ""},
		{"empty label", host("a..example"), hosts, "not a host name", ""},
		{"long label", host(strings.Repeat("a", 64)), hosts, "not a host name", ""},
		{"long name", host(strings.Repeat("a.", 127) + "a"), hosts, "not a host name", ""},
		{"empty", host(`""`), hosts, "not a host name", ""},
		{"star", host(`"*"`), hosts, "not a host name", "leave hosts out"},
		{"star within", host("a.*.example"), hosts, "not a host name", ""},
		{"umlaut", host("müller.example"), hosts, "not a host name", "xn--"},
		{"twice", host("OK.example"), hosts, "given twice", ""},
		{"relative", path("api"), paths, "must start with /", ""},
		{"query", path("/a?b"), paths, "query", ""},
		{"fragment", path(`"/a#b"`), paths, "fragment", ""},
		{"escape", path("/a%20b"), paths, "escape", ""},
		{"up", path("/a/../b"), paths, "shortest form", `"/b"`},
		{"double slash", path("/a//b"), paths, "shortest form", `"/a/b"`},
		{"control", path(`"/a\nb"`), paths, "control character", ""},
		{"path twice", path("/ok/"), paths, "given twice", ""},
		{"empty path", path(`""`), paths, "must start with /", ""},
	})
}
