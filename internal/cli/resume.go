package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/api"
)

func newResume(o *options) *cobra.Command {
	var req api.CommandRequest
	cmd := &cobra.Command{
		Use:   "resume [dN]",
		Short: "Let a paused deployment go on",
		Args:  atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.command(cmd, args, func(ctx context.Context, c *api.Client, service, id string) (api.Deployment, error) {
				return c.Resume(ctx, service, id, req)
			}, resuming)
		},
	}
	o.addCommand(cmd, &req.Reason)
	return cmd
}

// resuming says whether there was a pause to end.
func resuming(service string, before, d api.Deployment) string {
	switch {
	case before.Paused != nil:
		return fmt.Sprintf("%s of %s goes on; it was %s", d.ID, service, who(before.Paused.Actor, "paused"))
	case approving(d) != nil:
		return fmt.Sprintf("%s of %s is not paused; it waits for 'segue promote'", d.ID, service)
	}
	return fmt.Sprintf("%s of %s is not paused", d.ID, service)
}
