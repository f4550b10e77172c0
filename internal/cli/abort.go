package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/api"
)

func newAbort(o *options) *cobra.Command {
	var req api.CommandRequest
	cmd := &cobra.Command{
		Use:   "abort [dN]",
		Short: "End a running deployment and give all traffic back to stable",
		Args:  atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.command(cmd, args, func(ctx context.Context, c *api.Client, service, id string) (api.Deployment, error) {
				return c.Abort(ctx, service, id, req)
			}, aborting)
		},
	}
	o.addCommand(cmd, &req.Reason)
	return cmd
}

// aborting says what an abort will lead to.
func aborting(service string, before, d api.Deployment) string {
	switch {
	case before.AbortRequested || before.Phase == api.PhaseTakingBack:
		return fmt.Sprintf("%s of %s is being taken back already; 'segue explain' shows how far it is", d.ID, service)
	case d.Phase == api.PhaseQueued || before.Phase == api.PhaseQueued:
		return fmt.Sprintf("%s of %s will not begin", d.ID, service)
	case d.Kind == api.KindScale:
		return fmt.Sprintf("aborting %s of %s; %s gets back the number of instances that it had", d.ID, service, d.Stable)
	case d.Stable == "":
		return fmt.Sprintf("aborting %s of %s; there is no stable release to take the traffic", d.ID, service)
	}
	return fmt.Sprintf("aborting %s of %s; %s gets all traffic", d.ID, service, d.Stable)
}
