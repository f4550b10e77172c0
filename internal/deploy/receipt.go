package deploy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/segue-deploy/segue/internal/journal"
	"github.com/segue-deploy/segue/internal/proxy"
)

// Receipt is the account of what happened to every request during a deployment,
// from the proxy's counters.
type Receipt struct {
	Service    string         `json:"service"`
	Deployment string         `json:"deployment"`
	Candidate  string         `json:"candidate"`
	Stable     string         `json:"stable,omitempty"`
	Kind       DeploymentKind `json:"kind"`
	Phase      Phase          `json:"phase"`
	Reason     string         `json:"reason,omitempty"`
	Requested  time.Time      `json:"requested"`
	Began      time.Time      `json:"began,omitzero"`
	Finished   time.Time      `json:"finished,omitzero"`
	Steps      []StepState    `json:"steps"`

	// CountedFrom and CountedTo are when the proxy's counters were read first and last;
	// zero when they could not be.
	CountedFrom time.Time `json:"counted_from,omitzero"`
	CountedTo   time.Time `json:"counted_to,omitzero"`
	// Releases counts requests between Began and Finished, or until the last
	// measurement of a deployment that is under way. Its last entry may have an
	// empty release: requests for which none could be chosen.
	Releases []ReleaseReceipt `json:"releases"`
	// Total is the sum of Releases.
	Total ReleaseReceipt `json:"total"`
	// Drains says how the requests ended that were in flight on a release when
	// its drain began.
	Drains []DrainReceipt `json:"drains,omitempty"`
	// Held counts the requests that waited in a hold, Queued those that waited for an
	// instance with room; their Longest is nearly so when the window was cut by a start
	// of the proxy. Mirror counts copies.
	Held   Waits             `json:"held"`
	Queued Waits             `json:"queued"`
	Mirror proxy.MirrorStats `json:"mirror"`
	// Analysis is what the analysis has found by its end, or by now; nil is nothing.
	Analysis *Finding `json:"analysis,omitempty"`
	// Latency is of all answers of the service.
	Latency LatencyReceipt `json:"latency"`
	// Unknown are sentences on what could not be counted; none means that the
	// counts are whole.
	Unknown []string `json:"unknown,omitempty"`
}

// ReleaseReceipt counts what became of requests. Accepted plus Carried is the sum
// of Answered, Lost, ClientGone, Rerouted, Shed and InFlight, unless the proxy died in
// the window: then Unknown says what is missing.
type ReleaseReceipt struct {
	Release string `json:"release,omitempty"`
	// Accepted is the number of requests accepted in the window, Carried how
	// many were in flight already when it began.
	Accepted uint64 `json:"accepted"`
	Carried  int64  `json:"carried,omitempty"`
	// Answered are whole answers by the first digit of their status.
	Answered [6]uint64 `json:"answered"`
	// FailedByService are answers of class 5xx and answers that broke off in
	// the middle; FailedBySegue are requests that Segue refused, could not hand
	// on, or cut.
	FailedByService uint64         `json:"failed_by_service"`
	FailedBySegue   uint64         `json:"failed_by_segue"`
	Failed          proxy.Failures `json:"failed"`
	// Lost is how many got no whole answer: the sum of Failed.
	Lost       uint64 `json:"lost"`
	ClientGone uint64 `json:"client_gone"`
	Rerouted   uint64 `json:"rerouted,omitempty"`
	// Shed is how many were refused because there was too much to do; they are not
	// lost, as their clients were told to come back.
	Shed uint64 `json:"shed,omitempty"`
	// Retried counts attempts after the first, RetryRefused those that the retry
	// budget didn't allow.
	Retried      uint64 `json:"retried"`
	RetryRefused uint64 `json:"retry_refused,omitempty"`
	// Replayed is how often an instance handed an upload back, which then went to another.
	Replayed uint64 `json:"replayed,omitempty"`
	// InFlight is how many were not over when the window ended.
	InFlight int64 `json:"in_flight"`
	// Drained counts those of the outcomes above that a drain, or the end of a proxy, was
	// about.
	Drained Endings `json:"drained,omitzero"`
	// Departed counts those of Drained whose proxy ended, since it was replaced or shut down.
	Departed Endings `json:"departed,omitzero"`
}

// DrainReceipt is how a release's last requests ended.
type DrainReceipt struct {
	Release string `json:"release"`
	proxy.DrainResult
}

// LatencyReceipt compares the service's latency around a deployment.
type LatencyReceipt struct {
	// Before is up to a minute before the deployment began; During from there
	// until the last shift was in force (or the end, if traffic never moved);
	// After from there to the end.
	Before Latency `json:"before"`
	During Latency `json:"during"`
	After  Latency `json:"after"`
}

