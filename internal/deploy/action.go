package deploy

import (
	"context"
	"fmt"
	"time"

	"github.com/segue-deploy/segue/internal/journal"
)

// Action is something that somebody has done to a service.
type Action struct {
	At time.Time `json:"at"`
	// Deployment is the one that it was about, 0 for none.
	Deployment int `json:"deployment,omitempty"`
	// What was done, in words: "deploy r3", "pause until 14:30".
	What string `json:"what"`
	Actor
}

// Actions returns what was done to a service, oldest first.
func (e *Engine) Actions(ctx context.Context, name string) ([]Action, error) {
	if _, err := e.known(ctx, name); err != nil {
		return nil, err
	}
	records, err := e.cfg.Journal.Read(ctx, journal.Filter{Service: name})
	if err != nil {
		return nil, err
	}
	actions := []Action{}
	for _, r := range records {
		ev, err := eventOf(r)
		if err != nil {
			return nil, err
		}
		if a, is := actionOf(ev); is {
			actions = append(actions, a)
		}
	}
	return actions, nil
}

// actionOf says what an event tells of somebody's doing, if it does.
func actionOf(ev Event) (Action, bool) {
	a := Action{At: ev.At, Deployment: ev.Deployment}
	switch b := ev.Body.(type) {
	case Requested:
		a.Actor, a.What = b.Actor, b.what()
	case AbortRequested:
		a.Actor, a.What = b.Actor, "abort"
	case PauseRequested:
		a.Actor, a.What = b.Actor, fmt.Sprintf("pause until %s, then %s", clock(b.Until), b.Then)
	case Resumed:
		a.Actor, a.What = b.Actor, "resume"
	case PromoteRequested:
		a.Actor, a.What = b.Actor, "promote"
		if b.Full {
			a.What = "promote in full"
		}
	case HoldRequested:
		a.Actor, a.What = b.Actor, "hold requests until "+clock(b.Until)
	case HoldEnded:
		a.Actor, a.What = b.Actor, "release requests"
	case FreezeRequested:
		a.Actor, a.What = b.Actor, "freeze deploys"
		if !b.Until.IsZero() {
			a.What += " until " + clock(b.Until)
		}
	case Unfrozen:
		a.Actor, a.What = b.Actor, "unfreeze deploys"
	default:
		return Action{}, false
	}
	return a, true
}

// what was asked for, in words.
func (b Requested) what() string {
	what := fmt.Sprintf("%s %s", b.Kind, b.Candidate)
	if b.Kind == KindScale {
		what += " to " + plural(b.Instances, "instance")
	}
	if b.Override != "" {
		what += " in spite of a freeze: " + b.Override
	}
	return what
}

func clock(t time.Time) string { return t.Local().Format(time.DateTime) }
