package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/api"
)

// view shows a deployment as it goes on.
type view interface {
	// event is told each event, with the deployment as it is after it.
	event(ev api.Event, d api.Deployment)
	// lost is told that the daemon does not answer and until when it is tried
	// again, found that it does again.
	lost(until time.Time)
	found()
	// close leaves the terminal in order.
	close()
}

// follower keeps up with a deployment and shows it.
type follower struct {
	view view
	now  api.Deployment
}

// Event is part of [api.Follower].
func (f *follower) Event(ev api.Event) (more bool) {
	f.now = f.now.Apply(ev)
	f.view.event(ev, f.now)
	return !f.now.Phase.Final()
}

// Lost is part of [api.Follower].
func (f *follower) Lost(until time.Time) { f.view.lost(until) }

// Found is part of [api.Follower].
func (f *follower) Found() { f.view.found() }

// follow shows a deployment until it ends and returns its exit code as an error.
func follow(cmd *cobra.Command, client *api.Client, service string, d api.Deployment, asJSON, wait bool) error {
	out := cmd.OutOrStdout()
	if !wait {
		return leave(out, service, d, asJSON)
	}
	f := follower{view: newView(out, service, asJSON)}
	err := client.Follow(cmd.Context(), service, d.ID, &f)
	f.view.close()
	switch {
	case f.now.Phase.Final():
		return phaseCode(f.now.Phase)
	case cmd.Context().Err() != nil:
		fmt.Fprintf(cmd.ErrOrStderr(), "\n%s of %s goes on without you: 'segue status' shows it, 'segue abort' ends it\n", d.ID, service)
		return &exitError{exitGoesOn}
	default:
		return fmt.Errorf("%s of %s can't be followed any more: %w", d.ID, service, err)
	}
}

// leave says what goes on without being waited for.
func leave(out io.Writer, service string, d api.Deployment, asJSON bool) error {
	if !asJSON {
		fmt.Fprintf(out, "%s of %s: %s is on its way in; 'segue status' shows how far it is\n", d.ID, service, d.Candidate)
	} else if err := printJSON(out, d); err != nil {
		return err
	}
	return &exitError{exitGoesOn}
}

// phaseCode is the exit code of a deployment that has ended.
func phaseCode(p api.Phase) error {
	switch p {
	case api.PhaseFailed:
		return &exitError{exitTakenBack}
	case api.PhaseAborted:
		return &exitError{exitAborted}
	}
	return nil
}

// newView chooses how to show events: redrawn on a terminal, line by line
// otherwise, or as JSON.
func newView(out io.Writer, service string, asJSON bool) view {
	if asJSON {
		return jsonView{json.NewEncoder(out)}
	}
	if terminal, ok := isTerminal(out); ok {
		return newLiveView(terminal, service)
	}
	return lineView{out, service}
}

// jsonView prints an event a line.
type jsonView struct{ enc *json.Encoder }

func (v jsonView) event(ev api.Event, _ api.Deployment) { _ = v.enc.Encode(ev) }
func (jsonView) lost(time.Time)                         {}
func (jsonView) found()                                 {}
func (jsonView) close()                                 {}

// lineView prints a line for what happens, for pipes and logs.
type lineView struct {
	out     io.Writer
	service string
}

func (lineView) close() {}

func (v lineView) lost(until time.Time) { v.print(time.Now(), gone(until)) }

func (v lineView) found() { v.print(time.Now(), "the daemon answers again") }

// gone says that there is nothing to see for a while.
func gone(until time.Time) string {
	return fmt.Sprintf("the daemon does not answer, traffic goes on without it; trying until %s", until.Local().Format(time.TimeOnly))
}

func (v lineView) print(at time.Time, line string) {
	fmt.Fprintf(v.out, "%s  %s\n", at.Local().Format("15:04:05.000"), line)
}

func (v lineView) event(ev api.Event, d api.Deployment) {
	for _, line := range describe(v.service, ev, d) {
		v.print(ev.At, line)
	}
}

// describe puts an event in words; some need none.
func describe(service string, ev api.Event, d api.Deployment) []string {
	switch b := ev.Body.(type) {
	case api.Requested:
		return []string{fmt.Sprintf("%s %s: %s%s", service, d.ID, goal(d), because(b.Reason))}
	case api.Intended:
		return []string{fmt.Sprintf("%s %s", stepNumber(d, b.Step), d.Steps[b.Step])}
	case api.Noted:
		return []string{"      " + oneLine(b.Message)}
	case api.Did:
		st := d.Steps[b.Step]
		return []string{fmt.Sprintf("      done after %s%s", rough(st.Ended.Sub(st.Began)), because(b.Outcome.Message))}
	case api.Failed:
		var lines []string
		for _, l := range plain("FAILED: " + b.Reason) {
			lines = append(lines, "      "+l)
		}
		return append(lines, tailLines(b.LogTail, "      ")...)
	case api.AbortRequested:
		return []string{oneLine(d.AbortReason)}
	case api.TurnedBack:
		return []string{takingBack(d)}
	case api.Finished:
		return []string{verdict(service, d)}
	}
	return nil
}

// verdict is how a deployment ended, in a sentence.
func verdict(service string, d api.Deployment) string {
	took := rough(d.Finished.Sub(d.Requested))
	switch d.Phase {
	case api.PhasePromoted:
		return fmt.Sprintf("%s %s: promoted, %s is stable (%s)", service, d.ID, d.Candidate, took)
	case api.PhaseFailed:
		return fmt.Sprintf("%s %s: failed and taken back (%s)%s", service, d.ID, took, because(d.Reason))
	}
	// The reason says "aborted by …".
	return fmt.Sprintf("%s %s: %s (%s)", service, d.ID, cmp.Or(oneLine(d.Reason), string(d.Phase)), took)
}

// takingBack says what becomes of the traffic.
func takingBack(d api.Deployment) string {
	if d.Stable == "" {
		return fmt.Sprintf("taking %s back; there is no stable release to take the traffic", d.Candidate)
	}
	return fmt.Sprintf("taking %s back; %s has the traffic", d.Candidate, d.Stable)
}

func stepNumber(d api.Deployment, i int) string {
	if d.Steps[i].Back {
		return "back"
	}
	total := 0
	for _, st := range d.Steps {
		if !st.Back {
			total++
		}
	}
	return fmt.Sprintf("%d/%d ", i+1, total)
}

// tailLines are the last lines of the instance that is to blame.
func tailLines(tail []string, indent string) []string {
	if len(tail) == 0 {
		return nil
	}
	lines := []string{indent + "its last lines:"}
	for _, l := range tail {
		lines = append(lines, indent+"| "+plainLine(l))
	}
	return lines
}
