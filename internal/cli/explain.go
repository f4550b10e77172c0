package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/api"
)

func newExplain(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain [SERVICE|dN]",
		Short: "Say what a service or deployment waits for, until when, and what moves it on",
		Args:  atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := o.json()
			if err != nil {
				return err
			}
			id := optional(args)
			if id != "" && !isDeployment(id) {
				if err := o.nameService(cmd, args); err != nil {
					return fmt.Errorf("%w; a deployment is named d1, d2, …", err)
				}
				id = ""
			}
			service, err := o.serviceName(cmd.Context())
			if err != nil {
				return err
			}
			return explain(cmd.Context(), cmd.OutOrStdout(), o.client(), service, id, asJSON)
		},
	}
	o.addService(cmd)
	o.addOutput(cmd, "json")
	return cmd
}

// isDeployment tells the name of a deployment from that of a service.
func isDeployment(id string) bool {
	n, named := strings.CutPrefix(id, "d")
	_, err := strconv.ParseUint(n, 10, 32)
	return named && err == nil
}

// explain says what a service waits for or, if an ID is given, a deployment of it.
func explain(ctx context.Context, out io.Writer, client *api.Client, service, id string, asJSON bool) error {
	rest, err := atRest(ctx, client, service, id)
	if err != nil {
		return err
	}
	waits, err := client.Explain(ctx, service)
	if err != nil {
		return err
	}
	if id != "" {
		waits = slices.DeleteFunc(waits, func(w api.Wait) bool { return w.Deployment != id })
	}
	switch {
	case asJSON:
		return printJSON(out, waits)
	case len(waits) == 0:
		_, err := fmt.Fprintln(out, rest)
		return err
	}
	printWaits(out, service, waits, time.Now())
	return nil
}

// atRest says where things stand when nothing is waited for.
func atRest(ctx context.Context, client *api.Client, service, id string) (string, error) {
	if id == "" {
		status, err := client.Status(ctx, service)
		return fmt.Sprintf("%s: nothing is waited for; %s", service, headline(status, time.Now())), err
	}
	d, err := client.Deployment(ctx, service, id)
	if err != nil || !d.Phase.Final() {
		return fmt.Sprintf("%s %s is between two steps", service, id), err
	}
	return verdict(service, d), nil
}

// printWaits says of each wait what, since when, until when, what then, and what to
// type.
func printWaits(out io.Writer, service string, waits []api.Wait, now time.Time) {
	for _, w := range waits {
		fmt.Fprintf(out, "%s: %s\n", service, oneLine(w.What))
		if !w.Since.IsZero() {
			fmt.Fprintf(out, "  since: %s (%s)\n", clock(now, w.Since), ago(now, w.Since))
		}
		if !w.Until.IsZero() {
			fmt.Fprintf(out, "  until: %s (%s)\n", clock(now, w.Until), left(now, w.Until))
		}
		if w.Then != "" {
			fmt.Fprintf(out, "  then:  %s\n", w.Then)
		}
		if w.Command != "" {
			fmt.Fprintf(out, "  to move it on: %s\n", w.Command)
		}
		if w.End != "" {
			fmt.Fprintf(out, "  to end it: %s\n", w.End)
		}
	}
}

// left is how long it is until a time.
func left(now, t time.Time) string {
	d := t.Sub(now)
	if d <= 0 {
		return "due"
	}
	return "in " + coarse(d.Round(time.Second))
}
