package deploy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/spec"
)

// Wait is one thing that a service waits for. Everything that is waited for has an
// end, by itself or by a command.
type Wait struct {
	// Deployment is the one that it is about, as "d2"; empty for one about the
	// service.
	Deployment string `json:"deployment,omitempty"`
	// What is waited for, and why, in a sentence.
	What  string    `json:"what"`
	Since time.Time `json:"since,omitzero"`
	// Until is the deadline; zero when only a command ends the wait.
	Until time.Time `json:"until,omitzero"`
	// Then is what happens at the deadline.
	Then string `json:"then,omitempty"`
	// Command moves it on.
	Command string `json:"command,omitempty"`
	// End is the command that ends the deployment instead; empty where Command does,
	// and where it is being ended.
	End string `json:"end,omitempty"`
}

// trouble is what keeps a service's loop from going on.
type trouble struct {
	err          error
	since, again time.Time
}

// Explain says what a service waits for, the most important first; none means that
// nothing is under way.
func (e *Engine) Explain(ctx context.Context, name string) ([]Wait, error) {
	s, err := e.known(ctx, name)
	if err != nil {
		return nil, err
	}
	instances, err := e.cfg.Driver.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list instances: %w", err)
	}
	state := s.snapshot()
	waits := []Wait{}
	if t := s.trouble.Load(); t != nil {
		waits = append(waits, Wait{
			What: "for the journal to take the next event: " + t.err.Error() + "; traffic stays as it is", Since: t.since, Until: t.again,
			Then: "it is tried again", Command: "make room on the disk of the state directory",
		})
	}
	return append(waits, explain(&state, instances, time.Now())...), nil
}

// explain is pure; now only tells which freezes are over.
func explain(s *State, instances []driver.Instance, now time.Time) []Wait {
	var waits []Wait
	if d := s.Current(); d != nil {
		waits = append(waits, s.explainDeployment(d, instances))
	}
	for _, d := range s.Deployments {
		if d.Phase == PhaseQueued {
			waits = append(waits, s.explainQueued(d))
		}
	}
	if h := s.Taking; h != nil {
		waits = append(waits, Wait{
			What: fmt.Sprintf("new requests of %s wait for the next shift", s.Service), Since: h.Since, Until: h.Until,
			Then: "they are let go, whether somebody is ready or not",
		})
	}
	if h := s.Hold; h != nil {
		waits = append(waits, Wait{
			What: fmt.Sprintf("new requests of %s wait: %s", s.Service, h.did("held")), Since: h.Since, Until: h.Until,
			Then: "they are let go", Command: "segue release -s " + s.Service,
		})
	}
	if f := s.Freeze; f != nil && (f.Until.IsZero() || now.Before(f.Until)) {
		waits = append(waits, Wait{
			What: fmt.Sprintf("deploys of %s are refused: %s", s.Service, f.did("frozen")), Since: f.Since, Until: f.Until,
			Then: "they are allowed again", Command: "segue unfreeze -s " + s.Service,
		})
	}
	return append(waits, s.explainWarm()...)
}

func (s *State) explainQueued(d *Deployment) Wait {
	behind, then := "until what was warm is retired", "it begins"
	if before := s.before(d); before != nil {
		behind, then = "behind "+before.ID, "it begins when the one before it has ended"
	}
	return Wait{
		Deployment: d.ID, What: fmt.Sprintf("%s (to %s) waits for its turn %s", d.ID, d.Candidate, behind), Since: d.Requested,
		Then: then, End: s.command("abort", d),
	}
}

// before is the deployment that has its turn before a queued one, or nil.
func (s *State) before(d *Deployment) *Deployment {
	if first := s.underWay(); first != d {
		return first
	}
	return nil
}

func (s *State) command(verb string, d *Deployment) string {
	return fmt.Sprintf("segue %s -s %s %s", verb, s.Service, d.ID)
}

