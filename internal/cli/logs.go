package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/api"
)

func newLogs(o *options) *cobra.Command {
	var q api.LogQuery
	cmd := &cobra.Command{
		Use:   "logs [rN]",
		Short: "Print what a release's instances have written",
		Long: "Print what a release's instances have written to stdout and stderr. Without a release it is\n" +
			"the candidate of the deployment under way, or else stable.",
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if q.Service, err = o.serviceName(cmd.Context()); err != nil {
				return err
			}
			if len(args) == 1 {
				q.Release = args[0]
			}
			err = o.client().Logs(cmd.Context(), cmd.OutOrStdout(), q)
			switch {
			case q.Follow && cmd.Context().Err() != nil:
				err = nil // Ctrl-C is how one stops following.
			case q.Follow && err == nil:
				err = errors.New("the daemon has stopped, so no more lines come; the service goes on")
			}
			return err
		},
	}
	o.addService(cmd)
	cmd.Flags().BoolVarP(&q.Follow, "follow", "f", false, "go on with new lines, until Ctrl-C")
	cmd.Flags().IntVarP(&q.Tail, "tail", "n", 100, "how many of the last lines of each instance; -1 is all")
	cmd.Flags().StringVar(&q.Instance, "instance", "", "of this instance alone")
	return cmd
}
