package deploy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/segue-deploy/segue/internal/proxy"
	"github.com/segue-deploy/segue/internal/spec"
)

// StepKind says what a step does.
type StepKind string

// The kinds of steps.
const (
	// StepStart makes instances of a release run and waits until all are ready.
	StepStart StepKind = "start"
	// StepVerify runs the smoke tests directly against a release's instances.
	StepVerify StepKind = "verify"
	// StepShift gives the releases their weights; it is done when they are in
	// force.
	StepShift StepKind = "shift"
	// StepBake watches a release under traffic.
	StepBake StepKind = "bake"
	// StepDrain waits until no request is in flight on a release that gets no
	// new ones.
	StepDrain StepKind = "drain"
	// StepRetire stops a release's instances.
	StepRetire StepKind = "retire"
)

// Step is one unit of a deployment's plan. Which fields matter depends on Kind.
type Step struct {
	Kind StepKind `json:"kind"`
	// Release is what the step is about; empty for a shift.
	Release string `json:"release,omitempty"`
	// Instances is how many a start wants.
	Instances int `json:"instances,omitempty"`
	// Weights are a shift's, in percent; a release that is not named gets 0.
	Weights map[string]int `json:"weights,omitempty"`
	// For is how long a bake watches.
	For spec.Duration `json:"for,omitempty"`
	// Deadline is the longest that the step may take, beside a bake, which has
	// For. At the deadline a drain cuts what is left, and other steps fail; a
	// verify has one for each of its tests, of which this is the sum.
	Deadline spec.Duration `json:"deadline,omitempty"`
}

// String is the step in words, for plans and progress.
func (s Step) String() string {
	deadline := time.Duration(s.Deadline)
	switch s.Kind {
	case StepStart:
		return fmt.Sprintf("start %s of %s and wait until ready (at most %s)", plural(s.Instances, "instance"), s.Release, deadline)
	case StepVerify:
		return fmt.Sprintf("verify %s with its smoke tests (at most %s)", s.Release, deadline)
	case StepShift:
		return "shift traffic: " + weightsString(s.Weights)
	case StepBake:
		return fmt.Sprintf("bake %s under traffic for %s", s.Release, time.Duration(s.For))
	case StepDrain:
		return fmt.Sprintf("drain %s (at most %s, then cut)", s.Release, deadline)
	case StepRetire:
		return fmt.Sprintf("retire %s: stop its instances", s.Release)
	}
	return string(s.Kind)
}

// Status is how far a step is.
type Status string

// The statuses of a step.
const (
	StepPending Status = "pending"
	StepRunning Status = "running"
	StepDone    Status = "done"
	StepFailed  Status = "failed"
	// StepSkipped: the deployment turned back before the step's turn came.
	StepSkipped Status = "skipped"
)

// StepState is a step and what has become of it.
type StepState struct {
	Step
	Status Status `json:"status"`
	// Back marks steps that take the candidate back.
	Back    bool      `json:"back,omitempty"`
	Began   time.Time `json:"began,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
	Outcome Outcome   `json:"outcome,omitzero"`
}

// Outcome is what a step found out, beyond that it was done.
type Outcome struct {
	// Message is one sentence, and may be empty.
	Message string `json:"message,omitempty"`
	// Drain is set by a drain.
	Drain *proxy.DrainResult `json:"drain,omitempty"`
}

func weightsString(weights map[string]int) string {
	var parts []string
	for _, r := range slices.SortedFunc(maps.Keys(weights), func(a, b string) int { return weights[b] - weights[a] }) {
		parts = append(parts, fmt.Sprintf("%s %d %%", r, weights[r]))
	}
	if len(parts) == 0 {
		return "no release"
	}
	return strings.Join(parts, ", ")
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
