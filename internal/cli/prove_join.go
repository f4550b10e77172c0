package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/segue-deploy/segue/internal/api"
	"github.com/segue-deploy/segue/internal/prove"
)

// readingTime is how far the moment at which counters are read may be off.
const readingTime = 50 * time.Millisecond

// proof is what is printed at the end: the clients' count, and what it is held against.
type proof struct {
	URL string `json:"url"`
	prove.Report
	// Log is what the service's log has; nil without --log, or when it can't be read.
	Log *prove.LogReport `json:"log,omitempty"`
	// Joined is nil when no service of a daemon is known to be behind the URL, and
	// then Alone says why.
	Joined *joined `json:"joined,omitempty"`
	Alone  string  `json:"alone,omitempty"`
	// Proved says that nothing is known against it, Against what is.
	Proved  bool     `json:"proved"`
	Against []string `json:"against,omitempty"`
}

// agreement says how two counts of the same requests compare.
type agreement string

const (
	// agree: they are equal, but for requests of which nobody can know.
	agree agreement = "agree"
	// more: the proxy has counted more; others use the service, too.
	more agreement = "more"
	// fewer: the proxy has counted fewer than were answered.
	fewer agreement = "fewer"
	// unknown: the proxy could not be asked, or was started anew meanwhile.
	unknown agreement = "unknown"
)

// joined is what the daemon knows of the same time.
type joined struct {
	Service string `json:"service"`
	// Counted is how many requests the proxy has accepted for the service, Failed how
	// many of them it has lost.
	Counted   uint64    `json:"counted"`
	Failed    uint64    `json:"failed"`
	Agreement agreement `json:"agreement"`
	// Unknown says what could not be counted.
	Unknown []string `json:"unknown,omitempty"`
	// WrongRelease counts, by release, answers of one that was neither stable nor
	// candidate at the time. Unjudged are names in X-Release that are no release's.
	WrongRelease map[string]uint64 `json:"wrong_release,omitempty"`
	Unjudged     []string          `json:"unjudged,omitempty"`
	// Strayed counts clients that went back from the candidate to stable while it was
	// not being taken back. It is only counted with --sticky.
	Strayed []prove.Move `json:"strayed,omitempty"`
	// Deployments are those that there were meanwhile.
	Deployments []overlap `json:"deployments,omitempty"`
	// Slowest says what was under way when the slowest request was sent.
	Slowest string `json:"slowest_while,omitempty"`
}

// overlap is a deployment that there was while the load ran.
type overlap struct {
	ID        string             `json:"id"`
	Candidate string             `json:"candidate"`
	Stable    string             `json:"stable,omitempty"`
	Kind      api.DeploymentKind `json:"kind"`
	Phase     api.Phase          `json:"phase"`
	// Accepted to Held are of its receipt.
	Accepted uint64   `json:"accepted"`
	Lost     uint64   `json:"lost"`
	Retried  uint64   `json:"retried"`
	Held     uint64   `json:"held"`
	Unknown  []string `json:"unknown,omitempty"`
	// Least and Most bound how many requests the clients have sent in its time, which
	// they only know by their own clock. They have lost ClientsLost of them, and the
	// slowest took Slowest.
	Least       uint64        `json:"sent_least"`
	Most        uint64        `json:"sent_most"`
	ClientsLost uint64        `json:"clients_lost"`
	Slowest     time.Duration `json:"slowest"`
	// Partly: its count began before the load, or went on after it.
	Partly    bool      `json:"partly,omitempty"`
	Agreement agreement `json:"agreement"`
}

// account makes the proof when the load is over. What can't be found out stands in it.
func (p *proveOptions) account(ctx context.Context, url string, gen *prove.Generator, w *counterpart) proof {
	result := proof{URL: url, Report: gen.Report(), Alone: w.alone}
	if p.log != "" {
		if log, err := checkLog(gen, p.log); err != nil {
			result.Against = append(result.Against, err.Error())
		} else {
			result.Log = &log
		}
	}
	if w.client != nil {
		j := w.join(ctx, gen, p.sticky, p.clients)
		result.Joined = &j
		if j.Counted == 0 && !w.named && len(j.Unknown) == 0 && result.Sent > 0 {
			result.Joined, result.Alone = nil, fmt.Sprintf("the daemon's service %s has the route, but the daemon's proxy has got none of the requests", w.service)
		}
	}
	result.judge()
	return result
}

