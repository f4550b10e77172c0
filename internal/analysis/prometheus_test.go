package analysis

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/analysis/prometheustest"
)

// patience is a safety net for what is waited for, and no measure of anything.
const patience = time.Minute

func ask(t *testing.T, url, query string) (float64, error) {
	t.Helper()
	p, err := NewPrometheus(url)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return p.Value(ctx, query)
}

func TestPrometheus(t *testing.T) {
	const page = `# TYPE requests_total counter
requests_total{release="r1",code="200"} 900
requests_total{release="r1",code="500"} 10
requests_total{release="r2",code="200"} 100
# TYPE nothing gauge
nothing NaN
# TYPE endless gauge
endless +Inf
`
	url := prometheustest.Start(t, func() string { return page })
	for _, c := range []struct {
		query, err string
		want       float64
		noData     bool
	}{
		{query: `sum(requests_total{release="r1"})`, want: 910},
		{query: `requests_total{release="r2"}`, want: 100},
		{query: `scalar(requests_total{release="r2"}) / 8`, want: 12.5},
		{query: `requests_total{release="r3"}`, noData: true, err: "no series is found"},
		{query: `nothing`, noData: true, err: "NaN"},
		{query: `sum(requests_total{release="r1"}) * 0 / 0`, noData: true, err: "NaN"},
		// What was last seen long ago, or is stale, is no result.
		{query: `requests_total{release="r2"} offset 1h`, noData: true, err: "stale"},
		{query: `requests_total{release="r1"}`, err: "2 values, want one"},
		{query: `requests_total[1m]`, err: "matrix"},
		{query: `sum(`, err: "parse error"},
		{query: `"text"`, err: "string"},
	} {
		got, err := ask(t, url, c.query)
		switch {
		case c.err == "" && (err != nil || got != c.want):
			t.Errorf("%s is %v, %v, want %v", c.query, got, err, c.want)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), url) || errors.Is(err, ErrNoData) != c.noData):
			t.Errorf("%s: the error is %v, want one with %s; no data: %t", c.query, err, c.err, c.noData)
		}
	}
	if got, err := ask(t, url, `endless > 1e300`); err != nil || got < 1e300 {
		t.Errorf("infinity is %v, %v", got, err)
	}
}

// A series is stale as soon as its target says no more of it.
func TestPrometheusStaleSeries(t *testing.T) {
	var gone atomic.Bool
	url := prometheustest.Start(t, func() string {
		if gone.Load() {
			return "other 1\n"
		}
		return "here 1\nother 1\n"
	})
	if got, err := ask(t, url, "here"); err != nil || got != 1 {
		t.Fatalf("at first it is %v, %v", got, err)
	}
	gone.Store(true)
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		got, err := ask(t, url, "here")
		if errors.Is(err, ErrNoData) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %s it is still %v, %v", patience, got, err)
		}
	}
}

func TestPrometheusThatIsDown(t *testing.T) {
	url := "http://" + prometheustest.FreeAddress(t)
	if _, err := ask(t, url, "up"); err == nil || errors.Is(err, ErrNoData) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("the error is %v", err)
	}
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then its end is seen
		<-r.Context().Done()
	}))
	defer hangs.Close()
	p, err := NewPrometheus(hangs.URL)
	if err != nil {
		t.Fatal(err)
	}
	late := errors.New("too late")
	ctx, cancel := context.WithTimeoutCause(context.Background(), 10*time.Millisecond, late)
	defer cancel()
	if _, err := p.Value(ctx, "up"); !errors.Is(err, late) {
		t.Errorf("the error is %v", err)
	}
}
