package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/segue-deploy/segue/internal/prove"
)

// maxShown is how many failures are shown to a person; the JSON has more of them.
const maxShown = 5

// progress says from time to time how a load goes: one line that changes on a terminal,
// and one after another elsewhere.
type progress struct {
	out    io.Writer
	screen *screen // nil when it is no terminal
	last   prove.Report
}

func newProgress(out io.Writer) *progress {
	p := &progress{out: out}
	if s, ok := terminalOf(out); ok {
		p.screen = s
	}
	return p
}

func (p *progress) say(now prove.Report, under string) {
	line := progressLine(p.last, now, under, time.Now())
	p.last = now
	if p.screen == nil {
		fmt.Fprintln(p.out, line)
		return
	}
	_, height := p.screen.size()
	p.screen.draw([]string{line}, height)
}

// end says the last of a line that changes.
func (p *progress) end(now prove.Report, under string) {
	if p.screen != nil {
		p.say(now, under)
	}
}

// progressLine is what came between two reports.
func progressLine(last, now prove.Report, under string, at time.Time) string {
	rate := 0.0
	if took := now.Elapsed - last.Elapsed; took > 0 {
		rate = float64(now.Ended()-last.Ended()) / took.Seconds()
	}
	line := fmt.Sprintf("%s  %5.0f/s  %d sent: %s", at.Format(time.TimeOnly), rate, now.Sent, countsText(now.Counts))
	if now.InFlight > 0 {
		line += fmt.Sprintf(", %d in flight", now.InFlight)
	}
	if who := answeredBy(last, now); who != "" {
		line += "  by " + who
	}
	if under != "" {
		line += "  " + under
	}
	return line
}

// answeredBy are the shares of the releases in the answers between two reports.
func answeredBy(last, now prove.Report) string {
	before := map[string]uint64{}
	for _, r := range last.Releases {
		before[r.ID] = r.Ended()
	}
	total := uint64(0)
	var parts []string
	for _, r := range now.Releases {
		if r.ID != "" {
			total += r.Ended() - before[r.ID]
		}
	}
	for _, r := range now.Releases {
		if n := r.Ended() - before[r.ID]; r.ID != "" && n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d %%", oneLine(r.ID), (n*100+total/2)/total))
		}
	}
	return strings.Join(parts, ", ")
}

// printProof is the report at the end; its last line is the verdict.
func printProof(out io.Writer, p proof) error {
	rate := 0.0
	if p.Elapsed > 0 {
		rate = float64(p.Sent) / p.Elapsed.Seconds()
	}
	fmt.Fprintf(out, "proof of %s: %s in %s (%.0f/s) on %s\n", p.URL, count(int(p.Sent), "request"), rough(p.Elapsed), rate, count(int(p.Connections), "connection"))
	for _, k := range slices.Sorted(maps.Keys(p.Kinds)) {
		fmt.Fprintf(out, "  %s: %s\n", k, countsText(p.Kinds[k]))
	}
	printProofReleases(out, p.Report)
	if l := p.Latency; l.Count > 0 {
		fmt.Fprintf(out, "  latency: p50 %s, p99 %s, p99.9 %s\n", rough(l.P50), rough(l.P99), rough(l.P999))
		fmt.Fprintf(out, "  slowest: %s, %s %s at %s%s\n", rough(p.Slowest.Took), p.Slowest.Kind, p.Slowest.ID,
			p.Slowest.At.Local().Format("15:04:05.000"), slowestWhile(p))
	}
	if p.IdleClosed+p.IdleReset > 0 {
		fmt.Fprintf(out, "  kept connections that the server ended between two requests: %d closed, %d reset\n", p.IdleClosed, p.IdleReset)
	}
	printFailures(out, p.Report)
	printChecks(out, p)
	printJoined(out, p)
	verdict := "proved: "
	if !p.Proved {
		verdict = "NOT proved: "
	}
	_, err := fmt.Fprintf(out, "%s%s\n", verdict, conclusion(p))
	return err
}

// countsText leaves out what there is none of.
func countsText(c prove.Counts) string {
	text := fmt.Sprintf("%d ok", c.OK)
	for _, other := range []struct {
		n    uint64
		name string
	}{{c.Lost, "lost"}, {c.Wrong, "wrong"}, {c.Duplicated, "duplicated"}, {c.ServiceError, "errors of the service"}, {c.Shed, "shed"}} {
		if other.n > 0 {
			text += fmt.Sprintf(", %d %s", other.n, other.name)
		}
	}
	return text
}

func slowestWhile(p proof) string {
	text := ""
	if p.Slowest.Release != "" {
		text = ", by " + oneLine(p.Slowest.Release)
	}
	if p.Joined != nil && p.Joined.Slowest != "" {
		text += ", while " + p.Joined.Slowest
	}
	return text
}

func printProofReleases(out io.Writer, r prove.Report) {
	for _, release := range r.Releases {
		var classes []string
		for class, n := range release.Answered {
			if n > 0 {
				classes = append(classes, fmt.Sprintf("%d %dxx", n, class))
			}
		}
		if len(classes) == 0 {
			continue
		}
		name := "by " + oneLine(release.ID)
		if release.ID == "" {
			name = "answers without " + prove.HeaderRelease
		}
		fmt.Fprintf(out, "  %s: %s\n", name, strings.Join(classes, ", "))
	}
}

