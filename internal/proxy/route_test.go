package proxy

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/health"
)

func TestRoute(t *testing.T) {
	table := Table{Version: 1, Services: []Service{
		{Name: "exact", Hosts: []string{"example.com", "Other.example."}},
		{Name: "api", Hosts: []string{"example.com"}, Paths: []string{"/api", "/v2/"}},
		{Name: "deep", Hosts: []string{"example.com"}, Paths: []string{"/api/deep"}},
		{Name: "wild", Hosts: []string{"*.example.com"}},
		{Name: "wilder", Hosts: []string{"*.a.example.com"}},
		{Name: "six", Hosts: []string{"[2001:DB8::0:1]"}},
		{Name: "part", Hosts: []string{"part.test"}, Paths: []string{"/only"}},
		{Name: "rest"},
		{Name: "restapi", Paths: []string{"/api"}},
	}}
	if err := table.Validate(); err != nil {
		t.Fatal(err)
	}
	routes := compile(table, newTestRegistry()).routes
	for _, c := range []struct{ host, path, want string }{
		{"example.com", "/", "exact"},
		{"EXAMPLE.com:8080", "/x", "exact"},
		{"example.com.", "/", "exact"},
		{"example.com.:80", "/", "exact"},
		{"other.example", "/api", "exact"},
		{"example.com", "/api", "api"},
		{"example.com", "/api/", "api"},
		{"example.com", "/api/x", "api"},
		{"example.com", "/apix", "exact"},
		{"example.com", "/v2", "api"},
		{"example.com", "/v2/y", "api"},
		{"example.com", "/api/deep", "deep"},
		{"example.com", "/api/deep/er", "deep"},
		{"example.com", "/api/deeper", "api"},
		{"b.example.com", "/api", "wild"},
		{"c.b.example.com", "/", "wild"},
		{"a.example.com", "/", "wild"},
		{"x.a.example.com", "/", "wilder"},
		{"y.x.a.example.com", "/", "wilder"},
		{"badexample.com", "/", "rest"},
		{"[2001:db8::1]:443", "/", "six"},
		{"[2001:db8::1]", "/", "six"},
		{"[2001:0db8:0:0::1]", "/", "six"},
		{"part.test", "/only/x", "part"},
		{"part.test", "/", ""}, // named by a service, so not for those without hosts
		{"unknown", "/", "rest"},
		{"unknown", "/api", "restapi"},
		{"", "/", "rest"},
		{"[::1", "/", "rest"},
		{"a:b:c", "/", "rest"},
		{"unknown", "*", "rest"},
	} {
		got := ""
		if s := routes.find(c.host, c.path); s != nil {
			got = s.name
		}
		if got != c.want {
			t.Errorf("%q %q leads to %q, want %q", c.host, c.path, got, c.want)
		}
	}
}

