package prove

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
	// name a new one with each answer; the rest is otherReleases. A day of deploys has some
	// hundred.
	maxReleases   = 10_000
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
	echoed    uint64
	seen      uint64
	repeated  uint64
	moves     map[Move]uint64
	causes    map[string]uint64
	latency   latencies
	slowest   Slowest
	failures  []Failure
	spans     map[moment]*span
	// once are the requests that may not be sent again, answered those that were
	// answered: marks by the number of the client.
	once, answered map[int]*marks
}

// moment is a tick of the load in which a release answered, or, with a from, in which
// it answered clients that had been answered by another before.
type moment struct {
	tick          int64
	from, release string
}

// span is when the requests of one moment were started, and when the last of them
// ended, since the load's own start; how many were lost, and how long the slowest took
// that was answered and was not slow on purpose.
type span struct {
	count, lost       uint64
	first, last, over time.Duration
	slowest           time.Duration
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
		once:        map[int]*marks{},
		answered:    map[int]*marks{},
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
func (l *ledger) ended(r Result) {
	if failure, kept := l.count(r); kept {
		l.log.Warn("a request failed", "outcome", failure.Outcome, "cause", failure.Cause, "err", failure.Error,
			"id", failure.ID, "kind", failure.Kind, "release", failure.Release, "status", failure.Status,
			"started", failure.At, "took", failure.Took, "local_port", failure.LocalPort, "reused", failure.Reused)
	}
}

// moved counts a client that was answered by another release than before.
func (l *ledger) moved(from string, r Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := Move{From: l.release(from).ID, To: l.release(r.Release).ID}
	l.moves[m]++
	l.note(moment{from: m.From, release: m.To}, r)
}

func (l *ledger) count(r Result) (failure Failure, kept bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total.add(r.Outcome)
	if l.kinds[r.Kind] == nil {
		l.kinds[r.Kind] = &Counts{}
	}
	l.kinds[r.Kind].add(r.Outcome)
	release := l.release(r.Release)
	release.Counts.add(r.Outcome)
	l.mark(r)
	if r.Whole {
		release.Answered[r.Status/100]++
	}
	l.note(moment{release: release.ID}, r)
	if r.Whole && !r.slow {
		l.latency.add(r.Took)
		if r.Took > l.slowest.Took {
			l.slowest = Slowest{At: r.Started, ID: r.ID, Kind: r.Kind, Release: release.ID, Took: r.Took}
		}
	}
	if r.Outcome == OK {
		return Failure{}, false
	}
	l.causes[r.Cause]++
	if len(l.failures) == l.maxFailures {
		return Failure{}, false
	}
	failure = Failure{
		Began: r.Began, At: r.Started, ID: r.ID, Kind: r.Kind, Outcome: r.Outcome, Cause: r.Cause, Error: r.Err.Error(),
		Release: release.ID, Status: r.Status, Took: r.Took, LocalPort: r.localPort, Reused: r.reused,
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

// mark keeps of a request what is to be known of each.
func (l *ledger) mark(r Result) {
	if r.echoed {
		l.echoed++
	}
	if r.seen > 0 {
		l.seen++
	}
	if r.seen > 1 && r.idempotent {
		l.repeated++
	}
	if !r.idempotent {
		marksOf(l.once, r.client).set(r.number)
	}
	if r.Whole && r.served() {
		marksOf(l.answered, r.client).set(r.number)
	}
}

// note adds a request to a span; the tick of m is filled in.
func (l *ledger) note(m moment, r Result) {
	at := r.Started.Sub(l.started)
	m.tick = int64(at / tick)
	s := l.spans[m]
	if s == nil {
		s = &span{first: at, last: at}
		l.spans[m] = s
	}
	s.count++
	s.first, s.last = min(s.first, at), max(s.last, at)
	s.over = max(s.over, at+r.Took)
	if r.Outcome == Lost {
		s.lost++
	}
	if r.Whole && !r.slow {
		s.slowest = max(s.slowest, r.Took)
	}
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
		if m.from != "" || m.release == "" {
			continue
		}
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
