package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/api"
)

func newStatus(o *options) *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what runs, what is under way, and the way back",
		Long: "Show what runs, what is under way, and the way back. With --watch it goes on until Ctrl-C:\n" +
			"redrawn on a terminal, with a line for each change otherwise, and as JSON with all of it\n" +
			"whenever something else than a counter has changed.",
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := o.json()
			if err != nil {
				return err
			}
			if watch {
				return o.watch(cmd, asJSON)
			}
			services, err := o.statuses(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), services)
			}
			if v, err := o.client().Version(cmd.Context()); err == nil {
				if note := proxyNote(v); note != "" {
					fmt.Fprintln(cmd.OutOrStdout(), note)
				}
			}
			return printStatuses(cmd.OutOrStdout(), services, time.Now())
		},
	}
	cmd.Flags().StringVarP(&o.service, "service", "s", "", "only this service (default: all)")
	o.addOutput(cmd, "json")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on showing it")
	return cmd
}

// statuses are those of the service that is named, or of all.
func (o *options) statuses(ctx context.Context) ([]api.ServiceStatus, error) {
	if o.service == "" {
		return o.client().Services(ctx)
	}
	one, err := o.client().Status(ctx, o.service)
	if err != nil {
		return nil, err
	}
	return []api.ServiceStatus{one}, nil
}

func printStatuses(out io.Writer, services []api.ServiceStatus, now time.Time) error {
	if len(services) == 0 {
		fmt.Fprintln(out, "no service yet; 'segue init' and 'segue deploy' make one")
	}
	for i, s := range services {
		if i > 0 {
			fmt.Fprintln(out)
		}
		if err := printStatus(out, s, now); err != nil {
			return err
		}
	}
	return nil
}

func printStatus(out io.Writer, s api.ServiceStatus, now time.Time) error {
	fmt.Fprintf(out, "%s: %s\n", s.Service, headline(s, now))
	for _, note := range notes(s, now) {
		fmt.Fprintf(out, "  %s\n", note)
	}
	if err := printReleases(out, s, now); err != nil {
		return err
	}
	printTraffic(out, s)
	_, err := fmt.Fprintf(out, "  rollback: %s\n", s.WayBack)
	return err
}

// notes are what is out of the ordinary, and how to end it.
func notes(s api.ServiceStatus, now time.Time) []string {
	var notes []string
	if d := s.Deployment; d != nil {
		notes = append(notes, deploymentNotes(s.Service, *d, now)...)
	}
	if len(s.Queued) > 0 {
		notes = append(notes, "waiting in line: "+strings.Join(s.Queued, ", "))
	}
	if s.Hold != nil {
		notes = append(notes, heldBy(s.Service, *s.Hold, now))
	}
	if f := s.Freeze; f != nil && (f.Until.IsZero() || f.Until.After(now)) {
		notes = append(notes, frozenBy(s.Service, *f, now))
	}
	if s.TrafficError != "" {
		notes = append(notes, "the proxy does not answer: "+s.TrafficError)
	}
	return notes
}

// deploymentNotes are about the deployment under way, or the last.
func deploymentNotes(service string, d api.Deployment, now time.Time) []string {
	var notes []string
	switch {
	case d.Reason != "":
		notes = append(notes, fmt.Sprintf("%s: %s", d.ID, oneLine(d.Reason)))
	case d.AbortRequested:
		notes = append(notes, fmt.Sprintf("%s: %s", d.ID, oneLine(d.AbortReason)))
	}
	if d.Phase.Final() {
		return notes
	}
	if a := d.Analysis; a != nil {
		notes = append(notes, fmt.Sprintf("%s: analysis: %s", d.ID, oneLine(a.String())))
	}
	if p := previewing(d); p != nil {
		notes = append(notes, p.String())
	}
	if held := holds(d); held != nil {
		notes = append(notes, heldSince(held, now))
	}
	if st := approving(d); st != nil {
		notes = append(notes, toPromote(service, d, st, now))
	}
	if d.Paused != nil {
		notes = append(notes, pausedUntil(service, d, now))
	}
	return notes
}

// previewing is the step that lets chosen requests reach the candidate, or nil: it
// lasts until the deployment ends or turns back.
func previewing(d api.Deployment) *api.StepState {
	if d.Phase != api.PhaseRunning {
		return nil
	}
	for i := range d.Steps {
		if st := &d.Steps[i]; st.Kind == api.StepPreview && !st.Began.IsZero() {
			return st
		}
	}
	return nil
}

