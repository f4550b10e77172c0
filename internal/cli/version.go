package cli

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/api"
)

func newVersion(o *options) *cobra.Command {
	var client bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of this program, of the daemon and of the proxy",
		Args:  atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := o.json()
			if err != nil {
				return err
			}
			v := versions{program: thisProgram()}
			if !client {
				if d, err := o.client().Version(cmd.Context()); err == nil {
					v.Daemon = &d
				}
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), v)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "segue %s (%s, %s/%s)\n", v.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			if !client {
				printDaemonVersion(cmd.OutOrStdout(), v.Daemon)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&client, "client", false, "only this program's")
	o.addOutput(cmd, "json")
	return cmd
}

// versions are this program's, and the daemon's if one answers.
type versions struct {
	program
	Daemon *api.Version `json:"daemon,omitempty"`
}

func printDaemonVersion(out io.Writer, d *api.Version) {
	if d == nil {
		fmt.Fprintln(out, "daemon: none answers")
		return
	}
	fmt.Fprintf(out, "daemon: %s (pid %d)\n", d.Version, d.Pid)
	p := d.Proxy
	if p == nil {
		fmt.Fprintln(out, "proxy: none answers")
		return
	}
	fmt.Fprintf(out, "proxy: %s (pid %d)\n", p.Version, p.Pid)
	if note := proxyNote(*d); note != "" {
		fmt.Fprintf(out, "  %s\n", note)
	}
	for _, old := range p.Replaced {
		fmt.Fprintf(out, "  before it: %s (pid %d), which goes on with %d connections in use\n", old.Version, old.Pid, old.Connections)
	}
}

// proxyNote says in what the proxy is not as the daemon would start it, and what to do.
func proxyNote(d api.Version) string {
	if d.Proxy == nil || d.Proxy.Differs == "" {
		return ""
	}
	what := "is of another binary than the daemon"
	switch d.Proxy.Differs {
	case "version":
		what = fmt.Sprintf("is %s, the daemon %s", d.Proxy.Version, d.Version)
	case "settings":
		what = "has other settings than the daemon was started with"
	}
	return "the proxy " + what + "; 'segue upgrade' replaces it"
}

// version is the module's as the Go tool stamped it, or the commit's.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}
