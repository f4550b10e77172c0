package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/api"
	"github.com/segue-deploy/segue/internal/spec"
)

func newPause(o *options) *cobra.Command {
	var (
		req   api.PauseRequest
		limit time.Duration
		then  string
	)
	cmd := &cobra.Command{
		Use:   "pause [dN]",
		Short: "Let a running deployment begin no further step",
		Long: "Let a running deployment begin no further step. The step being done is finished, and the\n" +
			"candidate is watched meanwhile. No pause is for ever: at its end the deployment is aborted, or\n" +
			"goes on with --then promote. To pause again changes the end.",
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if then != string(spec.ThenAbort) && then != string(spec.ThenPromote) {
				return fmt.Errorf("--then %s: want abort or promote", then)
			}
			if limit <= 0 {
				return fmt.Errorf("--for %s: want a time above 0", limit)
			}
			req.For, req.Then = spec.Duration(limit), spec.Then(then)
			return o.command(cmd, args, func(ctx context.Context, c *api.Client, service, id string) (api.Deployment, error) {
				return c.Pause(ctx, service, id, req)
			}, pausing)
		},
	}
	o.addCommand(cmd, &req.Reason)
	cmd.Flags().DurationVar(&limit, "for", time.Hour, "how long")
	cmd.Flags().StringVar(&then, "then", string(spec.ThenAbort), "what happens after it: abort or promote")
	return cmd
}

// pausing says where a deployment stands, and until when.
func pausing(service string, before, d api.Deployment) string {
	what := "is paused"
	switch st := runningStep(d); {
	case d.Paused == nil: // Somebody else was quicker.
		return fmt.Sprintf("%s of %s was paused and has gone on since; 'segue explain' shows where it is", d.ID, service)
	case st != nil:
		what = fmt.Sprintf("pauses after this step: %s;", st)
	case before.Paused != nil:
		what = "stays paused,"
	}
	now := time.Now()
	return fmt.Sprintf("%s of %s %s until %s, then %s; 'segue resume' goes on",
		d.ID, service, what, clock(now, d.Paused.Until), atDeadline(string(d.Paused.Then)))
}
