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

func newReceipt(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "receipt [dN]",
		Short: "Account for every request during a deployment (default: the last)",
		Args:  atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := o.json()
			if err != nil {
				return err
			}
			service, err := o.serviceName(cmd.Context())
			if err != nil {
				return err
			}
			r, err := o.client().Receipt(cmd.Context(), service, optional(args))
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), r)
			}
			return printReceipt(cmd.OutOrStdout(), r)
		},
	}
	o.addService(cmd)
	o.addOutput(cmd, "json")
	return cmd
}

func printReceipt(out io.Writer, r api.Receipt) error {
	fmt.Fprintf(out, "receipt of %s %s: %s", r.Service, r.Deployment, goal(api.Deployment{Candidate: r.Candidate, Kind: r.Kind}))
	if r.Stable != "" {
		fmt.Fprintf(out, " (stable was %s)", r.Stable)
	}
	fmt.Fprintf(out, ": %s\n", ended(r))
	if !r.Finished.IsZero() {
		fmt.Fprintf(out, "  %s to %s (%s)\n", r.Requested.Local().Format(time.DateTime), r.Finished.Local().Format(time.TimeOnly), rough(r.Finished.Sub(r.Requested)))
	}
	printSteps(out, r)
	if err := printCounts(out, r); err != nil {
		return err
	}
	for _, d := range r.Drains {
		fmt.Fprintf(out, "  drain of %s: %s\n", d.Release, drained(d))
		printEndings(out, d.By)
	}
	if e := r.Total.Departed; e != (api.Endings{}) {
		fmt.Fprintf(out, "  end of a proxy that was replaced or shut down: %s\n", endings(e.Sum()))
		printEndings(out, e)
	}
	printHeld(out, r)
	printOverload(out, r)
	if err := printLatency(out, r); err != nil {
		return err
	}
	printAnalysis(out, r.Analysis)
	for _, u := range r.Unknown {
		fmt.Fprintf(out, "  not known: %s\n", u)
	}
	// Two releases have accepted one that was rerouted.
	_, err := fmt.Fprintf(out, "  lost %d of %d requests%s\n", r.Total.Lost, r.Total.Accepted-r.Total.Rerouted, certainty(r))
	return err
}

// printHeld says what became of requests that waited, and of copies.
func printHeld(out io.Writer, r api.Receipt) {
	printWaited(out, "held", r.Held)
	printWaited(out, "queued", r.Queued)
	if m := r.Mirror; m.Sent+m.Dropped > 0 {
		fmt.Fprintf(out, "  mirror: %s of requests sent: %d answered the same, %d differently, %d failed, %d not compared; %d dropped\n",
			copies(m.Sent), m.Same, m.Different, m.Failed, m.Uncompared, m.Dropped)
	}
}

// printOverload says what was not done so that nobody has more to do than is good, and what
// had to be done again.
func printOverload(out io.Writer, r api.Receipt) {
	if n := r.Total.Shed; n > 0 {
		fmt.Fprintf(out, "  shed: %s (503 with Retry-After), as the instances had as much to do as they may\n", count(int(n), "request"))
	}
	if n := r.Total.RetryRefused; n > 0 {
		retries := "1 retry was"
		if n > 1 {
			retries = fmt.Sprintf("%d retries were", n)
		}
		fmt.Fprintf(out, "  retry budget spent: %s not made\n", retries)
	}
	if n := r.Total.Replayed; n > 0 {
		fmt.Fprintf(out, "  replayed: %s that an instance handed back when it was stopped\n", count(int(n), "upload"))
	}
}

func printWaited(out io.Writer, how string, w api.Waits) {
	if w.Total == 0 {
		return
	}
	fmt.Fprintf(out, "  %s: %s, the longest for %s: %d went on, %d expired, %d client gone",
		how, count(int(w.Total), "request"), rough(w.Longest), w.LetGo, w.Expired, w.Gone)
	if w.Now > 0 {
		fmt.Fprintf(out, ", %d still wait", w.Now)
	}
	fmt.Fprintln(out)
}

func copies(n uint64) string {
	if n == 1 {
		return "1 copy"
	}
	return fmt.Sprintf("%d copies", n)
}

// drained is how the requests ended that were in flight when a drain began.
func drained(d api.DrainReceipt) string {
	if d.InFlight == 0 {
		return "nothing was in flight"
	}
	left := ""
	if d.Left > 0 {
		left = fmt.Sprintf(", %d left to be handed back", d.Left)
	}
	return fmt.Sprintf("%d in flight: %s%s, after %s", d.InFlight, endings(d.By.Sum()), left, rough(d.Waited))
}

func endings(e api.Ending) string {
	told := ""
	if e.Told > 0 {
		told = fmt.Sprintf("%d told and went, ", e.Told)
	}
	return fmt.Sprintf("%d finished, %s%d cut", e.Finished, told, e.Cut)
}

