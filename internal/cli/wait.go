package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/api"
)

func newWait(o *options) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait [dN|last]",
		Short: "Wait for a deployment to end (default: the last)",
		Long: "Follow a deployment to its end, by default the last. Of one that has ended it says how.\n\n" +
			exitCodes + "\n4 is also for a --timeout that is over; the deployment goes on.",
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := o.json()
			if err != nil {
				return err
			}
			if timeout < 0 {
				return fmt.Errorf("--timeout %s: want a time above 0", timeout)
			}
			service, err := o.serviceName(cmd.Context())
			if err != nil {
				return err
			}
			client := o.client()
			d, err := client.Deployment(cmd.Context(), service, optional(args))
			if err != nil {
				return err
			}
			return waitFor(cmd, client, service, d, asJSON, timeout)
		},
	}
	o.addService(cmd)
	o.addOutput(cmd, "json (an event a line)")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "how long to wait; 0 is until the end")
	return cmd
}

// waitFor follows a deployment, or says how it has ended.
func waitFor(cmd *cobra.Command, client *api.Client, service string, d api.Deployment, asJSON bool, timeout time.Duration) error {
	if d.Phase.Final() && !asJSON {
		fmt.Fprintln(cmd.OutOrStdout(), verdict(service, d))
		return phaseCode(d.Phase)
	}
	ctx := cmd.Context()
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	return keepUp(ctx, cmd, client, service, d, asJSON)
}
