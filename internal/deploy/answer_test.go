package deploy

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/driver/drivertest"
	"github.com/segue-deploy/segue/internal/health"
	"github.com/segue-deploy/segue/internal/journal"
	"github.com/segue-deploy/segue/internal/spec"
)

// TestCheckHTTP holds a real answer against each thing that can be expected of it.
func TestCheckHTTP(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "shop.test" && r.Header.Get("X-Token") == "t" {
			w.Header().Set("X-Release", "r2")
		}
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "/", http.StatusFound)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"status": "ok", "version": 42, "big": 9007199254740993, "parts": [{"up": true}, {"up": true}], "none": null}`))
	}))
	defer server.Close()
	target := health.Target{Network: "tcp", Address: strings.TrimPrefix(server.URL, "http://")}
	for _, test := range []struct {
		name string
		want spec.CheckHTTP
		// fails is in the error; "" passes.
		fails string
	}{
		{"any 2xx", spec.CheckHTTP{}, ""},
		{"another status", spec.CheckHTTP{Status: 204}, "GET /: 200, want 204"},
		{"a redirect is not followed", spec.CheckHTTP{Path: "/away"}, "GET /away: 302, want 2xx"},
		{"a redirect that is expected", spec.CheckHTTP{Path: "/away", Status: 302, Answer: map[string]string{"Location": "/"}}, ""},
		{"contains", spec.CheckHTTP{Contains: `"ok"`}, ""},
		{"does not contain", spec.CheckHTTP{Contains: "broken"}, `does not contain "broken"`},
		{"matches", spec.CheckHTTP{Matches: `"version": 4\d`}, ""},
		{"does not match", spec.CheckHTTP{Matches: `^ok$`}, `does not match "^ok$"`},
		{"a header by what was sent", spec.CheckHTTP{Headers: map[string]string{"Host": "shop.test", "X-Token": "t"}, Answer: map[string]string{"x-release": "r2"}}, ""},
		{"a header that is missing", spec.CheckHTTP{Answer: map[string]string{"X-Release": "r2"}}, `header X-Release is [], want "r2"`},
		{"values", spec.CheckHTTP{JSON: map[string]string{"$.status": "ok", "$.version": "42", "$.big": "9007199254740993", "$.none": "null", "$.parts[*].up": "true"}}, ""},
		{"another value", spec.CheckHTTP{JSON: map[string]string{"$.version": "41"}}, `has 42 at $.version, want "41"`},
		{"no value", spec.CheckHTTP{JSON: map[string]string{"$.nothing": ""}}, "nothing at $.nothing"},
		{"not JSON", spec.CheckHTTP{Path: "/away", Status: 302, JSON: map[string]string{"$.status": "ok"}}, "no JSON"},
		{"fast enough", spec.CheckHTTP{Latency: spec.Duration(time.Hour)}, ""},
		{"too slow", spec.CheckHTTP{Latency: 1}, "at most 1ns is allowed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.want.Method == "" {
				test.want.Method = http.MethodGet
			}
			if test.want.Path == "" {
				test.want.Path = "/"
			}
			err := checkHTTP(t.Context(), &test.want, target)
			switch {
			case test.fails == "" && err != nil:
				t.Error(err)
			case test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails)):
				t.Errorf("%v; want %q", err, test.fails)
			}
		})
	}
}

// TestVerifyTriesAgain as often as the spec says, and journals what each try came to.
func TestVerifyTriesAgain(t *testing.T) {
	const checks = "smoke: [{command: [check], retries: 2, retry_after: 3s, timeout: 5s}]\nstrategy: {blue-green: {bake: 1s}}\n"
	for _, test := range []struct {
		name  string
		fails int
		ends  Phase
		tries int
	}{
		{"at last", 2, PhasePromoted, 3},
		{"too often", 3, PhaseFailed, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			tries := 0
			run := func(_ context.Context, _ []string, env map[string]string) (string, error) {
				if tries++; env["SEGUE_CANDIDATE"] == "" || len(strings.Fields(env["SEGUE_CANDIDATES"])) != 2 {
					t.Errorf("the command was run with %v", env)
				}
				if tries <= test.fails {
					return "not yet", errors.New("exit code 1")
				}
				return "fine", nil
			}
			underway(t, checks, drivertest.Script{Exec: run}, func(w *world, d Deployment) {
				end := w.await(d.Number)
				w.expectPhase(end, test.ends, "")
				if tries != test.tries {
					t.Errorf("%d tries, want %d", tries, test.tries)
				}
				if test.ends == PhaseFailed && !strings.Contains(end.Reason, "check 1 of 1: check: exit code 1: not yet") {
					t.Errorf("reason %q", end.Reason)
				}
				records, err := w.journal.Read(w.t.Context(), journal.Filter{Service: "web", Deployment: d.Number})
				if err != nil {
					t.Fatal(err)
				}
				kept := 0
				for _, r := range records {
					ev, err := eventOf(r)
					if err != nil {
						t.Fatal(err)
					}
					if c, is := ev.Body.(Checked); is {
						kept++
						if c.Try != kept || c.Passed != (c.Output == "fine") {
							t.Errorf("journalled: %+v", c)
						}
					}
				}
				if kept != test.tries {
					t.Errorf("%d tries are journalled, want %d", kept, test.tries)
				}
			})
		})
	}
	t.Run("hangs", func(t *testing.T) {
		hang := func(ctx context.Context, _ []string, _ map[string]string) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		}
		underway(t, checks, drivertest.Script{Exec: hang}, func(w *world, d Deployment) {
			w.expectPhase(w.await(d.Number), PhaseFailed, "no result within 5s")
		})
	})
}
