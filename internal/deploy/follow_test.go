package deploy

import (
	"context"
	"errors"
	"testing"
)

// TestFollowIsNotAheadOfTheState: who has seen an event and asks for the status
// must find that event in it, or a deployment that has just ended looks as if it
// were under way.
func TestFollowIsNotAheadOfTheState(t *testing.T) {
	const events = 300
	w := newWorld(t)
	defer w.close()
	if err := w.engine.waitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := w.engine.service("web")
	enough := errors.New("enough")
	followed := make(chan error, 1)
	go func() {
		seen := 0
		followed <- w.engine.Follow(t.Context(), "web", 0, 0, func(ev Event) error {
			if last := s.snapshot().LastEvent; last < ev.ID {
				t.Errorf("event %d came when the state had only got to %d", ev.ID, last)
			}
			if seen++; seen == events {
				return enough
			}
			return nil
		})
	}()
	for range events {
		s.note(context.WithoutCancel(t.Context()), 0, "something has happened")
	}
	if err := <-followed; !errors.Is(err, enough) {
		t.Fatal(err)
	}
}
