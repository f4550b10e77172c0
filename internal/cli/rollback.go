package cli

import (
	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/api"
)

func newRollback(o *options) *cobra.Command {
	var busy busyFlags
	cmd := &cobra.Command{
		Use:   "rollback [rN]",
		Short: "Make an earlier release stable again (default: the one before)",
		Args:  atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := o.json()
			if err != nil {
				return err
			}
			service, err := o.serviceName(cmd.Context())
			if err != nil {
				return err
			}
			req := api.RollbackRequest{Busy: busy.busy(), Reason: busy.reason}
			if len(args) == 1 {
				req.Release = args[0]
			}
			client := o.client()
			d, err := client.Rollback(cmd.Context(), service, req)
			if err != nil {
				return err
			}
			return follow(cmd, client, service, d, asJSON, busy.wait)
		},
	}
	o.addService(cmd)
	o.addOutput(cmd, "json (an event a line)")
	busy.add(cmd)
	return cmd
}
