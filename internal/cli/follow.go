package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
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
	if !wait {
		return leave(cmd.OutOrStdout(), service, d, asJSON)
	}
	return keepUp(cmd.Context(), cmd, client, service, d, asJSON)
}

// keepUp shows a deployment until it, or ctx, ends.
func keepUp(ctx context.Context, cmd *cobra.Command, client *api.Client, service string, d api.Deployment, asJSON bool) error {
	out := cmd.OutOrStdout()
	f := follower{view: newView(out, service, asJSON)}
	err := client.Follow(ctx, service, d.ID, &f)
	f.view.close()
	switch {
	case f.now.Phase.Final():
		return phaseCode(f.now.Phase)
	case cmd.Context().Err() != nil:
		fmt.Fprintf(cmd.ErrOrStderr(), "\n%s of %s goes on without you: 'segue status' shows it, 'segue abort' ends it\n", d.ID, service)
		return &exitError{exitGoesOn}
	case ctx.Err() != nil:
		fmt.Fprintf(cmd.ErrOrStderr(), "%s of %s goes on, the time to wait is over: 'segue explain' says what it waits for\n", d.ID, service)
		return &exitError{exitGoesOn}
	default:
		return fmt.Errorf("%s of %s can't be followed any more: %w", d.ID, service, err)
	}
}

// leave says what goes on without being waited for.
func leave(out io.Writer, service string, d api.Deployment, asJSON bool) error {
	if !asJSON {
		what := d.Candidate + " is on its way in"
		if d.Kind == api.KindScale {
			what = goal(d)
		}
		fmt.Fprintf(out, "%s of %s: %s; 'segue wait -s %s %s' waits for its end\n", d.ID, service, what, service, d.ID)
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
	if screen, ok := terminalOf(out); ok {
		return newLiveView(screen, service)
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
		lines := []string{fmt.Sprintf("%s %s", stepNumber(d, b.Step), d.Steps[b.Step])}
		if st := approving(d); st != nil {
			lines = append(lines, "      "+toPromote(service, d, st, ev.At))
		}
		return lines
	case api.Checked:
		return checked(b)
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
	case api.PauseRequested:
		return []string{pausedUntil(service, d, ev.At)}
	case api.Resumed:
		return []string{who(b.Actor, "resumed")}
	case api.PromoteRequested:
		return []string{promotedBy(b)}
	case api.TurnedBack:
		return append(tailLines(b.LogTail, "      "), takingBack(d))
	case api.Finished:
		return []string{verdict(service, d)}
	}
	return nil
}

// checked tells of a try that failed, with the end of its output.
func checked(b api.Checked) []string {
	if b.Passed {
		return nil
	}
	lines := []string{fmt.Sprintf("      %s: try %d failed after %s", oneLine(b.Name), b.Try, rough(b.Took))}
	output := plain(strings.TrimSpace(b.Output))
	for _, l := range output[max(0, len(output)-checkedLines):] {
		lines = append(lines, "      | "+l)
	}
	return lines
}

// checkedLines is how much is shown of what a failed check has printed.
const checkedLines = 5

func promotedBy(b api.PromoteRequested) string {
	if b.Full {
		return who(b.Actor, "promoted in full") + "; the bakes and approvals still to come are skipped"
	}
	return who(b.Actor, "promoted")
}

// verdict is how a deployment ended, in a sentence.
func verdict(service string, d api.Deployment) string {
	took := rough(d.Finished.Sub(d.Requested))
	switch d.Phase {
	case api.PhasePromoted:
		if d.Kind == api.KindScale {
			return fmt.Sprintf("%s %s: done, %s has %s (%s)", service, d.ID, d.Candidate, count(d.Instances, "instance"), took)
		}
		return fmt.Sprintf("%s %s: promoted, %s is stable (%s)", service, d.ID, d.Candidate, took)
	case api.PhaseFailed:
		return fmt.Sprintf("%s %s: failed and taken back (%s)%s", service, d.ID, took, because(d.Reason))
	}
	// The reason says "aborted by …".
	return fmt.Sprintf("%s %s: %s (%s)", service, d.ID, cmp.Or(oneLine(d.Reason), string(d.Phase)), took)
}

// takingBack says what becomes of the traffic.
func takingBack(d api.Deployment) string {
	switch {
	case d.Kind == api.KindScale:
		return fmt.Sprintf("going back to %s of %s", count(d.StableInstances, "instance"), d.Stable)
	case d.Stable == "":
		return fmt.Sprintf("taking %s back; there is no stable release to take the traffic", d.Candidate)
	}
	return fmt.Sprintf("taking %s back; %s is stable", d.Candidate, d.Stable)
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
