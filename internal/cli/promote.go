package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/api"
)

func newPromote(o *options) *cobra.Command {
	var req api.PromoteRequest
	cmd := &cobra.Command{
		Use:   "promote [dN]",
		Short: "Let a deployment go on from an approval or a pause",
		Args:  atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.command(cmd, args, func(ctx context.Context, c *api.Client, service, id string) (api.Deployment, error) {
				return c.Promote(ctx, service, id, req)
			}, promoting)
		},
	}
	o.addCommand(cmd, &req.Reason)
	cmd.Flags().BoolVar(&req.Full, "full", false, "also skip the bakes and approvals that are still to come")
	return cmd
}

// promoting says what a promotion has changed.
func promoting(service string, before, d api.Deployment) string {
	approved := before.ID != "" && approvals(d) == approvals(before)
	switch {
	case d.Full && !before.Full:
		return fmt.Sprintf("%s of %s goes on, and skips the bakes and approvals that are still to come", d.ID, service)
	case before.Paused != nil || !approved:
		return fmt.Sprintf("%s of %s goes on", d.ID, service)
	case d.Full:
		return fmt.Sprintf("%s of %s is promoted in full already, and skips bakes and approvals", d.ID, service)
	}
	return fmt.Sprintf("%s of %s is promoted already, and about to go on", d.ID, service)
}

// approvals counts the approve steps that somebody has promoted.
func approvals(d api.Deployment) int {
	n := 0
	for _, st := range d.Steps {
		if st.Approved {
			n++
		}
	}
	return n
}
