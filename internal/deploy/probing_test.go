package deploy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/analysis"
	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/health"
	"github.com/segue-deploy/segue/internal/proxy"
	"github.com/segue-deploy/segue/internal/spec"
)

// Probes reach both releases, and what comes of them is counted apart.
func TestProbing(t *testing.T) {
	serve := func(status int) []health.Target {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.String() != "/search?q=x" || r.Method != http.MethodGet {
				t.Errorf("a probe asks for %s %s", r.Method, r.URL)
			}
			w.WriteHeader(status)
		}))
		t.Cleanup(s.Close)
		return []health.Target{{Network: "tcp", Address: s.Listener.Addr().String()}}
	}
	good, bad := serve(200), serve(503)
	p := &probing{
		TrafficProbe: spec.TrafficProbe{Path: "/search?q=x", Rate: 1000},
		failing:      proxy.Failing{Status: []proxy.StatusRange{{From: 500, To: 599}}},
		maturity:     time.Minute,
		targets: func(_ context.Context, candidate bool) ([]health.Target, error) {
			if candidate {
				return bad, nil
			}
			return good, nil
		},
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.run(ctx) }()
	var stable, candidate analysis.Counts
	for stable.Requests < 20 || candidate.Requests < 20 {
		s := p.take()
		if s.Stream != probeStream || s.Weight != 0.5 || s.Past.Count() != stable.Requests || s.Stable.Latency.Count() != s.Stable.Requests {
			t.Fatalf("after %+v the next counts are %+v", stable, s)
		}
		stable = analysis.Counts{Requests: stable.Requests + s.Stable.Requests, Failed: stable.Failed + s.Stable.Failed}
		candidate = analysis.Counts{Requests: candidate.Requests + s.Candidate.Requests, Failed: candidate.Failed + s.Candidate.Failed}
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-done
	if stable.Failed > 0 || candidate.Failed != candidate.Requests {
		t.Errorf("stable has %+v, the candidate %+v", stable, candidate)
	}
}

// A probe that isn't over at its maturity is slow, and one that nobody takes has failed.
func TestProbesThatFail(t *testing.T) {
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer hangs.Close()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for _, c := range []struct {
		name    string
		targets []health.Target
		err     error
		want    proxy.Score
		late    uint64
	}{
		{"late", []health.Target{{Network: "tcp", Address: hangs.Listener.Addr().String()}}, nil, proxy.Score{Requests: 1}, 1},
		{"refused", []health.Target{{Network: "tcp", Address: closed.Listener.Addr().String()}}, nil, proxy.Score{Requests: 1, Failed: 1}, 0},
		{"nobody there", nil, nil, proxy.Score{}, 0},
		{"not known", nil, errors.New("the driver is away"), proxy.Score{}, 0},
	} {
		p := &probing{
			TrafficProbe: spec.TrafficProbe{Path: "/"}, maturity: 50 * time.Millisecond,
			targets: func(context.Context, bool) ([]health.Target, error) { return c.targets, c.err },
		}
		p.probe(t.Context(), true)
		if got := p.candidate; got.Requests != c.want.Requests || got.Failed != c.want.Failed || got.Late() != c.late {
			t.Errorf("%s: the score is %+v", c.name, got)
		}
	}
}

// Counters are compared by what they grow by.
func TestComparing(t *testing.T) {
	values := map[string]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		value, found := values[r.FormValue("query")]
		if !found {
			fmt.Fprint(w, `{"status":"success","data":{"resultType":"vector","result":[]}}`)
			return
		}
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"%s"]}]}}`, value)
	}))
	defer server.Close()
	s := &service{name: "web"}
	c, err := s.comparing(&Deployment{Candidate: "r2", Stable: "r1"}, "orders", &spec.Prometheus{
		Server: server.URL, Compare: &spec.CompareCounters{Requests: "all {{.Release}}", Failed: "bad {{.Release}}"},
	})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(stable, stableBad, candidate, candidateBad string) *analysis.Stratum {
		t.Helper()
		values = map[string]string{"all r1": stable, "bad r1": stableBad, "all r2": candidate, "bad r2": candidateBad}
		if candidateBad == "" {
			delete(values, "bad r2") // as long as nothing has failed
		}
		got, err := c.ask(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if _, err := c.ask(t.Context()); !errors.Is(err, analysis.ErrNoData) {
		t.Errorf("without counters the error is %v", err)
	}
	if got := ask("1000", "10", "50", ""); got != nil {
		t.Errorf("at first there is %+v", got)
	}
	got := ask("1090", "11", "60", "2")
	if got == nil || got.Stream != "orders" || got.Weight != 0.1 ||
		got.Stable.Requests != 90 || got.Stable.Failed != 1 || got.Candidate.Requests != 10 || got.Candidate.Failed != 2 {
		t.Errorf("then there is %+v", got)
	}
	if got := ask("1090", "11", "60", "2"); got != nil {
		t.Errorf("without news there is %+v", got)
	}
	// The candidate's counter begins anew.
	if got := ask("1100", "11", "5", "1"); got == nil || got.Candidate.Requests != 5 || got.Candidate.Failed != 1 || got.Stable.Requests != 10 {
		t.Errorf("after a restart there is %+v", got)
	}
}

// A webhook's word is a verdict, and nothing else is.
func TestWebhook(t *testing.T) {
	for _, c := range []struct {
		status         int
		text, err, say string
		bad            bool
	}{
		{200, `{"verdict": "pass", "message": "fine"}`, "", "fine", false},
		{200, `{"verdict": "fail", "message": "sells nothing"}`, "sells nothing", "", true},
		{200, `{"verdict": "fail"}`, "the candidate is bad", "", true},
		{200, `{"verdict": "inconclusive"}`, "it doesn't know", "", false},
		{200, `{"verdict": "maybe"}`, "want pass, fail or inconclusive", "", false},
		{200, `sorry`, "can't be read", "", false},
		{500, `{"verdict": "pass"}`, "500 Internal Server Error, want 200", "", false},
	} {
		hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.text)
		}))
		found, err := askWebhook(t.Context(), hook.URL, "web", &Deployment{ID: "d2", Candidate: "r2", Stable: "r1"})
		hook.Close()
		var bad *badError
		if found != c.say || (err == nil) != (c.err == "") || errors.As(err, &bad) != c.bad {
			t.Errorf("%d %s: %q, %v", c.status, c.text, found, err)
		}
	}
}

func TestCommandsVerdict(t *testing.T) {
	for code, bad := range map[int]bool{1: true, 2: true, exitUnknown: false} {
		err := verdictOf(fmt.Errorf("./check: %w", &driver.ExitError{Code: code}))
		var is *badError
		if errors.As(err, &is) != bad {
			t.Errorf("code %d is bad: %t, want %t", code, !bad, bad)
		}
	}
	var is *badError
	if err := verdictOf(errors.New("no such program")); errors.As(err, &is) {
		t.Error("a command that can't be run says that the candidate is bad")
	}
}
