package deploy

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/segue-deploy/segue/internal/journal"
	"github.com/segue-deploy/segue/internal/proxy"
	"github.com/segue-deploy/segue/internal/spec"
)

// Event is something that happened to a service or was meant to happen. Events
// are all that is kept of it.
type Event struct {
	ID      int64
	At      time.Time
	Service string
	// Deployment is the number of the deployment it belongs to, 0 for none.
	Deployment int
	Body       Body
}

// wireEvent is an event as it travels.
type wireEvent struct {
	ID         int64           `json:"id"`
	At         time.Time       `json:"at"`
	Service    string          `json:"service"`
	Deployment int             `json:"deployment,omitempty"`
	Kind       string          `json:"kind"`
	Data       json.RawMessage `json:"data,omitempty"`
}

// Kind names the type of the body: "requested", "began", "did", ….
func (e Event) Kind() string { return e.Body.kind() }

// MarshalJSON encodes the event with its kind beside its body.
func (e Event) MarshalJSON() ([]byte, error) {
	r, err := e.record()
	if err != nil {
		return nil, err
	}
	return json.Marshal(wireEvent(r))
}

// UnmarshalJSON decodes what MarshalJSON made.
func (e *Event) UnmarshalJSON(data []byte) error {
	var w wireEvent
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	var err error
	*e, err = eventOf(journal.Record(w))
	return err
}

// Body is what an event says. Its kinds are the types of this file.
type Body interface{ kind() string }

type (
	// Released makes a release: an artifact and a configuration under a number.
	Released struct {
		Release  string    `json:"release"`
		Artifact string    `json:"artifact"`
		Spec     spec.Spec `json:"spec"`
	}
	// Requested asks for a deployment of a release.
	Requested struct {
		Candidate string         `json:"candidate"`
		Kind      DeploymentKind `json:"kind"`
		// Instances is how many a scale wants.
		Instances int `json:"instances,omitempty"`
		// Override is why it was allowed in a freeze; empty when there was none.
		Override string `json:"override,omitempty"`
		Actor
	}
	// Began is the deployment's turn: its plan, made from the state it found.
	Began struct {
		Stable string `json:"stable,omitempty"`
		// StableInstances is how many stable has.
		StableInstances int    `json:"stable_instances,omitempty"`
		Plan            []Step `json:"plan"`
	}
	// Intended comes before a step's effect, Did after it.
	Intended struct {
		Step int `json:"step"`
	}
	// Did says that a step's effect is complete.
	Did struct {
		Step    int     `json:"step"`
		Outcome Outcome `json:"outcome,omitzero"`
	}
	// Failed says that a step could not be completed.
	Failed struct {
		Step   int    `json:"step"`
		Reason string `json:"reason"`
		// LogTail holds the last lines of the instance that is to blame.
		LogTail []string `json:"log_tail,omitempty"`
	}
	// AbortRequested asks to give all traffic back to stable.
	AbortRequested struct{ Actor }
	// PauseRequested asks to begin no further step.
	PauseRequested struct {
		// Until is how long, Then what happens at that time.
		Until time.Time `json:"until"`
		Then  spec.Then `json:"then"`
		Actor
	}
	// Resumed ends a pause.
	Resumed struct{ Actor }
	// PromoteRequested goes on from the approve step of that index, or from a pause.
	PromoteRequested struct {
		// Step is -1 when no approve step was waiting.
		Step int `json:"step"`
		// Full skips the bakes and approvals that are still to come.
		Full bool `json:"full,omitempty"`
		Actor
	}
	// HoldRequested keeps the service's requests waiting.
	HoldRequested struct {
		Until  time.Time `json:"until"`
		Limits spec.Hold `json:"limits"`
		Actor
	}
	// HoldEnded lets them go.
	HoldEnded struct{ Actor }
	// FreezeRequested refuses deploys from here on.
	FreezeRequested struct {
		// Until is zero for a freeze without an end.
		Until time.Time `json:"until,omitzero"`
		Actor
	}
	// Unfrozen allows them again.
	Unfrozen struct{ Actor }
	// Checked is what a check of a verify step, or a hook, came to.
	Checked struct {
		Step int `json:"step"`
		// Check is its number, from 1, Name what it asks or runs.
		Check int    `json:"check"`
		Name  string `json:"name"`
		// Try is its number, from 1.
		Try    int  `json:"try"`
		Passed bool `json:"passed"`
		// Output is what a command printed, or what was wrong with an answer.
		Output string        `json:"output,omitempty"`
		Took   time.Duration `json:"took"`
	}
	// Judged is what the analysis of a deployment has found so far.
	Judged struct {
		Finding
		// State is what its judge goes on from, Epoch and Given what it has been given by
		// then: of stable and of the candidate, under each weight.
		State json.RawMessage          `json:"state"`
		Epoch string                   `json:"epoch"`
		Given map[string][]proxy.Score `json:"given"`
	}
	// TurnedBack begins the way back: the steps not done are skipped, those of
	// Plan follow.
	TurnedBack struct {
		Plan   []Step `json:"plan"`
		Reason string `json:"reason"`
		// LogTail holds the last lines of the instance that is to blame, when no step
		// has failed with it.
		LogTail []string `json:"log_tail,omitempty"`
	}
	// Finished ends a deployment, with its final phase.
	Finished struct {
		Phase Phase `json:"phase"`
	}
	// Noted is progress within a step, for people.
	Noted struct {
		Message string `json:"message"`
	}
	// Measured is what the proxy had counted for the service at a moment that
	// the receipt needs.
	Measured struct {
		Moment Moment `json:"moment"`
		Epoch  string `json:"epoch"`
		// TakenAt is when the proxy counted, Age how long its epoch had lasted then, which
		// goes on when somebody sets the time of day.
		TakenAt time.Time          `json:"taken_at"`
		Age     time.Duration      `json:"age"`
		Stats   proxy.ServiceStats `json:"stats"`
	}
	// Retiring and Retired frame the end of a warm release outside of a
	// deployment.
	Retiring struct {
		Release string `json:"release"`
	}
	// Retired says that none of the release's instances lives.
	Retired struct {
		Release string `json:"release"`
	}
	// Collected says that the bytes of releases are gone from the disk.
	Collected struct {
		Releases []string `json:"releases"`
	}
)

