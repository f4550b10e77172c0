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
	var actions bool
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
			if actions {
				return o.actions(cmd, service, asJSON)
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
	cmd.Flags().BoolVar(&actions, "actions", false, "list what was done to it: when, by whom, from where, and why")
	return cmd
}

func (o *options) actions(cmd *cobra.Command, service string, asJSON bool) error {
	actions, err := o.client().Actions(cmd.Context(), service)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), actions)
	}
	return printActions(cmd.OutOrStdout(), actions)
}

func printActions(out io.Writer, actions []api.Action) error {
	w := tabwriter.NewWriter(out, 2, 8, 2, ' ', 0)
	fmt.Fprintln(w, "WHEN\tDEPLOYMENT\tBY\tFROM\tWHAT\tWHY")
	for _, a := range actions {
		deployment := ""
		if a.Deployment > 0 {
			deployment = fmt.Sprintf("d%d", a.Deployment)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", a.At.Local().Format(time.DateTime),
			dash(deployment), dash(a.By), dash(oneLine(a.From)), oneLine(a.What), dash(oneLine(a.Reason)))
	}
	return w.Flush()
}

func printHistory(out io.Writer, h api.History) error {
	w := tabwriter.NewWriter(out, 2, 8, 2, ' ', 0)
	fmt.Fprintln(w, "DEPLOYMENT\tRELEASE\tFROM\tREQUESTED\tTOOK\tBY\tWHY\tEND")
	for _, d := range h.Deployments {
		candidate := d.Candidate
		if d.Kind != api.KindDeploy && d.Kind != "" {
			candidate += fmt.Sprintf(" (%s)", d.Kind)
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
