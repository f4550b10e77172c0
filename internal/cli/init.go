package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/spec"
)

func newInit() *cobra.Command {
	return &cobra.Command{
		Use:   "init [SERVICE]",
		Short: "Write a commented segue.yaml into this directory",
		Args:  atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			service := serviceFromDir()
			if len(args) == 1 {
				service = args[0]
			}
			text := spec.Example(service)
			if _, err := spec.Parse("segue.yaml", text); err != nil {
				return fmt.Errorf("%q is no good name for a service: %w", service, err)
			}
			f, err := os.OpenFile("segue.yaml", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
			if errors.Is(err, os.ErrExist) {
				return errors.New("segue.yaml is here already; it was left as it is")
			}
			if err != nil {
				return err
			}
			if _, err := f.Write(text); err != nil {
				f.Close()
				return err
			}
			if err := f.Close(); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "wrote segue.yaml; set 'artifact' and 'command' in it, then: segue validate, segue plan, segue deploy")
			return nil
		},
	}
}

// serviceFromDir makes a service's name of this directory's.
func serviceFromDir() string {
	dir, err := os.Getwd()
	if err != nil {
		return "web"
	}
	name := regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(filepath.Base(dir)), "-")
	name = strings.Trim(strings.TrimLeft(name, "0123456789-"), "-")
	if name == "" {
		return "web"
	}
	return strings.Trim(name[:min(len(name), 40)], "-")
}
