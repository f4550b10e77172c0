package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os/user"
	"strings"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/driver/drivertest"
)

// TestEveryRoute goes through what a service lives to see.
func TestEveryRoute(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.machine.Script("web", "r2", drivertest.Script{Output: []string{"hello", "world"}})

	if v, err := w.client.Version(ctx); err != nil || v.Version != "v0" || v.Pid != 1 || v.Proxy == nil || v.Proxy.Pid != 2 {
		t.Errorf("version: %+v, %v", v, err)
	}
	if all, err := w.client.Services(ctx); err != nil || len(all) != 0 {
		t.Errorf("services before the first: %v, %v", all, err)
	}
	plan, err := w.client.Plan(ctx, service(t, "web", ""))
	if err != nil || plan.Candidate != "r1" || len(plan.Steps) == 0 {
		t.Errorf("plan: %+v, %v", plan, err)
	}
	if d := w.deploy(); d.Phase != PhasePromoted {
		t.Fatalf("the first: %+v", d)
	}
	if d := w.deploy(); d.Phase != PhasePromoted || d.Stable != "r1" {
		t.Fatalf("the second: %+v", d)
	}
	status, err := w.client.Status(ctx, "web")
	if err != nil || status.Stable != "r2" || status.WayBack.Release != "r1" || !status.WayBack.Instant || status.Traffic == nil {
		t.Errorf("status: %+v, %v", status, err)
	}
	if all, err := w.client.Services(ctx); err != nil || len(all) != 1 || all[0].Service != "web" {
		t.Errorf("services: %+v, %v", all, err)
	}
	for _, id := range []string{"", "d2", "2"} {
		if d, err := w.client.Deployment(ctx, "web", id); err != nil || d.ID != "d2" {
			t.Errorf("deployment %q: %+v, %v", id, d, err)
		}
		if r, err := w.client.Receipt(ctx, "web", id); err != nil || r.Deployment != "d2" || len(r.Unknown) != 0 {
			t.Errorf("receipt %q: %+v, %v", id, r, err)
		}
	}
	for tail, want := range map[int]string{-1: "hello\nworld\n", 1: "world\n", 0: ""} {
		var out strings.Builder
		q := LogQuery{Service: "web", Release: "r2", Instance: "web-r2-1", Tail: tail}
		if err := w.client.Logs(ctx, &out, q); err != nil || out.String() != want {
			t.Errorf("the last %d lines: %q, %v", tail, out.String(), err)
		}
	}
	d, err := w.client.Rollback(ctx, "web", RollbackRequest{Reason: "r2 is slow"})
	if err != nil {
		t.Fatal(err)
	}
	if d = w.await(d.ID); d.Phase != PhasePromoted || d.Candidate != "r1" || d.Kind != KindRollback || d.Why != "r2 is slow" {
		t.Errorf("rollback: %+v", d)
	}
	h, err := w.client.History(ctx, "web")
	if err != nil || len(h.Releases) != 2 || len(h.Deployments) != 3 {
		t.Errorf("history: %+v, %v", h, err)
	}
}

