package cli

import (
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/api"
	"github.com/segue-deploy/segue/internal/spec"
)

// busyFlags say what to do when a deployment is under way.
type busyFlags struct {
	queue, supersede bool
	wait             bool
	reason           string
}

func (b *busyFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&b.queue, "queue", false, "wait in line when a deployment is under way")
	cmd.Flags().BoolVar(&b.supersede, "supersede", false, "abort the deployment that is under way")
	cmd.Flags().BoolVar(&b.wait, "wait", true, "follow the deployment to its end; --wait=false returns at once, with exit code 4")
	cmd.Flags().StringVar(&b.reason, "reason", "", "why, for the history")
	cmd.MarkFlagsMutuallyExclusive("queue", "supersede")
}

func (b *busyFlags) busy() api.Busy {
	switch {
	case b.queue:
		return api.BusyQueue
	case b.supersede:
		return api.BusySupersede
	}
	return api.BusyRefuse
}

func newDeploy(o *options) *cobra.Command {
	var (
		busy     busyFlags
		dryRun   bool
		override string
	)
	cmd := &cobra.Command{
		Use:   "deploy [ARTIFACT]",
		Short: "Make a new release of this directory's service and put it in place",
		Long: "Make a new release of the artifact (a file or directory; by default the one that segue.yaml\n" +
			"names) and put it in place.\n\n" +
			exitCodes,
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if dryRun {
				return o.plan(cmd)
			}
			asJSON, err := o.json()
			if err != nil {
				return err
			}
			s, err := spec.Load(o.file)
			if err != nil {
				return err
			}
			path := s.Artifact
			if path != "" && !filepath.IsAbs(path) {
				path = filepath.Join(filepath.Dir(o.file), path)
			}
			if len(args) == 1 {
				path = args[0]
			}
			client := o.client()
			up, err := client.Upload(cmd.Context(), path)
			if err != nil {
				return err
			}
			d, err := client.Deploy(cmd.Context(), api.DeployRequest{
				Spec: s, Artifact: up.Digest, Busy: busy.busy(), Override: override, Reason: busy.reason,
			})
			if err != nil {
				return err
			}
			return follow(cmd, client, s.Service, d, asJSON, busy.wait)
		},
	}
	o.addFile(cmd)
	o.addOutput(cmd, "json (an event a line)")
	busy.add(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print the steps and do nothing, as 'segue plan' does")
	cmd.Flags().StringVar(&override, "override", "", "deploy in spite of a freeze, for this reason")
	return cmd
}
