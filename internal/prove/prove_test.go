package prove

import (
	"context"
	"errors"
	"go/parser"
	"go/token"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestNewRefusesMistakes(t *testing.T) {
	for want, cfg := range map[string]Config{
		"not host:port":       {Target: "localhost", KeepAlive: 1},
		"there must be one":   {Target: "localhost:80"},
		"none may be neg":     {Target: "localhost:80", KeepAlive: 2, Fresh: -1},
		"may not be negative": {Target: "localhost:80", KeepAlive: 1, Rate: -1},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want one that says %q", cfg, err, want)
		}
	}
}

func TestGoodServiceLosesNothing(t *testing.T) {
	g := generator(t, Config{
		Target: serve(t, service("r1")), Host: "demo.example", KeepAlive: 4, Fresh: 3, MaxRequests: 2000,
		Requests: Page{Target: url.URL{Path: "/a b", RawQuery: "c"}, Posts: 30, Body: 70_000}.Requests,
	})
	r := run(t, g)
	if r.Sent != 2000 || r.OK != 2000 || r.Echoed != 2000 || len(r.Failures) != 0 || r.IdleReset != 0 {
		t.Error("not all is well")
	}
	if r.Kinds["get"].OK < 1000 || r.Kinds["post"].OK < 300 || len(r.Kinds) != 2 {
		t.Errorf("kinds %+v", r.Kinds)
	}
	if len(r.Releases) != 1 || r.Releases[0].ID != "r1" || r.Releases[0].Answered[2] != 2000 {
		t.Errorf("releases %+v", r.Releases)
	}
	if r.Connections < 8 || r.Connections > 1999 {
		t.Errorf("%d connections", r.Connections)
	}
	if r.Latency.Count == 0 || r.Latency.P50 == 0 || r.Latency.P50 > r.Latency.Max || r.Slowest.Took != r.Latency.Max {
		t.Errorf("latency %+v, slowest %+v", r.Latency, r.Slowest)
	}
	if s := r.String(); !strings.HasSuffix(s, "\nlost 0 of 2000 requests") {
		t.Error(s)
	}
	if err := g.Run(t.Context()); err == nil {
		t.Error("a second Run was let through")
	}
}

func TestEndWaitsForRequestsInFlight(t *testing.T) {
	arrived, finish := make(chan struct{}), make(chan struct{})
	good := service("r1")
	g := generator(t, Config{
		KeepAlive: 1,
		Target: serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(arrived)
			<-finish
			good.ServeHTTP(w, r)
		})),
	})
	ctx, end := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- g.Run(ctx) }()
	<-arrived
	if r := g.Report(); r.Sent != 1 || r.InFlight != 1 || !strings.HasSuffix(r.Summary(), "1 in flight") {
		t.Errorf("while it runs: %+v", r)
	}
	end()
	close(finish)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if r := g.Report(); r.Sent != 1 || r.OK != 1 || r.InFlight != 0 {
		t.Errorf("%s", r)
	}
}

func TestEndCutsWhatTakesTooLong(t *testing.T) {
	arrived := make(chan struct{})
	g := generator(t, Config{
		KeepAlive: 1, Finish: time.Millisecond,
		Target: serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(arrived)
			<-r.Context().Done()
		})),
	})
	ctx, end := context.WithCancel(t.Context())
	go func() {
		<-arrived
		end()
	}()
	if err := g.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if r := g.Report(); r.Lost != 1 || r.Causes["unanswered"] != 1 {
		t.Errorf("%s", r)
	}
}

func TestReportMayBeAskedAtAnyTime(t *testing.T) {
	g := generator(t, Config{Target: serve(t, service("r1")), KeepAlive: 4, Fresh: 1, MaxRequests: 1000})
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(t, g)
	}()
	var last uint64
	for {
		r := g.Report()
		checkSums(t, r)
		if r.Sent < last {
			t.Errorf("%d requests after %d", r.Sent, last)
		}
		last = r.Sent
		g.After(time.Now())
		select {
		case <-done:
			return
		default:
		}
	}
}

func TestAfterProvesAShift(t *testing.T) {
	var current atomic.Pointer[http.Handler]
	r1, r2 := service("r1"), service("r2")
	current.Store(&r1)
	g := generator(t, Config{
		KeepAlive: 3, Fresh: 1, Slow: 1,
		Target: serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*current.Load()).ServeHTTP(w, r) })),
	})
	ctx, end := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- g.Run(ctx) }()
	answeredSince := func(t0 time.Time, n uint64) map[string]uint64 {
		for {
			got := g.After(t0)
			var sum uint64
			for _, c := range got {
				sum += c
			}
			if sum >= n {
				return got
			}
		}
	}
	begin := time.Now()
	answeredSince(begin, 50)
	current.Store(&r2)
	shift := time.Now()
	// A release answers after it was chosen: only those started after the shift
	// may not be r1's.
	if got := answeredSince(shift, 50); got["r1"] != 0 || got["r2"] < 50 {
		t.Errorf("after the shift: %v", got)
	}
	end()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := g.Between(begin, shift); got["r1"] == 0 {
		t.Errorf("before the shift: %v", got)
	}
	if r := g.Report(); r.OK != r.Sent {
		t.Errorf("%s", r)
	}
}

func TestOwnFaultIsNoLoss(t *testing.T) {
	g := generator(t, Config{Target: "127.0.0.1:1", KeepAlive: 2, Fresh: 2})
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 0, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	err := g.Run(t.Context())
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err == nil || !errors.Is(err, syscall.EMFILE) || !strings.Contains(err.Error(), "raise the limit") {
		t.Errorf("Run without a descriptor to be had: %v", err)
	}
	if r := g.Report(); r.Sent != 0 || r.Lost != 0 {
		t.Errorf("%s", r)
	}
}

// The witness may not share code with what it witnesses.
func TestImportsNothingOfSegue(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if strings.Contains(i.Path.Value, "segue-deploy") || strings.Contains(i.Path.Value, "httputil") {
				t.Errorf("%s imports %s", file, i.Path.Value)
			}
		}
	}
}