func checkLog(gen *prove.Generator, path string) (prove.LogReport, error) {
	f, err := os.Open(path)
	if err != nil {
		return prove.LogReport{}, fmt.Errorf("--log: %w", err)
	}
	defer f.Close()
	return gen.CheckLog(f)
}

// join asks the daemon for its side of the story.
func (w *counterpart) join(ctx context.Context, gen *prove.Generator, sticky bool, clients int) joined {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	report := gen.Report()
	err := w.askAtLast(ctx)
	j := joined{Service: w.service, Counted: w.count.sum().accepted, Failed: w.count.sum().failed, Unknown: w.count.unknown}
	j.Agreement = compare(report, j.Counted, err != nil || len(j.Unknown) > 0)
	if err == nil {
		err = j.deployments(ctx, w, gen, report, sticky, clients)
	}
	if err != nil {
		j.Unknown = append(j.Unknown, fmt.Sprintf("the daemon could not be asked at the end: %v", err))
	}
	return j
}

// askAtLast takes the last count. A daemon that is away is waited for.
func (w *counterpart) askAtLast(ctx context.Context) error {
	for {
		err := w.ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(lookEvery / 5):
		case <-ctx.Done():
			return err
		}
	}
}

// deployments adds those that there were meanwhile, and judges by them who answered.
func (j *joined) deployments(ctx context.Context, w *counterpart, gen *prove.Generator, report prove.Report, sticky bool, clients int) error {
	history, err := w.client.History(ctx, w.service)
	if err != nil {
		return err
	}
	j.releases(gen, report, history, sticky)
	end := report.Started.Add(report.Elapsed)
	for _, d := range history.Deployments {
		if d.Began.IsZero() || d.Began.After(end) || !d.Finished.IsZero() && d.Finished.Before(report.Started) {
			continue
		}
		receipt, err := w.client.Receipt(ctx, w.service, d.ID)
		if err != nil {
			return err
		}
		j.Deployments = append(j.Deployments, overlapOf(gen, report, receipt, clients))
		if at := report.Slowest.At; !at.Before(d.Began) && (d.Finished.IsZero() || at.Before(d.Finished)) {
			j.Slowest = doing(d.ID, receipt.Steps, func(st api.StepState) bool {
				return !st.Began.IsZero() && !at.Before(st.Began) && (st.Ended.IsZero() || at.Before(st.Ended))
			})
		}
	}
	return nil
}

// compare holds the proxy's count against the clients'. Of a lost request the proxy may
// know or not.
func compare(r prove.Report, counted uint64, incomplete bool) agreement {
	switch {
	case incomplete:
		return unknown
	case counted < r.Sent-r.Lost:
		return fewer
	case counted > r.Sent:
		return more
	}
	return agree
}

// releases judges who answered.
func (j *joined) releases(gen *prove.Generator, report prove.Report, history api.History, sticky bool) {
	known := map[string]bool{"": true}
	for _, r := range history.Releases {
		known[r.ID] = true
	}
	for _, r := range report.Releases {
		if !known[r.ID] {
			j.Unjudged = append(j.Unjudged, r.ID)
		}
	}
	for release, n := range gen.Outside(mayAnswer(history.Deployments)) {
		if known[release] {
			if j.WrongRelease == nil {
				j.WrongRelease = map[string]uint64{}
			}
			j.WrongRelease[release] = n
		}
	}
	if sticky {
		j.Strayed = gen.MovesWithin(mayNotMove(history.Deployments))
	}
}

