package cli

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/api"
)

func newHistory(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "history",
		Short: "List a service's deployments and releases",
		Args:  atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := o.json()
			if err != nil {
				return err
			}
			service, err := o.serviceName(cmd.Context())
			if err != nil {
				return err
			}
			h, err := o.client().History(cmd.Context(), service)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), h)
			}
			return printHistory(cmd.OutOrStdout(), h)
		},
	}
	o.addService(cmd)
	o.addOutput(cmd, "json")
	return cmd
}

func printHistory(out io.Writer, h api.History) error {
	w := tabwriter.NewWriter(out, 2, 8, 2, ' ', 0)
	fmt.Fprintln(w, "DEPLOYMENT\tRELEASE\tFROM\tREQUESTED\tTOOK\tBY\tWHY\tEND")
	for _, d := range h.Deployments {
		candidate := d.Candidate
		if d.Rollback {
			candidate += " (rollback)"
		}
		took := ""
		if !d.Finished.IsZero() {
			took = rough(d.Finished.Sub(d.Requested))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s%s\n", d.ID, candidate, dash(d.Stable),
			d.Requested.Local().Format(time.DateTime), dash(took), dash(d.By), dash(oneLine(d.Why)), d.Phase, because(d.Reason))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	w = tabwriter.NewWriter(out, 2, 8, 2, ' ', 0)
	fmt.Fprintln(w, "RELEASE\tPROMOTED\tBOOT\tCREATED\tARTIFACT")
	for _, r := range h.Releases {
		where := short(r.Artifact)
		if r.Collected {
			where += " (collected)"
		}
		boot := "-"
		if r.Booted > 0 {
			boot = rough(r.Booted)
		}
		fmt.Fprintf(w, "%s\t%d×\t%s\t%s\t%s\n", r.ID, r.Promotions, boot, r.Created.Local().Format(time.DateTime), where)
	}
	return w.Flush()
}

// short is enough of a digest to tell it from others.
func short(digest string) string { return digest[:min(len(digest), len("sha256:")+12)] }
