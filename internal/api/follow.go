package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/segue-deploy/segue/internal/deploy"
)

// reconnectAfter is the time between two tries to reach a daemon again.
const reconnectAfter = 200 * time.Millisecond

// Follower is told what happens to a deployment.
type Follower interface {
	// Event is told each event once, in order; more says whether to go on.
	Event(ev deploy.Event) (more bool)
	// Lost is told that the daemon does not answer and until when it is tried
	// again, Found that it does again.
	Lost(until time.Time)
	Found()
}

// Follow tells f the events of a deployment, those that were and those to come,
// until f has had enough or ctx ends. When the connection breaks, because the
// daemon is being upgraded, say, it goes on where it was; it gives up when no
// daemon answers for a minute.
func (c *Client) Follow(ctx context.Context, service, id string, f Follower) error {
	s := following{c: c, f: f, path: servicePath(service, "events") + "?" + url.Values{"deployment": {id}}.Encode()}
	for {
		more, err := s.connect(ctx)
		if !more {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if s.giveUp.IsZero() {
			s.giveUp = time.Now().Add(c.patience)
			f.Lost(s.giveUp)
		}
		if time.Now().After(s.giveUp) {
			return err
		}
		select {
		case <-time.After(reconnectAfter):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// following is how far a client is with a stream of events.
type following struct {
	c    *Client
	f    Follower
	path string
	// last is the ID of the last event that was told.
	last int64
	// giveUp is when to stop trying to connect; zero while connected.
	giveUp time.Time
}

// connect follows one connection to its end. It returns more if another could
// go on.
func (s *following) connect(ctx context.Context) (more bool, err error) {
	resp, err := s.c.do(ctx, http.MethodGet, s.path, nil, http.Header{"Last-Event-ID": {strconv.FormatInt(s.last, 10)}})
	if err != nil {
		return passing(err), err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 2*bodyLimit)
	var data string
	for lines.Scan() {
		if !s.giveUp.IsZero() {
			s.giveUp = time.Time{}
			s.f.Found()
		}
		if part, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			data = part
		}
		// Only an empty line ends an event: the last line may be torn.
		if lines.Text() != "" || data == "" {
			continue
		}
		if more, err := s.tell(data); !more {
			return false, err
		}
		data = ""
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return false, fmt.Errorf("read an event after %d: %w", s.last, lines.Err())
	}
	return true, &Unreachable{s.c.socket, errors.Join(lines.Err(), io.ErrUnexpectedEOF)}
}

func (s *following) tell(data string) (more bool, err error) {
	var ev deploy.Event
	if err := json.Unmarshal([]byte(data), &ev); err != nil {
		return false, fmt.Errorf("decode an event: %w", err)
	}
	s.last = ev.ID
	return s.f.Event(ev), nil
}

// passing says that an error may be over when the daemon runs again.
func passing(err error) bool {
	if _, ok := errors.AsType[*Unreachable](err); ok {
		return true
	}
	p, ok := errors.AsType[*Problem](err)
	return ok && p.Status == http.StatusServiceUnavailable
}
