package load

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// tick is how finely the ledger keeps when requests were started.
	tick = 100 * time.Millisecond
	// maxReleases bounds how many releases are told apart, should a service
	// name a new one with each answer; the rest is otherReleases.
	maxReleases   = 100
	otherReleases = "(other)"
)

// ledger counts.
type ledger struct {
	maxRequests uint64
	maxFailures int
	log         *slog.Logger

	connections, idleClosed, idleReset atomic.Uint64

	mu        sync.Mutex
	started   time.Time
	finished  time.Time // zero while the load runs
	sentCount uint64
	total     Counts
	kinds     map[Kind]*Counts
	releases  map[string]*ReleaseReport
	moves     map[Move]uint64
	causes    map[string]uint64
	latency   latencies
	slowest   Slowest
	failures  []Failure
	spans     map[moment]*span
}

// moment is a tick of the load in which a release answered.
type moment struct {
	tick    int64
	release string
}

// span is when the requests of one moment were started, since the load's own
// start.
type span struct {
	count       uint64
	first, last time.Duration
}

func newLedger(maxRequests uint64, maxFailures int, log *slog.Logger) *ledger {
	return &ledger{
		maxRequests: maxRequests,
		maxFailures: maxFailures,
		log:         log,
		kinds:       map[Kind]*Counts{},
		releases:    map[string]*ReleaseReport{},
		moves:       map[Move]uint64{},
		causes:      map[string]uint64{},
		spans:       map[moment]*span{},
	}
}

func (l *ledger) begin(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.started = now
}

func (l *ledger) end(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finished = now
}

// over says that the load has ended.
func (l *ledger) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.finished.IsZero()
}

// sent counts a request that is about to be sent, or returns false when there
// have been enough.
func (l *ledger) sent() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.maxRequests > 0 && l.sentCount >= l.maxRequests {
		return false
	}
	l.sentCount++
	return true
}

// unsent takes back a sent whose request never left the client.
func (l *ledger) unsent() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sentCount--
}

// ended counts how a request ended.
func (l *ledger) ended(r result) {
	if failure, kept := l.count(r); kept {
		l.log.Warn("a request failed", "outcome", failure.Outcome, "cause", failure.Cause, "err", failure.Error,
			"id", failure.ID, "kind", failure.Kind, "release", failure.Release, "status", failure.Status,
			"started", failure.At, "took", failure.Took, "local_port", failure.LocalPort, "reused", failure.Reused)
	}
}

// moved counts a client that was answered by another release than before.
func (l *ledger) moved(from, to string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.moves[Move{From: l.release(from).ID, To: l.release(to).ID}]++
}

func (l *ledger) count(r result) (failure Failure, kept bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total.add(r.outcome)
	if l.kinds[r.kind] == nil {
		l.kinds[r.kind] = &Counts{}
	}
	l.kinds[r.kind].add(r.outcome)
	release := l.release(r.release)
	release.Counts.add(r.outcome)
	if r.whole {
		release.Answered[r.status/100]++
	}
	if r.release != "" {
		l.spanOf(release.ID, r.started)
	}
	if r.whole && r.kind != Slow {
		l.latency.add(r.took)
		if r.took > l.slowest.Took {
			l.slowest = Slowest{At: r.started, ID: r.id, Kind: r.kind, Release: release.ID, Took: r.took}
		}
	}
	if r.outcome == OK {
		return Failure{}, false
	}
	l.causes[r.cause]++
	if len(l.failures) == l.maxFailures {
		return Failure{}, false
	}
	failure = Failure{
		At: r.started, ID: r.id, Kind: r.kind, Outcome: r.outcome, Cause: r.cause, Error: r.err.Error(),
		Release: release.ID, Status: r.status, Took: r.took, LocalPort: r.localPort, Reused: r.reused,
	}
	l.failures = append(l.failures, failure)
	return failure, true
}

func (l *ledger) release(id string) *ReleaseReport {
	if r := l.releases[id]; r != nil {
		return r
	}
	if len(l.releases) >= maxReleases {
		id = otherReleases
	}
	if l.releases[id] == nil {
		l.releases[id] = &ReleaseReport{ID: id}
	}
	return l.releases[id]
}

func (l *ledger) spanOf(release string, started time.Time) {
	at := started.Sub(l.started)
	m := moment{int64(at / tick), release}
	s := l.spans[m]
	if s == nil {
		s = &span{first: at, last: at}
		l.spans[m] = s
	}
	s.count++
	s.first, s.last = min(s.first, at), max(s.last, at)
}

func (l *ledger) between(from, to time.Time) map[string]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	after, before := from.Sub(l.started), time.Duration(1<<63-1)
	if !to.IsZero() {
		before = to.Sub(l.started)
	}
	found := map[string]uint64{}
	for m, s := range l.spans {
		if n := s.within(after, before); n > 0 {
			found[m.release] += n
		}
	}
	return found
}

// within is how many requests of the span were surely started after the one and
// before the other; at least 1 when there may have been one.
func (s *span) within(after, before time.Duration) uint64 {
	switch {
	case s.last <= after || s.first >= before:
		return 0
	case s.first > after && s.last < before:
		return s.count
	default:
		return 1
	}
}
