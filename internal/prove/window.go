package prove

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Window is a time in which a release answers. With a From it is one in which clients
// move from that release to the other.
type Window struct {
	From, Release string
	// Begin and End may be zero: always before, always after.
	Begin, End time.Time
}

// Outside counts, by release, the requests that it answered outside of all of its
// windows: that were started after one of them had ended, and were over before the next
// began. Windows with a From don't matter. As [Generator.Between], it may count too few
// close to a window, but never too many.
func (g *Generator) Outside(windows []Window) map[string]uint64 {
	g.ledger.mu.Lock()
	defer g.ledger.mu.Unlock()
	gaps := map[string][]gap{}
	found := map[string]uint64{}
	for m, s := range g.ledger.spans {
		if m.from != "" || m.release == "" {
			continue
		}
		if gaps[m.release] == nil {
			gaps[m.release] = g.ledger.gapsOf(m.release, windows)
		}
		for _, free := range gaps[m.release] {
			if n := s.inside(free); n > 0 {
				found[m.release] += n
			}
		}
	}
	return found
}

// MovesWithin counts the moves of clients by requests that were started and over in one
// of the windows that are of this move, in the same way.
func (g *Generator) MovesWithin(windows []Window) []Move {
	g.ledger.mu.Lock()
	defer g.ledger.mu.Unlock()
	counts := map[Move]uint64{}
	for m, s := range g.ledger.spans {
		for _, w := range windows {
			if m.from != "" && m.from == w.From && m.release == w.Release {
				counts[Move{From: m.from, To: m.release}] += s.inside(g.ledger.gapOf(w))
			}
		}
	}
	var found []Move
	for m, n := range counts {
		if m.Count = n; n > 0 {
			found = append(found, m)
		}
	}
	sortMoves(found)
	return found
}

// Part is what the clients counted of the requests that were started in a time.
type Part struct {
	// Least and Most bound how many were started then.
	Least, Most uint64
	// Lost and Slowest are of Most: how many were lost, and how long the slowest took
	// that was answered and was not slow on purpose.
	Lost    uint64
	Slowest time.Duration
}

// During counts the requests that were started between two times.
func (g *Generator) During(from, to time.Time) Part {
	g.ledger.mu.Lock()
	defer g.ledger.mu.Unlock()
	after, before := from.Sub(g.ledger.started), to.Sub(g.ledger.started)
	var p Part
	for m, s := range g.ledger.spans {
		if m.from != "" || s.last < after || s.first > before {
			continue
		}
		p.Most += s.count
		if s.first > after && s.last < before {
			p.Least += s.count
		}
		p.Lost += s.lost
		p.Slowest = max(p.Slowest, s.slowest)
	}
	return p
}

// gap is a time, since the load's start.
type gap struct{ after, before time.Duration }

// inside is how many requests of the span were surely started and over in it.
func (s *span) inside(g gap) uint64 {
	if s.over >= g.before {
		return 0
	}
	return s.within(g.after, math.MaxInt64)
}

// gapsOf are the times in which no window of the release is.
func (l *ledger) gapsOf(release string, windows []Window) []gap {
	var own []gap
	for _, w := range windows {
		if w.From == "" && w.Release == release {
			own = append(own, l.gapOf(w))
		}
	}
	slices.SortFunc(own, func(a, b gap) int { return cmp.Compare(a.after, b.after) })
	gaps := []gap{}
	last := time.Duration(math.MinInt64)
	for _, w := range own {
		if w.after > last {
			gaps = append(gaps, gap{last, w.after})
		}
		last = max(last, w.before)
	}
	if last < math.MaxInt64 {
		gaps = append(gaps, gap{last, math.MaxInt64})
	}
	return gaps
}

func (l *ledger) gapOf(w Window) gap {
	g := gap{math.MinInt64, math.MaxInt64}
	if !w.Begin.IsZero() {
		g.after = w.Begin.Sub(l.started)
	}
	if !w.End.IsZero() {
		g.before = w.End.Sub(l.started)
	}
	return g
}
