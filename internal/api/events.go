package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/segue-deploy/segue/internal/deploy"
)

// heartbeat is how often a silent event stream shows that it lives.
const heartbeat = 15 * time.Second

// events streams the events of a deployment, of a service, or of all.
func (s *Server) events(w http.ResponseWriter, r *http.Request) (any, error) {
	rng, err := s.eventRange(r)
	if err != nil {
		return nil, err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out, closeOut := openStream(w, r)
	defer closeOut()
	stream := eventStream{out}
	if stream.comment("segue") != nil {
		return nil, nil // The client has gone.
	}
	ctx, cancel := context.WithCancel(r.Context())
	events := make(chan deploy.Event)
	ended := make(chan error, 1)
	var following sync.WaitGroup
	following.Go(func() {
		ended <- s.Engine.Follow(ctx, rng.service, rng.deployment, rng.after, func(ev deploy.Event) error {
			select {
			case events <- ev:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	err = stream.copy(events, ended)
	cancel()
	following.Wait()
	if err != nil && r.Context().Err() == nil {
		s.Logger.Warn("an event stream broke off; its client can resume it", "error", err)
	}
	return nil, nil
}

// eventStream writes server-sent events (HTML Living Standard, section 9.2).
type eventStream struct{ w io.Writer }

// copy writes events until the source or the client ends.
func (s eventStream) copy(events <-chan deploy.Event, ended <-chan error) error {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		var err error
		select {
		case ev := <-events:
			err = s.event(ev)
		case <-beat.C:
			err = s.comment("")
		case err := <-ended:
			return err
		}
		if err != nil {
			return err
		}
	}
}

func (s eventStream) event(ev deploy.Event) error {
	data, err := json.Marshal(ev)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.w, "id: %d\nevent: %s\ndata: %s\n\n", ev.ID, ev.Kind(), data)
	return err
}

func (s eventStream) comment(text string) error {
	_, err := fmt.Fprintf(s.w, ":%s\n\n", text)
	return err
}

// eventRange is which events a client asks for.
type eventRange struct {
	// service and deployment may be zero, for all.
	service    string
	deployment int
	// after is the ID of the last event that the client has.
	after int64
}

// eventRange reads it from a request. What it names must be there: a stream of
// what will never happen would be silent for ever.
func (s *Server) eventRange(r *http.Request) (eventRange, error) {
	rng := eventRange{service: r.PathValue("service")}
	var err error
	if rng.after, err = lastEvent(r); err != nil {
		return rng, err
	}
	if text := r.URL.Query().Get("deployment"); text != "" {
		if rng.deployment, err = deploy.DeploymentNumber(text); err != nil {
			return rng, err
		}
	}
	switch {
	case rng.service == "" && rng.deployment != 0:
		err = &Problem{Status: http.StatusBadRequest, Detail: "a deployment without its service", Hint: "ask for /v1/services/NAME/events"}
	case rng.deployment != 0:
		_, err = s.Engine.Deployment(r.Context(), rng.service, rng.deployment)
	case rng.service != "":
		_, _, err = s.Engine.History(r.Context(), rng.service)
	}
	return rng, err
}

// lastEvent is where a client goes on.
func lastEvent(r *http.Request) (int64, error) {
	text := r.Header.Get("Last-Event-ID")
	if text == "" {
		text = r.URL.Query().Get("after")
	}
	if text == "" {
		return 0, nil
	}
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 0 {
		return 0, &Problem{Status: http.StatusBadRequest, Detail: fmt.Sprintf("%q is no event's ID", text)}
	}
	return id, nil
}
