package deploy

import (
	"context"
	"fmt"
	"time"

	"github.com/segue-deploy/segue/internal/spec"
)

// Preview is what a deployment would do.
type Preview struct {
	Service   string `json:"service"`
	Candidate string `json:"candidate"`
	Stable    string `json:"stable,omitempty"`
	Steps     []Step `json:"steps"`
	// Notes are what a person should know, such as limits that this machine
	// can't enforce.
	Notes []string `json:"notes,omitempty"`
}

// Plan says what Deploy would do now.
func (e *Engine) Plan(ctx context.Context, sp *spec.Spec) (Preview, error) {
	if err := e.waitReady(ctx); err != nil {
		return Preview{}, err
	}
	if err := e.routeIsFree(sp); err != nil {
		return Preview{}, err
	}
	notes, err := e.check(ctx, sp, "")
	if err != nil {
		return Preview{}, err
	}
	state := e.stateOf(sp.Service)
	candidate := &Release{ID: state.nextRelease(), Spec: *sp}
	if frozen := state.frozen(sp, time.Now()); frozen != nil {
		notes = append(notes, frozen.Message)
	}
	if d := state.Current(); d != nil {
		notes = append(notes, fmt.Sprintf("%s is under way; this is the plan as things stand now", d.ID))
	}
	if note := state.longestHold(candidate); note != "" {
		notes = append(notes, note)
	}
	steps := plan(&state, candidate)
	notes = append(notes, e.forecast(&state, candidate, steps)...)
	return Preview{
		Service: sp.Service, Candidate: candidate.ID, Stable: state.Stable,
		Steps: steps, Notes: notes,
	}, nil
}
