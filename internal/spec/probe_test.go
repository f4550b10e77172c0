package spec

import "testing"

func TestBadHealth(t *testing.T) {
	h := func(lines string) string { return minimal + "health:\n" + lines + "\n" }
	runBadCases(t, []badCase{
		{"two kinds", h("  tcp: true #!\n  http: {path: /}"), "health.tcp", "exclude each other", "keep one"},
		{"none", minimal + "health: {tcp: false} #!\n", "health", "has no test", "http, tcp, command"},
		{"no path", h("  http: {} #!"), "health.http.path", "is missing", "/healthz"},
		{"nothing under http", h("  http: #!"), "health.http.path", "is missing", ""},
		{"relative path", h("  http: {path: healthz} #!"), "health.http.path", "must start with /", `"/healthz"`},
		{"space in the path", h("  http: {path: /a b} #!"), "health.http.path", "not a path that can be sent", "%20"},
		{"fragment", h("  http: {path: \"/a#b\"} #!"), "health.http.path", "fragment", ""},
		{"bad escape", h("  http: {path: /%zz} #!"), "health.http.path", "not a path that can be sent", ""},
		{"status", h("  http: {path: /, status: 99} #!"), "health.http.status", "from 100 to 599", ""},
		{"status too high", h("  http: {path: /, status: 600} #!"), "health.http.status", "from 100 to 599", ""},
		{"host", h("  http: {path: /, host: \"a b\"} #!"), "health.http.host", "not a host", ""},
		{"host with a bad port", h("  http: {path: /, host: \"a:x\"} #!"), "health.http.host", "not a host", ""},
		{"empty command", h("  command: [\"\"] #!"), "health.command[0]", "is empty", ""},
		{"no interval", h("  interval: 0s #!"), "health.interval", "at least 10ms, not 0s", ""},
		{"no timeout", h("  timeout: 0s #!"), "health.timeout", "more than 0s", ""},
		{"no healthy", h("  healthy: 0 #!"), "health.healthy", "from 1", ""},
		{"no unhealthy", h("  unhealthy: 0 #!"), "health.unhealthy", "from 1", ""},
		{"no start deadline", h("  start_deadline: 0s #!"), "health.start_deadline", "more than 0s", ""},
		{"can't get ready in time", h("  interval: 10s\n  healthy: 7\n  start_deadline: 60s #!"), "health.start_deadline", "too short for 7 good answers 10s apart", ""},
	})
}

func TestBadSmoke(t *testing.T) {
	smoke := func(lines string) string { return minimal + "smoke:\n  - command: [ok]\n" + lines + "\n" }
	runBadCases(t, []badCase{
		{"none", smoke("  - timeout: 3s #!"), "smoke[1]", "has no test", "http, command"},
		{"nothing", smoke("  - #!"), "smoke[1]", "has no test", ""},
		{"both", smoke("  - http: {path: /}\n    command: [x] #!"), "smoke[1].command", "exclude each other", ""},
		{"empty command", smoke("  - command: [] #!"), "smoke[1]", "has no test", ""},
		{"timeout", smoke("  - command: [x]\n    timeout: 0s #!"), "smoke[1].timeout", "more than 0s", ""},
		{"no path", smoke("  - http: {method: GET} #!"), "smoke[1].http.path", "is missing", ""},
		{"method", smoke("  - http: {path: /, method: \"GE T\"} #!"), "smoke[1].http.method", "not a method", "POST"},
		{"connect", smoke("  - http: {path: /, method: connect} #!"), "smoke[1].http.method", "not a method", ""},
		{"status", smoke("  - http: {path: /, status: 1} #!"), "smoke[1].http.status", "from 100 to 599", ""},
		{"header name", smoke("  - http:\n      path: /\n      headers:\n        \"A B\": x #!"), "smoke[1].http.headers.A B", "not a header's name", ""},
		{"header value", smoke("  - http:\n      path: /\n      headers:\n        A: \"x\\r\\nB: y\" #!"), "smoke[1].http.headers.A", "control character", ""},
		{"host header", smoke("  - http:\n      path: /\n      headers:\n        host: \"a/b\" #!"), "smoke[1].http.headers.host", "not a host", ""},
	})
}

func TestProbesThatAreFine(t *testing.T) {
	s := mustParse(t, minimal+`
health:
  http: {path: "/healthz?deep=1", host: "Example.com:8080", status: 204}
  healthy: 3
smoke:
  - http: {method: post, path: /a%20b, headers: {Host: "[::1]:80", X-A: "b\tc"}, body: x, status: 302, contains: y}
  - command: [./smoke, "{{.Release}}", "{{.Dir}}"]
`)
	if s.Smoke[0].HTTP.Method != "POST" {
		t.Errorf("method is %q", s.Smoke[0].HTTP.Method)
	}
	for _, text := range []string{"health: {command: [./check, \"{{.Port}}\"]}\n", "health: {tcp: true}\n", "health: {tcp: false, http: {path: /}}\n"} {
		mustParse(t, minimal+text)
	}
}