// explainDeployment says what the deployment under way waits for.
func (s *State) explainDeployment(d *Deployment, instances []driver.Instance) Wait {
	for i := range d.Steps {
		if st := &d.Steps[i]; st.Status == StepRunning {
			w := s.explainStep(d, st, instances)
			w.What = fmt.Sprintf("%s (to %s): %s", d.ID, d.Candidate, w.What)
			if p := d.Paused; p != nil {
				w.Then += fmt.Sprintf(", and after this step it stands still until %s: %s", clock(p.Until), p.did("paused"))
				w.Command = s.command("resume", d)
			}
			return w
		}
	}
	if p := d.Paused; p != nil {
		return Wait{
			Deployment: d.ID,
			What:       fmt.Sprintf("%s (to %s) stands before its next step: %s", d.ID, d.Candidate, p.did("paused")),
			Since:      p.Since, Until: p.Until, Then: atDeadline(p.Then), Command: s.command("resume", d), End: s.command("abort", d),
		}
	}
	w := Wait{Deployment: d.ID, What: fmt.Sprintf("%s (to %s) is between two steps", d.ID, d.Candidate), Since: d.Began, End: s.command("abort", d)}
	if d.AbortRequested && d.Phase == PhaseRunning {
		w.What, w.Then, w.End = w.What+": "+d.AbortReason, "it is taken back", ""
	}
	return w
}

// explainStep says what a step waits for.
func (s *State) explainStep(d *Deployment, st *StepState, instances []driver.Instance) Wait {
	w := Wait{Deployment: d.ID, What: st.String(), Since: st.Began, Until: st.Began.Add(time.Duration(st.Deadline)), End: s.command("abort", d)}
	w.Then = "the candidate is taken back"
	switch {
	case st.Back:
		w.What, w.Then, w.End = "taking it back: "+w.What, "the next step of the way back is done", ""
	case d.AbortRequested:
		w.What, w.End = d.AbortReason+"; what it was doing ends first: "+w.What, ""
	}
	switch st.Kind {
	case StepStart:
		w.What += s.explainReady(st, instances)
	case StepBake:
		w.Until, w.Then = st.Began.Add(time.Duration(st.For)), "the next step is done, if nothing bad was seen"
		w.Command = s.command("promote --full", d)
		if analysisOf(s.Release(d.Candidate)) != nil {
			w.What += "; the analysis says " + d.Analysis.String()
		}
	case StepApprove:
		w.Then, w.Command = atDeadline(st.Then), s.command("promote", d)
	case StepDrain, StepShrink:
		w.Then = "what is still in flight is cut"
	case StepHook:
		if st.Hook == HookAfterPromote || st.Hook == HookOnAbort {
			w.Then = "its failure is noted, and changes nothing"
		}
	case StepRetire:
		w.Then = "the instances that are left are killed"
	}
	return w
}

// explainReady says of which instances a start waits, and why.
func (s *State) explainReady(st *StepState, instances []driver.Instance) string {
	all := s.counted(st.Release, instances)
	text := fmt.Sprintf("; %d of %d ready", ready(all), st.Instances)
	for _, in := range all {
		if in.State != driver.Ready {
			text += fmt.Sprintf("; %s is %s", in.ID, in.State)
			if in.Message != "" {
				text += ": " + in.Message
			}
		}
	}
	return text
}

func (s *State) explainWarm() []Wait {
	var waits []Wait
	for _, id := range slices.Sorted(maps.Keys(s.Running)) {
		switch r := s.Running[id]; {
		case r.Retiring && s.Current() == nil:
			waits = append(waits, Wait{What: id + " is being retired", Then: "the instances that are left are killed"})
		case !r.WarmUntil.IsZero():
			waits = append(waits, Wait{
				What: id + " is kept warm for a rollback in no time", Until: r.WarmUntil, Then: "it is retired", Command: "segue rollback -s " + s.Service + " " + id,
			})
		}
	}
	return waits
}

func atDeadline(then spec.Then) string {
	if then == spec.ThenPromote {
		return "it goes on"
	}
	return "it is aborted, and stable gets all traffic back"
}
