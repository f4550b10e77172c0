package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/api"
	"github.com/segue-deploy/segue/internal/prove"
	"github.com/segue-deploy/segue/internal/spec"
)

// proveDefaults are the flags' defaults.
func proveDefaults() *proveOptions {
	return &proveOptions{clients: 16, fresh: 25, rate: 100, duration: time.Second, timeout: time.Second, method: "GET", body: 10}
}

func TestProveConfig(t *testing.T) {
	p := proveDefaults()
	p.header, p.sticky = []string{"x-a: b:c ", "X-A: d"}, true
	target, cfg, err := p.config("http://Shop.example?q=1")
	if err != nil {
		t.Fatal(err)
	}
	if target.Path != "/" || cfg.Target != "Shop.example:80" || cfg.Host != "Shop.example" || cfg.KeepAlive != 12 || cfg.Fresh != 4 || !cfg.Cookies || cfg.Marked {
		t.Errorf("%+v", cfg)
	}
	if want := []string{"b:c", "d"}; !reflect.DeepEqual(cfg.Header["X-A"], want) {
		t.Errorf("%q", cfg.Header)
	}
	if _, cfg, err = p.config("https://shop.example"); err != nil || cfg.Target != "shop.example:443" || cfg.TLS == nil || cfg.TLS.ServerName != "shop.example" || cfg.TLS.InsecureSkipVerify {
		t.Errorf("%+v, %v", cfg, err)
	}
	p.host = "other"
	if _, cfg, err = p.config("http://[::1]:8080/a"); err != nil || cfg.Target != "[::1]:8080" || cfg.Host != "other" {
		t.Errorf("%+v, %v", cfg, err)
	}
}

