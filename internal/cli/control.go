package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/api"
)

// addCommand adds the flags of a verb that changes something at once.
func (o *options) addCommand(cmd *cobra.Command, reason *string) {
	o.addService(cmd)
	o.addOutput(cmd, "json")
	cmd.Flags().StringVar(reason, "reason", "", "why, for the history")
}

// command gives a command about a deployment and says what it has changed, or that
// nothing had to change.
func (o *options) command(cmd *cobra.Command, args []string,
	give func(ctx context.Context, client *api.Client, service, id string) (api.Deployment, error),
	say func(service string, before, after api.Deployment) string,
) error {
	asJSON, err := o.json()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	service, err := o.serviceName(ctx)
	if err != nil {
		return err
	}
	client, id := o.client(), optional(args)
	before, err := deploymentNow(ctx, client, service, id)
	if err != nil {
		return err
	}
	after, err := give(ctx, client, service, id)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), after)
	}
	if before.ID != after.ID {
		before = api.Deployment{} // Another has begun meanwhile.
	}
	fmt.Fprintln(cmd.OutOrStdout(), say(service, before, after))
	return nil
}

// nameService takes the service from a verb's argument, which may be left out.
func (o *options) nameService(cmd *cobra.Command, args []string) error {
	switch name := optional(args); {
	case name == "":
	case o.service != "" && o.service != name:
		return fmt.Errorf("%s %s --service %s: name the service once", cmd.CommandPath(), name, o.service)
	default:
		o.service = name
	}
	return nil
}

// commandService gives a command about a service as a whole, which the argument may
// name, and says what it has changed.
func commandService[T any](o *options, cmd *cobra.Command, args []string,
	give func(ctx context.Context, client *api.Client, service string) (T, error), say func(service string, answer T, now time.Time) string,
) error {
	asJSON, err := o.json()
	if err != nil {
		return err
	}
	if err := o.nameService(cmd, args); err != nil {
		return err
	}
	service, err := o.serviceName(cmd.Context())
	if err != nil {
		return err
	}
	answer, err := give(cmd.Context(), o.client(), service)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), answer)
	}
	fmt.Fprintln(cmd.OutOrStdout(), say(service, answer, time.Now()))
	return nil
}

// deploymentNow is the deployment of that ID, or, when it is empty, the one under
// way or else the last; the zero value when there never was one.
func deploymentNow(ctx context.Context, client *api.Client, service, id string) (api.Deployment, error) {
	if id != "" && id != "current" {
		return client.Deployment(ctx, service, id)
	}
	status, err := client.Status(ctx, service)
	if err != nil || status.Deployment == nil {
		return api.Deployment{}, err
	}
	return *status.Deployment, nil
}

// optional is the argument of a verb that may have one.
func optional(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// runningStep is the step that is being done, or nil.
func runningStep(d api.Deployment) *api.StepState {
	for i := range d.Steps {
		if d.Steps[i].Status == api.StepRunning {
			return &d.Steps[i]
		}
	}
	return nil
}

// approving is the approve step that waits for somebody's word, or nil.
func approving(d api.Deployment) *api.StepState {
	if st := runningStep(d); st != nil && st.Kind == api.StepApprove && !st.Approved {
		return st
	}
	return nil
}

// toPromote says what one can type at an approve step, and what happens otherwise.
func toPromote(service string, d api.Deployment, st *api.StepState, now time.Time) string {
	until := st.Began.Add(time.Duration(st.Deadline))
	return fmt.Sprintf("'segue promote -s %s %s' goes on, 'segue abort -s %s %s' ends it; until %s, then %s",
		service, d.ID, service, d.ID, clock(now, until), atDeadline(string(st.Then)))
}

// pausedUntil says who has paused a deployment, until when, and how to go on.
func pausedUntil(service string, d api.Deployment, now time.Time) string {
	p := d.Paused
	return fmt.Sprintf("%s; until %s, then %s; 'segue resume -s %s %s' goes on",
		who(p.Actor, "paused"), clock(now, p.Until), atDeadline(string(p.Then)), service, d.ID)
}

// atDeadline is what happens at the end of a wait.
func atDeadline(then string) string {
	if then == "promote" {
		return "it goes on"
	}
	return "it is aborted"
}

// holds is the step that keeps new requests waiting, or nil: a shift, in either
// direction, lets them go.
func holds(d api.Deployment) *api.StepState {
	var hold *api.StepState
	for i := range d.Steps {
		switch st := &d.Steps[i]; {
		case st.Began.IsZero():
		case st.Kind == api.StepHold:
			hold = st
		case st.Kind == api.StepShift && st.Status == api.StepDone:
			hold = nil
		}
	}
	return hold
}

// heldSince says since when a deployment keeps requests waiting.
func heldSince(hold *api.StepState, now time.Time) string {
	return fmt.Sprintf("new requests are held since %s, each for %s at most", clock(now, hold.Began), coarse(hold.Hold.Time.Std()))
}
