package prove

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Report is what the client counted. At any time
//
//	Sent = OK + Lost + Wrong + Duplicated + ServiceError + Shed + InFlight
//
// holds, and InFlight is 0 after Run has returned.
type Report struct {
	Started time.Time     `json:"started"`
	Elapsed time.Duration `json:"elapsed"`

	Sent     uint64 `json:"sent"`
	InFlight uint64 `json:"in_flight"`
	// Counts are of the requests that have ended.
	Counts
	Kinds map[Kind]Counts `json:"kinds"`
	// Releases are ordered by ID. The one with an empty ID has the requests
	// whose answer named no release, or that had none.
	Releases []ReleaseReport `json:"releases"`
	// Echoed is how many answers gave the request's ID back, and so are known to be
	// its answers. Seen is how many said how often the service has got the request,
	// Repeated how many of these said more than once of one that may be sent again.
	Echoed   uint64 `json:"echoed"`
	Seen     uint64 `json:"seen"`
	Repeated uint64 `json:"repeated"`
	// Moves counts how often a client was answered by another release than the
	// time before; they are ordered by From and To.
	Moves []Move `json:"moves,omitempty"`
	// Causes counts the [Failure.Cause] of all failures.
	Causes map[string]uint64 `json:"causes"`

	// Connections is how many were made; IdleClosed and IdleReset how many the
	// server ended between two requests, cleanly and not, without having
	// announced it.
	Connections uint64 `json:"connections"`
	IdleClosed  uint64 `json:"idle_closed"`
	IdleReset   uint64 `json:"idle_reset"`

	// Latency is from before the connection is made to the end of the answer, of
	// the requests that got a whole answer and were not slow on purpose.
	Latency Latency `json:"latency"`
	Slowest Slowest `json:"slowest"`
	// Failures are the first Config.KeepFailures.
	Failures []Failure `json:"failures,omitempty"`
}

// Counts are numbers of requests by [Outcome].
type Counts struct {
	OK           uint64 `json:"ok"`
	Lost         uint64 `json:"lost"`
	Wrong        uint64 `json:"wrong"`
	Duplicated   uint64 `json:"duplicated"`
	ServiceError uint64 `json:"service_error"`
	Shed         uint64 `json:"shed"`
}

// Ended is the number of all.
func (c Counts) Ended() uint64 {
	return c.OK + c.Lost + c.Wrong + c.Duplicated + c.ServiceError + c.Shed
}

func (c *Counts) add(o Outcome) {
	switch o {
	case OK:
		c.OK++
	case Lost:
		c.Lost++
	case Wrong:
		c.Wrong++
	case Duplicated:
		c.Duplicated++
	case ServiceError:
		c.ServiceError++
	case Shed:
		c.Shed++
	}
}

// ReleaseReport counts the requests that one release answered, or began to.
type ReleaseReport struct {
	ID string `json:"id"`
	Counts
	// Answered counts the answers that came whole, by the first digit of their
	// status.
	Answered [10]uint64 `json:"answered"`
}

// Move is a change of the release that answers a client. A client that is kept at
// its release moves only when the weights do.
type Move struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Count uint64 `json:"count"`
}