// Moment names why counts were taken.
type Moment string

// The moments that a receipt is made from.
const (
	// MomentBefore: up to a minute before the deployment began.
	MomentBefore Moment = "before"
	MomentBegan  Moment = "began"
	// MomentShifted: new weights came into force.
	MomentShifted Moment = "shifted"
	// MomentDuring: some time in between, so that little is unknown should the
	// proxy die.
	MomentDuring   Moment = "during"
	MomentFinished Moment = "finished"
)

func (Released) kind() string         { return "released" }
func (Requested) kind() string        { return "requested" }
func (Began) kind() string            { return "began" }
func (Intended) kind() string         { return "intended" }
func (Did) kind() string              { return "did" }
func (Failed) kind() string           { return "failed" }
func (AbortRequested) kind() string   { return "abort-requested" }
func (PauseRequested) kind() string   { return "pause-requested" }
func (Resumed) kind() string          { return "resumed" }
func (PromoteRequested) kind() string { return "promote-requested" }
func (HoldRequested) kind() string    { return "hold-requested" }
func (HoldEnded) kind() string        { return "hold-ended" }
func (FreezeRequested) kind() string  { return "freeze-requested" }
func (Unfrozen) kind() string         { return "unfrozen" }
func (Checked) kind() string          { return "checked" }
func (TurnedBack) kind() string       { return "turned-back" }
func (Finished) kind() string         { return "finished" }
func (Noted) kind() string            { return "noted" }
func (Measured) kind() string         { return "measured" }
func (Judged) kind() string           { return "judged" }
func (Retiring) kind() string         { return "retiring" }
func (Retired) kind() string          { return "retired" }
func (Collected) kind() string        { return "collected" }

// record turns the event into what the journal keeps.
func (e Event) record() (journal.Record, error) {
	data, err := json.Marshal(e.Body)
	if err != nil {
		return journal.Record{}, fmt.Errorf("encode event %s of %s: %w", e.Body.kind(), e.Service, err)
	}
	return journal.Record{ID: e.ID, At: e.At, Service: e.Service, Deployment: e.Deployment, Kind: e.Body.kind(), Data: data}, nil
}

// eventOf decodes what the journal kept.
func eventOf(r journal.Record) (Event, error) {
	body, err := decodeBody(r.Kind, r.Data)
	if err != nil {
		return Event{}, fmt.Errorf("journal record %d of %s: %w", r.ID, r.Service, err)
	}
	return Event{ID: r.ID, At: r.At, Service: r.Service, Deployment: r.Deployment, Body: body}, nil
}

func decodeBody(kind string, data []byte) (Body, error) {
	switch kind {
	case Released{}.kind():
		return decode[Released](data)
	case Requested{}.kind():
		return decode[Requested](data)
	case Began{}.kind():
		return decode[Began](data)
	case Intended{}.kind():
		return decode[Intended](data)
	case Did{}.kind():
		return decode[Did](data)
	case Failed{}.kind():
		return decode[Failed](data)
	case AbortRequested{}.kind():
		return decode[AbortRequested](data)
	case PauseRequested{}.kind():
		return decode[PauseRequested](data)
	case Resumed{}.kind():
		return decode[Resumed](data)
	case PromoteRequested{}.kind():
		return decode[PromoteRequested](data)
	case HoldRequested{}.kind():
		return decode[HoldRequested](data)
	case HoldEnded{}.kind():
		return decode[HoldEnded](data)
	case FreezeRequested{}.kind():
		return decode[FreezeRequested](data)
	case Unfrozen{}.kind():
		return decode[Unfrozen](data)
	case Checked{}.kind():
		return decode[Checked](data)
	case TurnedBack{}.kind():
		return decode[TurnedBack](data)
	case Finished{}.kind():
		return decode[Finished](data)
	case Noted{}.kind():
		return decode[Noted](data)
	case Measured{}.kind():
		return decode[Measured](data)
	case Judged{}.kind():
		return decode[Judged](data)
	case Retiring{}.kind():
		return decode[Retiring](data)
	case Retired{}.kind():
		return decode[Retired](data)
	case Collected{}.kind():
		return decode[Collected](data)
	}
	return nil, fmt.Errorf("unknown kind %q: the journal was written by a newer segue", kind)
}

func decode[B Body](data []byte) (Body, error) {
	var b B
	if err := json.Unmarshal(data, &b); err != nil {
		return nil, fmt.Errorf("decode %s: %w", b.kind(), err)
	}
	return b, nil
}