// printEndings tells apart what has ended, if there was more than answers.
func printEndings(out io.Writer, e api.Endings) {
	if e == (api.Endings{Answers: e.Answers}) {
		return
	}
	for _, row := range []struct {
		name string
		e    api.Ending
	}{{"answers", e.Answers}, {"streams", e.Streams}, {"WebSockets", e.WebSockets}, {"tunnels", e.Tunnels}} {
		if row.e != (api.Ending{}) {
			fmt.Fprintf(out, "    %s: %s\n", row.name, endings(row.e))
		}
	}
}

// ended is how the deployment ended; an abort's reason says "aborted by …".
func ended(r api.Receipt) string {
	if r.Phase == api.PhaseAborted && r.Reason != "" {
		return oneLine(r.Reason)
	}
	return string(r.Phase) + because(r.Reason)
}

// certainty says what stands in the way of the last word.
func certainty(r api.Receipt) string {
	switch {
	case len(r.Unknown) > 0:
		return ", as far as is known"
	case !r.Phase.Final():
		return " so far"
	}
	return ""
}

func printSteps(out io.Writer, r api.Receipt) {
	for _, st := range r.Steps {
		mark := map[api.Status]string{api.StepDone: "✓", api.StepFailed: "✗", api.StepSkipped: "-", api.StepRunning: "▸"}[st.Status]
		at := "        "
		took := ""
		if !st.Began.IsZero() {
			at = st.Began.Local().Format(time.TimeOnly)
		}
		if !st.Ended.IsZero() {
			took = " in " + rough(st.Ended.Sub(st.Began))
		}
		back := ""
		if st.Back {
			back = "back: "
		}
		fmt.Fprintf(out, "  %s %s %s%s%s%s\n", at, dash(mark), back, st, took, because(st.Outcome.Message))
	}
}

func printCounts(out io.Writer, r api.Receipt) error {
	if len(r.Releases) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 2, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "  requests\tcarried\taccepted\t2xx\t3xx\t4xx\t5xx\tupgraded\tlost\tby service\tby segue\tclient gone\tretried\tin flight\t")
	rows := r.Releases
	if len(rows) != 1 {
		total := r.Total
		total.Release = "all"
		rows = append(rows, total)
	}
	for _, c := range rows {
		name := c.Release
		if name == "" {
			name = "no release"
		}
		fmt.Fprintf(w, "  %s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", name, c.Carried, c.Accepted,
			c.Answered[2], c.Answered[3], c.Answered[4], c.Answered[5], c.Answered[1],
			c.Lost, c.FailedByService, c.FailedBySegue, c.ClientGone, c.Retried, c.InFlight)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if r.Total.Lost > 0 {
		fmt.Fprintf(out, "  lost: %s\n", causes(r.Total))
	}
	return nil
}

// causes lists why requests were lost.
func causes(c api.ReleaseReceipt) string {
	f := c.Failed
	var parts []string
	for _, cause := range []struct {
		n    uint64
		text string
	}{
		{f.Unavailable, "no healthy instance (503)"},
		{f.Connect, "no connection to an instance (502)"},
		{f.Broken, "broken off before the answer began (502)"},
		{f.Timeout, "no answer in time (504)"},
		{f.Truncated, "answer broken off in the middle"},
		{f.Cut, "cut at the end of a drain"},
		{f.Held, "held for too long, or one too many (503)"},
	} {
		if cause.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", cause.n, cause.text))
		}
	}
	return strings.Join(parts, ", ")
}

func printLatency(out io.Writer, r api.Receipt) error {
	if r.Latency == (api.Receipt{}).Latency {
		return nil
	}
	w := tabwriter.NewWriter(out, 2, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "  latency\tanswers\tp50\tp99\tmax\t")
	for _, row := range []struct {
		name string
		l    api.Latency
	}{{"before", r.Latency.Before}, {"during", r.Latency.During}, {"after", r.Latency.After}} {
		if row.l.Count == 0 {
			fmt.Fprintf(w, "  %s\t0\t-\t-\t-\t\n", row.name)
			continue
		}
		fmt.Fprintf(w, "  %s\t%d\t%s\t%s\t%s\t\n", row.name, row.l.Count, rough(row.l.P50), rough(row.l.P99), rough(row.l.Max))
	}
	return w.Flush()
}

// printAnalysis says what an analysis has found; nil is nothing.
func printAnalysis(out io.Writer, f *api.Finding) {
	if f == nil {
		return
	}
	fmt.Fprintf(out, "  analysis: %s\n", oneLine(f.String()))
	for _, m := range f.Report.Metrics {
		fmt.Fprintf(out, "    %s\n", m)
	}
	for _, c := range f.Checks {
		fmt.Fprintf(out, "    %s: %s%s\n", c.Name, c.Verdict, because(c.Found))
	}
	for _, w := range f.Report.Warnings {
		fmt.Fprintf(out, "    warning: %s\n", w)
	}
}
