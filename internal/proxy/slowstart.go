package proxy

import "time"

// fullShare is the share of an upstream that is not fresh, leastShare that with which a
// fresh one begins.
const (
	fullShare  = 1000
	leastShare = 100
)

// slowStart is that of a release, in a table: a fresh upstream has cold caches, and code
// that isn't compiled yet, so that with a full share of the requests it would answer many
// of them late. Over so long a time from the table that had it first, its share rises from
// a tenth to all of what the others get. Shares are compared with one another: where all
// upstreams are of one age they get the same, as they do without a slow start.
type slowStart struct {
	over time.Duration
	// until is when the last upstream is not fresh any more.
	until time.Time
}

// add has an upstream be one of the release's.
func (s *slowStart) add(u *upstream) {
	if end := u.since.Add(s.over); end.After(s.until) {
		s.until = end
	}
}

// now is the time by which shares are counted, which costs a request nothing when all are
// full: then it is the zero time.
func (r *release) now() time.Time {
	if r.slow.over == 0 || len(r.pools) == 0 {
		return time.Time{}
	}
	if now := r.pools[0].loop.now; now.Before(r.slow.until) {
		return now
	}
	return time.Time{}
}

// share is what an upstream gets at such a time.
func (s *slowStart) share(u *upstream, now time.Time) int {
	if now.IsZero() {
		return 1
	}
	age := min(max(now.Sub(u.since), 0), s.over)
	return leastShare + int((fullShare-leastShare)*int64(age)/int64(s.over))
}
