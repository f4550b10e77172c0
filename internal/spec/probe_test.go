package spec

import (
	"reflect"
	"testing"
	"time"
)

func TestBadHealth(t *testing.T) {
	h := func(lines string) string { return minimal + "health:\n" + lines + "\n" }
	runBadCases(t, []badCase{
		{"two kinds", h("  tcp: true #!\n  http: {path: /}"), "health.tcp", "exclude each other", "keep one"},
		{"none", minimal + "health: {tcp: false} #!\n", "health", "has no test", "http, grpc, tcp, command"},
		{"grpc of a service of HTTP/1.1", h("  grpc: {service: x} #!"), "health.grpc", "needs a service that speaks h2c", "protocol: h2c"},
		{"grpc without an address", minimal + "listen: none\nprotocol: h2c\nhealth: {grpc: {}} #!\n", "health.grpc", "needs an address", "notify"},
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
		{"file outside", h("  file: ../ready #!"), "health.file", "must be a file in the instance's own directory", "file: ready"},
		{"absolute file", h("  file: /run/ready #!"), "health.file", "must be a file in the instance's own directory", "SEGUE_RUN_DIR"},
		{"directory for a file", h("  file: a/.. #!"), "health.file", "must be a file in the instance's own directory", ""},
		{"template in the file", h("  file: \"{{.RunDir}}/ready\" #!"), "health.file", "can't have a template", "as in ready"},
		{"zero byte in the file", h("  file: \"a\\0b\" #!"), "health.file", "zero byte", ""},
		{"file and notify", h("  file: ready\n  notify: true #!"), "health.notify", "health.file exclude each other", "keep one"},
		{"empty file", h("  file: \"\" #!"), "health", "has no test", ""},
		{"text for notify", h("  notify: yes #!"), "health.notify", "must be true or false", ""},
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
		{"regular expression", smoke("  - http: {path: /, matches: \"a(b\"} #!"), "smoke[1].http.matches", "not a regular expression: missing closing )", "RE2"},
		{"answer's header name", smoke("  - http:\n      path: /\n      answer_headers:\n        \"A B\": x #!"), "smoke[1].http.answer_headers.A B", "not a header's name", ""},
		{"answer's header value", smoke("  - http:\n      path: /\n      answer_headers:\n        A: \"x\\ny\" #!"), "smoke[1].http.answer_headers.A", "control character", ""},
		{"JSON path", smoke("  - http:\n      path: /\n      json:\n        status: ok #!"), "smoke[1].http.json.status", "not a JSONPath", "$.status"},
		{"open JSON path", smoke("  - http:\n      path: /\n      json:\n        \"$.a[\": ok #!"), "smoke[1].http.json.$.a[", "not a JSONPath", ""},
		{"value of a JSON path", smoke("  - http:\n      path: /\n      json:\n        $.a: [1] #!"), "smoke[1].http.json.$.a", "must be a text", ""},
		{"latency", smoke("  - http: {path: /, latency: -1s} #!"), "smoke[1].http.latency", "must not be negative", ""},
		{"retries", smoke("  - command: [x]\n    retries: -1 #!"), "smoke[1].retries", "from 0 to 1000", ""},
		{"time between tries", smoke("  - command: [x]\n    retry_after: -1s #!"), "smoke[1].retry_after", "must not be negative", ""},
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
    retries: 3
    retry_after: 0s
  - http:
      path: /status
      matches: "(?i)^all (is )?well$"
      answer_headers: {Content-Type: application/json, X-Empty: ""}
      json: {$.status: ok, "$.items[0]['a.b']": 1, $..up: true}
      latency: 250ms
`)
	want := &CheckHTTP{
		Method: "GET", Path: "/status", Matches: "(?i)^all (is )?well$", Answer: map[string]string{"Content-Type": "application/json", "X-Empty": ""},
		JSON: map[string]string{"$.status": "ok", "$.items[0]['a.b']": "1", "$..up": "true"}, Latency: Duration(250 * time.Millisecond),
	}
	if got := s.Smoke[2].HTTP; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if c := s.Smoke[1]; c.Retries != 3 || c.RetryAfter != 0 || s.Smoke[2].RetryAfter != Duration(time.Second) {
		t.Errorf("tries are %+v and %+v", c, s.Smoke[2])
	}
	if s.Smoke[0].HTTP.Method != "POST" {
		t.Errorf("method is %q", s.Smoke[0].HTTP.Method)
	}
	for _, text := range []string{"health: {command: [./check, \"{{.Port}}\"]}\n", "health: {tcp: true}\n", "health: {tcp: false, http: {path: /}}\n",
		"health: {file: said/ready}\n", "health: {notify: true}\n"} {
		mustParse(t, minimal+text)
	}
}