// Latency sums up answers of a span of time.
type Latency struct {
	Count uint64        `json:"count"`
	P50   time.Duration `json:"p50"`
	P99   time.Duration `json:"p99"`
	Max   time.Duration `json:"max"`
}

// Waits counts requests that were kept waiting.
type Waits = proxy.HeldStats

// Endings counts how requests ended in a drain, by what they were.
type Endings = proxy.Endings

// Ending counts requests by how they ended.
type Ending = proxy.Ending

// Receipt returns the account of a deployment, 0 for the last. Of one that is
// under way it is the account so far.
func (e *Engine) Receipt(ctx context.Context, name string, number int) (Receipt, error) {
	d, err := e.Deployment(ctx, name, number)
	if err != nil {
		return Receipt{}, err
	}
	records, err := e.cfg.Journal.Read(ctx, journal.Filter{Service: name, Deployment: d.Number})
	if err != nil {
		return Receipt{}, err
	}
	var measured []Measured
	for _, r := range records {
		if r.Kind != (Measured{}).kind() {
			continue
		}
		ev, err := eventOf(r)
		if err != nil {
			return Receipt{}, err
		}
		measured = append(measured, ev.Body.(Measured))
	}
	return receiptOf(name, d, measured), nil
}

// receiptOf is pure.
func receiptOf(service string, d Deployment, measured []Measured) Receipt {
	r := Receipt{
		Service: service, Deployment: d.ID, Candidate: d.Candidate, Stable: d.Stable, Kind: d.Kind,
		Phase: d.Phase, Reason: d.Reason, Requested: d.Requested, Began: d.Began, Finished: d.Finished,
		Steps: d.Steps, Releases: []ReleaseReceipt{}, Analysis: d.Analysis,
	}
	for _, st := range d.Steps {
		if st.Outcome.Drain != nil {
			r.Drains = append(r.Drains, DrainReceipt{st.Release, *st.Outcome.Drain})
		}
	}
	if d.Began.IsZero() {
		return r
	}
	// What was counted first may have been journalled last.
	measured = inOrder(measured)
	began := slices.IndexFunc(measured, func(m Measured) bool { return m.Moment == MomentBegan })
	if began < 0 {
		r.Unknown = append(r.Unknown, "the proxy could not be asked when the deployment began, so nothing was counted")
		return r
	}
	finished := func(m Measured) bool { return m.Moment == MomentFinished }
	if d.Phase.Final() && !slices.ContainsFunc(measured, finished) {
		r.Unknown = append(r.Unknown, "the proxy could not be asked when the deployment ended; counts stop before")
	}
	r.CountedFrom, r.CountedTo = measured[began].TakenAt, measured[len(measured)-1].TakenAt
	r.count(measured[began:])
	r.latency(measured, began)
	return r
}

// inOrder sorts measurements by when they were counted: epochs as they first come, and
// within each by its age. The time of day says nothing of that, since it can be set.
func inOrder(measured []Measured) []Measured {
	epochs := map[string]int{}
	for _, m := range measured {
		if _, known := epochs[m.Epoch]; !known {
			epochs[m.Epoch] = len(epochs)
		}
	}
	return slices.SortedStableFunc(slices.Values(measured), func(a, b Measured) int {
		return cmp.Or(cmp.Compare(epochs[a.Epoch], epochs[b.Epoch]), cmp.Compare(a.Age, b.Age))
	})
}

// count sums what was counted between each two measurements.
func (r *Receipt) count(measured []Measured) {
	releases := map[string]*ReleaseReceipt{}
	var order []string
	of := func(release string) *ReleaseReceipt {
		if releases[release] == nil {
			releases[release] = &ReleaseReceipt{Release: release}
			order = append(order, release)
		}
		return releases[release]
	}
	for _, rs := range measured[0].Stats.Releases {
		of(rs.ID).Carried = rs.InFlight
	}
	for i := 1; i < len(measured); i++ {
		from, to := measured[i-1], measured[i]
		if from.Epoch != to.Epoch {
			r.Unknown = append(r.Unknown, fmt.Sprintf(
				"the proxy was started anew between %s and %s: what its predecessor counted after the first is not known; %s in flight at the first",
				from.TakenAt.Format(time.TimeOnly), to.TakenAt.Format(time.TimeOnly), plural(int(inFlight(from.Stats)), "request")+" were"))
			from = Measured{}
		}
		for _, rs := range to.Stats.Releases {
			of(rs.ID).add(rs.Minus(releaseOf(from.Stats, rs.ID)))
		}
		addWaits(&r.Held, to.Stats.Held.Minus(from.Stats.Held))
		addWaits(&r.Queued, to.Stats.Queued.Minus(from.Stats.Queued))
		r.mirror(to.Stats.Mirror.Minus(from.Stats.Mirror))
	}
	for _, rs := range measured[len(measured)-1].Stats.Releases {
		of(rs.ID).InFlight = rs.InFlight
	}
	slices.SortStableFunc(order, byNumber)
	for _, id := range order {
		c := *releases[id]
		r.Total.sum(c)
		if c != (ReleaseReceipt{Release: id}) {
			r.Releases = append(r.Releases, c)
		}
	}
}

