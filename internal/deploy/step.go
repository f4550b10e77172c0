package deploy

import (
	"cmp"
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
	// StepHook runs the commands that the spec names for a moment.
	StepHook StepKind = "hook"
	// StepStart makes instances of a release run, as many as Instances says, and
	// waits until all are ready.
	StepStart StepKind = "start"
	// StepVerify runs checks directly against a release's instances.
	StepVerify StepKind = "verify"
	// StepPreview lets the requests that the spec chooses reach a release without
	// weight, and mirrors requests to it.
	StepPreview StepKind = "preview"
	// StepShift gives the releases their weights, and lets go what is held; it is
	// done when they are in force.
	StepShift StepKind = "shift"
	// StepBake watches a release under traffic.
	StepBake StepKind = "bake"
	// StepApprove waits for somebody's word, and watches meanwhile.
	StepApprove StepKind = "approve"
	// StepShrink drains and stops the instances of a release that are over
	// Instances.
	StepShrink StepKind = "shrink"
	// StepHold keeps new requests waiting until the next shift.
	StepHold StepKind = "hold"
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
	// Instances is how many a start wants, and how many a shrink leaves.
	Instances int `json:"instances,omitempty"`
	// Hook is the moment whose commands a hook runs.
	Hook HookMoment `json:"hook,omitempty"`
	// Checks are a verify's.
	Checks []spec.Check `json:"checks,omitempty"`
	// Match are the rules that a preview puts in force.
	Match []spec.Match `json:"match,omitempty"`
	// Mirror is set when a preview also mirrors requests.
	Mirror *spec.Mirror `json:"mirror,omitempty"`
	// Hold bounds what a hold keeps waiting.
	Hold *spec.Hold `json:"hold,omitempty"`
	// Then is what happens at an approve's deadline.
	Then spec.Then `json:"then,omitempty"`
	// Weights are a shift's, in percent; a release that is not named gets 0.
	Weights map[string]int `json:"weights,omitempty"`
	// For is how long a bake watches.
	For spec.Duration `json:"for,omitempty"`
	// Drain is how long a drain or shrink gives requests to finish, PathDrains how long it
	// gives those to some paths; Deadline is the longest of these.
	Drain      spec.Duration    `json:"drain,omitempty"`
	PathDrains []spec.PathDrain `json:"path_drains,omitempty"`
	// Early has a bake end as soon as its analysis passes.
	Early bool `json:"early,omitempty"`
	// Deadline is the longest that the step may take, beside a bake, which has
	// For. At the deadline a drain or shrink cuts what is left, an approve does what
	// Then says, and other steps fail.
	Deadline spec.Duration `json:"deadline,omitempty"`
}

// String is the step in words, for plans and progress.
func (s Step) String() string {
	deadline := time.Duration(s.Deadline)
	switch s.Kind {
	case StepHook:
		return fmt.Sprintf("hook %s (at most %s)", s.Hook, deadline)
	case StepStart:
		return fmt.Sprintf("start %s of %s and wait until ready (at most %s)", plural(s.Instances, "instance"), s.Release, deadline)
	case StepVerify:
		return fmt.Sprintf("verify %s with %s (at most %s)", s.Release, plural(len(s.Checks), "check"), deadline)
	case StepPreview:
		return fmt.Sprintf("preview %s: %s", s.Release, s.chosen())
	case StepShift:
		return "shift traffic: " + weightsString(s.Weights)
	case StepBake:
		early := ""
		if s.Early {
			early = ", or until its analysis passes"
		}
		return fmt.Sprintf("bake %s for %s%s", s.Release, time.Duration(s.For), early)
	case StepApprove:
		return fmt.Sprintf("approve: wait for 'segue promote' (at most %s, then %s)", deadline, s.Then)
	case StepShrink:
		return fmt.Sprintf("shrink %s to %s (drain %s, then cut)", s.Release, plural(s.Instances, "instance"), s.drainLimit())
	case StepHold:
		return fmt.Sprintf("hold new requests (each at most %s) until the next shift", time.Duration(s.Hold.Time))
	case StepDrain:
		return fmt.Sprintf("drain %s (%s, then cut)", s.Release, s.drainLimit())
	case StepRetire:
		return fmt.Sprintf("retire %s: stop its instances", s.Release)
	}
	return string(s.Kind)
}

// drainLimit says how long requests may take to finish.
func (s Step) drainLimit() string {
	text := fmt.Sprintf("at most %s", time.Duration(s.Drain))
	for _, d := range s.PathDrains {
		text += fmt.Sprintf(", %s %s", d.Path, time.Duration(d.Time))
	}
	return text
}

// timesLeft is how long a drain or shrink that has gone on for a time still gives requests.
func (s Step) timesLeft(gone time.Duration) proxy.DrainTimes {
	left := func(d spec.Duration) time.Duration { return max(0, time.Duration(d)-gone) }
	times := proxy.DrainTimes{All: left(s.Drain)}
	for _, d := range s.PathDrains {
		times.Paths = append(times.Paths, proxy.PathTime{Path: d.Path, Time: left(d.Time)})
	}
	return times
}

// chosen says which requests a preview is for.
func (s Step) chosen() string {
	var parts []string
	for _, m := range s.Match {
		parts = append(parts, "requests with "+m.String())
	}
	if s.Mirror != nil {
		parts = append(parts, fmt.Sprintf("copies of %s of the requests", s.Mirror.Share))
	}
	return strings.Join(parts, ", ")
}

// HookMoment names when hooks run.
type HookMoment string

// The moments at which hooks run.
const (
	HookBeforeStart  HookMoment = "before_start"
	HookAfterShift   HookMoment = "after_shift"
	HookAfterPromote HookMoment = "after_promote"
	HookOnAbort      HookMoment = "on_abort"
)

// of are the hooks of a spec for the moment.
func (m HookMoment) of(h spec.Hooks) []spec.Hook {
	switch m {
	case HookBeforeStart:
		return h.BeforeStart
	case HookAfterShift:
		return h.AfterShift
	case HookAfterPromote:
		return h.AfterPromote
	case HookOnAbort:
		return h.OnAbort
	}
	return nil
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
	Back bool `json:"back,omitempty"`
	// Approved: somebody has promoted the deployment while it stood here.
	Approved bool      `json:"approved,omitempty"`
	Began    time.Time `json:"began,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
	Outcome  Outcome   `json:"outcome,omitzero"`
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
	for _, r := range slices.SortedFunc(maps.Keys(weights), func(a, b string) int {
		return cmp.Or(weights[b]-weights[a], byNumber(a, b))
	}) {
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
