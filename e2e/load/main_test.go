package load

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/segue-deploy/segue/internal/prove"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// safetyNet ends a test that hangs.
const safetyNet = time.Minute

// run runs a load of marked answers to its end.
func run(t *testing.T, cfg prove.Config) prove.Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), safetyNet)
	defer cancel()
	return runUntil(ctx, t, cfg)
}

func runUntil(ctx context.Context, t *testing.T, cfg prove.Config) prove.Report {
	t.Helper()
	cfg.Marked, cfg.Timeout = true, safetyNet
	g, err := prove.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return g.Report()
}

// one is a client that asks for requests of the test.
func one(request func(c prove.Client, id string) *prove.Request) prove.Source {
	return func(c prove.Client) func(string) *prove.Request {
		return func(id string) *prove.Request { return request(c, id) }
	}
}

func client() prove.Client { return prove.Client{Number: 1, Random: rand.New(rand.NewPCG(1, 1))} }

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// marked has a handler's answers marked.
func marked(h func(w http.ResponseWriter, r *http.Request, id string)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Load-Id")
		w.Header().Set("X-Release", "r1")
		w.Header().Set("X-Load-Id", id)
		h(w, r, id)
	})
}

// text answers with a text.
func text(f func(id string) string) http.Handler {
	return marked(func(w http.ResponseWriter, _ *http.Request, id string) { fmt.Fprint(w, f(id)) })
}

func constant(s string) http.Handler { return text(func(string) string { return s }) }

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