func TestProveRefusesMistakes(t *testing.T) {
	for want, change := range map[string]func(*proveOptions) string{
		`"shop.example" is not a URL`:        func(*proveOptions) string { return "shop.example" },
		`"http:///" is not a URL`:            func(*proveOptions) string { return "http:///" },
		`"ftp://a/" is not a URL`:            func(*proveOptions) string { return "ftp://a/" },
		"give credentials with --header":     func(*proveOptions) string { return "http://me:secret@a/" },
		"--clients 0: want 1 or more":        func(p *proveOptions) string { p.clients = 0; return "http://a/" },
		"--fresh 101: want percent":          func(p *proveOptions) string { p.fresh = 101; return "http://a/" },
		"--post -1: want percent":            func(p *proveOptions) string { p.posts = -1; return "http://a/" },
		"--body -1: want bytes":              func(p *proveOptions) string { p.body = -1; return "http://a/" },
		"--rate -1: want requests":           func(p *proveOptions) string { p.rate = -1; return "http://a/" },
		"--for -1s: want a time":             func(p *proveOptions) string { p.duration = -time.Second; return "http://a/" },
		"--timeout 0s: want a time":          func(p *proveOptions) string { p.timeout = 0; return "http://a/" },
		"--method get: want a method":        func(p *proveOptions) string { p.method = "get"; return "http://a/" },
		`--header "x": want`:                 func(p *proveOptions) string { p.header = []string{"x"}; return "http://a/" },
		`--header "a b: c": want`:            func(p *proveOptions) string { p.header = []string{"a b: c"}; return "http://a/" },
		`--header "host: c": use --host`:     func(p *proveOptions) string { p.header = []string{"host: c"}; return "http://a/" },
		"X-Load-Id is the load client's own": func(p *proveOptions) string { p.header = []string{"x-load-id: c"}; return "http://a/" },
	} {
		p := proveDefaults()
		if _, _, err := p.config(change(p)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
}

// proven runs `segue prove` without a daemon.
func proven(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	args = append([]string{"prove", "--state-dir", t.TempDir(), "--for", "200ms", "--clients", "2", "--fresh", "50", "--rate", "0"}, args...)
	code = Run(t.Context(), args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// The command's verdict on services that do something wrong.
func TestProveFinds(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	for name, c := range map[string]struct {
		args []string
		h    func(w http.ResponseWriter, r *http.Request)
		code int
		want string
	}{
		"nothing":          {nil, func(http.ResponseWriter, *http.Request) {}, 0, "\nproved: lost 0 of "},
		"errors":           {nil, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, 0, " errors of the service itself\n"},
		"losses":           {nil, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 2, "\nNOT proved: lost "},
		"mixed up answers": {nil, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Load-Id", "x") }, 2, " answered wrongly\n"},
		"duplicates":       {[]string{"--post", "100"}, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Load-Seen", "2") }, 2, "\nNOT proved: lost 0 of "},
		"duplicates in the log": {[]string{"--method", "PATCH", "--log", log}, func(_ http.ResponseWriter, r *http.Request) {
			f, _ := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
			fmt.Fprintf(f, "one %[1]s\ntwo %[1]s\n", r.Header.Get("X-Load-Id"))
			f.Close()
		}, 2, " more than once in the service's log\n"},
		"that the log is gone": {[]string{"--log", log}, func(http.ResponseWriter, *http.Request) { _ = os.Remove(log) }, 2, "no such file or directory\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(log, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			s := httptest.NewServer(http.HandlerFunc(c.h))
			defer s.Close()
			code, out, errs := proven(t, append(c.args, s.URL)...)
			if code != c.code || !strings.Contains(out, c.want) || errs != "" {
				t.Errorf("exit code %d, want %d and %q\n%s%s", code, c.code, c.want, out, errs)
			}
		})
	}
}

func TestProveOverTLS(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	defer s.Close()
	if code, out, errs := proven(t, "--insecure", s.URL); code != 0 || !strings.Contains(out, "\nproved: ") {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
	if code, out, errs := proven(t, s.URL); code != 1 || out != "" || !strings.Contains(errs, "certificate signed by unknown authority; --insecure takes any certificate") {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
}

func TestRoutedTo(t *testing.T) {
	stable := map[string]api.Release{}
	for name, r := range map[string]spec.Route{
		"any":  {},
		"api":  {Paths: []string{"/api", "/v2/"}},
		"shop": {Hosts: []string{"shop.example", "www.example"}},
		"subs": {Hosts: []string{"*.example"}},
		"cart": {Hosts: []string{"shop.example"}, Paths: []string{"/cart"}},
	} {
		stable[name] = api.Release{Spec: spec.Spec{Route: r}}
	}
	for target, want := range map[string]string{
		"localhost:8080 /":       "any",
		"localhost:8080 /apis":   "any",
		"localhost:8080 /api":    "api",
		"localhost /v2/x":        "api",
		"SHOP.example.:80 /":     "shop",
		"shop.example /cart/1":   "cart",
		"other.example:80 /cart": "subs",
		"www.example /api":       "shop",
		"example /":              "any",
		"[::1]:80 /api/x":        "api",
	} {
		host, path, _ := strings.Cut(target, " ")
		if got, err := routedTo(stable, host, path); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", target, got, err, want)
		}
	}
	delete(stable, "any")
	if _, err := routedTo(stable, "localhost", "/x"); err == nil || !strings.Contains(err.Error(), "localhost/x") {
		t.Errorf("%v", err)
	}
}

// someDeployments have every kind of end.
func someDeployments() []api.Deployment {
	at := func(s int) time.Time { return start().Add(time.Duration(s) * time.Second) }
	back := api.StepState{Back: true, Began: at(45)}
	return []api.Deployment{
		{Number: 1, Candidate: "r1", Phase: api.PhasePromoted, Began: at(0), Finished: at(10)},
		{Number: 2, Stable: "r1", Candidate: "r2", Phase: api.PhasePromoted, Began: at(20), Finished: at(30)},
		{Number: 3, Stable: "r2", Candidate: "r3", Phase: api.PhaseAborted, Began: at(40), Finished: at(50), Steps: []api.StepState{{}, back}},
		{Number: 4, Stable: "r2", Candidate: "r2", Kind: api.KindScale, Phase: api.PhasePromoted, Began: at(60), Finished: at(70)},
		{Number: 5, Stable: "r2", Candidate: "r4", Phase: api.PhaseRunning, Began: at(80)},
		{Number: 6, Candidate: "r5", Phase: api.PhaseQueued},
	}
}

func TestMayAnswer(t *testing.T) {
	at := func(s float64) time.Time { return start().Add(time.Duration(s * float64(time.Second))) }
	who := func(windows []prove.Window, s float64) map[string]bool {
		may := map[string]bool{}
		for _, w := range windows {
			if w.Release != "" && (w.Begin.IsZero() || !at(s).Before(w.Begin)) && (w.End.IsZero() || !at(s).After(w.End)) {
				may[w.Release] = true
			}
		}
		return may
	}
	windows := mayAnswer(someDeployments())
	for s, want := range map[float64]string{
		-1: "", 5: "r1", 15: "r1", 25: "r1 r2", 35: "r2", 45: "r2 r3", 55: "r2", 65: "r2", 75: "r2", 85: "r2 r4", 1000: "r2 r4",
	} {
		wanted := map[string]bool{}
		for _, r := range strings.Fields(want) {
			wanted[r] = true
		}
		if got := who(windows, s); !maps.Equal(got, wanted) {
			t.Errorf("at %v s %v may answer, want %s", s, got, want)
		}
	}
	// Before a deployment that is the first that is known, its stable answers.
	if got := who(mayAnswer(someDeployments()[1:2]), -100); !maps.Equal(got, map[string]bool{"r1": true}) {
		t.Errorf("%v", got)
	}
	want := []prove.Window{
		{From: "r2", Release: "r1", Begin: at(20), End: at(30)},
		{From: "r3", Release: "r2", Begin: at(40), End: at(45)},
		{From: "r4", Release: "r2", Begin: at(80)},
	}
	if got := mayNotMove(someDeployments()); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}

// traffics is a status with the proxy's counters of that run.
func traffics(t *testing.T, epoch string, accepted, rerouted, truncated uint64) api.ServiceStatus {
	t.Helper()
	s := api.ServiceStatus{Epoch: epoch}
	text := fmt.Sprintf(`{"releases": [{"id": "r1", "accepted": 10, "failed": {"cut": 1}}, {"id": "r2", "accepted": %d, "rerouted": %d, "failed": {"truncated": %d}}]}`,
		accepted, rerouted, truncated)
	if err := json.Unmarshal([]byte(text), &s.Traffic); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTally(t *testing.T) {
	var c tally
	c.add(api.ServiceStatus{}) // the proxy did not answer
	c.add(traffics(t, "a", 100, 0, 3))
	c.add(traffics(t, "a", 150, 5, 4))
	if got := c.sum(); got != (traffic{45, 1}) || len(c.unknown) > 0 {
		t.Errorf("%+v, %q", got, c.unknown)
	}
	c.add(traffics(t, "b", 0, 0, 0)) // ten of r1 since it was started
	c.add(traffics(t, "b", 20, 0, 1))
	if got := c.sum(); got != (traffic{75, 3}) || len(c.unknown) != 1 || !strings.Contains(c.unknown[0], "started anew") {
		t.Errorf("%+v, %q", got, c.unknown)
	}
}

func TestCompare(t *testing.T) {
	r := prove.Report{Sent: 100}
	r.Lost = 3
	for counted, want := range map[uint64]agreement{96: fewer, 97: agree, 100: agree, 101: more} {
		if got := compare(r, counted, false); got != want {
			t.Errorf("%d: %s, want %s", counted, got, want)
		}
	}
	if got := compare(r, 1, true); got != unknown {
		t.Errorf("an incomplete count: %s", got)
	}
}

func TestJudge(t *testing.T) {
	good := func() proof {
		p := proof{Log: &prove.LogReport{Logged: 5, Repeated: 2}, Joined: &joined{Agreement: more, Deployments: []overlap{{ID: "d2", Agreement: unknown}}}}
		p.Sent, p.OK, p.ServiceError = 10, 8, 2
		return p
	}
	p := good()
	if p.judge(); !p.Proved {
		t.Errorf("%q", p.Against)
	}
	for want, change := range map[string]func(*proof){
		"no request was sent":                          func(p *proof) { p.Sent = 0 },
		"1 lost":                                       func(p *proof) { p.Lost = 1 },
		"2 answered wrongly":                           func(p *proof) { p.Wrong = 2 },
		"3 duplicated":                                 func(p *proof) { p.Duplicated = 3 },
		"4 more than once in the service's log":        func(p *proof) { p.Log.Duplicated = 4 },
		"3 answered by the wrong release":              func(p *proof) { p.Joined.WrongRelease = map[string]uint64{"r1": 1, "r2": 2} },
		"2 times a client went back to stable":         func(p *proof) { p.Joined.Strayed = []prove.Move{{From: "r2", To: "r1", Count: 2}} },
		"the proxy counted fewer than the clients":     func(p *proof) { p.Joined.Agreement = fewer },
		"the receipt of d2 has fewer than the clients": func(p *proof) { p.Joined.Deployments[0].Agreement = fewer },
	} {
		p := good()
		change(&p)
		if p.judge(); p.Proved || !reflect.DeepEqual(p.Against, []string{want}) {
			t.Errorf("%q, want %q", p.Against, want)
		}
	}
}

func TestPrintProof(t *testing.T) {
	p := proof{
		URL: "http://localhost/", Log: &prove.LogReport{Logged: 1200, Missing: 1, Duplicated: 1, Repeated: 2, Examples: []string{"a-1-1"}},
		Joined: &joined{
			Service: "web", Counted: 1201, Agreement: more, Slowest: "d2: shift traffic: r2 100 %", WrongRelease: map[string]uint64{"r1": 4}, Unjudged: []string{"v7"},
			Strayed: []prove.Move{{From: "r2", To: "r1", Count: 3}},
			Deployments: []overlap{
				{ID: "d2", Candidate: "r2", Phase: api.PhasePromoted, Accepted: 300, Retried: 1, Held: 2, Least: 290, Most: 310, Agreement: agree},
				{ID: "d3", Candidate: "r3", Phase: api.PhaseRunning, Accepted: 50, Least: 60, Most: 90, Agreement: unknown, Unknown: []string{"why"}},
				{ID: "d4", Candidate: "r4", Phase: api.PhaseRunning, Accepted: 99, Least: 60, Most: 90, Partly: true, Agreement: more},
			},
		},
	}
	p.Report = prove.Report{
		Sent: 1200, Elapsed: 10 * time.Second, Connections: 310, Counts: prove.Counts{OK: 1190, Lost: 2, ServiceError: 8},
		Kinds:    map[prove.Kind]prove.Counts{"get": {OK: 1190, Lost: 2, ServiceError: 8}},
		Releases: []prove.ReleaseReport{{ID: "", Counts: prove.Counts{Lost: 2}}, {ID: "r2", Answered: [10]uint64{2: 1190, 5: 8}}},
		Causes:   map[string]uint64{"reset": 2, "status 500": 8}, Echoed: 1198, Seen: 1198, Repeated: 1,
		Latency:  prove.Latency{Count: 1198, P50: time.Millisecond, P99: 2 * time.Millisecond, P999: 3 * time.Millisecond, Max: 4 * time.Millisecond},
		Slowest:  prove.Slowest{At: start(), ID: "a-1-7", Kind: "get", Release: "r2", Took: 4 * time.Millisecond},
		Failures: []prove.Failure{{At: start(), ID: "a-1-9", Kind: "get", Outcome: prove.Lost, Cause: "reset", Error: "gone", Took: time.Millisecond}},
	}
	p.judge()
	var out bytes.Buffer
	if err := printProof(&out, p); err != nil {
		t.Fatal(err)
	}
	noon := start().Local().Format("15:04:05.000")
	want := strings.ReplaceAll(`proof of http://localhost/: 1200 requests in 10s (120/s) on 310 connections
  get: 1190 ok, 2 lost, 8 errors of the service
  by r2: 1190 2xx, 8 5xx
  latency: p50 1ms, p99 2ms, p99.9 3ms
  slowest: 4ms, get a-1-7 at NOON, by r2, while d2: shift traffic: r2 100 %
  reset: 2
  status 500: 8
    NOON lost get a-1-9 after 1ms: reset: gone
    … and 9 more
  its own answer: 1198 of 1198 had the request's ID
  duplicates: 0, of 1198 that an instance has counted; 1 were sent again, as they may be
  the service's log: 1200 of 1200 requests, 1 more than once; 2 were sent again, as they may be; 1 answered and not there
    more than once: a-1-1
  web: the clients sent 1200 requests, the proxy counted 1201 accepted: 1 more, of other clients if there were any
  d2 (r2, promoted): its receipt has 300 accepted, 0 lost, 1 retried, 2 held; the clients sent between 290 and 310 in its time and lost 0, and the slowest took 0s: they agree
  d3 (r3, running): its receipt has 50 accepted, 0 lost, 0 retried; the clients sent between 60 and 90 in its time and lost 0, and the slowest took 0s: they can't be compared
    not known: why
  d4 (r4, running): its receipt has 99 accepted, 0 lost, 0 retried; the clients sent between 60 and 90 in its time and lost 0, and the slowest took 0s: the others are of other clients, or from a time without this load
  not checked: the release of answers by v7, which is no release of web
  wrong release: 4 answers by r1 when it was neither stable nor candidate
  sticky: clients went back from r2 to r1, 3 times
NOT proved: lost 2 of 1200 requests, 0 duplicated, 1 more than once in the service's log, 4 answered by the wrong release, 3 times a client went back to stable; 8 errors of the service itself
`, "NOON", noon)
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", &out, want)
	}

	alone := proof{URL: "http://localhost/", Alone: "no daemon answers"}
	alone.Sent, alone.OK = 1, 1
	alone.judge()
	out.Reset()
	if err := printProof(&out, alone); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"not checked: whether each answer", "not checked: duplicates", "not held against the proxy's count: no daemon answers\nproved: lost 0 of 1 request\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}

func TestProgressLine(t *testing.T) {
	last := prove.Report{Elapsed: time.Second, Counts: prove.Counts{OK: 100}, Releases: []prove.ReleaseReport{{ID: "r1", Counts: prove.Counts{OK: 100}}}}
	now := prove.Report{
		Elapsed: 2 * time.Second, Sent: 305, InFlight: 5, Counts: prove.Counts{OK: 299, Lost: 1},
		Releases: []prove.ReleaseReport{{ID: "", Counts: prove.Counts{Lost: 1}}, {ID: "r1", Counts: prove.Counts{OK: 150}}, {ID: "r2", Counts: prove.Counts{OK: 149}}},
	}
	want := start().Format(time.TimeOnly) + "    200/s  305 sent: 299 ok, 1 lost, 5 in flight  by r1 25 %, r2 75 %  d2: bake"
	if got := progressLine(last, now, "d2: bake", start()); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := progressLine(now, now, "", start()); !strings.HasSuffix(got, "5 in flight") {
		t.Errorf("%q", got)
	}
}