func sortMoves(all []Move) {
	slices.SortFunc(all, func(a, b Move) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
}

// Latency is a distribution; the quantiles are at most 3.2 % too high.
type Latency struct {
	Count uint64        `json:"count"`
	P50   time.Duration `json:"p50"`
	P90   time.Duration `json:"p90"`
	P99   time.Duration `json:"p99"`
	P999  time.Duration `json:"p999"`
	Max   time.Duration `json:"max"`
}

// Slowest is the request that Latency.Max is of.
type Slowest struct {
	At      time.Time     `json:"at"`
	ID      string        `json:"id"`
	Kind    Kind          `json:"kind"`
	Release string        `json:"release"`
	Took    time.Duration `json:"took"`
}

// report copies the counters.
func (l *ledger) report(now time.Time) Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := Report{
		Started:     l.started,
		Sent:        l.sentCount,
		InFlight:    l.sentCount - l.total.Ended(),
		Counts:      l.total,
		Kinds:       map[Kind]Counts{},
		Echoed:      l.echoed,
		Seen:        l.seen,
		Repeated:    l.repeated,
		Causes:      maps.Clone(l.causes),
		Connections: l.connections.Load(),
		IdleClosed:  l.idleClosed.Load(),
		IdleReset:   l.idleReset.Load(),
		Latency: Latency{
			Count: l.latency.count,
			P50:   l.latency.quantile(0.5),
			P90:   l.latency.quantile(0.9),
			P99:   l.latency.quantile(0.99),
			P999:  l.latency.quantile(0.999),
			Max:   l.latency.max,
		},
		Slowest:  l.slowest,
		Failures: slices.Clone(l.failures),
	}
	if !l.finished.IsZero() {
		now = l.finished
	}
	if !l.started.IsZero() {
		r.Elapsed = now.Sub(l.started)
	}
	for k, c := range l.kinds {
		r.Kinds[k] = *c
	}
	for _, release := range l.releases {
		r.Releases = append(r.Releases, *release)
	}
	for m, n := range l.moves {
		m.Count = n
		r.Moves = append(r.Moves, m)
	}
	sortMoves(r.Moves)
	slices.SortFunc(r.Releases, func(a, b ReleaseReport) int { return cmp.Compare(a.ID, b.ID) })
	return r
}

// Summary is one line: "lost 0 of 1234 requests", with what else went wrong.
func (r Report) Summary() string {
	s := fmt.Sprintf("lost %d of %d requests", r.Lost, r.Sent)
	if r.Wrong > 0 {
		s += fmt.Sprintf(", %d answered wrongly", r.Wrong)
	}
	if r.Duplicated > 0 {
		s += fmt.Sprintf(", %d duplicated", r.Duplicated)
	}
	if r.ServiceError > 0 {
		s += fmt.Sprintf(", %d failed by the service", r.ServiceError)
	}
	if r.Shed > 0 {
		s += fmt.Sprintf(", %d shed", r.Shed)
	}
	if r.InFlight > 0 {
		s += fmt.Sprintf(", %d in flight", r.InFlight)
	}
	return s
}

// String is several lines for a person, of which the last is the summary.
func (r Report) String() string {
	var b strings.Builder
	rate := 0.0
	if r.Elapsed > 0 {
		rate = float64(r.Sent) / r.Elapsed.Seconds()
	}
	fmt.Fprintf(&b, "%d requests in %s (%.0f/s) on %d connections, of which the server closed %d and reset %d while idle\n",
		r.Sent, r.Elapsed.Round(10*time.Millisecond), rate, r.Connections, r.IdleClosed, r.IdleReset)
	for _, k := range slices.Sorted(maps.Keys(r.Kinds)) {
		fmt.Fprintf(&b, "  %-6s %s\n", k, r.Kinds[k])
	}
	for _, release := range r.Releases {
		id := release.ID
		if id == "" {
			id = "nobody"
		}
		fmt.Fprintf(&b, "  by %s: %s\n", id, release.Counts)
	}
	if l := r.Latency; l.Count > 0 {
		fmt.Fprintf(&b, "  latency p50 %s, p90 %s, p99 %s, p99.9 %s, max %s (%s %s, by %s)\n", brief(l.P50), brief(l.P90),
			brief(l.P99), brief(l.P999), brief(l.Max), r.Slowest.Kind, r.Slowest.ID, r.Slowest.Release)
	}
	for _, c := range slices.Sorted(maps.Keys(r.Causes)) {
		fmt.Fprintf(&b, "  %s: %d\n", c, r.Causes[c])
	}
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "  %s\n", f)
	}
	b.WriteString(r.Summary())
	return b.String()
}

// String is "12 ok, 0 lost, 0 wrong, 0 duplicated, 0 service errors".
func (c Counts) String() string {
	text := fmt.Sprintf("%d ok, %d lost, %d wrong, %d duplicated, %d service errors", c.OK, c.Lost, c.Wrong, c.Duplicated, c.ServiceError)
	if c.Shed > 0 {
		text += fmt.Sprintf(", %d shed", c.Shed)
	}
	return text
}

// brief rounds to three digits or so.
func brief(d time.Duration) time.Duration {
	switch {
	case d > time.Second:
		return d.Round(10 * time.Millisecond)
	case d > 10*time.Millisecond:
		return d.Round(100 * time.Microsecond)
	default:
		return d.Round(time.Microsecond)
	}
}