func TestTableValidate(t *testing.T) {
	up := func(id, network, address string) Upstream {
		return Upstream{ID: id, Target: health.Target{Network: network, Address: address}}
	}
	one := func(r ...Release) Table { return Table{Version: 1, Services: []Service{web(r...)}} }
	with := func(s Service) Table { s.Name = "web"; return Table{Version: 1, Services: []Service{s}} }
	for _, c := range []struct {
		name  string
		table Table
		want  string
	}{
		{"version", Table{}, "version is 0"},
		{"no name", Table{Version: 1, Services: []Service{{}}}, "name is empty"},
		{"twice", Table{Version: 1, Services: []Service{{Name: "a"}, {Name: "a", Hosts: []string{"b"}}}}, "not unique"},
		{"fallback", with(Service{Fallback: "r2", Releases: []Release{{ID: "r1", Weight: 100}}}), `fallback "r2" is none`},
		{"weights", one(Release{ID: "r1", Weight: 99}), "sum to 99"},
		{"negative", one(Release{ID: "r1", Weight: -1}, Release{ID: "r2", Weight: 101}), "weight is -1"},
		{"release twice", one(Release{ID: "r1", Weight: 50}, Release{ID: "r1", Weight: 50}), "not unique"},
		{"upstream twice", one(Release{ID: "r1", Upstreams: []Upstream{up("a", "tcp", "127.0.0.1:1"), up("a", "tcp", "h:2")}}), "not unique"},
		{"network", one(Release{ID: "r1", Upstreams: []Upstream{up("a", "udp", "127.0.0.1:1")}}), "udp"},
		{"address", one(Release{ID: "r1", Upstreams: []Upstream{up("a", "tcp", "h")}}), "IP:port"},
		{"socket", one(Release{ID: "r1", Upstreams: []Upstream{up("a", "unix", "")}}), "empty"},
		{"interval", one(Release{ID: "r1", Health: &health.Check{TCP: true}}), "interval"},
		{"path", Table{Version: 1, Services: []Service{{Name: "a", Paths: []string{"api"}}}}, "slash"},
		{"host with port", Table{Version: 1, Services: []Service{{Name: "a", Hosts: []string{"a:80"}}}}, "without port"},
		{"wildcard inside", Table{Version: 1, Services: []Service{{Name: "a", Hosts: []string{"a.*.b"}}}}, "without port"},
		{"same place", Table{Version: 1, Services: []Service{{Name: "a"}, {Name: "b"}}}, `already leads to service "a"`},
		{"same host", Table{Version: 1, Services: []Service{{Name: "a", Hosts: []string{"x.test"}}, {Name: "b", Hosts: []string{"X.test."}}}}, "already leads"},
		{"candidate", Table{Version: 1, Services: []Service{{Name: "a", Candidate: "r9"}}}, `candidate "r9" is none of the releases`},
		{"match of nothing", with(Service{Match: []Match{{Value: "x"}}}), "match rule 1: it has 0 of"},
		{"match of two things", with(Service{Match: []Match{{Header: "A"}, {Header: "A", Query: "b"}}}), "match rule 2: it has 2 of"},
		{"match of Host", with(Service{Match: []Match{{Header: "host"}}}), "rule's host"},
		{"match of a host's value", with(Service{Match: []Match{{Host: "a.test", Value: "x"}}}), "takes no value"},
		{"match of no host", with(Service{Match: []Match{{Host: "a.test:80"}}}), "without port"},
		{"match of no header", with(Service{Match: []Match{{Header: "a b"}}}), `header "a b"`},
		{"match of no cookie", with(Service{Match: []Match{{Cookie: "a;b"}}}), `cookie "a;b"`},
		{"sticky by nothing", with(Service{Sticky: &Sticky{}}), "sticky: it has 0 of"},
		{"sticky by both", with(Service{Sticky: &Sticky{Cookie: "a", Header: "b"}}), "sticky: it has 2 of"},
		{"sticky by no cookie", with(Service{Sticky: &Sticky{Cookie: "a=b"}}), `cookie "a=b"`},
		{"mirror's share", with(Service{Mirror: &Mirror{Share: 101, MaxInFlight: 1}}), "share is 101"},
		{"no share", with(Service{Mirror: &Mirror{Share: math.NaN(), MaxInFlight: 1}}), "share is NaN"},
		{"mirror's bound", with(Service{Mirror: &Mirror{Share: 1}}), "max_in_flight is 0"},
		{"mirror's bodies", with(Service{Mirror: &Mirror{Share: 1, MaxInFlight: 1, CompareBody: true}}), "max_body is 0"},
		{"hold without end", with(Service{Hold: &Hold{Time: 1, Requests: 1, Bytes: 1}}), "has no end"},
		{"hold's time", with(Service{Hold: &Hold{Until: time.Now(), Requests: 1, Bytes: 1}}), "time is 0s"},
		{"hold's requests", with(Service{Hold: &Hold{Until: time.Now(), Time: 1, Bytes: 1}}), "requests are 0"},
		{"hold's bytes", with(Service{Hold: &Hold{Until: time.Now(), Time: 1, Requests: 1}}), "bytes are 0"},
		{"host of a rule", Table{Version: 1, Services: []Service{
			{Name: "a", Hosts: []string{"x.test"}},
			{Name: "b", Hosts: []string{"b.test"}, Releases: []Release{{ID: "r1"}}, Candidate: "r1", Match: []Match{{Host: "x.test"}}},
		}}, `already leads to service "a"`},
	} {
		err := c.table.Validate()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", c.name, err, c.want)
		}
	}
	good := one(Release{ID: "r1", Weight: 30}, Release{ID: "r2", Weight: 70}, Release{ID: "r3"})
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}
