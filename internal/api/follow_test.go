package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/deploy"
	"github.com/segue-deploy/segue/internal/driver/drivertest"
)

// TestFollowAcrossRestarts stops and starts the daemon in the middle of a
// deployment; the client gets each event once and in order.
func TestFollowAcrossRestarts(t *testing.T) {
	w := newWorld(t)
	w.deploy()
	w.machine.Script("web", "r2", drivertest.Script{NeverReady: true})
	d, err := w.request("", "")
	if err != nil {
		t.Fatal(err)
	}
	waits, lost := make(chan struct{}, 100), make(chan struct{}, 1)
	r := &recorder{
		onEvent: func(ev Event) {
			if _, ok := ev.Body.(Intended); ok {
				waits <- struct{}{}
			}
		},
		onLost: func() { lost <- struct{}{} },
	}
	ended := make(chan error, 1)
	go func() { ended <- w.client.Follow(t.Context(), "web", d.ID, r) }()
	receive(t, waits, "the start to begin")
	w.stop()
	w.ended.Wait()
	receive(t, lost, "the loss to be noticed")
	w.start()
	w.living("r2")
	w.machine.SetReady("web-r2-1", true)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if r.now.Phase != PhasePromoted || r.lost != 1 || r.found != 1 {
		t.Errorf("%s, lost %d times, found %d times", r.now.Phase, r.lost, r.found)
	}
	again := &recorder{}
	if err := w.client.Follow(t.Context(), "web", d.ID, again); err != nil {
		t.Fatal(err)
	}
	if got, want := ids(r.events), ids(again.events); !slices.Equal(got, want) || !slices.IsSorted(got) {
		t.Errorf("followed %v, there were %v", got, want)
	}
}

// living waits until an instance of a release of web lives.
func (w *world) living(release string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for range drivertest.NewFake(w.machine).Watch(ctx) {
		if w.machine.Alive("web", release) > 0 {
			return
		}
	}
	w.t.Fatalf("no instance of %s lives", release)
}

func ids(events []Event) []int64 {
	var ids []int64
	for _, ev := range events {
		ids = append(ids, ev.ID)
	}
	return ids
}

func receive(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("waited for %s", what)
	}
}

// hostile serves what a daemon would not, a connection after the other.
func hostile(t *testing.T, answers ...http.HandlerFunc) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var next atomic.Int64
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answers[min(int(next.Add(1)), len(answers))-1](w, r)
	})}
	server.SetKeepAlivesEnabled(false)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Close()
		<-ended
	})
	return NewClient(path)
}

func wire(t *testing.T, id int64, body deploy.Body) string {
	t.Helper()
	data, err := json.Marshal(Event{ID: id, Service: "web", Deployment: 1, Body: body})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("id: %d\ndata: %s\n\n", id, data)
}

// TestFollowTornEvent: a daemon that is killed in the middle of an event has not
// told it.
func TestFollowTornEvent(t *testing.T) {
	first, second, last := wire(t, 1, Requested{Candidate: "r1"}), wire(t, 2, Noted{Message: "half"}), wire(t, 3, Finished{Phase: PhasePromoted})
	// Every boundary of a line, and places in the middle of one.
	for _, cut := range []int{0, 3, 7, 10, 20, len(second) - 3, len(second) - 2, len(second) - 1} {
		var resumed []string
		c := hostile(t, func(w http.ResponseWriter, r *http.Request) {
			resumed = append(resumed, r.Header.Get("Last-Event-ID"))
			fmt.Fprint(w, first, second[:cut])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, func(w http.ResponseWriter, r *http.Request) {
			resumed = append(resumed, r.Header.Get("Last-Event-ID"))
			fmt.Fprint(w, second, last)
		})
		r := &recorder{}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := c.Follow(ctx, "web", "d1", r); err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if got := ids(r.events); !slices.Equal(got, []int64{1, 2, 3}) || !slices.Equal(resumed, []string{"0", "1"}) {
			t.Fatalf("cut at %d: events %v, resumed after %v", cut, got, resumed)
		}
	}
}

func TestFollowGivesUp(t *testing.T) {
	stopping := func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"status": 503, "detail": "stopping"}`)
	}
	t.Run("without a daemon", func(t *testing.T) {
		c := NewClient(filepath.Join(t.TempDir(), "s"))
		c.patience = 300 * time.Millisecond
		r := &recorder{}
		err := c.Follow(t.Context(), "web", "d1", r)
		if _, ok := errors.AsType[*Unreachable](err); !ok || r.lost != 1 || r.found != 0 {
			t.Errorf("%v, lost %d times", err, r.lost)
		}
	})
	t.Run("with one that stops", func(t *testing.T) {
		c := hostile(t, stopping, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, wire(t, 1, Finished{Phase: PhaseFailed})) })
		r := &recorder{}
		if err := c.Follow(t.Context(), "web", "d1", r); err != nil || r.lost != 1 || r.found != 1 {
			t.Errorf("%v, lost %d times, found %d times", err, r.lost, r.found)
		}
	})
	t.Run("when there is no such thing", func(t *testing.T) {
		w := newWorld(t)
		r := &recorder{}
		err := w.client.Follow(t.Context(), "web", "d1", r)
		if p, ok := errors.AsType[*Problem](err); !ok || p.Status != http.StatusNotFound || r.lost != 0 {
			t.Errorf("%v, lost %d times", err, r.lost)
		}
	})
	t.Run("at an event that it does not know", func(t *testing.T) {
		c := hostile(t, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "data: {\"id\": 1, \"kind\": \"of-tomorrow\"}\n\n")
		})
		if err := c.Follow(t.Context(), "web", "d1", &recorder{}); err == nil || !strings.Contains(err.Error(), "newer segue") {
			t.Error(err)
		}
	})
	t.Run("at an event without end", func(t *testing.T) {
		c := hostile(t, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "data: ", strings.Repeat("x", 3*bodyLimit))
		})
		if err := c.Follow(t.Context(), "web", "d1", &recorder{}); err == nil || !strings.Contains(err.Error(), "too long") {
			t.Error(err)
		}
	})
	t.Run("when it is told to", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		c := NewClient(filepath.Join(t.TempDir(), "s"))
		err := c.Follow(ctx, "web", "d1", &recorder{onLost: cancel})
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestAnswersOfSomethingElse(t *testing.T) {
	c := hostile(t,
		func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			fmt.Fprint(w, "<html>")
		},
		func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	)
	for _, want := range []string{
		"the daemon answered 502 Bad Gateway to GET /v1/version",
		"decode the daemon's answer to GET /v1/version",
		"went away before it had answered (EOF); 'segue status' shows what it has done",
	} {
		if _, err := c.Version(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
