package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/api"
)

func newAbort(o *options) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "abort [dN]",
		Short: "End a running deployment and give all traffic back to stable",
		Args:  atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			service, err := o.serviceName(cmd.Context())
			if err != nil {
				return err
			}
			id := ""
			if len(args) == 1 {
				id = args[0]
			}
			d, err := o.client().Abort(cmd.Context(), service, id, api.AbortRequest{Reason: reason})
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), aborting(service, d))
			return nil
		},
	}
	o.addService(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the history")
	return cmd
}

// aborting says what an abort will lead to.
func aborting(service string, d api.Deployment) string {
	switch {
	case d.Phase == api.PhaseTakingBack:
		return fmt.Sprintf("%s of %s is being taken back already", d.ID, service)
	case d.Phase == api.PhaseQueued:
		return fmt.Sprintf("%s of %s will not begin", d.ID, service)
	case d.Stable == "":
		return fmt.Sprintf("aborting %s of %s; there is no stable release to take the traffic", d.ID, service)
	}
	return fmt.Sprintf("aborting %s of %s; %s gets all traffic", d.ID, service, d.Stable)
}