// TestWhoAsked: the kernel says who is at the other end.
func TestWhoAsked(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.deploy()
	w.machine.Script("web", "r2", drivertest.Script{NeverReady: true})
	d, err := w.request("", "hotfix")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.Abort(t.Context(), "web", "", CommandRequest{Reason: "wrong branch"}); err != nil {
		t.Fatal(err)
	}
	w.await(d.ID)
	h, err := w.client.History(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	got := h.Deployments[1]
	if got.By != me.Username || got.Why != "hotfix" || got.Reason != "aborted by "+me.Username+": wrong branch" || got.Phase != PhaseAborted {
		t.Errorf("%+v", got)
	}
}

// TestBusyTravels: what to do about a deployment under way reaches the engine.
func TestBusyTravels(t *testing.T) {
	w := newWorld(t)
	w.deploy()
	w.machine.Script("web", "r2", drivertest.Script{NeverReady: true})
	first, err := w.request("", "first")
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.request(BusyRefuse, "")
	if p, ok := errors.AsType[*Problem](err); !ok || p.Status != http.StatusConflict || !strings.Contains(p.Detail, first.ID) || !strings.Contains(p.Hint, "--queue") {
		t.Errorf("refused: %v", err)
	}
	queued, err := w.request(BusyQueue, "next")
	if err != nil || queued.Phase != PhaseQueued {
		t.Fatalf("queued: %+v, %v", queued, err)
	}
	if s, err := w.client.Status(t.Context(), "web"); err != nil || len(s.Queued) != 1 || s.Queued[0] != queued.ID {
		t.Errorf("status: %+v, %v", s.Queued, err)
	}
	last, err := w.request(BusySupersede, "better")
	if err != nil {
		t.Fatal(err)
	}
	if d := w.await(first.ID); d.Phase != PhaseAborted || !strings.Contains(d.Reason, "superseded by "+last.ID) {
		t.Errorf("the first: %+v", d)
	}
	if d := w.await(queued.ID); d.Phase != PhaseAborted || d.Why != "next" {
		t.Errorf("the queued: %+v", d)
	}
	if d := w.await(last.ID); d.Phase != PhasePromoted || d.Why != "better" {
		t.Errorf("the last: %+v", d)
	}
}

func TestStopAllIsCalledOnce(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		if err := w.client.StopAll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	<-w.stopped
	if w.stops != 1 {
		t.Errorf("called %d times", w.stops)
	}
	if !strings.Contains(w.log.String(), "asked to stop everything") {
		t.Errorf("the log is\n%s", w.log)
	}
}

// TestStopEndsStreams: neither streams that are open nor a client that takes
// nothing keep the daemon.
func TestStopEndsStreams(t *testing.T) {
	w := newWorld(t)
	w.machine.Script("web", "r1", drivertest.Script{Output: []string{strings.Repeat("x", 4<<20)}})
	w.deploy()
	events, err := w.client.do(t.Context(), http.MethodGet, "/v1/events", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	stuck, err := w.client.do(t.Context(), http.MethodGet, "/v1/services/web/logs?follow=true", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Body.Close()
	began := time.Now()
	w.within(patience, "stop", func() {
		w.stop()
		w.ended.Wait()
	})
	if took := time.Since(began); took > stopGrace {
		t.Errorf("it took %s, so the server waited for the end of its patience", took)
	}
	if text, err := io.ReadAll(events.Body); err != nil || !strings.HasPrefix(string(text), ":segue\n\n") {
		t.Errorf("the stream ended with %v: %.100q", err, text)
	}
}

// TestFollowedLogs end with the client, and go on until then.
func TestFollowedLogs(t *testing.T) {
	w := newWorld(t)
	w.machine.Script("web", "r1", drivertest.Script{Output: []string{"started"}, Restarts: -1})
	w.deploy()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lines := &lineWaiter{want: 2, reached: make(chan struct{})}
	ended := make(chan error, 1)
	go func() {
		ended <- w.client.Logs(ctx, lines, LogQuery{Service: "web", Tail: -1, Follow: true})
	}()
	w.machine.Kill("web-r1-1")
	select {
	case <-lines.reached:
	case <-time.After(patience):
		t.Fatalf("no more than %q", lines.text.String())
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// lineWaiter tells when it has got as many lines as it wants.
type lineWaiter struct {
	text    strings.Builder
	want    int
	reached chan struct{}
}

func (l *lineWaiter) Write(p []byte) (int, error) {
	had := strings.Count(l.text.String(), "\n")
	n, err := l.text.Write(p)
	if has := strings.Count(l.text.String(), "\n"); had < l.want && has >= l.want {
		close(l.reached)
	}
	return n, err
}

// TestStoppingDaemonSaysSo: a request that the end interrupts must not look like
// an empty success.
func TestStoppingDaemonSaysSo(t *testing.T) {
	w := newWorld(t)
	r, body := io.Pipe()
	answered := make(chan error, 1)
	go func() {
		resp, err := w.client.do(t.Context(), http.MethodPost, "/v1/artifacts", r, nil)
		if err == nil {
			resp.Body.Close()
		}
		answered <- err
	}()
	stream := tarOf(t, "a", make([]byte, 1000))
	if _, err := body.Write(stream[:600]); err != nil {
		t.Fatal(err)
	}
	w.stop()
	// The body goes on and ends; by then the store has noticed.
	_, _ = body.Write(stream[600:])
	body.Close()
	err := <-answered
	w.ended.Wait()
	if p, ok := errors.AsType[*Problem](err); ok && p.Status == http.StatusServiceUnavailable && strings.Contains(p.Detail, "stopping") {
		return
	}
	if _, ok := errors.AsType[*Unreachable](err); !ok {
		t.Errorf("got %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	c := NewClient(t.TempDir() + "/segue.sock")
	_, err := c.Version(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no daemon answers on "+c.socket+": no such file or directory; is 'segue serve' running") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("interrupt signal received"))
	if _, err = c.Version(ctx); err == nil || !strings.HasPrefix(err.Error(), "interrupt signal received before the daemon had answered") {
		t.Error(err)
	}
}
