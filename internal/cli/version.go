package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersion(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of this program and of the daemon",
		Args:  atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "segue %s (%s, %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			if v, err := o.client().Version(cmd.Context()); err == nil {
				fmt.Fprintf(out, "daemon: %s (pid %d)\n", v.Version, v.Pid)
			} else {
				fmt.Fprintln(out, "daemon: none answers")
			}
			return nil
		},
	}
}

// version is the module's as the Go tool stamped it, or the commit's.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}