func printFailures(out io.Writer, r prove.Report) {
	for _, c := range slices.Sorted(maps.Keys(r.Causes)) {
		fmt.Fprintf(out, "  %s: %d\n", c, r.Causes[c])
	}
	shown := min(len(r.Failures), maxShown)
	for _, f := range r.Failures[:shown] {
		fmt.Fprintf(out, "    %s\n", oneLine(f.String()))
	}
	if more := r.Ended() - r.OK - uint64(shown); more > 0 {
		fmt.Fprintf(out, "    … and %d more\n", more)
	}
}

// printChecks says what the service lets be checked.
func printChecks(out io.Writer, p proof) {
	if p.Echoed > 0 {
		fmt.Fprintf(out, "  its own answer: %d of %d had the request's ID\n", p.Echoed, p.Ended()-p.Lost-p.Shed)
	} else {
		fmt.Fprintf(out, "  not checked: whether each answer is the request's own (no answer had %s)\n", prove.HeaderID)
	}
	again := func(repeated uint64) string {
		if repeated == 0 {
			return ""
		}
		return fmt.Sprintf("; %d were sent again, as they may be", repeated)
	}
	if p.Seen > 0 {
		fmt.Fprintf(out, "  duplicates: %d, of %d that an instance has counted%s\n", p.Duplicated, p.Seen, again(p.Repeated))
	}
	if l := p.Log; l != nil {
		fmt.Fprintf(out, "  the service's log: %d of %d requests, %d more than once%s; %d answered and not there\n", l.Logged, p.Sent, l.Duplicated, again(l.Repeated), l.Missing)
		for _, id := range l.Examples {
			fmt.Fprintf(out, "    more than once: %s\n", id)
		}
	}
	if p.Seen == 0 && p.Log == nil {
		fmt.Fprintf(out, "  not checked: duplicates (no answer had %s, and there is no --log)\n", prove.HeaderSeen)
	}
}

// printJoined says what the daemon says.
func printJoined(out io.Writer, p proof) {
	j := p.Joined
	if j == nil {
		fmt.Fprintf(out, "  not held against the proxy's count: %s\n", oneLine(p.Alone))
		return
	}
	fmt.Fprintf(out, "  %s: the clients sent %s, the proxy counted %d accepted%s\n", j.Service, count(int(p.Sent), "request"), j.Counted, agreementText(j, p.Report))
	for _, u := range j.Unknown {
		fmt.Fprintf(out, "    not known: %s\n", oneLine(u))
	}
	for _, d := range j.Deployments {
		printOverlap(out, d)
	}
	if len(j.Unjudged) > 0 {
		fmt.Fprintf(out, "  not checked: the release of answers by %s, which is no release of %s\n", oneLine(strings.Join(j.Unjudged, ", ")), j.Service)
	}
	for _, release := range slices.Sorted(maps.Keys(j.WrongRelease)) {
		fmt.Fprintf(out, "  wrong release: %d answers by %s when it was neither stable nor candidate\n", j.WrongRelease[release], release)
	}
	for _, m := range j.Strayed {
		fmt.Fprintf(out, "  sticky: clients went back from %s to %s, %d times\n", m.From, m.To, m.Count)
	}
}

func agreementText(j *joined, r prove.Report) string {
	switch j.Agreement {
	case agree:
		if j.Counted != r.Sent {
			return fmt.Sprintf(": they agree, but for %d lost on the way there", r.Sent-j.Counted)
		}
		return ": they agree"
	case more:
		return fmt.Sprintf(": %d more, of other clients if there were any", j.Counted-r.Sent)
	case fewer:
		return ": they do NOT agree; do all of them go through this proxy?"
	}
	return ": they can't be compared"
}

func printOverlap(out io.Writer, d overlap) {
	text := map[agreement]string{agree: "they agree", more: "the others are of other clients", fewer: "they do NOT agree", unknown: "they can't be compared"}[d.Agreement]
	if d.Partly && d.Agreement == more {
		text += ", or from a time without this load"
	}
	held := ""
	if d.Held > 0 {
		held = fmt.Sprintf(", %d held", d.Held)
	}
	fmt.Fprintf(out, "  %s (%s, %s): its receipt has %d accepted, %d lost, %d retried%s; the clients sent between %d and %d in its time and lost %d, and the slowest took %s: %s\n",
		d.ID, d.Candidate, d.Phase, d.Accepted, d.Lost, d.Retried, held, d.Least, d.Most, d.ClientsLost, rough(d.Slowest), text)
	for _, u := range d.Unknown {
		fmt.Fprintf(out, "    not known: %s\n", oneLine(u))
	}
}

// conclusion is the verdict in one line.
func conclusion(p proof) string {
	text := fmt.Sprintf("lost %d of %s", p.Lost, count(int(p.Sent), "request"))
	if p.Seen > 0 || p.Log != nil {
		text += fmt.Sprintf(", %d duplicated", p.Duplicated)
	}
	for _, a := range p.Against {
		if !strings.HasSuffix(a, " lost") && !strings.HasSuffix(a, " duplicated") {
			text += ", " + a
		}
	}
	if p.ServiceError > 0 {
		text += fmt.Sprintf("; %d errors of the service itself", p.ServiceError)
	}
	if p.Shed > 0 {
		text += fmt.Sprintf("; %d shed, as the service had more to do than it may", p.Shed)
	}
	return text
}
