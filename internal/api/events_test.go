package api

import (
	"bufio"
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segue-deploy/segue/internal/deploy"
)

// TestHeartbeat: a stream without events still says that it lives.
func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		events, ended := make(chan deploy.Event), make(chan error)
		done := make(chan error)
		go func() { done <- eventStream{&out}.copy(events, ended) }()
		time.Sleep(2*heartbeat + time.Second)
		events <- deploy.Event{ID: 7, Service: "web", Deployment: 2, Body: deploy.Noted{Message: "a\nb"}}
		gone := errors.New("gone")
		ended <- gone
		if err := <-done; !errors.Is(err, gone) {
			t.Error(err)
		}
		want := ":\n\n:\n\nid: 7\nevent: noted\ndata: "
		if got := out.String(); !strings.HasPrefix(got, want) || strings.Count(got, "\n") != 8 {
			t.Errorf("got %q", got)
		}
	})
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken") }

func TestStreamEndsWithItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if err := (eventStream{brokenWriter{}}).copy(nil, nil); err == nil {
			t.Error("it went on")
		}
	})
}

// TestEventsOfAll: one stream for all services, from an ID on.
func TestEventsOfAll(t *testing.T) {
	w := newWorld(t)
	w.deploy()
	read := func(path, lastID string, n int) []string {
		t.Helper()
		header := http.Header{}
		if lastID != "" {
			header.Set("Last-Event-ID", lastID)
		}
		resp, err := w.client.do(t.Context(), http.MethodGet, path, nil, header)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
			t.Errorf("the content type is %s", got)
		}
		var ids []string
		lines := bufio.NewScanner(resp.Body)
		for len(ids) < n && lines.Scan() {
			if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
				ids = append(ids, id)
			}
		}
		return ids
	}
	all := read("/v1/events", "", 6)
	if strings.Join(all, " ") != "1 2 3 4 5 6" {
		t.Errorf("all: %v", all)
	}
	if got := read("/v1/events?after=2", "", 2); strings.Join(got, " ") != "3 4" {
		t.Errorf("after 2: %v", got)
	}
	// The header is what a browser sends when it connects again to that address.
	if got := read("/v1/services/web/events?after=2", "4", 1); strings.Join(got, " ") != "5" {
		t.Errorf("resumed: %v", got)
	}
}
