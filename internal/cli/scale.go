package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/api"
)

func newScale(o *options) *cobra.Command {
	var busy busyFlags
	cmd := &cobra.Command{
		Use:   "scale [SERVICE] N",
		Short: "Give stable another number of instances, until the next deploy",
		Long: "Give stable another number of instances. It holds until the next deploy, which has as many as\n" +
			"its segue.yaml says.\n\n" + exitCodes,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("how many instances? usage: %s", cmd.UseLine())
			}
			return atMost(2)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			last := len(args) - 1
			n, err := strconv.Atoi(args[last])
			if err != nil || n < 1 {
				return fmt.Errorf("%q is no number of instances: want 1 or more", args[last])
			}
			if err := o.nameService(cmd, args[:last]); err != nil {
				return err
			}
			return o.request(cmd, &busy, func(ctx context.Context, c *api.Client, service string) (api.Deployment, error) {
				return c.Scale(ctx, service, api.ScaleRequest{Instances: n, Busy: busy.busy(), Reason: busy.reason})
			})
		},
	}
	o.addRequest(cmd, &busy)
	return cmd
}
