package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/api"
)

func newRollback(o *options) *cobra.Command {
	var busy busyFlags
	cmd := &cobra.Command{
		Use:   "rollback [rN]",
		Short: "Make an earlier release stable again (default: the one before)",
		Long:  "Make an earlier release stable again; by default the one before.\n\n" + exitCodes,
		Args:  atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.request(cmd, &busy, func(ctx context.Context, c *api.Client, service string) (api.Deployment, error) {
				return c.Rollback(ctx, service, api.RollbackRequest{Release: optional(args), Busy: busy.busy(), Reason: busy.reason})
			})
		},
	}
	o.addRequest(cmd, &busy)
	return cmd
}

// addRequest adds the flags of a verb that asks for a deployment of a service that
// is there.
func (o *options) addRequest(cmd *cobra.Command, busy *busyFlags) {
	o.addService(cmd)
	o.addOutput(cmd, "json (an event a line)")
	busy.add(cmd)
}

// request asks for a deployment of a service that is there, and follows it.
func (o *options) request(cmd *cobra.Command, busy *busyFlags,
	ask func(ctx context.Context, client *api.Client, service string) (api.Deployment, error),
) error {
	asJSON, err := o.json()
	if err != nil {
		return err
	}
	service, err := o.serviceName(cmd.Context())
	if err != nil {
		return err
	}
	client := o.client()
	d, err := ask(cmd.Context(), client, service)
	if err != nil {
		return err
	}
	return follow(cmd, client, service, d, asJSON, busy.wait)
}