// addWaits adds what has waited in a part of the window. The longest wait is of one before
// the window if none has ended in it.
func addWaits(sum *Waits, d Waits) {
	sum.Now = d.Now
	sum.Total += d.Total
	sum.LetGo += d.LetGo
	sum.Expired += d.Expired
	sum.Gone += d.Gone
	if d.LetGo+d.Expired+d.Gone > 0 {
		sum.Longest = max(sum.Longest, d.Longest)
	}
}

// mirror adds what was copied in a part of the window.
func (r *Receipt) mirror(d proxy.MirrorStats) {
	r.Mirror.Sent += d.Sent
	r.Mirror.Dropped += d.Dropped
	r.Mirror.Failed += d.Failed
	r.Mirror.Same += d.Same
	r.Mirror.Different += d.Different
	r.Mirror.Uncompared += d.Uncompared
}

// add adds what was counted in a part of the window.
func (c *ReleaseReceipt) add(d proxy.ReleaseStats) {
	failed := d.Failed
	c.sum(ReleaseReceipt{
		Accepted:        d.Accepted,
		Answered:        d.Answered,
		FailedByService: d.Answered[5] + failed.Truncated,
		FailedBySegue:   failed.Sum() - failed.Truncated,
		Failed:          failed,
		Lost:            failed.Sum(),
		ClientGone:      d.ClientGone,
		Rerouted:        d.Rerouted,
		Shed:            d.Shed,
		Retried:         d.Retried,
		RetryRefused:    d.RetryRefused,
		Replayed:        d.Replayed,
		Drained:         d.Drained,
		Departed:        d.Departed,
	})
}

func (c *ReleaseReceipt) sum(o ReleaseReceipt) {
	c.Accepted += o.Accepted
	c.Carried += o.Carried
	for i, n := range o.Answered {
		c.Answered[i] += n
	}
	c.FailedByService += o.FailedByService
	c.FailedBySegue += o.FailedBySegue
	c.Failed = c.Failed.Plus(o.Failed)
	c.Lost += o.Lost
	c.ClientGone += o.ClientGone
	c.Rerouted += o.Rerouted
	c.Shed += o.Shed
	c.Retried += o.Retried
	c.RetryRefused += o.RetryRefused
	c.Replayed += o.Replayed
	c.InFlight += o.InFlight
	c.Drained = c.Drained.Plus(o.Drained)
	c.Departed = c.Departed.Plus(o.Departed)
}

// latency divides the window at the last shift that was done.
func (r *Receipt) latency(measured []Measured, began int) {
	shifted := len(measured) - 1
	for i, m := range measured {
		if m.Moment == MomentShifted {
			shifted = i
		}
	}
	r.Latency = LatencyReceipt{
		Before: latencyOver(measured[:began+1]),
		During: latencyOver(measured[began : shifted+1]),
		After:  latencyOver(measured[shifted:]),
	}
}

// latencyOver sums up the answers from the first measurement to the last.
func latencyOver(measured []Measured) Latency {
	var h proxy.Histogram
	for i := 1; i < len(measured); i++ {
		from, to := measured[i-1], measured[i]
		if from.Epoch != to.Epoch {
			from = Measured{}
		}
		for _, rs := range to.Stats.Releases {
			h = h.Plus(rs.Minus(releaseOf(from.Stats, rs.ID)).Latency)
		}
	}
	return Latency{Count: h.Count(), P50: h.Quantile(0.5), P99: h.Quantile(0.99), Max: h.Max()}
}

func releaseOf(stats proxy.ServiceStats, id string) proxy.ReleaseStats {
	for _, r := range stats.Releases {
		if r.ID == id {
			return r
		}
	}
	return proxy.ReleaseStats{ID: id}
}

func inFlight(stats proxy.ServiceStats) int64 {
	var n int64
	for _, r := range stats.Releases {
		n += r.InFlight
	}
	return n
}

// byNumber orders r2 before r10, and the empty name last.
func byNumber(a, b string) int {
	if (a == "") != (b == "") {
		return len(b) - len(a)
	}
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	if a < b {
		return -1
	}
	return 1
}
