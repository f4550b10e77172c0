package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/spec"
)

func newPlan(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Print the steps that a deploy would take now",
		Args:  atMost(0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return o.plan(cmd) },
	}
	o.addFile(cmd)
	o.addOutput(cmd, "json")
	return cmd
}

// plan prints what a deploy would do.
func (o *options) plan(cmd *cobra.Command) error {
	asJSON, err := o.json()
	if err != nil {
		return err
	}
	s, err := spec.Load(o.file)
	if err != nil {
		return err
	}
	p, err := o.client().Plan(cmd.Context(), s)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if asJSON {
		return printJSON(out, p)
	}
	from := "the first release"
	if p.Stable != "" {
		from = "stable is " + p.Stable
	}
	fmt.Fprintf(out, "%s: deploy %s (%s)\n", p.Service, p.Candidate, from)
	for i, st := range p.Steps {
		fmt.Fprintf(out, "%3d. %s\n", i+1, st)
	}
	for _, n := range p.Notes {
		fmt.Fprintf(out, "note: %s\n", n)
	}
	return nil
}
