package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/api"
)

// view shows a deployment's events as they come.
type view interface {
	// event is told each event, with the deployment as it is after it.
	event(ev api.Event, d api.Deployment)
	// close leaves the terminal in order.
	close()
}

// follow shows a deployment until it ends and returns its exit code as an error.
func follow(cmd *cobra.Command, client *api.Client, service string, d api.Deployment, asJSON, wait bool) error {
	out := cmd.OutOrStdout()
	if !wait {
		fmt.Fprintf(out, "%s of %s: %s is on its way in; 'segue status' shows how far it is\n", d.ID, service, d.Candidate)
		return &exitError{exitGoesOn}
	}
	v := newView(out, service, asJSON)
	var now api.Deployment
	err := client.Follow(cmd.Context(), service, d.ID, func(ev api.Event) (bool, error) {
		now = now.Apply(ev)
		v.event(ev, now)
		return !now.Phase.Final(), nil
	})
	v.close()
	switch {
	case cmd.Context().Err() != nil:
		fmt.Fprintf(cmd.ErrOrStderr(), "\n%s of %s goes on without you: 'segue status' shows it, 'segue abort' ends it\n", d.ID, service)
		return &exitError{exitGoesOn}
	case err != nil:
		return err
	}
	switch now.Phase {
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
	switch {
	case asJSON:
		return jsonView{json.NewEncoder(out)}
	case isTerminal(out):
		return newLiveView(out, service)
	}
	return lineView{out, service}
}

// jsonView prints an event a line.
type jsonView struct{ enc *json.Encoder }

func (v jsonView) event(ev api.Event, _ api.Deployment) { _ = v.enc.Encode(ev) }
func (jsonView) close()                                 {}

// lineView prints a line for what happens, for pipes and logs.
type lineView struct {
	out     io.Writer
	service string
}

func (lineView) close() {}

func (v lineView) event(ev api.Event, d api.Deployment) {
	for _, line := range describe(v.service, ev, d) {
		fmt.Fprintf(v.out, "%s  %s\n", ev.At.Local().Format("15:04:05.000"), line)
	}
}

// describe puts an event in words; some need none.
func describe(service string, ev api.Event, d api.Deployment) []string {
	switch b := ev.Body.(type) {
	case api.Requested:
		verb := "deploy"
		if b.Rollback {
			verb = "roll back to"
		}
		return []string{fmt.Sprintf("%s %s: %s %s%s", service, d.ID, verb, b.Candidate, because(b.Reason))}
	case api.Intended:
		return []string{fmt.Sprintf("%s %s", stepNumber(d, b.Step), d.Steps[b.Step])}
	case api.Noted:
		return []string{"      " + b.Message}
	case api.Did:
		st := d.Steps[b.Step]
		return []string{fmt.Sprintf("      done after %s%s", rough(st.Ended.Sub(st.Began)), because(b.Outcome.Message))}
	case api.Failed:
		lines := []string{"      FAILED: " + b.Reason}
		return append(lines, tailLines(b.LogTail)...)
	case api.AbortRequested:
		return []string{d.AbortReason}
	case api.TurnedBack:
		return []string{fmt.Sprintf("taking %s back; %s keeps the traffic", d.Candidate, orNothing(d.Stable))}
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
		return fmt.Sprintf("%s %s: failed and taken back (%s): %s", service, d.ID, took, d.Reason)
	default:
		return fmt.Sprintf("%s %s: %s (%s): %s", service, d.ID, d.Phase, took, d.Reason)
	}
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

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

func tailLines(tail []string) []string {
	if len(tail) == 0 {
		return nil
	}
	lines := []string{"      its last lines:"}
	for _, l := range tail {
		lines = append(lines, "      | "+strings.ToValidUTF8(l, "?"))
	}
	return lines
}
