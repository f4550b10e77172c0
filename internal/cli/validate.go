package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/spec"
)

func newValidate(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Check segue.yaml without a daemon",
		Args:  atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := spec.Load(o.file)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is valid: service %s\n", o.file, s.Service)
			return nil
		},
	}
	o.addFile(cmd)
	return cmd
}

func newSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of segue.yaml, for editors",
		Args:  atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			schema, err := spec.Schema()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", schema)
			return err
		},
	}
}
