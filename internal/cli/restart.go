package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/api"
)

func newRestart(o *options) *cobra.Command {
	var busy busyFlags
	cmd := &cobra.Command{
		Use:   "restart [SERVICE]",
		Short: "Replace stable's instances by new ones of the same artifact and spec",
		Long: "Replace stable's instances by new ones of the same artifact and spec, a few at a time, as a\n" +
			"deployment that loses nothing and can be taken back.\n\n" + exitCodes,
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.nameService(cmd, args); err != nil {
				return err
			}
			return o.request(cmd, &busy, func(ctx context.Context, c *api.Client, service string) (api.Deployment, error) {
				return c.Restart(ctx, service, api.RestartRequest{Busy: busy.busy(), Reason: busy.reason})
			})
		},
	}
	o.addRequest(cmd, &busy)
	return cmd
}