// mayAnswer are the times in which each release is stable or candidate.
func mayAnswer(all []api.Deployment) []prove.Window {
	all = slices.DeleteFunc(slices.Clone(all), func(d api.Deployment) bool { return d.Began.IsZero() })
	slices.SortFunc(all, func(a, b api.Deployment) int { return cmp.Or(a.Began.Compare(b.Began), a.Number-b.Number) })
	var windows []prove.Window
	stable, since := "", time.Time{}
	for _, d := range all {
		if stable == "" {
			stable = d.Stable
		}
		windows = append(windows,
			prove.Window{Release: stable, Begin: since, End: d.Began},
			prove.Window{Release: d.Stable, Begin: d.Began, End: d.Finished},
			prove.Window{Release: d.Candidate, Begin: d.Began, End: d.Finished})
		stable, since = d.Stable, d.Finished
		if d.Phase == api.PhasePromoted {
			stable = d.Candidate
		}
		if !d.Phase.Final() {
			return windows
		}
	}
	return append(windows, prove.Window{Release: stable, Begin: since})
}

// mayNotMove are the times in which no client goes back from candidate to stable: from a
// deployment's begin until the candidate is taken back, or is stable itself.
func mayNotMove(all []api.Deployment) []prove.Window {
	var windows []prove.Window
	for _, d := range all {
		if d.Began.IsZero() || d.Stable == "" || d.Stable == d.Candidate {
			continue
		}
		end := d.Finished
		for _, st := range d.Steps {
			if st.Back && !st.Began.IsZero() {
				end = st.Began
				break
			}
		}
		windows = append(windows, prove.Window{From: d.Candidate, Release: d.Stable, Begin: d.Began, End: end})
	}
	return windows
}

// overlapOf compares a receipt with what the clients sent in its time, as nearly as they
// know it.
func overlapOf(gen *prove.Generator, report prove.Report, r api.Receipt, clients int) overlap {
	o := overlap{
		ID: r.Deployment, Candidate: r.Candidate, Stable: r.Stable, Kind: r.Kind, Phase: r.Phase,
		Accepted: r.Total.Accepted - r.Total.Rerouted, Lost: r.Total.Lost, Retried: r.Total.Retried, Held: r.Held.Total, Unknown: r.Unknown,
	}
	if r.CountedFrom.IsZero() {
		o.Agreement = unknown
		return o
	}
	o.Partly = r.CountedFrom.Before(report.Started) || r.CountedTo.After(report.Started.Add(report.Elapsed))
	// Each client may have had one request on its way at either end.
	inner := gen.During(r.CountedFrom.Add(readingTime), r.CountedTo.Add(-readingTime))
	outer := gen.During(r.CountedFrom.Add(-readingTime), r.CountedTo.Add(readingTime))
	o.Least, o.Most = inner.Least-min(inner.Least, uint64(clients)), outer.Most+uint64(clients)
	o.ClientsLost, o.Slowest = outer.Lost, outer.Slowest
	switch {
	case len(r.Unknown) > 0:
		o.Agreement = unknown
	case o.Accepted+report.Lost < o.Least:
		o.Agreement = fewer
	case o.Accepted > o.Most:
		o.Agreement = more
	default:
		o.Agreement = agree
	}
	return o
}

// judge lists what is known against the proof.
func (p *proof) judge() {
	against := func(n uint64, format string) {
		if n > 0 {
			p.Against = append(p.Against, fmt.Sprintf(format, n))
		}
	}
	if p.Sent == 0 {
		p.Against = append(p.Against, "no request was sent")
	}
	against(p.Lost, "%d lost")
	against(p.Wrong, "%d answered wrongly")
	against(p.Duplicated, "%d duplicated")
	if p.Log != nil {
		against(p.Log.Duplicated, "%d more than once in the service's log")
	}
	if j := p.Joined; j != nil {
		var wrong, strayed uint64
		for _, n := range j.WrongRelease {
			wrong += n
		}
		for _, m := range j.Strayed {
			strayed += m.Count
		}
		against(wrong, "%d answered by the wrong release")
		against(strayed, "%d times a client went back to stable")
		if j.Agreement == fewer {
			p.Against = append(p.Against, "the proxy counted fewer than the clients")
		}
		for _, d := range j.Deployments {
			if d.Agreement == fewer {
				p.Against = append(p.Against, fmt.Sprintf("the receipt of %s has fewer than the clients", d.ID))
			}
		}
	}
	p.Proved = len(p.Against) == 0
}