// heldBy says who keeps requests waiting, until when, and how to let them go.
func heldBy(service string, h api.Hold, now time.Time) string {
	return fmt.Sprintf("new requests wait, until %s at most: %s; 'segue release -s %s' lets them go",
		clock(now, h.Until), who(h.Actor, "held"), service)
}

// frozenBy says who refuses deploys, until when, and how to end it.
func frozenBy(service string, f api.Freeze, now time.Time) string {
	until := ""
	if !f.Until.IsZero() {
		until = " until " + clock(now, f.Until)
	}
	return fmt.Sprintf("deploys are refused%s: %s; 'segue unfreeze -s %s' ends it", until, who(f.Actor, "frozen"), service)
}

func printReleases(out io.Writer, s api.ServiceStatus, now time.Time) error {
	if len(s.Releases) == 0 {
		_, err := fmt.Fprintln(out, "  no release runs")
		return err
	}
	w := tabwriter.NewWriter(out, 2, 8, 2, ' ', 0)
	fmt.Fprintf(w, "  RELEASE\tROLE\tWEIGHT\tINSTANCE\tSTATE\tADDRESS\tSINCE\tRESTARTS\t\n")
	for _, r := range s.Releases {
		role := string(r.Role)
		if !r.WarmUntil.IsZero() {
			role += " until " + clock(now, r.WarmUntil)
		}
		weight := fmt.Sprintf("%d %%", r.Weight)
		if s.Worker {
			weight = "-"
		}
		if len(r.Instances) == 0 {
			fmt.Fprintf(w, "  %s\t%s\t%s\tnone of %d\t\t\t\t\t\n", r.ID, role, weight, r.Want)
		}
		for _, in := range r.Instances {
			fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", r.ID, role, weight,
				in.ID, in.State, dash(in.Target.Address), ago(now, in.Started), in.Restarts, oneLine(in.Message))
		}
	}
	return w.Flush()
}

// headline says in what state the service is.
func headline(s api.ServiceStatus, now time.Time) string {
	d := s.Deployment
	switch {
	case d == nil:
		return "never deployed"
	case !d.Phase.Final():
		return fmt.Sprintf("%s to %s is under way: %s", d.ID, aim(*d), currentStep(d, now))
	case s.Stable == "":
		return fmt.Sprintf("no stable release; %s %s %s", d.ID, d.Phase, ago(now, d.Finished))
	}
	return fmt.Sprintf("%s is stable; %s %s %s", s.Stable, d.ID, d.Phase, ago(now, d.Finished))
}

// aim is where a deployment is to lead.
func aim(d api.Deployment) string {
	if d.Kind == api.KindScale {
		return count(d.Instances, "instance") + " of " + d.Candidate
	}
	return d.Candidate
}

func currentStep(d *api.Deployment, now time.Time) string {
	back := ""
	if d.Phase == api.PhaseTakingBack {
		back = "back: "
	}
	switch st := runningStep(*d); {
	case st != nil:
		return fmt.Sprintf("%s%s (since %s)", back, st, roughly(now.Sub(st.Began)))
	case d.Paused != nil:
		return "it stands before its next step"
	case d.Phase == api.PhaseQueued:
		return "it waits for its turn"
	}
	return back + "about to go on"
}

func printTraffic(out io.Writer, s api.ServiceStatus) {
	if s.Traffic == nil || s.Worker {
		return
	}
	held := ""
	if n := s.Traffic.Held.Now; n > 0 {
		held = fmt.Sprintf(", %d held", n)
	}
	if n := s.Traffic.Queued.Now; n > 0 {
		held += fmt.Sprintf(", %d queued", n)
	}
	var accepted, lost, errors, retried, shed uint64
	var flight int64
	for _, r := range s.Traffic.Releases {
		accepted += r.Accepted
		lost += r.Failed.Sum()
		errors += r.Answered[5]
		retried += r.Retried
		flight += r.InFlight
		shed += r.Shed
	}
	refused := ""
	if shed > 0 {
		refused = fmt.Sprintf(", %d shed", shed)
	}
	fmt.Fprintf(out, "  requests since the proxy started: %d accepted, %d in flight%s, %d answered 5xx, %d lost%s, %d retried\n",
		accepted, flight, held, errors, lost, refused, retried)
}
