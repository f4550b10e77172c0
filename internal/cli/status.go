package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/api"
)

func newStatus(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what runs, what is under way, and the way back",
		Args:  atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := o.json()
			if err != nil {
				return err
			}
			var services []api.ServiceStatus
			if o.service != "" {
				one, err := o.client().Status(cmd.Context(), o.service)
				if err != nil {
					return err
				}
				services = append(services, one)
			} else if services, err = o.client().Services(cmd.Context()); err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return printJSON(out, services)
			}
			if len(services) == 0 {
				fmt.Fprintln(out, "no service yet; 'segue init' and 'segue deploy' make one")
			}
			for i, s := range services {
				if i > 0 {
					fmt.Fprintln(out)
				}
				if err := printStatus(out, s, time.Now()); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&o.service, "service", "s", "", "only this service (default: all)")
	o.addOutput(cmd, "json")
	return cmd
}

func printStatus(out io.Writer, s api.ServiceStatus, now time.Time) error {
	fmt.Fprintf(out, "%s: %s\n", s.Service, headline(s, now))
	if d := s.Deployment; d != nil && d.Reason != "" {
		fmt.Fprintf(out, "  %s: %s\n", d.ID, oneLine(d.Reason))
	}
	if len(s.Queued) > 0 {
		fmt.Fprintf(out, "  waiting in line: %s\n", strings.Join(s.Queued, ", "))
	}
	if s.TrafficError != "" {
		fmt.Fprintf(out, "  the proxy does not answer: %s\n", s.TrafficError)
	}
	if err := printReleases(out, s, now); err != nil {
		return err
	}
	printTraffic(out, s)
	_, err := fmt.Fprintf(out, "  rollback: %s\n", s.WayBack)
	return err
}

func printReleases(out io.Writer, s api.ServiceStatus, now time.Time) error {
	if len(s.Releases) == 0 {
		_, err := fmt.Fprintln(out, "  no release runs")
		return err
	}
	w := tabwriter.NewWriter(out, 2, 8, 2, ' ', 0)
	fmt.Fprintf(w, "  RELEASE\tROLE\tWEIGHT\tINSTANCE\tSTATE\tADDRESS\tSINCE\tRESTARTS\t\n")
	for _, r := range s.Releases {
		role := string(r.Role)
		if !r.WarmUntil.IsZero() {
			role += " until " + clock(now, r.WarmUntil)
		}
		if len(r.Instances) == 0 {
			fmt.Fprintf(w, "  %s\t%s\t%d %%\tnone of %d\t\t\t\t\t\n", r.ID, role, r.Weight, r.Want)
		}
		for _, in := range r.Instances {
			fmt.Fprintf(w, "  %s\t%s\t%d %%\t%s\t%s\t%s\t%s\t%d\t%s\n",
				r.ID, role, r.Weight, in.ID, in.State, in.Target.Address, ago(now, in.Started), in.Restarts, oneLine(in.Message))
		}
	}
	return w.Flush()
}

// headline says in what state the service is.
func headline(s api.ServiceStatus, now time.Time) string {
	d := s.Deployment
	switch {
	case d == nil:
		return "never deployed"
	case !d.Phase.Final():
		return fmt.Sprintf("%s to %s is under way (%s): %s", d.ID, d.Candidate, d.Phase, currentStep(d, now))
	case s.Stable == "":
		return fmt.Sprintf("no stable release; %s %s %s", d.ID, d.Phase, ago(now, d.Finished))
	}
	return fmt.Sprintf("%s is stable; %s %s %s", s.Stable, d.ID, d.Phase, ago(now, d.Finished))
}

func currentStep(d *api.Deployment, now time.Time) string {
	for _, st := range d.Steps {
		if st.Status == api.StepRunning {
			return fmt.Sprintf("%s (since %s)", st, roughly(now.Sub(st.Began)))
		}
	}
	return "about to go on"
}

func printTraffic(out io.Writer, s api.ServiceStatus) {
	if s.Traffic == nil {
		return
	}
	var accepted, lost, errors, retried uint64
	var flight int64
	for _, r := range s.Traffic.Releases {
		accepted += r.Accepted
		lost += r.Failed.Sum()
		errors += r.Answered[5]
		retried += r.Retried
		flight += r.InFlight
	}
	fmt.Fprintf(out, "  requests since the proxy started: %d accepted, %d in flight, %d answered 5xx, %d lost, %d retried\n",
		accepted, flight, errors, lost, retried)
}
